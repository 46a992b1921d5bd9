"""What a process has had of the machine's processors, and how long it stood in line for one.

Linux counts for each thread the time in which it could have run and got no processor. Only with it can be told
whether a function that takes long waits for the world, or for a processor that others use.
"""

from __future__ import annotations

import os
from time import monotonic, process_time, thread_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LOOK_SECONDS: Final = 0.1
"""Standing in line is looked up no more often than this: a look is a quarter of what an answer costs a worker."""
LOOK_SHARE: Final = 0.01
"""And takes up no more than this share of the time: each file read costs a thread its turn at the interpreter."""


class Usage:
    """Seconds since it was last asked: processor time, and time in line for one.

    ``threads``: of all threads of this process; else in line stands the main thread alone, which is cheaper to ask.
    ``every``: so many seconds lie between two looks at who stands in line.
    """

    def __init__(self, *, threads: bool = False, every: float = LOOK_SECONDS) -> None:
        self.threads = threads
        self.every = every
        self.lines: dict[str, float] = {}
        self.cpu = process_time()
        self.due = 0.0
        self.since()

    def since(self, *, last: bool = False) -> tuple[float, float]:
        """Processor seconds used, and those in which a thread could have run and had no processor.

        ``last``: there will be no other look.
        """
        cpu, self.cpu = self.cpu, process_time()
        now = monotonic()
        if now < self.due and not last:
            return self.cpu - cpu, 0.0
        waited = self._waited()
        self.due = _next_look(now, self.every)
        return self.cpu - cpu, waited

    def _waited(self) -> float:
        waited = 0.0
        for thread in self._threads():
            in_line = _in_line(f"/proc/self/task/{thread}/schedstat")
            waited += max(0.0, in_line - self.lines.get(thread, 0.0))
            self.lines[thread] = in_line
        return waited

    def _threads(self) -> list[str]:
        if not self.threads:
            return [str(os.getpid())]
        try:
            return os.listdir("/proc/self/task")
        except OSError:
            return []


class OwnUsage:
    """The same of the thread that makes it, and asks."""

    def __init__(self, *, every: float = LOOK_SECONDS) -> None:
        self.every = every
        self.cpu = thread_time()
        self.in_line = _in_line("/proc/thread-self/schedstat")
        self.waited = 0.0
        self.due = monotonic() + every

    def so_far(self, *, last: bool = False) -> float:
        """Processor seconds that it has used, or lacked, since it was made. ``last``: there will be no other look."""
        now = monotonic()
        if now >= self.due or last:
            self.waited = _in_line("/proc/thread-self/schedstat") - self.in_line
            self.due = _next_look(now, self.every)
        return thread_time() - self.cpu + self.waited


def _next_look(begun: float, every: float) -> float:
    """When to look again after a look that was ``begun`` then."""
    now = monotonic()
    return max(begun + every, now + (now - begun) / LOOK_SHARE)


def _in_line(path: str) -> float:
    """Seconds in line for a processor; 0 where this system does not tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # "time on a processor, time in line for one (both in ns), time slices"
            return int(os.read(fd, 128).split()[1]) / 1e9
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return 0.0
