"""Router: the node that branches."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

from dagflow.graph.marks import DROP
from dagflow.graph.node import Mode, Node, called, refuse_async


class _Table:
    """``{label: predicate}`` as a function: the label of the first predicate that holds."""

    def __init__(self, table: Mapping[Hashable, Callable[[Any], Any]]) -> None:
        self.rows = tuple(table.items())

    def __call__(self, task: Any) -> Any:
        for label, predicate in self.rows:
            if predicate(task):
                return label
        return NO_LABEL


class _NoLabel:
    __slots__ = ()

    def __repr__(self) -> str:
        return "no label (no predicate held)"

    def __reduce__(self) -> str:
        return "NO_LABEL"


NO_LABEL = _NoLabel()


class Router(Node):
    """``func(task)`` gives a label, or a list of labels; the task goes on unchanged on those branches.

    A table ``{label: predicate}`` stands for the function that gives the first label whose predicate holds.
    ``default`` is the label (or `DROP`) for tasks whose label has no branch; without it they fail with
    `UnroutedError`. An empty list of labels, or `DROP`, drops the task.

    >>> size = Router(lambda word: "long" if len(word) > 3 else "short", name="size")
    >>> graph = size >> {"long": TaskManager(str.upper), "short": DROP}
    >>> graph.run(["join", "or", "split"], backend="serial").values
    ['JOIN', 'SPLIT']
    """

    kind: ClassVar[str] = "route"

    def __init__(
        self,
        func_or_table: Callable[..., Any] | Mapping[Any, Callable[[Any], Any]],
        default: Any = None,
        execution_mode: Mode = "serial",
        worker_limit: int | None = None,
        max_retries: int = 3,
        *,
        name: str | None = None,
        **options: Any,
    ) -> None:
        if options.get("batch_size") is not None:
            raise ValueError(f"{called(self, name)} takes no batch_size: it looks at one task at a time")
        if isinstance(func_or_table, Mapping):
            for label, predicate in func_or_table.items():
                if not callable(predicate):
                    raise TypeError(
                        f"{called(self, name)} table: the predicate of label {label!r} is not callable: {predicate!r}"
                    )
                refuse_async(name or "route", f"the predicate of label {label!r}", predicate)
            func: Callable[..., Any] = _Table(func_or_table)
        else:
            func = func_or_table
        super().__init__(func, execution_mode, worker_limit, max_retries, name=name, **options)
        if isinstance(func, _Table) and name is None:
            self.name = "route"
        self.default = default

    @property
    def table(self) -> tuple[tuple[Any, Callable[[Any], Any]], ...] | None:
        """The rows ``(label, predicate)`` of its table; None where a function gives the labels."""
        return self.func.rows if isinstance(self.func, _Table) else None

    def known_labels(self) -> tuple[Any, ...] | None:
        """All labels the function can give, where that can be known: table, ``Literal``, ``Enum``, bool."""
        if isinstance(self.func, _Table):
            return tuple(label for label, _ in self.func.rows)
        return _labels_of(self._annotation())

    def may_give_several(self) -> bool:
        """Whether the function's annotation says that it gives a list of labels."""
        origin = typing.get_origin(self._annotation()) or self._annotation()
        return isinstance(origin, type) and issubclass(origin, (list, tuple, set, frozenset))

    def _annotation(self) -> Any:
        func = self.func if inspect.isroutine(self.func) else getattr(self.func, "__call__", None)  # noqa: B004
        try:
            return typing.get_type_hints(func).get("return") if func is not None else None
        except Exception:  # noqa: BLE001 - annotations may name anything; unknown labels are no error
            return None


def _labels_of(annotation: Any) -> tuple[Any, ...] | None:
    origin = typing.get_origin(annotation)
    if origin in (list, tuple, set, frozenset):
        inner = [a for a in typing.get_args(annotation) if a is not Ellipsis]
        return _labels_of(inner[0]) if len(inner) == 1 else None
    if origin is typing.Literal:
        return tuple(label for label in typing.get_args(annotation) if label is not DROP)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return tuple(annotation)
    return None
