"""Commands: what the scheduler wants done, and facts: what it has decided. Both leave it in one ordered list.

Commands go to the backend and the source; facts go to the result and the observers. A command's outcome
comes back as an event; what has been decided can be read back from the state (`Scheduler.resume`).
"""

from __future__ import annotations

from dagflow.core.envelope import Lease
from dagflow.core.ids import Indices, Segment, Space
from dagflow.core.payload import ErrorRecord, Group, Kind, Payload, Piece
from dagflow.core.record import field, record
from dagflow.core.visits import Visit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from dagflow.core.job import Answer, Job


@record
class StartWorker:
    """Start a worker for a node."""

    worker: int
    node: int


@record
class StopWorker:
    """Let a worker end (``kill``: at once, whatever it is doing)."""

    worker: int
    kill: bool = False


@record
class Deliver:
    """Lease a job to a worker. ``segments``: which tasks these are."""

    worker: int
    token: int
    job: Job
    segments: list[Segment]


@record
class Grant:
    """Let a Splitter send ``count`` more payloads of children, of up to ``cut`` values each."""

    worker: int
    token: int
    count: int
    cut: int


@record
class Probe:
    """Ask which task a worker is at, and since when."""

    worker: int


@record
class GiveBack:
    """Have a worker give back those tasks of its leases up to ``token`` that it has not begun.

    They come back as ``returned`` of its answers; nothing else is owed for it.
    """

    worker: int
    token: int


@record
class Pull:
    """Read up to ``count`` tasks from the source."""

    count: int


@record
class StopSource:
    """Nothing more is wanted of the source."""


@record
class Recall:
    """Ask the journal what became of tasks at a node; it answers lease ``token``. ``groups``: of merges."""

    token: int
    node: int
    kind: Kind
    segments: list[Segment]
    groups: list[Group] = field(default_factory=list)


@record
class Finish:
    """The run has ended."""

    reason: Literal["done", "stopped", "failed"]


# -- facts ---------------------------------------------------------------------------------------------


@record
class Output:
    """Tasks left the graph at ``node``: values ``low`` .. of ``payload`` are theirs, in order."""

    node: int
    segments: list[Segment]
    payload: Payload
    low: int
    count: int


@record
class Lost:
    """A task failed finally and nothing took that up: its source task has failed. ``task``: (space, index)."""

    node: int
    space: Space
    index: int
    error: ErrorRecord


@record
class AggregateLost:
    """A task that came from several source tasks failed: so did they. ``members``: their segments."""

    node: int
    members: list[Segment]
    error: ErrorRecord


@record
class RootsEnded:
    """Everything that came from these source tasks has ended."""

    indices: Indices


@record
class TasksEnded:
    """Tasks ended at a node: succeeded, or dropped (on purpose, or as duplicates).

    ``inputs``: their values, and those of other tasks of the lease where ``positions`` says which are theirs.
    ``visit``: the worker's stay at the lease, if the run is traced and a worker was asked.
    ``again``: a journal said so.
    """

    node: int
    status: Literal["succeeded", "dropped", "duplicate"]
    segments: list[Segment]
    count: int
    seconds: float = 0.0
    inputs: Sequence[Piece] = ()
    positions: list[int] | None = None
    visit: Visit | None = None
    again: bool = False


@record
class TaskFailed:
    """A task failed at a node: finally, or to be tried again ``retry_in`` seconds from now.

    ``visit``: as of `TasksEnded`; ``position``: which of the visit's tasks it is. ``again``: told by a journal.
    ``handled``: a ``failures`` branch takes it up. ``members``: of a merge. ``given``: what it was, for a journal.
    """

    node: int
    space: Space
    index: int
    error: ErrorRecord
    attempt: int
    retry_in: float | None = None
    input: Piece | None = None
    visit: Visit | None = None
    position: int = 0
    again: bool = False
    handled: bool = False
    members: int = 1
    given: Sequence[Piece] = ()


@record
class NodeClosed:
    """A node has ended: its upstreams have, and nothing for it is queued, leased or waiting."""

    node: int


# -- notes: facts for a journal alone, given only where there is one -------------------------------------


@record
class Settled:
    """Tasks of a lease have ended by an answer (those at ``ended`` well), or a Splitter has given children."""

    node: int
    lease: Lease
    answer: Answer
    ended: Sequence[int]


@record
class Fired:
    """A window was closed: the tasks that are merged as aggregate ``index``."""

    node: int
    index: int
    members: list[Segment]


@record
class AggregatesEnded:
    """Everything that came from these aggregates has ended."""

    indices: Indices


@record
class Tried:
    """A task goes back into its queue after ``attempt`` attempts that failed and ``crashes`` workers that died."""

    node: int
    space: Space
    index: int
    attempt: int
    crashes: int


@record
class Leased:
    """Tasks were given to a worker of a node."""

    node: int
    segments: list[Segment]


Command = StartWorker | StopWorker | Deliver | Grant | GiveBack | Probe | Pull | StopSource | Recall | Finish
Note = Settled | Fired | AggregatesEnded | Tried | Leased
Fact = Output | Lost | AggregateLost | RootsEnded | TasksEnded | TaskFailed | NodeClosed
Out = Command | Fact | Note
"""What the scheduler gives: in the order in which it was decided."""
