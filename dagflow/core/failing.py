"""Failing: a failed attempt is tried again later, or is final; tasks of dead workers go back into the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dagflow.core import commands as do
from dagflow.core.duplicates import Duplicates
from dagflow.core.envelope import Envelope, Lease
from dagflow.core.ids import take, tasks_of
from dagflow.core.inbox import Inbox
from dagflow.core.merging import Fold
from dagflow.core.payload import ErrorRecord, Group
from dagflow.core.retrying import backoff


class Failing(Duplicates):
    """Decides what follows a failed attempt."""

    def _attempt_failed(self, node: Inbox, lease: Lease, position: int, error: ErrorRecord, may_retry: bool) -> None:
        """A task's attempt failed: try it again later, or fail it for good."""
        envelope, at = lease.find(position)
        group = envelope.groups[at] if envelope.groups is not None else None
        if may_retry and envelope.attempt < node.plan.max_retries and self.stopping is None:
            again = envelope.only(at)
            again.attempt += 1
            self._carry_split(lease, position, again)
            space, index = next(iter(tasks_of(again.segments)))
            delay = backoff(node.plan, again.attempt, hash((space.lineage(index), node.index)))
            self.waiting.put(self.now + delay, node.index, again)
            node.counts.retried += 1
            if self.recording:
                self._out.append(do.Tried(node.index, space, index, again.attempt, again.crashes))
            value = envelope.piece(at) if group is None else None
            tried = envelope.attempt + 1
            self._out.append(do.TaskFailed(node.index, space, index, error, tried, delay, value, lease.visit, position))
            return
        if group is not None:
            if group.fold is not None:
                self._fold_failed(node, group, error, max(envelope.attempt + 1, error.attempts))
                return
            node.counts.failed += group.members
            space, index = next(iter(tasks_of(take(lease.segments, [position]))))
            tried, stay = max(envelope.attempt + 1, error.attempts), lease.visit
            self._failed(
                node, space, index, error, tried, group.pieces, visit=stay, position=position, members=group.members
            )
            return
        self._final_failure(node, lease, position, error)

    def _carry_split(self, lease: Lease, position: int, again: Envelope) -> None:
        """A split that is tried again goes on after its last accepted child."""
        if position in lease.spaces:
            again.child_space = lease.spaces[position]
            again.accepted = lease.children.get(position, 0)

    def _fold_failed(self, node: Inbox, group: Group, error: ErrorRecord, attempts: int) -> None:
        fold: Fold = group.fold
        assert node.merge is not None
        node.merge.folding -= 1
        fold.leased = False
        fold.error, fold.attempts = error, attempts
        fold.pending.clear()
        self._step(node, fold)

    def _final_failure(self, node: Inbox, lease: Lease, position: int, error: ErrorRecord) -> None:
        envelope, at = lease.find(position)
        node.counts.failed += 1
        space, index = next(iter(tasks_of(take(envelope.segments, [at]))))
        if envelope.keys is not None:
            self._key_failed(node, envelope.keys[at])
        self._failed(
            node,
            space,
            index,
            error,
            max(envelope.attempt + 1, error.attempts),  # a journal knows how many attempts there were
            [envelope.piece(at)],
            split=position in lease.spaces,
            visit=lease.visit,
            position=position,
        )

    def _requeue(self, node: Inbox, lease: Lease, positions: Sequence[int], *, trial: int = 0) -> None:
        """Put tasks of a lease back at the front of the queue, in their order; neighbours stay together."""
        for low, high in reversed(list(self._stretches(lease, positions))):
            envelope, at = lease.find(low)
            again = envelope.part(at, at + high - low)
            again.trial = trial
            self._carry_split(lease, low, again)
            self._reset_fold(again)
            again.arrived = self.now
            node.push(again, first=True)
            self.in_flight += again.count

    def _stretches(self, lease: Lease, positions: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Ascending ``positions`` as ranges, each of which can be one envelope."""
        low = high = -1
        for position in positions:
            joins = position == high and lease.find(position)[1] > 0
            if joins and position not in lease.spaces and position - 1 not in lease.spaces:
                high += 1
                continue
            if high >= 0:
                yield low, high
            low, high = position, position + 1
        if high >= 0:
            yield low, high

    def _reset_fold(self, envelope: Envelope) -> None:
        for group in envelope.groups or ():
            if group.fold is not None:
                group.fold.queued = envelope
                group.fold.leased = False
