"""pipefunc: arrays of tasks through a pipeline, stage by stage, over a process pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.contender import Contender, Functions


class PipeFunc(Contender):
    name = "pipefunc"
    package = "pipefunc"
    sizes = {"W1": 3000}
    only = ("W1", "W5")

    def prepare(self) -> None:
        import pipefunc

        self.pf = pipefunc

    def run(self, functions: Functions, source: Iterable[Any], workers: int) -> Sequence[Any]:
        steps = []
        for at, function in enumerate(functions):
            (argument,) = function.__code__.co_varnames[: function.__code__.co_argcount]
            steps.append(
                self.pf.PipeFunc(
                    function, f"v{at + 1}", renames={argument: f"v{at}"}, mapspec=f"v{at}[i] -> v{at + 1}[i]"
                )
            )
        pipeline = self.pf.Pipeline(steps)
        with ProcessPoolExecutor(workers) as executor:
            results = pipeline.map({"v0": list(source)}, executor=executor, storage="dict", show_progress=False)
        return list(results[f"v{len(functions)}"].output)

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        return self.run(functions, source, 2)

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        return self.run([function], source, workers)


CONTENDERS = (PipeFunc,)
