"""Pages: what a worker writes of itself, readable after its death: the task that it is at, and its last words.

A page is shared memory in which a worker marks where it is (half a microsecond, no system call). Pages lie in
chunks of anonymous files, so that a thousand workers cost a handful of descriptors and nothing has a name that
could be left behind. The last words are an anonymous file too: a file never blocks who writes into it.
"""

from __future__ import annotations

import mmap
import os
import select
import struct

from dagflow.work.page import BACK, NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PAGE_BYTES: Final = mmap.PAGESIZE
CHUNK_PAGES: Final = 256
WORDS_MOST: Final = 8192
"""So many bytes of what a worker wrote last are told to the user."""
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


class Words:
    """What a process writes to stderr until it is up, and what Python says of it when it crashes after that.

    ``shown``: so many bytes have been passed on to the user's stderr, so that a model that takes minutes to load
    can say so meanwhile.
    """

    def __init__(self) -> None:
        self.fd = os.memfd_create("dagflow words", os.MFD_CLOEXEC)
        self.shown = 0

    def show(self) -> None:
        """Pass on what is new, above bars that stand there, as far as stderr takes it without blocking."""
        from dagflow.aside import ASIDE

        stream = ASIDE.stream(2)
        poll = select.poll()
        try:
            poll.register(2, select.POLLOUT)
            while poll.poll(0) and (data := os.pread(self.fd, select.PIPE_BUF, self.shown)):
                if stream is not None:
                    stream.write(data.decode(errors="replace"))
                self.shown += os.write(2, data) if stream is None else len(data)
        except (OSError, ValueError):
            pass  # there is no stderr

    def last(self, *, again: bool = False) -> str:
        """The end of what was not shown yet; ``again``: also of what was."""
        try:
            size = os.fstat(self.fd).st_size
            start = max(0 if again else self.shown, size - WORDS_MOST)
            return os.pread(self.fd, WORDS_MOST, start).decode(errors="replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Forget them."""
        os.close(self.fd)
