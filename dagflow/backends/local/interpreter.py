"""Interpreter: a fresh Python process, started from nothing, with descriptors of its own.

`subprocess` would do; it takes as long to be loaded as a quarter of an interpreter's start.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
    from typing import Final
else:  # the same, without the enums that come with it
    import _signal as signal

FIRST: Final = 3
"""Under this number and the next ones the process finds what it is given, beside its own stdin, stdout and stderr."""


class Interpreter:
    """A child process that runs ``code``, the leader of a process group of its own.

    ``fds`` it finds as `FIRST` and so on, beside ``stdout`` and ``stderr``; its stdin is empty.
    Raises `OSError`, and `TypeError` where there is no ``sys.executable``.
    """

    def __init__(self, code: str, fds: list[int], stdout: int, stderr: int, environment: Mapping[str, str]) -> None:
        given = [*fds, stdout, stderr]
        places = [*range(FIRST, FIRST + len(fds)), 1, 2]
        # First out of the way: one of them may have the number that another is to get. A number that is not its own
        # makes a descriptor one that is inherited.
        high = range(FIRST + len(fds), FIRST + len(fds) + 2 * len(given))
        aside = [number for number in high if number not in given][: len(given)]
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
        actions += [(os.POSIX_SPAWN_DUP2, fd, at) for fd, at in zip(given, aside, strict=True)]
        actions += [(os.POSIX_SPAWN_DUP2, at, place) for at, place in zip(aside, places, strict=True)]
        actions += [(os.POSIX_SPAWN_CLOSE, at) for at in aside]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited() if fd not in places]
        actions += [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        command = [sys.executable, "-c", code]
        self.code: int | None = None
        self.pid = os.posix_spawn(sys.executable, command, environment, file_actions=actions, setpgroup=0)

    def has_ended(self) -> bool:
        """Whether it has."""
        if self.code is None:
            self._see(os.WNOHANG)
        return self.code is not None

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False if it takes longer."""
        if self.has_ended():
            return True
        try:
            fd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not on this system, or no descriptor left
            from threading import Thread

            waiter = Thread(target=self._see, args=(0,), daemon=True)
            waiter.start()
            waiter.join(seconds)
            return self.code is not None
        import select

        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(seconds * 1e3)
        finally:
            os.close(fd)
        return self.has_ended()

    def _see(self, options: int) -> None:
        """Take in that it has ended; ``options`` as of `os.waitpid`."""
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # somebody else has waited for it
            if self.code is None:
                self.code = 0
        else:
            if pid:
                self.code = os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Kill it."""
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)


def _inherited() -> list[int]:
    """What this process has open for its children to find, but for its standard streams: none of it is for this one."""
    try:
        names = os.listdir("/dev/fd")
    except OSError:
        return []  # this system does not tell
    found = []
    most = os.sysconf("SC_OPEN_MAX")  # one beyond it, open since before that was set, cannot be closed by an action
    for name in names:
        fd = int(name)
        try:
            if FIRST <= fd < most and os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            pass  # it is closed by now, as that of the list itself
    return found
