"""Merges: members held until their scope is complete, folds, windows, and the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dagflow.core import commands as do
from dagflow.core.envelope import Envelope, Lease
from dagflow.core.flow import Flow
from dagflow.core.ids import CLOSED, Indices, Segment, Space, count_of
from dagflow.core.inbox import Inbox
from dagflow.core.merging import Fold, MergeState
from dagflow.core.payload import ErrorRecord, Group, Payload
from dagflow.core.scopes import Family, order_members


class Merges(Flow):
    """Holds what arrives at Mergers, and queues a merge when its scope is complete."""

    def _members_arrive(self, node: Inbox, segments: list[Segment], payload: Payload, low: int) -> None:
        merge = node.merge
        assert merge is not None
        if self.recalling and merge.plan.closing == "window":
            node.push(Envelope("member", segments, count_of(segments), payload, low), ask=True)
            self.in_flight += count_of(segments)
            return
        take_in = self._hold if merge.plan.closing == "scope" else self._collect
        take_in(node, merge, segments, payload, low)

    def _fire_scopes(self, family: Family, scopes: Indices) -> None:
        """Scopes are complete: their members go to each Merger that closes them; the openers' tasks go on there."""
        closers = self.plan.frames[family.frame].closers
        outer = self.lineages.outer(family)
        if len(closers) > 1:  # the opener's task goes on once per Merger
            outer.family.add(outer.fixed, scopes, len(closers) - 1)
        held = [family.held.pop(scope, {}) for scope in scopes]
        lost = [family.lost.pop(scope, []) for scope in scopes]
        for at, merger in enumerate(closers):
            space = family.base if len(closers) == 1 else self.lineages.branch(CLOSED, family.base, at, 0)
            there = self.lineages.account(space, merger)
            if there is not outer:
                there.family.add(there.fixed, scopes)
                self._end(outer, scopes)
            self._merge(self.nodes[merger], space, scopes, [h.get(merger) for h in held], lost)

    def _merge(
        self, node: Inbox, space: Space, indices: Indices, held: list[Any], lost: Sequence[Sequence[ErrorRecord]]
    ) -> None:
        """Queue the merges of complete scopes, one envelope for all; fail those where members are missing."""
        merge = node.merge
        assert merge is not None
        groups: list[Group] = []
        kept: list[int] = []
        for index, members, gone in zip(indices, held, lost, strict=True):
            if merge.plan.fold:
                self._close_fold(node, members, [(space, (index,))], gone)
                continue
            group = Group(order_members(members) if members else [], lost=bool(gone))
            count = group.members
            merge.held -= count
            error = self._incomplete(node, merge, count, gone)
            if error is None:
                groups.append(group)
                kept.append(index)
            else:
                self._fail_merge(node, [(space, (index,))], group, error)
        if kept:
            self._queue_merge(node, Envelope("merge", [(space, kept)], len(kept), groups=groups))

    def _close_fold(self, node: Inbox, fold: Fold | None, segments: list[Segment], lost: Sequence[ErrorRecord]) -> None:
        fold = fold or Fold(segments)
        fold.segments = segments
        fold.closing = True
        fold.lost.extend(lost)
        self._step(node, fold)

    def _incomplete(
        self, node: Inbox, merge: MergeState, members: int, lost: Sequence[ErrorRecord]
    ) -> ErrorRecord | None:
        """Why a complete scope cannot be merged, if so."""
        if lost and not merge.plan.skip_missing:
            return self._missing(lost)
        spread = merge.plan.spread
        if spread is None or members == spread:
            return None
        text = (
            f"its function takes exactly {spread} arguments, one a branch, but {members} members arrived "
            f"(the others were dropped or went elsewhere); let it take one list, or *members"
        )
        return ErrorRecord("missing", "MissingMembers", text)

    def _queue_merge(self, node: Inbox, envelope: Envelope, *, asked: bool = False) -> None:
        if self.stopping is None:
            envelope.arrived = self.now
            node.push(envelope, ask=self.recalling and not asked)
            self.in_flight += envelope.count

    def _missing(self, lost: Sequence[ErrorRecord]) -> ErrorRecord:
        first = lost[0]
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        text = (
            f"{len(lost)} member{'s' if len(lost) > 1 else ''} failed: {first.type}: {first.message} at node "
            f'{first.node!r}{more}; on_missing="skip" merges what is there'
        )
        return ErrorRecord("missing", "MissingMembers", text, causes=tuple(lost[:100]))

    def _fail_merge(
        self, node: Inbox, segments: list[Segment], group: Group, error: ErrorRecord, attempts: int = 0
    ) -> None:
        members = group.fold.members if group.fold is not None else group.members
        node.counts.failed += members
        (space, indices) = segments[0]
        self._failed(node, space, indices[0], error, max(attempts, error.attempts), group.pieces, members=members)

    def _hold(self, node: Inbox, merge: MergeState, segments: list[Segment], payload: Payload, low: int) -> None:
        """Members of scopes arrive: each waits for its own scope only."""
        number = node.index
        folds = merge.plan.fold
        for space, indices in segments:
            account = self.lineages.account(space, number)
            family, fixed = account.family, account.fixed
            if folds:
                at = low
                for scope in account.scopes(indices):
                    many = len(indices) if fixed is not None else 1
                    held = family.held.setdefault(scope, {})
                    fold: Any = held.get(number)
                    if fold is None:
                        fold = held[number] = Fold([self._merged_task(family, number, scope)])  # type: ignore[assignment]
                    fold.add((payload, at, at + many))
                    self._step(node, fold)
                    at += many
            else:
                merge.held += len(indices)
                if fixed is not None:
                    family.hold(fixed, number, (space, indices, payload, low))
                else:
                    for at, index in enumerate(indices, low):
                        family.hold(index, number, (space, index, payload, at))
            low += len(indices)
            self._end(account, indices)

    def _merged_task(self, family: Family, merger: int, scope: int) -> Segment:
        """Who the merged task will be: the opener's, or one of its copies where several Mergers close the scope."""
        closers = self.plan.frames[family.frame].closers
        if len(closers) == 1:
            return family.base, (scope,)
        return self.lineages.branch(CLOSED, family.base, closers.index(merger), 0), (scope,)

    def _step(self, node: Inbox, fold: Fold) -> None:
        """Queue the next step of a fold, if one is due."""
        if fold.error is not None and fold.closing and not fold.leased:
            self._fail_merge(node, fold.segments, Group([], fold=fold), fold.error, fold.attempts)
            return
        merge = node.merge
        assert merge is not None
        if fold.closing and fold.lost and not merge.plan.skip_missing:
            if fold.queued is not None:  # it need not be combined any more
                self._forget_step(node, fold)
            if not fold.leased:
                self._fail_merge(node, fold.segments, Group([], fold=fold), self._missing(fold.lost))
            return
        if fold.error is not None:
            fold.pending.clear()
            return
        if fold.known:
            fold.pending.clear()
        envelope = fold.step()
        if envelope is not None:
            merge.folding += 1
            self._queue_merge(node, envelope, asked=fold.asked and not fold.known)

    def _forget_step(self, node: Inbox, fold: Fold) -> None:
        assert fold.queued is not None
        node.take_out(fold.queued)
        self.in_flight -= 1
        fold.queued = None
        assert node.merge is not None
        node.merge.folding -= 1

    def _collect(self, node: Inbox, merge: MergeState, segments: list[Segment], payload: Payload, low: int) -> None:
        """Members of a window, or of the whole run, arrive; they belong to no scope from here on."""
        for space, indices in segments:
            start = 0
            while start < len(indices):
                room = merge.room()
                stop = len(indices) if room is None else min(len(indices), start + room)
                part = indices[start:stop]
                if merge.since is None:
                    merge.since = self.now
                merge.count += len(part)
                merge.roots += self._sources(space, part)
                if self.recording and merge.plan.closing == "window":
                    merge.ids.append((space, part))
                if merge.plan.fold and not merge.merged:
                    if merge.fold is None:
                        merge.fold = Fold([(self.lineages.aggregate, (_aggregate(node, merge),))])
                    merge.fold.add((payload, low + start, low + stop))
                    self._step(node, merge.fold)
                else:
                    merge.held += len(part)
                    merge.runs.append((space, part, payload, low + start))
                if merge.room() == 0:
                    self._fire_window(node, merge)
                start = stop
            low += len(indices)
        for space, indices in segments:
            self._end(self.lineages.account(space, node.index), indices)

    def _fire_window(self, node: Inbox, merge: MergeState) -> None:
        """The open window (or the run) is complete: its members become one aggregate task."""
        aggregate, index = self.lineages.aggregate, _aggregate(node, merge)
        merge.fired += 1
        self.aggregates[index] = merge.roots
        if self.recording and merge.plan.closing == "window":
            self._out.append(do.Fired(node.index, index, merge.ids))
        if merge.merged and merge.plan.fold:
            merge.fold = self._fold_of(merge, (aggregate, (index,)))
        if merge.plan.closing == "window" and not merge.plan.fold:
            merge.held -= merge.count
            pieces = [(payload, at, at + len(indices)) for _, indices, payload, at in merge.runs]
            merge.reset()
            self._queue_merge(node, Envelope("merge", [(aggregate, (index,))], 1, groups=[Group(pieces)]))
            return
        held = merge.fold if merge.plan.fold else merge.runs
        merge.reset()
        self._merge(node, aggregate, (index,), [held], [merge.lost])

    def _sources(self, space: Space, indices: Indices) -> list[Segment]:
        """The source tasks that tasks came from; of what a window gave, those of its members."""
        roots = space.root_indices(indices)
        if not space.aggregate:
            return [(self.lineages.root, roots)]
        return [segment for index in roots for segment in self.aggregates[index]]

    def _fold_of(self, merge: MergeState, segment: Segment) -> Fold:
        """The fold of members that were kept as they were, because a journal knows what came of them."""
        fold = Fold([segment])
        for _, indices, payload, low in merge.runs:
            fold.add((payload, low, low + (1 if isinstance(indices, int) else len(indices))))
        merge.held -= fold.members
        return fold

    def _close_group(self, node: Inbox, lease: Lease, position: int) -> int:
        envelope, at = lease.find(position)
        assert envelope.groups is not None
        assert node.merge is not None
        group = envelope.groups[at]
        if group.fold is None:
            return group.members
        group.fold.leased = False
        node.merge.folding -= 1
        return int(group.fold.members)


def _aggregate(node: Inbox, merge: MergeState) -> int:
    """The number of the task that the open window becomes."""
    return (node.index << 40) | merge.fired
