"""Layout: where everything of a picture stands, in pixels, left to right. Pure, and the same each time.

Five steps: columns (`layers`), the order in each (`order`), room for boxes (`fences`), `heights`, and widths
(here).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dagflow.draw import fences
from dagflow.draw.heights import heights
from dagflow.draw.layers import Layered, apart, layered
from dagflow.draw.model import Picture
from dagflow.draw.order import arrange

MARGIN: Final = 14.0
_COLUMN_GAP: Final = 34.0
_STEEP: Final = 0.12
"""How much wider a gap gets per pixel that an edge climbs in it."""
_WIDEST_GAP: Final = 130.0
_BOX_PAD: Final = 9.0


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
    fences.build(drawn, len(picture.boxes))
    middles = heights(drawn)
    spans = _columns(drawn, middles)
    rects = []
    for slot, middle in zip(drawn.slots, middles, strict=True):
        left, right = spans[slot.column]
        x = left + (right - left - slot.width) / 2
        rects.append(Rect(x, middle - slot.height / 2, slot.width, slot.height))
    boxes = _box_rects(picture, drawn, rects)
    return _framed(picture, drawn, rects, boxes, spans)


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
        around = _around([*inside, *inner])  # the fences are among them, so only the sides need room
        wanted[number] = Rect(around.x - _BOX_PAD, around.y, around.width + 2 * _BOX_PAD, around.height)
    boxes: list[Rect | None] = [None] * len(picture.boxes)
    for number, rect in sorted(wanted.items()):
        strangers = (
            r for r, slot in zip(rects, drawn.slots, strict=True) if number not in slot.boxes and not slot.is_way
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
