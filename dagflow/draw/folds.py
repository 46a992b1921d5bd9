"""Folds: a picture too wide for a page is cut between columns, and the pieces are stacked like lines of text.

Where to cut is chosen as a typesetter breaks a paragraph: rows of about equal width, cut where few edges cross
and no box is open. An edge that crosses a cut leaves its row at the right, runs back below it, and enters the
next row from the left, in a lane of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dagflow.draw.layers import Layered

WIDEST: Final = 1600.0
"""A picture up to so wide is left in one row: scaled to a page or a notebook its text can still be read."""
_ROW: Final = 1400.0
_RAGGED: Final = 100.0
_LANE_COST: Final = 15.0
_BOX_COST: Final = 40.0
_LABEL_COST: Final = 4.0
_TOO_WIDE: Final = 1e6
LANE: Final = 9.0
"""Distance between two edges that run back side by side."""
ROUND: Final = 8.0
"""Radius of their corners."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The way back of edges that go from one row to one slot of the next: down at ``out``, back at the height
    ``level``, down again at ``into``."""

    out: float
    level: float
    into: float


def starts(drawn: Layered, spans: list[tuple[float, float]]) -> list[int]:
    """The first column of each row; ``[0]``: all in one."""
    total = spans[-1][1] - spans[0][0]
    if total <= WIDEST:
        return [0]
    ideal = total / -(-total // _ROW)
    count = len(spans)
    cost = [_cut_cost(drawn, column) for column in range(count)]
    best = [0.0] + [_TOO_WIDE * (count + 2)] * count
    came = [0] * (count + 1)
    for end in range(1, count + 1):
        for start in range(end - 1, -1, -1):
            width = spans[end - 1][1] - spans[start][0]
            if width > _ROW and start < end - 1:
                break
            ragged = _RAGGED * ((width - ideal) / ideal) ** 2
            so_far = best[start] + ragged + (cost[start - 1] if start else 0.0)
            if so_far < best[end]:
                best[end], came[end] = so_far, start
    rows = []
    end = count
    while end:
        end = came[end]
        rows.append(end)
    return rows[::-1]


def _cut_cost(drawn: Layered, column: int) -> float:
    """What it costs to cut after ``column``."""
    slots = drawn.slots
    links = {n for s in drawn.columns[column] for n in slots[s].after}
    lanes = sum(1 for n in links if slots[n].fence is None)
    fences = len(links) - lanes
    labels = any(slots[s].is_label for s in drawn.columns[column])
    return _LANE_COST * lanes + _BOX_COST * fences / 2 + _LABEL_COST * labels
