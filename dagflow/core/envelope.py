"""Envelopes: sealed batches of tasks. The outside is read here; the payload is never opened."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from dagflow.core.ids import Segment, Space, slice_segments
from dagflow.core.payload import Group, Kind, Payload, Piece
from dagflow.core.record import field, record
from dagflow.core.visits import Times, Visit


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
