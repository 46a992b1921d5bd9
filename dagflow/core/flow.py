"""Flow: where tasks go when they leave a node, and what their ends complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dagflow.core import commands as do
from dagflow.core.envelope import Envelope
from dagflow.core.ids import FAILED, ROOT, Indices, Segment, Space, count_of
from dagflow.core.inbox import Inbox
from dagflow.core.payload import ErrorRecord, FailedTask, FailurePayload, Payload, Piece
from dagflow.core.scopes import Account, Family
from dagflow.core.state import State
from dagflow.core.visits import Visit
from dagflow.graph.plan import PortPlan


class Flow(State):
    """Moves tasks from node to node, keeping the counts of `dagflow.core.scopes` right at every step."""

    def _move(self, segment: Segment, start: Account | None, target: int) -> None:
        """Count tasks that stood in ``start`` (None: nowhere yet) where tasks at ``target`` count."""
        space, indices = segment
        there = self.lineages.account(space, target)
        if there is not start:
            there.family.add(there.fixed, indices)
            if start is not None:
                self._end(start, indices)

    def _emit(
        self, node: Inbox, port: PortPlan, segments: list[Segment], payload: Payload, low: int, *, fresh: bool
    ) -> None:
        """Tasks leave ``node`` by ``port``: to the user, to one node, to several; ``fresh``: not counted yet."""
        number = node.index
        count = count_of(segments)
        node.sent[port.index] += count
        node.learn_size(payload.size / payload.count)
        if port.exit:
            self._out.append(do.Output(number, segments, payload, low, count))
            if self.sink_room is not None:
                self.unread += count
                self.unread_bytes += payload.size * count // payload.count
            if not fresh:
                for space, indices in segments:
                    self._end(self.lineages.account(space, number), indices)
        elif len(port.targets) == 1:
            target = port.targets[0]
            for segment in segments:
                self._move(segment, None if fresh else self.lineages.account(segment[0], number), target)
            self._arrive(target, segments, payload, low)
        else:
            starts = None if fresh else [self.lineages.account(space, number) for space, _ in segments]
            self._spread(port, segments, starts, payload, low)

    def _spread(
        self,
        port: PortPlan,
        segments: list[Segment],
        starts: list[Account] | None,
        payload: Payload,
        low: int,
    ) -> None:
        """Tasks go on to several nodes, opening a scope each where a Merger closes it."""
        frame = port.frame
        tracked = [frame in self.nodes[t].plan.needed for t in port.targets]
        arriving: list[list[Segment]] = [[] for _ in port.targets]
        left: list[tuple[Account, Indices]] = []
        for at, (space, indices) in enumerate(segments):
            start = starts[at] if starts is not None else None
            for branch, target in enumerate(port.targets):
                there = self.lineages.branch(frame, space, branch, sum(tracked))
                arriving[branch].append((there, indices))
                if not tracked[branch]:
                    account = self.lineages.account(there, target)
                    account.family.add(account.fixed, indices)
            if any(tracked):
                outer = self.lineages.outer(self.lineages.family(frame, space, sum(tracked)))
                if outer is not start:
                    outer.family.add(outer.fixed, indices)
                    if start is not None:
                        left.append((start, indices))
            elif start is not None:
                left.append((start, indices))
        for branch, target in enumerate(port.targets):
            self._arrive(target, arriving[branch], payload.branch(branch), low)
        for account, indices in left:
            self._end(account, indices)

    def _arrive(self, target: int, segments: list[Segment], payload: Payload, low: int) -> None:
        """Tasks, counted there already, arrive at a node: into its queue, or into a Merger's scopes."""
        if self.stopping is not None:
            return
        node = self.nodes[target]
        count = count_of(segments)
        node.counts.received += count
        node.weigh(payload.size / payload.count)
        if node.merge is None:
            kind: Literal["key", "run"] = "key" if node.dedup is not None else "run"
            node.push(Envelope(kind, segments, count, payload, low, arrived=self.now), ask=self.recalling)
            self.in_flight += count
        else:
            self._members_arrive(node, segments, payload, low)

    def _end(self, account: Account, indices: Indices) -> None:
        """Tasks that counted in ``account`` count no more."""
        complete = account.family.end(account.fixed, indices)
        if len(complete):
            self._complete(account.family, complete)

    def _complete(self, family: Family, scopes: Indices) -> None:
        if family.frame == ROOT:
            if family.base.aggregate:
                for index in scopes:
                    self.aggregates.pop(index, None)
                if self.recording:
                    self._out.append(do.AggregatesEnded(scopes))
            else:
                self.open_roots -= len(scopes)
                self._out.append(do.RootsEnded(scopes))
            return
        self._fire_scopes(family, scopes)

    def _standing(self, node: Inbox, space: Space, *, split: bool) -> list[Account]:
        """Where tasks at ``node`` count, innermost first.

        ``split``: children of theirs have gone on, so they count in their own scope too, while they run; and in the
        one around, if that is not where the task goes on when its own is complete: they may fail into it yet.
        """
        start = self.lineages.account(space, node.index)
        if not (split and self._tracks(node.plan.split_frame)):
            return [start]
        family = self.lineages.family(node.plan.split_frame, space, 0)
        own = Account(family, None)
        return [own] if self.lineages.outer(family) is start else [own, start]

    def _failed(
        self,
        node: Inbox,
        space: Space,
        index: int,
        error: ErrorRecord,
        attempts: int,
        given: list[Piece],
        *,
        split: bool = False,
        visit: Visit | None = None,
        position: int = 0,
        members: int = 1,
    ) -> None:
        """A task has failed finally: to the failures port, else a tombstone in its scope, else its root has failed.

        ``given``: what it was: a value, or the members that were to be merged.
        ``split``: a Splitter that failed after some of its children had gone on; its own scope is open, and the
        failure is a missing member of that. ``visit``, ``position``: where a worker was asked, its stay.
        """
        attempts = max(1, attempts)  # a merge that was never tried, for want of members, counts as one
        record = _final(error, node.plan.name, attempts)
        value = given[0] if given and node.merge is None else None
        handled = node.plan.failures is not None
        fact = do.TaskFailed(
            node.index, space, index, record, attempts, None, value, visit, position, self.again, handled, members
        )
        if self.recording:
            fact.given = given
        self._out.append(fact)
        accounts = self._standing(node, space, split=split)
        innermost = accounts[0]
        port = node.plan.failures
        if port is not None:
            there = self.lineages.branch(FAILED, space, 0, 0) if split else space
            self._to_failures(node, port, there, index, record, given)
        elif innermost.family.frame != ROOT:
            innermost.family.lose(innermost.scopes((index,))[0], record)
        else:
            self._lost(node, space, index, record)
        for account in accounts:
            self._end(account, (index,))

    def _to_failures(
        self,
        node: Inbox,
        port: PortPlan,
        space: Space,
        index: int,
        record: ErrorRecord,
        given: list[Piece],
    ) -> None:
        merged = node.merge is not None and not node.merge.plan.fold
        size = sum(payload.size * (high - low) // payload.count for payload, low, high in given)
        failure = FailurePayload([FailedTask(given, record, merged)], 1, size + 1024)
        self._emit(node, port, [(space, (index,))], failure, 0, fresh=True)

    def _lost(self, node: Inbox, space: Space, index: int, record: ErrorRecord) -> None:
        for merger in self._run_mergers[node.index]:
            merge = self.nodes[merger].merge
            assert merge is not None
            merge.lost.append(record)
            if merge.plan.skip_missing:
                return
        fact: do.Lost | do.AggregateLost
        if space.aggregate:
            fact = do.AggregateLost(node.index, self.aggregates[space.root_index(index)], record)
        else:
            fact = do.Lost(node.index, space, index, record)
        self._out.append(fact)
        if self.sink_room is not None:
            self.unread += 1
        if self.fail_fast and self.first_lost is None:
            self.first_lost = fact
            self._stop("kill")

    if TYPE_CHECKING:  # what the storey above does: `Merges`

        def _members_arrive(self, node: Inbox, segments: list[Segment], payload: Payload, low: int) -> None:
            """Tasks arrive at a Merger."""

        def _fire_scopes(self, family: Family, scopes: Indices) -> None:
            """Scopes are complete."""


def _final(error: ErrorRecord, node: str, attempts: int) -> ErrorRecord:
    return ErrorRecord(
        error.kind, error.type, error.message, error.traceback, error.sealed, error.causes, node, attempts
    )
