"""A worker's side of the memory segments (see `dagflow.backends.local.segments`): reading, writing, letting go."""

from __future__ import annotations

import mmap
import os
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dagflow.work.block import Part


COPIED_MOST = 4 << 20
"""A payload of no more bytes than these is copied when it is opened: to have all of its pages in a mapping of its own,
and to take them out again, takes twice as long as a copy into memory of the heap, which is there already. From about
twice as many on it is the copy that takes longer."""
POPULATE_READ, POPULATE_WRITE = 22, 23
"""``MADV_POPULATE_READ`` and ``_WRITE``, which `mmap` does not name."""


def populate(memory: mmap.mmap, how: int, size: int) -> None:
    """Have the first ``size`` bytes there: all page faults at once take a third of what they take one by one."""
    try:
        memory.madvise(how, 0, size)
    except (OSError, ValueError):
        pass  # Linux before 5.14


def rounded(size: int) -> int:
    """How large a segment is made for so many bytes: a power of two, so that once grown it rarely has to grow again."""
    return 1 << max(16, (size - 1).bit_length())


def write(memory: mmap.mmap, parts: list[Part]) -> None:
    """Put the parts of a payload one behind the other."""
    with memoryview(memory) as view:
        at = 0
        for part in parts:
            view[at : at + len(part)] = part
            at += len(part)


class Hold:
    """One delivery of a segment: lives as long as the payload, or any view of what was mapped for it."""

    __slots__ = ("ended", "number")

    def __init__(self, number: int, ended: list[int]) -> None:
        self.number, self.ended = number, ended

    def __del__(self) -> None:
        self.ended.append(self.number)


class _Private(mmap.mmap):
    """A mapping of this process's own: what is written to it is nobody else's. Holds its delivery."""

    hold: Hold


_in_use: WeakSet[_Private] = WeakSet()


def _part() -> None:
    """Before a function forks: the driver will not hear of what its child still reads, so it gets pages of its own."""
    for memory in list(_in_use):
        populate(memory, POPULATE_WRITE, len(memory))


os.register_at_fork(before=_part)


class Delivered:
    """A payload in a segment, as delivered."""

    __slots__ = ("hold", "mappings", "number", "size")

    def __init__(self, mappings: Mappings, number: int, size: int) -> None:
        self.mappings, self.number, self.size = mappings, number, size
        self.hold = Hold(number, mappings.ended)

    def contents(self) -> bytearray | memoryview:
        """A copy, or, of much, a private mapping: its pages are shared until they are written to."""
        if self.size <= COPIED_MOST:
            with memoryview(self.mappings.shared(self.number, self.size)) as view:
                return bytearray(view[: self.size])
        memory = _Private(self.mappings.fds[self.number], self.size, access=mmap.ACCESS_COPY)
        memory.hold = self.hold
        _in_use.add(memory)
        populate(memory, POPULATE_READ, self.size)
        return memoryview(memory)


class Written:
    """A payload that was written into a spare."""

    __slots__ = ("number", "size")

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size

    def contents(self) -> bytearray:
        """Never asked for: it is on its way to the driver."""
        raise AssertionError("a worker does not read what it has written")


class Mappings:
    """The segments that a worker has been told of. ``more`` looks whether the driver has sent spares meanwhile."""

    def __init__(self, more: Callable[[], None] | None = None) -> None:
        self.fds: dict[int, int] = {}
        self.spares: list[int] = []
        self.ended: list[int] = []
        self.more = more
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
        if not self.ended:
            return self.ended
        found = list(self.ended)
        del self.ended[: len(found)]
        return found

    def store(self, parts: list[Part], size: int) -> Written | None:
        """Write a block into a spare; None where there is none."""
        if not self.spares and self.more is not None:
            self.more()
        try:
            number = self.spares.pop(0)
        except IndexError:
            return None
        write(self.shared(number, size), parts)
        return Written(number, size)

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
