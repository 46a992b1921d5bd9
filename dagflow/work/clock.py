"""When each task ran: columns that a worker fills in traced runs, a double or two a task."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from time import monotonic

from dagflow.core.visits import Times


class Clock:
    """Begins and ends of tasks, in the order in which they ran, by the machine's monotonic clock.

    Tasks that follow each other closely need one reading each: one ends when the next begins (`tick`, and once
    more at the end). Others are told by `begin` and `end`, or `add`. ``positions``: of which tasks, where not of all.
    """

    __slots__ = ("began", "ends", "positions", "starts")

    def __init__(self) -> None:
        self.starts = array("d")
        self.ends: array[float] | None = None
        self.began = 0.0
        self.positions: Sequence[int] | None = None

    def tick(self) -> None:
        """A task begins now, and the one before it has ended."""
        self.starts.append(monotonic())

    def add(self, start: float, end: float, count: int = 1) -> None:
        """``count`` tasks ran together."""
        if self.ends is None:
            self.ends = array("d")
        self.starts.extend([start] * count)
        self.ends.extend([end] * count)

    def begin(self) -> None:
        """A task begins."""
        self.began = monotonic()

    def end(self) -> None:
        """The task that began last has ended."""
        self.add(self.began, monotonic())

    def times(self, positions: Sequence[int] | None = None) -> Times:
        """What is in it, for an answer; ``positions``: of which tasks, where it was not told."""
        return Times(self.starts, self.ends, positions if self.positions is None else self.positions)

    def span(self, start: float, count: int) -> Times:
        """``count`` tasks that all took from ``start`` until now, for an answer."""
        self.add(start, monotonic(), count)
        return self.times()
