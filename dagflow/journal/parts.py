"""Parts: entries with some of their tasks left out, and many entries made one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dagflow.journal.entries import (
    END,
    FAIL,
    LEASED,
    MISS,
    ROOTS,
    SPLIT,
    TRIED,
    Entry,
    Out,
    Seg,
    length_of,
    numbers_of,
    positions_of,
    take_segs,
)

Wanted = Callable[[int, int, tuple[int, ...], int], bool]
"""Whether something is to be kept of a task: node, shape, prefix, number."""


def part_of(entry: Entry, wanted: Wanted) -> Entry | None:
    """What an entry says of the tasks that are wanted; None if that is nothing, itself if it is all."""
    kind = entry[0]
    if kind in (END, SPLIT):
        _, node, segs, *_ = entry
        keep = [at for at, (shape, prefix, number) in enumerate(tasks_in(segs)) if wanted(node, shape, prefix, number)]
        if len(keep) == length_of(segs):
            return entry
        if not keep:
            return None
        return _end_part(entry, keep) if kind == END else _split_part(entry, keep)
    if kind in (FAIL, MISS, TRIED):
        _, node, seg, *_ = entry
        return entry if wanted(node, seg[0], seg[1], numbers_of(seg)[0]) else None
    if kind == LEASED:
        _, run, node, segs = entry
        keep = [at for at, (shape, prefix, number) in enumerate(tasks_in(segs)) if wanted(node, shape, prefix, number)]
        return (LEASED, run, node, take_segs(segs, keep)) if keep else None
    return entry


def tasks_in(segs: Iterable[Seg]) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """The tasks of segs, one by one."""
    for seg in segs:
        for number in numbers_of(seg):
            yield seg[0], seg[1], number


def _end_part(entry: Entry, keep: list[int]) -> Entry:
    _, node, segs, outs, odd = entry
    place = {position: at for at, position in enumerate(keep)}
    kept: list[Out] = []
    for out in outs:
        port, low, _, data, _ = out
        pairs = [
            (place[position], low + offset) for offset, position in enumerate(positions_of(out)) if position in place
        ]
        kept.extend(_neighbours(port, data, pairs))
    return (END, node, take_segs(segs, keep), kept, _odd_part(odd, keep, place))


def _neighbours(port: int, data: Any, pairs: list[tuple[int, int]]) -> Iterator[Out]:
    """Outs of values that lie side by side."""
    low = 0
    for at in range(1, len(pairs) + 1):
        if at == len(pairs) or pairs[at][1] != pairs[at - 1][1] + 1:
            yield (port, pairs[low][1], at - low, data, [position for position, _ in pairs[low:at]])
            low = at


def _odd_part(odd: dict[str, Any] | None, keep: list[int], place: dict[int, int]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for name, value in (odd or {}).items():
        if name in "du":
            value = [place[p] for p in value if p in place]
        elif name == "c":
            value = {place[p]: n for p, n in value.items() if p in place}
        elif name in "km":
            value = [value[p] for p in keep]
        if value:
            found[name] = value
    return found or None


def _split_part(entry: Entry, keep: list[int]) -> Entry:
    _, node, segs, outs, ended, odd = entry
    place = {position: at for at, position in enumerate(keep)}
    kept: list[Out] = []
    for port, low, _, data, children in outs:
        offset = low
        for position, start, count in children:
            if position in place:
                kept.append((port, offset, count, data, [(place[position], start, count)]))
            offset += count
    ends = [place[p] for p in (range(length_of(segs)) if ended is None else ended) if p in place]
    return (SPLIT, node, take_segs(segs, keep), kept, ends, _odd_part(odd, keep, place))


def without_roots(entry: Entry, first: int, roots: int) -> Entry | None:
    """An entry without what came from these source tasks (a set of bits from ``first`` on)."""
    if entry[0] == ROOTS:
        ranges = [(n, n + 1) for start, stop in entry[1] for n in range(start, stop) if not roots >> (n - first) & 1]
        return (ROOTS, join_ranges(ranges)) if ranges else None

    def wanted(node: int, shape: int, prefix: tuple[int, ...], number: int) -> bool:
        return not roots >> ((prefix[0] if prefix else number) - first) & 1

    return part_of(entry, wanted)


def roots_of(segs: Iterable[Seg], first: int) -> int:
    """The source tasks that segs came from, as a set of bits from ``first`` on."""
    found = 0
    for seg in segs:
        if seg[1]:
            found |= 1 << (seg[1][0] - first)
        elif len(seg) == 4:
            found |= ((1 << (seg[3] - seg[2])) - 1) << (seg[2] - first)
        else:
            for number in seg[2]:
                found |= 1 << (number - first)
    return found


def join_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def ranges_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Rising numbers as ranges."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


# -- many made one -----------------------------------------------------------------------------------------


def can_join(entry: Entry) -> bool:
    """Whether an END says nothing but who ended and where their values are."""
    return entry[0] == END and set(entry[4] or ()) <= {"m", "k"}


def join_ends(ends: list[Entry]) -> Entry:
    """Several ENDs of one node, all with the same odds, as one."""
    if len(ends) == 1:
        return ends[0]
    ends = sorted(ends, key=_first)
    segs: list[Seg] = []
    outs: list[Out] = []
    gone: dict[int, list[tuple[int, int]]] = {}
    odd: dict[str, list[Any]] = {}
    at = 0
    for _, _, mine, given, odds in ends:
        count = length_of(mine)
        for out in given:
            port, low, number, data, positions = out
            if isinstance(positions, list):
                places: Any = [at + p for p in positions]
            else:
                first = at + positions[0] if positions is not None else at
                places = (first, first + number)
            if data is not None:
                outs.append((port, low, number, data, places))
            elif isinstance(places, list):
                gone.setdefault(port, []).extend(ranges_of(places))
            else:
                gone.setdefault(port, []).append(places)
        for name, values in (odds or {}).items():
            odd.setdefault(name, []).extend(values)
        for seg in mine:
            _append(segs, seg)
        at += count
    for port, runs in gone.items():
        runs = join_ranges(runs)
        number = sum(stop - start for start, stop in runs)
        if len(runs) > 1:
            places = [p for start, stop in runs for p in range(start, stop)]
        else:
            places = None if number == at else runs[0]
        outs.append((port, 0, number, None, places))
    return (END, ends[0][1], tuple(segs), outs, odd or None)


def _first(entry: Entry) -> tuple[int, tuple[int, ...], int]:
    seg = entry[2][0]
    return seg[0], seg[1], numbers_of(seg)[0]


def _append(segs: list[Seg], seg: Seg) -> None:
    if segs and len(seg) == 4:
        last = segs[-1]
        if len(last) == 4 and last[:2] == seg[:2] and last[3] == seg[2]:
            segs[-1] = (seg[0], seg[1], last[2], seg[3])
            return
    segs.append(seg)
