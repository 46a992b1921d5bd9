"""How large things are drawn, in pixels: a node by its text and shape, an edge's label by its text.

The font is a fixed-width one of the system's, because only there the room that a text takes can be known
without the font: all common ones are 0.60 em wide (within 1 %).
"""

from __future__ import annotations

from typing import Final

from dagflow.draw.model import PictureNode
from dagflow.draw.words import cut, visible, width

NAME_SIZE: Final = 13.0
SMALL_SIZE: Final = 10.5
LABEL_SIZE: Final = 10.5
BADGE_SIZE: Final = 9.0
LINE_HEIGHT: Final = 1.25
BAR_HEIGHT: Final = 7.0
"""Room of the bar that shows a share, the space above it included."""
MARK_SIZE: Final = 16.0
"""The cross where a branch ends."""

_POINT: Final = 24.0
_DIAMOND_MOST: Final = 200.0

_EM: Final = 0.61
_NAME_CELLS: Final = 36
_SMALL_CELLS: Final = 42
_LABEL_CELLS: Final = 28


def shown_name(node: PictureNode) -> str:
    """The name as it stands on the node."""
    return cut(visible(node.name), _NAME_CELLS)


def shown_lines(node: PictureNode) -> tuple[str, ...]:
    """The small print under the name, what a run has laid over included."""
    return tuple(cut(visible(line), _SMALL_CELLS) for line in node.words)


def shown_label(text: str) -> str:
    """The text of an edge as it stands there."""
    return cut(visible(text), _LABEL_CELLS)


def text_width(text: str, size: float) -> float:
    """The room of ``text`` in a font of so many pixels."""
    return width(text) * size * _EM


def node_size(node: PictureNode) -> tuple[float, float]:
    """Width and height of the node's shape."""
    if node.kind == "drop":
        return MARK_SIZE + 10 + text_width(shown_name(node), SMALL_SIZE), MARK_SIZE + 4
    wide, high = text_block(node)
    if node.kind == "route":
        return _router(wide, high)[:2]
    if node.kind in ("split", "merge"):
        return max(wide + 30, 56), high + 24
    return max(wide + 26, 56), high + 16


def point_of(node: PictureNode) -> float:
    """How long the points to the left and the right of a Router are."""
    return _router(*text_block(node))[2]


def _router(wide: float, high: float) -> tuple[float, float, float]:
    """Width, height and points of a diamond around a text block; its upper and lower corner are cut off where it
    would get too wide. A block fits if its share of the width and its share of the height sum up to 1."""
    tall = high + 34 + wide * 0.12
    full = (wide + 4) / (1 - high / tall)
    return (full, tall, full / 2) if full <= _DIAMOND_MOST else (wide + 2 * _POINT, high + 20, _POINT)


def text_block(node: PictureNode) -> tuple[float, float]:
    """Width and height of all the text on a node, and the bar if it has one."""
    lines = shown_lines(node)
    wide = max([text_width(shown_name(node), NAME_SIZE), *(text_width(each, SMALL_SIZE) for each in lines)])
    high = LINE_HEIGHT * (NAME_SIZE + SMALL_SIZE * len(lines))
    return wide, high + (BAR_HEIGHT if node.share is not None else 0)


def label_size(text: str) -> tuple[float, float]:
    """Width and height of the ground on which an edge's label stands."""
    return text_width(shown_label(text), LABEL_SIZE) + 12, LABEL_SIZE * LINE_HEIGHT + 5
