"""The verdict on runs whose bottleneck is known, and its words."""

from __future__ import annotations

import os
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagflow as df
from dagflow import Merger, Splitter, TaskManager
from dagflow.core.commands import StartWorker
from dagflow.core.events import PauseAsked, Pulled, TimePassed, WorkerUp
from dagflow.core.record import replace
from dagflow.core.scheduler import Scheduler
from dagflow.meter import Meter, cores
from dagflow.observe.case import Case, Part, case_of, case_of_traces
from dagflow.observe.verdict import busy, verdict
from dagflow.work.values import Values

BACKENDS = ("serial", "thread", "process")
ABREAST = ("thread", "process")


@pytest.fixture(autouse=True)
def _quiet():
    from loguru import logger

    logger.disable("dagflow")
    yield
    logger.enable("dagflow")


def fast(x):
    return x


def slow(x):
    time.sleep(0.012)
    return x


def half(x):
    time.sleep(0.004)
    return x


def burn(x):
    until = time.thread_time() + 0.006
    while time.thread_time() < until:
        pass
    return x


def lines(result):
    first, *rest = result.explain().splitlines()
    assert result.summary().endswith(result.explain()), "the summary ends with it"
    return first, "\n".join(rest)


def gain(text):
    return float(re.search(r"about (\d+\.\d) times as fast", text)[1])


# -- runs whose bottleneck is known ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ABREAST)
def test_a_slow_serial_node(backend):
    """The tasks wait long enough for what it takes to wake up on a busy machine to be little beside it."""
    slow = TaskManager(lambda x: time.sleep(0.05), name="slow")
    half = TaskManager(lambda x: time.sleep(0.02), name="half")
    result = (TaskManager(fast) >> slow >> half).run(range(25), backend)
    first, then = lines(result)
    assert re.match(
        r"'slow' limits the run: its one worker was busy \d+% of the time\. Its queue held \d+ tasks", first
    )
    assert then.startswith('With 3 workers instead of 1 (execution_mode="thread")')
    assert "then 'half' limits it." in then and 2.0 < gain(then) < 3.0
    assert result.snapshot.nodes[result.busy().limits].name == "slow", "the picture marks the same one"


@pytest.mark.parametrize("backend", ABREAST)
def test_what_it_promises_is_what_comes(backend):
    """With the workers that it names the run is about as many times as fast, and the node that it names limits it."""

    def run(**options):  # two of the first are clearly faster than the next: neither of them by chance
        first = TaskManager(lambda x: time.sleep(0.05), name="first", **options)
        return (first >> TaskManager(lambda x: time.sleep(0.03), name="next")).run(range(25), backend)

    before = run()
    promised = re.match(r"With (\d) workers .* then 'next' limits it\.", lines(before)[1])
    after = run(execution_mode="thread", worker_limit=int(promised[1]))
    worked = [r.snapshot.elapsed - r.snapshot.load.starting for r in (before, after)]
    assert gain(lines(before)[1]) == pytest.approx(worked[0] / worked[1], rel=0.4)
    assert lines(after)[0].startswith("'next' limits the run")


@pytest.mark.parametrize("backend", ABREAST)
def test_a_slow_node_of_some_width(backend):
    wide = TaskManager(lambda x: time.sleep(0.05), execution_mode="thread", worker_limit=3, name="wide")
    first, then = lines((TaskManager(fast) >> wide >> TaskManager(fast, name="out")).run(range(60), backend))
    assert re.match(r"'wide' limits the run: its 3 threads were busy (100|[6-9]\d)% of the time\.", first)
    assert (
        re.match(r"With \d+ workers instead of 3 it would be about (\d\.\d) times as fast", then) and gain(then) > 1.2
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_slow_source(backend, tmp_path):
    door = str(tmp_path / "door")
    os.mkfifo(door)

    def source():
        yield "knock"
        open(door).close()  # waits until the last node is there
        for n in range(30):
            time.sleep(0.03)
            yield n

    def half(x):
        if x == "knock":
            open(door, "w").close()
        time.sleep(0.004)

    first, then = lines((TaskManager(fast) >> TaskManager(half)).run(source(), backend))
    assert re.match(
        r"the source of the tasks limits the run: (100|[6-9]\d)% of the time it was waited for; .*'half'", first
    )
    assert then.startswith("More workers would bring nothing: give the tasks faster")


@pytest.mark.parametrize("backend", ABREAST)
def test_a_slow_consumer(backend, monkeypatch):
    monkeypatch.setattr("dagflow.api.SINK_ROOM", 256)
    stream = (TaskManager(fast) >> TaskManager(fast, name="out")).stream(range(3000), backend)
    for number, _ in enumerate(stream):
        if number % 10 == 0:
            time.sleep(0.002)
    first, *_ = stream.explain().splitlines()
    assert re.match(r"the consumer of the outputs limits the run: (100|[6-9]\d)% of the time they waited for it", first)
    assert stream.busy().limits is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_rate_limit(backend):
    first, then = lines((TaskManager(fast) >> TaskManager(half, rate_limit=60)).run(range(30), backend))
    assert re.match(r"'half' limits the run: \d+% of the time its rate_limit of 60 tasks/s held it back\.", first)
    assert "More workers would bring nothing: a higher rate_limit would" in then


@pytest.mark.parametrize("backend", ABREAST)
def test_a_machine_without_further_processors(backend):
    """However many others use it too: what they take is lacking here."""
    node = TaskManager(burn, execution_mode="process", worker_limit=cores())
    first, then = lines((TaskManager(fast) >> node).run(range(250 * cores()), backend))
    assert first.startswith("'burn' limits the run: ") and " in use (" in first
    assert then.startswith("More workers would bring nothing: make its function cheaper")


def test_a_busy_interpreter():
    """Threads that compute get in each other's way, and no further thread helps."""
    node = TaskManager(burn, execution_mode="thread", worker_limit=4)
    first, then = lines((TaskManager(fast) >> node).run(range(100), "thread"))
    assert first.startswith("'burn' limits the run")
    assert re.match("More threads would bring little, since|More workers would bring nothing", then)


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_tiny_tasks(backend):
    number = 20_000 if backend == "serial" else 300_000
    _, then = lines(
        (TaskManager(fast) >> TaskManager(fast, name="b") >> TaskManager(fast, name="c")).run(range(number), backend)
    )
    assert "put more into one task" in then.lower()


@pytest.mark.parametrize("backend", BACKENDS)
def test_retries_that_wait(backend):
    def fails(x):
        raise ConnectionError

    first, then = lines(df.Graph(TaskManager(fails, max_retries=2, retry_delay=0.2)).run(range(3), backend))
    assert re.match(r"waiting for retries limits the run: \d+% of the time .*'fails'", first)
    assert "retry_delay" in then


def test_max_in_flight():
    node = TaskManager(slow, execution_mode="thread", worker_limit=8)
    graph = node >> TaskManager(half, execution_mode="thread", worker_limit=8)
    first, then = lines(graph.run(range(60), "thread", max_in_flight=2))
    assert first.startswith("max_in_flight=2 limits the run")
    assert then == "More workers would bring nothing: a larger max_in_flight would."


def test_one_task_at_a_time():
    result = (TaskManager(fast) >> TaskManager(slow) >> TaskManager(half)).run(range(30), "serial")
    first, then = lines(result)
    assert re.match(
        r"'slow' limits the run: of all the time, in which one task at a time runs, it took [67]\d%\.", first
    )
    assert 1.2 < gain(then) < 1.6


@pytest.mark.parametrize("backend", ABREAST)
def test_too_few_tasks(backend):
    node = TaskManager(lambda x: time.sleep(0.05), execution_mode="thread", worker_limit=16, name="slow")
    first, then = lines(df.Graph(node).run(range(3), backend))
    assert re.match(r"'slow' limits the run, though no node was busy for most of the time: \d\.\d of its 16", first)
    assert "too few tasks" in then


@pytest.mark.parametrize("backend", ABREAST)
def test_a_slow_splitter_and_a_slow_merger(backend):
    def split(n):
        time.sleep(0.01)
        return range(5)

    first, _ = lines((Splitter(split) >> TaskManager(fast) >> Merger(list, name="join")).run(range(30), backend))
    assert first.startswith("'split' limits the run")

    def join(values):
        time.sleep(0.01)
        return sum(values)

    first, _ = lines((Splitter(range, name="split") >> TaskManager(fast) >> Merger(join)).run([5] * 30, backend))
    assert first.startswith("'join' limits the run")


def test_a_slow_start_is_told():
    text = df.Graph(TaskManager(fast)).run(range(3), "process").explain()
    assert re.search(r"\nBefore that, starting the workers took .*s\.$", text)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_tasks(backend):
    result = (TaskManager(fast) >> TaskManager(half)).run([], backend)
    assert result.explain() == "nothing limits the run: no node has ended a task"


def test_a_run_that_goes_on_can_be_asked():
    at_it, go_on = threading.Event(), threading.Event()
    with df.Graph(TaskManager(lambda x: (at_it.set(), go_on.wait(30), slow(x)), name="slow")).open("thread") as run:
        for n in range(20):
            run.submit(n)
        run.close()
        assert at_it.wait(30)
        assert run.explain() == "nothing limits the run: no node has ended a task"
        go_on.set()
        result = run.wait()
    assert result.explain().startswith("'slow' limits the run: its one worker was busy ")


def test_time_in_which_a_run_was_held_is_measured():
    scheduler = Scheduler(df.Graph(TaskManager(slow)).check())
    meter = Meter(scheduler, 100.0)
    for now, paused in ((101.0, False), (104.0, True), (104.5, False), (106.5, True)):
        scheduler.handle([PauseAsked(paused)], now - 0.1)
        meter.sample(now)
    assert meter.load().paused == 5.0


def test_workers_that_are_late_are_told_from_workers_with_little_to_do():
    """Of two workers one is up after a second, and the other two seconds later."""
    scheduler = Scheduler(df.Graph(TaskManager(slow, "process", 2)).check())
    meter = Meter(scheduler, 100.0)
    turns = ([Pulled(Values(range(1000)), 1000)], [TimePassed()])
    commands = [command for events in turns for command in scheduler.handle(events, 100.0)]
    first, second = (command.worker for command in commands if isinstance(command, StartWorker))
    for now, up in ((101.0, first), (103.0, second)):
        meter.sample(now)
        scheduler.handle([WorkerUp(up)], now)
    meter.sample(110.0)
    assert meter.load().starting == 1.0 + 2.0 / 2


def test_a_pause_changes_nothing_in_the_verdict():
    graph = df.Graph(TaskManager(slow))
    plan, now = graph.check(), graph.run(range(20), "thread").snapshot
    held = replace(now, elapsed=now.elapsed + 60, load=replace(now.load, paused=now.load.paused + 60))
    longer = replace(now, elapsed=now.elapsed + 60)
    told, told_held, told_longer = (verdict(case_of(plan, shot, in_process=True)) for shot in (now, held, longer))
    assert told_held == told
    assert told_longer != told


def test_traces_tell_too():
    graph = TaskManager(fast) >> TaskManager(slow, execution_mode="thread", worker_limit=3) >> TaskManager(half)
    for share in (1.0, 0.5):
        result = graph.run(range(90), "thread", trace=share)
        case = case_of_traces(result.traces, share)
        work = {part.name: part.work for part in case.parts}
        assert work["slow"] == pytest.approx(90 * 0.012, rel=0.5)
        assert work["half"] == pytest.approx(90 * 0.004, rel=0.8)
        assert verdict(case).startswith(("'slow' limits the run", "'half' limits the run"))
    assert verdict(case_of_traces([])) == "nothing limits the run: no node has ended a task"


# -- words -------------------------------------------------------------------------------------------------


def part(name, work, width=1, **more):
    return Part(name, more.pop("mode", "process"), width, more.pop("tasks", 100), work, function=work, **more)


def test_the_words_of_a_case():
    parts = (part("load", 4.0), part("parse", 9.7, queued=812.4, full=0.94, cpu=9.7), part("save", 5.0, mode="thread"))
    assert verdict(Case(parts, 10.0, machine=0.1, cores=8)) == (
        "'parse' limits the run: its one worker was busy 97% of the time. Its queue held 812 tasks on average and was "
        "full 94% of the time.\n"
        "With 2 workers instead of 1 it would be about 1.9 times as fast; then 'save' limits it."
    )


@pytest.mark.parametrize(
    ("tasks", "cpu", "why"),
    [
        (1_000_000, 30.0, "68% of the workers' time went into moving tasks, 1,000,000 through 'a' alone."),
        (9_700_000, 12.0, "a task takes 1 us, little more than calling its function, 9,700,000 through 'a' alone."),
    ],
)
def test_what_helps_where_all_processors_are_in_use(tasks, cpu, why):
    first, then = verdict(Case((part("a", 9.7, tasks=tasks, cpu=cpu),), 10.0, machine=0.97, cores=2)).splitlines()
    assert "all 2 processors of this machine were in use (97%), and its one worker was busy 97% of the time." in first
    more = "Put more into one task, or join nodes that follow each other into one function."
    assert then == f"More workers would bring nothing: {why} {more}"


@pytest.mark.parametrize("node", [{"cpu": 9.7}, {"mode": "thread", "own": False, "waits": None}])
def test_a_function_that_takes_long_can_be_made_cheaper(node):
    """Also where several nodes share a process, and how much of a processor each of them had is not known."""
    text = verdict(Case((part("a", 9.7, **node),), 10.0, machine=0.97, cores=2))
    assert "nothing: make its function cheaper, or use a machine with more processors." in text


def test_a_busy_machine_is_not_what_few_tasks_that_wait_are_short_of():
    """Others may use all of it meanwhile. Nodes that compute are short of it, however few of their workers do."""
    told = [verdict(Case((part("a", 3.0, 16, waits=w),), 10.0, machine=1.0, cores=2)) for w in (True, False, None)]
    assert told[0].startswith("'a' limits the run, though no node was busy for most of the time: 0.3 of its 16 workers")
    assert all("all 2 processors of this machine were in use (100%)" in text for text in told[1:])
    beside = part("a", 9.0, waits=True, own=False)
    assert "all 2 processors" in verdict(Case((beside,), 10.0, machine=1.0, cores=2)), "it may have waited for one"
    few = part("b", 24.0, 8, cpu=24.0, waits=False)
    text = verdict(Case((part("a", 64.0, 16, waits=True), few), 10.0, machine=1.0, cores=2))
    assert text.startswith("'b' limits the run: all 2 processors"), "another node computes on all of them"


def test_a_busy_machine_is_not_what_a_node_that_waits_all_the_time_is_short_of():
    """Even where another node stands in line for processors that others use."""
    others = part("a", 10.8, 2, cpu=10.8, waits=False)
    text = verdict(Case((part("slow", 8.4, waits=True), others), 10.0, machine=1.0, cores=2))
    assert text.splitlines() == [
        "'slow' limits the run: its one worker was busy 84% of the time.",
        "More workers would bring little: the machine limits the run nearly as much.",
    ]


def test_the_next_limit_may_be_anything():
    node = part("a", 9.0, waits=True, mode="thread")
    assert "then dagflow's own work limits it" in verdict(Case((node,), 10.0, ring=0.45))
    assert "then the machine limits it" in verdict(Case((node,), 10.0, machine=0.45, cores=4))
    limited = part("b", 1.0, rate=20.0)
    assert "then the rate_limit of 'b' limits it" in verdict(Case((node, limited), 10.0))
    near = part("b", 8.9)
    assert "More workers would bring little: 'b' limits the run nearly as much." in verdict(Case((node, near), 10.0))


@pytest.mark.parametrize("nearly", [0.0, 2.2e-309, 1e-300])
def test_where_nothing_else_would_limit_none_is_named(nearly):
    text = verdict(Case((part("a", 9.0), part("b", nearly)), 10.0))
    assert text.splitlines()[1] == "With 2 workers instead of 1 it would be about 2.0 times as fast."


def test_one_small_part_among_many_is_no_bottleneck():
    """Where one task at a time runs, and each of many nodes takes a little of the time, none is marked in pictures."""
    many = Case(tuple(part(f"n{n}", 0.1) for n in range(92)), 9.2, one_by_one=True)
    assert verdict(many).startswith("'n0' limits the run no more than others")
    assert busy(many).limits is None
    one = Case((part("a", 0.1), part("b", 5.0)), 5.1, one_by_one=True)
    assert verdict(one).startswith("'b' limits the run: of all the time")
    assert busy(one).limits == 1


def test_names_are_made_harmless():
    result = df.Graph(TaskManager(slow, name="a\x1b[2Jb")).run(range(20), "thread")
    assert "\x1b" not in result.explain()


shares = st.floats(0.0, 1.0)


@given(
    parts=st.lists(
        st.builds(part, st.sampled_from("abcdef"), st.floats(0, 50), st.integers(1, 20), waits=st.none() | st.booleans(),
                  own=st.booleans(), queued=st.floats(0, 1e6), full=shares, throttled=shares,
                  rate=st.none() | st.floats(0.1, 1e6), cpu=st.floats(0, 50), tasks=st.integers(0, 10**6)),
        max_size=6,
    ),
    span=st.floats(1e-6, 100), source=shares, consumer=shares, retries=shares, in_flight=shares, ring=shares,
    driver=st.floats(0, 4), machine=st.floats(0, 4), cores=st.integers(0, 64), one_by_one=st.booleans(),
)  # fmt: skip
def test_any_case_has_a_first_line_that_says_what_limits(parts, span, **more):
    text = verdict(Case(tuple(parts), span, **more))
    first = text.splitlines()[0]
    assert "limits the run" in first
    if not any(p.tasks for p in parts):
        assert first.startswith("nothing limits")
    else:
        assert any(repr(p.name) in first for p in parts), "a node is named, if only as the busiest of them"


def test_how_many_processors_there_are():
    assert 1 <= cores() <= (os.cpu_count() or 1)
