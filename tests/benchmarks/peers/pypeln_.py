"""pypeln: process stages with queues through a manager; threads and asyncio too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions
from benchmarks.peers.mpipe_ import family
from benchmarks.peers.stdlib import squared


class Pypeln(Contender):
    name = "pypeln"
    package = "pypeln"
    sizes = {"W1": 3000, "W3": 20, "W9a": 20_000, "W9b": 2000, "W10": 5}

    def prepare(self) -> None:
        import pypeln

        self.pl = pypeln

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        flow: Any = source
        for function in functions:
            flow = self.pl.process.map(function, flow, workers=1)
        yield from flow

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        return list(self.pl.process.map(function, source, workers=workers))

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        children = self.pl.process.flat_map(family, source, workers=1)
        sums: dict[int, int] = {}
        for parent, value in self.pl.process.map(squared, children, workers=1):
            sums[parent] = sums.get(parent, 0) + value
        return list(sums.values())

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        flows = [iter(self.stream(functions, source)) for _ in range(chains)]
        firsts = [next(flow) for flow in flows]
        return [[first, *flow] for first, flow in zip(firsts, flows, strict=True)]

    def sleep_async(self, count: int, seconds: float, width: int) -> int:
        return len(list(self.pl.task.map(tasks.rest_async, [seconds] * count, workers=width)))

    def sleep_threads(self, count: int, seconds: float, width: int) -> int:
        return len(list(self.pl.thread.map(tasks.rest, [seconds] * count, workers=width)))


CONTENDERS = (Pypeln,)
