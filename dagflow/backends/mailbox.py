"""The mailbox: the one place where threads and sockets meet the ring. A deque, a selector, a wake-up pipe."""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Callable
from time import monotonic

from dagflow.core.events import Event


class Mailbox:
    """Events from any thread, and from sockets whose readiness is watched; `wait` is called by the ring only."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.selector = selectors.DefaultSelector()
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.selector.register(self._read, selectors.EVENT_READ, self._drain)
        self._waiting = False
        self._woken = False
        self.deadlines: list[Callable[[], float | None]] = []

    def post(self, event: Event) -> None:
        """Put an event in; from any thread."""
        self.events.append(event)
        if self._waiting:
            self.wake()

    def wake(self) -> None:
        """Make a `wait` return; from any thread, or a signal handler."""
        self._woken = True
        try:
            os.write(self._write, b"\0")
        except (BlockingIOError, OSError):
            pass  # the pipe is full (it will wake anyway), or closed (nobody waits)

    def wait(self, timeout: float | None) -> list[Event]:
        """What has happened; waits up to ``timeout`` seconds if nothing has."""
        until = None if timeout is None else monotonic() + timeout
        self._waiting = True
        try:
            while True:
                quiet = not self.events and not self._woken
                left = 0.0 if not quiet else self._left(until)
                for key, mask in self.selector.select(left):
                    key.data(mask)
                if self.events or self._woken or (until is not None and monotonic() >= until):
                    break
                if any((due := d()) is not None and due <= monotonic() for d in self.deadlines):
                    break
        finally:
            self._waiting = False
            self._woken = False
        found = list(self.events)
        for _ in found:
            self.events.popleft()
        return found

    def _left(self, until: float | None) -> float | None:
        times = [d() for d in self.deadlines]
        times.append(until)
        soonest = min((t for t in times if t is not None), default=None)
        return None if soonest is None else max(0.0, soonest - monotonic())

    def _drain(self, mask: int) -> None:
        del mask
        try:
            while os.read(self._read, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close the pipe and the selector."""
        self.selector.close()
        os.close(self._read)
        os.close(self._write)
        self._write = -1
