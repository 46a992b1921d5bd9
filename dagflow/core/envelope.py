"""Envelopes: sealed batches of tasks. The outside is read here; the payload is never opened.

A `Payload` is whatever the backend keeps a list of values in (the list itself, or its pickle); the core only
slices: "values ``low`` to ``low + count`` of this payload".
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from dagflow.core.ids import Segment, Space, slice_segments
from dagflow.core.record import field, record
from dagflow.core.visits import Times, Visit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Protocol

    Kind = Literal["run", "key", "merge", "member"]
else:
    Protocol, Kind = object, str


class Payload(Protocol):
    """Sealed values: how many, and how many bytes they take (an estimate where they are live objects).

    ``branch(i)`` is what the i-th of several nodes gets: bytes may be shared, live objects are copies.
    """

    count: int
    size: int

    def branch(self, number: int, /) -> Payload: ...


Piece = tuple[Payload, int, int]
"""Values ``[1]`` to ``[2]`` of payload ``[0]``."""


@record(frozen=True)
class ErrorRecord:
    """One task's error. Texts for people; ``sealed`` is the exception, opened only where the user reads it.

    ``kind``: ``"raised"`` by the function, or made by the core: ``"missing"`` members (``causes``), the worker
    ``"died"``, a ``"timeout"``. ``node`` and ``attempts`` are filled in when the failure is final.
    """

    kind: Literal["raised", "missing", "died", "timeout"]
    type: str
    message: str
    traceback: str = ""
    sealed: Any = None
    causes: tuple[ErrorRecord, ...] = ()
    node: str = ""
    attempts: int = 1


@record(frozen=True)
class FailedTask:
    """A finally failed task on its way to ``node.failures``: its input (sealed) and its error.

    The input is one value; of a merge (``merged``) the members that were there; nothing, of a fold, which keeps none.
    """

    pieces: list[Piece]
    error: ErrorRecord
    merged: bool = False


@record
class FailurePayload:
    """A payload made of failed tasks; workers turn each into a `Failure` value."""

    items: list[FailedTask]
    count: int
    size: int

    def branch(self, number: int, /) -> FailurePayload:
        """The same for every branch: each worker makes its own values of it."""
        del number
        return self


@record
class Group:
    """The members of one scope for a Merger's function (or the next of them, for a fold).

    ``state`` is the fold's accumulated value (sealed; None at its start), ``final`` whether ``func`` is to be
    called now. ``fold`` refers back to the fold that this is a step of. ``known``: how many members it had where
    those are not here any more, since a journal knows what came of them. ``lost``: whether members are missing.
    """

    pieces: list[Piece]
    state: Any = None
    final: bool = True
    fold: Any = None
    known: int = 0
    lost: bool = False

    @property
    def members(self) -> int:
        """How many values arrive with this group."""
        return self.known or sum(high - low for _, low, high in self.pieces)


@record
class Envelope:
    """Tasks queued at a node, with one attempt number in common.

    ``run``: values ``low`` to ``low + count`` of ``payload``. ``key``: the same, to be asked for their
    deduplication keys first. ``merge``: one `Group` per task. ``member``: on their way into a window, asked of the
    journal first. ``accepted``: for a Splitter, how many children of each task (by position) were accepted in
    earlier attempts. ``trial``: suspected of having killed a worker: envelopes with one trial number are leased
    together, and nothing else with them (0: not suspected). ``deferred``: suspected of having killed the driver.
    ``arrived``: when they came into the queue (again, if they are tried again).
    """

    kind: Kind
    segments: list[Segment]
    count: int
    payload: Payload | None = None
    low: int = 0
    groups: list[Group] | None = None
    attempt: int = 0
    crashes: int = 0
    accepted: int = 0
    child_space: Space | None = None
    keys: list[bytes] | None = None
    trial: int = 0
    arrived: float = 0.0
    deferred: bool = False

    @property
    def size(self) -> int:
        """About how many bytes its values take."""
        payload = self.payload
        return 0 if payload is None else payload.size * self.count // payload.count

    def piece(self, at: int) -> Piece:
        """The value of the task at position ``at``."""
        assert self.payload is not None, "a merge has groups, and no payload"
        return self.payload, self.low + at, self.low + at + 1

    def split(self, count: int) -> Envelope:
        """Cut the first ``count`` tasks off, as an envelope of their own."""
        first = Envelope(
            self.kind,
            slice_segments(self.segments, 0, count),
            count,
            self.payload,
            self.low,
            self.groups[:count] if self.groups is not None else None,
            self.attempt,
            self.crashes,
            keys=self.keys[:count] if self.keys is not None else None,
            arrived=self.arrived,
        )
        self.segments = slice_segments(self.segments, count, self.count)
        self.count -= count
        self.low += count
        if self.groups is not None:
            self.groups = self.groups[count:]
        if self.keys is not None:
            self.keys = self.keys[count:]
        return first

    def only(self, position: int) -> Envelope:
        """The single task at ``position``, as an envelope of its own."""
        return self.part(position, position + 1)

    def part(self, low: int, high: int) -> Envelope:
        """The tasks from ``low`` up to ``high``, as an envelope of their own. It stands in no trial."""
        return Envelope(
            self.kind,
            slice_segments(self.segments, low, high),
            high - low,
            self.payload,
            self.low + low,
            self.groups[low:high] if self.groups is not None else None,
            self.attempt,
            self.crashes,
            self.accepted,
            self.child_space,
            self.keys[low:high] if self.keys is not None else None,
            arrived=self.arrived,
        )


@record
class Lease:
    """Envelopes given to a worker and not yet answered. Positions count through all of them.

    ``ended`` is None until the first partial answer; ``children`` numbers, per position, the children that a
    Splitter's task has had accepted, ``spaces`` their spaces. ``visit``: what its last answer said of when.
    ``since``: when it came to be the first at its worker; ``pid``: the worker's process; ``seconds``: of work so far.
    """

    token: int
    node: int
    worker: int
    envelopes: list[Envelope]
    segments: list[Segment]
    count: int
    left: int
    ended: set[int] | None = None
    children: dict[int, int] = field(default_factory=dict)
    spaces: dict[int, Space] = field(default_factory=dict)
    owed: int = 0
    starts: list[int] | None = None
    deadline: float | None = None
    seconds: float = 0.0
    since: float = 0.0
    pid: int = 0
    visit: Visit | None = None

    def visited(self, times: Times) -> Visit:
        """The worker's stay at it, when the worker said ``times``."""
        first = self.envelopes[0]
        arrived = [(e.count, e.arrived) for e in self.envelopes]
        return Visit(self.worker, self.pid, first.attempt + first.crashes + 1, arrived, times)

    def find(self, position: int) -> tuple[Envelope, int]:
        """The envelope that holds ``position``, and the position in it."""
        if len(self.envelopes) == 1:
            return self.envelopes[0], position
        if self.starts is None:
            self.starts = list(accumulate((e.count for e in self.envelopes), initial=0))
        at = bisect_right(self.starts, position) - 1
        return self.envelopes[at], position - self.starts[at]
