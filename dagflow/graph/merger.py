"""Merger: the node that fans in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from dagflow.graph.node import Mode, Node, _count, _seconds, called, refuse_async


def _itself(value: Any) -> Any:
    return value


class Merger(Node):
    """``func`` gets the values of all members of a scope, once, when each has arrived or cannot arrive any more.

    * ``of=None`` closes the innermost open scope (a Splitter, or a node that sends each task to several
      nodes of which at least two lead here); ``of=node`` names the opener; ``of="task"`` takes everything
      that came from one source task; ``of="run"`` everything, once, at the end.
    * ``size=n`` and/or ``within=seconds`` make windows in arrival order instead.
    * ``on_missing="fail"``: a failed member fails the merged task with `MissingMembers`; ``"skip"``: the
      members that are there. Dropped members are simply absent. An empty split merges ``[]``.
    * ``fold=(function, initial)`` combines ``function(accumulated, value)`` as the members come, in O(1)
      memory and in no promised order; ``func`` then gets the accumulated value (and may be left out).

    ``func`` gets a list in lineage order: children by index, branches in the order written; or the branches
    as separate arguments if it takes exactly that many.

    >>> looks = [TaskManager(len), TaskManager(str.title)]
    >>> graph = TaskManager(str.strip) >> looks >> Merger(lambda length, title: (title, length), name="both")
    >>> graph.run([" to be ", "or not"], backend="serial").values
    [('To Be', 5), ('Or Not', 6)]
    """

    kind: ClassVar[str] = "merge"

    def __init__(
        self,
        func: Callable[..., Any] | None = None,
        of: Node | Literal["task", "run"] | None = None,
        on_missing: Literal["fail", "skip"] = "fail",
        fold: tuple[Callable[[Any, Any], Any], Any] | None = None,
        size: int | None = None,
        within: float | None = None,
        execution_mode: Mode = "serial",
        worker_limit: int | None = None,
        max_retries: int = 3,
        *,
        name: str | None = None,
        **options: Any,
    ) -> None:
        for option in ("batch_size", "deduplicate"):
            if options.get(option):
                raise ValueError(f"{called(self, name)} takes no {option}: put it on the node before")
        if func is None and fold is None:
            raise TypeError(
                f"{called(self, name)} needs a function of the list of members, or fold=(function, initial)"
            )
        if fold is not None and not (isinstance(fold, tuple) and len(fold) == 2 and callable(fold[0])):
            raise ValueError(f"{called(self, name)}: fold must be (function, initial), not {fold!r}")
        if of is not None and not isinstance(of, Node) and of not in ("task", "run"):
            raise ValueError(f'{called(self, name)}: of must be None, a node, "task" or "run", not {of!r}')
        if on_missing not in ("fail", "skip"):
            raise ValueError(f'{called(self, name)}: on_missing must be "fail" or "skip", not {on_missing!r}')
        function = _itself if func is None else func
        super().__init__(function, execution_mode, worker_limit, max_retries, name=name, **options)
        if func is None and name is None:
            self.name = "merge"
        if fold is not None:
            refuse_async(self.name, "the function of fold", fold[0])
        self.of = of
        self.on_missing = on_missing
        self.fold = fold
        self.size = _count(self.name, "size", size, at_least=1)
        self.within = _seconds(self.name, "within", within)
        if self.windowed and of is not None:
            raise ValueError(f"node {self.name!r}: size and within make windows; give them or of=, not both")

    @property
    def folds_only(self) -> bool:
        """Whether what its fold has accumulated is the merged value as it stands."""
        return self.func is _itself

    @property
    def windowed(self) -> bool:
        """Whether this merges windows in arrival order rather than scopes."""
        return self.size is not None or self.within is not None
