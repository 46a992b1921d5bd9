"""Duplicates: of tasks with equal keys the first goes on, the others wait for how it ends."""

from __future__ import annotations

from collections.abc import Sequence

from dagflow.core import commands as do
from dagflow.core.envelope import Envelope, Lease
from dagflow.core.ids import take
from dagflow.core.inbox import Inbox
from dagflow.core.merges import Merges


class Duplicates(Merges):
    """Deduplication by keys that workers have worked out."""

    def _select(self, lease: Lease, positions: list[int], keys: Sequence[bytes | None]) -> list[Envelope]:
        """The tasks at ``positions`` as envelopes to run; neighbours stay together."""
        found: list[Envelope] = []
        last = -2
        for position in positions:
            envelope, at = lease.find(position)
            key = keys[position]
            assert key is not None
            if position == last + 1 and at and found:
                tail = found[-1]
                tail.segments.extend(take(envelope.segments, [at]))
                tail.count += 1
                assert tail.keys is not None
                tail.keys.append(key)
            else:
                one = envelope.only(at)
                one.kind, one.keys = "run", [key]
                found.append(one)
            last = position
        return found

    def _duplicate(self, node: Inbox, lease: Lease, position: int) -> None:
        envelope, at = lease.find(position)
        self._drop_duplicate(node, envelope.only(at))

    def _drop_duplicate(self, node: Inbox, envelope: Envelope) -> None:
        node.counts.dropped += 1
        node.counts.duplicates += 1
        inputs = [(envelope.payload, envelope.low, envelope.low + 1)] if envelope.payload is not None else []
        self._out.append(do.TasksEnded(node.index, "duplicate", envelope.segments, 1, inputs=inputs, again=self.again))
        for space, indices in envelope.segments:
            self._end(self.lineages.account(space, node.index), indices)

    def _keys_done(self, node: Inbox, lease: Lease, positions: Sequence[int]) -> None:
        """The first tasks of their keys have ended well: those that waited are duplicates."""
        dedup = node.dedup
        assert dedup is not None
        for position in positions:
            envelope, at = lease.find(position)
            if envelope.keys is None:
                continue  # recalled: a journal has told all keys that it knows at the beginning
            key = envelope.keys[at]
            dedup.done.add(key)
            for waiting in dedup.pending.pop(key, ()):
                dedup.waiting -= 1
                self._drop_duplicate(node, waiting)

    def _key_failed(self, node: Inbox, key: bytes) -> None:
        """The first task of its key failed finally, so it does not count as seen: the next one is tried."""
        dedup = node.dedup
        assert dedup is not None
        waiting = dedup.pending.get(key)
        if not waiting:
            dedup.pending.pop(key, None)
            return
        following = waiting.popleft()
        dedup.waiting -= 1
        if self.stopping is None:
            node.push(following, first=True)
            self.in_flight += 1
