"""Splits: children that arrive while their Splitter still runs, numbered and held back when there is no room."""

from __future__ import annotations

from collections.abc import Sequence

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.envelope import Lease
from dagflow.core.failing import Failing
from dagflow.core.ids import Segment, Space, take
from dagflow.core.inbox import Inbox
from dagflow.errors import InvariantBroken


class Splits(Failing):
    """Takes in the children of Splitters."""

    def _children(self, node: Inbox, lease: Lease, answer: ev.Answer) -> None:
        """Children arrive while their Splitter may still be running."""
        for produced in answer.outputs:
            segments: list[Segment] = []
            for position, start, count in produced.children or ():
                space = self._child_space(node, lease, position)
                accepted = lease.children.get(position, 0)
                if start < accepted:
                    raise InvariantBroken(
                        f"splitter {node.plan.name!r} sent child {start} of a task of which {accepted} were accepted"
                    )
                lease.children[position] = start + count
                segments.append((space, range(start, start + count)))
            if segments:  # none, where all were dropped
                self._emit(node, node.plan.ports[produced.port], segments, produced.payload, produced.low, fresh=True)
            if not answer.last:
                lease.owed += 1
                self._blocked_splits.add(lease.token)

    def _child_space(self, node: Inbox, lease: Lease, position: int) -> Space:
        space = lease.spaces.get(position)
        if space is None:
            (base, indices) = take(lease.segments, [position])[0]
            frame = node.plan.split_frame
            space = self.lineages.split(frame, base, indices[0])
            if self._tracks(frame):
                family = self.lineages.family(frame, base, 0)
                family.add(None, indices)  # the split itself, while it runs
                outer = self.lineages.outer(family)
                if outer is not self.lineages.account(base, node.index):
                    outer.family.add(outer.fixed, indices)
            lease.spaces[position] = space
        return space

    def _split_ended(self, node: Inbox, lease: Lease, ended: Sequence[int]) -> None:
        for position in ended:
            space = self._child_space(node, lease, position)
            assert space.parent is not None
            assert space.fixed is not None
            for account in self._standing(node, space.parent, split=True):
                self._end(account, (space.fixed,))
        node.counts.succeeded += len(ended)
        if len(ended):
            segments = take(lease.segments, ended)
            self._out.append(
                do.TasksEnded(
                    node.index,
                    "succeeded",
                    segments,
                    len(ended),
                    0.0,
                    self._inputs(lease),
                    list(ended),
                    lease.visit,
                    self.again,
                )
            )
            if node.dedup is not None:
                self._keys_done(node, lease, ended)
