"""A journal in memory: the reference for all others, and the one that the simulator kills drivers over.

It lives as long as the object; a driver's death is played by `abandon`, after which it may be opened again.
"""

from __future__ import annotations

from dagflow.errors import JournalError
from dagflow.protocols import Turn


class MemoryJournal:
    """Rows, blobs and notes in dicts: ``graph.run(tasks, journal=MemoryJournal())``."""

    folder: str | None = None

    def __init__(self, where: str = "memory") -> None:
        self.where = where
        self._notes: dict[str, bytes] = {}
        self._rows: dict[int, dict[int, bytes]] = {}
        self._blobs: dict[int, bytes] = {}
        self._held = False
        self._writes = False

    def open(self, *, durability: str, write: bool, make: bool) -> None:
        """Keep others out."""
        del durability
        if not make and not self._notes:
            raise JournalError(f"there is no journal at {self.where}")
        if self._held:
            raise JournalError(f"the journal {self.where!r} is in use by another run")
        self._held, self._writes = True, write

    def note(self, name: str) -> bytes | None:
        """The note of that name."""
        return self._notes.get(name)

    def rows(self, block: int) -> list[tuple[int, bytes]]:
        """The rows of a block."""
        return sorted(self._rows.get(block, {}).items())

    def blob(self, number: int) -> bytes | None:
        """A blob."""
        return self._blobs.get(number)

    def write(self, turn: Turn) -> None:
        """Keep a turn: nothing in here can fail half-way."""
        if not (self._held and self._writes):
            raise JournalError(f"the journal {self.where!r} is not open for writing")
        for block, number in turn.dropped_rows:
            self._rows.get(block, {}).pop(number, None)
        for block, number, body in turn.rows:
            self._rows.setdefault(block, {})[number] = body
        self._blobs.update(turn.blobs)
        self._blobs.update((number, b"") for number in turn.emptied)
        for number in turn.dropped_blobs:
            self._blobs.pop(number, None)
        self._notes.update(turn.notes)

    def size(self) -> int:
        """How many bytes it takes."""
        rows = sum(len(body) for block in self._rows.values() for body in block.values())
        return rows + sum(map(len, self._blobs.values())) + sum(map(len, self._notes.values()))

    def close(self) -> None:
        """Let others in."""
        self._held = False

    def abandon(self) -> None:
        """What happens to a journal whose driver was killed."""
        self._held = False
