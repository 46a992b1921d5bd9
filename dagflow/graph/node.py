"""Node: a function with its options. A value: it holds no queue, no counter, no thread, no worker.

What joins nodes (``>>``) lives in `dagflow.graph.algebra`; what a run needs to know of a node is
snapshot into a `dagflow.graph.plan.NodePlan` when the run starts, so attributes such as
``retry_exceptions`` may be set up to then.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NoReturn

from dagflow.errors import GraphError
from dagflow.graph.signature import callable_name, is_async, required_positional

if TYPE_CHECKING:
    from dagflow.graph.algebra import FailurePort, Graph

Mode = Literal["serial", "thread", "process", "async"]
MODES: Final = ("serial", "thread", "process", "async")
DEFAULT_LOGGER: Final = "default"

# What a pickled node leaves at home: state of the calling process, of no use to a worker.
_STAYS_HOME = ("logger", "_last", "__orig_class__")


def default_width(mode: str) -> int:
    """How many tasks a node works on at once when ``worker_limit`` is not given."""
    cpus = os.cpu_count() or 1
    return {"serial": 1, "thread": min(32, cpus + 4), "process": cpus, "async": 100}[mode]


class Node:
    """Base of TaskManager, Splitter, Router and Merger: a function and how to run it.

    Options (all keyword-only from ``name`` on; the same for every kind of node):

    * ``execution_mode``: ``"serial"`` (one at a time), ``"thread"``, ``"process"``, ``"async"``.
    * ``worker_limit``: tasks worked on at once; default 1, ``min(32, cpus + 4)``, ``cpus``, 100 by mode.
    * ``max_retries``: further attempts after the first, for ``retry_exceptions`` only.
    * ``retry_delay``, ``retry_max_delay``: seconds; attempt n waits
      ``min(retry_max_delay, retry_delay * 2**n)`` with jitter. The wait never occupies a worker.
    * ``timeout``: seconds a task may run. In worker processes the worker is killed and replaced; a
      coroutine is cancelled; a thread cannot be killed: its task fails, a new thread takes its place.
    * ``rate_limit``: tasks a second over all workers of the node.
    * ``batch_size``: ``func`` gets a list of up to so many tasks and returns a list of as many results.
    * ``unpack``: whether a tuple task becomes several arguments; default: if ``func`` needs two or more.
    * ``deduplicate``: True, or a key function: later tasks with an equal key are dropped.
    * ``version``: speaks for the node's code when a journal is resumed.
    * ``show_progress``, ``progress_desc``, ``logger``: see `dagflow.observe`.
    """

    kind: ClassVar[str] = "task"

    def __init__(
        self,
        func: Callable[..., Any],
        execution_mode: Mode = "serial",
        worker_limit: int | None = None,
        max_retries: int = 3,
        *,
        name: str | None = None,
        retry_exceptions: Sequence[type[BaseException]] = (TimeoutError, ConnectionError),
        retry_delay: float = 0.1,
        retry_max_delay: float = 30.0,
        timeout: float | None = None,
        rate_limit: float | None = None,
        batch_size: int | None = None,
        unpack: bool | None = None,
        deduplicate: bool | Callable[[Any], Any] = False,
        version: str | None = None,
        show_progress: bool = False,
        progress_desc: str | None = None,
        logger: Any = DEFAULT_LOGGER,
    ) -> None:
        if not callable(func):
            raise TypeError(
                f"{called(self, name)} needs a callable, not {func!r} ({type(func).__name__}): "
                f"give it a function, a class or an object with __call__"
            )
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"name must be a non-empty text, not {name!r}")
        self.explicit_name = name
        self.name = name or callable_name(func)
        if execution_mode not in MODES:
            raise ValueError(
                f"node {self.name!r}: execution_mode {execution_mode!r} is not one of " + ", ".join(map(repr, MODES))
            )
        if is_async(func) and execution_mode != "async":
            raise GraphError(
                f"node {self.name!r}: its function is async, so write "
                f'{type(self).__name__}({self.name}, execution_mode="async") instead of {execution_mode!r}'
            )
        self.func = func
        self.execution_mode: Mode = execution_mode
        self.worker_limit = _count(self.name, "worker_limit", worker_limit, at_least=1)
        self.max_retries = _count(self.name, "max_retries", max_retries, at_least=0) or 0
        self.retry_exceptions = tuple(retry_exceptions) if isinstance(retry_exceptions, Iterator) else retry_exceptions
        self.retry_delay = _seconds(self.name, "retry_delay", retry_delay, zero=True) or 0.0
        self.retry_max_delay = _seconds(self.name, "retry_max_delay", retry_max_delay, zero=True) or 0.0
        self.timeout = _seconds(self.name, "timeout", timeout)
        self.rate_limit = _seconds(self.name, "rate_limit", rate_limit)
        self.batch_size = _count(self.name, "batch_size", batch_size, at_least=1)
        self.unpack = unpack
        self.deduplicate = deduplicate
        if not isinstance(deduplicate, bool) and not callable(deduplicate):
            raise ValueError(f"node {self.name!r}: deduplicate must be True, False or a key function")
        refuse_async(self.name, "deduplicate", deduplicate)
        self.version = version
        self.show_progress = show_progress
        self.progress_desc = progress_desc
        self.logger = logger
        self._last: Any = None
        self.retry_types()

    # -- what a subclass may override ------------------------------------------------------------

    def get_args(self, task: Any) -> tuple[Any, ...]:
        """The positional arguments for ``func`` that ``task`` stands for."""
        return task if self.unpacks() and isinstance(task, tuple) else (task,)

    def process_result(self, task: Any, result: Any) -> Any:
        """What is stored and sent on for ``task`` when ``func`` returned ``result``."""
        return result

    def handle_error(self) -> None:
        """Called once in the calling process when a ``start()`` has ended and tasks had failed."""

    # -- what a run asks -------------------------------------------------------------------------

    def unpacks(self) -> bool:
        """Whether a tuple task becomes several arguments: ``unpack``, else by the function's signature."""
        if self.unpack is not None:
            return self.unpack
        return self.batch_size is None and required_positional(self.func) >= 2

    def width(self) -> int:
        """How many tasks the node works on at once."""
        return self.worker_limit or default_width(self.execution_mode)

    def retry_types(self) -> tuple[type[BaseException], ...]:
        """``retry_exceptions`` as a tuple of exception types, checked."""
        given: Any = self.retry_exceptions
        if not isinstance(given, (type, Iterable)):
            raise ValueError(f"node {self.name!r}: retry_exceptions must be exception types, not {given!r}")
        types = (given,) if isinstance(given, type) else tuple(given)
        for each in types:
            if not (isinstance(each, type) and issubclass(each, BaseException)):
                raise ValueError(f"node {self.name!r}: retry_exceptions holds {each!r}, not an exception type")
        return types

    def overrides(self, method: str) -> bool:
        """Whether a subclass (or the instance) gives its own ``method``."""
        return method in self.__dict__ or getattr(type(self), method) is not getattr(Node, method)

    # -- the algebra -----------------------------------------------------------------------------

    @property
    def failures(self) -> FailurePort:
        """The port on which tasks that finally failed here go on, as `Failure` values."""
        from dagflow.graph.algebra import FailurePort

        return FailurePort(self)

    def __rshift__(self, other: Any) -> Graph:
        from dagflow.graph.algebra import Graph, join

        return join(Graph(self), other)

    def __rrshift__(self, other: Any) -> Graph:
        from dagflow.graph.algebra import Graph, join, lift

        return join(lift(other), Graph(self))

    def __or__(self, other: Any) -> Graph:
        from dagflow.graph.algebra import Graph, union

        return union(Graph(self), other)

    def __ror__(self, other: Any) -> Graph:
        from dagflow.graph.algebra import Graph, lift, union

        return union(lift(other), Graph(self))

    def _no_order(self, other: object) -> NoReturn:
        raise GraphError(f"nodes have no order: to join {self.name!r} with the next node write a >> b")

    __lt__ = __le__ = __gt__ = __ge__ = _no_order

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in _STAYS_HOME}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, logger=None, _last=None)

    def __repr__(self) -> str:
        mode = "" if self.execution_mode == "serial" else f", {self.execution_mode!r}"
        return f"{type(self).__name__}({self.name}{mode})"


def called(node: Node, name: str | None) -> str:
    """How a message speaks of a node that is still being made."""
    return f"{type(node).__name__} {name!r}" if name else type(node).__name__


def refuse_async(name: str, role: str, func: object) -> None:
    """A helper that nobody awaits must not be async: the coroutine it gives would be taken for its answer."""
    if callable(func) and is_async(func):
        raise GraphError(f"node {name!r}: {role} is an async function, which nobody awaits there; use a plain one")


def _count(name: str, option: str, value: Any, *, at_least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"node {name!r}: {option} must be a whole number of at least {at_least}, not {value!r}")
    return value


def _seconds(name: str, option: str, value: Any, *, zero: bool = False) -> float | None:
    if value is None:
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (value == 0 and not zero):
        bound = "not negative" if zero else "more than 0"
        raise ValueError(f"node {name!r}: {option} must be a number {bound}, not {value!r}")
    return float(value)
