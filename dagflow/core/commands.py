"""Commands: what the scheduler wants done, and facts: what it has decided. Both leave it in one ordered list.

Commands go to the backend and the source; facts go to the result and the observers. A command's outcome
comes back as an event; what has been decided can be read back from the state (`Scheduler.resume`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from dagflow.core.envelope import ErrorRecord, Group, Kind, Payload, Piece
from dagflow.core.ids import Indices, Segment, Space
from dagflow.core.visits import Visit

SPLIT_CREDIT: Final = 4
"""Payloads of children that a Splitter may send before it must wait for a `Grant`."""


@dataclass(slots=True)
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


@dataclass(slots=True)
class StartWorker:
    """Start a worker for a node."""

    worker: int
    node: int


@dataclass(slots=True)
class StopWorker:
    """Let a worker end (``kill``: at once, whatever it is doing)."""

    worker: int
    kill: bool = False


@dataclass(slots=True)
class Deliver:
    """Lease a job to a worker."""

    worker: int
    token: int
    job: Job


@dataclass(slots=True)
class Grant:
    """Let a Splitter send ``count`` more payloads of children, of up to ``cut`` values each."""

    worker: int
    token: int
    count: int
    cut: int


@dataclass(slots=True)
class Probe:
    """Ask which task a worker is at, and since when."""

    worker: int


@dataclass(slots=True)
class Pull:
    """Read up to ``count`` tasks from the source."""

    count: int


@dataclass(slots=True)
class StopSource:
    """Nothing more is wanted of the source."""


@dataclass(slots=True)
class Finish:
    """The run has ended."""

    reason: Literal["done", "stopped", "failed"]


# -- facts ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Output:
    """Tasks left the graph at ``node``: values ``low`` .. of ``payload`` are theirs, in order."""

    node: int
    segments: list[Segment]
    payload: Payload
    low: int
    count: int


@dataclass(slots=True)
class Lost:
    """A task failed finally and nothing took that up: its source task has failed. ``task``: (space, index)."""

    node: int
    space: Space
    index: int
    error: ErrorRecord


@dataclass(slots=True)
class AggregateLost:
    """A task that came from several source tasks failed: so did they. ``members``: their segments."""

    node: int
    members: list[Segment]
    error: ErrorRecord


@dataclass(slots=True)
class RootsEnded:
    """Everything that came from these source tasks has ended."""

    indices: Indices


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
class NodeClosed:
    """A node has ended: its upstreams have, and nothing for it is queued, leased or waiting."""

    node: int


Command = StartWorker | StopWorker | Deliver | Grant | Probe | Pull | StopSource | Finish
Fact = Output | Lost | AggregateLost | RootsEnded | TasksEnded | TaskFailed | NodeClosed
