"""SPDL: bounded pipelines, an executor of one process a stage; with lists of 1,024 made by the user as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions
from benchmarks.limits.pipes import batched


class Spdl(Contender):
    name = "SPDL"
    package = "spdl"
    sizes = {"W1": 1000, "W4": 300, "W9a": 5000, "W9b": 2000}

    def prepare(self) -> None:
        import spdl.pipeline

        self.builder = spdl.pipeline.PipelineBuilder

    def results(self, builder: Any, threads: int = 1) -> Iterator[Any]:
        pipeline = builder.add_sink(3).build(num_threads=threads)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator(timeout=60)

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        with ExitStack() as stack:
            builder = self.builder().add_source(source)
            for function in functions:
                builder = builder.pipe(function, executor=stack.enter_context(ProcessPoolExecutor(1)))
            yield from self.results(builder)

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        with ProcessPoolExecutor(workers) as executor:
            builder = self.builder().add_source(source)
            return list(self.results(builder.pipe(function, executor=executor, concurrency=workers)))

    def sleep_async(self, count: int, seconds: float, width: int) -> int:
        builder = self.builder().add_source([seconds] * count)
        return len(list(self.results(builder.pipe(tasks.rest_async, concurrency=width))))

    def sleep_threads(self, count: int, seconds: float, width: int) -> int:
        builder = self.builder().add_source([seconds] * count)
        return len(list(self.results(builder.pipe(tasks.rest, concurrency=width), width)))


def listed(function: Any, values: list[Any]) -> list[Any]:
    return list(map(function, values))


class SpdlLists(Spdl):
    name = "SPDL, lists of 1,024"
    sizes = {}
    only = ("W1",)

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        for values in super().stream([partial(listed, f) for f in functions], batched(source, 1024)):
            yield from values


CONTENDERS = (Spdl, SpdlLists)
