"""TaskManager: the node that does. Also usable alone: ``start(tasks)``, then the two result mappings."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from dagflow.graph.node import Node

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # With a default, so that ``TaskManager(func)`` needs no annotation; Python itself knows defaults from 3.13 on.
    In = TypeVar("In", default=Any)
    Out = TypeVar("Out", default=Any)
else:
    from typing import TypeVar

    In = TypeVar("In")
    Out = TypeVar("Out")


class TaskManager(Node, Generic[In, Out]):
    """A node that calls ``func`` once per task and sends the result on.

    ``func`` may be any callable. A **class** whose instances are callable is instantiated once per worker (per
    thread in thread mode); its instances are called, and their ``close()`` at the end. A result of `DROP` drops
    the task.

    Alone::

        tm = TaskManager(fetch, execution_mode="thread", worker_limit=8)
        tm.start(urls)
        tm.get_success_dict(), tm.get_error_dict()
    """

    kind: ClassVar[str] = "task"

    def start(self, tasks: Iterable[In] | AsyncIterable[In]) -> None:
        """Run ``tasks`` to the end, in this process (worker processes in process mode). Starts afresh."""
        self._last = _alone().start(self, tasks)

    async def start_async(self, tasks: Iterable[In] | AsyncIterable[In]) -> None:
        """Like `start`, for use inside a running event loop, which stays free meanwhile."""
        self._last = await _alone().start_async(self, tasks)

    def get_success_dict(self) -> Mapping[In, Out]:
        """``{task: result}`` of the last start, in the order given; keys may be unhashable."""
        mapping: Mapping[In, Out] = _alone().success_dict(self._last)
        return mapping

    def get_error_dict(self) -> Mapping[In, BaseException]:
        """``{task: exception}`` of the last start: the exception objects, with the worker's traceback."""
        mapping: Mapping[In, BaseException] = _alone().error_dict(self._last)
        return mapping

    def shutdown_pools(self) -> None:
        """Release what is left of the last start. Workers end with each start, so this may be left out."""

    def __enter__(self) -> TaskManager[In, Out]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown_pools()


def _alone() -> Any:
    # Running is floors above a node, and a floor imports downwards only: so the name is looked up
    # when it is called, not when this file is read.
    return import_module("dagflow.api")
