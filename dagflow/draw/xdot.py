"""A painting for Graphviz to put on paper as it is: the source of a PNG or PDF that looks as the SVG does.

Shapes go into ``_background``, in Graphviz's own drawing language (xdot), which is nothing but numbers and
colours here. Texts are nodes without a shape, pinned to their places, because only labels have a quoting that
can hold any text. Nothing is left for Graphviz to lay out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dagflow.draw.model import Picture
from dagflow.draw.paint import paint
from dagflow.draw.shapes import Box, Curve, Disc, Move, Paint, Path, Point, Polygon, Step, Straight, Words
from dagflow.draw.words import dot

_DOTS_PER_INCH: Final = 144
"""Two dots a pixel: sharp on today's screens, and on slides."""
_KAPPA: Final = 0.5523
"""How far a Bezier curve's control points lie from its ends, in radii, to make a quarter of a circle."""


def render(picture: Picture) -> str:
    """The DOT source, for the engine ``neato``."""
    painting = paint(picture)
    high = painting.height
    shapes = (shape for shape in painting.flat() if not isinstance(shape, Words))
    # One string a shape: Graphviz reads no string of more than 16 kB, but joins as many as one likes.
    drawn = '" + "'.join(" ".join(_shape(shape, high)) + " " for shape in shapes)
    lines = [
        "graph picture {",
        f'  inputscale=72; pad=0; margin=0; dpi={_DOTS_PER_INCH}; bgcolor="white";',
        f'  _background="{drawn}";',
        '  node [shape=none, margin=0, width=0, height=0, pin=true, label=""];',
        f'  from [pos="0,0!"]; to [pos="{_n(painting.width)},{_n(high)}!"];',
    ]
    texts = (shape for shape in painting.flat() if isinstance(shape, Words))
    lines += [_words(number, words, high) for number, words in enumerate(texts)]
    return "\n".join([*lines, "}", ""])


def _n(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _words(number: int, words: Words, high: float) -> str:
    font = "monospace bold" if words.bold else "monospace"
    look = f'fontname="{font}", fontsize={_n(words.size)}, fontcolor="{_colour(words.colour, words.opacity)}"'
    # Graphviz centres the whole line, with the room for accents above the letters; here the letters are centred.
    place = f"{_n(words.x)},{_n(high - words.middle - words.size * 0.07)}!"
    return f'  t{number} [pos="{place}", label="{dot(words.text)}", {look}];'


def _colour(colour: str, opacity: float) -> str:
    return colour if opacity >= 1 else f"{colour}{round(opacity * 255):02x}"


def _shape(shape: Box | Polygon | Disc | Path, high: float) -> Iterable[str]:
    look = shape.paint
    yield from _pens(look)
    match shape:
        case Polygon(points):
            yield from _polygon(points, look, high)
        case Disc(x, y, radius):
            if look.fill:
                yield f"E {_n(x)} {_n(high - y)} {_n(radius)} {_n(radius)}"
            if look.stroke:
                yield f"e {_n(x)} {_n(high - y)} {_n(radius)} {_n(radius)}"
        case Box(rect, radius) if radius > 0:
            outline = _rounded(rect.x, rect.y, rect.right, rect.bottom, min(radius, rect.width / 2, rect.height / 2))
            yield from _curves(outline, look, high)
        case Box(rect):
            x, y, right, bottom = rect.x, rect.y, rect.right, rect.bottom
            yield from _polygon(((x, y), (right, y), (right, bottom), (x, bottom)), look, high)
        case Path(steps):
            for piece in _pieces(steps):
                yield from _curves(piece, look, high)


def _pens(look: Paint) -> Iterable[str]:
    """Colours and line, in force until the next."""
    if look.fill:
        yield _said("C", _colour(look.fill, look.fill_opacity))
    if look.stroke:
        yield _said("c", _colour(look.stroke, look.stroke_opacity))
        yield _said("S", f"setlinewidth({_n(look.width)})")
        yield _said("S", "dashed" if look.dash and look.dash[0] > 3 else "dotted" if look.dash else "solid")


def _said(what: str, text: str) -> str:
    return f"{what} {len(text)} -{text}"


def _points(points: Iterable[Point], high: float) -> str:
    return " ".join(f"{_n(x)} {_n(high - y)}" for x, y in points)


def _polygon(points: tuple[Point, ...], look: Paint, high: float) -> Iterable[str]:
    if look.fill and not look.stroke:  # the outline is drawn along with the ground, and must not stand out
        yield _said("c", "#00000000")
    yield f"{'P' if look.fill else 'p'} {len(points)} {_points(points, high)}"


def _curves(points: list[Point], look: Paint, high: float) -> Iterable[str]:
    if look.fill and not look.stroke:
        yield _said("c", "#00000000")
    yield f"{'b' if look.fill else 'B'} {len(points)} {_points(points, high)}"


def _rounded(x: float, y: float, right: float, bottom: float, r: float) -> list[Point]:
    """A rectangle with round corners as Bezier curves, one point and then three a curve."""
    k = r * (1 - _KAPPA)
    points: list[Point] = [(x + r, y)]
    corners = (
        ((right - r, y), (right - k, y), (right, y + k), (right, y + r)),
        ((right, bottom - r), (right, bottom - k), (right - k, bottom), (right - r, bottom)),
        ((x + r, bottom), (x + k, bottom), (x, bottom - k), (x, bottom - r)),
        ((x, y + r), (x, y + k), (x + k, y), (x + r, y)),
    )
    for begin, one, two, end in corners:
        points += [points[-1], begin, begin, one, two, end]
    return points


def _pieces(steps: Iterable[Step]) -> list[list[Point]]:
    """A path as Bezier curves, one list a piece that is drawn without moving."""
    pieces: list[list[Point]] = []
    for step in steps:
        if isinstance(step, Move):
            pieces.append([step.to])
            continue
        here = pieces[-1][-1]
        match step:
            case Straight(to):
                pieces[-1] += [here, to, to]
            case Curve(one, two, to):
                pieces[-1] += [one, two, to]
            case _:
                corner, to = step.corner, step.to
                pieces[-1] += [_between(here, corner), _between(to, corner), to]
    return [piece for piece in pieces if len(piece) > 1]


def _between(end: Point, corner: Point) -> Point:
    """The control point of the cubic curve that is this quadratic one: two thirds of the way to the corner."""
    return end[0] + (corner[0] - end[0]) * 2 / 3, end[1] + (corner[1] - end[1]) * 2 / 3
