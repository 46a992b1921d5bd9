"""Entries: what a journal says, as plain builtins (`marshal` reads and writes them, and can hold nothing else).

A row is ``(graph version, [entry, ...])``. Every entry is a tuple that begins with its kind:

* ``(END, node, segs, outs, odd)``: tasks have ended at a node, well or dropped; merges too.
* ``(SPLIT, node, segs, outs, ended, odd)``: tasks of a Splitter gave children; those at ``ended`` are done.
* ``(FAIL, node, seg, error, attempts, members, inputs, flags)``: a task has failed finally; ``inputs``: where the
  values are that it was given, ``(data, from, to)``.
* ``(MISS, node, seg, error, attempts, members, [], flags)``: a merge that cannot be, for want of members, so it
  follows from them.
* ``(TRIED, node, seg, attempt, crashes)``: what came before of a task that is to be tried again.
* ``(LEASED, run, node, segs)``: tasks were given to a worker inside the driver's own process.
* ``(WINDOW, node, number, segs, total)``: tasks that have been merged as members of a window of ``total``.
* ``(ROOTS, ranges)``: all that came from these source tasks has ended.
* ``(ALOST, node, error, ranges)``: a task that came from these source tasks, together, has failed.
* ``(PULLED, first, count, data)``: source tasks.

``node`` is the number of a node as it was then (see `dagflow.journal.versions`). A *seg* says who:
``(shape, prefix, start, stop)`` or ``(shape, prefix, [numbers])`` (see `dagflow.journal.places`); several of them
count positions from 0. An *out* is ``(port, low, count, data, positions)``: values ``low`` to ``low + count`` of
``data`` are those of the tasks at ``positions`` (see `positions_of`); of a SPLIT it has, instead, the children:
``[(position, first, count)]``. *data* is the sealed list itself if it is small, ``(blob, size, values)`` if it
lies elsewhere, or None if it has been dropped. ``odd`` (None: nothing is) may say: ``d`` positions dropped, ``u``
duplicates, ``a`` attempts before, ``c`` copies that a Router made by position, ``k`` deduplication keys, ``m``
members that were merged.
"""

from __future__ import annotations

import itertools
import marshal
from collections.abc import Sequence
from typing import Any, Final

END: Final = 1
SPLIT: Final = 2
FAIL: Final = 3
MISS: Final = 4
TRIED: Final = 5
LEASED: Final = 6
WINDOW: Final = 7
ROOTS: Final = 8
ALOST: Final = 9
PULLED: Final = 10

LOST: Final = 1
"""Flag of a failure that nothing took up: its source task has failed."""
HANDLED: Final = 2
"""Flag of a failure that went to a ``failures`` branch."""

INLINE_BYTES: Final = 256
"""Sealed values up to this size lie in the entry itself."""

Entry = tuple[Any, ...]
Seg = tuple[Any, ...]
Out = tuple[int, int, int, Any, Any]
Row = tuple[int, list[Entry]]

_MARSHAL: Final = 4  # the format that all supported Pythons read


def pack(row: Any) -> bytes:
    """A row (or anything of builtins) as bytes."""
    return marshal.dumps(row, _MARSHAL)


def unpack(data: bytes) -> Any:
    """What `pack` packed. Only ever called on bytes whose checksum was right."""
    return marshal.loads(data)  # noqa: S302 - sealed with the user's key


def seg_of(shape: int, prefix: tuple[int, ...], indices: Any) -> Seg:
    """A seg of a range, or of any numbers."""
    if isinstance(indices, range) and indices.step == 1:
        return (shape, prefix, indices.start, indices.stop)
    numbers = list(indices)
    if numbers and numbers[-1] - numbers[0] == len(numbers) - 1 and _rising(numbers):
        return (shape, prefix, numbers[0], numbers[-1] + 1)
    return (shape, prefix, numbers)


def _rising(numbers: list[int]) -> bool:
    return all(b - a == 1 for a, b in itertools.pairwise(numbers))


def numbers_of(seg: Seg) -> range | list[int]:
    """The last numbers of a seg's tasks."""
    if len(seg) == 4:
        return range(seg[2], seg[3])
    numbers: list[int] = seg[2]
    return numbers


def length_of(segs: tuple[Seg, ...] | list[Seg]) -> int:
    """How many tasks segs hold."""
    return sum(seg[3] - seg[2] if len(seg) == 4 else len(seg[2]) for seg in segs)


def positions_of(out: Out) -> Sequence[int]:
    """The positions whose values an out of an END has: kept as None (all), ``(from, to)``, or a list."""
    positions = out[4]
    if positions is None:
        return range(out[2])
    return range(*positions) if isinstance(positions, tuple) else positions


def seg_part(seg: Seg, low: int, high: int) -> Seg:
    """Tasks ``low`` to ``high`` of a seg."""
    if len(seg) == 4:
        return (seg[0], seg[1], seg[2] + low, seg[2] + high)
    return seg_of(seg[0], seg[1], seg[2][low:high])


def take_segs(segs: tuple[Seg, ...] | list[Seg], positions: list[int]) -> tuple[Seg, ...]:
    """The tasks at ``positions`` (rising)."""
    found: list[Seg] = []
    start = at = 0
    for seg in segs:
        numbers = numbers_of(seg)
        end = start + len(numbers)
        begin = at
        while at < len(positions) and positions[at] < end:
            at += 1
        if at > begin:
            found.append(seg_of(seg[0], seg[1], [numbers[p - start] for p in positions[begin:at]]))
        start = end
    return tuple(found)
