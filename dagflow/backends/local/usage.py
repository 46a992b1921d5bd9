"""What a worker process has had of the machine's processors, and how long it stood in line for one."""

from __future__ import annotations

import os
from time import monotonic, process_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LOOK_SECONDS: Final = 0.02


class Usage:
    """Seconds since it was last asked. Standing in line is told by Linux, and looked up some fifty times a second."""

    def __init__(self) -> None:
        self.cpu = process_time()
        self.due = 0.0
        self.stalled = 0.0
        try:
            self.file = os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.file = -1
        self.since()

    def since(self) -> tuple[float, float]:
        """Processor seconds used, and those in which the main thread could have run and got no processor."""
        cpu, self.cpu = self.cpu, process_time()
        now = monotonic()
        if self.file < 0 or now < self.due:
            return self.cpu - cpu, 0.0
        self.due = now + LOOK_SECONDS
        before, self.stalled = self.stalled, self._stalled()
        return self.cpu - cpu, self.stalled - before

    def _stalled(self) -> float:
        try:
            # "time on a processor, time in line for one (both ns), time slices"; see the kernel's sched-stats.
            return int(os.pread(self.file, 100, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return self.stalled
