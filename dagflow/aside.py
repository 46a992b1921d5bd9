"""While bars stand on a terminal, what others write there goes above them, a whole line at a time.

Who logs or prints holds on to the stream it was given: loguru's first sink to the ``sys.stderr`` of the moment when
loguru was imported. Another object in ``sys.stderr`` would not be noticed there. So the streams stay where they are,
and each gets, for as long as there are bars, a ``write`` of its own that stands before the one of its class.
Nobody's sink is touched. What worker processes write to such a terminal comes to this process first, and goes the
same way (`dagflow.backends.local.echo`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

Off = Callable[[], AbstractContextManager[None]]
Drawing = Callable[[], bool]


class _Door:
    """Stands before the ``write`` of one stream.

    There is no lock but the bars' own: whoever holds it has the screen. So bars that draw themselves, and writers
    that have taken them off, are let through, and no two locks can be waited for crosswise.
    """

    def __init__(self, stream: Any, off: Off, lock: Any, drawing: Drawing) -> None:
        self.stream, self._off, self._lock, self._drawing = stream, off, lock, drawing
        self._write: Callable[[str], int] = stream.write
        self._begun: dict[int, list[str]] = {}
        self._over = False
        stream.write = self.write

    def write(self, text: str) -> int:
        """As the stream's own, but that a line appears when it is complete; lines of several threads do not mix."""
        if not isinstance(text, str) or self._drawing():
            return self._write(text)
        with self._lock:
            if self._over:  # somebody has kept this method
                return self._write(text)
            begun = self._begun.setdefault(threading.get_ident(), [])
            if text.startswith("\r"):
                begun.clear()  # a line written again and again in its place: only the last is seen in the end
            lines, newline, rest = text.rpartition("\n")
            whole = "".join([*begun, lines, newline]) if newline else ""
            if newline:
                begun.clear()
            if rest:
                begun.append(rest)
            if whole:
                with self._off():
                    self._write(whole)
                    self.stream.flush()
        return len(text)

    def close(self) -> None:
        """Leave the stream as it was; what was begun and not ended is written as it is."""
        # Whoever has put something of their own there meanwhile keeps it.
        if vars(self.stream).get("write") == self.write:
            del self.stream.write
        with self._lock:
            self._over = True
            begun = "".join(part for parts in self._begun.values() for part in parts)
            self._begun.clear()
            if begun:
                with suppress(OSError, ValueError):
                    self._write(begun)
                    self.stream.flush()


class Aside:
    """The streams of this process that have doors, and how many runs show bars."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._doors: list[_Door] = []

    def begin(self, bars_on: Any, off: Off, lock: Any, drawing: Drawing) -> None:
        """A run shows bars on the stream ``bars_on``.

        ``off()`` takes them off for a while; ``lock`` is theirs; ``drawing()``: whether this thread holds it, or that
        of other bars.
        """
        with self._lock:
            self._runs += 1
            if self._runs == 1:
                streams = {id(s): s for s in (bars_on, sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)}
                for stream in streams.values():
                    # None, closed, or one that lets nobody stand before it.
                    with suppress(AttributeError, TypeError, ValueError, OSError):
                        if stream is bars_on or stream.isatty():  # type: ignore[union-attr]
                            self._doors.append(_Door(stream, off, lock, drawing))

    def stream(self, fd: int) -> Any:
        """The stream that has a door and writes to the terminal that is descriptor ``fd``; None where there is none."""
        with self._lock:
            for door in self._doors:
                with suppress(AttributeError, TypeError, ValueError, OSError):
                    if door.stream.fileno() == fd and os.isatty(fd):
                        return door.stream
        return None

    def end(self) -> None:
        """The bars of one run are left to themselves."""
        with self._lock:
            self._runs -= 1
            if not self._runs:
                doors, self._doors = self._doors, []
                for door in reversed(doors):
                    door.close()


ASIDE: Final = Aside()
