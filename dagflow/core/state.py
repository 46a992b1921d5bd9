"""State: everything a run knows, in one place; and the two things every storey above may do to it: look, stop."""

from __future__ import annotations

from collections import deque
from typing import Literal

from dagflow.core import commands as do
from dagflow.core.commands import Out
from dagflow.core.envelope import Envelope, Lease
from dagflow.core.ids import Segment
from dagflow.core.inbox import Inbox, WorkerState
from dagflow.core.payload import Piece
from dagflow.core.retrying import Waiting
from dagflow.core.scopes import Lineages
from dagflow.core.story import story
from dagflow.graph.plan import Plan

Stopping = Literal["drain", "kill"]


class State:
    """What a run knows. Only the storeys of the `Scheduler` above change it.

    Where a task is, is kept once: queued at a node, leased to a worker, waiting for a retry or behind an equal
    task, or held by a scope.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        max_in_flight: int | None = None,
        max_bytes: int = 1 << 30,
        sink_room: int | None = None,
        sink_holds: bool = False,
        fail_fast: bool = False,
        one_by_one: bool = False,
        recording: bool = False,
        at_hand: bool = False,
    ) -> None:
        self.plan = plan
        self.max_in_flight = max_in_flight
        self.max_bytes = max_bytes
        self.sink_room = sink_room
        self.sink_holds = sink_holds
        self.fail_fast = fail_fast
        self.one_by_one = one_by_one
        self.recording = recording
        self.at_hand = at_hand
        self.recalling = False
        self.again = False
        self.deferred: deque[tuple[int, Envelope]] = deque()
        self.solo: int | None = None
        self.quiet_since = 0.0
        self.nodes = [Inbox(node) for node in plan.nodes]
        self.lineages = Lineages(plan)
        self.workers: dict[int, WorkerState] = {}
        self.leases: dict[int, Lease] = {}
        self.waiting = Waiting()
        self.in_flight = 0
        self.admitted = 0
        self.unread = 0
        self.unread_bytes = 0
        self.pulling = 0
        self.source_open = True
        self.source_error: BaseException | None = None
        self.paused = False
        self.stopping: Stopping | None = None
        self.finished = False
        self.failure: BaseException | None = None
        self.heard_at = self.probed_at = 0.0
        self.suspects: set[int] = set()
        self.first_lost: do.Lost | do.AggregateLost | None = None
        self.late_answers = 0
        self.crashes = 0
        self.open_roots = 0
        self.aggregates: dict[int, list[Segment]] = {}  # the source tasks that came together in each
        self.now = 0.0
        self._out: list[Out] = []
        self._tokens = 0
        self._trials = 0
        self._worker_numbers = 0
        self._upstreams = self._find_upstreams()
        self._run_mergers = self._find_run_mergers()
        self._blocked_splits: set[int] = set()
        self._source_account = self.lineages.root.chain[0]
        self._entries = [self.nodes[target] for target in plan.source.targets]
        self._limited = [node for node in self.nodes if node.plan.rate_limit is not None]
        self._timed = [node for node in self.nodes if node.plan.timeout is not None]
        self._several = [node for node in self.nodes if node.plan.gives_back and not one_by_one]
        self._windows = [n for n in self.nodes if n.merge is not None and n.merge.plan.within is not None]
        self._closed = 0

    def held_bytes(self) -> int:
        """About how many bytes the queued values, and the outputs that nobody has taken yet, take."""
        return self.unread_bytes + sum(node.bytes for node in self.nodes)

    def has_room(self, node: Inbox) -> bool:
        """Whether what the node gives has somewhere to go."""
        for port in node.plan.ports:
            limited = port.exit and self.sink_room is not None and not self.sink_holds
            if limited and (self.unread >= (self.sink_room or 0) or self.unread_bytes > self.max_bytes // 2):
                return False
            for target in port.targets:
                there = self.nodes[target]
                if there.merge is not None and there.merge.plan.closing != "scope" and not there.merge.plan.fold:
                    continue  # what it holds is state, and waits for nothing that is queued
                if there.queued >= there.capacity or there.bytes > self.max_bytes // 2:
                    return False
        return True

    def story(self) -> str:
        """Which node waits for what, and which scopes miss members."""
        return story(self)

    def _tracks(self, frame: int) -> bool:
        return bool(self.plan.frames[frame].closers)

    def _inputs(self, lease: Lease) -> list[Piece]:
        return [(e.payload, e.low, e.low + e.count) for e in lease.envelopes if e.payload is not None]

    def _set_deadline(self, node: Inbox, lease: Lease) -> None:
        if node.plan.timeout is not None:
            lease.deadline = self.now + node.plan.timeout

    def _stop(self, how: Stopping) -> None:
        """Stop: read nothing more, begin nothing more; ``drain`` lets the running tasks end."""
        if self.finished or self.stopping == "kill" or self.stopping == how:
            return
        if self.stopping is None:
            self._out.append(do.StopSource())
            self.source_open = False
            for node in self.nodes:
                self.in_flight -= node.queued
                node.clear()
            self.waiting.clear()
            self.deferred.clear()
        self.stopping = how

    def _find_upstreams(self) -> list[set[int]]:
        found: list[set[int]] = [set() for _ in self.plan.nodes]
        for node in self.plan.nodes:
            ports = [*node.ports, *([node.failures] if node.failures is not None else [])]
            for port in ports:
                for target in port.targets:
                    found[target].add(node.index)
        # A scope that several Mergers close is complete for all of them at once, so a task on its way to one of
        # them keeps the others waiting: they have each other's upstreams.
        for frame in self.plan.frames:
            together: set[int] = set().union(*(found[m] for m in frame.closers))
            for merger in frame.closers:
                found[merger] = set(together)
        return found

    def _find_run_mergers(self) -> list[tuple[int, ...]]:
        """For each node, the ``of="run"`` Mergers after it: they miss what fails there."""
        after: list[set[int]] = [set() for _ in self.plan.nodes]
        for node in reversed(self.plan.nodes):
            for port in node.ports:
                for target in port.targets:
                    after[node.index] |= after[target]
                    merge = self.plan.nodes[target].merge
                    if merge is not None and merge.closing == "run":
                        after[node.index].add(target)
        return [tuple(sorted(found)) for found in after]
