"""Words: what a process says before it is up, and last: an anonymous file, which never blocks who writes into it."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

WORDS_MOST: Final = 8192
"""So many bytes of what a worker wrote last are told to the user."""


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
        if sys.__stderr__ is None:
            return  # what has its number is something else
        import select

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
