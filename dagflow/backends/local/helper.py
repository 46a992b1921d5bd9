"""The zygote, seen from the driver: a process, the socket to it, and how it is started, ahead of time if need be.

Imports little, so that it can be started first of all (see `dagflow.starting`).
"""

from __future__ import annotations

import marshal
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from dagflow.backends.local.interpreter import FIRST, Interpreter
from dagflow.backends.local.words import Words
from dagflow.errors import BackendError

CLOSE_SECONDS: Final = 5.0
REPORT_MOST: Final = 1 << 16
_TUNED = {
    # glibc gives every freed block of 128 KiB and more back to the kernel and faults it in again; with large
    # values that costs more than all else. Raised thresholds keep such blocks.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(1 << 20),
    # The threads of OpenBLAS, which numpy starts when it is loaded, look for work without a pause for so many clock
    # ticks, as a power of two, before they sleep: 2**26 are some 25 ms, of processors that other workers wait for.
    "OPENBLAS_THREAD_TIMEOUT": "16",
}
"""Environment variables that worker processes find set, unless the user has set them."""
_LAST_CACHE = "/sys/devices/system/cpu/cpu0/cache/index3/size"
_CACHE_SMALL: Final = 16 << 20
_PAST_CACHES = {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=524288"}
"""Where the last cache is small: copies of half a MiB and more go past it. Who reads them next is another process, when
they are not in it any more, and so all else stays there. Copying takes half of the time."""

_idle: list[Helper] = []
"""Zygotes that nobody uses: started ahead, or kept for the next run."""
_keeping: list[object] = []
"""The blocks that want them kept."""


class Helper:
    """A zygote and the socket to it. ``owner``: the process that started it, which alone may use it."""

    def __init__(self) -> None:
        occupy_standard_numbers()
        self.owner = os.getpid()
        self.environment = dict(os.environ)
        # Packets: a request and the descriptors that come with it must not run into the next one, nor reports.
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.words = Words()
        stdout, stderr = _copy(1, sys.__stdout__), _copy(2, sys.__stderr__)
        start = f"from dagflow.backends.local.zygote import main; main({FIRST}, {FIRST + 1}, {os.getpid()})"
        # What is imported there is there to stay: nothing for the garbage collector to look through meanwhile.
        code = f"import gc, sys; gc.disable(); sys.path[:0] = {_home()!r}; {start}"
        environment = {**_TUNED, **_for_this_machine(), **self.environment}
        try:
            # In a process group of its own: Ctrl-C is the driver's, from the zygote's first instruction on.
            self.process = Interpreter(code, [theirs.fileno(), stderr], stdout, self.words.fd, environment)
        except (OSError, TypeError, ValueError) as error:
            self.control.close()
            self.words.close()
            raise BackendError(f"cannot start worker processes with {sys.executable!r}: {error}") from error
        finally:
            theirs.close()
            os.close(stdout)
            os.close(stderr)

    def ask(self, request: tuple[Any, ...], fds: Sequence[int] = ()) -> None:
        """Send a request, with descriptors."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        self.control.sendmsg([marshal.dumps(request)], rights)

    def report(self) -> tuple[Any, ...] | None:
        """What it says next; None when it is gone. To be called when there is something to read."""
        try:
            data = self.control.recv(REPORT_MOST)
        except OSError:
            return None
        return marshal.loads(data) if data else None  # noqa: S302 - our own process's builtins

    def set_up(self, preload: list[str], stdout: int = 1, stderr: int = 2) -> None:
        """Give it what its workers are to have of this process as it is now, and have it load modules."""
        now = dict(os.environ)
        gone: dict[str, str | None] = dict.fromkeys(self.environment.keys() - now.keys())
        changed = gone | dict(now.items() - self.environment.items())
        self.environment = now
        outputs = [_copy(stdout, sys.__stdout__), _copy(stderr, sys.__stderr__)]
        try:
            self.ask(("setup", list(sys.path), list(sys.argv), _directory(), changed, preload), outputs)
        finally:
            for fd in outputs:
                os.close(fd)

    @classmethod
    def ahead(cls) -> Helper | None:
        """Start one before anybody asks for it, if there is none.

        None where there is one already, or none can be started, which whoever asks for it will hear.
        """
        if any(helper.owner == os.getpid() for helper in _idle):
            return None
        try:
            helper = cls()
        except (BackendError, OSError):
            return None
        _idle.append(helper)
        return helper

    @staticmethod
    def taken() -> Helper | None:
        """One that nobody uses, from now on the caller's to `leave`; not one that a process had which forked this."""
        for helper in list(_idle):
            if helper.owner != os.getpid():
                continue
            try:
                _idle.remove(helper)
            except ValueError:
                continue  # another thread was quicker
            if not helper.process.has_ended():
                return helper
            helper.end()
        return None

    def give_up(self) -> None:
        """End one that was started ahead, unless somebody has taken it, or it is to be kept."""
        if _keeping:
            return
        try:
            _idle.remove(self)
        except ValueError:
            return
        self.end()

    def leave(self) -> None:
        """Its workers are gone: keep it for the next run where that is wanted, else let it end."""
        _idle.append(self)
        self.give_up()

    def end(self) -> str:
        """Let it end, and wait for that; gives what it wrote last."""
        try:
            self.control.shutdown(socket.SHUT_RDWR)  # also where a process that was forked here has a copy of it
        except OSError:
            pass
        self.control.close()
        if not self.process.wait(CLOSE_SECONDS):
            self.process.kill()
            self.process.wait(CLOSE_SECONDS)
        words = self.words.last()
        self.words.close()
        return words


@contextmanager
def kept() -> Iterator[None]:
    """Within the block there is a zygote for each run to use. Those that nobody uses end with the outermost block."""
    block = object()
    _keeping.append(block)
    try:
        Helper.ahead()
        yield
    finally:
        _keeping.remove(block)
        for helper in [idle for idle in _idle if idle.owner == os.getpid()]:
            helper.give_up()


def _for_this_machine() -> dict[str, str]:
    """What is set beside `_TUNED`, by the size of the last cache, of level 3, which processors share."""
    try:
        with open(_LAST_CACHE, encoding="utf-8") as told:
            size = int(told.read().strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return {}  # not told here
    return _PAST_CACHES if size <= _CACHE_SMALL else {}


def occupy_standard_numbers() -> None:
    """Open nothing under 0, 1 and 2 where they are closed: prints would go into a socket of ours that got one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            fd = os.open(os.devnull, os.O_RDWR)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            os.set_inheritable(number, True)


def _copy(fd: int, stream: object) -> int:
    """A copy of a descriptor, or one of nothing where it is none of the ``stream``, with which this process began."""
    try:
        if fd > 2 or stream is not None:
            return os.dup(fd)
    except OSError:
        pass  # it is closed
    return os.open(os.devnull, os.O_WRONLY)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _home() -> list[str]:
    """Where the zygote finds dagflow."""
    return [os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))]
