"""Splitter: the node that fans out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic

from dagflow.graph.node import Mode, Node, called
from dagflow.graph.task_manager import In, Out


def _itself(task: Any) -> Any:
    return task


class Splitter(Node, Generic[In, Out]):
    """``func(task)`` gives an iterable of children; each goes on as a task of its own.

    Without ``func`` the task itself is the iterable. Children of a generator flow on while it still runs,
    and it is held back when they are not taken. A retried or crashed split goes on after the last child
    that was accepted, so ``func`` should give the same children in the same order again.

    >>> graph = Splitter(range, name="numbers") >> TaskManager(str) >> Merger(" ".join, name="line")
    >>> graph.run([3, 5, 0], backend="serial").values
    ['0 1 2', '0 1 2 3 4', '']
    """

    kind: ClassVar[str] = "split"

    def __init__(
        self,
        func: Callable[..., Iterable[Out]] | None = None,
        execution_mode: Mode = "serial",
        worker_limit: int | None = None,
        max_retries: int = 3,
        *,
        name: str | None = None,
        **options: Any,
    ) -> None:
        if options.get("batch_size") is not None:
            raise ValueError(f"{called(self, name)} takes no batch_size: it gives children of one task at a time")
        function = _itself if func is None else func
        super().__init__(function, execution_mode, worker_limit, max_retries, name=name, **options)
        if func is None and name is None:
            self.name = "split"
