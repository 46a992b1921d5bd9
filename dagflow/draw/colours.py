"""The colours of pictures: fill, line and text of each kind of node, and that of all that has no ground.

Nodes carry their own light ground with dark text on it, so they read the same on a dark and on a light page.
What stands on the page itself is of the one grey that has a contrast of 4.5 to both white and black
(relative luminance 0.18).
"""

from __future__ import annotations

from typing import Final

from dagflow.draw.model import Kind

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
