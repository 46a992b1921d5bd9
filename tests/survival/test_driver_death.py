"""However the driver ends, nobody outlives it: workers and zygote are gone within two seconds, and leave nothing."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from processes import command
from survival_made import Driver

from dagflow.testing.witnesses import Log

pytestmark = pytest.mark.timeout(60)

SECONDS = 2.0

WORK = {
    "busy": "while True: pass",
    "asleep": "time.sleep(600)",
    "in c code": "re.match(r'(a+)+$', 'a' * 64 + 'b')",
    "deaf": "threading.current_thread() is threading.main_thread() and "
    "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 10, 12, 15)]; time.sleep(600)",
    "with children": "subprocess.run(['sleep', '600'])",
    "with a forked child": "os.fork(); time.sleep(600)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "nested": "Graph(TaskManager(lambda y: time.sleep(600), 'process', 2)).run(range(2), 'process')",
}


def script(work, mode="process", more=""):
    return f"""
    import re, subprocess
    log = Log(HERE + "/log")
    def work(x):
        log.add(x)
        {work}
    {more}
    say("go")
    Graph(TaskManager(work, "{mode}", 2)).run(range(8))
    """


def started(tmp_path, number=2):
    log, until = Log(tmp_path / "log"), time.monotonic() + 20
    while len(log.lines()) < number:
        assert time.monotonic() < until, "the workers do not start"
        time.sleep(0.01)


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("mode", ["process", "thread"])
def test_the_driver_is_killed(work, mode, tmp_path):
    """By SIGKILL, whatever its workers are at."""
    with Driver(tmp_path, script(WORK[work], mode)) as driver:
        started(tmp_path, 1 if mode == "thread" and work != "asleep" else 2)
        if work == "nested":
            until = time.monotonic() + 20
            while len(driver.alive()) < 7:
                assert time.monotonic() < until
                time.sleep(0.02)
        assert len(driver.alive()) >= 3
        os.kill(driver.pid, signal.SIGKILL)
        driver.gone_within(SECONDS)


def test_the_driver_is_killed_while_its_workers_are_idle(tmp_path):
    more = """
    with Graph(TaskManager(lambda x: x, "process", 3)).open() as run:
        for x in range(30):
            run.submit(x)
        while run.snapshot().ended < 30:
            time.sleep(0.01)
        say("idle")
        time.sleep(600)
    """
    with Driver(tmp_path, more) as driver:
        driver.expect("idle")
        assert len(driver.workers()) >= 1
        os.kill(driver.pid, signal.SIGKILL)
        driver.gone_within(SECONDS)


def test_the_drivers_group_is_killed(tmp_path):
    """As a terminal or a supervisor does it."""
    with Driver(tmp_path, script(WORK["asleep"])) as driver:
        started(tmp_path)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.gone_within(SECONDS)


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGQUIT])
def test_other_deaths_of_the_driver(how, tmp_path):
    """A second SIGTERM does not wait for anybody; the others never did."""
    heed = f"import signal; signal.signal({int(how)}, signal.SIG_DFL)"  # which whoever runs the tests may ignore
    with Driver(tmp_path, script(WORK["asleep"], more=heed)) as driver:
        started(tmp_path)
        os.kill(driver.pid, how)
        if how == signal.SIGTERM:
            time.sleep(0.2)  # the first one lets running tasks end, which these do not
            assert driver.process.poll() is None
            os.kill(driver.pid, how)
        driver.gone_within(SECONDS + 5 * (how == signal.SIGTERM))
        assert driver.process.wait() == -how


def test_the_zygote_and_the_driver_are_killed(tmp_path):
    with Driver(tmp_path, script(WORK["in c code"])) as driver:
        started(tmp_path)
        zygote = driver.zygote()
        zygote.suspend()
        os.kill(driver.pid, signal.SIGKILL)
        zygote.kill()
        driver.gone_within(SECONDS)


def test_a_child_of_the_driver_holds_copies_of_its_sockets(tmp_path):
    """A process that the user's code forked in the driver keeps the sockets open; the zygote sees the death itself."""
    more = """
    def fork_soon():
        time.sleep(0.3)
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
            os._exit(0)
        say("forked")
    threading.Thread(target=fork_soon).start()
    """
    with Driver(tmp_path, script(WORK["asleep"], more=more)) as driver:
        driver.expect("forked")
        started(tmp_path)
        os.kill(driver.pid, signal.SIGKILL)
        until = time.monotonic() + SECONDS
        while True:
            left = driver.alive()
            others = [p for p in left if "driver.py" not in command(p)]
            if not others:
                break
            assert time.monotonic() < until, others
            time.sleep(0.02)
        [child] = left
        child.kill()
        driver.gone_within(SECONDS)


def test_a_forked_child_does_not_hold_up_the_end(tmp_path):
    """The run ends, and its zygote with it, while the child lives on."""
    more = """
    pid = []
    def tasks():
        yield 1
        child = os.fork()
        if not child:
            os.setsid()
            time.sleep(600)
        pid.append(child)
        yield 2
    start = time.monotonic()
    values = Graph(TaskManager(lambda x: x, "process", 2)).run(tasks()).values
    say("ran", values, time.monotonic() - start < 4.0)
    os.kill(pid[0], signal.SIGKILL)
    """
    with Driver(tmp_path, more) as driver:
        assert driver.end() == 0, driver.stderr()
        assert driver.output == "ran [1, 2] True\n"


def test_a_run_outlives_the_thread_that_started_it(tmp_path):
    """Workers are killed with the zygote, and that is nobody's child thread: the starting thread may end."""
    more = """
    runs = []
    def begin():
        runs.append(Graph(TaskManager(lambda x: (time.sleep(0.002), x)[1], "process", 2)).open())
        runs[0].submit(0)
        while runs[0].snapshot().ended < 1:
            time.sleep(0.01)
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    for x in range(1, 200):
        runs[0].submit(x)
    runs[0].close()
    result = runs[0].wait(30)
    say(result.values == list(range(200)), result.snapshot.crashes)
    """
    with Driver(tmp_path, more) as driver:
        assert driver.end() == 0, driver.stderr()
        assert driver.output == "True 0\n"


# -- the interpreter ends, and nobody has closed anything -----------------------------------------------

ENDS = {
    "open run": """
        run = Graph(TaskManager(lambda x: time.sleep(600), "process", 2)).open()
        for x in range(5): run.submit(x)
        while not run.snapshot().nodes[0].leased: time.sleep(0.01)
    """,
    "open run on threads": """
        run = Graph(TaskManager(lambda x: time.sleep(600), "thread", 2)).open("thread")
        for x in range(5): run.submit(x)
        while not run.snapshot().nodes[0].leased: time.sleep(0.01)
    """,
    "half a stream": """
        stream = Graph(TaskManager(lambda x: x, "process", 2)).stream(iter(range(10**9)))
        next(stream)
    """,
    "half an ordered stream": """
        stream = Graph(TaskManager(lambda x: x, "process", 2)).stream(range(10**9), ordered=True)
        next(stream)
    """,
    "stream in a cycle": """
        class Holder: pass
        holder = Holder()
        holder.me, holder.stream = holder, Graph(TaskManager(lambda x: x, "process", 2)).stream(range(10**9))
        next(holder.stream)
    """,
    "exit in the loop": """
        for item in Graph(TaskManager(lambda x: x, "process", 2)).stream(range(10**9)):
            sys.exit(0)
    """,
    "half an async stream": """
        import asyncio
        async def main():
            async for item in Graph(TaskManager(lambda x: x, "process", 2)).astream(range(10**9)):
                return
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_without_closing(end, tmp_path):
    """No hang at the exit, no complaint, nobody left."""
    with Driver(tmp_path, ENDS[end] + "\n        say('bye')\n", limit=20) as driver:
        assert driver.end() == 0, driver.stderr()
        assert driver.stderr() == ""
        driver.gone_within(SECONDS)


@pytest.mark.parametrize("kind", ["run", "stream", "cycle"])
def test_what_nobody_holds_any_more_is_stopped(kind, tmp_path):
    """Garbage is collected, and its workers go; the process lives on."""
    text = {
        "run": "thing = graph.open(); thing.submit(1)",
        "stream": "thing = graph.stream(iter(range(10**9))); next(thing)",
        "cycle": "thing = [graph.stream(iter(range(10**9)))]; next(thing[0]); thing.append(thing)",
    }[kind]
    more = f"""
    import gc, psutil
    graph = Graph(TaskManager(lambda x: x, "process", 2))
    {text}
    while len(psutil.Process().children(recursive=True)) < 2:
        time.sleep(0.01)
    del thing
    gc.collect()
    until = time.monotonic() + 5
    while psutil.Process().children() or [t for t in threading.enumerate() if "dagflow" in t.name]:
        assert time.monotonic() < until, (psutil.Process().children(), threading.enumerate())
        time.sleep(0.01)
    say("gone")
    """
    with Driver(tmp_path, more) as driver:
        driver.expect("gone")
        assert driver.end() == 0, driver.stderr()


def test_nothing_is_left_after_many_violent_ends(tmp_path):
    """Killed at ten moments of a run with large values: no process, shared memory, temporary file, or socket.

    (Each driver has a directory for temporary files of its own, which must be empty; shared memory is looked for
    after every test.)
    """
    text = """
    say("go")
    graph = Splitter(lambda x: [bytes(300_000)] * 4) >> TaskManager(lambda b: b + b"x", "process", 3) >> Merger(len)
    graph.run(range(10**6))
    """
    for number in range(10):
        place = tmp_path / str(number)
        place.mkdir()
        with Driver(place, text) as driver:
            driver.expect("go")
            time.sleep(0.06 * number)
            os.kill(driver.pid, signal.SIGKILL)
            driver.gone_within(SECONDS)
    mine = [c for c in psutil.net_connections("unix") if "dagflow" in str(c.laddr)]
    assert not mine
