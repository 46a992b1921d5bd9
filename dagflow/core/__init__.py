"""Floor 2: the mind of a run. Pure: no clock, no thread, no process, no socket, no randomness, no pickle.

Reading order. The vocabulary: `ids` (what a task is called), `envelope` (how many travel together), `visits`
(who worked at them, and when), `events` and `commands`. What is known: `scopes` (who waits for whom), `inbox`,
`merging`, `retrying`, `lifecycle` (parts of a node at run time), all held by `state`. What is done with it, storey
by storey, each using only those below: `flow` (where tasks go), `merges`, `duplicates`, `failing`, `splits`,
`answers`, `recalling` (what a journal knows), `crew` (workers and leases), and on top `scheduler`, the one mutator.
`invariants` checks all of it after any step.
"""
