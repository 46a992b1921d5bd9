"""TaskTree: the seed's chain of stages, a thin face on a linear graph."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dagflow.graph.algebra import Graph, join
from dagflow.graph.node import DEFAULT_LOGGER
from dagflow.graph.task_manager import TaskManager
from dagflow.result import TaskDict

if TYPE_CHECKING:
    from dagflow.result import RunResult

TreeMode = Literal["serial", "process"]


class TaskTree:
    """A chain of TaskManagers: each task goes through all stages, one after the other.

    ``tree_mode="serial"`` runs in this process, each stage by its own execution mode; ``"process"`` gives each
    stage worker processes of its own, and each result goes on to the next stage at once.

    >>> tree = TaskTree([TaskManager(str.strip), TaskManager(len)], logger=None)
    >>> tree.start_tree([" a ", "bc"])
    >>> tree.get_final_result_dict()
    {' a ': 1, 'bc': 2}
    """

    def __init__(
        self,
        stages: Sequence[TaskManager[Any, Any]] = (),
        tree_mode: TreeMode = "serial",
        *,
        logger: Any = DEFAULT_LOGGER,
        show_progress: bool = False,
    ) -> None:
        self.stages: list[TaskManager[Any, Any]] = []
        for stage in stages:
            self.add_stage(stage)
        self.logger = logger
        self.show_progress = show_progress
        self.set_tree_mode(tree_mode)
        self._result: RunResult | None = None

    def set_tree_mode(self, tree_mode: TreeMode) -> None:
        """How `start_tree` runs: ``"serial"`` or ``"process"``."""
        if tree_mode not in ("serial", "process"):
            raise ValueError(f'tree_mode must be "serial" or "process", not {tree_mode!r}')
        self.tree_mode: TreeMode = tree_mode

    def add_stage(self, stage: TaskManager[Any, Any]) -> None:
        """Add a stage at the end."""
        if not isinstance(stage, TaskManager):
            raise TypeError(f"a stage must be a TaskManager, not {type(stage).__name__}: write TaskManager(function)")
        self.stages.append(stage)

    def remove_stage(self, index: int) -> None:
        """Remove stage ``index``; `IndexError` when there is none."""
        if not -len(self.stages) <= index < len(self.stages):
            raise IndexError(f"there is no stage {index}: the tree has {len(self.stages)} stages")
        del self.stages[index]

    def start_tree(self, tasks: Iterable[Any]) -> None:
        """Run ``tasks`` through all stages, by the tree's mode."""
        self._run(tasks, "thread" if self.tree_mode == "serial" else "process")

    def run_tree_in_serial(self, tasks: Iterable[Any]) -> None:
        """`start_tree` in serial mode, whatever the tree's mode."""
        self._run(tasks, "thread")

    def run_tree_in_process(self, tasks: Iterable[Any]) -> None:
        """`start_tree` in process mode, whatever the tree's mode."""
        self._run(tasks, "process")

    def get_final_result_dict(self) -> TaskDict:
        """``{task: final result}`` of the last run; a failed task's result is its exception."""
        if self._result is None:
            return TaskDict([])
        found = []
        for outcome in self._result.outcomes:
            if outcome.error is not None:
                found.append((outcome.task, outcome.error))
            elif outcome.values:
                found.append((outcome.task, outcome.values[0]))
        return TaskDict(found)

    def graph(self) -> Graph:
        """The chain as a graph. A stage that stands in it twice becomes two nodes."""
        if not self.stages:
            raise ValueError("the tree has no stages: add one with add_stage(TaskManager(function))")
        seen: set[int] = set()
        nodes = []
        for stage in self.stages:
            nodes.append(copy.copy(stage) if id(stage) in seen else stage)
            if id(stage) in seen:
                nodes[-1].explicit_name = None
            seen.add(id(stage))
        chain = Graph(nodes[0])
        for node in nodes[1:]:
            chain = join(chain, node)
        return chain

    def _run(self, tasks: Iterable[Any], backend: str) -> None:
        from dagflow.api import default_logger, run

        self._result = run(
            self.graph(), tasks, backend, logger=default_logger(self.logger), show_progress=self.show_progress
        )

    def __repr__(self) -> str:
        return f"TaskTree({' >> '.join(s.name for s in self.stages)}, tree_mode={self.tree_mode!r})"
