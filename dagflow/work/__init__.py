"""Floor 2b: what runs inside a worker. The hot loop, the executors around it, outcomes, and how values are sealed.

Imported by worker processes, so nothing here imports networkx, loguru, tqdm or anything above this floor.
Reading order: `values` and `codec` (payloads), `outcome` (errors), `program` (what a worker is told of a node),
`execute` (one job), `executors` (many at once: one after the other, threads, an event loop).
"""
