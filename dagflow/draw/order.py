"""Order: which slot of a column stands above which, so that few edges cross.

Sweeps to the right and back sort each column by the mean place of what its slots are joined to in the column
swept before; the order with the fewest crossings is kept, and neighbours whose exchange helps are exchanged.
What is in a box stays together in each column. Ties keep the order written, so branches stand as written
where that costs nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from dagflow.draw.layers import Layered, Slot

_SWEEPS: Final = 8
_PATIENCE: Final = 3
_EXCHANGES: Final = 4


def arrange(drawn: Layered) -> None:
    """Put each of ``drawn``'s columns in order."""
    columns = _as_written(drawn)
    best, fewest = columns, _crossings(drawn.slots, columns)
    stale = 0
    for sweep in range(_SWEEPS):
        if not fewest or stale == _PATIENCE:
            break
        columns = _sweep(drawn.slots, columns, rightwards=sweep % 2 == 0)
        crossings = _crossings(drawn.slots, columns)
        stale += 1
        if crossings < fewest:
            best, fewest, stale = columns, crossings, 0
    if fewest:
        best = _exchange(drawn.slots, [list(column) for column in best])
    drawn.columns = best


def _as_written(drawn: Layered) -> list[list[int]]:
    """The order in which a walk from the sources, depth first, branches as written, comes to the slots."""
    seen: dict[int, None] = {}
    starts = [i for i, slot in enumerate(drawn.slots) if not slot.before]
    todo = starts[::-1]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen[here] = None
            todo += drawn.slots[here].after[::-1]
    place = {slot: number for number, slot in enumerate(seen)}
    columns = [sorted(column, key=place.__getitem__) for column in drawn.columns]
    # Nothing has been swept yet, so "its place" stands for "the mean place of its neighbours".
    return [_grouped(drawn.slots, column, {s: float(i) for i, s in enumerate(column)}) for column in columns]


def _sweep(slots: list[Slot], columns: list[list[int]], *, rightwards: bool) -> list[list[int]]:
    swept = list(columns)
    last = len(columns) - 1
    for step in range(1, last + 1):
        here, there = (step, step - 1) if rightwards else (last - step, last - step + 1)
        place = {s: i for i, s in enumerate(swept[there])}
        wanted = {}
        for i, s in enumerate(swept[here]):
            joined = slots[s].before if rightwards else slots[s].after
            if joined:
                wanted[s] = sum(place[n] for n in joined) / len(joined)
            elif i:  # joined to nothing on this side, it stays under what it stood under
                wanted[s] = wanted[swept[here][i - 1]]
            else:
                wanted[s] = -1.0
        swept[here] = _grouped(slots, swept[here], wanted)
    return swept


def _grouped(slots: list[Slot], column: list[int], wanted: dict[int, float]) -> list[int]:
    """``column`` sorted by what each slot wants, a box taken as one thing that wants its members' mean."""
    total: dict[int, float] = {}
    count: dict[int, int] = {}
    for s in column:
        for box in slots[s].boxes:
            total[box] = total.get(box, 0.0) + wanted[s]
            count[box] = count.get(box, 0) + 1
    mean = {box: total[box] / count[box] for box in total}
    first: dict[int, int] = {}
    for place, s in enumerate(column):
        for box in slots[s].boxes:
            first.setdefault(box, place)

    def key(at: tuple[int, int]) -> tuple[float, ...]:
        place, s = at
        # Two numbers a level: the wish, and what tells equal wishes apart.
        boxes = [number for box in slots[s].boxes for number in (mean[box], first[box])]
        return (*boxes, wanted[s], place)

    return [s for _, s in sorted(enumerate(column), key=key)]


def _crossings(slots: list[Slot], columns: list[list[int]]) -> int:
    crossings = 0
    for left, right in pairwise(columns):
        place = {s: i for i, s in enumerate(right)}
        seen: list[int] = []
        for s in left:
            ends = sorted(place[n] for n in slots[s].after)
            crossings += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return crossings


def _exchange(slots: list[Slot], columns: list[list[int]]) -> list[list[int]]:
    for _ in range(_EXCHANGES):
        better = False
        for c, column in enumerate(columns):
            before = {s: i for i, s in enumerate(columns[c - 1])} if c else {}
            after = {s: i for i, s in enumerate(columns[c + 1])} if c + 1 < len(columns) else {}
            ways = {
                s: (sorted(before[n] for n in slots[s].before), sorted(after[n] for n in slots[s].after))
                for s in column
            }
            for i in range(len(column) - 1):
                a, b = column[i], column[i + 1]
                if slots[a].boxes == slots[b].boxes and _gain(ways[a], ways[b]) > 0:
                    column[i], column[i + 1] = b, a
                    better = True
        if not better:
            break
    return columns


def _gain(above: tuple[list[int], list[int]], below: tuple[list[int], list[int]]) -> int:
    return sum(_pairs(a, b) - _pairs(b, a) for a, b in zip(above, below, strict=True))


def _pairs(above: Sequence[int], below: Sequence[int]) -> int:
    """The crossings of two neighbours' edges, given the places where those end."""
    return sum(bisect_left(below, end) for end in above)
