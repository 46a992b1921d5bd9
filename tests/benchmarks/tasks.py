"""The functions that contenders run: the same objects for everybody, importable by name in any process."""

from __future__ import annotations

import time
from collections.abc import Iterator


def add(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    return x * 2


def less(x: int) -> int:
    return x - 3


CHAIN = (add, double, less)


def chained(x: int) -> int:
    """What `CHAIN` makes of ``x``."""
    return less(double(add(x)))


CHILDREN = 100


def split(n: int) -> range:
    """The children of task ``n``."""
    return range(n, n + CHILDREN)


def square(x: int) -> int:
    return x * x


def merged(n: int) -> int:
    """What splitting ``n``, squaring and summing gives."""
    return sum(square(x) for x in split(n))


def brighten(array):
    """One step over an array: a new array of the same size."""
    return array + 1


ARRAYS = (brighten, brighten, brighten)
ARRAY_FLOATS = 1 << 18
"""Of 4 bytes each: an array of 1 MiB."""


def spin(nanoseconds: int) -> int:
    """Work that takes its thread so much processor time, at whatever pace the processor goes meanwhile: arithmetic
    that keeps the GIL. What others take of the processor in between comes on top, as it does for a user."""
    end = time.thread_time_ns() + nanoseconds
    x = nanoseconds
    while time.thread_time_ns() < end:
        for i in range(8):  # half a microsecond, as long as reading the clock
            x = (x * 31 + i) & 0xFFFF
    return spun(nanoseconds)


def spun(nanoseconds: int) -> int:
    """What `spin` gives."""
    return (nanoseconds * 31) & 0xFFFFFF


def rest(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


async def rest_async(seconds: float) -> float:
    import asyncio  # not above: a worker that has no event loop need not load one

    await asyncio.sleep(seconds)
    return seconds


class Ticks:
    """``count`` numbers, one every ``period`` seconds; notes when each was given.

    As an iterable it sleeps; a loop that must not may ask `left` how long it is to the next one.
    """

    def __init__(self, count: int, period: float) -> None:
        self.count, self.period = count, period
        self.given: list[float] = []
        self.due = 0.0

    def __iter__(self) -> Iterator[int]:
        return self

    def left(self) -> float:
        """Seconds until the next one is due; it begins when first asked."""
        if not self.due:
            self.due = time.perf_counter()
        return max(0.0, self.due - time.perf_counter())

    def __next__(self) -> int:
        if len(self.given) >= self.count:
            raise StopIteration
        left = self.left()
        if left:
            time.sleep(left)
        self.given.append(time.perf_counter())
        self.due += self.period
        return len(self.given) - 1
