"""Stopping: by the keyboard, by a signal, by the program. Reading stops, what runs ends (or is killed), all is told."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from survival_made import Driver, Terminal, holds

from dagflow import Graph, Merger, RunCancelled, Splitter, TaskManager
from dagflow.testing.witnesses import Gate, Log

pytestmark = pytest.mark.timeout(60)

BACKENDS = ["process", "thread", "serial"]

# Tasks run until the gate opens. What came of the run is told by the result that hangs on the exception.
SCRIPT = """
gate, log = Gate(HERE + "/gate"), Log(HERE + "/log")
def work(x):
    log.add(f"begin {{x}}")
    gate.walk_through()
    log.add(f"end {{x}}")
    return x
say("go")
try:
    Graph(TaskManager(work, "process", 2)).run(tasks() if {lazy} else range(50), "{backend}")
except KeyboardInterrupt as stop:
    outcomes = stop.result.outcomes
    begun = [int(line.split()[1]) for line in log.lines() if line.startswith("begin")]
    ended = [int(line.split()[1]) for line in log.lines() if line.startswith("end")]
    done = [o.task for o in outcomes if o.status == "done"]
    say("interrupted", sorted(done) == sorted(ended), {{o.status for o in outcomes}} <= {{"done", "cancelled"}},
        len(begun) == len(ended), len(outcomes))
    sys.exit(130)
"""


def script(backend, lazy=False):
    source = """
def tasks():
    for x in range(50):
        yield x
        if x == 3:
            threading.Event().wait()
"""
    return source + SCRIPT.format(backend=backend, lazy=lazy)


def begun(tmp_path):
    log, until = Log(tmp_path / "log"), time.monotonic() + 20
    while not log.lines():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_once(backend, tmp_path):
    """At the keyboard of a real terminal: running tasks end, the rest is cancelled; the workers see nothing of it."""
    gate = Gate(tmp_path / "gate")
    with gate.shut() as open_it, Terminal(tmp_path, script(backend)) as driver:
        driver.expect("go")
        begun(tmp_path)
        driver.ctrl_c()
        time.sleep(0.2)
        assert driver.process.poll() is None, "did not wait for the running tasks"
        open_it()
        assert driver.end() == 130, driver.output
        lines = driver.output.splitlines()
    assert [line for line in lines if line not in ("go", "^C")] == ["interrupted True True True 50"], lines


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_twice(backend, tmp_path):
    """The second time nobody is waited for; every task has its outcome all the same."""
    gate = Gate(tmp_path / "gate")
    with gate.shut(), Terminal(tmp_path, script(backend)) as driver:
        driver.expect("go")
        begun(tmp_path)
        start = time.monotonic()
        driver.ctrl_c()
        time.sleep(0.1)
        driver.ctrl_c()
        assert driver.end() == 130, driver.output
        assert time.monotonic() - start < 10
        lines = driver.output.splitlines()
    assert "interrupted True True False 50" in lines
    assert "Traceback" not in driver.output


@pytest.mark.parametrize("backend", ["process", "thread"])
def test_ctrl_c_while_the_source_is_blocked(backend, tmp_path):
    """A source that waits for ever cannot hold up the stop; what it had given has its outcomes."""
    gate = Gate(tmp_path / "gate")
    with gate.shut() as open_it, Terminal(tmp_path, script(backend, lazy=True)) as driver:
        driver.expect("go")
        begun(tmp_path)
        open_it()
        until = time.monotonic() + 20
        while len([line for line in Log(tmp_path / "log").lines() if line.startswith("end")]) < 4:
            assert time.monotonic() < until
            time.sleep(0.01)
        driver.ctrl_c()
        assert driver.end() == 130, driver.output
    assert "interrupted True True True 4" in driver.output


def test_ctrl_c_while_workers_start(tmp_path):
    """Before anything runs: neither the zygote nor a worker is hurt, or says a word."""
    text = """
    class Slow:
        def __init__(self):
            Log(HERE + "/log").add("begin 0")
            time.sleep(600)
        def __call__(self, x):
            return x
    say("go")
    Graph(TaskManager(Slow, "process", 2)).run(range(5))
    """
    with Terminal(tmp_path, text) as driver:
        driver.expect("go")
        begun(tmp_path)
        driver.ctrl_c()
        driver.end()
        assert driver.output.count("Traceback") == 1, driver.output
        assert driver.output.strip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("kind", ["stream", "open", "arun"])
def test_ctrl_c_where_the_run_has_a_thread_of_its_own(kind, tmp_path):
    """There the interrupt is the user's own exception, and ends the run like any other."""
    text = (
        """
    import asyncio
    def work(x):
        Log(HERE + "/log").add(f"begin {x}")
        time.sleep(600 if x == 5 else 0)
        return x
    graph = Graph(TaskManager(work, "process", 2))
    say("go")
    try:
        """
        + {
            "stream": "list(graph.stream(range(50)))",
            "open": "with graph.open() as run: run.submit(5); time.sleep(600)",
            "arun": "asyncio.run(graph.arun(range(50)))",
        }[kind]
        + """
    except KeyboardInterrupt:
        import psutil
        say("interrupted", psutil.Process().children())
    """
    )
    with Terminal(tmp_path, text) as driver:
        driver.expect("go")
        begun(tmp_path)
        driver.ctrl_c()
        assert driver.end() == 0, driver.output
        assert "interrupted []" in driver.output
        assert "Traceback" not in driver.output


@pytest.mark.parametrize("backend", BACKENDS)
def test_sigterm(backend, tmp_path):
    """As the first Ctrl-C; then the process ends as one that was terminated, its output flushed."""
    text = script(backend).replace('say("go")', 'say("go"); import atexit; sys.stdout.write("kept\\n")')
    gate = Gate(tmp_path / "gate")
    with gate.shut() as open_it, Driver(tmp_path, text) as driver:
        driver.expect("go")
        begun(tmp_path)
        os.kill(driver.pid, signal.SIGTERM)
        time.sleep(0.2)
        assert driver.process.poll() is None, "did not wait for the running tasks"
        open_it()
        assert driver.end() == -signal.SIGTERM
        assert driver.output == "kept\n"
        assert driver.stderr() == ""
    lines = Log(tmp_path / "log").lines()
    assert len([x for x in lines if x.startswith("begin")]) == len([x for x in lines if x.startswith("end")])


def test_sigterm_of_somebody_who_has_a_handler(tmp_path):
    """It is theirs, and so is what follows."""
    text = """
    def term(number, frame):
        raise SystemExit(55)
    signal.signal(signal.SIGTERM, term)
    def work(x):
        Log(HERE + "/log").add(f"begin {x}")
        time.sleep(600)
    say("go")
    Graph(TaskManager(work, "process", 2)).run(range(5))
    """
    with Driver(tmp_path, text) as driver:
        driver.expect("go")
        begun(tmp_path)
        os.kill(driver.pid, signal.SIGTERM)
        assert driver.end() == 55, driver.stderr()


def test_an_ignored_interrupt_stays_ignored(tmp_path):
    """As in a script that a shell started in the background."""
    text = """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    def work(x):
        Log(HERE + "/log").add(f"begin {x}")
        time.sleep(0.01)
        return x
    say("go")
    say(len(Graph(TaskManager(work, "process", 2)).run(range(60)).values), signal.getsignal(signal.SIGINT))
    """
    with Driver(tmp_path, text) as driver:
        driver.expect("go")
        begun(tmp_path)
        os.kill(driver.pid, signal.SIGINT)
        assert driver.end() == 0
        assert driver.output.startswith("60 ")


@pytest.mark.parametrize("backend", BACKENDS)
def test_signals_are_as_before(backend):
    """After a run, and inside of its workers."""
    mine = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGTERM)
        Graph(TaskManager(lambda x: x, "process", 1)).run([1], backend)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, mine)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        [blocked] = Graph(lambda x: len(signal.pthread_sigmask(signal.SIG_BLOCK, []))).run([0], "process").values
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    assert blocked == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- by the program -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_closed_early(backend, ordered):
    stream = (Splitter(lambda x: [x] * 3) >> TaskManager(lambda x: x, "process", 2)).stream(
        iter(range(10**9)), backend, ordered=ordered
    )
    for _ in range(10):
        next(stream)
    start = time.monotonic()
    stream.close()
    assert time.monotonic() - start < 5
    assert not psutil.Process().children()
    with pytest.raises(StopIteration):
        next(stream)


class Mine(Exception):
    pass


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_exception_in_the_loop(backend):
    """It passes unchanged, and the run is over with it."""
    with pytest.raises(Mine):
        for item in Graph(TaskManager(lambda x: x, "process", 2)).stream(iter(range(10**9)), backend):
            if item.value == 5:
                raise Mine
    until = time.monotonic() + 5
    while psutil.Process().children() or [t for t in threading.enumerate() if "dagflow" in t.name]:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("backend", ["process", "thread"])
def test_cancel_from_a_hundred_threads(backend):
    """Idempotent, from anywhere, while tasks hang."""
    with Graph(TaskManager(lambda x: time.sleep(600 if backend == "process" else 0.5), "process", 2)).open(
        backend
    ) as run:
        for x in range(5):
            run.submit(x)
        threads = [threading.Thread(target=run.cancel) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start = time.monotonic()
        with pytest.raises(RunCancelled):
            while True:
                run.submit(6)
                time.sleep(0.01)
        result = run.wait(10)
        assert time.monotonic() - start < 10
    assert {o.status for o in result.outcomes} == {"cancelled"}
    run.cancel()
    run.close()


@pytest.mark.parametrize("moment", ["at once", "while workers start", "while closing", "when over"])
def test_cancel_at_any_moment(moment):
    run = Graph(TaskManager(lambda x: x, "process", 2)).open()
    submitted = [] if moment == "at once" else [1]
    for task in submitted:
        run.submit(task)
    if moment in ("while closing", "when over"):
        run.close()
    if moment == "when over":
        run.wait(20)
    run.cancel()
    result = run.wait(20)
    assert [o.task for o in result.outcomes] == submitted
    assert {o.status for o in result.outcomes} <= {"done", "cancelled"}
    assert moment != "when over" or result.values == [1]


def test_a_logger_that_cancels(tmp_path):
    """From inside the ring's own thread: no deadlock."""

    class Canceller:
        def opened(self, plan):
            pass

        def facts(self, facts):
            holder[0].cancel()

        def tick(self, snapshot):
            pass

        def closed(self, snapshot):
            pass

    holder = []
    run = Graph(TaskManager(lambda x: x, "process", 2)).open(logger=Canceller())
    holder.append(run)
    for x in range(3):
        try:
            run.submit(x)
        except RunCancelled:
            break
    run.close()
    run.wait(20)


def test_cancelling_an_arun():
    """Its tasks are killed, and the cancellation passes."""

    async def main():
        task = asyncio.ensure_future(Graph(TaskManager(lambda x: time.sleep(600), "process", 2)).arun(range(5)))
        while not psutil.Process().children(recursive=True):
            await asyncio.sleep(0.01)
        task.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - start

    assert asyncio.run(main()) < 8
    assert not psutil.Process().children()


def test_a_paused_run_can_be_stopped():
    with Graph(TaskManager(lambda x: x, "process", 2)).open() as run:
        run.pause()
        for x in range(5):
            run.submit(x)
        run.cancel()
        result = run.wait(20)
    assert {o.status for o in result.outcomes} == {"cancelled"}


def test_what_a_worker_had_answered_counts(tmp_path):
    """Stopped while finished results lie unread: those that were reported are done, none is done twice."""
    log = Log(tmp_path / "log")

    def work(x):
        log.add(x)
        return x

    graph = Splitter(lambda x: range(50)) >> TaskManager(work, "process", 2) >> Merger(len)
    with graph.open() as run:
        for x in range(20):
            run.submit(x)
        while run.snapshot().ended < 3:
            time.sleep(0.001)
        run.cancel()
        result = run.wait(20)
    for c in result.counts.values():
        assert c.received == c.succeeded + c.failed + c.dropped
    assert result.counts["work"].succeeded <= len(log.lines())
    assert {o.status for o in result.outcomes} <= {"done", "cancelled"}
    assert all(o.values == [50] for o in result.outcomes if o.status == "done")


def test_workers_that_do_not_want_to_end(tmp_path):
    """An instance whose `close` hangs, a thread that holds on: they are killed after a while, and the run is done."""
    place = Path(tmp_path)

    class Clinging:
        def __call__(self, x):
            return x

        def close(self):
            Log(place / "closing").add("x")
            time.sleep(600)

    start = time.monotonic()
    result = Graph(TaskManager(Clinging, "process", 2)).run(range(10))
    holds(result)
    assert result.values == list(range(10))
    assert Log(place / "closing").lines()
    assert time.monotonic() - start < 15
