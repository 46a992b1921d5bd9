"""Answers: what a worker says of a lease, taken apart into results, routes, merges, drops and failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.envelope import Lease
from dagflow.core.ids import COPY, Segment, count_of, take, tasks_of
from dagflow.core.inbox import JOURNAL, Inbox
from dagflow.core.scopes import Family
from dagflow.core.splits import Splits
from dagflow.errors import InvariantBroken
from dagflow.graph.plan import PortPlan


class Answers(Splits):
    """Takes in the answers of workers."""

    def _answered(self, answer: ev.Answer) -> None:
        lease = self.leases.get(answer.token)
        if lease is None or (lease.ended is not None and _was_heard(lease, lease.ended, answer)):
            self.late_answers += 1
            return
        node = self.nodes[lease.node]
        kind = lease.envelopes[0].kind
        node.cpu += answer.cpu
        node.stalled += answer.stalled
        lease.visit = lease.visited(answer.times) if answer.times is not None else None
        if answer.returned:
            self._requeue(node, lease, sorted(answer.returned))
        if kind == "key":
            self._keyed(node, lease, answer)
        else:
            ended = self._ended_positions(lease, answer)
            if node.plan.kind == "split":
                self._children(node, lease, answer)
            elif kind == "merge":
                self._merged(node, lease, answer, ended)
            else:
                self._succeeded(node, lease, answer, ended)
            for position in answer.dropped:
                self._dropped(node, lease, position)
            if kind == "run" and node.plan.kind == "split":
                self._split_ended(node, lease, ended)
            for position, error, may_retry in answer.failures:
                self._attempt_failed(node, lease, position, error, may_retry)
            self._settle(node, lease, answer, ended)
            if self.recording:
                self._out.append(do.Settled(node.index, lease, answer, ended))
        lease.seconds += answer.seconds
        node.seconds += answer.seconds
        if answer.last:
            node.learn(lease.count - len(answer.returned), lease.seconds)
            self._release(lease)

    def _ended_positions(self, lease: Lease, answer: ev.Answer) -> Sequence[int]:
        """The positions whose tasks succeeded by this answer."""
        if answer.ended is not None:
            return answer.ended
        if not (answer.failures or answer.dropped or answer.returned) and lease.ended is None:
            return range(lease.count)
        out = {p for p, _, _ in answer.failures}.union(answer.dropped, answer.returned, lease.ended or ())
        return [p for p in range(lease.count) if p not in out]

    def _settle(self, node: Inbox, lease: Lease, answer: ev.Answer, ended: Sequence[int]) -> None:
        """Positions that have ended leave the lease."""
        gone = len(ended) + len(answer.failures) + len(answer.dropped) + len(answer.returned)
        lease.left -= gone
        node.leased -= gone
        self.in_flight -= gone
        if lease.worker != JOURNAL:
            self.workers[lease.worker].load -= gone
        if not answer.last:
            if lease.ended is None:
                lease.ended = set()
            lease.ended.update(ended)
            lease.ended.update(p for p, _, _ in answer.failures)
            lease.ended.update(answer.dropped)
        elif lease.left:
            raise InvariantBroken(
                f"the last answer of lease {lease.token} of node {node.plan.name!r} left {lease.left} of "
                f"{lease.count} tasks without an end: {answer!r}"
            )

    def _release(self, lease: Lease) -> None:
        del self.leases[lease.token]
        self._blocked_splits.discard(lease.token)
        if lease.worker == JOURNAL:
            return
        worker = self.workers[lease.worker]
        del worker.leases[lease.token]
        worker.alone, worker.since = False, self.now
        following = next(iter(worker.leases.values()), None)
        if following is not None:
            self._set_deadline(self.nodes[worker.node], following)

    def _succeeded(self, node: Inbox, lease: Lease, answer: ev.Answer, ended: Sequence[int]) -> None:
        """Results of tasks (or routed tasks) go on."""
        several = {p for p, n in answer.copies.items() if n != 1} if answer.copies else set()
        opened = self._open_routed(node, lease, ended) if node.plan.route_frame >= 0 else []
        dropped: set[int] = set()
        for produced in answer.outputs:
            port = node.plan.ports[produced.port]
            positions = range(lease.count) if produced.positions is None else produced.positions
            if port.drop:
                node.sent[port.index] += len(positions)
                single = [p for p in positions if p not in several]
                dropped.update(single)
                self._drop_segments(node, lease, take(lease.segments, single), single, ends=not opened)
            elif several or opened:
                self._route(node, lease, port, positions, produced, several)
            else:
                segments = lease.segments if produced.positions is None else take(lease.segments, positions)
                self._emit(node, port, segments, produced.payload, produced.low, fresh=False)
        if opened:
            for family, index in opened:
                complete = family.end(None, (index,))
                if len(complete):
                    self._complete(family, complete)
        else:
            for position in several:
                for space, indices in take(lease.segments, [position]):
                    self._end(self.lineages.account(space, node.index), indices)
        done = [p for p in ended if p not in dropped] if dropped else ended
        node.counts.succeeded += len(done)
        if len(done):
            whole = len(done) == lease.count
            segments = lease.segments if whole else take(lease.segments, done)
            self._out.append(
                do.TasksEnded(
                    node.index,
                    "succeeded",
                    segments,
                    len(done),
                    answer.seconds,
                    self._inputs(lease),
                    None if whole else list(done),
                    lease.visit,
                    self.again,
                )
            )
        if node.dedup is not None:
            self._keys_done(node, lease, ended)

    def _open_routed(self, node: Inbox, lease: Lease, ended: Sequence[int]) -> list[tuple[Family, int]]:
        """Open the Router's own scope for each task, where a Merger closes that (``of=router``).

        One count stands for the routing itself, so that a scope is not complete before all its labels are sent.
        """
        frame = node.plan.route_frame
        if not self.plan.frames[frame].closers:
            return []
        opened = []
        for space, index in tasks_of(take(lease.segments, ended)):
            family = self.lineages.family(frame, space, 0)
            outer, start = self.lineages.outer(family), self.lineages.account(space, node.index)
            family.add(None, (index,))
            if outer is not start:
                outer.family.add(outer.fixed, (index,))
                self._end(start, (index,))
            opened.append((family, index))
        return opened

    def _route(
        self,
        node: Inbox,
        lease: Lease,
        port: PortPlan,
        positions: Sequence[int],
        produced: ev.Produced,
        several: set[int],
    ) -> None:
        """A Router's port where identities need care: copies, or a Merger that closes the Router's own scope."""
        frame = node.plan.route_frame
        tracked = bool(self.plan.frames[frame].closers)
        payload = produced.payload
        for low, position in enumerate(positions, produced.low):
            for space, indices in take(lease.segments, [position]):
                if tracked or position in several:
                    there = self.lineages.branch(frame if tracked else COPY, space, port.index, 0)
                    self._emit(node, port, [(there, indices)], payload, low, fresh=True)
                else:
                    self._emit(node, port, [(space, indices)], payload, low, fresh=False)

    def _merged(self, node: Inbox, lease: Lease, answer: ev.Answer, ended: Sequence[int]) -> None:
        """Merged values go on as the tasks that opened the scopes; steps of folds give their next state."""
        for position, state in (answer.states or {}).items():
            envelope, at = lease.find(position)
            assert envelope.groups is not None
            fold = envelope.groups[at].fold
            fold.state, fold.leased = state, False
            assert node.merge is not None
            node.merge.folding -= 1
            self._step(node, fold)
        final = [p for p in ended if p not in (answer.states or {})]
        for produced in answer.outputs:
            positions = final if produced.positions is None else produced.positions
            segments = lease.segments if len(positions) == lease.count else take(lease.segments, positions)
            self._emit(node, node.plan.ports[produced.port], segments, produced.payload, produced.low, fresh=False)
        for position in final:
            members = self._close_group(node, lease, position)
            node.counts.succeeded += members
        if final:
            segments = take(lease.segments, final)
            self._out.append(
                do.TasksEnded(
                    node.index, "succeeded", segments, len(final), answer.seconds, [], final, lease.visit, self.again
                )
            )

    def _dropped(self, node: Inbox, lease: Lease, position: int) -> None:
        segments = take(lease.segments, [position])
        if lease.envelopes[0].kind == "merge":
            node.counts.dropped += self._close_group(node, lease, position)
            stay = lease.visit
            self._out.append(do.TasksEnded(node.index, "dropped", segments, 1, 0.0, [], [position], stay, self.again))
            for space, indices in segments:
                self._end(self.lineages.account(space, node.index), indices)
            return
        self._drop_segments(node, lease, segments, [position], ends=False)
        for space, indices in segments:  # a split that is tried again may have given children before
            for account in self._standing(node, space, split=position in lease.spaces):
                self._end(account, indices)
        if node.dedup is not None:
            self._keys_done(node, lease, [position])

    def _drop_segments(
        self, node: Inbox, lease: Lease, segments: list[Segment], positions: list[int], *, ends: bool = True
    ) -> None:
        count = count_of(segments)
        node.counts.dropped += count
        if count:
            inputs, stay = self._inputs(lease), lease.visit
            self._out.append(
                do.TasksEnded(node.index, "dropped", segments, count, 0.0, inputs, positions, stay, self.again)
            )
        if ends:
            for space, indices in segments:
                self._end(self.lineages.account(space, node.index), indices)

    def _keyed(self, node: Inbox, lease: Lease, answer: ev.Answer) -> None:
        """The keys of queued tasks are known: the first of each goes on, equal ones wait for its end."""
        dedup = node.dedup
        assert dedup is not None
        failed = {p for p, _, _ in answer.failures}
        fresh: list[int] = []
        keys = answer.keys or [None] * lease.count
        for position, key in enumerate(keys):
            if position in failed or key is None:
                continue
            if key in dedup.done:
                self._duplicate(node, lease, position)
            elif key in dedup.pending:
                envelope, at = lease.find(position)
                waiting = envelope.only(at)
                waiting.keys, waiting.kind = [key], "run"
                dedup.pending[key].append(waiting)
                dedup.waiting += 1
            else:
                dedup.pending[key] = deque()
                fresh.append(position)
        for envelope in reversed(self._select(lease, fresh, keys)):
            node.push(envelope, first=True)
            self.in_flight += envelope.count
        for position, error, _ in answer.failures:
            self._final_failure(node, lease, position, error)
        node.leased -= lease.left
        self.in_flight -= lease.left
        self.workers[lease.worker].load -= lease.left
        lease.left = 0


def _was_heard(lease: Lease, ended: set[int], answer: ev.Answer) -> bool:
    """Whether a part of a lease's answer has come before: it counts once, however often it is delivered."""
    told = {p for p, _, _ in answer.failures}.union(answer.ended or (), answer.dropped)
    if not ended.isdisjoint(told):
        return True
    return any(
        start < lease.children.get(position, 0)
        for produced in answer.outputs
        for position, start, _ in produced.children or ()
    )
