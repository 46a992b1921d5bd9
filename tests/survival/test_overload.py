"""More than fits, in every way: what the driver holds is bounded, whatever the number of tasks."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from survival_made import holds

from dagflow import Graph, Merger, Router, Splitter, TaskManager
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.inbox import LEASE_BYTES
from dagflow.core.scheduler import Scheduler
from dagflow.testing.overload import CASES, CONSTANT_MB, MAX_BYTES_MB, main, measured_apart
from dagflow.work.values import Sealed

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.mark.parametrize("name", CASES)
def test_memory_is_bounded(name):
    """By ``max_bytes`` and a constant. The full size is what ``python -m dagflow.testing.overload`` runs."""
    found = measured_apart(name, 0.02)
    assert found["growth"] <= MAX_BYTES_MB + CONSTANT_MB, found


def test_memory_does_not_grow_with_the_number_of_tasks():
    few, many = (measured_apart("ten-million", scale)["growth"] for scale in (0.01, 0.06))
    assert many <= few + 25, (few, many)


def test_the_command_says_what_is_over(monkeypatch, capsys):
    monkeypatch.setattr("dagflow.testing.overload.CONSTANT_MB", -MAX_BYTES_MB)
    assert main(["million-children", "--scale", "0.001"]) == 1
    said = capsys.readouterr().out
    assert "over it: million-children" in said
    with pytest.raises(SystemExit):
        main(["no-such-case"])


@pytest.mark.parametrize("backend", ["process", "thread", "serial"])
def test_a_consumer_that_stands_still(backend):
    """The source is read so far, and no further; then all goes on, and nothing was lost."""
    count = 25_000 if backend == "serial" else 150_000  # more than a fast node's queue and envelopes may hold
    read, quiet = [0], threading.Event()

    def source():
        for x in range(count):
            read[0] = x
            yield x

    stream = Graph(TaskManager(lambda x: x, "process", 2)).stream(source(), backend, ordered=True)
    assert next(stream).value == 0
    before = -1
    while before != read[0]:  # until it stands still
        before = read[0]
        quiet.wait(0.3)
    assert before < count - 1
    assert [item.value for item in stream] == list(range(1, count))


@pytest.mark.parametrize("window", [1, 2, 8])
def test_small_windows_never_deadlock(window):
    """However few tasks may be in flight, and however crooked the graph."""
    slow = TaskManager(lambda x: (time.sleep(0.001), x)[1], name="slow")
    start = TaskManager(lambda x: x, name="start")
    graphs = [
        start >> [slow, TaskManager(lambda x: x, name="quick")] >> Merger(lambda a, b: (a, b)),
        Splitter(lambda x: range(20), name="outer")
        >> Splitter(lambda x: range(3), name="inner")
        >> slow
        >> Merger(len, of="task"),
        Router(lambda x: ["a", "b"]) >> {"a": slow, "b": TaskManager(lambda x: x, name="quick")},
        Splitter(lambda x: range(30)) >> slow >> Merger(fold=(lambda a, b: a + b, 0)),
        start >> Merger(len, size=7) >> slow,
    ]
    for graph in graphs:
        result = graph.run(range(15), max_in_flight=window, max_bytes=1)
        holds(result)
        assert {o.status for o in result.outcomes} == {"done"}


def test_values_of_all_sizes_within_a_small_limit():
    """What is larger than the limit passes alone; nothing waits for ever."""
    sizes = [1, 2_000_000, 10, 30_000_000, 1, 500_000] * 3
    graph = TaskManager(bytes, "process", 2) >> TaskManager(lambda b: b + b"x", name="more") >> len
    result = graph.run(sizes, max_bytes="5MB")
    holds(result)
    assert result.values == [size + 1 for size in sizes]


def test_a_lease_is_as_large_as_its_values_allow():
    """Once it is known how large results are, so many are asked for at a time as fit into a lease."""
    plan = Graph(TaskManager(lambda x: x, "process", 1)).check()
    scheduler = Scheduler(plan)
    out = scheduler.handle([], 0.0)
    given, tokens = 0, []
    for step in range(200):
        events = []
        for command in out:
            match command:
                case do.Pull():
                    given += command.count
                    events.append(ev.Pulled(Sealed(bytes(command.count), command.count), command.count))
                case do.StartWorker():
                    events.append(ev.WorkerUp(command.worker))
                case do.Deliver():
                    count = command.job.count
                    tokens.append(count)
                    made = Sealed(b"", count)
                    made.size = 50_000 * count
                    events.append(
                        ev.Answer(command.worker, command.token, outputs=[ev.Produced(0, made)], seconds=1e-7 * count)
                    )
        out = scheduler.handle(events or [ev.TimePassed()], step * 0.001)
    assert max(tokens) <= LEASE_BYTES // 50_000
    assert max(tokens) > 8


def test_many_tiny_tasks_all_come_out(tmp_path):
    """Thirty thousand through three kinds of nodes, in a stream that is read in bursts."""
    graph = Router(lambda x: "ab"[x % 2]) >> {
        "a": TaskManager(lambda x: x, "process", 2, name="a"),
        "b": TaskManager(lambda x: -x, "thread", 2, name="b"),
    }
    seen = set()
    for item in itertools.islice(graph.stream(range(30_000), max_in_flight=5000), 30_000):
        seen.add(item.value)
    assert len(seen) == 30_000
