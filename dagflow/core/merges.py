"""Merges: members held until their scope is complete, folds, windows, and the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dagflow.core.envelope import (
    Envelope,
    ErrorRecord,
    Group,
    Lease,
    Payload,
)
from dagflow.core.flow import Flow
from dagflow.core.ids import CLOSED, Segment
from dagflow.core.inbox import Inbox
from dagflow.core.merging import Fold, MergeState
from dagflow.core.scopes import Family, order_members


class Merges(Flow):
    """Holds what arrives at Mergers, and queues a merge when its scope is complete."""

    def _members_arrive(self, node: Inbox, segments: list[Segment], payload: Payload, low: int) -> None:
        merge = node.merge
        assert merge is not None
        take_in = self._hold if merge.plan.closing == "scope" else self._collect
        take_in(node, merge, segments, payload, low)

    def _fire_scope(self, family: Family, scope: int) -> None:
        """A scope is complete: hand its members to each Merger that closes it; the task that opened it goes on."""
        held = family.held.pop(scope, None) or {}
        lost = family.lost.pop(scope, ())
        closers = self.plan.frames[family.frame].closers
        base = family.base
        outer = self.lineages.outer(family)
        if len(closers) > 1:  # the opener's task goes on once per Merger
            outer.family.add(outer.fixed, (scope,), len(closers) - 1)
        for at, merger in enumerate(closers):
            space = base if len(closers) == 1 else self.lineages.branch(CLOSED, base, at, 0)
            there = self.lineages.account(space, merger)
            if there is not outer:
                there.family.add(there.fixed, (scope,))
                self._end(outer, (scope,))
            self._merge(self.nodes[merger], [(space, (scope,))], held.get(merger), lost)

    def _merge(self, node: Inbox, segments: list[Segment], held: Any, lost: Sequence[ErrorRecord]) -> None:
        """Queue the merge of a complete scope, or fail it where members are missing."""
        merge = node.merge
        assert merge is not None
        if isinstance(held, Fold) or (held is None and merge.plan.fold):
            fold = held if isinstance(held, Fold) else Fold(segments)
            fold.segments = segments
            fold.closing = True
            fold.lost.extend(lost)
            self._step(node, fold)
            return
        pieces = order_members(held) if held else []
        group = Group(pieces)
        merge.held -= group.members
        if lost and not merge.plan.skip_missing:
            self._fail_merge(node, segments, group, self._missing(node, lost))
            return
        spread = merge.plan.spread
        if spread is not None and group.members != spread:
            text = (
                f"its function takes exactly {spread} arguments, one a branch, but {group.members} members arrived "
                f"(the others were dropped or went elsewhere); let it take one list, or *members"
            )
            self._fail_merge(node, segments, group, ErrorRecord("missing", "MissingMembers", text))
            return
        self._queue_merge(node, Envelope("merge", segments, 1, groups=[group]))

    def _queue_merge(self, node: Inbox, envelope: Envelope) -> None:
        if self.stopping is None:
            node.push(envelope)
            self.in_flight += envelope.count

    def _missing(self, node: Inbox, lost: Sequence[ErrorRecord]) -> ErrorRecord:
        first = lost[0]
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        text = (
            f"{len(lost)} member{'s' if len(lost) > 1 else ''} failed: {first.type}: {first.message} at node "
            f'{first.node!r}{more}; on_missing="skip" merges what is there'
        )
        return ErrorRecord("missing", "MissingMembers", text, causes=tuple(lost[:100]))

    def _fail_merge(self, node: Inbox, segments: list[Segment], group: Group, error: ErrorRecord) -> None:
        members = group.fold.members if group.fold is not None else group.members
        node.counts.failed += members
        (space, indices) = segments[0]
        input_piece = group.pieces[0] if group.pieces else None
        self._failed(node, space, indices[0], error, 0, input_piece)

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
                        fold = held[number] = Fold([(family.base, (scope,))])  # type: ignore[assignment]
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

    def _step(self, node: Inbox, fold: Fold) -> None:
        """Queue the next step of a fold, if one is due."""
        if fold.error is not None and fold.closing and not fold.leased:
            group = Group([], fold=fold)
            self._fail_merge(node, fold.segments, group, fold.error)
            return
        merge = node.merge
        assert merge is not None
        if fold.closing and fold.lost and not merge.plan.skip_missing:
            if fold.queued is not None:  # it need not be combined any more
                self._forget_step(node, fold)
            if not fold.leased:
                self._fail_merge(node, fold.segments, Group([], fold=fold), self._missing(node, fold.lost))
            return
        if fold.error is not None:
            fold.pending.clear()
            return
        envelope = fold.step()
        if envelope is not None:
            merge.folding += 1
            self._queue_merge(node, envelope)

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
                root = self.lineages.aggregate if space.aggregate else self.lineages.root
                merge.roots.append((root, space.root_indices(part)))
                if merge.plan.fold:
                    if merge.fold is None:
                        merge.fold = Fold([])
                        merge.fold.segments = [(self.lineages.aggregate, (merge.fired,))]
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
        aggregate = self.lineages.aggregate
        index = (node.index << 40) | merge.fired
        merge.fired += 1
        self.aggregates[index] = merge.roots
        held: Any = merge.fold
        lost: Sequence[ErrorRecord] = ()
        if merge.plan.closing == "run":
            lost = merge.lost
            held = held if merge.plan.fold else merge.runs
        elif not merge.plan.fold:
            held = merge.runs
        segments: list[Segment] = [(aggregate, (index,))]
        there = self.lineages.account(aggregate, node.index)
        assert there.family is self.lineages.aggregate_fates
        if isinstance(held, list) and merge.plan.closing == "window":
            merge.held -= merge.count
            pieces = [(p, at, at + (1 if isinstance(i, int) else len(i))) for _, i, p, at in held]
            merge.reset()
            self._queue_merge(node, Envelope("merge", segments, 1, groups=[Group(pieces)]))
            return
        merge.reset()
        self._merge(node, segments, held, lost)

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
