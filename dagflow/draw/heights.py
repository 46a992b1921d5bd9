"""Heights: the y of every slot, keeping each column's order and distances.

Each slot wishes for the mean height of its neighbours; a column gets the nearest heights to all wishes in it
that keep its order and distances. That is an isotonic regression, solved exactly by pooling adjacent
violators. Edges weigh most where they are long, so they run straight; then bends that are left over are taken
out, and the fences of boxes made level.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from dagflow.draw import fences
from dagflow.draw.layers import Layered, Slot

_LOOSE: Final = 0.05
"""The weight of what is joined to nothing."""
_SIDE: Final = 0.03
"""How little a dashed edge counts beside another, so that the main way of the tasks stays level."""
_FENCE: Final = 0.01
_IMMOVABLE: Final = 1e9
_PASSES: Final = 6
_STRAIGHTENINGS: Final = 2


def heights(drawn: Layered) -> list[float]:
    """The y of the middle of each slot."""
    slots = drawn.slots
    gaps = [[_distance(slots[a], slots[b]) for a, b in pairwise(column)] for column in drawn.columns]
    middles = [0.0] * len(slots)
    for column, between in zip(drawn.columns, gaps, strict=True):
        y = -sum(between) / 2
        for s, gap in zip(column, [*between, 0.0], strict=True):
            middles[s] = y
            y += gap
    # Both sides pull at once: with the side just settled alone, small shifts add up along a long chain.
    joined = [[(n, _pull(slot, slots[n])) for n in (*slot.before, *slot.after)] for slot in slots]
    order = list(range(len(drawn.columns)))
    for columns in (order, order[::-1]) * _PASSES:
        for c in columns:
            _settle(drawn.columns[c], gaps[c], joined, middles)
    _straighten_all(drawn, gaps, middles)
    _align(drawn, middles)
    _straighten_all(drawn, gaps, middles)
    levels = fences.levels(drawn, gaps, middles)
    if levels:
        for column, between in zip(drawn.columns, gaps, strict=True):
            wishes = [_fixed(slots[s], middles[s], levels) for s in column]
            _place(column, between, wishes, middles)
        _straighten_all(drawn, gaps, middles, fixed=True)
    return middles


def _align(drawn: Layered, middles: list[float]) -> None:
    """Where one edge alone goes from some columns to the next, move all that comes after until that edge is level."""
    slots = drawn.slots
    shift = 0.0
    for column in drawn.columns:
        links = [
            (s, n)
            for n in column
            for s in slots[n].before
            if slots[n].fence is None and not (slots[s].is_side or slots[n].is_side)
        ]
        if len(links) == 1:
            s, n = links[0]
            shift = middles[s] - middles[n]
        for s in column:
            middles[s] += shift


def _fixed(slot: Slot, middle: float, levels: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """Where a slot wants to be, and how much, when fences have got their ``levels``: what is in a box moves with it."""
    if slot.fence is not None:
        return levels[slot.fence][0], _IMMOVABLE
    moved = levels[2 * slot.boxes[-1]][1] if slot.boxes else 0.0
    return middle + moved, _SIDE if slot.is_side else 1.0


def _distance(above: Slot, below: Slot) -> float:
    room = 10.0 if above.is_way or below.is_way else 12.0 if above.is_label or below.is_label else 20.0
    return (above.height + below.height) / 2 + room


def _pull(one: Slot, other: Slot) -> float:
    """How much an edge wants to be level: most in the middle of a long one, hardly at all if it is dashed; the side
    of a box, which goes where its content asks it to, least."""
    if one.fence is not None:
        return _FENCE
    thin = (one.node is None) + (other.node is None)
    return (1.0, 2.0, 8.0)[thin] * (_SIDE if one.is_side or other.is_side else 1.0)


def _settle(column: list[int], gaps: list[float], joined: list[list[tuple[int, float]]], middles: list[float]) -> None:
    """Move a column's slots as near as can be to the mean of what each is joined to."""
    wishes = []
    for s in column:
        weight = sum(w for _, w in joined[s])
        wish = sum(middles[n] * w for n, w in joined[s]) / weight if weight else middles[s]
        wishes.append((wish, weight or _LOOSE))
    _place(column, gaps, wishes, middles)


def _place(column: list[int], gaps: list[float], wishes: list[tuple[float, float]], middles: list[float]) -> None:
    """Move a column's slots as near to their wishes, by weight, as their order and distances allow."""
    pools: list[tuple[float, float, int]] = []  # the mean of wishes less offsets, its weight, how many slots
    offset = 0.0
    for (wish, weight), gap in zip(wishes, [*gaps, 0.0], strict=True):
        mean, count = wish - offset, 1
        while pools and pools[-1][0] > mean:
            other, heavy, many = pools.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + many
        pools.append((mean, weight, count))
        offset += gap
    offset, place = 0.0, 0
    for mean, _, count in pools:
        for s in column[place : place + count]:
            middles[s] = mean + offset
            offset += gaps[place] if place < len(gaps) else 0.0
            place += 1


def _straighten_all(drawn: Layered, gaps: list[list[float]], middles: list[float], *, fixed: bool = False) -> None:
    order = range(len(drawn.columns))
    for leftwards in (False, True) * _STRAIGHTENINGS:
        for c in reversed(order) if leftwards else order:
            _straighten(drawn.slots, drawn.columns[c], gaps[c], middles, leftwards=leftwards, fixed=fixed)


def _straighten(
    slots: list[Slot],
    column: list[int],
    gaps: list[float],
    middles: list[float],
    *,
    leftwards: bool,
    fixed: bool,
) -> None:
    """Take out bends that a column's distances do not ask for.

    Means leave an edge a little bent everywhere. A slot that lies between one other on either side may stand
    level with one of them at no cost to the length of the edge, and one that has a single neighbour, with it.
    ``fixed``: fences stay where they are.
    """
    for place, s in enumerate(column):
        slot = slots[s]
        before, after = (_line(slots, slot, joined) for joined in (slot.before, slot.after))
        stays = fixed and slot.fence is not None
        if stays or before is None or after is None or not before + after:
            continue
        above = list(zip(column[:place][::-1], gaps[:place][::-1], strict=True))
        below = list(zip(column[place + 1 :], gaps[place:], strict=True))
        lowest = -_reach(slots, above, middles, -1.0, pushes=not fixed)
        highest = _reach(slots, below, middles, 1.0, pushes=not fixed)
        levels = [middles[n] for n in (*before, *after)][:: -1 if leftwards else 1]
        free = [y for y in levels if lowest <= y <= highest]
        wish = free[0] if free else min(max(middles[s], min(levels)), max(levels))
        middles[s] = min(max(wish, lowest), max(lowest, highest))
        if not fixed:
            _push(slots, above, middles, middles[s], -1.0)
            _push(slots, below, middles, middles[s], 1.0)


Beyond = list[tuple[int, float]]
"""The slots above or below one, the nearest first, each with its distance from the one before."""


def _reach(slots: list[Slot], beyond: Beyond, middles: list[float], sign: float, *, pushes: bool) -> float:
    """How far (downwards: ``sign`` 1) a slot can go towards what is ``beyond`` it; fences may be pushed."""
    room = 0.0
    for s, gap in beyond:
        room += gap
        if slots[s].fence is None or not pushes:
            return sign * middles[s] - room
    return math.inf


def _push(slots: list[Slot], beyond: Beyond, middles: list[float], middle: float, sign: float) -> None:
    """Move the fences right ``beyond`` a slot out of the way of where it is now."""
    for s, gap in beyond:
        if slots[s].fence is None:
            break
        middle = sign * max(sign * middles[s], sign * middle + gap)
        middles[s] = middle


def _line(slots: list[Slot], slot: Slot, joined: list[int]) -> list[int] | None:
    """What ``slot`` may stand level with on one side; None where it belongs between several."""
    joined = [n for n in joined if slots[n].is_side == slot.is_side] or joined
    if len(joined) > 1 and slot.is_way:
        return [n for n in joined if slots[n].is_way][:1]
    return joined if len(joined) <= 1 else None
