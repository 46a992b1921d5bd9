"""Floor 2: the mind of a run. Pure: no clock, no thread, no process, no socket, no randomness, no pickle.

Reading order: `ids` (what a task is called), `envelope` (how many travel together), `events` and `commands`
(the whole vocabulary), `scopes` (who waits for whom), `inbox`, `merging`, `retrying`, `lifecycle` (parts of a
node at run time), and at last `scheduler`, which joins them. `invariants` checks all of it after any step.
"""
