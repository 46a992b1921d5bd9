"""Drivers die at random moments in the simulator, and go on from a journal in memory: as if nothing had been."""

from __future__ import annotations

import random

import pytest
from journal_made import Fixable, made, mend, small_blocks, with_deaths
from reference import Reference, comparable

import dagflow as df
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
        simulation = Simulation(graph, tasks, chance.randrange, journal=journal)
        for _ in range(chance.choice([30, 60, 100_000])):
            if not simulation.step():
                break
        if simulation.scheduler.finished:
            simulation.result()
        else:
            journal.abandon()
        node = chance.choice(list(graph.nodes))
        if hasattr(node.func, "salt"):
            node.func.salt += 500
            changed += 1
        result = with_deaths(graph, tasks, journal, chance, chance.randrange(2), kind=Simulation, resume="compatible")
        assert comparable(result) == expected(graph, tasks), f"seed {seed}"
    assert changed > 10


# -- windows ------------------------------------------------------------------------------------------------


def same(value):
    return value


def three(value):
    return [(value, child) for child in range(3)]


def window(members):
    return ["window", list(members)]


def append(found, member):
    return [*found, member]


def leaves(value):
    if isinstance(value, list) and value[:1] == ["window"]:
        return [leaf for member in value[1] for leaf in leaves(member)]
    return [value]


def task(function, name, mode="serial"):
    return df.TaskManager(function, mode, name=name)


WINDOWED = {
    "plain": lambda: task(same, "a") >> df.Merger(window, size=3, name="w") >> task(same, "z"),
    "of children": lambda: (
        df.Splitter(three, name="s") >> task(same, "a", "thread") >> df.Merger(window, size=4, within=5, name="w")
        >> task(same, "z")
    ),
    "of windows": lambda: (
        task(same, "a") >> df.Merger(window, size=2, name="w") >> df.Merger(window, size=2, name="v") >> task(same, "z")
    ),
    "folded": lambda: (
        task(same, "a") >> df.Merger(lambda found: ["window", found], fold=(append, []), size=3, name="w")
        >> task(same, "z")
    ),
    "beside": lambda: task(same, "a") >> [task(same, "b"), df.Merger(window, size=3, name="w")],
}  # fmt: skip


@pytest.mark.parametrize("kind", WINDOWED)
@pytest.mark.parametrize("size", ["large", "small"])
def test_each_member_is_in_one_window_whatever_dies(kind, size, monkeypatch):
    """Recorded windows stay as they were; no member is lost or merged twice."""
    if size == "small":
        small_blocks(monkeypatch)
    graph = df.Graph(WINDOWED[kind]())
    for seed in range(20):
        chance, journal = random.Random(seed), MemoryJournal()
        tasks = [(seed, n) for n in range(chance.randrange(12))]
        result = with_deaths(graph, tasks, journal, chance, chance.randrange(4))
        windows = [value for value in result.values if isinstance(value, list)]
        members = [child for t in tasks for child in (three(t) if kind == "of children" else [t])]
        assert sorted(leaf for w in windows for leaf in leaves(w)) == sorted(members)
        assert {o.status for o in result.outcomes} <= {"done"}
        assert result.counts["w"].succeeded == len(members)
        again = Simulation(graph, tasks, chance.randrange, journal=journal).run()
        assert sorted(map(repr, again.values)) == sorted(map(repr, result.values))


# -- duplicates ---------------------------------------------------------------------------------------------


def twice_and_another(value):
    return [(value, 0), (value, 0), (value, 1)]


@pytest.mark.parametrize("mode", ["serial", "thread", "process"])
@pytest.mark.parametrize("size", ["large", "small"])
def test_a_known_duplicate_leaves_its_siblings_what_they_need(mode, size, monkeypatch):
    """It lies with them in one payload, which is let go of when all of them have ended, however often a driver dies."""
    if size == "small":
        small_blocks(monkeypatch)
    graph = df.Graph(
        df.Splitter(twice_and_another, name="s")
        >> df.TaskManager(same, mode, deduplicate=True, name="d")
        >> task(same, "z")
    )
    for seed in range(40):
        chance = random.Random(seed)
        tasks = list(range(2 + chance.randrange(6)))
        result = with_deaths(graph, tasks, MemoryJournal(), chance, 1 + chance.randrange(4))
        assert sorted(result.values) == [(n, child) for n in tasks for child in range(2)], f"seed {seed}"
        assert result.counts["d"].duplicates == len(tasks)


def test_random_graphs_hold_every_kind_of_node_that_matters_here():
    """Or else the tests above would show little."""
    kinds = {type(node).__name__ for seed in range(100) for node in made(seed)[0].nodes}
    assert kinds == {"TaskManager", "Splitter", "Router", "Merger"}
    merges = [n for seed in range(100) for n in made(seed)[0].nodes if n.kind == "merge"]
    assert any(m.fold for m in merges) and any(m.of == "run" for m in merges)
    assert any(isinstance(n.func, Split) and n.func.fails for seed in range(100) for n in made(seed)[0].nodes)
    assert issubclass(Fixable, GraphMaker)
