"""An endless stream of readings, averaged in windows of five, until the consumer has seen enough.

The source is read only as far as there is room, so it may be endless; leaving the loop stops the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from dagflow import Merger, TaskManager


def readings() -> Iterator[int]:
    yield from count()


def calibrate(reading: int) -> float:
    return reading / 10


def average(window: list[float]) -> float:
    return round(sum(window) / len(window), 2)


graph = TaskManager(calibrate) >> Merger(average, size=5, name="average")
for number, output in enumerate(graph.stream(readings(), backend="thread"), 1):
    print(f"window {number}: {output.value}")
    if number == 4:
        break
