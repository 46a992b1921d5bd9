"""One process and no transport: a plain loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions


class Loop(Contender):
    name = "plain loop"
    kind = "limit"
    only = ("W1", "W3", "W4", "import")

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        for value in source:
            for function in functions:
                value = function(value)
            yield value

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        first, second, third = functions
        return [third(second(first(x))) for x in source]

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        return [sum(map(tasks.square, tasks.split(n))) for n in source]

    def commands(self) -> dict[str, list[str]]:
        return {"import": ["-c", "pass"], "help": ["--help"]}


CONTENDERS = (Loop,)
