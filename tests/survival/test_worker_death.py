"""A worker may die at any moment, of anything: only the task that it was at is blamed, and nothing else is lost."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from math import ceil, log2

import psutil
import pytest
from processes import alive
from survival_made import Driver, failed, fates, holds
from survival_work import (
    POISON,
    Crashes,
    DiesWhen,
    Exits,
    ExitsWhenHeard,
    Poisoned,
    PoisonedAsync,
    PoisonedBatch,
    Refuses,
)

from dagflow import BackendError, Graph, Merger, Splitter, TaskManager, WorkerDied
from dagflow.backends.local.words import Words
from dagflow.core.crew import MAX_CRASHES
from dagflow.testing.witnesses import Gate, Log

pytestmark = pytest.mark.timeout(60)

SAYS = {
    "SIGKILL": "was killed by SIGKILL",
    "segfault": "was killed by SIGSEGV",
    "SIGABRT": "was killed by SIGABRT",
    "SIGBUS": "was killed by SIGBUS",
    "exit 0": "ended with exit code 0",
    "exit 3": "ended with exit code 3",
}


@pytest.mark.parametrize("how", SAYS)
def test_only_the_task_that_killed_its_worker_fails(how, tmp_path):
    log = Log(tmp_path / "log")
    result = Graph(TaskManager(Poisoned(how, log), "process", 2)).run(range(300))
    holds(result)
    assert fates(result) == [(x, "done", [-x]) if x != POISON else (x, "failed", []) for x in range(300)]
    error = result.outcomes[POISON].error
    assert isinstance(error, WorkerDied)
    for part in (SAYS[how], "node 'poisoned'", f"source task {POISON}:", f"{MAX_CRASHES} times"):
        assert part in str(error)
    runs = Counter(log.lines())
    assert runs[str(POISON)] == result.snapshot.crashes == MAX_CRASHES
    # Who was given to a worker that died before it answered runs again: at most what one envelope held, each time.
    assert all(runs[str(x)] >= 1 for x in range(300))
    assert sum(runs.values()) < 3 * 300


@pytest.mark.parametrize("mode", ["serial", "thread", "async"])
def test_every_execution_mode_survives(mode, tmp_path):
    """Threads and event loops have a worker process of their own; which of their tasks killed it is found out."""
    log = Log(tmp_path / "log")
    kind = PoisonedAsync if mode == "async" else Poisoned
    result = Graph(TaskManager(kind("SIGKILL", log), mode, 8)).run(range(300))
    holds(result)
    assert failed(result) == [POISON]
    assert isinstance(result.outcomes[POISON].error, WorkerDied)
    assert Counter(log.lines())[str(POISON)] <= result.snapshot.crashes
    assert result.snapshot.crashes <= MAX_CRASHES + ceil(log2(2 * 8)) + 1


def test_process_nodes_of_the_thread_backend_survive(tmp_path):
    log = Log(tmp_path / "log")
    graph = TaskManager(lambda x: x, "thread", 3) >> TaskManager(Poisoned("segfault", log), "process", 2)
    result = graph.run(range(100), "thread")
    holds(result)
    assert failed(result) == [POISON]
    assert isinstance(result.outcomes[POISON].error, WorkerDied)


@pytest.mark.parametrize("poisons", [1, 2, 5])
def test_the_culprits_in_a_batch_are_found_by_halving(poisons, tmp_path):
    """The number of deaths is bounded by the halvings, and no innocent task fails with the guilty ones."""
    size = 64
    for seed in range(3):
        guilty = random.Random(seed).sample(range(size), poisons)
        log = Log(tmp_path / f"log{seed}")
        node = TaskManager(PoisonedBatch("SIGKILL", log, guilty), "process", 1, batch_size=size)
        result = Graph(node).run(range(size))
        holds(result)
        assert failed(result) == sorted(guilty)
        assert all(isinstance(result.outcomes[x].error, WorkerDied) for x in guilty)
        # One whole batch, then halves down to single tasks, each of which may die MAX_CRASHES times.
        bound = {1: 8, 2: 15, 5: 32}[poisons] + poisons * (MAX_CRASHES - 2)
        assert result.snapshot.crashes <= bound, (seed, result.snapshot.crashes)


@pytest.mark.parametrize("when", ["pickled", "read"])
def test_a_result_whose_travel_kills_the_worker_is_found(when):
    """The worker dies while it seals the results of a whole envelope: nobody knows of which, so it is found out."""
    node = TaskManager(lambda x: DiesWhen(when, x) if x == POISON else x, "process", 2)
    result = Graph(node).run(range(300))
    holds(result)
    assert failed(result) == [POISON]
    assert "exit code 5" in str(result.outcomes[POISON].error)


def test_an_argument_whose_reading_kills_the_worker_is_found():
    tasks = [DiesWhen("read", x) if x == POISON else x for x in range(300)]
    result = Graph(TaskManager(lambda x: x, "process", 2)).run(tasks)
    holds(result)
    assert [i for i, o in enumerate(result.outcomes) if o.status != "done"] == [POISON]
    assert isinstance(result.outcomes[POISON].error, WorkerDied)


def test_a_value_that_kills_when_it_is_freed_harms_no_innocent_task():
    """Its worker has answered by then, or is at another task, which is tried again by itself and succeeds."""
    tasks = [DiesWhen("freed", x) if x == POISON else x for x in range(300)]
    result = Graph(TaskManager(lambda x: 1, "process", 2)).run(tasks)
    holds(result)
    assert {i for i, o in enumerate(result.outcomes) if o.status != "done"} <= {POISON}


@pytest.mark.parametrize("kind", ["split", "merge", "fold", "key", "route"])
def test_every_kind_of_node_survives(kind, tmp_path):
    """No child is doubled, no member missing, no fold counted twice."""
    once = Log(tmp_path / "once")

    def die_once(x):
        if x == POISON and not once:
            once.add("died")
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    def children(x):
        for number in range(5):
            yield 10 * x + number
            if number == 2:
                die_once(x)

    def merged(members):
        return sum(die_once(m) for m in members)

    def add(total, member):
        return total + die_once(member)

    plain = TaskManager(lambda x: x, name="plain")
    if kind == "split":
        graph, expected = Splitter(children) >> Merger(sum), [50 * x + 10 for x in range(60)]
    elif kind == "merge":
        graph, expected = Splitter(lambda x: [x, x]) >> plain >> Merger(merged), [2 * x for x in range(60)]
    elif kind == "fold":
        graph, expected = Splitter(lambda x: [x] * 9) >> plain >> Merger(fold=(add, 0)), [9 * x for x in range(60)]
    elif kind == "key":
        graph, expected = TaskManager(lambda x: x, deduplicate=die_once) >> plain, list(range(60))
    else:
        from dagflow import Router

        graph = Router(lambda x: "even" if die_once(x) % 2 == 0 else "odd") >> {"even": plain, "odd": lambda x: -x}
        expected = [x if x % 2 == 0 else -x for x in range(60)]
    result = graph.run(range(60))
    holds(result)
    assert once
    assert result.values == expected
    assert result.snapshot.crashes == 1


def test_a_task_that_kills_now_and_then_may_live(tmp_path):
    """Fewer deaths than the bound are forgiven."""
    log = Log(tmp_path / "log")

    def shaky(x):
        log.add(x)
        if x == POISON and log.lines().count(str(POISON)) < MAX_CRASHES:
            os._exit(1)
        return x

    result = Graph(TaskManager(shaky, "process", 2)).run(range(100))
    holds(result)
    assert result.values == list(range(100))
    assert result.snapshot.crashes == MAX_CRASHES - 1


def test_a_blamed_task_is_tried_in_a_worker_that_has_run_nothing(tmp_path):
    """What ruined a worker may have been done by tasks before it, so the last word is a fresh worker's."""
    log = Log(tmp_path / "log")

    def ruined(x, seen=[]):
        seen.append(x)
        log.add(f"{x} {seen}")
        if x == POISON:
            os._exit(1)
        return x

    node = TaskManager(ruined, "process", 3)
    result = Graph(node).run(range(60))
    assert failed(result) == [POISON]
    tries = [line for line in log.lines() if line.startswith(f"{POISON} ")]
    assert len(tries) == MAX_CRASHES
    assert tries[1:] == [f"{POISON} [{POISON}]"] * (MAX_CRASHES - 1)


def test_idle_workers_may_be_killed_at_any_time(tmp_path):
    """Thirty kills of workers that wait for work, in a row: nothing is blamed, lost or late, nothing is held."""
    with Graph(TaskManager(lambda x: (x, os.getpid()), "process", 2)).open() as run:
        open_files = None
        for number in range(30):
            run.submit(number)
            # An outcome is there when the run has ended it: only then is its worker idle.
            until = time.monotonic() + 20
            while run.snapshot().ended <= number:
                assert time.monotonic() < until
                time.sleep(0.001)
            for helper in psutil.Process().children():
                for worker in helper.children():
                    worker.kill()
                    psutil.wait_procs([worker], timeout=5)
            if number == 10:
                open_files = len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= open_files + 6, "every death holds a descriptor"
        run.close()
        result = run.wait(30)
    holds(result)
    assert [v[0] for v in result.values] == list(range(30))
    assert result.get_error_dict() == {}
    assert result.snapshot.crashes >= 20


def test_the_zygote_may_be_killed(tmp_path):
    """Its workers go with it; another one forks their successors, and only what was running is tried again."""
    gate, log = Gate(tmp_path / "gate"), Log(tmp_path / "log")

    def wait(x):
        log.add(x)
        if x == 5:
            gate.walk_through()
        return x

    with gate.shut() as open_it, Graph(TaskManager(wait, "process", 2)).open() as run:
        for x in range(40):
            run.submit(x)
        until = time.monotonic() + 20
        while "5" not in log.lines():
            assert time.monotonic() < until
            time.sleep(0.005)
        [helper] = psutil.Process().children()
        before = helper.children()
        helper.kill()
        _, left = psutil.wait_procs(before, timeout=2)
        assert before
        assert not any(map(alive, left))
        open_it()
        run.close()
        result = run.wait(30)
    holds(result)
    assert result.values == list(range(40))


def test_death_is_seen_although_a_grandchild_holds_the_socket(tmp_path):
    """What the worker forked or started lives on with copies of its descriptors; the zygote's report does not care."""

    def leave_somebody_behind(x):
        if x == 0 and not left:
            forked = os.fork()
            if forked == 0:
                os.setsid()
                time.sleep(60)
                os._exit(0)
            started = subprocess.Popen(["sleep", "60"], close_fds=False, start_new_session=True)
            left.add(f"{forked} {started.pid}")
            while os.getsid(forked) != forked:  # or it would be killed with the worker
                os.sched_yield()
            os._exit(1)
        return x

    left = Log(tmp_path / "left")
    start = time.monotonic()
    result = Graph(TaskManager(leave_somebody_behind, "process", 2)).run(range(50))
    took = time.monotonic() - start
    [pids] = left.lines()
    for pid in map(int, pids.split()):
        os.kill(pid, signal.SIGKILL)  # raises where it had not been there all the time
    assert result.values == list(range(50))
    assert took < 10


def test_a_crash_takes_the_processes_that_the_worker_had_started(tmp_path):
    """They are in its group; nobody would ever wait for them."""
    pids = Log(tmp_path / "pids")

    def with_child(x):
        child = subprocess.Popen(["sleep", "60"])
        pids.add(child.pid)
        os.kill(os.getpid(), signal.SIGKILL)

    result = Graph(with_child).run([0])
    assert isinstance(result.outcomes[0].error, WorkerDied)
    started = [int(line) for line in pids.lines()]
    assert len(started) == MAX_CRASHES
    until = time.monotonic() + 5
    while any(map(alive, started)):
        assert time.monotonic() < until


@pytest.mark.parametrize("direction", ["in", "out"])
def test_killed_amid_a_large_transfer(direction, tmp_path):
    """A torn frame counts as nothing, and the driver is never blocked by it."""
    once = Log(tmp_path / "once")
    size = 8 << 20

    def die_once_soon():
        if not once:
            once.add("died")
            # The parent dies while the frame is on its way: 8 MiB do not fit into any socket.
            if os.fork() == 0:
                time.sleep(0.001)
                os.kill(os.getppid(), signal.SIGKILL)
                os._exit(0)

    def take(x):
        die_once_soon()
        return len(x) if direction == "in" else bytes(size)

    tasks = [bytes(size)] * 6 if direction == "in" else [b""] * 6
    result = Graph(TaskManager(take, "process", 2)).run(tasks)
    holds(result)
    assert once
    assert [v if direction == "in" else len(v) for v in result.values] == [size] * 6


def test_a_stopped_worker_is_waited_for(tmp_path):
    """SIGSTOP is not death: nobody is killed or blamed for it, and after SIGCONT all goes on."""
    log = Log(tmp_path / "log")

    def stop_once(x):
        log.add(f"{os.getpid()}")
        if x == 3 and len(log.lines()) < 50:
            if os.fork() == 0:
                time.sleep(0.3)
                os.kill(os.getppid(), signal.SIGCONT)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGSTOP)
        return x

    result = Graph(stop_once).run(range(20))
    assert result.values == list(range(20))
    assert result.snapshot.crashes == 0


def test_a_segfault_says_where(tmp_path):
    """What faulthandler found stands in the notes of the error."""

    def deep_inside(x):
        ctypes.string_at(0)

    error = Graph(lambda x: deep_inside(x)).run([0]).outcomes[0].error
    assert "was killed by SIGSEGV" in str(error)
    story = "\n".join(error.__notes__)
    assert "Segmentation fault" in story
    assert "in deep_inside" in story


def test_every_task_kills(tmp_path):
    """Nothing but deaths: the run ends, and says so of each task."""
    result = Graph(TaskManager(lambda x: os._exit(9), "process", 2)).run(range(6))
    holds(result)
    assert {type(o.error) for o in result.outcomes} == {WorkerDied}
    assert result.snapshot.crashes == 6 * MAX_CRASHES


# -- workers that do not come up ------------------------------------------------------------------------


STARTS = {
    Refuses: ["LookupError: no model at hand", "in __init__"],
    Exits: ["ended with exit code 3", "the licence has expired", "(said by a library written in C)"],
    Crashes: ["was killed by SIGSEGV", "Segmentation fault"],
}


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("mode", ["process", "thread"])
def test_workers_that_die_at_their_start_end_the_run(kind, mode):
    """With the reason, in little time; what was to run is cancelled, not failed."""
    start = time.monotonic()
    with pytest.raises(BackendError) as raised:
        Graph(TaskManager(kind, mode, 2, name="loader")).run(range(10))
    assert time.monotonic() - start < 10
    for part in ["workers of node 'loader' cannot start", *STARTS[kind]]:
        assert part in str(raised.value)
    assert {o.status for o in raised.value.result.outcomes} <= {"cancelled"}


def test_the_reason_is_told_also_if_it_was_passed_on_before(tmp_path, monkeypatch, capfd):
    """What a worker writes while it starts goes on to stderr every now and then: that may be just before it ends."""
    heard, show = tmp_path / "heard", Words.show
    os.mkfifo(heard)
    monkeypatch.setenv("DAGFLOW_TEST_HEARD", str(heard))

    def show_and_say(words):
        show(words)
        if words.shown:
            with contextlib.suppress(OSError):  # nobody waits for it yet, or no more
                os.close(os.open(heard, os.O_WRONLY | os.O_NONBLOCK))

    monkeypatch.setattr(Words, "show", show_and_say)
    with pytest.raises(BackendError, match="the licence has expired"):
        Graph(TaskManager(ExitsWhenHeard, name="loader")).run(range(10))
    assert capfd.readouterr().err.count("the licence has expired") == 3


@pytest.mark.parametrize("body", ["raise ImportError('no such thing')", "import os; os._exit(4)"])
def test_a_module_that_cannot_be_imported_in_a_worker(body, tmp_path, monkeypatch):
    """It loads in the driver, and not there."""
    (tmp_path / "only_here.py").write_text(
        f"import os\nif os.getpid() != {os.getpid()}:\n    print('so much for that', file=__import__('sys').stderr)\n"
        f"    {body}\ndef work(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    try:
        with pytest.raises(BackendError) as raised:
            Graph(only_here.work).run(range(3))
    finally:
        del sys.modules["only_here"]
    assert "so much for that" in str(raised.value)
    assert ("no such thing" if "raise" in body else "exit code 4") in str(raised.value)


def test_a_worker_that_fails_to_start_once_is_forgiven(tmp_path, capfd):
    """What it wrote is shown on stderr, so that nothing is lost; the run goes on with the next one."""
    once = Log(tmp_path / "once")

    def make():
        class Starts:
            def __init__(self):
                if not once:
                    once.add("x")
                    print("the first start goes wrong", file=sys.stderr)
                    os._exit(3)
                print("the second one does not", file=sys.stderr)

            def __call__(self, x):
                print("at work", file=sys.stderr)
                return x

        return Starts

    result = Graph(TaskManager(make(), "process", 1)).run([1, 2])
    assert result.values == [1, 2]
    assert capfd.readouterr().err.splitlines() == [
        "the first start goes wrong",
        "the second one does not",
        "at work",
        "at work",
    ]


def test_what_a_worker_says_while_it_loads_is_shown_at_once(tmp_path):
    """A model that takes minutes to load can say so meanwhile."""
    script = """
    gate = Gate(HERE + "/gate")
    class Slow:
        def __init__(self):
            print("loading a large model", file=sys.stderr)
            gate.walk_through()
        def __call__(self, x):
            return x
    say("go")
    print(Graph(TaskManager(Slow, "process", 1)).run([1]).values, flush=True)
    """
    gate = Gate(tmp_path / "gate")
    with gate.shut() as open_it, Driver(tmp_path, script) as driver:
        until = time.monotonic() + 20
        while "loading a large model" not in driver.stderr():
            assert time.monotonic() < until
            time.sleep(0.02)
        open_it()
        assert driver.end() == 0, driver.stderr()
        assert "[1]" in driver.output


# -- few descriptors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
def test_few_open_files(hard, tmp_path):
    """The soft limit is raised where that may be; else the run ends with a clear word on what to do."""

    def limit():
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (13, 13) if hard else (48, most))

    script = """
    graph = Graph(TaskManager(lambda x: x + 1, "process", 1))
    for number in range(30):
        graph = graph >> TaskManager(lambda x: x + 1, "process", 1, name=f"n{number}")
    try:
        say(graph.run([0]).values)
    except df.BackendError as error:
        say("refused:", error)
    """
    with Driver(tmp_path, script, preexec_fn=limit) as driver:
        assert driver.end() == 0, driver.stderr()
        if hard:
            assert driver.output.startswith("refused: ")
            assert "Too many open files" in driver.output
            assert "ulimit -n" in driver.output
        else:
            assert driver.output == "[31]\n"
