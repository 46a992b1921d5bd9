"""A payload in the making: large values are sealed one by one, each as soon as its function has given it.

What a function has just made lies in a cache still, and is copied in half the time; the memory that it took is free
for the next. A function that gives one buffer again and again has each time given what was in it then.
"""

from __future__ import annotations

import os

from dagflow.graph.marks import DROP
from dagflow.work.block import ROW_HEAD, aligned, row
from dagflow.work.codec import only_user_exits, parts_of, unsealable
from dagflow.work.values import Sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from dagflow.errors import PayloadError
    from dagflow.work.block import Part
else:
    Protocol = object


class Room(Protocol):
    """Memory that a payload is written into, or which is given back."""

    def write(self, at: int, parts: list[Part], size: int) -> None: ...
    def sealed(self, size: int, count: int) -> Sealed: ...
    def give_back(self) -> None: ...


class Heap:
    """Room in this process's own memory."""

    def __init__(self) -> None:
        self.memory = bytearray()

    def write(self, at: int, parts: list[Part], size: int) -> None:
        """Write ``parts``, of ``size`` bytes in all."""
        self.memory.extend(bytes(max(0, at + size - len(self.memory))))
        for part in parts:
            self.memory[at : at + len(part)] = part
            at += len(part)

    def sealed(self, size: int, count: int) -> Sealed:
        """The payload that was written into it."""
        del self.memory[size:]
        return Sealed(bytes(self.memory), count)

    def give_back(self) -> None:
        """Nobody else wants it."""


class Placed:
    """Stands for a value that was put into a draft."""

    __slots__ = ("at", "size")

    def __init__(self, at: int, size: int) -> None:
        self.at, self.size = at, size


class Draft:
    """The payload of one job's results."""

    def __init__(self, room: Room) -> None:
        self.room: Room | None = room
        self.end = ROW_HEAD
        self.pid = os.getpid()

    def put(self, value: Any) -> Any:
        """Put a value in; gives what stands for it, or the value itself where it cannot be sealed."""
        if value is DROP or os.getpid() != self.pid:
            return value  # a child that a function has forked writes nothing where its parent does
        try:
            return self._put(value)
        except BaseException as error:  # noqa: BLE001 - `sealed` finds out again what is wrong with it
            only_user_exits(error)
            return value

    def _put(self, value: Any) -> Placed:
        assert self.room is not None
        parts = parts_of(value, True)
        at, size = aligned(self.end), sum(map(len, parts))
        self.room.write(at, parts, size)
        self.end = at + size
        return Placed(at, size)

    def sealed(self, values: Sequence[Any]) -> tuple[Sealed, list[tuple[int, PayloadError]]]:
        """The payload of ``values``, and by position why some of them are not in it."""
        places: list[tuple[int, int]] = []
        bad: list[tuple[int, PayloadError]] = []
        for position, value in enumerate(values):
            try:
                placed = value if type(value) is Placed else self._put(value)
                places.append((placed.at, placed.size))
            except BaseException as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
                only_user_exits(error)
                bad.append((position, unsealable(value, error, True)))
        if not places:
            return Sealed(b"", 0), bad
        assert self.room is not None
        at = aligned(self.end)
        head, table = row(places, at)
        self.room.write(at, [table], len(table))
        self.room.write(0, [head], len(head))
        sealed = self.room.sealed(at + len(table), len(places))
        self.room = None
        return sealed, bad

    def close(self) -> None:
        """Give back what was not used after all."""
        if self.room is not None:
            self.room.give_back()
            self.room = None
