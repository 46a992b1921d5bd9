"""The colours of pictures: fill, line and text of each kind of node, and that of all that has no ground.

Nodes carry their own light ground with dark text on it, so they read the same on a dark and on a light page.
What stands on the page itself is of the one grey that has a contrast of 4.5 to both white and black
(relative luminance 0.18).
"""

from __future__ import annotations

from typing import Final

from dagflow.draw.model import Kind, PictureNode

LINE: Final = "#767676"
LABEL_GROUND: Final = "#f1f3f5"
LABEL_TEXT: Final = "#33393f"
COLOURS: Final[dict[Kind, tuple[str, str, str]]] = {
    "task": ("#e3eefc", "#3b74b9", "#12263f"),
    "split": ("#e0f3e6", "#2f8a55", "#0e3320"),
    "route": ("#fdf0cf", "#a87a12", "#3d2c05"),
    "merge": ("#efe5fb", "#7d54b5", "#2b1648"),
    "drop": ("#fbe3e1", "#b8463c", "#4a130e"),
}

ALARM: Final = "#b3261e"
"""What failed, and the node that limits the run: on light grounds its contrast is above 5."""
_HEAT: Final = ((0xF4, 0xF6, 0xF8), (0xFF, 0xE3, 0x9E), (0xFF, 0xA9, 0x6B))
"""The fill of a node that a run was laid over: idle, half busy, always busy. Dark text reads on each."""


def heat(share: float) -> str:
    """The colour of a node that was busy for ``share`` (0 to 1) of the time."""
    share = min(1.0, max(0.0, share))
    low, high = _HEAT[:2] if share < 0.5 else _HEAT[1:]
    part = share * 2 % 1 if share < 1 else 1.0
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(low, high, strict=True))


def colours_of(node: PictureNode) -> tuple[str, str, str]:
    """Fill, line and text of a node: by its kind; the fill by how busy it is, where a run was laid over."""
    fill, line, text = COLOURS[node.kind]
    return (fill if node.share is None else heat(node.share)), line, text
