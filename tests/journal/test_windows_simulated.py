"""Windows and duplicates: no member is lost or merged twice, whatever dies, and whatever changes."""

from __future__ import annotations

import random

import pytest
from journal_made import small_blocks, some_way, with_deaths
from numbers_made import change, made, numbers

import dagflow as df
from dagflow.journal.memory import MemoryJournal
from dagflow.testing.simulate import Simulation


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("size", ["large", "small"])
def test_a_run_whose_drivers_die_comes_to_the_same(block, size, monkeypatch):
    """No recorded end is executed again, and the finished run is given again as it was."""
    if size == "small":
        small_blocks(monkeypatch, inline=0)
    for seed in range(block * 10, block * 10 + 10):
        graph, tasks, expected = made(seed)
        for drivers, deaths in ((1, 0), (4, 1)):
            chance, journal = random.Random(seed * 7 + drivers), MemoryJournal()
            result = with_deaths(graph, tasks, journal, chance, drivers, deaths=deaths)
            assert numbers(result) == expected(), f"seed {seed}, {drivers} drivers killed"
            again = Simulation(graph, tasks, chance.randrange, journal=journal).run()
            assert sorted(again.values) == sorted(result.values), f"seed {seed}, {drivers} drivers killed"


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("size", ["large", "small"])
def test_a_changed_graph_comes_to_what_it_would_have_come_to(block, size, monkeypatch):
    """``resume="compatible"``, wherever the run before had come to, and whichever function changes."""
    if size == "small":
        small_blocks(monkeypatch, inline=0)
    for seed in range(block * 10, block * 10 + 10):
        graph, tasks, expected = made(seed)
        journal, chance = MemoryJournal(), random.Random(seed)
        some_way(graph, tasks, journal, chance)
        change(graph, chance)
        result = with_deaths(graph, tasks, journal, chance, chance.randrange(3), kind=Simulation, resume="compatible")
        assert numbers(result) == expected(), f"seed {seed}"


def test_random_graphs_hold_what_matters_here():
    """Or else the tests above would show little."""
    graphs = [made(seed)[0] for seed in range(40)]
    nodes = [node for graph in graphs for node in graph.nodes]
    mergers = [n for n in nodes if n.kind == "merge"]
    assert sum(m.windowed for m in mergers) > 40
    assert any(m.windowed and m.fold for m in mergers) and any(not m.windowed and m.of == "run" for m in mergers)
    assert any(n.deduplicate for n in nodes) and any(n.kind == "route" for n in nodes)
    assert sum(any(n.failures is not None for n in graph.check().nodes) for graph in graphs) > 3


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
