"""Block: what a journal holds of some thousand neighbouring source tasks, checked as a whole when it is read.

Row 0 of a block is its *balance*: how many rows there are, and all their checksums mixed together. So a row that
has gone, or has come back, is noticed although every row that is there fits its own checksum. A block that does
not balance is damaged: what it says of ends is not believed, and its tasks are worked on again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dagflow.journal.entries import FAIL, HANDLED, MISS, PULLED, ROOTS, Entry, Row, numbers_of, pack, unpack
from dagflow.journal.index import Index
from dagflow.journal.places import BLOCK, BLOCK_BITS
from dagflow.journal.seal import SUM_BYTES, Seal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagflow.protocols import Turn

Task = tuple[int, int, tuple[int, ...], int]
"""A task at a node: the node's number in the journal, shape, prefix, last number."""
_BALANCE = struct.Struct("<qQQ")
_HALVES = struct.Struct("<QQ")


class Block:
    """A block in memory: its rows, and what follows from them.

    ``live``: source tasks of it on their way in this run. ``old``: it was there before. As sets of source tasks:
    ``held`` are known to the journal, ``ended`` have ended, ``failed`` have something failed in them that nobody
    took up; ``before`` had ended when this run began, and nothing was done for them in it.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: list[Row] = []
        self.numbers: list[int] = []
        self.pending: list[Entry] = []
        self.balance = [0, 0, 0]
        self.held = 0
        self.ended = 0
        self.failed = 0
        self.live = 0
        self.before = 0
        self.damaged = self.old = False
        self.ripe = False
        self.rewrite = False
        self._index: Index | None = None
        self._failures: dict[Task, tuple[list[Entry], int]] | None = None

    @property
    def first(self) -> int:
        """Its first source task."""
        return self.number << BLOCK_BITS

    @property
    def full(self) -> bool:
        """Whether all of its source tasks are known and have ended."""
        return self.number >= 0 and self.ended == ALL

    def entries(self) -> Iterator[Entry]:
        """All entries, oldest first."""
        for _, entries in self.rows:
            yield from entries
        yield from self.pending

    def index(self) -> Index:
        """What it says, by task. Made when first asked for; knows nothing of what this run adds."""
        if self._index is None:
            self._index = Index(self.rows)
        return self._index

    def forget_index(self) -> None:
        """Its rows have been changed."""
        self._index = None
        self._failures = None

    def failures(self, *, before: int) -> dict[Task, tuple[list[Entry], int]]:
        """Where the failures lie that were recorded under versions of the graph before that one, by task."""
        if self._failures is None:
            self._failures = {
                (entry[1], *entry[2][:2], numbers_of(entry[2])[0]): (entries, at)
                for version, entries in self.rows
                if version < before
                for at, entry in enumerate(entries)
                if entry[0] in (FAIL, MISS)
            }
        return self._failures

    def failures_changed(self) -> None:
        """Others take up its failures than before."""
        self.failed = 0
        for entry in self.entries():
            self.heed_failure(entry)
        self.rewrite = True

    def add(self, entry: Entry) -> None:
        """One more entry, to be written with this turn."""
        self.pending.append(entry)
        self.heed(entry)

    def heed(self, entry: Entry) -> None:
        """Take in what an entry means for the sets of source tasks."""
        kind = entry[0]
        if kind == ROOTS:
            self.ended |= self.bits(entry[1])
        elif kind == PULLED:
            self.held |= self.bits([(entry[1], entry[1] + entry[2])])
        else:
            self.heed_failure(entry)

    def heed_failure(self, entry: Entry) -> None:
        """Take in that a source task has a dead letter, if an entry says so."""
        if entry[0] == FAIL and self.number >= 0 and not entry[-1] & HANDLED:
            seg = entry[2]
            root = seg[1][0] if seg[1] else numbers_of(seg)[0]
            self.failed |= 1 << (root - self.first)

    def bits(self, ranges: Iterable[Sequence[int]]) -> int:
        """Ranges of source tasks as a set."""
        found = 0
        for start, stop in ranges:
            found |= ((1 << (stop - start)) - 1) << (start - self.first)
        return found

    # -- reading and writing --------------------------------------------------------------------------

    @classmethod
    def read(cls, number: int, rows: list[tuple[int, bytes]], seal: Seal, *, known: bool, present: int) -> Block:
        """The block that these rows are; ``known``: it must be there.

        ``present``: the version of the graph. What had ended under another may not have ended under this one.
        """
        self = cls(number)
        balance: bytes | None = None
        if not rows and not known:
            return self
        self.old = True
        total = mixed_low = mixed_high = 0
        for row, sealed in rows:
            body = seal.open(place_of_row(number, row), sealed)
            if body is None:
                self.damaged = True
            elif row == 0:
                balance = body
            else:
                low, high = _HALVES.unpack(sealed[:SUM_BYTES])
                total, mixed_low, mixed_high = total + 1, mixed_low ^ low, mixed_high ^ high
                version, entries = unpack(body)
                self.numbers.append(row)
                self.rows.append((version, entries))
        self.balance = [total, mixed_low, mixed_high]
        if balance is None or tuple(self.balance) != _BALANCE.unpack(balance):
            self.damaged = True
        if self.damaged:
            self.numbers = [row for row, _ in rows if row]
            self.rows = [(v, [e for e in entries if e[0] == PULLED]) for v, entries in self.rows]
            self.rewrite = True
        for version, entries in self.rows:
            for entry in entries:
                if entry[0] == ROOTS:
                    self.before |= self.bits(entry[1])
                if entry[0] != ROOTS or version == present:
                    self.heed(entry)
        return self

    def write(self, turn: Turn, numbers: Iterator[int], version: int, seal: Seal) -> None:
        """Put what is pending into a turn, as a row with the next of ``numbers``; or all of it anew, if changed."""
        if self.rewrite:
            self._write_anew(turn, numbers, version, seal)
            return
        row = (version, self.pending)
        self.pending = []
        self.rows.append(row)
        self._write_row(turn, next(numbers), row, seal)
        self._write_balance(turn, seal)

    def _write_anew(self, turn: Turn, numbers: Iterator[int], version: int, seal: Seal) -> None:
        self.rewrite = False
        rows = [row for row in self.rows if row[1]]
        if self.pending:
            rows.append((version, self.pending))
            self.pending = []
        turn.dropped_rows.extend((self.number, old) for old in self.numbers)
        self.rows, self.numbers, self.balance = rows, [], [0, 0, 0]
        for row in rows:
            self._write_row(turn, next(numbers), row, seal)
        self._write_balance(turn, seal)

    def _write_row(self, turn: Turn, number: int, row: Row, seal: Seal) -> None:
        sealed = seal.seal(place_of_row(self.number, number), pack(row))
        low, high = _HALVES.unpack(sealed[:SUM_BYTES])
        balance = self.balance
        self.balance = [balance[0] + 1, balance[1] ^ low, balance[2] ^ high]
        self.numbers.append(number)
        turn.rows.append((self.number, number, sealed))

    def _write_balance(self, turn: Turn, seal: Seal) -> None:
        body = _BALANCE.pack(*self.balance)
        turn.rows.append((self.number, 0, seal.seal(place_of_row(self.number, 0), body)))


ALL = (1 << BLOCK) - 1
"""The set of all source tasks of a block."""
_PLACE = struct.Struct("<cqq")


def place_of_row(block: int, row: int) -> bytes:
    """What a row's checksum says of where it is."""
    return _PLACE.pack(b"r", block, row)


def place_of_blob(number: int) -> bytes:
    """What a blob's checksum says of where it is."""
    return _PLACE.pack(b"b", number, 0)
