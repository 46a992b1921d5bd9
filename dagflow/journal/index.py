"""Index: what a block says, by node and task, for those who ask about many neighbours at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dagflow.journal.entries import (
    END,
    FAIL,
    LEASED,
    MISS,
    SPLIT,
    TRIED,
    WINDOW,
    Entry,
    Out,
    Row,
    Seg,
    length_of,
    numbers_of,
    positions_of,
)

Who = tuple[int, int, tuple[int, ...]]
"""A node, and the shape and prefix that tasks share."""


class Known:
    """An END entry, opened: which values of which payloads are those of which position."""

    __slots__ = ("copies", "drops", "duplicates", "entry", "keys", "outs", "retried", "simple", "where")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        _, _, _, outs, odd = entry
        self.outs: list[Out] = outs
        odd = odd or {}
        self.drops = frozenset(odd.get("d", ()))
        self.duplicates = frozenset(odd.get("u", ()))
        self.copies: dict[int, int] = odd.get("c", {})
        self.retried: int = odd.get("a", 0)
        self.simple = not self.drops and not self.duplicates and len(outs) == 1 and outs[0][4] is None
        self.where: dict[int, list[tuple[int, int]]] = {}
        if not self.simple:
            for at, out in enumerate(outs):
                for offset, position in enumerate(positions_of(out), out[1]):
                    self.where.setdefault(position, []).append((at, offset))

    def values(self, position: int) -> Sequence[tuple[int, int]]:
        """Where the values of a position lie: (out, place in its payload)."""
        if self.simple:
            return ((0, self.outs[0][1] + position),)
        return self.where.get(position, ())


class Children:
    """What is known of one task of a Splitter: its children, in order, and whether there are no more."""

    __slots__ = ("dropped", "ended", "runs")

    def __init__(self) -> None:
        self.runs: list[tuple[int, int, Out, int]] = []
        self.ended = False
        self.dropped = False


class _Intervals:
    """Runs of numbers, each with what is said of them; disjoint, since a task ends once."""

    __slots__ = ("_items", "_sorted", "_starts")

    def __init__(self) -> None:
        self._items: list[tuple[int, int, Any, int]] = []
        self._starts: list[int] = []
        self._sorted = False

    def add(self, seg: Seg, what: Any, position: int) -> None:
        """Tasks of a seg, the first of which is at ``position`` of what is said."""
        if len(seg) == 4:
            self._items.append((seg[2], seg[3], what, position))
        else:
            for at, number in enumerate(seg[2], position):
                self._items.append((number, number + 1, what, at))
        self._sorted = False

    def meeting(self, start: int, stop: int) -> Iterator[tuple[int, int, Any, int]]:
        """What is said of numbers ``start`` to ``stop``: ``(from, to, what, position of from)``."""
        if not self._sorted:
            self._items.sort(key=_first)
            self._starts = [item[0] for item in self._items]
            self._sorted = True
        at = max(0, bisect_right(self._starts, start) - 1)
        items = self._items
        while at < len(items) and items[at][0] < stop:
            first, last, what, position = items[at]
            low, high = max(first, start), min(last, stop)
            if low < high:
                yield low, high, what, position + low - first
            at += 1


def _first(item: tuple[int, int, Any, int]) -> int:
    return item[0]


class Index:
    """The entries of a block's rows, by task."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.ends: dict[Who, _Intervals] = {}
        self.windows: dict[Who, _Intervals] = {}
        self.splits: dict[Who, dict[int, Children]] = {}
        self.fails: dict[Who, dict[int, tuple[Any, int]]] = {}
        self.missing: dict[Who, set[int]] = {}
        self.tried: dict[Who, dict[int, tuple[int, int]]] = {}
        self.leased: list[tuple[int, int, Seg]] = []
        for _, entries in rows:
            for entry in entries:
                self._take(entry)

    def _take(self, entry: Entry) -> None:
        kind = entry[0]
        if kind == END:
            known = Known(entry)
            at = 0
            for seg in entry[2]:
                self.ends.setdefault((entry[1], seg[0], seg[1]), _Intervals()).add(seg, known, at)
                at += length_of((seg,))
        elif kind == SPLIT:
            self._take_split(entry)
        elif kind == WINDOW:
            for seg in entry[3]:
                self.windows.setdefault((entry[1], seg[0], seg[1]), _Intervals()).add(seg, entry, 0)
        elif kind in (FAIL, MISS, TRIED):
            _, node, seg, one, two = entry[:5]
            who = (node, seg[0], seg[1])
            number = numbers_of(seg)[0]
            if kind == FAIL:
                self.fails.setdefault(who, {})[number] = (one, two)
            elif kind == MISS:
                self.missing.setdefault(who, set()).add(number)
            else:
                self.tried.setdefault(who, {})[number] = (one, two)
        elif kind == LEASED:
            self.leased.extend((entry[1], entry[2], seg) for seg in entry[3])

    def _take_split(self, entry: Entry) -> None:
        _, node, segs, outs, ended, odd = entry
        found: list[Children] = []
        for seg in segs:
            mine = self.splits.setdefault((node, seg[0], seg[1]), {})
            for number in numbers_of(seg):
                if number not in mine:
                    mine[number] = Children()
                found.append(mine[number])
        for out in outs:
            offset = out[1]
            for position, start, count in out[4]:
                found[position].runs.append((start, count, out, offset))
                offset += count
        for position in range(len(found)) if ended is None else ended:
            found[position].ended = True
        for position in (odd or {}).get("d", ()):
            found[position].ended = found[position].dropped = True

    def suspects(self, runs: set[int]) -> set[tuple[int, int, tuple[int, ...], int]]:
        """Tasks that were given to a worker in one of these runs and have no end, as (node, shape, prefix, number)."""
        found = set()
        for run, node, seg in self.leased:
            if run not in runs:
                continue
            who = (node, seg[0], seg[1])
            for number in numbers_of(seg):
                if not self._has_ended(who, number):
                    found.add((*who, number))
        return found

    def _has_ended(self, who: Who, number: int) -> bool:
        if number in self.fails.get(who, ()):
            return True
        split = self.splits.get(who, {}).get(number)
        if split is not None:
            return split.ended
        ends = self.ends.get(who)
        return ends is not None and any(True for _ in ends.meeting(number, number + 1))
