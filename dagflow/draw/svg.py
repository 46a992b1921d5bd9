"""A painting as SVG: presentation attributes only, no style sheet, no ids, no scripts, nothing from outside.

So several pictures can stand on one page without one's rules or names reaching the other. Arrow heads are
drawn one by one for the same reason (a marker is found by its id).
"""

from __future__ import annotations

from typing import Final

from dagflow.draw.layout import Layout
from dagflow.draw.model import Picture
from dagflow.draw.paint import paint
from dagflow.draw.shapes import Box, Curve, Disc, Group, Move, Paint, Path, Point, Polygon, Shape, Straight, Words
from dagflow.draw.words import xml, xml_exact

_FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def render(picture: Picture, layout: Layout | None = None) -> str:
    """The SVG document, ending in a newline. ``layout``: see `dagflow.draw.paint.paint`."""
    painting = paint(picture, layout)
    wide, high, title = _n(painting.width), _n(painting.height), xml(painting.title)
    size = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
    about = f'role="img" aria-label="{title}" font-family="{_FONT}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {about}>', f"<title>{title}</title>"]
    lines += [_shape(shape) for shape in painting.shapes]
    return "\n".join([*lines, "</svg>", ""])


def _n(number: float) -> str:
    """A coordinate: a tenth of a pixel is enough, and short."""
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _shape(shape: Shape) -> str:
    match shape:
        case Group():
            return _group(shape)
        case Words():
            return _words(shape)
        case Box(rect, radius, look):
            at = f'x="{_n(rect.x)}" y="{_n(rect.y)}" width="{_n(rect.width)}" height="{_n(rect.height)}"'
            return f"<rect {at}" + (f' rx="{_n(radius)}"' if radius else "") + f"{_paint(look)}/>"
        case Polygon(points, look):
            return f'<polygon points="{" ".join(f"{_n(x)},{_n(y)}" for x, y in points)}"{_paint(look)}/>'
        case Disc(x, y, radius, look):
            return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"{_paint(look)}/>'
        case Path():
            return f'<path d="{_steps(shape)}"{_paint(shape.paint)}/>'


def _group(group: Group) -> str:
    attributes = "".join(f' {name}="{xml_exact(value)}"' for name, value in group.attributes)
    hint = "\n".join(xml(line) for line in group.hint)
    title = f"<title>{hint}</title>" if hint else ""
    return f"<g{attributes}>{title}{''.join(map(_shape, group.members))}</g>"


def _words(words: Words) -> str:
    # The baseline is set by hand: dominant-baseline is not known everywhere.
    baseline = words.middle + words.size * 0.34
    look = ' font-weight="bold"' if words.bold else ""
    look += f' opacity="{words.opacity:g}"' if words.opacity < 1 else ""
    return (
        f'<text x="{_n(words.x)}" y="{_n(baseline)}" font-size="{_n(words.size)}" fill="{words.colour}" '
        f'text-anchor="middle" xml:space="preserve"{look}>{xml(words.text)}</text>'
    )


def _paint(look: Paint) -> str:
    parts = [f' fill="{look.fill or "none"}"']
    if look.fill and look.fill_opacity < 1:
        parts.append(f' fill-opacity="{look.fill_opacity:g}"')
    if look.stroke:
        parts.append(f' stroke="{look.stroke}" stroke-width="{_n(look.width)}" stroke-linejoin="round"')
        if look.stroke_opacity < 1:
            parts.append(f' stroke-opacity="{look.stroke_opacity:g}"')
        if look.dash:
            parts.append(f' stroke-dasharray="{_n(look.dash[0])} {_n(look.dash[1])}"')
    return "".join(parts)


def _steps(path: Path) -> str:
    parts: list[str] = []
    here: Point = (0.0, 0.0)
    for step in path.steps:
        x, y = step.to
        match step:
            case Move():
                parts.append(f"M{_n(x)} {_n(y)}")
            case Straight() if abs(y - here[1]) < 0.05:
                parts.append(f"H{_n(x)}")
            case Straight() if abs(x - here[0]) < 0.05:
                parts.append(f"V{_n(y)}")
            case Straight():
                parts.append(f"L{_n(x)} {_n(y)}")
            case Curve(one, two):
                parts.append(f"C{_n(one[0])} {_n(one[1])} {_n(two[0])} {_n(two[1])} {_n(x)} {_n(y)}")
            case _:
                parts.append(f"Q{_n(step.corner[0])} {_n(step.corner[1])} {_n(x)} {_n(y)}")
        here = step.to
    return "".join(parts)
