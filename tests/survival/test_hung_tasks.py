"""Tasks that never end: with ``timeout=`` they fail, their worker is replaced, and nothing else is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time

import psutil
import pytest
from survival_made import failed, fates, holds

from dagflow import Graph, Merger, Splitter, TaskManager, TaskTimeout, WorkerDied
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.crew import HANDLING_SECONDS
from dagflow.core.invariants import check
from dagflow.core.scheduler import Scheduler
from dagflow.testing.witnesses import Log
from dagflow.work.values import live

pytestmark = pytest.mark.timeout(60)
CHILD = ["sleep", "600.25"]  # as nobody else on this machine sleeps


def hang(how):
    if how == "sleep":
        time.sleep(600)
    if how == "deaf":
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
    if how == "c code":  # never gives the interpreter's lock away
        re.match(r"(a+)+$", "a" * 64 + "b")
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "child":
        subprocess.run(CHILD)


def sleepers():
    return [p for p in psutil.process_iter(["cmdline", "status"]) if p.info == {"cmdline": CHILD, "status": "sleeping"}]


@pytest.mark.parametrize("how", ["sleep", "deaf", "c code", "stopped", "child"])
def test_a_hung_process_task_is_killed(how, tmp_path):
    """Whatever it is stuck in; the processes that it started go with it; a hundred good tasks are done."""
    log = Log(tmp_path / "log")

    def work(x):
        log.add(x)
        if x == 17:
            hang(how)
        return -x

    start = time.monotonic()
    result = Graph(TaskManager(work, "process", 2, timeout=0.3, max_retries=0)).run(range(100))
    assert time.monotonic() - start < 15
    holds(result)
    assert fates(result) == [(x, "done", [-x]) if x != 17 else (x, "failed", []) for x in range(100)]
    error = result.outcomes[17].error
    assert isinstance(error, TaskTimeout)
    for part in ("timeout of 0.3 s", "node 'work'", "source task 17"):
        assert part in str(error)
    assert log.lines().count("17") == 1
    if how == "child":
        until = time.monotonic() + 5
        while sleepers():
            assert time.monotonic() < until


def test_half_of_the_tasks_hang(tmp_path):
    """Each has all its attempts; the others lose none of theirs."""
    log = Log(tmp_path / "log")

    def work(x):
        log.add(x)
        if x % 2:
            time.sleep(600)
        return x

    node = TaskManager(work, "process", 2, timeout=0.15, max_retries=1, retry_delay=0.01)
    result = Graph(node).run(range(12))
    holds(result)
    assert failed(result) == [1, 3, 5, 7, 9, 11]
    assert {type(o.error) for o in result.outcomes if o.error} == {TaskTimeout}
    assert [log.lines().count(str(x)) for x in range(1, 12, 2)] == [2] * 6
    assert result.counts["work"].retried == 6


@pytest.mark.parametrize("mode", ["thread", "async", "serial"])
@pytest.mark.parametrize("backend", ["process", "thread"])
def test_hung_threads_are_abandoned(mode, backend, tmp_path):
    """They cannot be killed: their tasks fail, others take their places; a coroutine is cancelled, and not waited for."""
    release = threading.Event()

    def sync(x):
        if x % 10 == 7:
            release.wait(20) if backend == "thread" else time.sleep(600)
        return x

    async def swallows(x):
        import asyncio

        while x % 10 == 7:
            try:
                await asyncio.sleep(0.5 if release.is_set() else 600)
                return x
            except asyncio.CancelledError:
                if backend == "thread" and release.is_set():
                    raise
        return x

    if backend == "process":
        release = None

        async def swallows(x):  # noqa: F811 - no event can travel
            import asyncio

            while x % 10 == 7:
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    pass
            return x

    start = time.monotonic()
    function = swallows if mode == "async" else sync
    node = TaskManager(function, mode, 3, timeout=0.2, max_retries=0, name="work")
    result = Graph(node).run(range(40), backend)
    if release is not None:
        release.set()
    holds(result)
    assert failed(result) == [7, 17, 27, 37]
    assert {type(o.error) for o in result.outcomes if o.error} == {TaskTimeout}
    assert time.monotonic() - start < 15


def test_no_more_threads_can_be_started(monkeypatch):
    """So many hung threads were abandoned that the system gives no more: the run ends, and says what happened."""
    release, started, plain = threading.Event(), [], threading.Thread.start

    def start(thread):
        if thread.name == "dagflow hangs":
            if len(started) >= 4:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        plain(thread)

    def hangs(x):
        release.wait(30)
        return x

    monkeypatch.setattr(threading.Thread, "start", start)
    result = Graph(TaskManager(hangs, "thread", 2, timeout=0.05, max_retries=0)).run(range(10), "thread")
    release.set()
    holds(result)
    kinds = {type(o.error) for o in result.outcomes}
    assert kinds == {TaskTimeout, WorkerDied}
    [died, *_] = [o.error for o in result.outcomes if isinstance(o.error, WorkerDied)]
    assert "broke down (RuntimeError: can't start new thread)" in str(died)


def test_a_batch_that_hangs_fails_as_a_whole(tmp_path):
    """As it does when it raises; tasks of other batches in the same envelope are not touched."""

    def work(tasks):
        if 13 in tasks:
            time.sleep(600)
        return [-t for t in tasks]

    for backend in ("process", "thread"):
        node = TaskManager(work, "process", 2, batch_size=4, timeout=0.3, max_retries=0)
        result = Graph(node).run(range(40), backend)
        holds(result)
        lost = failed(result)
        assert 13 in lost
        assert 1 <= len(lost) <= 4
        assert {type(result.outcomes[x].error) for x in lost} == {TaskTimeout}
        assert result.values == [-x for x in range(40) if x not in lost]


def test_splits_and_merges_that_hang():
    """A hung split fails after the children that it gave; a hung merge fails its scope."""

    def children(x):
        yield x
        if x == 2:
            time.sleep(600)
        yield x

    split = (Splitter(children, timeout=0.3, max_retries=0) >> Merger(list, on_missing="skip")).run(range(5))
    holds(split)
    assert [o.status for o in split.outcomes] == ["done", "done", "failed", "done", "done"]
    assert isinstance(split.outcomes[2].error, TaskTimeout)
    merged = (
        Splitter(lambda x: [x]) >> Merger(lambda m: time.sleep(600) if m == [3] else m, timeout=0.3, max_retries=0)
    ).run(range(5))
    holds(merged)
    assert failed(merged) == [3]


# -- in made-up time ------------------------------------------------------------------------------------


class Made:
    """A scheduler with one worker process, and a clock that is turned by hand."""

    def __init__(self, **options):
        self.plan = Graph(TaskManager(lambda x: x, "process", 1, name="node", **options)).check()
        self.scheduler = Scheduler(self.plan)
        self.now = 0.0
        self.out = self.tell()

    def tell(self, *events, at=None):
        self.now = at if at is not None else self.now
        self.out = self.scheduler.handle(list(events) or [ev.TimePassed()], self.now)
        check(self.scheduler)
        return self.out

    def of(self, kind):
        return [c for c in self.out if isinstance(c, kind)]

    def probed(self):
        """The worker that is asked what it is at (maybe for two reasons at once)."""
        [worker] = {probe.worker for probe in self.of(do.Probe)}
        return worker

    def begin(self, tasks):
        self.tell(ev.Pulled(live(list(range(tasks))), tasks), ev.SourceEnded())
        [started] = self.of(do.StartWorker)
        self.tell(ev.WorkerUp(started.worker, killable=True))
        [delivered] = self.of(do.Deliver)
        return delivered

    def whole(self, delivered):
        count = delivered.job.count
        outputs = [ev.Produced(0, live(list(range(count))))]
        return ev.Answer(delivered.worker, delivered.token, outputs=outputs, seconds=1e-6 * count)

    def answer(self, delivered):
        self.tell(self.whole(delivered))
        return self.of(do.Deliver)


def test_values_that_hang_while_they_are_read_are_found_by_halving():
    """A timeout is for the function: reading and sealing have more time, but not for ever."""
    made = Made(timeout=0.5, max_retries=0)
    delivered = made.begin(64)
    while delivered.job.count < 4:  # until envelopes have grown
        [delivered] = made.answer(delivered)
    count, kills, failed = delivered.job.count, 0, []
    while delivered is not None and not failed:
        began = made.now
        made.tell(at=began + 0.6)
        worker = made.probed()
        made.tell(ev.Running(worker, delivered.token, ev.ANYWHERE, began))
        assert not made.of(do.StopWorker), "killed while it read its values, within the time for that"
        made.tell(at=began + HANDLING_SECONDS + 0.1)
        worker = made.probed()
        made.tell(ev.Running(worker, delivered.token, ev.ANYWHERE, began))
        assert [stop.kill for stop in made.of(do.StopWorker)] == [True]
        kills += 1
        failed = [f for f in made.out if isinstance(f, do.TaskFailed)]
        [started] = made.of(do.StartWorker) or made.of(do.StartWorker) or [None]
        if failed:
            break
        made.tell(ev.WorkerUp(started.worker, killable=True))
        [delivered] = made.of(do.Deliver)
        assert delivered.job.count == max(1, count // 2**kills)
    assert [f.error.kind for f in failed] == ["timeout"]
    assert "could not be read or sealed within 10 s" in failed[0].error.message
    assert count // 2 ** (kills - 1) == 1


def test_a_late_wake_up_judges_nobody_whose_answer_is_there():
    """The answer stands before the probe's reply in the mailbox: what has ended is not late."""
    made = Made(timeout=0.5, max_retries=0)
    delivered = made.begin(1)
    made.tell(at=10.0)
    worker = made.probed()
    made.tell(made.whole(delivered), ev.Running(worker, delivered.token, 0, 0.0))
    assert not [f for f in made.out if isinstance(f, do.TaskFailed)]
    assert made.scheduler.finished
