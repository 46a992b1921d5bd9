"""A worker's side of the memory segments (see `dagflow.backends.local.segments`): reading, writing, letting go."""

from __future__ import annotations

import mmap
import os

from dagflow.backends.local.private import POPULATE_WRITE, Views, populate
from dagflow.work.values import Sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dagflow.work.block import Part


def rounded(size: int) -> int:
    """How large a segment is made for so many bytes: up to a quarter more, so that it rarely has to grow again."""
    step = 1 << max(16, (size - 1).bit_length() - 3)
    return -(-size // step) * step


def write(memory: mmap.mmap, parts: list[Part], size: int, start: int = 0) -> None:
    """Put the parts of a payload, of ``size`` bytes in all, one behind the other."""
    with memoryview(memory) as view:
        end = start + size
        for part in reversed(parts):  # what was made last is in a cache still
            at = end - len(part)
            view[at:end] = part
            end = at


class Hold:
    """One delivery of a segment: lives as long as the payload, or any view of what was mapped for it."""

    __slots__ = ("ended", "number")

    def __init__(self, number: int, ended: list[int]) -> None:
        self.number, self.ended = number, ended

    def __del__(self) -> None:
        self.ended.append(self.number)


class Delivered:
    """A payload in a segment, as delivered."""

    __slots__ = ("hold", "mappings", "number", "size")

    def __init__(self, mappings: Mappings, number: int, size: int) -> None:
        self.mappings, self.number, self.size = mappings, number, size
        self.hold = Hold(number, mappings.ended)

    def contents(self) -> bytearray | memoryview:
        """The bytes, to be read and written by nobody else."""
        mappings = self.mappings
        if mappings.views.copies(self.size):
            with memoryview(mappings.shared(self.number, self.size)) as view:
                return bytearray(view[: self.size])
        return mappings.views.open(self.number, mappings.fds[self.number], self.size, self.hold)

    def copy(self) -> bytes:
        """The bytes."""
        with memoryview(self.mappings.shared(self.number, self.size)) as view:
            return bytes(view[: self.size])


class Written:
    """A payload that was written into a spare."""

    __slots__ = ("number", "size")

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size

    def contents(self) -> bytearray:
        """Never asked for: it is on its way to the driver."""
        raise AssertionError("a worker does not read what it has written")

    def copy(self) -> bytes:
        """Never asked for either."""
        return bytes(self.contents())


class Spare:
    """A segment that is the worker's to write into."""

    __slots__ = ("mappings", "number", "size")

    def __init__(self, mappings: Mappings, number: int, size: int) -> None:
        self.mappings, self.number, self.size = mappings, number, size

    def write(self, at: int, parts: list[Part], size: int) -> None:
        """Write ``parts``, of ``size`` bytes in all."""
        self.size = max(self.size, at + size)
        write(self.mappings.shared(self.number, self.size), parts, size, at)

    def sealed(self, size: int, count: int) -> Sealed:
        """The payload that was written into it."""
        return Sealed(b"", count, Written(self.number, size))

    def give_back(self) -> None:
        """It was not needed."""
        self.mappings.spares.insert(0, self.number)


class Mappings:
    """The segments that a worker has been told of. ``more`` looks whether the driver has sent spares meanwhile."""

    def __init__(self, more: Callable[[], None] | None = None) -> None:
        self.fds: dict[int, int] = {}
        self.spares: list[int] = []
        self.ended: list[int] = []
        self.more = more
        self.views = Views()
        self._memory: dict[int, mmap.mmap] = {}

    def learn(self, numbers: list[int], fds: list[int]) -> None:
        """Descriptors of segments that are new here."""
        for number, fd in zip(numbers, fds, strict=True):
            self.fds[number] = fd

    def delivered(self, number: int, size: int) -> Delivered:
        """A payload that came with a job."""
        return Delivered(self, number, size)

    def let_go(self) -> list[int]:
        """The deliveries of which there are no views any more, since the last call."""
        self.views.look()
        if not self.ended:
            return self.ended
        found = list(self.ended)
        del self.ended[: len(found)]
        return found

    def spare(self, size: int) -> Spare | None:
        """One of the spares, for about so many bytes; None where there is none."""
        if not self.spares and self.more is not None:
            self.more()
        try:
            number = self.spares.pop(0)
        except IndexError:
            return None
        return Spare(self, number, size)

    def store(self, parts: list[Part], size: int) -> Written | None:
        """Write a block into a spare; None where there is none."""
        spare = self.spare(size)
        if spare is None:
            return None
        spare.write(0, parts, size)
        return Written(spare.number, size)

    def shared(self, number: int, size: int) -> mmap.mmap:
        """A segment as all processes see it, with room for ``size`` bytes."""
        memory = self._memory.get(number)
        if memory is None or len(memory) < size:
            fd = self.fds[number]
            room = os.fstat(fd).st_size
            if room < size:
                room = rounded(size)
                os.ftruncate(fd, room)
            memory = self._memory[number] = mmap.mmap(fd, room)
            populate(memory, POPULATE_WRITE, size)
        return memory
