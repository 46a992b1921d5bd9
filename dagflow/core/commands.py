"""Commands: what the scheduler wants done, and facts: what it has decided. Both leave it in one ordered list.

Commands go to the backend and the source; facts go to the result and the observers. A command's outcome
comes back as an event; what has been decided can be read back from the state (`Scheduler.resume`).
"""

from __future__ import annotations

from dagflow.core.envelope import ErrorRecord, Group, Kind, Payload, Piece
from dagflow.core.ids import Indices, Segment, Space
from dagflow.core.record import field, record
from dagflow.core.visits import Visit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

SPLIT_CREDIT: Final = 4
"""Payloads of children that a Splitter may send before it must wait for a `Grant`."""


@record
class Job:
    """What a worker is to do for a lease: run a node's function over values, or merge groups.

    ``skip``: children already accepted, by position (a Splitter that is tried again). ``cuts``: by port, the
    largest number of values wanted in one payload.
    """

    kind: Kind
    count: int
    pieces: list[Piece] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    skip: dict[int, int] = field(default_factory=dict)
    cuts: dict[int, int] = field(default_factory=dict)
    attempt: int = 0


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
    """Lease a job to a worker."""

    worker: int
    token: int
    job: Job


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
class Pull:
    """Read up to ``count`` tasks from the source."""

    count: int


@record
class StopSource:
    """Nothing more is wanted of the source."""


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
    """

    node: int
    status: Literal["succeeded", "dropped", "duplicate"]
    segments: list[Segment]
    count: int
    seconds: float = 0.0
    inputs: list[Piece] = field(default_factory=list)
    positions: list[int] | None = None
    visit: Visit | None = None


@record
class TaskFailed:
    """A task failed at a node: finally, or to be tried again ``retry_in`` seconds from now.

    ``visit``: as of `TasksEnded`; ``position``: which of the visit's tasks it is.
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


@record
class NodeClosed:
    """A node has ended: its upstreams have, and nothing for it is queued, leased or waiting."""

    node: int


Command = StartWorker | StopWorker | Deliver | Grant | Probe | Pull | StopSource | Finish
Fact = Output | Lost | AggregateLost | RootsEnded | TasksEnded | TaskFailed | NodeClosed
