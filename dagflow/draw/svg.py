"""A picture as SVG: presentation attributes only, no style sheet, no ids, no scripts, nothing from outside.

So several pictures can stand on one page without one's rules or names reaching the other. Arrow heads are
drawn one by one for the same reason (a marker is found by its id).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from dagflow.draw.colours import COLOURS, LABEL_GROUND, LABEL_TEXT, LINE
from dagflow.draw.layout import Layout, Rect, Route, lay_out
from dagflow.draw.measure import (
    BAR_HEIGHT,
    LABEL_SIZE,
    LINE_HEIGHT,
    MARK_SIZE,
    NAME_SIZE,
    SMALL_SIZE,
    shown_label,
    shown_lines,
    shown_name,
    text_block,
)
from dagflow.draw.model import Picture, PictureEdge, PictureNode
from dagflow.draw.words import xml, xml_exact

_FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_HEAD: Final = 8.0
"""Length of an arrow head."""


def render(picture: Picture) -> str:
    """The SVG document, ending in a newline."""
    layout = lay_out(picture)
    wide, high = _n(layout.width), _n(layout.height)
    title = xml(picture.title)
    size = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
    about = f'role="img" aria-label="{title}" font-family="{_FONT}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {about}>',
        f"<title>{title}</title>",
        *_boxes(picture, layout),
    ]
    names = {node.id: node.name for node in picture.nodes}
    routed = list(zip(picture.edges, layout.edges, strict=True))
    lines += [_edge(edge, route, names) for edge, route in routed]
    lines += [_label(edge, route.label) for edge, route in routed if route.label is not None]
    for node, rect in zip(picture.nodes, layout.nodes, strict=True):
        lines += _node(node, rect)
    return "\n".join([*lines, "</svg>", ""])


def _n(number: float) -> str:
    """A coordinate: a tenth of a pixel is enough, and short."""
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _boxes(picture: Picture, layout: Layout) -> list[str]:
    names = {node.id: node.name for node in picture.nodes}
    paint = f'fill="{LINE}" fill-opacity="0.08" stroke="{LINE}" stroke-opacity="0.45" stroke-dasharray="2 3"'
    return [
        f'<rect class="dagflow-scope" data-scope="{xml_exact(names[box.opener])}" {_at(rect)} rx="8" {paint}/>'
        for box, rect in zip(picture.boxes, layout.boxes, strict=True)
        if rect is not None
    ]


def _at(rect: Rect) -> str:
    return f'x="{_n(rect.x)}" y="{_n(rect.y)}" width="{_n(rect.width)}" height="{_n(rect.height)}"'


# -- edges -----------------------------------------------------------------------------------------------


def _edge(edge: PictureEdge, route: Route, names: dict[str, str]) -> str:
    dash = ' stroke-dasharray="5 4"' if edge.dashed else ""
    return (
        f'<g class="dagflow-edge" data-source="{xml_exact(names[edge.source])}" '
        f'data-target="{xml_exact(names[edge.target])}">'
        f'<path d="{_path(route)}" fill="none" stroke="{LINE}" stroke-width="1.4"{dash}/>'
        f"{_head(route) if route.ends else ''}</g>"
    )


def _head(route: Route) -> str:
    _, tip, y = route.stretches[-1]
    half = _HEAD * 0.42
    return f'<path d="M{_n(tip)} {_n(y)}l{_n(-_HEAD)} {_n(-half)}v{_n(2 * half)}Z" fill="{LINE}"/>'


def _path(route: Route) -> str:
    *others, (x1, x2, y) = route.stretches
    if route.ends:  # inside the head, whose tip would else be blunt
        x2 -= _HEAD / 2
    stretches = [*others, (min(x1, x2), x2, y)]
    parts = [f"M{_n(stretches[0][0])} {_n(stretches[0][2])}"]
    for (_, x, y0), (x_next, _, y1) in pairwise(stretches):
        bend = (x + x_next) / 2
        curve = f"C{_n(bend)} {_n(y0)} {_n(bend)} {_n(y1)} {_n(x_next)} {_n(y1)}"
        # One that is level all the way is one line, not a line a column.
        parts += [f"H{_n(x)}", curve] if abs(y0 - y1) >= 0.05 else []
    parts.append(f"H{_n(stretches[-1][1])}")
    return "".join(parts)


def _label(edge: PictureEdge, rect: Rect) -> str:
    ground = f'<rect {_at(rect)} rx="4" fill="{LABEL_GROUND}"/>'
    text = _text(shown_label(edge.text), rect.x + rect.width / 2, rect.middle, LABEL_SIZE, LABEL_TEXT)
    return f'<g class="dagflow-label"><title>{xml(edge.text)}</title>{ground}{text}</g>'


def _text(text: str, x: float, middle: float, size: float, colour: str, *, extra: str = "") -> str:
    # The baseline is set by hand: dominant-baseline is not known everywhere.
    baseline = middle + size * 0.34
    anchor = 'text-anchor="middle"'
    return (
        f'<text x="{_n(x)}" y="{_n(baseline)}" font-size="{_n(size)}" fill="{colour}" {anchor} '
        f'xml:space="preserve"{extra}>{xml(text)}</text>'
    )


# -- nodes -----------------------------------------------------------------------------------------------


def _node(node: PictureNode, rect: Rect) -> list[str]:
    hint = "\n".join(xml(line) for line in (node.name, *node.lines, node.note or "") if line)
    body = _mark(node, rect) if node.kind == "drop" else [_shape(node, rect), *_words(node, rect)]
    who = f'data-node="{xml_exact(node.name)}" data-kind="{node.kind}"'
    return [f'<g class="dagflow-node" {who}><title>{hint}</title>', *body, "</g>"]


def _shape(node: PictureNode, rect: Rect) -> str:
    fill, line, _ = COLOURS[node.kind]
    paint = f'fill="{fill}" stroke="{line}" stroke-width="1.3" stroke-linejoin="round"'
    x, y, right, bottom = rect.x, rect.y, rect.right, rect.bottom
    slope = min(9.0, rect.height / 4)
    corners = {
        "route": (
            (x, rect.middle),
            (x + rect.width / 2, y),
            (right, rect.middle),
            (x + rect.width / 2, bottom),
        ),
        "split": ((x, y + slope), (right, y), (right, bottom), (x, bottom - slope)),
        "merge": ((x, y), (right, y + slope), (right, bottom - slope), (x, bottom)),
    }.get(node.kind)
    if corners is None:
        return f'<rect {_at(rect)} rx="9" {paint}/>'
    points = " ".join(f"{_n(px)},{_n(py)}" for px, py in corners)
    return f'<polygon points="{points}" {paint}/>'


def _words(node: PictureNode, rect: Rect) -> list[str]:
    _, line, colour = COLOURS[node.kind]
    wide, high = text_block(node)
    x, y = rect.x + rect.width / 2, rect.middle - high / 2
    parts = [_text(shown_name(node), x, y + NAME_SIZE * LINE_HEIGHT / 2, NAME_SIZE, colour)]
    y += NAME_SIZE * LINE_HEIGHT
    for small in shown_lines(node):
        parts.append(_text(small, x, y + SMALL_SIZE * LINE_HEIGHT / 2, SMALL_SIZE, colour, extra=' opacity="0.8"'))
        y += SMALL_SIZE * LINE_HEIGHT
    if node.share is not None:
        track = Rect(x - wide / 2, y + BAR_HEIGHT - 4, wide, 4)
        full = Rect(track.x, track.y, wide * min(1.0, max(0.0, node.share)), 4)
        parts.append(f'<rect {_at(track)} rx="2" fill="{line}" fill-opacity="0.25"/>')
        parts.append(f'<rect {_at(full)} rx="2" fill="{line}"/>')
    return parts


def _mark(node: PictureNode, rect: Rect) -> list[str]:
    """The end of a branch: a crossed circle with its word beside it, on a ground of their own."""
    fill, line, colour = COLOURS[node.kind]
    half = MARK_SIZE / 2
    x, y, arm = rect.x + half, rect.middle, half * 0.42
    circle = f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(half)}" fill="{fill}" stroke="{line}" stroke-width="1.3"'
    stroke, across = f"l{_n(2 * arm)} {_n(2 * arm)}", f"l{_n(-2 * arm)} {_n(2 * arm)}"
    cross = f"M{_n(x - arm)} {_n(y - arm)}{stroke}m0 {_n(-2 * arm)}{across}"
    beside = rect.x + MARK_SIZE + 3 + (rect.width - MARK_SIZE - 10) / 2
    return [
        f'<rect {_at(rect)} rx="{_n(rect.height / 2)}" fill="{fill}"/>',
        f"<circle {circle}/>",
        f'<path d="{cross}" stroke="{line}" stroke-width="1.6" fill="none"/>',
        _text(shown_name(node), beside, y, SMALL_SIZE, colour),
    ]
