"""Places: what a task is called in a journal, where names last longer than a run.

A task is ``(shape, numbers)``. The *shape* is the path of names by which it came: which Splitters it is a child
of, which branches it took. The *numbers* are its source task's and, for each split on the path, the child's; all
but the last are the *prefix* that neighbours share. So names of nodes count, and their order in a plan does not.

The source task's number is the journal's own: tasks that come again get the numbers that they had (see
`dagflow.journal.source`), whatever their order now. What came from several source tasks is numbered by its
Merger: window 0, 1, ..., or 0 for the whole run.

Source tasks lie in *blocks* of `BLOCK` neighbours. All that came of them lies in their block, so that what is
read, checked and tidied at a time is bounded. What came from several lies in blocks below zero.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from dagflow.core.ids import CLOSED, COPY, FAILED, Indices, Segment, Space

if TYPE_CHECKING:
    from dagflow.graph.plan import Plan

BLOCK_BITS: Final = 12
BLOCK: Final = 1 << BLOCK_BITS
AGGREGATE_BITS: Final = 40
"""The core numbers aggregates ``node << 40 | number``."""
_MANY: Final = 1 << 36

Step = tuple[str, str, int, int]
"""A step of a path: the frame and the branch by name ("" for the children of a split), then by number."""


def aggregate_block(merger: int, number: int) -> int:
    """The block of an aggregate, by the number of its Merger."""
    return -1 - (merger * _MANY + (number >> BLOCK_BITS))


class Spot(NamedTuple):
    """Tasks that lie together in one block: positions ``low`` to ``high`` of the segments they were found in."""

    block: int
    shape: int
    prefix: tuple[int, ...]
    numbers: Sequence[int]
    low: int
    high: int


class Numbering:
    """The journal's numbers of this run's source tasks, as runs of both: in the usual case one run in all."""

    def __init__(self) -> None:
        self.count = 0
        self._starts: list[int] = []
        self._numbers: list[int] = []

    def add(self, number: int, count: int) -> None:
        """The next ``count`` source tasks of this run are number ``number`` and those after it."""
        at = len(self._starts) - 1
        if at < 0 or self._numbers[at] + self.count - self._starts[at] != number:
            self._starts.append(self.count)
            self._numbers.append(number)
        self.count += count

    def number(self, index: int) -> int:
        """The journal's number of source task ``index``."""
        at = bisect_right(self._starts, index) - 1
        return self._numbers[at] + index - self._starts[at]

    def numbers(self, indices: Indices) -> Indices:
        """The journal's numbers of many."""
        starts = self._starts
        if isinstance(indices, range) and len(indices):
            at = bisect_right(starts, indices.start) - 1
            if at + 1 == len(starts) or starts[at + 1] >= indices.stop:
                shift = self._numbers[at] - starts[at]
                return range(indices.start + shift, indices.stop + shift) if shift else indices
        if len(starts) == 1:
            shift = self._numbers[0] - starts[0]
            return [i + shift for i in indices] if shift else indices
        return [self.number(i) for i in indices]


class Shapes:
    """The paths that a journal has names for, by number. Kept with it; numbers are never used twice."""

    def __init__(self, paths: Sequence[tuple[str, tuple[Step, ...]]] = ()) -> None:
        self.paths = list(paths)
        self._known = {_names(root, steps): at for at, (root, steps) in enumerate(self.paths)}
        self.changed = False

    def number(self, root: str, steps: tuple[Step, ...]) -> int:
        """The number of a path; ``root``: "" for source tasks, or the Merger that made them of several."""
        key = _names(root, steps)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.paths)
            self.paths.append((root, steps))
            self.changed = True
        elif self.paths[found][1] != steps:  # frames are numbered otherwise in this graph
            self.paths[found] = (root, steps)
            self.changed = True
        return found

    def lineage(self, shape: int, numbers: Sequence[int]) -> tuple[int, ...]:
        """The sort key of a task, as `dagflow.core.ids.Space.lineage` makes it."""
        key = [numbers[0]]
        at = 1
        for _, branch_name, frame, branch in self.paths[shape][1]:
            key.append(frame)
            if branch_name:
                key.append(branch)
            else:
                key.append(numbers[at])
                at += 1
        return tuple(key)


def _names(root: str, steps: tuple[Step, ...]) -> tuple[object, ...]:
    return (root, *((frame, branch) for frame, branch, _, _ in steps))


class _Place:
    """A space's name. ``shape`` and ``block`` are None where they depend on the task (aggregates, source tasks)."""

    __slots__ = ("aggregate", "block", "prefix", "root", "shape", "steps")

    def __init__(
        self, root: str | None, steps: tuple[Step, ...], prefix: tuple[int, ...], aggregate: bool, block: int | None
    ) -> None:
        self.root = root
        self.steps = steps
        self.prefix = prefix
        self.aggregate = aggregate
        self.block = block
        self.shape: int | None = None


class Places:
    """Finds the places of this run's tasks. ``names``: a number for each Merger that makes aggregates."""

    def __init__(self, plan: Plan, numbering: Numbering, shapes: Shapes, mergers: list[str]) -> None:
        self.plan, self.numbering, self.shapes, self.mergers = plan, numbering, shapes, mergers
        self._steps: dict[tuple[int, int], Step] = {}
        self._numbers: dict[tuple[str, tuple[Step, ...]], int] = {}

    def locate(self, segments: Sequence[Segment]) -> Iterator[Spot]:
        """Where the tasks of the segments lie, in their order."""
        at = 0
        for space, indices in segments:
            place = space.place
            if place is None:
                place = space.place = self._find(space)
            assert isinstance(place, _Place)
            count = len(indices)
            if place.block is not None:
                assert place.shape is not None
                yield Spot(place.block, place.shape, place.prefix, indices, at, at + count)
            elif place.aggregate:
                yield from self._aggregates(place, indices, at)
            else:
                assert place.shape is not None
                numbers = self.numbering.numbers(indices)
                for low, high in _by_block(numbers):
                    part = numbers if high - low == count else numbers[low:high]
                    yield Spot(part[0] >> BLOCK_BITS, place.shape, (), part, at + low, at + high)
            at += count

    def _aggregates(self, place: _Place, indices: Indices, at: int) -> Iterator[Spot]:
        for offset, index in enumerate(indices, at):
            root, number = self._aggregate(index)
            shape = self._shape(root, place.steps)
            yield Spot(self.aggregate_block(root, number), shape, (), (number,), offset, offset + 1)

    def _aggregate(self, index: int) -> tuple[str, int]:
        return self.plan.nodes[index >> AGGREGATE_BITS].name, index & ((1 << AGGREGATE_BITS) - 1)

    def aggregate(self, merger: str, number: int) -> tuple[int, int]:
        """The block and the shape of an aggregate."""
        return self.aggregate_block(merger, number), self._shape(merger, ())

    def aggregate_block(self, merger: str, number: int) -> int:
        """The block of an aggregate."""
        if merger not in self.mergers:
            self.mergers.append(merger)
            self.shapes.changed = True
        return aggregate_block(self.mergers.index(merger), number)

    def root_of(self, space: Space, index: int) -> int:
        """The journal's number of the source task that a task came from."""
        return self.numbering.number(space.root_index(index))

    def _shape(self, root: str, steps: tuple[Step, ...]) -> int:
        found = self._numbers.get((root, steps))
        if found is None:
            found = self._numbers[root, steps] = self.shapes.number(root, steps)
        return found

    def _find(self, space: Space) -> _Place:
        parent = space.parent
        if parent is None:
            place = _Place(None if space.aggregate else "", (), (), space.aggregate, None)
        else:
            up = parent.place
            if up is None:
                up = parent.place = self._find(parent)
            assert isinstance(up, _Place)
            place = self._below(up, space)
        if place.root is not None:
            place.shape = self._shape(place.root, place.steps)
        return place

    def _below(self, up: _Place, space: Space) -> _Place:
        steps = (*up.steps, self._step(space))
        if space.fixed is None:
            return _Place(up.root, steps, up.prefix, up.aggregate, up.block)
        if up.block is not None:
            return _Place(up.root, steps, (*up.prefix, space.fixed), up.aggregate, up.block)
        if up.aggregate:
            root, number = self._aggregate(space.fixed)
            return _Place(root, steps, (number,), True, self.aggregate_block(root, number))
        number = self.numbering.number(space.fixed)
        return _Place("", steps, (number,), False, number >> BLOCK_BITS)

    def _step(self, space: Space) -> Step:
        key = (space.frame, -1 if space.fixed is not None else space.branch)
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._name_step(space)
        return found

    def _name_step(self, space: Space) -> Step:
        frame, branch = space.frame, space.branch
        if frame < 0:
            return ({COPY: "copy", CLOSED: "closed", FAILED: "failed"}[frame], str(branch), frame, branch)
        plan = self.plan.frames[frame]
        opener = self.plan.nodes[plan.node].name if plan.node >= 0 else ""
        if space.fixed is not None:
            return (f"split {opener}", "", frame, 0)
        node = self.plan.nodes[plan.node] if plan.node >= 0 else None
        if plan.kind == "route":
            assert node is not None
            return (f"route {opener}", repr(node.ports[branch].label), frame, branch)
        port = self.plan.source
        if node is not None:
            ports = [*node.ports, *([node.failures] if node.failures is not None else [])]
            port = next(p for p in ports if p.frame == frame)
        side = repr(port.label) if node is None or port is not node.failures else "failures"
        return (f"branch {opener} {side}", self.plan.nodes[port.targets[branch]].name, frame, branch)


def _by_block(numbers: Indices) -> Iterator[tuple[int, int]]:
    """Runs of positions whose numbers lie in one block."""
    if isinstance(numbers, range):
        start, stop = numbers.start, numbers.stop
        while start < stop:
            end = min(stop, (start | (BLOCK - 1)) + 1)
            yield start - numbers.start, end - numbers.start
            start = end
        return
    low = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] >> BLOCK_BITS != numbers[low] >> BLOCK_BITS:
            yield low, at
            low = at
