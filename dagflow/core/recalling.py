"""Recalling: what a journal knows of tasks is asked where their work would begin, and taken in like an answer.

While a journal may know of tasks (`State.recalling`), what arrives at a node goes to `Inbox.unasked` first. From
there it is leased to the journal, as to a worker of unlimited credit; what it knows ends there and then, by the
very code that takes in the answers of workers, so that scopes, merges, routes, counts and order are rebuilt by
what is proved right already. What it does not know goes on into the node's queue.

A task that was running when the driver itself died may have killed it: it runs when nothing else is left to do, alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.answers import Answers
from dagflow.core.envelope import Envelope, Lease
from dagflow.core.ids import Segment, take
from dagflow.core.inbox import ENVELOPE_TASKS, JOURNAL, Inbox
from dagflow.core.merging import Fold
from dagflow.core.payload import Group

PATIENCE_SECONDS: Final = 1.0
"""A source that gives nothing for so long, with nothing else to do, lets such a task run."""


class Recalling(Answers):
    """Asks the journal, and takes in what it knows."""

    def _remembered(self, event: ev.Remembered) -> None:
        self.recalling = event.recalling
        for number, keys in event.seen.items():
            dedup = self.nodes[number].dedup
            if dedup is not None:
                dedup.done |= keys
        for number, fired in event.fired.items():
            merge = self.nodes[number].merge
            if merge is not None:
                merge.fired = max(merge.fired, fired)
        for number in event.merged:
            merge = self.nodes[number].merge
            if merge is not None:
                merge.merged = True
        if not event.recalling:
            for node in self.nodes:
                unasked = list(node.unasked)
                node.unasked.clear()
                for envelope in unasked:
                    node.queued -= envelope.count
                    node.bytes -= envelope.size
                    self.in_flight -= envelope.count
                    self._go_on(node, envelope)

    def _ask(self) -> None:
        """Ask about what has arrived, the deepest node first, as far as what is known has somewhere to go."""
        for node in reversed(self.nodes):
            while node.unasked and self.has_room(node):
                envelopes = node.pop(ENVELOPE_TASKS, ask=True)
                self._tokens += 1
                segments = [s for e in envelopes for s in e.segments]
                count = sum(e.count for e in envelopes)
                lease = Lease(self._tokens, node.index, JOURNAL, envelopes, segments, count, count)
                self.leases[lease.token] = lease
                node.leased += count
                groups = [group for e in envelopes for group in e.groups or ()]
                for group in groups:
                    if group.fold is not None:
                        group.fold.lease()
                self._out.append(do.Recall(lease.token, node.index, envelopes[0].kind, segments, groups))

    def _recalled(self, event: ev.Recalled) -> None:
        answer = event.answer
        lease = self.leases.get(answer.token)
        if lease is None:
            return
        node = self.nodes[lease.node]
        ended: Sequence[int] = answer.ended or ()
        well = ended
        self.again = True
        try:
            if lease.envelopes[0].kind == "member":
                well = self._members_recalled(node, lease, event)
            else:
                self._ended_again(node, lease, event)
        finally:
            self.again = False
        self._settle(node, lease, answer, ended)
        if self.recording:
            self._out.append(do.Settled(node.index, lease, answer, well))
        self._unknown(node, lease, answer.returned, event.tries)
        if answer.last:
            self._release(lease)

    def _ended_again(self, node: Inbox, lease: Lease, event: ev.Recalled) -> None:
        answer = event.answer
        ended = answer.ended or []
        kind = lease.envelopes[0].kind
        node.counts.retried += event.retried
        if node.plan.kind == "split":
            self._children(node, lease, answer)
        elif kind == "merge":
            ended = self._known_folds(node, lease, ended)
            self._merged(node, lease, answer, ended)
        else:
            self._succeeded(node, lease, answer, ended)
        for position in answer.dropped:
            self._dropped(node, lease, position)
        for position in event.duplicates:
            self._duplicate(node, lease, position)
        answer.dropped = [*answer.dropped, *event.duplicates]
        if node.plan.kind == "split":
            self._split_ended(node, lease, ended)
        for position, error, _ in answer.failures:
            self._attempt_failed(node, lease, position, error, may_retry=False)

    def _known_folds(self, node: Inbox, lease: Lease, ended: list[int]) -> list[int]:
        """Folds of which the journal knows the end before their last member has come: nothing need be combined.

        Gives the merges that have really ended.
        """
        assert node.merge is not None
        final: list[int] = []
        for position in ended:
            envelope, at = lease.find(position)
            assert envelope.groups is not None
            group = envelope.groups[at]
            if group.final:
                final.append(position)
                continue
            fold: Fold = group.fold
            fold.leased, fold.asked, fold.known = False, True, True
            node.merge.folding -= 1
            self._step(node, fold)
        return final

    def _members_recalled(self, node: Inbox, lease: Lease, event: ev.Recalled) -> Sequence[int]:
        """Members of known windows: they count there, and wait only for a merge that has to be done again.

        Gives those that need not wait.
        """
        assert node.merge is not None
        ended = event.answer.ended or []
        waiting: set[int] = set()
        for number, positions in event.unmerged.items():
            waiting.update(positions)
            pieces = node.merge.unmerged.setdefault(number, [])
            for position in positions:
                envelope, at = lease.find(position)
                pieces.append(envelope.piece(at))
        for space, indices in take(lease.segments, ended):
            self._end(self.lineages.account(space, node.index), indices)
        return [position for position in ended if position not in waiting]

    def _window_filled(self, event: ev.WindowFilled) -> None:
        """All members of a known window have come: its end is recalled, or else it is merged again."""
        node = self.nodes[event.node]
        assert node.merge is not None
        index = (event.node << 40) | event.number
        self.aggregates[index] = event.roots
        segments: list[Segment] = [(self.lineages.aggregate, (index,))]
        pieces = node.merge.unmerged.pop(event.number, [])
        if pieces and node.merge.plan.fold:
            fold = Fold(segments)
            for piece in pieces:
                fold.add(piece)
            self._close_fold(node, fold, segments, ())
            return
        group = Group(pieces) if pieces else Group([], known=event.members)
        self._queue_merge(node, Envelope("merge", segments, 1, groups=[group]))

    # -- what is not known ----------------------------------------------------------------------------

    def _unknown(self, node: Inbox, lease: Lease, positions: list[int], tries: dict[int, ev.Tries]) -> None:
        """Tasks that the journal does not know go on as they came; those it knows something of, each by itself."""
        plain = [p for p in positions if p not in tries] if tries else positions
        found = [(low, high) for low, high in self._stretches(lease, plain)] + [(p, p + 1) for p in tries]
        for low, high in sorted(found):
            envelope, at = lease.find(low)
            if low in tries or low in lease.spaces:
                self._go_on(node, self._one_of(lease, low, tries.get(low)))
            else:
                self._go_on(node, envelope.part(at, at + high - low))

    def _one_of(self, lease: Lease, position: int, tried: ev.Tries | None) -> Envelope:
        envelope, at = lease.find(position)
        one = envelope.only(at)
        self._carry_split(lease, position, one)
        if tried is not None:
            one.attempt, one.crashes = tried.attempt, tried.crashes
            one.deferred = tried.suspect
            if tried.crashes or tried.suspect:
                self._trials += 1
                one.trial = self._trials
        return one

    def _go_on(self, node: Inbox, envelope: Envelope) -> None:
        if self.stopping is not None:
            return
        if envelope.kind == "member":
            assert node.merge is not None
            assert envelope.payload is not None
            self._collect(node, node.merge, envelope.segments, envelope.payload, envelope.low)
            return
        if envelope.deferred:
            self.deferred.append((node.index, envelope))
            node.deferred += envelope.count
            for group in envelope.groups or ():
                if group.fold is not None:
                    group.fold.asked = True  # its other steps are neither suspected nor asked about again
            return
        node.push(envelope)
        self.in_flight += envelope.count
        for group in envelope.groups or ():
            fold: Fold | None = group.fold
            if fold is not None:
                fold.asked, fold.leased, fold.queued = True, False, envelope
                group.pieces.extend(fold.pending)
                fold.pending = []
                self._step(node, fold)

    # -- what may have killed the driver --------------------------------------------------------------

    def _try_deferred(self) -> None:
        """Let a task that may have killed the driver run, when nothing else is left to do."""
        if self.solo is not None:
            alone = self.nodes[self.solo]
            if alone.queued or alone.leased:
                return
            self.solo = None  # it has ended: what comes of it goes on as usual
        if not self.deferred or self.in_flight or self.waiting.next_due() is not None:
            return
        if self.source_open and (not self.pulling or self.now < self.quiet_since + PATIENCE_SECONDS):
            return
        number, envelope = self.deferred.popleft()
        node = self.nodes[number]
        node.deferred -= envelope.count
        envelope.deferred = False
        self.solo = number
        node.push(envelope, first=True)
        self.in_flight += envelope.count
