"""The mailbox: the one place where threads and sockets meet the ring. A deque, an epoll, a counter to wake by.

A ring beside threads that always have something to do gets the interpreter's lock only now and then, and each system
call gives it away. So a turn makes one: the counter is watched for its edges, which need not be read away.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from select import EPOLLET, EPOLLIN, EPOLLOUT, epoll
from time import monotonic
from typing import Final

from dagflow.core.events import Event

READ: Final = EPOLLIN
WRITE: Final = EPOLLOUT
Heard = Callable[[int], None]
"""What is called when a descriptor is ready: with a mask of `READ` and `WRITE`, or other bits when it is closed."""


class Mailbox:
    """Events from any thread, and from sockets whose readiness is watched; `wait` is called by the ring only."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self._epoll = epoll()
        self._heard: dict[int, Heard] = {}
        self._counter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._counter, EPOLLIN | EPOLLET)
        self._waiting = False
        self._woken = False
        self.deadlines: list[Callable[[], float | None]] = []

    # -- from any thread ------------------------------------------------------------------------------

    def post(self, event: Event) -> bool:
        """Put an event in; from any thread. Whether others lie there still."""
        self.events.append(event)
        if self._waiting and not self._woken:
            self.wake()  # who has set it before has written, or is about to
        return len(self.events) > 1

    def wake(self) -> None:
        """Make a `wait` return; from any thread, or a signal handler."""
        self._woken = True
        if self._waiting:
            try:
                os.eventfd_write(self._counter, 1)
            except OSError:
                pass  # closed meanwhile: nobody waits

    # -- the ring's own thread ------------------------------------------------------------------------

    def watch(self, fd: int, heard: Heard, mask: int = READ) -> None:
        """Have ``heard`` called whenever ``fd`` is ready; instead of what was watched for at it before."""
        if fd in self._heard:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._heard[fd] = heard

    def unwatch(self, fd: int) -> None:
        """Watch ``fd`` no more, if it was; before it is closed."""
        if self._heard.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def wait(self, patience: Callable[[], float | None]) -> list[Event]:
        """What has happened; if nothing has, waits for it, ``patience()`` seconds at most."""
        until: float | None = None
        asked = False
        while True:
            soonest: float | None = None
            for deadline in self.deadlines:  # what is due is dealt with, however busy the sockets are
                due = deadline()
                if due is not None and (soonest is None or due < soonest):
                    soonest = due
            if self.events or self._woken:
                self.look(0.0)
                break
            if not asked:
                asked, timeout = True, patience()
                until = None if timeout is None else monotonic() + timeout
            if until is not None and (soonest is None or until < soonest):
                soonest = until
            self.look(None if soonest is None else max(0.0, soonest - monotonic()))
            if self.events or self._woken or (until is not None and monotonic() >= until):
                break
        self._woken = False
        found = list(self.events)
        for _ in found:
            self.events.popleft()
        return found

    def look(self, seconds: float | None) -> None:
        """Deal with what sockets bring, the first of it within ``seconds``."""
        self._waiting = True  # before it looks whether it may: who then finds it asleep, wakes it
        try:
            ready = self._epoll.poll(0.0 if self.events or self._woken else seconds)
        finally:
            self._waiting = False
        for fd, mask in ready:
            heard = self._heard.get(fd)
            if heard is not None:  # the counter has nothing to say; and one callback may end what another watches
                heard(mask)

    def close(self) -> None:
        """Close the counter and the epoll."""
        self._epoll.close()
        counter, self._counter = self._counter, -1
        os.close(counter)
