"""The real scheduler among fake workers that die and answer late must say what a naive interpreter says."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dagflow.core import events as ev
from dagflow.core.invariants import check
from dagflow.errors import InvariantBroken
from dagflow.testing.graphs import random_graph
from dagflow.testing.simulate import Simulation, simulate

sys.path.insert(0, str(Path(__file__).parent.parent))
import numbers_made
from reference import Reference, comparable

MODES = ("serial", "thread", "process", "async")


def made(seed: int) -> tuple:
    chance = random.Random(seed)
    graph = random_graph(chance.randrange, modes=MODES)
    return graph, [chance.randrange(1000) for _ in range(chance.randrange(12))]


@pytest.mark.parametrize("block", range(10))
def test_any_schedule_gives_the_outcomes_of_the_reference(block: int) -> None:
    """Outcomes, values, order and counts; without deaths, with deaths, and with one task in flight."""
    for seed in range(block * 40, block * 40 + 40):
        graph, tasks = made(seed)
        reference = Reference(graph, tasks)
        expected = reference.outcomes(), reference.counts
        for turn, (deaths, most) in enumerate([(0, None), (2, 3), (2, 1)]):
            result = simulate(graph, tasks, seed * 10 + turn, deaths=deaths, max_in_flight=most)
            assert comparable(result) == expected, f"seed {seed}, turn {turn}"


@pytest.mark.parametrize("block", range(4))
def test_no_schedule_loses_or_doubles_what_goes_through_windows(block: int) -> None:
    """Nor what stands behind duplicates."""
    for seed in range(block * 10, block * 10 + 10):
        graph, tasks, expected = numbers_made.made(seed)
        for turn, (deaths, most) in enumerate([(0, None), (2, 3), (2, 1)]):
            result = simulate(graph, tasks, seed * 10 + turn, deaths=deaths, max_in_flight=most)
            assert numbers_made.numbers(result) == expected(), f"seed {seed}, turn {turn}"


def test_a_seed_gives_the_same_run_again() -> None:
    graph, tasks = made(7)
    runs = []
    for _ in range(2):
        simulation = Simulation(graph, tasks, random.Random(3).randrange, deaths=2)
        simulation.run()
        runs.append((simulation.steps, simulation.now, [type(f).__name__ for f in simulation.world.facts]))
    assert runs[0] == runs[1]
    assert runs[0][0] > 10


class AnySchedule(RuleBasedStateMachine):
    """Hypothesis decides what happens next; every task ends in one fate, and nothing hangs."""

    @initialize(seed=st.integers(0, 10_000), order=st.integers(0, 10_000))
    def begin(self, seed: int, order: int) -> None:
        self.graph, self.tasks = made(seed)
        self.simulation = Simulation(self.graph, self.tasks, random.Random(order).randrange, deaths=0)
        self.deaths = 0

    @rule(pick=st.integers(0, 1000))
    def something_happens(self, pick: int) -> None:
        choices = self.simulation.world.choices()
        if choices and not self.simulation.scheduler.finished:
            self.simulation.tell([choices[pick % len(choices)]()])

    @rule()
    def time_passes(self) -> None:
        self.simulation.now += 1.0
        self.simulation.tell([ev.TimePassed()])

    @precondition(lambda self: self.deaths < 2)
    @rule(pick=st.integers(0, 1000))
    def a_worker_dies(self, pick: int) -> None:
        up = [w for w in self.simulation.world.workers.values() if w.up]
        if up and not self.simulation.scheduler.finished:
            self.deaths += 1
            self.simulation.tell([self.simulation.world.kill(up[pick % len(up)])])

    @rule(paused=st.booleans())
    def somebody_pauses(self, paused: bool) -> None:
        self.simulation.tell([ev.PauseAsked(paused)])

    @invariant()
    def everything_adds_up(self) -> None:
        if hasattr(self, "simulation"):
            check(self.simulation.scheduler)

    def teardown(self) -> None:
        if not hasattr(self, "simulation"):
            return
        self.simulation.tell([ev.PauseAsked(False)])
        reference = Reference(self.graph, self.tasks)
        assert comparable(self.simulation.run()) == (reference.outcomes(), reference.counts)


TestAnySchedule = AnySchedule.TestCase
TestAnySchedule.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 5000), when=st.integers(0, 60), kill=st.booleans())
def test_a_run_can_be_stopped_at_any_moment(seed: int, when: int, kill: bool) -> None:
    """Nothing hangs, and received = succeeded + failed + dropped at every node, whatever was cut off."""
    graph, tasks = made(seed)
    simulation = Simulation(graph, tasks, random.Random(seed).randrange)
    for _ in range(when):
        if not simulation.step():
            break
    simulation.tell([ev.StopAsked(kill)])
    result = simulation.run()
    for counts in result.counts.values():
        assert counts.received == counts.succeeded + counts.failed + counts.dropped
    assert simulation.world.reason in ("stopped", "done")


def test_a_lost_answer_is_a_report_and_not_a_hang() -> None:
    """A backend that swallows a job: its workers have nothing to do, so the scheduler says who waits for what."""
    graph, tasks = made(1)
    simulation = Simulation(graph, [1, 2, 3], random.Random(1).randrange)
    with pytest.raises(
        InvariantBroken, match=r"nothing to do, but never answered lease \d+ .* source .* queued, .* leased"
    ):
        while simulation.step():
            for worker in simulation.world.workers.values():
                worker.jobs.clear()
    assert simulation.now < 60
