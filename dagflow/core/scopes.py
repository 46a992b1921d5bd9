"""Who waits for whom: scopes at run time, and the fate of source tasks, by counting.

Every task counts in exactly one *account*: that of the innermost scope around it whose Merger it can still
reach, else that of its source task. An account is ``(family, fixed)``: a *family* is all scopes that one
frame opens over one space, numbered like the tasks that opened them; ``fixed`` names the one scope where all
tasks of a space count in the same (children of one split), and is None where task i counts in scope i.

The count of a scope falls when a task of it arrives at its Merger, or ends, or leaves for where no Merger
waits for it. At zero the scope is complete: nothing that belongs to it can arrive any more. No end mark
travels, so none can be lost; and since most scopes hold their default count, most need no entry at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dagflow.core.ids import ROOT, Indices, Space

if TYPE_CHECKING:
    from dagflow.core.payload import ErrorRecord, Payload
    from dagflow.graph.plan import Plan

Run = tuple[Space, "Indices | int", "Payload", int]
"""Members that arrived together: their space, rising indices (or one index), and where their values lie."""


class Account:
    """Where the tasks of a space count: scope ``fixed`` of ``family``, or (None) the scope of their own index."""

    __slots__ = ("family", "fixed")

    def __init__(self, family: Family, fixed: int | None) -> None:
        self.family = family
        self.fixed = fixed

    def scopes(self, indices: Indices) -> Indices:
        """The numbers of the scopes that ``indices`` count in."""
        return indices if self.fixed is None else (self.fixed,)


class Family:
    """The scopes that one frame opens over one space; ``live`` holds the counts that are not ``default``."""

    __slots__ = ("base", "default", "frame", "held", "live", "lost")

    def __init__(self, frame: int, base: Space, default: int) -> None:
        self.frame = frame
        self.base = base
        self.default = default
        self.live: dict[int, int] = {}
        self.held: dict[int, dict[int, list[Run]]] = {}
        self.lost: dict[int, list[ErrorRecord]] = {}

    def add(self, fixed: int | None, indices: Indices, times: int = 1) -> None:
        """Count ``times`` more tasks for each of ``indices``."""
        live = self.live
        if fixed is not None:
            live[fixed] = live.get(fixed, self.default) + len(indices) * times
            return
        default = self.default
        for i in indices:
            live[i] = live.get(i, default) + times

    def end(self, fixed: int | None, indices: Indices) -> Indices:
        """Count one task less for each of ``indices``; gives the scopes that are complete now."""
        live = self.live
        if fixed is not None:
            left = live.get(fixed, self.default) - len(indices)
            if left > 0:
                live[fixed] = left
                return ()
            assert left == 0, f"scope {fixed} of frame {self.frame} counted below zero"
            live.pop(fixed, None)
            return (fixed,)
        default = self.default
        if default == 1 and not live:
            return indices
        complete = []
        for i in indices:
            left = live.get(i, default) - 1
            if left:
                assert left > 0, f"scope {i} of frame {self.frame} counted below zero"
                live[i] = left
            else:
                live.pop(i, None)
                complete.append(i)
        return complete

    def hold(self, scope: int, merger: int, run: Run) -> None:
        """Keep members that arrived at ``merger`` until their scope is complete."""
        self.held.setdefault(scope, {}).setdefault(merger, []).append(run)

    def lose(self, scope: int, error: ErrorRecord) -> None:
        """Leave a tombstone: a member that failed."""
        self.lost.setdefault(scope, []).append(error)


class Lineages:
    """Makes spaces and finds the accounts that their tasks count in."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.root = Space(None, ROOT, None, 0)
        self.fates = Family(ROOT, self.root, 1)
        self.aggregate = Space(None, ROOT, None, 0)
        self.aggregate.aggregate = True
        self.aggregate_fates = Family(ROOT, self.aggregate, 1)
        self.aggregate.chain = (Account(self.aggregate_fates, None),)
        fate = Account(self.fates, None)
        self.root.chain = (fate,)
        if plan.frames[plan.task_frame].closers:
            # What is merged of a source task has its number but has left its scope: its space is a twin of the root.
            merged = Space(None, ROOT, None, 0)
            merged.chain = (fate,)
            whole = self.root.families[plan.task_frame] = Family(plan.task_frame, merged, 1)
            self.root.chain = (Account(whole, None), fate)

    def account(self, space: Space, node: int) -> Account:
        """Where tasks of ``space`` count while they are at ``node``."""
        found = space.accounts.get(node)
        if found is None:
            found = space.accounts[node] = self._within(space, self.plan.nodes[node].needed)
        return found

    def _within(self, space: Space, needed: frozenset[int]) -> Account:
        for account in space.chain:
            if account.family.frame in needed:
                return account
        return space.chain[-1]

    def outer(self, family: Family) -> Account:
        """Where the task that opened a scope of ``family`` counts while the scope is open."""
        key = ~family.frame  # beside the nodes' numbers in the same cache
        found = family.base.accounts.get(key)
        if found is None:
            closers = self.plan.frames[family.frame].closers
            needed = frozenset().union(*(self.plan.nodes[m].needed for m in closers)) - {family.frame}
            found = family.base.accounts[key] = self._within(family.base, needed)
        return found

    def family(self, frame: int, base: Space, default: int) -> Family:
        """The scopes of ``frame`` over ``base``."""
        found = base.families.get(frame)
        if found is None:
            found = base.families[frame] = Family(frame, base, default)
        return found

    def split(self, frame: int, base: Space, index: int) -> Space:
        """The space of the children of task ``index``."""
        space = Space(base, frame, index, 0)
        above = tuple(a if a.fixed is not None else Account(a.family, index) for a in base.chain)
        if self.plan.frames[frame].closers:
            above = (Account(self.family(frame, base, 0), index), *above)
        space.chain = above
        return space

    def branch(self, frame: int, base: Space, branch: int, default: int) -> Space:
        """The space of branch number ``branch`` of tasks of ``base``."""
        key = (frame, branch)
        space = base.derived.get(key)
        if space is None:
            space = base.derived[key] = Space(base, frame, None, branch)
            if frame >= 0 and self.plan.frames[frame].closers:
                space.chain = (Account(self.family(frame, base, default), None), *base.chain)
            else:
                space.chain = base.chain
        return space


def order_members(runs: list[Run]) -> list[tuple[Payload, int, int]]:
    """The members of one scope in lineage order, as pieces ``(payload, from, to)`` of where their values lie."""
    if len(runs) > 1 or (runs and not isinstance(runs[0][1], (int, range))):
        if _siblings(runs):
            runs = sorted(runs, key=_branch)
            return [(payload, low, low + 1) for _, _, payload, low in runs]
        spaces = {id(run[0]) for run in runs}
        first = [run[1] if isinstance(run[1], int) else run[1][0] for run in runs]
        if len(spaces) == 1 and _disjoint(runs, first):
            runs = [runs[i] for i in sorted(range(len(runs)), key=first.__getitem__)]
        else:
            runs = sorted(_singles(runs), key=lambda run: run[0].lineage(_only(run[1])))
    return [(payload, low, low + (1 if isinstance(ids, int) else len(ids))) for _, ids, payload, low in runs]


def _siblings(runs: list[Run]) -> bool:
    """Whether the runs are one task each, from branches of one branching: the usual diamond."""
    parent, frame = runs[0][0].parent, runs[0][0].frame
    return all(
        isinstance(ids, int) and space.parent is parent and space.frame == frame and space.fixed is None
        for space, ids, _, _ in runs
    )


def _branch(run: Run) -> int:
    return run[0].branch


def _disjoint(runs: list[Run], first: Sequence[int]) -> bool:
    """Whether runs of one space do not interleave, so that ordering them by their first index is enough."""
    ends = [ids if isinstance(ids, int) else ids[-1] for _, ids, _, _ in runs]
    by_start = sorted(zip(first, ends, strict=True))
    return all(a[1] < b[0] for a, b in itertools.pairwise(by_start))


def _singles(runs: list[Run]) -> Iterable[Run]:
    for space, ids, payload, low in runs:
        if isinstance(ids, int):
            yield space, ids, payload, low
        else:
            for offset, index in enumerate(ids):
                yield space, index, payload, low + offset


def _only(ids: Indices | int) -> int:
    assert isinstance(ids, int)
    return ids
