"""A worker reads the clock for the tasks that are sampled, and does with all of them what it does without a trace."""

from __future__ import annotations

import time
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagflow as df
from dagflow.core.job import Job
from dagflow.work.execute import Runner
from dagflow.work.page import BACK, NUMBERS
from dagflow.work.program import Program
from dagflow.work.values import live

TOKEN = 7
pytestmark = pytest.mark.timeout(60)


class Odd:
    """A function that raises for some tasks, ends an iterator by others, and at one is told to give back the rest."""

    def __init__(self, mark, back_at):
        self.mark, self.back_at, self.seen = mark, back_at, []

    def __call__(self, task):
        position, what = task
        self.seen.append(position)
        if position == self.back_at:
            self.mark[BACK] = TOKEN
        if what == "raises":
            raise ValueError(position)
        if what == "stops":
            raise StopIteration
        return df.DROP if what == "drops" else position


def answered(tasks, back_at, timed, *, paged, traced=True, **options):
    mark = memoryview(array("q", [0] * NUMBERS))
    odd = Odd(mark, back_at)
    node = df.TaskManager(odd, "process", 2, name="n", **options)
    program = Program.of(node, df.Graph(node).check().nodes[0])
    program.traced = traced
    runner = Runner(program, seal=False, mark=mark if paged else None)
    values = list(enumerate(tasks))
    [answer] = runner.run(1, TOKEN, Job("run", len(values), [(live(values), 0, len(values))], timed=timed))
    return answer, odd.seen


def told(answer):
    outputs = [(produced.positions, list(produced.payload.values)) for produced in answer.outputs]
    failures = [(position, error.type, again) for position, error, again in answer.failures]
    return outputs, failures, answer.dropped, answer.returned


@given(
    tasks=st.lists(st.sampled_from(["returns", "returns", "raises", "stops", "drops"]), min_size=1, max_size=12),
    back_at=st.integers(0, 30),
    timed=st.sets(st.integers(0, 11)),
    paged=st.booleans(),
)
def test_what_is_timed_changes_nothing_else(tasks, back_at, timed, paged):
    chosen = sorted(position for position in timed if position < len(tasks))
    plain, ran = answered(tasks, back_at, None, paged=paged, traced=False)
    answer, seen = answered(tasks, back_at, chosen, paged=paged)
    assert told(answer) == told(plain)
    assert seen == ran
    assert (answer.times is None) == (not chosen)
    reached = [position for position in chosen if position in seen]
    if reached:
        assert list(answer.times.positions) == reached
        assert len(answer.times.starts) == len(answer.times.ends) == len(reached)
        clock = [moment for both in zip(answer.times.starts, answer.times.ends, strict=True) for moment in both]
        assert clock == sorted(clock)


@pytest.mark.parametrize("options", [{"timeout": 30}, {}])
def test_more_may_be_told_than_was_asked(options):
    """Where each task needs a clock of its own, or all are sampled."""
    answer, _ = answered(["returns"] * 5, 99, [1, 3] if options else None, paged=True, **options)
    assert answer.times.positions is None
    assert len(answer.times.starts) == 6


def when(task):
    moment = time.monotonic()
    if task % 50 == 7:
        raise ValueError(task)
    return task, moment


@pytest.mark.parametrize("backend", ["process", "thread", "serial"])
@pytest.mark.parametrize("mode", ["serial", "thread"])
def test_a_sampled_task_has_times_of_its_own(backend, mode):
    graph = df.Graph(df.TaskManager(when, mode, name="when"))
    result = graph.run(range(5000), backend, trace=0.02)
    assert 99 <= len(result.traces) <= 101
    began = {out.task: out.values[0][1] for out in result.outcomes if out.status == "done"}
    earliest, latest = [], []
    for trace in result.traces:
        [hop] = trace.hops
        failed = trace.task % 50 == 7
        assert hop.status == ("failed" if failed else "done")
        if not failed:
            earliest.append(hop.start - began[trace.task])
            latest.append(hop.end - began[trace.task])
    # One clock for all: what lies between it and the wall clock is the same for every task, but for rounding.
    assert max(earliest) <= min(latest) + 1e-6
