"""Floor 2b: what runs inside a worker. The hot loop, the executors around it, outcomes, and how values are sealed.

Imported by worker processes, so nothing here imports networkx, loguru, tqdm or anything above this floor.
Reading order: `values` and `codec` (payloads), `outcome` (errors), `program` (what a worker is told of a node),
`execute` (one job), and who runs jobs: `sequential` (one after the other), `sharing` (taken apart into units) with
`threads` and `loop` (an event loop).
"""
