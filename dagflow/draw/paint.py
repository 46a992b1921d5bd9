"""A picture as shapes on a ground: the same for SVG, and for PNG and PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from dagflow.draw.colours import ALARM, COLOURS, LABEL_GROUND, LABEL_TEXT, LINE, colours_of, heat
from dagflow.draw.folds import ROUND, Lane
from dagflow.draw.layout import MARGIN, Layout, Rect, Route, Stretch, lay_out
from dagflow.draw.measure import (
    BADGE_SIZE,
    BAR_HEIGHT,
    LABEL_SIZE,
    LINE_HEIGHT,
    MARK_SIZE,
    NAME_SIZE,
    SMALL_SIZE,
    point_of,
    shown_label,
    shown_lines,
    shown_name,
    text_block,
    text_width,
)
from dagflow.draw.model import LIMITING, Picture, PictureEdge, PictureNode
from dagflow.draw.shapes import (
    Box,
    Curve,
    Disc,
    Group,
    Move,
    Paint,
    Painting,
    Path,
    Polygon,
    Shape,
    Step,
    Straight,
    Turn,
    Words,
)
from dagflow.draw.words import visible

_HEAD: Final = 8.0
"""Length of an arrow head."""
_EDGE: Final = 1.4
_FOOT: Final = 18.0
_SWATCHES: Final = 6
_SWATCH: Final = 12.0
_SCOPE_FILL: Final = Paint(fill=LINE, fill_opacity=0.08)
_SCOPE_LINE: Final = Paint(stroke=LINE, width=1.0, stroke_opacity=0.45, dash=(2.0, 3.0))


def paint(picture: Picture, layout: Layout | None = None) -> Painting:
    """Paint ``picture``. ``layout``: where things stand; made if it is not given.

    A layout made for another picture of the same graph will do, if no text there is shorter than here.
    """
    layout = layout or lay_out(picture)
    names = {node.id: node.name for node in picture.nodes}
    routed = list(zip(picture.edges, layout.edges, strict=True))
    shapes: list[Shape] = [
        Group((("class", "dagflow-scope"), ("data-scope", names[box.opener])), (), tuple(_scope(pieces)))
        for box, pieces in zip(picture.boxes, layout.boxes, strict=True)
        if pieces
    ]
    shapes += [_edge(edge, route, names) for edge, route in routed]
    shapes += [_label(edge, route.label) for edge, route in routed if route.label is not None]
    shapes += [_node(node, rect) for node, rect in zip(picture.nodes, layout.nodes, strict=True)]
    if not picture.caption:
        return Painting(picture.title, layout.width, layout.height, tuple(shapes))
    wide, foot = _foot(picture, layout)
    return Painting(picture.title, wide, layout.height + _FOOT, (*shapes, foot))


def _scope(pieces: Sequence[Rect]) -> Iterator[Shape]:
    """A box; where it goes on in another row, it has no side there."""
    if len(pieces) == 1:
        yield Box(pieces[0], 8.0, _SCOPE_FILL)
        yield Box(pieces[0], 8.0, _SCOPE_LINE)
        return
    for number, piece in enumerate(pieces):
        left, right = piece.x, piece.right
        top_left, top_right, low_right, low_left = (
            *((left, piece.y), (right, piece.y)),
            *((right, piece.bottom), (left, piece.bottom)),
        )
        steps: list[Step] = [Move(top_left), Straight(top_right)]
        steps.append(Move(low_right) if number < len(pieces) - 1 else Straight(low_right))
        steps.append(Straight(low_left))
        if not number:
            steps.append(Straight(top_left))
        yield Box(piece, 0.0, _SCOPE_FILL)
        yield Path(tuple(steps), _SCOPE_LINE)


def _foot(picture: Picture, layout: Layout) -> tuple[float, Group]:
    """What stands below a picture that a run was laid over, caption and key; and how wide the whole has to be."""
    text = visible(picture.caption)
    told, end = text_width(text, SMALL_SIZE), text_width("idle", SMALL_SIZE) + 6
    key = 2 * end + _SWATCHES * _SWATCH
    wide = max(layout.width, told + key + 3 * MARGIN)
    middle = layout.height + 4
    shapes: list[Shape] = [Words(text, MARGIN + told / 2, middle, SMALL_SIZE, LINE)]
    if any(node.share is not None for node in picture.nodes):
        x = wide - MARGIN - key
        shapes.append(Words("idle", x + end / 2 - 3, middle, SMALL_SIZE, LINE))
        for step in range(_SWATCHES):
            swatch = Rect(x + end + step * _SWATCH, middle - 4, _SWATCH, 8.0)
            shapes.append(Box(swatch, 0.0, Paint(fill=heat(step / (_SWATCHES - 1)))))
        shapes.append(Words("busy", wide - MARGIN - end / 2 + 3, middle, SMALL_SIZE, LINE))
    return wide, Group((("class", "dagflow-caption"),), (), tuple(shapes))


# -- edges -----------------------------------------------------------------------------------------------


def _edge(edge: PictureEdge, route: Route, names: dict[str, str]) -> Group:
    dash = (5.0, 4.0) if edge.dashed else None
    members: tuple[Shape, ...] = (Path(_way(route), Paint(stroke=LINE, width=_EDGE, dash=dash)),)
    if route.ends:
        _, tip, y = route.legs[-1][-1]
        half = _HEAD * 0.42
        members += (Polygon(((tip, y), (tip - _HEAD, y - half), (tip - _HEAD, y + half)), Paint(fill=LINE)),)
    ends = (("data-source", names[edge.source]), ("data-target", names[edge.target]))
    return Group((("class", "dagflow-edge"), *ends), (), members)


def _way(route: Route) -> tuple[Step, ...]:
    x, _, y = route.legs[0][0]
    steps: list[Step] = [Move((x, y))]
    for number, leg in enumerate(route.legs):
        if route.ends and number == len(route.legs) - 1:  # inside the head, whose tip would else be blunt
            x1, x2, y = leg[-1]
            leg = (*leg[:-1], (min(x1, x2 - _HEAD / 2), x2 - _HEAD / 2, y))
        steps += _leg(leg)
        if number < len(route.lanes):
            lane, here = route.lanes[number], leg[-1][2]
            steps += _into_lane(lane, here)
            if number + 1 < len(route.legs):
                steps += _way_back(lane, route.legs[number + 1][0][2])
            elif here < route.meets - ROUND:
                steps.append(Straight((lane.out, route.meets)))
    return tuple(steps)


def _leg(leg: Sequence[Stretch]) -> Iterator[Step]:
    for (_, x, y0), (x_next, _, y1) in pairwise(leg):
        # One that is level all the way is one line, not a line a column.
        if abs(y0 - y1) >= 0.05:
            bend = (x + x_next) / 2
            yield Straight((x, y0))
            yield Curve((bend, y0), (bend, y1), (x_next, y1))
    yield Straight((leg[-1][1], leg[-1][2]))


def _into_lane(lane: Lane, here: float) -> Iterator[Step]:
    yield Straight((lane.out - ROUND, here))
    yield Turn((lane.out, here), (lane.out, here + ROUND))


def _way_back(lane: Lane, there: float) -> Iterator[Step]:
    """Along ``lane`` to the height ``there`` in the next row."""
    out, level, into = lane.out, lane.level, lane.into
    yield Straight((out, level - ROUND))
    yield Turn((out, level), (out - ROUND, level))
    yield Straight((into + ROUND, level))
    yield Turn((into, level), (into, level + ROUND))
    yield Straight((into, there - ROUND))
    yield Turn((into, there), (into + ROUND, there))


def _label(edge: PictureEdge, rect: Rect) -> Group:
    words = Words(shown_label(edge.text), rect.x + rect.width / 2, rect.middle, LABEL_SIZE, LABEL_TEXT)
    ground = Box(rect, 4.0, Paint(fill=LABEL_GROUND))
    return Group((("class", "dagflow-label"),), (edge.text,), (ground, words))


# -- nodes -----------------------------------------------------------------------------------------------


def _node(node: PictureNode, rect: Rect) -> Group:
    who = [("class", "dagflow-node"), ("data-node", node.name), ("data-kind", node.kind)]
    if node.share is not None:
        who.append(("data-busy", f"{node.share:.3f}"))
    hint = [node.name, *node.words]
    members: list[Shape]
    if node.kind == "drop":
        members = list(_mark(node, rect))
    else:
        members = [_shape(node, rect), *_words(node, rect)]
    if node.limiting:
        who.append(("data-limiting", "true"))
        hint.append(LIMITING)
        members += _badge(LIMITING, rect)
    return Group(tuple(who), tuple(line for line in hint if line), tuple(members))


def _shape(node: PictureNode, rect: Rect) -> Shape:
    fill, line, _ = colours_of(node)
    paint = Paint(fill, ALARM, 2.6) if node.limiting else Paint(fill, line)
    x, y, right, bottom = rect.x, rect.y, rect.right, rect.bottom
    slope = min(9.0, rect.height / 4)
    match node.kind:
        case "route":
            point = min(point_of(node), rect.width / 2)
            upper, lower = ((x + point, y), (right - point, y)), ((right - point, bottom), (x + point, bottom))
            return Polygon(((x, rect.middle), *upper, (right, rect.middle), *lower), paint)
        case "split":
            return Polygon(((x, y + slope), (right, y), (right, bottom), (x, bottom - slope)), paint)
        case "merge":
            return Polygon(((x, y), (right, y + slope), (right, bottom - slope), (x, bottom)), paint)
        case _:
            return Box(rect, 9.0, paint)


def _words(node: PictureNode, rect: Rect) -> Iterator[Shape]:
    _, line, colour = colours_of(node)
    wide, high = text_block(node)
    x, y = rect.x + rect.width / 2, rect.middle - high / 2
    yield Words(shown_name(node), x, y + NAME_SIZE * LINE_HEIGHT / 2, NAME_SIZE, colour)
    y += NAME_SIZE * LINE_HEIGHT
    small = shown_lines(node)
    alarm = len(small) - 1 if node.laid is not None and node.laid.alarm else None
    for place, text in enumerate(small):
        middle = y + SMALL_SIZE * LINE_HEIGHT / 2
        if place == alarm:
            yield Words(text, x, middle, SMALL_SIZE, ALARM, bold=True)
        else:
            yield Words(text, x, middle, SMALL_SIZE, colour, opacity=0.8)
        y += SMALL_SIZE * LINE_HEIGHT
    if node.share is not None:
        track = Rect(x - wide / 2, y + BAR_HEIGHT - 4, wide, 4.0)
        full = Rect(track.x, track.y, wide * min(1.0, max(0.0, node.share)), track.height)
        tint = ALARM if node.limiting else line
        yield Box(track, 2.0, Paint(fill=tint, fill_opacity=0.25))
        yield Box(full, 2.0, Paint(fill=tint))


def _badge(text: str, rect: Rect) -> Iterator[Shape]:
    """A word on the upper border of a node."""
    wide, high = text_width(text, BADGE_SIZE) + 12, BADGE_SIZE + 5
    ground = Rect(rect.x + (rect.width - wide) / 2, rect.y - high / 2 - 2, wide, high)
    yield Box(ground, high / 2, Paint(fill=ALARM))
    yield Words(text, ground.x + wide / 2, ground.middle, BADGE_SIZE, "#ffffff", bold=True)


def _mark(node: PictureNode, rect: Rect) -> Iterator[Shape]:
    """The end of a branch: a crossed circle with its word beside it, on a ground of their own."""
    fill, line, colour = COLOURS[node.kind]
    half = MARK_SIZE / 2
    x, y, arm = rect.x + half, rect.middle, half * 0.42
    cross = (
        *(Move((x - arm, y - arm)), Straight((x + arm, y + arm))),
        *(Move((x + arm, y - arm)), Straight((x - arm, y + arm))),
    )
    beside = rect.x + MARK_SIZE + 3 + (rect.width - MARK_SIZE - 10) / 2
    yield Box(rect, rect.height / 2, Paint(fill=fill))
    yield Disc(x, y, half, Paint(fill, line))
    yield Path(cross, Paint(stroke=line, width=1.6))
    yield Words(shown_name(node), beside, y, SMALL_SIZE, colour)
