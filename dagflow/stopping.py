"""How a run is stopped from outside: by Ctrl-C, by SIGTERM, by the end of the interpreter.

A handler only sets a flag and wakes the ring, so that no decision is torn in the middle: the run stops reading,
lets running tasks end (or kills them, the second time), reports, stops its workers and closes.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from typing import Any, Final, Protocol
from weakref import WeakSet

EXIT_SECONDS: Final = 10.0
"""How long the end of the interpreter waits for a run that is being stopped."""


class Stoppable(Protocol):
    """A run. ``interrupted``: somebody has asked it to stop; ``over``: it has."""

    interrupted: bool
    over: bool

    def stop(self, *, kill: bool) -> None: ...
    def join(self, timeout: float | None = None, *, raises: bool = True) -> bool: ...


class Interrupts:
    """Around a run in the main thread: Ctrl-C once lets the running tasks end and stops it; twice, at once.

    SIGTERM does the same, where the user has no handler for it, and then ends the process as it would have.
    ``here``: functions of the user's run in this very thread, where the second Ctrl-C is raised.
    """

    def __init__(self, run: Stoppable, *, here: bool) -> None:
        self.run, self.here = run, here
        self.pid = os.getpid()
        self.before: dict[int, Any] = {}
        self.terminated = False

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self.before[signal.SIGINT] = signal.signal(signal.SIGINT, self._asked)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self.before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._asked)

    def __exit__(self, *exc: object) -> None:
        for number, before in self.before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        if self.terminated:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (AttributeError, OSError, ValueError):
                    pass
            os.kill(os.getpid(), signal.SIGTERM)

    def _asked(self, number: int, frame: Any) -> None:
        del frame
        if os.getpid() != self.pid:  # a process that was forked meanwhile: this run is none of its own
            signal.signal(number, self.before[number])
            os.kill(os.getpid(), number)
            return
        self.terminated = self.terminated or number == signal.SIGTERM
        again = self.run.interrupted
        self.run.interrupted = True
        self.run.stop(kill=again)
        if again and self.here:
            raise KeyboardInterrupt


_running: WeakSet[Stoppable] = WeakSet()


def stop_at_exit(run: Stoppable) -> None:
    """Stop a run that turns in a thread of its own at the end of the interpreter, while threads can still run."""
    _running.add(run)


def _end_all() -> None:
    left = [run for run in _running if not run.over]
    for run in left:
        run.stop(kill=True)
    for run in left:
        run.join(EXIT_SECONDS, raises=False)


atexit.register(_end_all)
os.register_at_fork(after_in_child=_running.clear)
