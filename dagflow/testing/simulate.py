"""The simulator: the real scheduler among fake workers, a made-up clock and source, all from one seed.

A run is a sequence of choices; the same seed makes the same run to the last event. After every step the
invariants are checked; a run that does not end within its bound of steps is a hang, and an error.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from dagflow.core import events as ev
from dagflow.core.invariants import check
from dagflow.core.scheduler import Scheduler
from dagflow.errors import InvariantBroken
from dagflow.graph.algebra import Graph
from dagflow.journal.keeper import Keeper
from dagflow.journal.memory import MemoryJournal
from dagflow.journal.versions import Versions
from dagflow.observe.case import case_of
from dagflow.protocols import NodeSnapshot, Snapshot
from dagflow.result import Collector, RunResult
from dagflow.testing.world import World


class Simulation:
    """One run of ``graph`` over ``tasks``, step by step.

    ``choose(n)`` decides everything that is left to chance. ``deaths``: how many workers may die. ``journal``:
    where the run is kept; whoever drops a simulation in the middle has killed its driver.
    """

    def __init__(
        self,
        graph: Graph,
        tasks: Sequence[Any],
        choose: Callable[[int], int],
        *,
        deaths: int = 0,
        journal: MemoryJournal | None = None,
        resume: str = "strict",
        retry_failed: bool = False,
        **options: Any,
    ) -> None:
        self.choose, self.graph = choose, graph
        self.world = World(graph, tasks, choose, deaths=deaths)
        self.scheduler = Scheduler(self.world.plan, recording=journal is not None, **options)
        self.now = 0.0
        self.steps = 0
        self.keeper: Keeper | None = None
        if journal is not None:
            plan = self.world.plan
            versions = Versions(graph, plan)
            self.keeper = Keeper(journal, plan, versions, resume=resume, retry_failed=retry_failed)
            self.world.keeper = self.keeper
            self.tell([self.keeper.open()])
        else:
            self.tell([])

    def tell(self, events: list[ev.Event]) -> None:
        """Let events happen, and check that everything still adds up."""
        while True:
            out = self.scheduler.handle(events, self.now)
            news = self.keeper.record(out) if self.keeper is not None else []
            check(self.scheduler)
            events = [*news, *self.world.act(out)]
            if not events:
                break

    def step(self) -> bool:
        """Let one thing happen; False when the run has ended."""
        if self.scheduler.finished:
            return False
        self.steps += 1
        mortal = self.world.mortal()
        if mortal and self.choose(8) == 0:
            self.tell([self.world.kill(mortal[self.choose(len(mortal))])])
            return True
        choices = self.world.choices()
        deadline = self.scheduler.next_deadline()
        if deadline is not None and (not choices or self.choose(6) == 0):
            self.now = max(self.now, deadline)
            self.tell([ev.TimePassed()])
        elif choices:
            self.now += 0.001
            self.tell([choices[self.choose(len(choices))]()])
        else:
            raise InvariantBroken(f"the run hangs: {self.scheduler.story()}")
        return True

    def run(self, most_steps: int = 100_000) -> RunResult:
        """Run to the end."""
        while self.step():
            if self.steps > most_steps:
                raise InvariantBroken(f"no end after {most_steps} steps: {self.scheduler.story()}")
        return self.result()

    def result(self) -> RunResult:
        """The result, as a user would get it."""
        if self.keeper is not None:
            self.keeper.close(self.world.reason)
        collector = Collector(self.world.plan)
        collector.source.add(self.world.kept)
        collector.take(self.world.facts)
        nodes = self.scheduler.nodes
        snapshot = Snapshot(
            nodes=tuple(
                NodeSnapshot(
                    n.plan.name, n.plan.kind, n.phase, n.queued, n.leased, 0, 0, len(n.workers), n.counts.received,
                    n.counts.succeeded, n.counts.failed, n.counts.dropped, n.counts.retried, n.counts.duplicates, 0.0,
                    1, tuple(n.sent),
                )
                for n in nodes
            ),
            admitted=self.scheduler.admitted,
            ended=self.scheduler.admitted - self.scheduler.open_roots,
            source_open=self.scheduler.source_open,
            state="finished",
            elapsed=self.now,
            late_answers=self.scheduler.late_answers,
            crashes=self.scheduler.crashes,
        )  # fmt: skip
        counts = {n.plan.name: n.counts for n in nodes}
        return RunResult(self.graph, collector, counts, snapshot, [], lambda: case_of(collector.plan, snapshot))


def simulate(graph: Graph, tasks: Sequence[Any], seed: int, *, deaths: int = 0, **options: Any) -> RunResult:
    """Run ``graph`` over ``tasks`` in the order of things that ``seed`` gives."""
    chance = random.Random(seed)
    return Simulation(graph, tasks, chance.randrange, deaths=deaths, **options).run()


def simulate_with_deaths(graph: Graph, tasks: Sequence[Any], seed: int, *, drivers: int, **options: Any) -> RunResult:
    """Like `simulate`, but the driver is killed up to ``drivers`` times, each time between two steps."""
    chance = random.Random(seed)
    journal = MemoryJournal()
    for _ in range(drivers):
        simulation = Simulation(graph, tasks, chance.randrange, journal=journal, **options)
        for _ in range(chance.randrange(60)):
            if not simulation.step():
                return simulation.result()
        journal.abandon()
    return Simulation(graph, tasks, chance.randrange, journal=journal, **options).run()
