"""Book: a journal opened by a run or a reader: blocks, blobs and notes, sealed and checked, a turn at a time."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from dagflow.errors import JournalError
from dagflow.journal.block import Block, place_of_blob
from dagflow.journal.entries import INLINE_BYTES, pack, unpack
from dagflow.journal.places import BLOCK, BLOCK_BITS, Shapes, aggregate_block
from dagflow.journal.seal import Seal, key_named, present_key
from dagflow.protocols import Turn

if TYPE_CHECKING:
    from dagflow.protocols import Journal

FORMAT: Final = 1
"""The format of what is written; a journal of a later one is refused."""
KEPT_BLOCKS: Final = 8
"""Blocks without living tasks that stay in memory, for tasks that come in another order."""


class Book:
    """What is in a journal, and what this turn adds to it. Nothing is kept before `commit`."""

    def __init__(self, room: Journal) -> None:
        self.room = room
        self.sources = 0
        self.known = self._kept = 0
        self.shapes = Shapes()
        self.mergers: list[str] = []
        self.windows: dict[str, int] = {}
        self.graph: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        self.version = 0
        self.damage: list[str] = []
        self.check: Callable[[Block], None] = lambda block: None
        self._seal: Seal | None = None
        self._blocks: dict[int, Block] = {}
        self._touched: dict[int, Block] = {}
        self._leaving: list[Block] = []
        self._rows: Iterator[int] = count(1)
        self._blob = 0
        self._known_blobs = 0
        self._turn = Turn()
        self._changed = False
        self._written: dict[str, bytes] = {}

    @property
    def where(self) -> str:
        """How people call it."""
        return self.room.where

    # -- opening --------------------------------------------------------------------------------------

    def open(self, *, durability: str = "process", write: bool = True, make: bool = False) -> None:
        """Open the journal, or make it; `JournalError` where it cannot be used, and nothing was changed then."""
        self.room.open(durability=durability, write=write, make=make)
        try:
            self._open(write)
        except BaseException:
            self.room.close()
            raise

    def _open(self, write: bool) -> None:
        key_id = self.room.note("key")
        if key_id is None:
            if not write:
                raise JournalError(f"there is no journal at {self.where}")
            self._begin()
            return
        journal = self.room.note("journal")
        try:
            key = key_named(key_id.decode("ascii", "replace"), self.room.folder)
        except JournalError as error:
            raise JournalError(f"the journal {self.where} cannot be opened: {error}") from None
        if journal is None:
            raise self._damaged("its name is gone")
        self._seal = Seal(key, journal)
        state = unpack(self._read("state"))
        if state["format"] > FORMAT:
            raise JournalError(
                f"the journal {self.where} was written by a later version of dagflow (format {state['format']}, "
                f"this one reads up to {FORMAT}); use that version"
            )
        self.sources = self.known = self._kept = state["sources"]
        self.windows = dict(state["windows"])
        self._rows, self._blob = count(state["row"]), state["blob"]
        self._known_blobs = self._blob
        shapes = unpack(self._read("shapes"))
        self.shapes, self.mergers = Shapes(shapes[0]), list(shapes[1])
        self.graph = json.loads(self._read("graph"))
        self.version = self.graph.get("version", 0)
        self.runs = json.loads(self._read("runs"))

    def _begin(self) -> None:
        key = present_key(self.room.folder)
        journal = secrets.token_bytes(16)
        self._seal = Seal(key, journal)
        self._turn.notes["key"] = key.id.encode()
        self._turn.notes["journal"] = journal
        self.note("graph", b"{}")
        self.note("runs", b"[]")
        self.shapes.number("", ())
        self._changed = True

    def _read(self, name: str) -> bytes:
        assert self._seal is not None
        body = self._seal.open(b"n" + name.encode(), self.room.note(name))
        if body is None:
            raise self._damaged(f"what it says of its {name} does not fit its checksum")
        self._written[name] = body
        return body

    def _damaged(self, what: str) -> JournalError:
        return JournalError(
            f"the journal {self.where} is damaged: {what}; restore it from a copy, or delete it to start anew"
        )

    def close(self) -> None:
        """Let others in."""
        self.room.close()

    # -- reading --------------------------------------------------------------------------------------

    def block(self, number: int) -> Block:
        """A block; read from the journal if it was there before this run."""
        found = self._blocks.get(number)
        if found is None:
            found = self._blocks[number] = self._load(number)
            self._evict(number)
        return found

    def _load(self, number: int) -> Block:
        first = number << BLOCK_BITS
        if number >= 0 and first >= self._kept:
            return Block(number)
        assert self._seal is not None
        block = Block.read(number, self.room.rows(number), self._seal, known=number >= 0, present=self.version)
        block.old = block.old and first < self.known
        if block.damaged:
            what = f"source tasks {block.first} to {block.first + (1 << BLOCK_BITS) - 1}" if number >= 0 else "merges"
            self.damage.append(f"what was recorded of {what} is damaged and is not used")
            self.touch(block)
        self.check(block)
        return block

    def blocks(self) -> list[Block]:
        """The blocks that are in memory."""
        return list(self._blocks.values())

    def forget_all(self) -> None:
        """What was read so far is read again, with other eyes."""
        self._blocks.clear()
        self._touched.clear()

    def all_blocks(self) -> Iterator[int]:
        """The blocks that were there before this run."""
        yield from range((self.known + BLOCK - 1) >> BLOCK_BITS)
        for merger in range(len(self.mergers)):
            for first in range(0, max(1, self.windows.get(self.mergers[merger], 0)), BLOCK):
                yield aggregate_block(merger, first)

    def _evict(self, but: int) -> None:
        if len(self._blocks) <= KEPT_BLOCKS:
            return
        for number, block in list(self._blocks.items()):
            if len(self._blocks) <= KEPT_BLOCKS:
                break
            if number >= 0 and number != but and not block.live and not block.ripe and number not in self._touched:
                del self._blocks[number]

    def forget(self, block: Block) -> None:
        """A block is not needed in memory any more, once this turn has been kept."""
        self._leaving.append(block)

    def data(self, data: Any) -> bytes | None:
        """The sealed values that ``data`` of an entry stands for; None if they were dropped, or are damaged."""
        if data is None or isinstance(data, bytes):
            return data
        number, _, _ = data
        body = self.room.blob(number)
        assert self._seal is not None
        return self._seal.open(place_of_blob(number), body) if body else None

    def emptied(self, number: int) -> bool:
        """Whether a blob was dropped on purpose."""
        return self.room.blob(number) == b""

    # -- writing --------------------------------------------------------------------------------------

    def touch(self, block: Block) -> None:
        """This turn writes the block."""
        self._touched[block.number] = block

    def add(self, number: int, entry: tuple[Any, ...]) -> Block:
        """One more entry in a block."""
        block = self.block(number)
        block.add(entry)
        self._touched[number] = block
        return block

    def keep(self, sealed: bytes, values: int, *, shared: bool = False) -> Any:
        """Keep sealed values; gives what stands for them in an entry. ``shared``: several entries will name them."""
        if len(sealed) <= INLINE_BYTES and not shared:
            return sealed
        assert self._seal is not None
        self._blob += 1
        self._turn.blobs.append((self._blob, self._seal.seal(place_of_blob(self._blob), sealed)))
        return (self._blob, len(sealed), values)

    def empty(self, number: int) -> None:
        """A blob's values are not needed any more; that it was there stays known."""
        self._turn.emptied.append(number)

    def drop(self, number: int) -> None:
        """Nothing names a blob any more."""
        self._turn.dropped_blobs.append(number)

    def note(self, name: str, body: bytes) -> None:
        """Keep a note, if it has changed."""
        if self._written.get(name) != body:
            assert self._seal is not None
            self._turn.notes[name] = self._seal.seal(b"n" + name.encode(), body)
            self._written[name] = body

    def allot(self, count: int) -> int:
        """Numbers for source tasks that are new; the first of them."""
        first = self.sources
        self.sources += count
        self._changed = True
        return first

    def commit(self) -> None:
        """Keep what this turn adds: all of it, or nothing."""
        turn = self._turn
        assert self._seal is not None
        for block in self._touched.values():
            block.write(turn, self._rows, self.version, self._seal)
        if self._touched or turn.blobs or turn.emptied or turn.dropped_blobs or turn.notes or self._changed:
            if self.shapes.changed or "shapes" not in self._written:
                self.shapes.changed = False
                self.note("shapes", pack((self.shapes.paths, self.mergers)))
            row = next(self._rows)
            state = {
                "format": FORMAT,
                "sources": self.sources,
                "windows": self.windows,
                "row": row + 1,
                "blob": self._blob,
            }
            self.note("state", pack(state))
            self._touched.clear()
            self._changed = False
            self._turn = Turn()
            self.room.write(turn)
            self._kept = self.sources
        if self._leaving:
            for block in self._leaving:
                if not block.live and not block.ripe:
                    self._blocks.pop(block.number, None)
            self._leaving.clear()

    def note_runs(self) -> None:
        """Keep what is known of the runs."""
        self.note("runs", json.dumps(self.runs).encode())

    def note_graph(self) -> None:
        """Keep the description of the graph."""
        self.note("graph", json.dumps(self.graph, sort_keys=True).encode())
