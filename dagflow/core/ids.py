"""Identity and lineage of tasks, many at a time.

A task is ``(space, index)``. A *space* is a numbering that many tasks share, so that a batch of a thousand
neighbours is one `Segment` and not a thousand objects:

* the root space numbers the source tasks;
* a task that is split opens a space of its own, which numbers its children;
* a port that leads to several nodes derives one space per branch, with the *same* index as the parent's, so
  that broadcasting a batch makes no object per task;
* copies (a Router that gave several labels, several Mergers closing one scope) derive spaces likewise;
* the aggregate space numbers what came from several source tasks (windows, ``of="run"``).

Following parents to the root gives the frames of the lineage; `lineage` is the sort key that orders values
as they were written. Spaces hold what is counted in them (`families`) and are freed with their last task.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from dagflow.core.scopes import Account, Family

Indices = Sequence[int]
Segment = tuple["Space", Indices]
COPY: Final = -2
"""The "frame" of the spaces of copies that a Router makes of a task with several labels."""
CLOSED: Final = -3
"""The "frame" of the spaces of a task that goes on several times because several Mergers closed its scope."""
FAILED: Final = -4
"""The "frame" of the space of a split that failed after children had gone on: it is no merge of theirs."""
ROOT: Final = -1
"""The "frame" of the accounts that decide the fate of source tasks (and of aggregates)."""


class Space:
    """A numbering of tasks. ``fixed`` is the parent's index for a split, None where indices are the parent's.

    ``place``: what a journal calls it, kept here once it has been worked out.
    """

    __slots__ = (
        "accounts",
        "aggregate",
        "branch",
        "chain",
        "derived",
        "families",
        "fixed",
        "frame",
        "parent",
        "place",
    )

    def __init__(self, parent: Space | None, frame: int, fixed: int | None, branch: int) -> None:
        self.parent = parent
        self.frame = frame
        self.fixed = fixed
        self.branch = branch
        self.aggregate: bool = parent.aggregate if parent is not None else False
        self.chain: tuple[Account, ...] = ()
        self.accounts: dict[int, Account] = {}
        self.families: dict[int, Family] = {}
        self.derived: dict[tuple[int, int], Space] = {}
        self.place: object = None

    def root_index(self, index: int) -> int:
        """The number of the source task (or aggregate) that task ``index`` came from."""
        space: Space = self
        while space.parent is not None:
            if space.fixed is not None:
                index = space.fixed
            space = space.parent
        return index

    def root_indices(self, indices: Indices) -> Indices:
        """The root numbers of many tasks; one number where they all have the same."""
        space: Space = self
        while space.parent is not None:
            if space.fixed is not None:
                return (space.parent.root_index(space.fixed),)
            space = space.parent
        return indices

    def lineage(self, index: int) -> tuple[int, ...]:
        """The sort key of task ``index``: root number, then frame and child or branch number, frame by frame.

        The frame's number stands in it because a task may be split, merged and split again: its first children
        (those that left the scope) and its second ones must not be taken for each other.
        """
        key: list[int] = []
        space: Space = self
        while space.parent is not None:
            if space.fixed is not None:
                key.append(index)
                index = space.fixed
            else:
                key.append(space.branch)
            key.append(space.frame)
            space = space.parent
        key.append(index)
        key.reverse()
        return tuple(key)

    def told(self, index: int) -> str:
        """Task ``index`` in words: ``task 17``, ``child 3 of task 17``. Counted from 0."""
        words: list[str] = []
        space: Space = self
        while space.parent is not None:
            if space.fixed is not None:
                words.append(f"child {index}")
                index = space.fixed
            space = space.parent
        words.append(f"{'aggregate' if space.aggregate else 'task'} {index}")
        return " of ".join(words)

    def __repr__(self) -> str:
        if self.parent is None:
            return "aggregate" if self.aggregate else "root"
        step = f"[{self.fixed}]*" if self.fixed is not None else f"/{self.branch}"
        return f"{self.parent!r}{step}"


def count_of(segments: Sequence[Segment]) -> int:
    """How many tasks the segments hold."""
    if len(segments) == 1:
        return len(segments[0][1])
    count = 0
    for _, indices in segments:
        count += len(indices)
    return count


def slice_segments(segments: Sequence[Segment], low: int, high: int) -> list[Segment]:
    """The tasks at positions ``low`` to ``high`` of the segments."""
    if len(segments) == 1:
        space, indices = segments[0]
        return [(space, indices[low:high])]
    found: list[Segment] = []
    start = 0
    for space, indices in segments:
        end = start + len(indices)
        if end > low and start < high:
            found.append((space, indices[max(low - start, 0) : high - start]))
        start = end
        if start >= high:
            break
    return found


def take(segments: Sequence[Segment], positions: Sequence[int]) -> list[Segment]:
    """The tasks at ``positions`` (rising) of the segments."""
    if len(segments) == 1:
        space, indices = segments[0]
        return [(space, _at(indices, positions, 0))] if len(positions) else []
    found: list[Segment] = []
    start = at = 0
    for space, indices in segments:
        end = start + len(indices)
        begin, at = at, bisect_left(positions, end, at)
        if at > begin:
            found.append((space, _at(indices, positions[begin:at], start)))
        start = end
        if at == len(positions):
            break
    return found


def _at(indices: Sequence[int], positions: Sequence[int], start: int) -> Sequence[int]:
    """Those of ``indices``, the first of which is at ``start``; of neighbours that are a range a range."""
    first, last = positions[0] - start, positions[-1] - start
    if last - first == len(positions) - 1 and isinstance(indices, range) and indices.step == 1:
        return indices[first : last + 1]
    return [indices[p - start] for p in positions]


def tasks_of(segments: Iterable[Segment]) -> Iterable[tuple[Space, int]]:
    """The tasks one by one."""
    for space, indices in segments:
        for index in indices:
            yield space, index
