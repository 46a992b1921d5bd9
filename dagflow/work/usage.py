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

LOOK_SECONDS: Final = 0.02
"""Standing in line is looked up no more often than this."""


class Usage:
    """Seconds since it was last asked: processor time, and time in line for one.

    ``threads``: of all threads of this process; else in line stands the main thread alone, which is cheaper to ask.
    """

    def __init__(self, *, threads: bool = False) -> None:
        self.threads = threads
        self.lines: dict[str, float] = {}
        self.cpu = process_time()
        self.due = 0.0
        self.since()

    def since(self) -> tuple[float, float]:
        """Processor seconds used, and those in which a thread could have run and had no processor."""
        cpu, self.cpu = self.cpu, process_time()
        now = monotonic()
        if now < self.due:
            return self.cpu - cpu, 0.0
        self.due = now + LOOK_SECONDS
        return self.cpu - cpu, self._waited()

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

    def __init__(self) -> None:
        self.cpu = thread_time()
        self.in_line = _in_line("/proc/thread-self/schedstat")

    def so_far(self) -> float:
        """Processor seconds that it has used, or lacked, since it was made."""
        return thread_time() - self.cpu + _in_line("/proc/thread-self/schedstat") - self.in_line


def _in_line(path: str) -> float:
    """Seconds in line for a processor; 0 where this system does not tell."""
    try:
        with open(path, "rb") as file:
            # "time on a processor, time in line for one (both in ns), time slices"
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
