"""A model that takes long to load: loaded once per worker, called with batches, closed at the end.

As a plain function it would be loaded for each task, or live in a global that each process fills for itself.
"""

from __future__ import annotations

from dagflow import Graph, TaskManager


class Model:
    """Stands for something large; an instance is made in each worker, not in the script."""

    def __init__(self) -> None:
        self.weights = {word: len(word) for word in ("short", "longer", "longest")}

    def __call__(self, words: list[str]) -> list[int]:
        return [self.weights.get(word, 0) for word in words]

    def close(self) -> None:
        self.weights.clear()


graph = Graph(TaskManager(Model, "process", 2, batch_size=16, name="model"))
result = graph.run(["short", "longest", "unknown"] * 20)
print(sum(result.values), result.counts["model"].succeeded)
