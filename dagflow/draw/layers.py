"""Layers: which column each thing of a picture stands in, left to right, and what passes through each column.

Nodes get the longest path from a source as their rank. Each rank is a column; between two ranks stands a
column for the labels of edges that leave the first, if any do. So a label is a thing with a place of its own
and can cover nothing. An edge that crosses a column on its way has a thin slot there too: from here on each
edge leads from one column to the next. Edges of one style to one node share their slots from where they first
can: a hundred ways to one handler are one line with a hundred inlets, not a hundred lines.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from dagflow.draw.measure import label_size, node_size
from dagflow.draw.model import Picture

WAY_HEIGHT = 2.0
DEEP = 16
"""A deeper picture is better drawn downwards where it cannot be folded: pages are long, not wide."""


@dataclass(slots=True)
class Slot:
    """A thing in a column: a node (``node`` is its place in the picture), a label, edges passing
    through, or a piece of a fence.

    ``boxes``: the boxes around it, outermost first. ``is_side``: it belongs to a dashed edge.
    ``fence``: the number of the fence that it is a piece of. ``before`` and ``after``: the slots it is joined
    to in the columns next to its own.
    """

    column: int
    width: float
    height: float
    boxes: tuple[int, ...]
    node: int | None = None
    is_label: bool = False
    is_side: bool = False
    fence: int | None = None
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    @property
    def is_way(self) -> bool:
        """Whether this is edges passing through (or a fence), which take hardly any room."""
        return self.node is None and not self.is_label


@dataclass(slots=True)
class Layered:
    """All slots, the columns they stand in (from top to bottom), and the slots of each edge."""

    slots: list[Slot]
    columns: list[list[int]]
    chains: list[list[int]]

    def add(self, slot: Slot) -> int:
        """Put ``slot`` at the end of its column; gives its number."""
        self.slots.append(slot)
        self.columns[slot.column].append(len(self.slots) - 1)
        return len(self.slots) - 1

    def join(self, chain: list[int]) -> None:
        """Add the edge that goes along ``chain``."""
        self.chains.append(chain)
        for left, right in pairwise(chain):
            self.link(left, right)

    def link(self, left: int, right: int) -> None:
        """Join two slots of neighbouring columns."""
        if right not in self.slots[left].after:
            self.slots[left].after.append(right)
            self.slots[right].before.append(left)


def layered(picture: Picture) -> Layered:
    """The picture's nodes, labels and edges in columns."""
    place = {node.id: i for i, node in enumerate(picture.nodes)}
    ends = [(place[e.source], place[e.target]) for e in picture.edges]
    ranks = _ranks(len(picture.nodes), ends)
    paths = _box_paths(picture, place)
    labelled = {ranks[a] for (a, _), edge in zip(ends, picture.edges, strict=True) if edge.text}
    # Columns in halves of a rank: an even number is a rank, doubled; an odd one the labels after it.
    halves = sorted({2 * rank for rank in ranks} | {2 * rank + 1 for rank in labelled})
    column_of = {half: column for column, half in enumerate(halves)}
    drawn = Layered([], [[] for _ in halves], [])
    for i, node in enumerate(picture.nodes):
        drawn.add(Slot(column_of[2 * ranks[i]], *node_size(node), paths[i], node=i))
    spans = _spans(drawn, len(picture.boxes))
    shared: dict[tuple[int, bool, tuple[int, ...], int], int] = {}
    for (a, b), edge in zip(ends, picture.edges, strict=True):
        chain = [a]
        for column in range(column_of[2 * ranks[a]] + 1, column_of[2 * ranks[b]]):
            around = _around_way(paths[a], paths[b], column, spans)
            if edge.text and len(chain) == 1:
                label = Slot(column, *label_size(edge.text), around, is_label=True, is_side=edge.dashed)
                chain.append(drawn.add(label))
                continue
            key = (b, edge.dashed, around, column)
            if key not in shared:
                shared[key] = drawn.add(Slot(column, 0.0, WAY_HEIGHT, around, is_side=edge.dashed))
            chain.append(shared[key])
        drawn.join([*chain, b])
    return drawn


def depth(picture: Picture) -> int:
    """How many nodes stand one after the other on the longest way."""
    place = {node.id: i for i, node in enumerate(picture.nodes)}
    return 1 + max(_ranks(len(place), [(place[e.source], place[e.target]) for e in picture.edges]), default=-1)


def _ranks(count: int, ends: list[tuple[int, int]]) -> list[int]:
    """The longest path to each node from a source; a source stands right before the first it leads to."""
    after: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for a, b in ends:
        after[a].append(b)
        missing[b] += 1
    sources = [i for i in range(count) if not missing[i]]
    ranks = [0] * count
    todo = list(sources)
    heapq.heapify(todo)
    while todo:
        a = heapq.heappop(todo)
        for b in after[a]:
            ranks[b] = max(ranks[b], ranks[a] + 1)
            missing[b] -= 1
            if not missing[b]:
                heapq.heappush(todo, b)
    for source in sources:
        ranks[source] = min((ranks[b] for b in after[source]), default=1) - 1
    return ranks


def _box_paths(picture: Picture, place: dict[str, int]) -> list[tuple[int, ...]]:
    paths: list[tuple[int, ...]] = [()] * len(picture.nodes)
    for number, box in enumerate(picture.boxes):  # outer boxes come first
        for member in box.members:
            paths[place[member]] += (number,)
    return paths


def _spans(drawn: Layered, boxes: int) -> list[tuple[int, int]]:
    """The first and the last column of each box, as far as its nodes go."""
    columns: list[list[int]] = [[] for _ in range(boxes)]
    for slot in drawn.slots:
        for box in slot.boxes:
            columns[box].append(slot.column)
    return [(min(each), max(each)) for each in columns]


def _around_way(
    source: tuple[int, ...], target: tuple[int, ...], column: int, spans: list[tuple[int, int]]
) -> tuple[int, ...]:
    """The boxes around an edge in a column: those around both its ends, and those that it leaves or enters
    as far as they reach, so that it does not run along their outside."""
    common = _common(source, target)
    if len(common) < min(len(source), len(target)):
        return common
    more = max(source, target, key=len)[len(common) :]
    return common + tuple(takewhile(lambda box: spans[box][0] <= column <= spans[box][1], more))


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]


def apart(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many box borders lie between two things, by the boxes around each."""
    return len(one) + len(other) - 2 * len(_common(one, other))
