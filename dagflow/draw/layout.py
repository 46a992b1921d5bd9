"""Layout: where everything of a picture stands, in pixels, left to right. Pure, and the same each time.

Six steps: columns (`layers`), the order in each (`order`), room for boxes (`fences`), `heights`, widths (here),
and rows, if it is too wide for one (`folds`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from dagflow.draw import fences, folds
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


Stretch = tuple[float, float, float]
"""A level piece of an edge's way: from x, to x, y."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way of an edge: legs, one a row, each of `Stretch`es with a curve from each to the next.

    ``lanes``: the ways back from each leg to the next. ``label``: the ground on which its text stands, if it has
    one. ``ends`` is False where it goes on as an earlier edge, to the same node, whose way is not drawn twice
    (dashes would fill each other's gaps). If that is in a lane, it has as many lanes as legs, and ``meets`` is the
    height at which the earlier edge enters the last one.
    """

    legs: tuple[tuple[Stretch, ...], ...]
    label: Rect | None
    ends: bool = True
    lanes: tuple[folds.Lane, ...] = ()
    meets: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Places for a picture's nodes and edges, in its order, and for those of its boxes that can be drawn.

    A box that is open where a row ends has a piece in each row.
    """

    width: float
    height: float
    nodes: tuple[Rect, ...]
    edges: tuple[Route, ...]
    boxes: tuple[tuple[Rect, ...], ...]
    rows: int = 1


Span = tuple[float, float]
"""Left and right side of a column."""


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
        inside = [r for b, r in wanted.items() if picture.boxes[b].parent == number]
        inside += [r for r, s in zip(rects, drawn.slots, strict=True) if number in s.boxes and s.fence is None]
        wanted[number] = _around(inside).grown(_BOX_PAD)
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


# -- rows ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Row:
    """One row: its columns, what it covers of the unfolded picture, and how far that is moved."""

    first: int
    last: int
    left: float
    right: float
    top: float
    bottom: float
    dx: float = 0.0
    dy: float = 0.0

    def cut(self, rect: Rect) -> Rect | None:
        """What this row's sides leave of ``rect``."""
        x, right = max(rect.x, self.left), min(rect.right, self.right)
        return Rect(x, rect.y, right - x, rect.height) if x < right else None

    def moved(self, rect: Rect) -> Rect:
        """``rect`` where it went with this row."""
        return Rect(rect.x + self.dx, rect.y + self.dy, rect.width, rect.height)


class _Folded:
    """The picture in rows: where each column went, and the lanes between the rows."""

    def __init__(
        self, picture: Picture, drawn: Layered, rects: list[Rect], boxes: list[Rect | None], spans: list[Span]
    ) -> None:
        self.drawn, self.spans = drawn, spans
        self.rows = _rows(folds.starts(drawn, spans), spans, boxes)
        self.pieces = [_pieces(picture, drawn, rects, boxes, row) for row in self.rows]
        for row, pieces in zip(self.rows, self.pieces, strict=True):
            slots = (s for column in drawn.columns[row.first : row.last + 1] for s in column)
            inside = [*(rects[s] for s in slots if drawn.slots[s].fence is None), *pieces.values()]
            row.top, row.bottom = min(r.y for r in inside), max(r.bottom for r in inside)
        self.row_of = [number for number, row in enumerate(self.rows) for _ in range(row.first, row.last + 1)]
        self.styles = [edge.dashed for edge in picture.edges]
        self.keys = self._crossing()
        most = max((len(keys) for keys in self.keys), default=0)
        self.gutter = most * folds.LANE + folds.ROUND if most else 0.0
        bottom = 0.0
        for number, row in enumerate(self.rows):
            lanes = len(self.keys[number - 1]) if number else 0
            bottom += (lanes + 1) * folds.LANE + 2 * folds.ROUND if number else 0.0
            row.dx, row.dy = MARGIN + self.gutter - row.left, MARGIN + bottom - row.top
            bottom += row.bottom - row.top
        self.width = max(row.right - row.left for row in self.rows) + 2 * (MARGIN + self.gutter)
        self.height = bottom + 2 * MARGIN
        self.middles = [rect.middle for rect in rects]
        self.lanes = self._lanes()

    def _crossing(self) -> list[list[tuple[int, bool]]]:
        """By cut: the slots in the next row that edges cross it to, from top to bottom, solid and dashed apart."""
        keys: list[dict[tuple[int, bool], None]] = [{} for _ in self.rows[1:]]
        for chain, dashed in zip(self.drawn.chains, self.styles, strict=True):
            for a, b in pairwise(chain):
                row = self.row(a)
                if row != self.row(b):
                    keys[row][b, dashed] = None
        places = {s: place for column in self.drawn.columns for place, s in enumerate(column)}
        return [sorted(found, key=lambda key: (places[key[0]], key[1])) for found in keys]

    def _lanes(self) -> dict[tuple[int, bool], folds.Lane]:
        """The upmost goes around all others, so none crosses another."""
        lanes = {}
        for (row, below), keys in zip(pairwise(self.rows), self.keys, strict=True):
            for place, key in enumerate(keys):
                around = (len(keys) - place) * folds.LANE
                out = row.right + row.dx + around
                into = below.left + below.dx - (place + 1) * folds.LANE
                lanes[key] = folds.Lane(out, row.bottom + row.dy + folds.ROUND + around, into)
        return lanes

    def row(self, slot: int) -> int:
        """The number of the row that ``slot`` is in."""
        return self.row_of[self.drawn.slots[slot].column]

    def moved(self, slot: int, rect: Rect) -> Rect:
        """``rect``, which belongs to ``slot``, where it went."""
        return self.rows[self.row(slot)].moved(rect)

    def box(self, number: int) -> tuple[Rect, ...]:
        """The pieces of a box, one a row."""
        found = zip(self.rows, self.pieces, strict=True)
        return tuple(row.moved(pieces[number]) for row, pieces in found if number in pieces)

    def stretch(self, slot: int, left: float, right: float) -> Stretch:
        """A level stretch at the height of ``slot``."""
        row = self.rows[self.row(slot)]
        return left + row.dx, right + row.dx, self.middles[slot] + row.dy


def _rows(starts: list[int], spans: list[Span], boxes: list[Rect | None]) -> list[_Row]:
    rows = []
    for first, after in pairwise([*starts, len(spans)]):
        # Half of the gap on either side of a cut goes to each of the two rows.
        left = spans[0][0] if not first else (spans[first - 1][1] + spans[first][0]) / 2
        right = spans[-1][1] if after == len(spans) else (spans[after - 1][1] + spans[after][0]) / 2
        if not first:
            left = min([left, *(box.x for box in boxes if box is not None)])
        if after == len(spans):
            right = max([right, *(box.right for box in boxes if box is not None)])
        rows.append(_Row(first, after - 1, left, right, 0.0, 0.0))
    return rows


def _pieces(
    picture: Picture, drawn: Layered, rects: list[Rect], boxes: list[Rect | None], row: _Row
) -> dict[int, Rect]:
    """What of each box is in a row: only as high as what it holds there, if it goes on in other rows."""
    pieces: dict[int, Rect] = {}
    for number in reversed(range(len(boxes))):
        box = boxes[number]
        piece = None if box is None else row.cut(box)
        if box is None or piece is None:
            continue
        inside = [r for inner, r in pieces.items() if picture.boxes[inner].parent == number]
        for column in drawn.columns[row.first : row.last + 1]:
            inside += [rects[s] for s in column if number in drawn.slots[s].boxes and drawn.slots[s].fence is None]
        if inside and piece.width < box.width:
            around = _around(inside).grown(_BOX_PAD)
            piece = Rect(piece.x, around.y, piece.width, around.height)
        pieces[number] = piece
    return pieces


# -- all together ----------------------------------------------------------------------------------------


def _framed(
    picture: Picture,
    drawn: Layered,
    rects: list[Rect],
    boxes: list[Rect | None],
    spans: list[Span],
) -> Layout:
    """Everything moved to where its row is, and the edges joined from row to row."""
    if not rects:
        return Layout(2 * MARGIN, 2 * MARGIN, (), (), ())
    folded = _Folded(picture, drawn, rects, boxes, spans)
    return Layout(
        folded.width,
        folded.height,
        tuple(folded.moved(s, rects[s]) for s in range(len(picture.nodes))),
        tuple(_routes(folded, drawn, rects)),
        tuple(folded.box(number) for number in range(len(boxes))),
        len(folded.rows),
    )


def _routes(folded: _Folded, drawn: Layered, rects: list[Rect]) -> Iterator[Route]:
    """Level as long as an edge is in a column, so that it crosses nothing there; curved in the gaps."""
    slots, spans = drawn.slots, folded.spans
    passed: set[int] = set()
    taken: dict[tuple[int, bool], float] = {}
    for chain, dashed in zip(drawn.chains, folded.styles, strict=True):
        first, *_, last = chain
        legs = [[folded.stretch(first, rects[first].right, spans[slots[first].column][1])]]
        lanes: list[folds.Lane] = []
        ends, meets = True, 0.0
        for here, there in pairwise(chain):
            left, right = spans[slots[there].column]
            if folded.row(here) != folded.row(there):
                key = (there, dashed)
                _stretch_to_cut(legs[-1], folded.rows[folded.row(here)])
                lanes.append(folded.lanes[key])
                if key in taken:
                    ends, meets = False, taken[key]
                    break
                taken[key] = legs[-1][-1][2]
                row = folded.rows[folded.row(there)]
                legs.append([folded.stretch(there, row.left, left)])
            if there in passed:
                legs[-1].append(folded.stretch(there, left, left))
                ends = False
                break
            legs[-1].append(folded.stretch(there, left, rects[there].x if there == last else right))
            if slots[there].is_way:
                passed.add(there)
        labels = [folded.moved(s, rects[s]) for s in chain if slots[s].is_label]
        yield Route(tuple(map(tuple, legs)), labels[0] if labels else None, ends, tuple(lanes), meets)


def _stretch_to_cut(leg: list[Stretch], row: _Row) -> None:
    """Let a leg go on as far as its row does."""
    x, _, y = leg[-1]
    leg[-1] = (x, row.right + row.dx, y)
