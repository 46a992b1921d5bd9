"""The zygote, seen from the driver: a process, the socket to it, and how it is started, ahead of time if need be.

Imports little, so that it can be started first of all (see `dagflow.starting`).
"""

from __future__ import annotations

import array
import marshal
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from dagflow.backends.local.pages import Words
from dagflow.errors import BackendError

CLOSE_SECONDS: Final = 5.0
_MALLOC = {
    # glibc gives every freed block of 128 KiB and more back to the kernel and faults it in again; with large
    # values that costs more than all else. Raised thresholds keep such blocks.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(1 << 20),
}

_ahead: list[Helper] = []


class Helper:
    """A zygote and the socket to it."""

    def __init__(self) -> None:
        # Packets: a request and the descriptors that come with it must not run into the next one.
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.words = Words()
        stderr = _stderr()
        start = "from dagflow.backends.local.zygote import main"
        numbers = f"{theirs.fileno()}, {stderr}, {os.getpid()}"
        # What is imported there is there to stay: nothing for the garbage collector to look through meanwhile.
        code = f"import gc, sys; gc.disable(); sys.path[:0] = {_home()!r}; {start}; main({numbers})"
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno(), stderr],
                stdin=subprocess.DEVNULL,
                stderr=self.words.fd,
                env={**_MALLOC, **os.environ},
                process_group=0,  # Ctrl-C is the driver's, from the zygote's first instruction on
            )
        except (OSError, TypeError, ValueError) as error:
            self.control.close()
            self.words.close()
            raise BackendError(f"cannot start worker processes with {sys.executable!r}: {error}") from error
        finally:
            theirs.close()
            os.close(stderr)

    def ask(self, request: tuple[Any, ...], fds: Sequence[int] = ()) -> None:
        """Send a request, with descriptors."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
        self.control.sendmsg([marshal.dumps(request)], rights)

    @classmethod
    def ahead(cls) -> Helper | None:
        """Start one before anybody asks for it; None where that is not possible, which whoever asks will hear."""
        try:
            helper = cls()
        except (BackendError, OSError):
            return None
        _ahead.append(helper)
        return helper

    @staticmethod
    def taken() -> Helper | None:
        """One that was started ahead, from now on the caller's to end."""
        try:
            return _ahead.pop()
        except IndexError:
            return None

    def give_up(self) -> None:
        """End one that was started ahead, unless somebody has taken it."""
        try:
            _ahead.remove(self)
        except ValueError:
            return
        self.end()

    def end(self) -> str:
        """Let it end, and wait for that; gives what it wrote last."""
        try:
            self.control.shutdown(socket.SHUT_RDWR)  # also where a process that was forked here has a copy of it
        except OSError:
            pass
        self.control.close()
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        words = self.words.last()
        self.words.close()
        return words


def _stderr() -> int:
    """A descriptor of the user's stderr, or of nothing where there is none."""
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _home() -> list[str]:
    """Where the zygote finds dagflow."""
    return [os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))]
