"""Random graphs with windows and duplicates: no member is lost or merged twice, whatever dies, and whatever changes."""

from __future__ import annotations

import random

import pytest
from journal_made import small_blocks, with_deaths
from numbers_made import change, made

from dagflow.journal.memory import MemoryJournal
from dagflow.testing.simulate import Simulation, simulate


def numbers(result):
    assert {o.status for o in result.outcomes} <= {"done", "dropped"}
    return sorted(n for values in result.values for n in values)


@pytest.mark.parametrize("block", range(4))
def test_any_schedule_gives_what_follows_from_the_tasks(block):
    """Without deaths, with deaths, and with one task in flight."""
    for seed in range(block * 10, block * 10 + 10):
        graph, tasks, expected = made(seed)
        for turn, (deaths, most) in enumerate([(0, None), (2, 3), (2, 1)]):
            result = simulate(graph, tasks, seed * 10 + turn, deaths=deaths, max_in_flight=most)
            assert numbers(result) == expected(), f"seed {seed}, turn {turn}"


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
            assert numbers(again) == numbers(result), f"seed {seed}, {drivers} drivers killed"


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("size", ["large", "small"])
def test_a_changed_graph_comes_to_what_it_would_have_come_to(block, size, monkeypatch):
    """``resume="compatible"``, wherever the run before had come to, and whichever function changes."""
    if size == "small":
        small_blocks(monkeypatch, inline=0)
    for seed in range(block * 10, block * 10 + 10):
        graph, tasks, expected = made(seed)
        journal, chance = MemoryJournal(), random.Random(seed)
        simulation = Simulation(graph, tasks, chance.randrange, journal=journal)
        for _ in range(chance.choice([30, 60, 100_000])):
            if not simulation.step():
                break
        if simulation.scheduler.finished:
            simulation.result()
        else:
            journal.abandon()
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
