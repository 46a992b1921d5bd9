"""Bytewax: steps in one thread of one process (its workers of one process share the GIL)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions


class Bytewax(Contender):
    name = "Bytewax, one thread"
    package = "bytewax"
    only = ("W1", "W3")

    def prepare(self) -> None:
        import bytewax.operators as op
        from bytewax.dataflow import Dataflow
        from bytewax.testing import TestingSink, TestingSource, run_main

        self.op, self.dataflow, self.run_main = op, Dataflow, run_main
        self.sink, self.source = TestingSink, TestingSource

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        found: list[Any] = []
        flow = self.dataflow("chain")
        stream = self.op.input("in", flow, self.source(source, batch_size=1024))
        for at, function in enumerate(functions):
            stream = self.op.map(f"step{at}", stream, function)
        self.op.output("out", stream, self.sink(found))
        self.run_main(flow)
        return found

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        found: list[Any] = []
        flow = self.dataflow("gather")
        stream = self.op.input("in", flow, self.source(source, batch_size=64))
        stream = self.op.flat_map("split", stream, _keyed)
        stream = self.op.map("square", stream, _squared)
        stream = self.op.stateful_flat_map("sum", stream, _summed)
        self.op.output("out", stream, self.sink(found))
        self.run_main(flow)
        return [total for _, total in found]


def _keyed(n: int) -> list[tuple[str, int]]:
    key = str(n)
    return [(key, x) for x in tasks.split(n)]


def _squared(item: tuple[str, int]) -> tuple[str, int]:
    return item[0], tasks.square(item[1])


def _summed(state: tuple[int, int] | None, value: int) -> tuple[tuple[int, int] | None, list[int]]:
    count, total = state or (0, 0)
    count, total = count + 1, total + value
    return (None, [total]) if count == tasks.CHILDREN else ((count, total), [])


CONTENDERS = (Bytewax,)
