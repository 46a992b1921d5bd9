"""Witnesses: what happened elsewhere, told across threads and processes by files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


class Log:
    """Lines appended by whoever runs a function, wherever it runs; read by the test."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def add(self, text: object) -> None:
        """Append one line, whole even among many writers."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def lines(self) -> list[str]:
        """What has been written so far."""
        try:
            return Path(self.path).read_text().splitlines()
        except FileNotFoundError:
            return []

    def __bool__(self) -> bool:
        return os.path.exists(self.path)


class Gate:
    """A door that functions wait at, in any thread or process: a file lock, so it opens for all at once."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        Path(self.path).touch()

    def walk_through(self) -> None:
        """Wait until the gate is open."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def shut(self) -> _Shut:
        """``with gate.shut() as open_it:`` keeps everybody out until ``open_it()``, or the end of the block."""
        return _Shut(self.path)


class _Shut:
    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def __enter__(self) -> Callable[[], None]:
        return self.open

    def open(self) -> None:
        """Let everybody through."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __exit__(self, *exc: object) -> None:
        self.open()
