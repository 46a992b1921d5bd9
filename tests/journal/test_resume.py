"""Going on from where a run was stopped or killed: at every kind of node, on real backends, with real deaths."""

from __future__ import annotations

import os
import threading
import time

import pytest

import dagflow as df
from dagflow.errors import JournalError, WorkerDied
from dagflow.journal.memory import MemoryJournal

BACKENDS = ("serial", "thread", "process")


@pytest.fixture
def where(tmp_path):
    return tmp_path / "journal.db"


def kill_self():
    os.kill(os.getpid(), 9)


# -- the driver dies ----------------------------------------------------------------------------------------

GO_ON = """
import os, sys, dagflow as df
where, log, backend = sys.argv[1:4]
def note(text):
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\\n").encode())
    os.close(fd)
def lines():
    try:
        return open(log).read().split()
    except FileNotFoundError:
        return []
def a(n):
    note(f"a{n}")
    return n + 1
def b(n):
    note(f"b{n}")
    if n == 21 and lines().count("b21") < 3:
        os.kill(DRIVER, 9)
    return n * 2
DRIVER = os.getpid()
graph = df.TaskManager(a, name="a") >> df.TaskManager(b, name="b")
print(graph.run(range(60), backend, journal=where, max_in_flight=8).values == [(n + 1) * 2 for n in range(60)])
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_driver_that_is_killed_twice_goes_on_from_there(backend, where, log, drive):
    """What had ended is not executed again; what was under way is; the results are whole."""
    for _ in range(2):
        code, out, _ = drive(GO_ON, where, log.path, backend, check=False)
        assert code == -9
        assert out == ""
    _, out, _ = drive(GO_ON, where, log.path, backend)
    assert out == "True\n"
    runs = log.lines()
    again = {line for line in runs if runs.count(line) > 1}
    assert runs.count("b21") == 3
    assert set(runs) == {f"a{n}" for n in range(60)} | {f"b{n + 1}" for n in range(60)}
    assert len(again) <= 16  # no more than what was in flight at two deaths
    assert drive(GO_ON, where, log.path, backend)[1] == "True\n"
    assert log.lines() == runs
    with df.open_journal(where) as journal:
        assert [r.state for r in journal.runs] == ["interrupted", "interrupted", "finished", "finished"]


KILLER = """
import os, sys, threading, time, dagflow as df
where, log, backend = sys.argv[1:4]
lock = threading.Lock()
def note(text):
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\\n").encode())
    os.close(fd)
def work(n):
    note(f"begin {n}")
    if n == 5 and open(log).read().count("begin 5") < 3:
        os.kill(os.getpid(), 9)
    note(f"end {n}")
    return n
graph = df.Graph(df.TaskManager(work, "thread", 4, name="work")) >> df.TaskManager(lambda n: n, name="after")
print(graph.run(range(30), backend, journal=where).values == list(range(30)))
"""


def test_a_task_that_killed_the_driver_runs_alone_and_last(where, log, drive):
    """Not to take anything with it once more; it is not failed for that."""
    drive(KILLER, where, log.path, "thread", check=False)
    first = len(log)
    code, _, _ = drive(KILLER, where, log.path, "thread", check=False)
    assert code == -9
    second = log.since(first)
    assert second[-1] == "begin 5" or "begin 5" in second  # it killed the driver again, among the last
    third = len(log)
    assert drive(KILLER, where, log.path, "thread")[1] == "True\n"
    at = log.lines().index("begin 5", third)
    assert log.lines()[at + 1] == "end 5"  # alone: nothing began or ended beside it
    begun = [line for line in log.since(third) if line.startswith("begin")]
    suspects = {
        f"begin {n}" for n in range(30) if f"begin {n}" in log.lines()[:first] and f"end {n}" not in log.lines()[:first]
    }
    assert set(begun[-1:]) <= suspects | {"begin 5"}


def test_attempts_and_deaths_of_workers_are_counted_on(where, log, drive):
    """Over the death of the driver: a task does not get its attempts anew."""
    code = """
import os, sys, dagflow as df
where, log = sys.argv[1:3]
def note(text):
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\\n").encode())
    os.close(fd)
def count(text):
    return open(log).read().split().count(text)
def flaky(n):
    note(f"f{n}")
    if n == 1 and count("f1") == 2:
        os.kill(DRIVER, 9)
    raise ConnectionError("no")
def deadly(n):
    note(f"d{n}")
    if count(f"d{n}") == 2:
        note("driver")
        os.kill(DRIVER, 9)
    os._exit(1)
DRIVER = os.getpid()
which = {"flaky": flaky, "deadly": deadly}[sys.argv[3]]
graph = df.Graph(df.TaskManager(which, max_retries=2, retry_delay=0.001, name="node"))
outcome = graph.run([1], "process", journal=where).outcomes[0]
print(type(outcome.error).__name__, str(outcome.error.__notes__[0]))
"""
    for kind, error, most in (("flaky", "ConnectionError", 4), ("deadly", "WorkerDied", 4)):
        mine = where.with_name(f"{kind}.db")
        side = type(log)(where.with_name(f"{kind}.log"))
        assert drive(code, mine, side.path, kind, check=False)[0] == -9
        _, out, _ = drive(code, mine, side.path, kind)
        assert out.startswith(error)
        assert 3 <= len([line for line in side.lines() if line[1:] == "1"]) <= most
        assert drive(code, mine, side.path, kind)[1] == out
    assert issubclass(WorkerDied, Exception)


# -- the run is stopped -------------------------------------------------------------------------------------


def interrupted(graph, where, tasks, after, backend="thread", **options):
    """A run that is stopped when ``after`` outputs have come; its source then blocks."""
    gate = threading.Event()

    def source():
        yield from tasks
        gate.wait()

    stream = graph.stream(source(), backend, journal=where, **options)
    got = [next(stream) for _ in range(after)]
    stream.close()
    gate.set()
    return got


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_split_goes_on_after_the_last_child_that_is_on_record(backend, where, log):
    """Children that were accepted are not made into tasks again, nor worked on again."""

    def children(n):
        log(f"split {n}")
        for child in range(400):
            yield n * 1000 + child

    def work(n):
        log(f"work {n}")
        time.sleep(0.002)  # so that not all is done when the first have come out
        return n

    graph = df.Splitter(children, name="children") >> df.TaskManager(work, name="work")
    interrupted(graph, where, [1], 150, backend)
    before = set(log.lines())
    assert "work 1399" not in before
    count = len(log)
    result = graph.run([1], backend, journal=where)
    assert result.values == list(range(1000, 1400))
    with df.open_journal(where) as journal:
        assert journal.counts["work"].succeeded == 400
    again = set(log.since(count)) & before - {"split 1"}
    assert len(again) <= 50  # at most what had not come out when it was stopped
    assert graph.run([1], backend, journal=where).reused == 1
    assert log.since(count).count("split 1") == 1


def test_open_scopes_and_folds_are_closed_once(where, log):
    """Members from before and from now are merged together; what was merged is not merged again."""

    def work(n):
        log(f"work {n}")
        return n

    def total(members):
        log(f"total {members[0] // 100}")
        return sum(members)

    graph = (
        df.Splitter(lambda n: [n * 100 + c for c in range(20)], name="split")
        >> df.TaskManager(work, "thread", 4, name="work")
        >> df.Merger(total, name="total")
        >> df.Merger(fold=(lambda a, b: a + b, 0), of="run", name="whole")
    )
    memory = MemoryJournal()
    expected = graph.run(range(8), "serial").values
    for _ in range(4):
        with pytest.raises(Stop):
            graph.run(stop_after(range(8), 2), "thread", journal=memory)
    assert graph.run(range(8), "thread", journal=memory).values == expected
    assert sorted(line for line in log.lines() if line.startswith("total")) == sorted(
        [f"total {n}" for n in range(8)] + [f"total {n}" for n in range(8)]  # once without a journal, once with it
    )
    count = len(log)
    assert graph.run(range(8), "serial", journal=memory).values == expected
    assert len(log) == count
    grown = graph.run(range(9), "serial", journal=memory).values
    assert grown == graph.run(range(9), "serial").values
    assert [line for line in log.since(count) if line.startswith("total")].count("total 8") == 2


class Stop(Exception):
    pass


def stop_after(tasks, count):
    """A source that breaks off a little later each time."""
    for at, task in enumerate(tasks):
        if at == count:
            raise Stop
        yield task


def test_of_equal_tasks_the_first_counts_whenever_it_came(where, log):
    """A key that was seen in an earlier run is seen; one whose task failed is not."""
    broken = {"yes": True}

    def work(n):
        log(f"work {n}")
        if n == 2 and broken["yes"]:
            raise ValueError
        return n

    graph = df.Graph(df.TaskManager(work, name="work", deduplicate=True, max_retries=0))
    first = graph.run([1, 1, 2, 3], "serial", journal=where)
    assert [o.status for o in first.outcomes] == ["done", "dropped", "failed", "done"]
    broken["yes"] = False
    again = graph.run([1, 1, 2, 3, 1, 2, 3, 4], "serial", journal=where)
    assert [o.status for o in again.outcomes] == [
        "done",
        "dropped",
        "failed",
        "done",
        "dropped",
        "done",
        "dropped",
        "done",
    ]
    assert log.lines() == ["work 1", "work 2", "work 3", "work 2", "work 4"]
    assert again.counts["work"].duplicates == 3


def test_routes_and_failures_branches_are_taken_as_before(where):
    """Copies, drops, unknown labels, handled failures: nothing runs again, and the counts are the same."""

    def label(n):
        return (
            df.DROP if n % 7 == 0 else ["a", "b"] if n % 5 == 0 else "nowhere" if n % 11 == 0 else "a" if n % 2 else "b"
        )

    def half(n):
        if n % 3 == 0:
            raise ZeroDivisionError(n)
        return n / 2

    odd = df.TaskManager(half, name="half", max_retries=0)
    graph = df.Router(label, name="label") >> {"a": odd, "b": df.TaskManager(str, name="text")}
    graph = graph | (
        odd.failures >> df.TaskManager(lambda f: (f.node, f.task, f.attempts, repr(f.error)), name="saved")
    )
    first = graph.run(range(60), "process", journal=where)
    again = graph.run(range(60), "serial", journal=where)
    assert [(o.status, o.values, repr(o.error)) for o in again.outcomes] == [
        (o.status, o.values, repr(o.error)) for o in first.outcomes
    ]
    assert again.counts == first.counts
    assert again.reused == 60


def test_values_that_cannot_be_kept_are_made_again(where, log):
    """In one process they may be anything; what made them is done again when they are needed, and only then."""

    def lock(n):
        log(f"lock {n}")
        return threading.Lock() if n % 2 else n

    def use(value):
        log("use")
        return type(value).__name__

    graph = df.TaskManager(lock, name="lock") >> df.TaskManager(use, name="use")
    first = graph.run(range(6), "thread", journal=where)
    assert first.values == ["int", "lock"] * 3
    count = len(log)
    again = graph.run(range(6), "thread", journal=where)
    assert again.values == first.values
    assert sorted(log.since(count)) == ["lock 1", "lock 3", "lock 5"]


def test_the_merge_of_a_run_of_no_tasks_is_given_again(where, log):
    """It is made anew only when there is something to merge."""

    def total(members):
        log(f"{members}")
        return sum(members)

    graph = df.TaskManager(abs, name="a") >> df.Merger(total, of="run", name="m")
    for _ in range(2):
        assert graph.run([], "serial", journal=where).values == [0]
    assert log.lines() == ["[]"]
    for _ in range(2):
        assert graph.run([-3], "serial", journal=where).values == [3]
    assert log.lines() == ["[]", "[3]"]


def test_a_source_task_that_cannot_be_kept_ends_the_source(where):
    """As if the source had raised: all that it had given before has ended."""
    graph = df.Graph(df.TaskManager(lambda task: type(task).__name__, name="type"))
    with pytest.raises(JournalError, match=r"source task 2 cannot be kept .*cannot be pickled") as caught:
        graph.run([1, 2, threading.Lock(), 4], "thread", journal=where)
    assert [o.status for o in caught.value.result.outcomes] == ["done", "done"]


def test_streams_live_runs_and_loops_have_journals_too(where, log):
    """The same arguments, the same meaning."""
    import asyncio

    def work(n):
        log(f"work {n}")
        return n * 10

    graph = df.Graph(df.TaskManager(work, name="work"))
    assert sorted(out.value for out in graph.stream(range(3), "thread", journal=where)) == [0, 10, 20]
    with graph.open("thread", journal=where) as live:
        for n in range(4):
            live.submit(n)
    assert live.wait().values == [0, 10, 20, 30]
    assert asyncio.run(graph.arun(range(5), "thread", journal=where)).values == [0, 10, 20, 30, 40]

    async def collect():
        return [out.value async for out in graph.astream(range(6), "thread", ordered=True, journal=where)]

    assert asyncio.run(collect()) == [0, 10, 20, 30, 40, 50]
    assert sorted(log.lines()) == [f"work {n}" for n in range(6)]
    for bad in (lambda: graph.open(journal="nix://"), lambda: list(graph.stream([1], journal="nix://"))):
        with pytest.raises(JournalError):
            bad()
    with pytest.raises(JournalError, match="no folder"):
        graph.open("thread", journal=where.parent / "no" / "where.db")


def test_a_result_is_handed_out_only_when_it_is_on_record(where):
    """What a stream has given is in the journal, whatever happens next."""

    class Watching(MemoryJournal):
        kept = 0

        def write(self, turn):
            super().write(turn)
            Watching.kept += len(turn.rows)

    seen = []
    memory = Watching()
    for out in df.Graph(df.TaskManager(lambda n: n, name="same")).stream(range(20), "serial", journal=memory):
        seen.append((out.value, Watching.kept))
    assert [value for value, _ in seen] == list(range(20))
    assert all(kept > 0 for _, kept in seen)
    assert [kept for _, kept in seen] == sorted(kept for _, kept in seen)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_journal_nothing_is_noted(backend):
    """Notes for a journal are not even made."""
    from dagflow.core import commands as do
    from dagflow.core.scheduler import Scheduler

    made = []
    handle = Scheduler.handle

    def watched(self, events, now):
        out = handle(self, events, now)
        made.extend(item for item in out if isinstance(item, (do.Settled, do.Leased, do.Tried, do.Fired, do.Recall)))
        return out

    Scheduler.handle = watched
    try:
        df.Graph(df.TaskManager(str, name="text")).run(range(10), backend)
    finally:
        Scheduler.handle = handle
    assert made == []
