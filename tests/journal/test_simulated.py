"""Drivers die at random moments in the simulator, and go on from a journal in memory: as if nothing had been."""

from __future__ import annotations

import random

import pytest
from journal_made import Fixable, made, mend, small_blocks, some_way, with_deaths
from reference import Reference, comparable

from dagflow.journal.memory import MemoryJournal
from dagflow.testing.graphs import AsyncStep, GraphMaker, Lists, Split, Step
from dagflow.testing.simulate import Simulation


def expected(graph, tasks):
    reference = Reference(graph, tasks)
    return reference.outcomes(), reference.counts


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("size", ["large", "small"])
def test_any_deaths_give_the_outcomes_of_the_reference(block, size, monkeypatch):
    """Outcomes, values, order, counts; no recorded end is executed again; in blocks that are never full, and often."""
    if size == "small":
        small_blocks(monkeypatch)
    for seed in range(block * 10, block * 10 + 10):
        graph, tasks = made(seed)
        for drivers, deaths in ((0, 0), (1, 0), (4, 1)):
            chance = random.Random(seed * 7 + drivers)
            result = with_deaths(graph, tasks, MemoryJournal(), chance, drivers, deaths=deaths)
            assert comparable(result) == expected(graph, tasks), f"seed {seed}, {drivers} drivers killed"


class Held(int):
    """A number that cannot be pickled."""

    def __reduce_ex__(self, protocol):
        raise TypeError(f"cannot pickle {self}")

    def __deepcopy__(self, memo):
        return self


class Holds:
    """Some results of a step are `Held`."""

    def apply(self, value):
        found = super().apply(value)
        return Held(found) if type(found) is int and found % 3 == 0 else found


HOLDING = {kind: type(f"Holding{kind.__name__}", (Holds, kind), {}) for kind in (Step, AsyncStep, Lists)}


@pytest.mark.parametrize("block", range(2))
def test_values_that_cannot_be_kept_are_made_again_whatever_dies(block, monkeypatch):
    """By tasks that still have what they were given, in whatever scopes they are."""
    small_blocks(monkeypatch, inline=0)
    held = 0
    for seed in range(block * 20, block * 20 + 20):
        graph, tasks = made(seed, modes=("serial", "thread"))
        for node in graph.nodes:
            if type(node.func) in HOLDING:
                node.func.__class__ = HOLDING[type(node.func)]
        for drivers, deaths in ((1, 0), (4, 1)):
            chance = random.Random(seed * 7 + drivers)
            result = with_deaths(graph, tasks, MemoryJournal(), chance, drivers, deaths=deaths)
            assert comparable(result) == expected(graph, tasks), f"seed {seed}, {drivers} drivers killed"
            held += any(type(value) is Held for value in result.values)
    assert held > 3


@pytest.mark.parametrize("size", ["large", "small"])
def test_a_finished_run_is_given_again(size, monkeypatch):
    """Nothing is delivered to a worker."""
    if size == "small":
        small_blocks(monkeypatch)
    for seed in range(200, 220):
        graph, tasks = made(seed)
        journal = MemoryJournal()
        first = Simulation(graph, tasks, random.Random(seed).randrange, journal=journal).run()
        simulation = Simulation(graph, tasks, random.Random(seed + 1).randrange, journal=journal)
        simulation.keeper.fill = _refuse
        assert comparable(simulation.run()) == comparable(first)
        assert simulation.keeper.reused == len(tasks)


def _refuse(job):
    raise AssertionError(f"delivered: {job}")


@pytest.mark.parametrize("block", range(2))
@pytest.mark.parametrize("size", ["large", "small"])
def test_dead_letters_driven_again_end_as_with_the_mended_graph(block, size, monkeypatch):
    """Scopes above close again, also if the driver dies while they are driven; all else is recalled."""
    if size == "small":
        small_blocks(monkeypatch)
    driven = 0
    for seed in range(block * 30, block * 30 + 30):
        graph, tasks = made(seed, Fixable)
        if any(node.failures is not None for node in graph.check().nodes):
            continue  # what a branch has taken up is no dead letter, and stays as it is
        journal, chance = MemoryJournal(), random.Random(seed)
        first = Simulation(graph, tasks, chance.randrange, journal=journal).run()
        driven += any(o.error is not None for o in first.outcomes)
        mend(graph)
        simulation = Simulation(graph, tasks, chance.randrange, journal=journal, resume="force", retry_failed=True)
        for _ in range(chance.randrange(60) if chance.randrange(2) else 0):
            if not simulation.step():
                break
        if not simulation.scheduler.finished:
            journal.abandon()
            simulation = Simulation(graph, tasks, chance.randrange, journal=journal)
        assert comparable(simulation.run()) == expected(graph, tasks), f"seed {seed}"
    assert driven > 3


@pytest.mark.parametrize("block", range(2))
@pytest.mark.parametrize("size", ["large", "small"])
def test_a_changed_graph_ends_as_if_it_had_always_been_so(block, size, monkeypatch):
    """``resume="compatible"`` redoes what changed and what follows, wherever the run before had come to."""
    if size == "small":
        small_blocks(monkeypatch)
    changed = 0
    for seed in range(block * 30, block * 30 + 30):
        graph, tasks = made(seed)
        journal, chance = MemoryJournal(), random.Random(seed)
        some_way(graph, tasks, journal, chance)
        node = chance.choice(list(graph.nodes))
        if hasattr(node.func, "salt"):
            node.func.salt += 500
            changed += 1
        result = with_deaths(graph, tasks, journal, chance, chance.randrange(2), kind=Simulation, resume="compatible")
        assert comparable(result) == expected(graph, tasks), f"seed {seed}"
    assert changed > 10


def test_random_graphs_hold_every_kind_of_node_that_matters_here():
    """Or else the tests above would show little."""
    kinds = {type(node).__name__ for seed in range(100) for node in made(seed)[0].nodes}
    assert kinds == {"TaskManager", "Splitter", "Router", "Merger"}
    merges = [n for seed in range(100) for n in made(seed)[0].nodes if n.kind == "merge"]
    assert any(m.fold for m in merges) and any(m.of == "run" for m in merges)
    assert any(isinstance(n.func, Split) and n.func.fails for seed in range(100) for n in made(seed)[0].nodes)
    assert issubclass(Fixable, GraphMaker)
