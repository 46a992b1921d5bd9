"""Layout: where everything of a picture stands, in pixels, left to right. Pure, and the same each time.

Four steps: columns (`layers`), the order in each (`order`), heights (here), widths (here). Heights are found
by giving each slot the mean height of its neighbours as a wish, and then the nearest heights to all wishes of
a column that keep its order and distances; that is an isotonic regression, solved exactly by pooling adjacent
violators. Long edges weigh most, so they run straight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from dagflow.draw.layers import Layered, Slot, apart, layered
from dagflow.draw.model import Picture
from dagflow.draw.order import arrange

MARGIN: Final = 14.0
_COLUMN_GAP: Final = 34.0
_STEEP: Final = 0.12
"""How much wider a gap gets per pixel that an edge climbs in it."""
_WIDEST_GAP: Final = 130.0
_BOX_PAD: Final = 9.0
_BORDER: Final = 13.0
"""Extra distance between things with a box's border between them; more than a box's padding."""
_SIDE: Final = 0.03
"""How little a dashed edge counts beside another, so that the main way of the tasks stays level."""
_PASSES: Final = 6
_STRAIGHTENINGS: Final = 2


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle, by its left upper corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of its lower side."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """The y of its middle."""
        return self.y + self.height / 2

    def meets(self, other: Rect) -> bool:
        """Whether the two have a point in common inside both."""
        across = self.x < other.right and other.x < self.right
        return across and self.y < other.bottom and other.y < self.bottom

    def grown(self, pad: float) -> Rect:
        """This with ``pad`` more on each side."""
        return Rect(self.x - pad, self.y - pad, self.width + 2 * pad, self.height + 2 * pad)


@dataclass(frozen=True, slots=True)
class Route:
    """The way of an edge: stretches ``(x1, x2, y)`` that are level, and a curve from each to the next.

    ``label``: the ground on which its text stands, if it has one. ``ends`` is False where it goes on as an
    earlier edge, to the same node, whose way is not drawn twice (dashes would fill each other's gaps).
    """

    stretches: tuple[tuple[float, float, float], ...]
    label: Rect | None
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """Places for a picture's nodes and edges, in its order, and for those of its boxes that can be drawn."""

    width: float
    height: float
    nodes: tuple[Rect, ...]
    edges: tuple[Route, ...]
    boxes: tuple[Rect | None, ...]


def lay_out(picture: Picture) -> Layout:
    """Place everything of ``picture``."""
    drawn = layered(picture)
    arrange(drawn)
    middles = _heights(drawn)
    spans = _columns(drawn, middles)
    rects = []
    for slot, middle in zip(drawn.slots, middles, strict=True):
        left, right = spans[slot.column]
        x = left + (right - left - slot.width) / 2
        rects.append(Rect(x, middle - slot.height / 2, slot.width, slot.height))
    boxes = _box_rects(picture, drawn, rects)
    return _framed(picture, drawn, rects, boxes, spans)


# -- heights ---------------------------------------------------------------------------------------------


def _heights(drawn: Layered) -> list[float]:
    slots = drawn.slots
    gaps = [[_distance(slots[a], slots[b]) for a, b in pairwise(column)] for column in drawn.columns]
    middles = [0.0] * len(slots)
    for column, between in zip(drawn.columns, gaps, strict=True):
        y = -sum(between) / 2
        for s, gap in zip(column, [*between, 0.0], strict=True):
            middles[s] = y
            y += gap
    # Both sides pull at once: with the side just settled alone, small shifts add up along a long chain.
    joined = [[(n, _pull(slot, slots[n])) for n in (*slot.before, *slot.after)] for slot in slots]
    order = list(range(len(drawn.columns)))
    for columns in (order, order[::-1]) * _PASSES:
        for c in columns:
            _settle(drawn.columns[c], gaps[c], joined, middles)
    for columns in (order, order[::-1]) * _STRAIGHTENINGS:
        for c in columns:
            _straighten(slots, drawn.columns[c], gaps[c], middles, leftwards=columns is not order)
    return middles


def _distance(above: Slot, below: Slot) -> float:
    room = 10.0 if above.is_way or below.is_way else 12.0 if above.is_label or below.is_label else 20.0
    return (above.height + below.height) / 2 + room + _BORDER * apart(above.boxes, below.boxes)


def _pull(one: Slot, other: Slot) -> float:
    """How much an edge wants to be level: most in the middle of a long one, hardly at all if it is dashed."""
    thin = (one.node is None) + (other.node is None)
    return (1.0, 2.0, 8.0)[thin] * (_SIDE if one.is_side or other.is_side else 1.0)


def _settle(
    column: list[int], gaps: list[float], joined: list[list[tuple[int, float]]], middles: list[float]
) -> None:
    """Move a column's slots as near as can be to the mean of what each is joined to."""
    pools: list[tuple[float, float, int]] = []  # the mean of wishes less offsets, its weight, how many slots
    offset = 0.0
    for s, gap in zip(column, [*gaps, 0.0], strict=True):
        pulls = joined[s]
        weight = sum(w for _, w in pulls)
        wish = sum(middles[n] * w for n, w in pulls) / weight if pulls else middles[s]
        mean, weight, count = wish - offset, weight or 0.05, 1
        while pools and pools[-1][0] > mean:
            other, heavy, many = pools.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + many
        pools.append((mean, weight, count))
        offset += gap
    offset, place = 0.0, 0
    for mean, _, count in pools:
        for s in column[place : place + count]:
            middles[s] = mean + offset
            offset += gaps[place] if place < len(gaps) else 0.0
            place += 1


def _straighten(
    slots: list[Slot], column: list[int], gaps: list[float], middles: list[float], *, leftwards: bool
) -> None:
    """Take out bends that a column's distances do not ask for.

    Means leave an edge a little bent everywhere. A slot that lies between one other on either side may stand
    level with one of them at no cost to the length of the edge, and one that has a single neighbour, with it.
    """
    for place, s in enumerate(column):
        slot = slots[s]
        before, after = (_line(slots, slot, joined) for joined in (slot.before, slot.after))
        if before is None or after is None or not before + after:
            continue
        lowest = middles[column[place - 1]] + gaps[place - 1] if place else -math.inf
        highest = middles[column[place + 1]] - gaps[place] if place + 1 < len(column) else math.inf
        levels = [middles[n] for n in (*before, *after)][:: -1 if leftwards else 1]
        free = [y for y in levels if lowest <= y <= highest]
        wish = free[0] if free else min(max(middles[s], min(levels)), max(levels))
        middles[s] = min(max(wish, lowest), max(lowest, highest))


def _line(slots: list[Slot], slot: Slot, joined: list[int]) -> list[int] | None:
    """What ``slot`` may stand level with on one side; None where it belongs between several."""
    joined = [n for n in joined if slots[n].is_side == slot.is_side] or joined
    if len(joined) > 1 and slot.is_way:
        return [n for n in joined if slots[n].is_way][:1]
    return joined if len(joined) <= 1 else None


# -- widths ----------------------------------------------------------------------------------------------


def _columns(drawn: Layered, middles: list[float]) -> list[tuple[float, float]]:
    """Left and right side of each column; a gap is wider where edges climb steeply or boxes begin."""
    spans: list[tuple[float, float]] = []
    x = 0.0
    for column in drawn.columns:
        wide = max(drawn.slots[s].width for s in column)
        spans.append((x, x + wide))
        climb, borders = 0.0, 0
        for s in column:
            for n in drawn.slots[s].after:
                climb = max(climb, abs(middles[s] - middles[n]))
                borders = max(borders, apart(drawn.slots[s].boxes, drawn.slots[n].boxes))
        x += wide + min(_WIDEST_GAP, _COLUMN_GAP + _STEEP * climb) + _BOX_PAD * borders
    return spans


# -- boxes -----------------------------------------------------------------------------------------------


def _box_rects(picture: Picture, drawn: Layered, rects: list[Rect]) -> list[Rect | None]:
    """The boxes that cover nothing that is not in them, and cut through no other box."""
    wanted: dict[int, Rect] = {}
    for number in reversed(range(len(picture.boxes))):  # inner boxes come last, and outer ones go around them
        inner = [r for b, r in wanted.items() if picture.boxes[b].parent == number]
        inside = [r for r, slot in zip(rects, drawn.slots, strict=True) if number in slot.boxes]
        wanted[number] = _around([*inside, *inner]).grown(_BOX_PAD)
    boxes: list[Rect | None] = [None] * len(picture.boxes)
    for number, rect in sorted(wanted.items()):
        strangers = (
            r
            for r, slot in zip(rects, drawn.slots, strict=True)
            if number not in slot.boxes and not slot.is_way
        )
        others = (b for i, b in enumerate(boxes) if b is not None and not _within(picture, number, i))
        if not any(rect.meets(r) for r in (*strangers, *others)):
            boxes[number] = rect
    return boxes


def _within(picture: Picture, inner: int | None, outer: int) -> bool:
    while inner is not None and inner != outer:
        inner = picture.boxes[inner].parent
    return inner == outer


def _around(rects: list[Rect]) -> Rect:
    x, y = min(r.x for r in rects), min(r.y for r in rects)
    return Rect(x, y, max(r.right for r in rects) - x, max(r.bottom for r in rects) - y)


# -- all together ----------------------------------------------------------------------------------------


def _framed(
    picture: Picture,
    drawn: Layered,
    rects: list[Rect],
    boxes: list[Rect | None],
    spans: list[tuple[float, float]],
) -> Layout:
    """Everything moved so that it begins at the margin."""
    everything = [*rects, *(b for b in boxes if b is not None)]
    frame = _around(everything).grown(MARGIN) if everything else Rect(0, 0, 2 * MARGIN, 2 * MARGIN)

    def moved(rect: Rect) -> Rect:
        return Rect(rect.x - frame.x, rect.y - frame.y, rect.width, rect.height)

    placed = [moved(rect) for rect in rects]
    sides = [(left - frame.x, right - frame.x) for left, right in spans]
    return Layout(
        frame.width,
        frame.height,
        tuple(placed[: len(picture.nodes)]),
        tuple(_routes(drawn, placed, sides)),
        tuple(None if box is None else moved(box) for box in boxes),
    )


def _routes(drawn: Layered, placed: list[Rect], sides: list[tuple[float, float]]) -> Iterator[Route]:
    """Level as long as an edge is in a column, so that it crosses nothing there; curved in the gaps."""
    slots = drawn.slots
    passed: set[int] = set()
    for chain in drawn.chains:
        first, *between, last = chain
        met = next((i for i, s in enumerate(between) if s in passed), None)
        passed.update(s for s in between if slots[s].is_way)
        stretches = [(placed[first].right, sides[slots[first].column][1], placed[first].middle)]
        stretches += [(*sides[slots[s].column], placed[s].middle) for s in between]
        if met is None:
            stretches.append((sides[slots[last].column][0], placed[last].x, placed[last].middle))
        else:
            x, _, y = stretches[met + 1]
            stretches[met + 1 :] = [(x, x, y)]
        label = next((placed[s] for s in between if slots[s].is_label), None)
        yield Route(tuple(stretches), label, met is None)
