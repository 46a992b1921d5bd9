"""joblib: no stages, so the user fuses the chain into one function; batches by itself, results as a generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions


def fused(functions: Functions, value: Any) -> Any:
    for function in functions:
        value = function(value)
    return value


class Joblib(Contender):
    name = "joblib"
    package = "joblib"
    sizes = {"W1": 20_000, "W3": 100, "W9a": 50_000, "W9b": 5000}

    def prepare(self) -> None:
        import joblib

        self.joblib = joblib

    def run(self, function: Any, source: Iterable[Any], workers: int = 2) -> Iterator[Any]:
        call = self.joblib.delayed(function)
        yield from self.joblib.Parallel(n_jobs=workers, return_as="generator")(call(x) for x in source)

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        call = self.joblib.delayed(fused)
        yield from self.joblib.Parallel(n_jobs=2, return_as="generator")(call(functions, x) for x in source)

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        return list(self.run(function, source, workers))

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        squares = self.run(tasks.square, (x for n in source for x in tasks.split(n)))
        return [sum(next(squares) for _ in range(tasks.CHILDREN)) for _ in source]


CONTENDERS = (Joblib,)
