"""What a Merger holds: members of windows and of the whole run, and folds that combine as members come.

Members of scopes are held by their scope (`dagflow.core.scopes.Family.held`). All of it is state: it does not
count as in flight and holds nobody back, or a Merger that needs many members would stop those it waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagflow.core.envelope import Envelope
from dagflow.core.ids import Indices, Segment, Space
from dagflow.core.payload import ErrorRecord, Group, Payload, Piece
from dagflow.graph.plan import MergePlan

if TYPE_CHECKING:
    from typing import Any


class Fold:
    """One scope's fold: its accumulated value so far (sealed), and the members not yet combined into it.

    At most one step of it is queued or leased at a time; members that come while it is queued join that step.
    ``asked``: the journal has been asked about it; ``known``: it knows what came of it, so members need not be
    combined.
    """

    __slots__ = (
        "__weakref__",
        "asked",
        "attempts",
        "closing",
        "error",
        "known",
        "leased",
        "lost",
        "members",
        "pending",
        "queued",
        "segments",
        "state",
    )

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments
        self.state: Any = None
        self.pending: list[Piece] = []
        self.members = 0
        self.queued: Envelope | None = None
        self.leased = False
        self.closing = False
        self.error: ErrorRecord | None = None
        self.lost: list[ErrorRecord] = []
        self.attempts = 0  # of the step that failed
        self.asked = self.known = False

    def add(self, piece: Piece) -> None:
        """Take one more run of members."""
        self.members += piece[2] - piece[1]
        (self._group().pieces if self.queued is not None else self.pending).append(piece)

    def _group(self) -> Group:
        assert self.queued is not None
        assert self.queued.groups is not None
        return self.queued.groups[0]

    def step(self) -> Envelope | None:
        """The next step to queue, if there is anything to do and none is queued or leased."""
        if self.closing and self.queued is not None and not self.pending:
            # It is the last one, unless it was taken back from a dead worker and others have come while it was there.
            self._group().final = True
            self.queued.segments = self.segments  # known only now where several Mergers close the scope
        if self.leased or self.queued is not None or not (self.pending or self.closing):
            return None
        group = Group(self.pending, self.state, self.closing, self, lost=bool(self.lost))
        self.pending = []
        self.queued = Envelope("merge", self.segments, 1, groups=[group])
        return self.queued

    def lease(self) -> None:
        """Its queued step has been given to a worker."""
        self.queued = None
        self.leased = True


class MergeState:
    """What one Merger of windows or of the run holds, and how many members it holds in all.

    ``ids``: who is in the open window, where a journal wants to know. ``merged``: a journal knows the merge of the
    whole run, so members are kept as they are until it is clear whether that merge still holds. ``unmerged``: members
    of windows that a journal knows, by their number, where it does not know what the merge of them gave.
    """

    def __init__(self, plan: MergePlan) -> None:
        self.plan = plan
        self.held = 0
        self.runs: list[tuple[Space, Indices, Payload, int]] = []
        self.roots: list[Segment] = []
        self.count = 0
        self.since: float | None = None
        self.fold: Fold | None = None
        self.lost: list[ErrorRecord] = []
        self.fired = 0
        self.folding = 0
        self.ids: list[Segment] = []
        self.merged = False
        self.unmerged: dict[int, list[Piece]] = {}

    def room(self) -> int | None:
        """How many more members the open window takes (None: no bound)."""
        return None if self.plan.size is None else self.plan.size - self.count

    def due(self) -> float | None:
        """When the open window must fire at the latest."""
        if self.plan.within is None or self.since is None:
            return None
        return self.since + self.plan.within

    def reset(self) -> None:
        """Start the next window."""
        self.runs, self.roots, self.count, self.since, self.fold, self.ids = [], [], 0, None, None, []
