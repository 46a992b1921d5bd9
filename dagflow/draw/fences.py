"""Fences: the upper and lower side of each box, as slots in every column that the box passes through.

They keep out what is not in the box (an edge that passes by, too), because a column keeps its order and its
distances. Once all has found its height, each fence is made level: then the box is a rectangle that covers
nothing else.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from dagflow.draw.layers import Layered, Slot


def build(drawn: Layered, boxes: int) -> None:
    """Add the sides of so many boxes to ``drawn``, whose columns have been put in order."""
    for box in reversed(range(boxes)):  # inner boxes come last, and outer sides go around inner ones
        last: tuple[int, int] | None = None
        for column in range(len(drawn.columns)):
            inside = [i for i, s in enumerate(drawn.columns[column]) if box in drawn.slots[s].boxes]
            if not inside:
                continue
            path = drawn.slots[drawn.columns[column][inside[0]]].boxes
            own = path[: path.index(box) + 1]
            upper, lower = (
                _piece(drawn, column, own, fence, at)
                for fence, at in ((2 * box, inside[0]), (2 * box + 1, inside[-1] + 2))
            )
            if last is not None:
                drawn.link(last[0], upper)
                drawn.link(last[1], lower)
            last = upper, lower


def _piece(drawn: Layered, column: int, boxes: tuple[int, ...], fence: int, at: int) -> int:
    drawn.slots.append(Slot(column, 0.0, 0.0, boxes, fence=fence))
    drawn.columns[column].insert(at, len(drawn.slots) - 1)
    return len(drawn.slots) - 1


def levels(drawn: Layered, gaps: list[list[float]], middles: list[float]) -> dict[int, tuple[float, float]]:
    """For each fence a level, none inwards of where its pieces are and all with room for what lies between; and how
    far that is below where its outermost piece was, since a box that is pushed down by another goes as a whole.

    Empty if there are none: two boxes may stand in one order here and in the other there.
    """
    wanted: dict[int, float] = {}
    for slot, middle in zip(drawn.slots, middles, strict=True):
        if slot.fence is not None:
            outer = max if slot.fence % 2 else min
            wanted[slot.fence] = outer(wanted.get(slot.fence, middle), middle)
    above: dict[int, dict[int, float]] = {fence: {} for fence in wanted}
    for upper in wanted:
        if upper % 2 == 0:
            above[upper + 1][upper] = wanted[upper + 1] - wanted[upper]
    for column, between in zip(drawn.columns, gaps, strict=True):
        last, room = None, 0.0
        for s, gap in zip(column, [*between, 0.0], strict=True):
            fence = drawn.slots[s].fence
            if fence is not None:
                if last is not None:
                    above[fence][last] = max(room, above[fence].get(last, 0.0))
                last, room = fence, 0.0
            room += gap
    try:
        order = list(TopologicalSorter(above).static_order())
    except CycleError:
        return {}
    found = dict(wanted)
    for fence in order:
        found[fence] = max([found[fence], *(found[other] + room for other, room in above[fence].items())])
    return {fence: (level, level - wanted[fence]) for fence, level in found.items()}
