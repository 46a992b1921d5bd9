"""Source tasks that come again: each gets the number that it had, by its content and which occurrence it is.

In the usual case the source gives the same tasks in the same order, and is compared with what is known as it
comes, many at a time. At the first difference the content of every known task is worked out, once, and from there
on each is looked up: the k-th equal task of this run is the k-th of those before. What is not found is new.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from dagflow.errors import JournalError
from dagflow.journal.entries import PULLED
from dagflow.journal.places import BLOCK, BLOCK_BITS, Numbering
from dagflow.work.canonical import content_key
from dagflow.work.codec import dumps, loads, seal

if TYPE_CHECKING:
    from dagflow.journal.book import Book

_PLAIN: Final = frozenset((int, str, bool, bytes, type(None)))
_LOW: Final = (1 << 64) - 1


class Lost:
    """Stands for the value of a source task that the journal has lost."""

    def __repr__(self) -> str:
        return "<a value that the journal has lost>"


class Sources:
    """Numbers this run's source tasks, and keeps those that are new. ``error``: why one could not be kept."""

    def __init__(self, book: Book, numbering: Numbering) -> None:
        self.book, self.numbering = book, numbering
        self.next = 0
        self.in_order = True
        self.from_itself = False
        self.lost: set[int] = set()
        self.error: JournalError | None = None
        self._open: tuple[int, list[Any]] | None = None
        self._by_content: _ByContent | None = None

    def take(self, values: Sequence[Any]) -> list[tuple[int, int]]:
        """Number tasks that were read, up to one that cannot be kept; gives runs of numbers: (first, how many)."""
        found: list[tuple[int, int]] = []
        at = 0
        while at < len(values) and self.error is None:
            if self._by_content is not None:
                number = self._by_content.claim(values[at])
                if number is None:
                    at = self._take_new(values, at, at + 1, found)
                else:
                    _extend(found, number, 1)
                    at += 1
            elif self.next >= self.book.known:
                at = self._take_new(values, at, len(values), found)
            else:
                equal = self._equal(values, at)
                if equal:
                    _extend(found, self.next, equal)
                    self.next += equal
                    at += equal
                else:
                    self._look_up()
        for number, count in found:
            self.numbering.add(number, count)
        return found

    @property
    def more_known(self) -> bool:
        """Whether tasks may still come that the journal knows."""
        if self._by_content is not None:
            return self._by_content.left > 0
        return self.next < self.book.known

    @property
    def all_known(self) -> bool:
        """Whether all that is known has come, in its order, and nothing else."""
        return self.in_order and self.next == self.book.known == self.numbering.count

    def _take_new(self, values: Sequence[Any], low: int, high: int, found: list[tuple[int, int]]) -> int:
        """Keep new tasks, cut where blocks end."""
        while low < high:
            first = self.book.sources
            count = min(high - low, BLOCK - (first & (BLOCK - 1)))
            sealed, bad = seal(list(values[low : low + count]), prove=True)
            if bad:
                count, error = bad[0]
                number = self.numbering.count + sum(n for _, n in found) + count
                self.error = JournalError(
                    f"source task {number} cannot be kept in the journal {self.book.where}: {error}"
                )
                high = low + count
                sealed, _ = seal(list(values[low:high]), prove=True)
            if not count:
                break
            self.book.allot(count)
            self.book.add(first >> BLOCK_BITS, (PULLED, first, count, self.book.keep(sealed.data, count)))
            _extend(found, first, count)
            low += count
        return high

    # -- in order -------------------------------------------------------------------------------------

    def _equal(self, values: Sequence[Any], at: int) -> int:
        """How many of the tasks from ``at`` on are the known ones that come next."""
        if self.from_itself:
            return len(values) - at
        known = self.values(self.next)
        if known is None:
            return 0
        count = min(len(known), len(values) - at)
        given = values[at : at + count]
        before = known[:count]
        if _plainly_equal(given, before) or _pickles_equal(given, before):
            return count
        for offset, (one, other) in enumerate(zip(given, before, strict=True)):
            if not _same(one, other):
                return offset
        return count

    def values(self, number: int) -> list[Any] | None:
        """The known values from ``number`` to the end of the chunk that it lies in; None if they are lost."""
        if self._open is None or not self._open[0] <= number < self._open[0] + len(self._open[1]):
            entry = self._chunk(number)
            data = self.book.data(entry[3]) if entry is not None else None
            if entry is None or data is None:
                return None
            self._open = entry[1], loads(data)
        first, values = self._open
        return values[number - first :]

    def _chunk(self, number: int) -> tuple[Any, ...] | None:
        for entry in self.book.block(number >> BLOCK_BITS).entries():
            if entry[0] == PULLED and entry[1] <= number < entry[1] + entry[2]:
                return entry
        return None

    # -- by content -----------------------------------------------------------------------------------

    def _look_up(self) -> None:
        self.in_order = False
        self._by_content = _ByContent(self.book.known, self.next, self.values)

    def known_values(self) -> Iterator[Any]:
        """All tasks that are known, in their order; `Lost` for those whose value is."""
        number = 0
        while number < self.book.known:
            values = self.values(number)
            if values is None:
                entry = self._chunk(number)
                count = entry[1] + entry[2] - number if entry is not None else self._gap(number)
                self.lost.update(range(number, number + count))
                values = [Lost()] * count
            yield from values
            number += len(values)

    def _gap(self, number: int) -> int:
        """How many tasks from ``number`` on are in no chunk."""
        end = min(((number >> BLOCK_BITS) + 1) << BLOCK_BITS, self.book.known)
        starts = [e[1] for e in self.book.block(number >> BLOCK_BITS).entries() if e[0] == PULLED and e[1] > number]
        return int(min([end, *starts])) - number


class _ByContent:
    """Known tasks by content: three arrays, sorted, so that a million take some 24 MB."""

    def __init__(self, known: int, claimed: int, values: Callable[[int], list[Any] | None]) -> None:
        rows: list[tuple[bytes, int]] = []
        number = claimed
        self.left = 0
        while number < known:
            found = values(number)
            if found is None:
                number += 1
                continue
            rows.extend((_content(value), n) for n, value in enumerate(found, number))
            number += len(found)
        rows.sort()
        self.high = array("Q", (int.from_bytes(key[:8], "big") for key, _ in rows))
        self.low = array("Q", (int.from_bytes(key[8:], "big") for key, _ in rows))
        self.numbers = array("q", (n for _, n in rows))
        self.claimed = bytearray(len(rows))
        self.left = len(rows)

    def claim(self, value: Any) -> int | None:
        """The number of the next known task that equals ``value`` and has not come yet."""
        key = _content(value)
        high, low = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
        at = bisect_left(self.high, high)
        while at < len(self.high) and self.high[at] == high:
            if self.low[at] == low and not self.claimed[at]:
                self.claimed[at] = 1
                self.left -= 1
                return self.numbers[at]
            at += 1
        return None


def _content(value: Any) -> bytes:
    try:
        return content_key(value)
    except Exception:  # noqa: BLE001 - what has no content to compare: its pickle must do
        return content_key(dumps(value))


def _plainly_equal(given: Sequence[Any], known: list[Any]) -> bool:
    """Whether both are the same plain values; False if that takes a closer look."""
    kinds = set(map(type, known))
    return kinds <= _PLAIN and list(map(type, given)) == list(map(type, known)) and list(given) == known


def _pickles_equal(given: Sequence[Any], known: list[Any]) -> bool:
    """Whether both pickle to the same bytes: then they are equal (if not, they may be all the same)."""
    try:
        return dumps(list(given)) == dumps(known)
    except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return False


def _same(one: Any, other: Any) -> bool:
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _PLAIN:
        return bool(one == other)
    return _content(one) == _content(other)


def _extend(found: list[tuple[int, int]], number: int, count: int) -> None:
    if found and sum(found[-1]) == number:
        found[-1] = (found[-1][0], found[-1][1] + count)
    else:
        found.append((number, count))


class Remembered:
    """A source for the run: the tasks that the journal knows (``tasks=None``)."""

    error: BaseException | None = None
    at_hand = True

    def __init__(self) -> None:
        self._values: Iterator[Any] = iter(())

    def connect(self, values: Iterator[Any]) -> None:
        """From here the tasks come."""
        self._values = values

    def start(self, wake: Any) -> None:
        """Nothing to start."""

    def request(self, count: int) -> None:
        """Nothing to ask: they are there."""

    def take(self, count: int) -> list[Any] | None:
        """The next tasks."""
        return list(islice(self._values, count)) or None

    def rest(self) -> list[Any]:
        """Nothing was read ahead."""
        return []

    def hurry(self) -> float | None:
        """Never a reason to wait."""
        return None

    def close(self) -> None:
        """Nothing to close."""
