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

    def wait(self, patience: Callable[[], float | None]) -> list[Event]:
        """What has happened; if nothing has, waits for it, ``patience()`` seconds at most."""
        self._look(0.0)
        for deadline in self.deadlines:
            deadline()  # what is due is dealt with, however busy the sockets are
        if not self.events and not self._woken:
            timeout = patience()
            until = None if timeout is None else monotonic() + timeout
            while True:
                self._look(self._left(until))
                if self.events or self._woken or (until is not None and monotonic() >= until):
                    break
                if any((due := d()) is not None and due <= monotonic() for d in self.deadlines):
                    break
        self._woken = False
        found = list(self.events)
        for _ in found:
            self.events.popleft()
        return found

    def _look(self, seconds: float | None) -> None:
        """Deal with what sockets bring, the first of it within ``seconds``."""
        self._waiting = True  # and only while asleep: what a socket brings is posted by this thread itself
        try:
            ready = self.selector.select(0.0 if self.events or self._woken else seconds)
        finally:
            self._waiting = False
        for key, mask in ready:
            key.data(mask)

    def _left(self, until: float | None) -> float | None:
        times = [d() for d in self.deadlines]
        times.append(until)
        soonest = min((t for t in times if t is not None), default=None)
        return None if soonest is None else max(0.0, soonest - monotonic())

    def _drain(self, mask: int) -> None:
        del mask
        os.read(self._read, 4096)  # there is something; should there be more, the selector says so again

    def close(self) -> None:
        """Close the pipe and the selector."""
        self.selector.close()
        os.close(self._read)
        os.close(self._write)
        self._write = -1
