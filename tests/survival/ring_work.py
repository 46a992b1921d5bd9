"""Many made-up runs of the real ring, checked against the naive interpreter; in a file that workers import."""

from __future__ import annotations

import random
import sys
import traceback
from pathlib import Path

from dagflow.testing.graphs import random_graph
from dagflow.testing.stage import Faults, Stage

sys.path.insert(0, str(Path(__file__).parent.parent))
from reference import Reference, comparable

MODES = ("serial", "thread", "process", "async")
SCHEDULES = 10


def made(seed, *, larger=False):
    """A small graph, its tasks, and what must come of them. (Which graph a seed means must never change.)"""
    chance = random.Random(seed)
    graph = random_graph(chance.randrange, modes=MODES, most_nodes=1 + larger + chance.randrange(5))
    tasks = [chance.randrange(1000) for _ in range(chance.randrange(6 + larger))]
    reference = Reference(graph, tasks)
    return graph, tasks, (reference.outcomes(), reference.counts)


def stage_of(seed, schedule, graph, tasks):
    """The stage of one schedule: which faults, which options, and everything else, by its number."""
    choose = random.Random(f"{seed}/{schedule}").randrange
    faults = Faults(
        deaths=(0, 2, 2, 1)[choose(4)], starts=(0, 2)[choose(2)], slow=(0, 0, 4)[choose(3)], twice=(0, 3)[choose(2)]
    )
    options = {"max_in_flight": (None, 1, 3)[choose(3)], "pauses": (0, 2)[choose(2)]}
    if choose(2):
        options |= {"streamed": True, "sink_holds": bool(choose(2))}
    return Stage(graph, tasks, choose, faults, check_every=16, **options)


def go(seed, schedule, *, larger=False):
    """One schedule; what is wrong with it, or None."""
    graph, tasks, expected = made(seed, larger=larger)
    return run_one(seed, schedule, graph, tasks, expected)


def run_one(seed, schedule, graph, tasks, expected):
    stage = stage_of(seed, schedule, graph, tasks)
    try:
        result = stage.run()
    except BaseException:
        return f"seed {seed}, schedule {schedule}: {traceback.format_exc()[-1500:]}"
    if comparable(result) != expected:
        return f"seed {seed}, schedule {schedule}: other outcomes than the reference"
    if stage.sink is not None:
        values = sum(item.error is None for item in stage.items)
        if values != len(result.values):
            return f"seed {seed}, schedule {schedule}: {values} values streamed, {len(result.values)} collected"
    return None


def block(seeds):
    """All schedules of some seeds: how many runs that were, and what was wrong with which."""
    runs, wrong = 0, []
    for seed in seeds:
        graph, tasks, expected = made(seed)
        for schedule in range(SCHEDULES):
            found = run_one(seed, schedule, graph, tasks, expected)
            runs += 1
            if found is not None:
                wrong.append(found)
    return runs, wrong
