"""The final failures of a run in the user's log: through loguru's global logger, by the name of this module.

``logger.disable("dagflow")`` silences it; no sink of the user's is added, removed or changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dagflow.core.commands import TaskFailed
from dagflow.observe.text import NAME_MOST, clean

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.graph.plan import Plan
    from dagflow.observe.records import TaskRecord
    from dagflow.protocols import Snapshot

_KINDS_MOST: Final = 100


def names_of(plan: Plan) -> list[str]:
    """The nodes' names, fit to be printed."""
    return [clean(node.name, NAME_MOST) for node in plan.nodes]


def say(level: str, text: str, error: BaseException | None = None) -> None:
    """A record in the user's log."""
    from loguru import logger

    logger.opt(exception=error).log(level, text)


class FailureLog:
    """An observer that reports finally failed tasks in the user's log; every run has one.

    The first `most` failures of each node and error type are told one by one, as errors (as warnings where a
    ``failures`` branch takes them up); of the others, and of workers that crashed, one line at the end.
    Override `format` to change what a failure's line says.
    """

    most = 5

    def __init__(self) -> None:
        self._nodes: list[str] = []
        self._levels: list[str] = []
        self._seen: dict[tuple[str, str], int] = {}

    def format(self, record: TaskRecord) -> str:
        """The text about one failed task. The place to override; ``record.task`` is empty here."""
        tried = "1 attempt" if record.attempt == 1 else f"{record.attempt} attempts"
        error = f"{record.error_type}: {record.message}"
        return f"node {record.node!r}: task {record.number} failed after {tried}: {error}"

    def opened(self, plan: Plan) -> None:
        """A run begins."""
        self._nodes = names_of(plan)
        self._levels = ["ERROR" if node.failures is None else "WARNING" for node in plan.nodes]
        self._seen = {}

    def facts(self, facts: Sequence[Fact]) -> None:
        """Report the final failures among the facts; not those that a journal tells of again."""
        for fact in facts:
            if isinstance(fact, TaskFailed) and fact.retry_in is None and not fact.again:
                node = self._nodes[fact.node]
                kind = node, clean(fact.error.type, NAME_MOST)
                if kind not in self._seen and len(self._seen) >= _KINDS_MOST:
                    kind = node, "other errors"
                seen = self._seen[kind] = self._seen.get(kind, 0) + 1
                if seen <= self.most:
                    from dagflow.observe.records import failed_record

                    say(self._levels[fact.node], self.format(failed_record(fact, node)))

    def tick(self, snapshot: Snapshot) -> None:
        """Nothing to do."""

    def closed(self, snapshot: Snapshot) -> None:
        """Report what was held back, and crashes."""
        more = {kind: seen - self.most for kind, seen in self._seen.items() if seen > self.most}
        if more:
            most_first = sorted(more.items(), key=lambda item: -item[1])
            shown = ", ".join(f"{node} {error} ({count})" for (node, error), count in most_first[:10])
            dots = ", ..." if len(more) > 10 else ""
            say("WARNING", f"suppressed {sum(more.values())} more failed tasks: {shown}{dots}")
        if snapshot.crashes:
            times = "once" if snapshot.crashes == 1 else f"{snapshot.crashes} times"
            say("WARNING", f"workers crashed {times}; the tasks they were at were retried or failed")
