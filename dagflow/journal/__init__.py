"""Floor 4: the journal, a memory of ended work that is asked where work would begin.

It is no log to be replayed: a run that goes on begins like any run. It reads its source again and sends tasks
through the graph; but where a task would be queued for a worker and the journal knows how it ended there, that end
is taken in instead (`dagflow.core.recalling`). So everything the core keeps (scopes, merges, order, counts) is
rebuilt by the code that made it, a changed graph finds what still holds, and memory stays bounded by the same back
pressure as ever.

Reading order. What is written: `entries`, and `places` (what tasks are called there). How it is kept: `seal` (no
byte is believed without its checksum), `block` and `index` (what lies together), `book` (all of a journal, a turn
at a time), over a room: `memory`, `sqlite`, `redis` (bytes by name, behind the door `dagflow.protocols.Journal`).
What a run does: `source` numbers its tasks, `recording` writes ends, `recall` gives them back, `dropping` and
`tidying` let go what is not needed, `versions` (with `fingerprint`) says what a changed graph may still use;
`keeper` has them all, for the ring.
"""
