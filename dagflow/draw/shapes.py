"""Shapes: what a picture is painted with. Plain values, in pixels; each renderer says them in its own language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dagflow.draw.layout import Rect

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Paint:
    """How a shape is filled and outlined. ``dash``: lengths of line and gap, in turn; none: a full line."""

    fill: str | None = None
    stroke: str | None = None
    width: float = 1.3
    dash: tuple[float, float] | None = None
    fill_opacity: float = 1.0
    stroke_opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with round corners."""

    rect: Rect
    radius: float
    paint: Paint


@dataclass(frozen=True, slots=True)
class Polygon:
    """A closed shape with straight sides."""

    points: tuple[Point, ...]
    paint: Paint


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle."""

    x: float
    y: float
    radius: float
    paint: Paint


@dataclass(frozen=True, slots=True)
class Move:
    """Go somewhere without drawing."""

    to: Point


@dataclass(frozen=True, slots=True)
class Straight:
    """Draw a straight line."""

    to: Point


@dataclass(frozen=True, slots=True)
class Curve:
    """Draw a cubic Bezier curve."""

    one: Point
    two: Point
    to: Point


@dataclass(frozen=True, slots=True)
class Turn:
    """Draw round a corner: a quadratic Bezier curve."""

    corner: Point
    to: Point


Step = Move | Straight | Curve | Turn


@dataclass(frozen=True, slots=True)
class Path:
    """A line along steps."""

    steps: tuple[Step, ...]
    paint: Paint


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text around ``x``, and around the height ``middle``; any characters."""

    text: str
    x: float
    middle: float
    size: float
    colour: str
    bold: bool = False
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes that belong together: what they stand for, as attributes, and lines to be shown on pointing there."""

    attributes: tuple[tuple[str, str], ...]
    hint: tuple[str, ...]
    members: tuple[Shape, ...]


Shape = Box | Polygon | Disc | Path | Words | Group


@dataclass(frozen=True, slots=True)
class Painting:
    """All shapes, the first at the bottom."""

    title: str
    width: float
    height: float
    shapes: tuple[Shape, ...]

    def flat(self) -> list[Box | Polygon | Disc | Path | Words]:
        """The shapes without the groups around them."""
        return _flat(self.shapes)


def _flat(shapes: Sequence[Shape]) -> list[Box | Polygon | Disc | Path | Words]:
    found: list[Box | Polygon | Disc | Path | Words] = []
    for shape in shapes:
        if isinstance(shape, Group):
            found += _flat(shape.members)
        else:
            found.append(shape)
    return found
