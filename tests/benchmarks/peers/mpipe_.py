"""mpipe: stages of forked processes, a message a task."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions
from benchmarks.peers.stdlib import squared


def feed(pipe: Any, source: Iterable[Any]) -> None:
    """Fill the pipe beside its reader: both ends are bounded once the pipes between are full."""

    def put() -> None:
        for item in source:
            pipe.put(item)
        pipe.put(None)

    threading.Thread(target=put, daemon=True).start()


def family(n: int) -> list[tuple[int, int]]:
    return [(n, x) for x in tasks.split(n)]


class MPipe(Contender):
    name = "mpipe"
    package = "mpipe"
    sizes = {"W1": 100_000, "W3": 2000, "W9a": 1_000_000, "W9b": 5000}

    def prepare(self) -> None:
        import mpipe

        self.mpipe = mpipe

    def pipe(self, functions: Functions) -> Any:
        stages = [self.mpipe.OrderedStage(function) for function in functions]
        for before, after in zip(stages, stages[1:], strict=False):
            before.link(after)
        return self.mpipe.Pipeline(stages[0])

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        pipe = self.pipe(functions)
        feed(pipe, source)
        if self.workload != "W4":
            yield from pipe.results()
            return
        while (result := pipe.get()) is not None:  # its own `results` compares arrays with None by ``==``
            yield result

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        pipe = self.mpipe.Pipeline(self.mpipe.UnorderedStage(function, workers))
        feed(pipe, source)
        return list(pipe.results())

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        class Split(self.mpipe.OrderedWorker):  # type: ignore[name-defined]
            def doTask(self, n: int) -> None:
                for item in family(n):
                    self.putResult(item)

        splitting = self.mpipe.Stage(Split)
        squaring = self.mpipe.OrderedStage(squared)
        splitting.link(squaring)
        pipe = self.mpipe.Pipeline(splitting)
        feed(pipe, source)
        sums: dict[int, int] = {}
        for parent, value in pipe.results():
            sums[parent] = sums.get(parent, 0) + value
        return list(sums.values())

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        pipes = [self.pipe(functions) for _ in range(chains)]
        for pipe in pipes:
            feed(pipe, source)
        found: list[list[int]] = [[] for _ in pipes]

        def drain(at: int) -> None:
            found[at].extend(pipes[at].results())

        threads = [threading.Thread(target=drain, args=(at,)) for at in range(chains)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


CONTENDERS = (MPipe,)
