"""Pages: what a worker writes of the task that it is at, readable after its death.

A page is shared memory in which a worker marks where it is (half a microsecond, no system call). Pages lie in
chunks of anonymous files, so that a thousand workers cost a handful of descriptors and nothing has a name that
could be left behind.
"""

from __future__ import annotations

import mmap
import os
import struct

from dagflow.work.page import BACK, NUMBERS, PAGE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CHUNK_PAGES: Final = 256
_FIELDS: Final = struct.Struct(f"<{NUMBERS}q")
_NUMBER: Final = struct.Struct("<q")


class Page:
    """One worker's page, with the numbers of `dagflow.work.page`."""

    __slots__ = ("chunk", "fd", "offset")

    def __init__(self, chunk: mmap.mmap, fd: int, offset: int) -> None:
        self.chunk, self.fd, self.offset = chunk, fd, offset

    def want_back(self, token: int) -> None:
        """Ask for what has not begun of leases up to this one."""
        _NUMBER.pack_into(self.chunk, self.offset + _NUMBER.size * BACK, token)

    def read(self) -> tuple[int, ...]:
        """The numbers as they are now."""
        return _FIELDS.unpack_from(self.chunk, self.offset)


class Pages:
    """The pages of a pool's workers, given out and taken back."""

    def __init__(self) -> None:
        self._free: list[Page] = []
        self._chunks: list[tuple[mmap.mmap, int]] = []

    def take(self) -> Page:
        """A page of zeros. Raises `OSError` where there is no descriptor, or no memory, for more."""
        if not self._free:
            self._grow()
        page = self._free.pop()
        page.chunk[page.offset : page.offset + _FIELDS.size] = bytes(_FIELDS.size)
        return page

    def give_back(self, page: Page) -> None:
        """The worker that wrote into it is gone."""
        self._free.append(page)

    def _grow(self) -> None:
        size = CHUNK_PAGES * PAGE_BYTES
        fd = os.memfd_create("dagflow pages", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            chunk = mmap.mmap(fd, size)
        except OSError:
            os.close(fd)
            raise
        self._chunks.append((chunk, fd))
        self._free.extend(Page(chunk, fd, at) for at in reversed(range(0, size, PAGE_BYTES)))

    def close(self) -> None:
        """Give all memory back."""
        for chunk, fd in self._chunks:
            chunk.close()
            os.close(fd)
        self._chunks.clear()
        self._free.clear()
