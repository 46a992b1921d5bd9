"""One task with a million children, folded into one number as they come, in constant memory.

A list of a million results would be the usual way. Here the children flow while the generator still runs, it is
held back when nobody takes them, and the fold keeps one number.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator

from dagflow import Merger, Splitter, TaskManager


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def square(number: int) -> int:
    return number * number


def add(total: int, value: int) -> int:
    return total + value


graph = Splitter(numbers) >> TaskManager(square) >> Merger(fold=(add, 0), name="sum")
graph.run([1000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = graph.run([1_000_000])[1_000_000]
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(total == sum(n * n for n in range(1_000_000)), "memory grew by less than 64 MiB:", grown < 64)
