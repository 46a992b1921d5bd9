"""Dask: ``client.map`` chained over a local cluster of two processes (started before the clock), and ``dask.bag``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions


class DaskFutures(Contender):
    name = "Dask futures"
    package = "distributed"
    sizes = {"W1": 2000, "W4": 100}
    only = ("W1", "W4", "W5", "W6")

    def prepare(self) -> None:
        import distributed

        self.distributed = distributed
        self.cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = distributed.Client(self.cluster)

    def close(self) -> None:
        self.client.close()
        self.cluster.close()

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        futures: Any = list(source)
        for function in functions:
            futures = self.client.map(function, futures, pure=False)
        for _, result in self.distributed.as_completed(futures, with_results=True):
            yield result

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        return self.client.gather(self.client.map(function, source, pure=False))


class DaskBag(DaskFutures):
    name = "Dask bag"
    only = ("W1", "W3")
    sizes = {"W1": 100_000}

    def prepare(self) -> None:
        super().prepare()
        import dask.bag

        self.bag = dask.bag

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        flow = self.bag.from_sequence(source, npartitions=16)
        for function in functions:
            flow = flow.map(function)
        yield from flow.compute()

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        flow = self.bag.from_sequence(source, npartitions=16).map(_family).flatten().map(_squared)
        return [total for _, total in flow.foldby(_parent, _add, 0, _plus, 0).compute()]


def _family(n: int) -> list[tuple[int, int]]:
    return [(n, x) for x in tasks.split(n)]


def _squared(item: tuple[int, int]) -> tuple[int, int]:
    return item[0], tasks.square(item[1])


def _parent(item: tuple[int, int]) -> int:
    return item[0]


def _add(total: int, item: tuple[int, int]) -> int:
    return total + item[1]


def _plus(a: int, b: int) -> int:
    return a + b


CONTENDERS = (DaskFutures, DaskBag)
