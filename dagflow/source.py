"""Sources: where a run's tasks come from. Read lazily, only as far as there is room, never blocking the ring.

A list and its like is read by the ring itself. Any other iterable may block, so a feeder thread reads it; an
async iterable is read by a loop in such a thread; `Submissions` is what ``run.submit`` fills.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, KeysView, Sequence, ValuesView
from time import monotonic
from typing import Any, Final, Protocol

PATIENCE_SECONDS: Final = 0.001
"""A fast source is left alone for so long to fill a batch, rather than being asked for each single task."""
SLOW_SECONDS: Final = 0.0002
"""A source that takes longer for a task is slow: what it gives is taken at once."""


class TaskSource(Protocol):
    """What the ring asks of a source. ``take`` gives up to ``count`` tasks (maybe none yet), or None at the end.

    ``at_hand``: its tasks are there already, so that asking and taking is one step.
    """

    error: BaseException | None
    at_hand: bool

    def start(self, wake: Callable[[], None]) -> None: ...
    def request(self, count: int) -> None: ...
    def take(self, count: int) -> list[Any] | None: ...
    def hurry(self) -> float | None: ...
    def rest(self) -> list[Any]: ...
    def close(self) -> None: ...


_AT_HAND = (list, tuple, range, dict, set, frozenset, str, bytes, deque, KeysView, ValuesView)


def source_of(tasks: Iterable[Any] | AsyncIterable[Any]) -> TaskSource:
    """The source for whatever the user gave."""
    if isinstance(tasks, _AT_HAND):
        return AtHand(tasks)
    if hasattr(tasks, "__aiter__"):
        return Fed(_read_async, tasks)
    if isinstance(tasks, Iterable) or hasattr(tasks, "__getitem__"):
        return Fed(_read, tasks)
    raise TypeError(
        f"tasks must be an iterable or an async iterable of tasks, not {type(tasks).__name__}; "
        f"write [task] to run a single one"
    )


class AtHand:
    """Tasks that are all there already."""

    error: BaseException | None = None
    at_hand = True

    def __init__(self, tasks: Iterable[Any]) -> None:
        self._tasks: Sequence[Any] | None = tasks if isinstance(tasks, (list, tuple, range)) else None
        self._iterator: Iterator[Any] = iter(tasks)
        self._at = 0

    def start(self, wake: Callable[[], None]) -> None:
        """Nothing to start."""

    def request(self, count: int) -> None:
        """Nothing to ask: they are there."""

    def take(self, count: int) -> list[Any] | None:
        """The next tasks."""
        if self._tasks is not None:
            part = list(self._tasks[self._at : self._at + count])
            self._at += len(part)
            return part or None
        found: list[Any] = []
        try:
            for task in self._iterator:
                found.append(task)
                if len(found) >= count:
                    break
        except RuntimeError as error:  # changed size during iteration
            self.error = error
        return found or None

    def rest(self) -> list[Any]:
        """Nothing was read ahead."""
        return []

    def hurry(self) -> float | None:
        """Never a reason to wait."""
        return None

    def close(self) -> None:
        """Nothing to close."""


class Fed:
    """Tasks read by a feeder thread, one request at a time.

    It stops reading when the request is filled, or when the ring takes what there is; so at most one task more
    than was asked for has been read from the user's iterable.
    """

    at_hand = False

    def __init__(self, read: Callable[[Fed, Any], None], tasks: Any) -> None:
        self.error: BaseException | None = None
        self._read, self._tasks = read, tasks
        self._wake: Callable[[], None] = _nothing
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)
        self._buffer: list[Any] = []
        self._requested = 0
        self._announced = False
        self._ended = False
        self._closed = False
        self._first_at = 0.0
        self._slow = True
        self._thread = threading.Thread(target=self._run, name="dagflow source", daemon=True)

    # -- the ring's side ------------------------------------------------------------------------------

    def start(self, wake: Callable[[], None]) -> None:
        """Start the feeder."""
        self._wake = wake
        self._thread.start()

    def request(self, count: int) -> None:
        """Ask for ``count`` tasks."""
        with self._lock:
            self._requested = count
            self._announced = False
            self._wanted.notify()

    def take(self, count: int) -> list[Any] | None:
        """What has been read, up to ``count``; None when the end was reached and all was taken."""
        if not self._buffer and not self._ended:
            return []  # asked at every turn, and mostly so; what comes meanwhile wakes the ring
        with self._lock:
            if not self._buffer:
                return None if self._ended else []
            full = len(self._buffer) >= count or self._ended or self._slow
            if not full and monotonic() - self._first_at < PATIENCE_SECONDS:
                return []
            found, self._buffer = self._buffer[:count], self._buffer[count:]
            self._requested = 0
            return found

    def rest(self) -> list[Any]:
        """What was read and not taken any more when the run was stopped."""
        with self._lock:
            found, self._buffer = self._buffer, []
            return found

    def hurry(self) -> float | None:
        """Seconds after which `take` should be tried again though nothing more is heard, if that is so."""
        with self._lock:
            return PATIENCE_SECONDS if self._buffer else None

    def close(self) -> None:
        """Read no more. A feeder that is blocked in the user's iterable ends when that returns."""
        with self._lock:
            self._closed = True
            self._wanted.notify()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=0.2)

    # -- the feeder's side ----------------------------------------------------------------------------

    def wait_for_room(self) -> bool:
        """Wait until a task is wanted; False when no more are."""
        with self._lock:
            while not self._closed and len(self._buffer) >= self._requested:
                self._wanted.wait()
            return not self._closed

    def give(self, task: Any, seconds: float) -> None:
        """One more task was read; it took ``seconds``."""
        with self._lock:
            if not self._buffer:
                self._first_at = monotonic()
            self._buffer.append(task)
            self._slow = seconds > SLOW_SECONDS
            tell = self._slow or not self._announced or len(self._buffer) >= self._requested
            self._announced = True
        if tell:
            self._wake()

    def _run(self) -> None:
        try:
            if self.wait_for_room():
                self._read(self, self._tasks)
        except BaseException as error:  # noqa: BLE001 - whatever the user's iterable raises ends the source
            self.error = error
        with self._lock:
            self._ended = True
        self._wake()


def _nothing() -> None:
    return None


def _read(feeder: Fed, tasks: Any) -> None:
    iterator = iter(tasks)
    try:
        while feeder.wait_for_room():
            start = monotonic()
            try:
                task = next(iterator)
            except StopIteration:
                return
            feeder.give(task, monotonic() - start)
    finally:
        close = getattr(iterator, "close", None)
        if callable(close) and hasattr(iterator, "send"):
            close()  # a generator of the user's: let its `finally` run here, in the thread that ran it


def _read_async(feeder: Fed, tasks: Any) -> None:
    import asyncio

    async def read() -> None:
        iterator = aiter(tasks)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, feeder.wait_for_room):
            start = monotonic()
            try:
                task = await anext(iterator)
            except StopAsyncIteration:
                return
            feeder.give(task, monotonic() - start)
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()

    asyncio.run(read())


class Submissions:
    """Tasks that the user submits one by one to a live run; `put` waits while too many are not yet taken in."""

    error: BaseException | None = None
    at_hand = False

    def __init__(self, room: int = 1024) -> None:
        self._room = room
        self._wake: Callable[[], None] = _nothing
        self._lock = threading.Lock()
        self._space = threading.Condition(self._lock)
        self._buffer: deque[Any] = deque()
        self._ended = False
        self._closed = False

    def put(self, task: Any) -> bool:
        """Submit a task; False when the run takes no more."""
        with self._lock:
            while len(self._buffer) >= self._room and not (self._closed or self._ended):
                self._space.wait()
            if self._closed or self._ended:
                return False
            self._buffer.append(task)
        self._wake()
        return True

    def offer(self, task: Any) -> bool:
        """Submit a task if there is room for it now."""
        with self._lock:
            if len(self._buffer) >= self._room or self._closed or self._ended:
                return False
            self._buffer.append(task)
        self._wake()
        return True

    def end(self) -> None:
        """No more will be submitted."""
        with self._lock:
            self._ended = True
            self._space.notify_all()
        self._wake()

    def start(self, wake: Callable[[], None]) -> None:
        """From now on a submission wakes the ring."""
        self._wake = wake

    def request(self, count: int) -> None:
        """Nothing to ask: they come when they come."""

    def take(self, count: int) -> list[Any] | None:
        """What has been submitted."""
        with self._lock:
            if not self._buffer:
                return None if self._ended else []
            found = [self._buffer.popleft() for _ in range(min(count, len(self._buffer)))]
            self._space.notify_all()
            return found

    def rest(self) -> list[Any]:
        """What was submitted and not taken any more when the run was stopped."""
        with self._lock:
            found = list(self._buffer)
            self._buffer.clear()
            return found

    def hurry(self) -> float | None:
        """Submissions announce themselves."""
        return None

    def close(self) -> None:
        """Take no more, and let go those who wait."""
        with self._lock:
            self._closed = True
            self._space.notify_all()
