"""What dagflow must reach: each a question about rows of one report.

Some goals are times, or efficiencies, which a machine's own pace decides as much as dagflow does. Beside them stands
what can be written by hand on the same machine in the same minutes, and what it reached where the goal was set: a goal
that is missed in the clock's measure is reached as a ratio if dagflow is no further from it than it was to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.measure import Row

Rows = Mapping[str, Row]


def _ratio(workload: str, key: str, other: str) -> Callable[[Rows], float | None]:
    def of(rows: Rows) -> float | None:
        row = rows.get(workload)
        if row is None or other not in row.runs:
            return None
        ours, theirs = row.median("dagflow", key), row.median(other, key)
        return ours / theirs if ours is not None and theirs else None

    return of


def _own(workload: str, key: str) -> Callable[[Rows], float | None]:
    def of(rows: Rows) -> float | None:
        row = rows.get(workload)
        return row.median("dagflow", key) if row is not None and "dagflow" in row.runs else None

    return of


def _memory(workload: str) -> Callable[[Rows], float | None]:
    def of(rows: Rows) -> float | None:
        row = rows.get(workload)
        return row.memory.get("dagflow") if row is not None else None

    return of


@dataclass(frozen=True)
class Goal:
    """What must be reached, what is aimed for, whether more is better.

    ``by_hand``: how far dagflow is from what is written by hand in this report, as a ratio; ``there``: what that reached
    where the goal was set.
    """

    what: str
    read: Callable[[Rows], float | None]
    must: float
    aim: float
    more: bool
    by_hand: Callable[[Rows], float | None] | None = None
    there: float = 0.0

    def reached(self, figure: float, limit: float) -> bool:
        """Whether ``figure`` is at least as good as ``limit``."""
        return figure >= limit if self.more else figure <= limit


@dataclass(frozen=True)
class Verdict:
    """A goal's figure, and a word; ``ratio`` to what is written by hand, and what that must be, where there is one."""

    goal: Goal
    figure: float
    ratio: float | None
    must_be: float | None

    @property
    def word(self) -> str:
        """What became of it."""
        if self.goal.reached(self.figure, self.goal.aim):
            return "aim reached"
        if self.goal.reached(self.figure, self.goal.must):
            return "reached"
        if self.ratio is not None and self.must_be is not None and self.goal.reached(self.ratio, self.must_be):
            return "reached as a ratio"
        return "MISSED"


_HUB, _SLEEPERS = "hub by hand", "sleepers by hand"

GOALS = (
    Goal("W1 against imap(1024)", _ratio("W1", "rate", "imap(1024)"), 1.2, 2.5, True),
    Goal("W1 against mpipe", _ratio("W1", "rate", "mpipe"), 30, 60, True),
    Goal("W1 against the hub by hand", _ratio("W1", "rate", _HUB), 0.25, 0.5, True),
    Goal("W2 p50, ms", _own("W2", "p50"), 0.7, 0.45, False, _ratio("W2", "p50", _HUB), 0.33),
    Goal("W2 p99, ms", _own("W2", "p99"), 3.0, 1.5, False),
    Goal("W3, children/s", _own("W3", "rate"), 270_000, 600_000, True),
    Goal("W4, GiB/s", _own("W4", "rate"), 0.6, 1.2, True),
    Goal("W5, efficiency", _own("W5", "efficiency"), 0.92, 0.96, True, _ratio("W5", "efficiency", _HUB), 0.94),
    Goal("W6, efficiency", _own("W6", "efficiency"), 0.88, 0.96, True, _ratio("W6", "efficiency", _HUB), 0.945),
    Goal("W7a, efficiency", _own("W7a", "efficiency"), 0.35, 0.6, True, _ratio("W7a", "efficiency", _SLEEPERS), 0.65),
    Goal("W7t, efficiency", _own("W7t", "efficiency"), 0.78, 0.87, True, _ratio("W7t", "efficiency", _SLEEPERS), 0.87),
    Goal("W8 first, cold, ms", _own("W8", "first"), 60, 35, False),
    Goal("W8 first, warm, ms", _own("W8", "warm_first"), 20, 12, False),
    Goal("W9a growth, MiB", _own("W9a", "growth"), 30, 30, False),
    Goal("W10, items/s", _own("W10", "rate"), 12_000, 25_000, True),
    Goal("W10 memory, MiB", _memory("W10"), 300, 300, False),
    Goal("import, ms", _own("import", "import"), 100, 100, False),
    Goal("--help, ms", _own("import", "help"), 150, 150, False),
)


def verdicts(rows: Rows) -> list[Verdict]:
    """What was reached and what not; without what was not measured."""
    found = []
    for goal in GOALS:
        figure = goal.read(rows)
        if figure is not None:
            ratio = goal.by_hand(rows) if goal.by_hand is not None else None
            found.append(Verdict(goal, figure, ratio, None if ratio is None else goal.must / goal.there))
    return found
