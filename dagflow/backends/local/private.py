"""Private mappings: a payload is read where it lies, and what its reader writes to it nobody else sees.

A mapping is kept and used again for the next payload in its segment: to have all pages mapped costs as much as to
copy them, to look whether its reader has written to any costs a tenth of that. A page that was written to is the
reader's own from then on, and would show the old payload beside the new one, so such a mapping is not used again.
"""

from __future__ import annotations

import mmap
import os
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from weakref import ref
else:
    from _weakref import ref  # the same, without what else comes with it

COPIED_MOST = 4 << 20
"""A payload of no more bytes than these is copied instead, where readers write to what they are given, or keep it: it
takes twice as long to have the pages of a mapping copied one by one, as they are written to."""
KEPT_MOST = 8
"""So many payloads may be mapped that their readers do not let go of, before others are copied."""
POPULATE_READ, POPULATE_WRITE = 22, 23
"""``MADV_POPULATE_READ`` and ``_WRITE``, which `mmap` does not name."""
_ENTRY_BYTES = 8
_SHARED = b"\x00\xa0\xa1"
"""The high byte of a page's entry in ``/proc/self/pagemap`` (Linux, admin-guide/mm/pagemap), if it was not written to:
the page is not there, or it is (bit 63) a page of the file (61), maybe mapped by nobody else (56)."""


def populate(memory: mmap.mmap, how: int, size: int) -> None:
    """Have the first ``size`` bytes there: all page faults at once take a third of what they take one by one."""
    try:
        memory.madvise(how, 0, size)
    except (OSError, ValueError):
        pass  # Linux before 5.14


_byte: Any = None


def _address(memory: mmap.mmap) -> int:
    """Where a mapping that can be written to begins; -1 where that cannot be told."""
    global _byte
    try:
        import _ctypes  # what `ctypes` is made of: `ctypes` itself takes longer to import than forking takes
    except ImportError:
        return -1
    if _byte is None:
        _byte = type("_byte", (_ctypes._SimpleCData,), {"_type_": "c"})
    return int(_ctypes.addressof(_byte.from_buffer(memory)))


class Private(mmap.mmap):
    """A mapping of one segment. ``hold``: the delivery that is being read by it, as long as there are views of it."""

    number: int
    hold: object
    reach = 0
    """How much of it has been read at most."""
    _entries = 0

    def view(self, size: int, hold: object) -> memoryview:
        """The first ``size`` bytes, to be read by whoever has them, for this delivery."""
        if size > self.reach:
            if not self.reach:
                self._entries = _address(self) // mmap.PAGESIZE * _ENTRY_BYTES
            self.reach = size
            populate(self, POPULATE_READ, size)
        with memoryview(self) as whole:
            view = whole[:size]
        self.hold = hold
        _in_use.add(ref(self, _in_use.discard))
        return view

    def ended(self) -> bool:
        """Whether there are no views any more; if so, the delivery is let go of."""
        try:
            self.resize(0)  # which no private mapping can be; but first it is looked whether there are views
        except BufferError:
            return False
        except (TypeError, ValueError):
            pass
        self.hold = None
        _in_use.discard(ref(self))
        return True

    def part(self) -> None:
        """Have pages of its own, as if all had been written to."""
        try:
            self.madvise(POPULATE_WRITE, 0, self.reach)
        except (OSError, ValueError):  # Linux before 5.14
            for at in range(0, self.reach, mmap.PAGESIZE):
                self[at] = self[at]

    def written(self) -> bool:
        """Whether any page may have been written to since it was mapped."""
        told = b""
        size = -(-self.reach // mmap.PAGESIZE) * _ENTRY_BYTES
        try:
            fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            try:
                told = os.pread(fd, size, self._entries)
            finally:
                os.close(fd)
        except OSError:
            pass  # not for everybody to read: then nothing is known
        return len(told) != size or bool(told[_ENTRY_BYTES - 1 :: _ENTRY_BYTES].translate(None, _SHARED))


class Views:
    """The payloads in segments that are being read in this process, each by a mapping of its own; from any thread."""

    def __init__(self) -> None:
        self._copies = False
        """Whether a reader was found to write to what it is given, or to keep it."""
        self._free: dict[int, Private] = {}
        self._reading: deque[Private] = deque()

    def copies(self, size: int) -> bool:
        """Whether a payload of ``size`` bytes had better be copied."""
        return self._copies and size <= COPIED_MOST

    def open(self, number: int, fd: int, size: int, hold: object) -> memoryview:
        """What lies in a segment; ``hold`` is let go of when nothing of it is left."""
        memory = self._free.pop(number, None)
        if memory is None or len(memory) < size:
            memory = Private(fd, os.fstat(fd).st_size, access=mmap.ACCESS_COPY)
            memory.number = number
        view = memory.view(size, hold)
        self._reading.append(memory)  # not before: another thread may be looking what is read no more
        return view

    def look(self) -> None:
        """Let go of what is read no more, and keep the mappings that show what is in their segments."""
        for _ in range(len(self._reading)):
            memory = self._reading.popleft()
            if not memory.ended():
                self._reading.append(memory)
            elif memory.written():
                self._copies = True
            else:
                self._free[memory.number] = memory
        if len(self._reading) > KEPT_MOST:
            self._copies = True

    def close(self) -> None:
        """Leave what is still being read to its readers."""
        self._free.clear()
        self._reading.clear()


_in_use: set[ref[Private]] = set()


def _part() -> None:
    """Before a function forks: the driver will not hear of what its child still reads, so it gets pages of its own."""
    for known in list(_in_use):
        memory = known()
        if memory is not None:
            memory.part()


os.register_at_fork(before=_part)
