"""Ray: an actor a stage, references chained, a window of calls in flight; with lists of 1,024 by hand as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.contender import Contender, Functions
from benchmarks.limits.pipes import batched
from benchmarks.peers.spdl_ import listed


class Ray(Contender):
    name = "Ray actors"
    package = "ray"
    sizes = {"W1": 3000, "W4": 100}
    only = ("W1", "W2", "W4", "W5", "W6")
    environment = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    window = 100

    def prepare(self) -> None:
        import ray

        self.ray = ray
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")

    def close(self) -> None:
        self.ray.shutdown()

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        @self.ray.remote
        class Stage:
            def __init__(self, function: Any) -> None:
                self.function = function

            def call(self, value: Any) -> Any:
                return self.function(value)

        stages = [Stage.remote(function) for function in functions]
        flying: list[Any] = []
        for value in source:
            reference: Any = value
            for stage in stages:
                reference = stage.call.remote(reference)
            flying.append(reference)
            ready, flying = self.ray.wait(flying, num_returns=len(flying), timeout=0)
            while len(flying) >= self.window:
                more, flying = self.ray.wait(flying)
                ready += more
            yield from self.ray.get(ready)
        while flying:
            ready, flying = self.ray.wait(flying)
            yield from self.ray.get(ready)

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        from ray.util import ActorPool

        @self.ray.remote
        class Worker:
            def call(self, value: Any) -> Any:
                return function(value)

        pool = ActorPool([Worker.remote() for _ in range(workers)])
        return list(pool.map_unordered(lambda actor, value: actor.call.remote(value), source))


class RayLists(Ray):
    name = "Ray actors, lists of 1,024"
    sizes = {"W1": 100_000}
    only = ("W1",)

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        for values in super().stream([partial(listed, f) for f in functions], batched(source, 1024)):
            yield from values


CONTENDERS = (Ray, RayLists)
