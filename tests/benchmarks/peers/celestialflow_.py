"""CelestialFlow: a graph of stages that are threads of one process; the last stage's function hands results out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions


class CelestialFlow(Contender):
    name = "CelestialFlow"
    package = "celestialflow"
    sizes = {"W1": 20_000, "W3": 200, "W7a": 2000, "W9a": 100_000, "W9b": 5000}

    def prepare(self) -> None:
        import celestialflow

        self.cf = celestialflow
        self.folder = tempfile.TemporaryDirectory()
        os.chdir(self.folder.name)  # it writes its logs into the working directory

    def close(self) -> None:
        os.chdir("/")
        self.folder.cleanup()

    def stage(self, name: str, function: Any, mode: str = "serial", workers: int = 1) -> Any:
        return self.cf.TaskStage(
            name=name,
            func=function,
            stage_mode="thread",
            execution_mode=mode,
            max_workers=workers,
            enable_duplicate_check=False,
        )

    def start(self, chains: Sequence[Sequence[Any]], source: Iterable[Any]) -> None:
        graph = self.cf.TaskGraph(log_level="ERROR")
        graph.set_stages(stages=[stage for chain in chains for stage in chain])
        for chain in chains:
            for before, after in zip(chain, chain[1:], strict=False):
                graph.connect([before], [after])
        graph.start_graph({chain[0].get_name(): source for chain in chains})

    def collecting(self, functions: Functions, found: list[Any], name: str = "s") -> list[Any]:
        last = functions[-1]

        def hand_out(value: Any) -> int:
            found.append(last(value))
            return 0

        steps = [*functions[:-1], hand_out]
        return [self.stage(f"{name}{at}", step) for at, step in enumerate(steps)]

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        yield from self.collect(functions, source)

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        found: list[Any] = []
        self.start([self.collecting(functions, found)], source)
        return found

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        found: list[Any] = []

        def hand_out(value: Any) -> int:
            found.append(function(value))
            return 0

        self.start([[self.stage("s", hand_out, "thread", workers)]], source)
        return found

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        found: list[list[int]] = [[] for _ in range(chains)]
        self.start([self.collecting(functions, into, f"c{at}s") for at, into in enumerate(found)], source)
        return found

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        sums: dict[int, int] = {}

        def split(n: int) -> tuple[tuple[int, int], ...]:
            return tuple((n, x) for x in tasks.split(n))

        def add(item: tuple[int, int]) -> int:
            parent, x = item
            sums[parent] = sums.get(parent, 0) + tasks.square(x)
            return 0

        splitting = self.cf.TaskSplitter(name="split", stage_mode="thread")
        splitting.enable_duplicate_check = False
        self.start([[self.stage("families", split), splitting, self.stage("square", add)]], source)
        return list(sums.values())

    def sleep_async(self, count: int, seconds: float, width: int) -> int:
        found: list[float] = []

        async def nap(value: float) -> int:
            found.append(await tasks.rest_async(value))
            return 0

        self.start([[self.stage("s", nap, "async", width)]], [seconds] * count)
        return len(found)

    def sleep_threads(self, count: int, seconds: float, width: int) -> int:
        found: list[float] = []

        def nap(value: float) -> int:
            found.append(tasks.rest(value))
            return 0

        self.start([[self.stage("s", nap, "thread", width)]], [seconds] * count)
        return len(found)


CONTENDERS = (CelestialFlow,)
