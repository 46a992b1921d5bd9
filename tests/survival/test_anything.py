"""A function may do anything: it harms its own task at most, never another one, its worker's neighbours or the run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from processes import alive
from survival_made import Driver, failed, holds

from dagflow import Graph, Merger, Router, Splitter, TaskManager, WorkerDied
from dagflow.testing.witnesses import Log

pytestmark = pytest.mark.timeout(60)

BACKENDS = ["process", "thread", "serial"]
MODES = ["serial", "thread", "process", "async"]


class Odd(BaseException):
    """Not even an `Exception`."""


RAISES = {
    "system exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "generator exit": GeneratorExit(),
    "stop iteration": StopIteration(1),
    "cancelled": asyncio.CancelledError(),
    "odd": Odd("odd"),
    "recursion": RecursionError("deep"),
    "memory": MemoryError("full"),
}


def raise_named(x):
    if x in RAISES:
        raise RAISES[x]
    return x


async def raise_named_later(x):
    await asyncio.sleep(0)
    return raise_named(x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_is_raised(backend, mode):
    """Every kind of exception, in every kind of node, is the failure of its task alone."""
    names = [name for name in RAISES if backend != "serial" or name != "interrupt"]  # that thread is the user's
    tasks = [task for pair in zip(range(100), names) for task in pair]
    function = raise_named_later if mode == "async" else raise_named
    options = {"execution_mode": mode, "worker_limit": 2, "max_retries": 0}
    graphs = {
        "task": Graph(TaskManager(function, **options)),
        "timed": Graph(TaskManager(function, timeout=30, **options)),
        "split": Graph(Splitter(lambda x: [raise_named(x)], **options)),
        "route": Router(lambda x: (raise_named(x), "a")[1], **options) >> {"a": lambda x: x},
        "merge": Splitter(lambda x: [x]) >> Merger(lambda m: raise_named(m[0]), **options),
        "key": Graph(TaskManager(lambda x: x, deduplicate=raise_named, **options)),
        "batch": Graph(TaskManager(lambda tasks: [raise_named(x) for x in tasks], batch_size=1, **options)),
    }
    for kind, graph in graphs.items():
        result = graph.run(tasks, backend)
        holds(result)
        assert failed(result) == names, kind
        for outcome in result.outcomes:
            if outcome.task in RAISES:
                wanted = type(RAISES[outcome.task])
                # Out of a coroutine Python makes a RuntimeError of a StopIteration.
                also = RuntimeError if (mode, wanted) == ("async", StopIteration) else wanted
                assert type(outcome.error) in (wanted, also), (kind, outcome)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_child_that_comes_back_from_the_function(backend, mode, tmp_path):
    """`os.fork` in a function, and both processes return: the child ends there, and answers for nobody."""
    log = Log(tmp_path / "log")

    def forks(x):
        log.add(f"{x} {os.getpid()}")
        if x == 5:
            os.fork()
        return x

    async def forks_later(x):
        return forks(x)

    result = Graph(TaskManager(forks_later if mode == "async" else forks, mode, 2)).run(range(40), backend)
    holds(result)
    assert result.values == list(range(40))
    runs = [line.split() for line in log.lines()]
    assert Counter(x for x, _ in runs) == {str(x): 1 for x in range(40)}, "a child ran tasks of its own"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_child_that_comes_back_from_a_split_or_merge(backend):
    def children(x):
        yield x
        if x == 2:
            os.fork()
        yield x + 100

    def merged(members):
        if members[0] == 3:
            os.fork()
        return members

    result = (Splitter(children) >> Merger(merged)).run(range(6), backend)
    holds(result)
    assert result.values == [[x, x + 100] for x in range(6)]


def test_children_that_end_by_themselves(tmp_path):
    """By every way out: none of them answers, closes or holds anything of the worker's."""

    def forks(x):
        if x % 4:
            pid = os.fork()
            if not pid:
                if x % 4 == 1:
                    os._exit(7)
                if x % 4 == 2:
                    sys.exit("bye")
                raise ValueError("in the child")
            os.waitpid(pid, 0)
        return x

    result = Graph(TaskManager(forks, "process", 2)).run(range(40))
    holds(result)
    assert result.values == list(range(40))
    assert result.snapshot.crashes == 0


def test_multiprocessing_inside():
    """Pools and processes by fork work inside a worker, and daemonic ones end with it."""
    import multiprocessing

    def pooled(x):
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            return pool.map(abs, [-x, x])

    def left_behind(x):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
        child.start()
        return child.pid

    result = (TaskManager(pooled, "process", 2) >> TaskManager(left_behind, name="left")).run([0, 1, 2])
    holds(result)
    assert len(result.values) == 3
    until = time.monotonic() + 5
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in result.values):
        assert time.monotonic() < until


def test_threads_that_outlive_the_function():
    """Neither they nor non-daemonic ones hold up the end of the run."""

    def work(x):
        for daemon in (True, False):
            threading.Thread(target=time.sleep, args=(600,), daemon=daemon).start()
        return x

    start = time.monotonic()
    result = Graph(TaskManager(work, "process", 2)).run(range(20))
    holds(result)
    assert result.values == list(range(20))
    assert time.monotonic() - start < 10


def test_processes_that_outlive_the_function():
    """They are the user's: left alone when the worker ends well, and no reason to wait for anything."""

    def work(x):
        return subprocess.Popen(["sleep", "600"]).pid

    start = time.monotonic()
    result = Graph(TaskManager(work, "process", 2)).run(range(4))
    took = time.monotonic() - start
    left = [psutil.Process(pid) for pid in result.values]
    try:
        holds(result)
        assert took < 10
        assert all(map(alive, left))
    finally:
        for process in left:
            process.kill()


def test_standard_descriptors_closed():
    """Who closes them and prints has an error of its own; all others go on."""

    def work(x):
        if x == 3:
            for fd in (0, 1, 2):
                os.close(fd)
            print("to nobody")
            sys.stdout.flush()
        return x

    result = Graph(TaskManager(work, "serial")).run(range(20))
    holds(result)
    assert failed(result) == [3]
    assert isinstance(result.outcomes[3].error, OSError)


def test_all_descriptors_closed():
    """With them goes the worker's only way to answer: it counts as dead, and this task is the one to blame."""

    def work(x):
        if x == 3:
            os.closerange(3, 4096)
        return x

    result = Graph(TaskManager(work, "process", 2)).run(range(60))
    holds(result)
    assert failed(result) == [3]
    assert isinstance(result.outcomes[3].error, WorkerDied)


def test_streams_replaced():
    def work(x):
        sys.stdout = sys.stderr = sys.stdin = None
        sys.excepthook = sys.unraisablehook = threading.excepthook = None
        os.environ.clear()
        return x

    result = Graph(TaskManager(work, "process", 2)).run(range(20))
    holds(result)
    assert result.values == list(range(20))


def test_the_working_directory(tmp_path):
    """A worker's own; it starts in the driver's."""
    before = os.getcwd()

    def work(x):
        if x == 0:
            here = os.getcwd()
            os.chdir(tmp_path)
            return here
        return None

    def removed(x):
        place = tmp_path / f"gone{x}"
        place.mkdir()
        os.chdir(place)
        place.rmdir()
        return x

    assert Graph(work).run([0, 1]).values == [before, None]
    assert os.getcwd() == before
    assert Graph(TaskManager(removed, "process", 2)).run(range(4)).values == [0, 1, 2, 3]


def test_signals_and_groups():
    """Handlers, alarms and process groups are the function's own affair, even if they kill it."""

    def work(x):
        if x == 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.raise_signal(signal.SIGTERM)
        if x == 2:
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            time.sleep(0.05)
            signal.setitimer(signal.ITIMER_REAL, 0)
        if x == 3:
            os.setpgid(0, os.getppid()) if False else os.setsid() if os.getpgid(0) != os.getpid() else None
        if x == 4:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(1)
            time.sleep(30)
        if x == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return x

    result = Graph(TaskManager(work, "process", 2)).run(range(10))
    holds(result)
    assert failed(result) == [4]
    assert "SIGALRM" in str(result.outcomes[4].error)


def test_a_worker_that_leaves_its_group_is_killed_all_the_same(tmp_path):
    left = Log(tmp_path / "left")

    def work(x):
        if x == 3:
            child = os.fork()
            if not child:
                left.add(f"{os.getpid()}")
                os.setpgid(0, 0)
                time.sleep(600)
            os.setpgid(0, os.getpgid(os.getppid()))
            time.sleep(600)
        return x

    result = Graph(TaskManager(work, "process", 2, timeout=0.3, max_retries=0)).run(range(10))
    holds(result)
    assert failed(result) == [3]
    for pid in left.lines():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)  # the child left both groups, which is its right


@pytest.mark.parametrize("backend", BACKENDS)
def test_endless_recursion(backend):
    """In Python it is an exception like any other."""

    def deep(x):
        return deep(x) + 1 if x == 3 else x

    result = Graph(deep).run(range(10), backend)
    holds(result)
    assert failed(result) == [3]
    assert isinstance(result.outcomes[3].error, RecursionError)


def test_endless_recursion_in_c():
    """There it overflows the stack, and kills the worker."""

    def deep(x):
        if x == 3:
            sys.setrecursionlimit(10**9)

            def down(y):
                return list(map(down, [y]))

            down(0)
        return x

    result = Graph(TaskManager(deep, "process", 2)).run(range(10))
    holds(result)
    assert failed(result) == [3]
    assert isinstance(result.outcomes[3].error, WorkerDied)
    assert "SIGSEGV" in str(result.outcomes[3].error)


def test_memory_without_end():
    """Under a limit it is a `MemoryError`, and its task's."""

    def greedy(x):
        if x == 3:
            import resource

            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
            held = []
            while True:
                held.append(bytes(8 << 20))
        return x

    result = Graph(TaskManager(greedy, "process", 2)).run(range(10))
    holds(result)
    assert failed(result) == [3]
    assert isinstance(result.outcomes[3].error, MemoryError)


def test_workers_offer_themselves_when_memory_runs_out():
    """The system shall kill one of them rather than the driver."""
    score = Graph(lambda x: int(Path("/proc/self/oom_score_adj").read_text())).run([0]).values
    assert score[0] > int(Path("/proc/self/oom_score_adj").read_text())


def test_ten_megabytes_are_printed(tmp_path):
    """By several workers at once, whole lines, none lost; nobody waits for the driver to read them."""
    script = """
    def talk(x):
        for number in range(250):
            print(f"{x:03d} {number:03d} " + "x" * 190)
        return x
    result = Graph(TaskManager(talk, "process", 3)).run(range(200))
    say("done", len(result.values), sum(o.status == "done" for o in result.outcomes))
    """
    with Driver(tmp_path, script) as driver:
        assert driver.end() == 0, driver.stderr()
        lines = driver.output.splitlines()
        assert lines[-1] == "done 200 200"
        assert len(lines) == 50_001
        assert {len(line) for line in lines[:-1]} == {198}


@pytest.mark.parametrize("inner", BACKENDS)
@pytest.mark.parametrize("mode", ["process", "thread"])
def test_dagflow_inside_a_function(mode, inner):
    """A run in a worker, in threads of a worker, by every backend; errors come out of it as they do anywhere."""

    def outer(x):
        graph = Splitter(lambda n: range(n)) >> TaskManager(lambda y: 10 // (y - 7) and y, "process", 2) >> Merger(sum)
        result = graph.run([x], inner)
        result.raise_if_failed()
        return result.values[0]

    result = Graph(TaskManager(outer, mode, 2)).run(range(0, 10, 2))
    holds(result)
    assert failed(result) == [8]
    assert isinstance(result.outcomes[4].error, ExceptionGroup)
    assert result.values == [0, 1, 6, 15]


def test_dagflow_inside_dagflow_inside_dagflow():
    def level(depth):
        if not depth:
            return 1
        return 1 + Graph(TaskManager(level, "process", 1)).run([depth - 1]).values[0]

    assert Graph(level).run([4]).values == [5]


def test_a_killed_worker_takes_its_nested_run_with_it(tmp_path):
    """The inner zygote sees its driver go."""
    pids = Log(tmp_path / "pids")

    def outer(x):
        worker = os.getpid()

        def inner(y):
            pids.add(os.getpid())
            if len(pids.lines()) > 1:  # both are there
                os.kill(worker, signal.SIGKILL)
            time.sleep(600)

        Graph(TaskManager(inner, "process", 2)).run(range(2))

    result = Graph(TaskManager(outer, "process", 1, max_retries=0)).run([0])
    holds(result)
    assert failed(result) == [0]
    assert isinstance(result.outcomes[0].error, WorkerDied)
    started = [int(line) for line in pids.lines()]
    assert len(started) > 1
    until = time.monotonic() + 5
    while any(map(alive, started)):
        assert time.monotonic() < until


def test_what_was_registered_for_the_exit_is_done(tmp_path):
    """As at the end of any process."""
    log = Log(tmp_path / "log")

    def work(x):
        import atexit

        atexit.register(log.add, f"{os.getpid()}")
        return os.getpid()

    for mode in ("process", "thread"):
        result = Graph(TaskManager(work, mode, 2)).run(range(4))
        assert set(result.values) <= {int(line) for line in log.lines()}


def test_the_arguments_of_the_script(tmp_path):
    """Modules that look at ``sys.argv`` find the driver's."""
    assert Graph(lambda x: sys.argv).run([0]).values == [sys.argv]


@pytest.mark.parametrize("backend", ["process", "thread"])
@pytest.mark.parametrize("kind", ["task", "split"])
def test_a_class_that_can_be_made_only_once(backend, kind, tmp_path):
    """Each thread has an instance of its own; where one cannot be made, its task fails, and is not forgotten."""
    made = Log(tmp_path / "made")

    class Single:
        def __init__(self):
            if made:
                raise LookupError("there can be only one")
            made.add("x")

        def __call__(self, x):
            time.sleep(0.01)
            return [x] if kind == "split" else x

    node = (Splitter if kind == "split" else TaskManager)(
        Single, execution_mode="thread", worker_limit=3, max_retries=0
    )
    result = Graph(node).run(range(30), backend)
    holds(result)
    assert {type(o.error) for o in result.outcomes if o.error} <= {LookupError}
    assert any(o.status == "done" for o in result.outcomes)


class Hostile:
    """A label, a list, a value whose every method is a trap."""

    def __init__(self, trap):
        self.trap = trap

    def __hash__(self):
        return self._spring("hash", 1)

    def __eq__(self, other):
        return self._spring("eq", False)

    def __bool__(self):
        return self._spring("bool", True)

    def __len__(self):
        return self._spring("len", 3)

    def __repr__(self):
        return self._spring("repr", "Hostile()")

    def __iter__(self):
        return self._spring("iter", iter([1]))

    def _spring(self, name, other):
        if self.trap == name:
            raise RuntimeError(f"the {name} trap")
        return other


@pytest.mark.parametrize("trap", ["hash", "eq", "bool", "len", "repr", "iter", "none"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_values_with_traps(backend, trap):
    """As a value it passes through untouched; as a label, a list of children or of results it is judged alone."""
    value = Graph(lambda x: Hostile(trap) if x == 2 else x).run(range(5), backend)
    holds(value)
    assert [o.status for o in value.outcomes] == ["done"] * 5
    routed = Router(lambda x: Hostile(trap) if x == 2 else "a", max_retries=0) >> {"a": lambda x: x}
    label = routed.run(range(5), backend)
    holds(label)
    assert failed(label) == [2]
    children = Splitter(lambda x: Hostile(trap) if x == 2 else [x], max_retries=0) >> Merger(len)
    split = children.run(range(5), backend)
    holds(split)
    assert set(failed(split)) <= {2}
    batch = TaskManager(lambda tasks: Hostile(trap) if 2 in tasks else tasks, batch_size=1, max_retries=0)
    lists = Graph(batch).run(range(5), backend)
    holds(lists)
    assert set(failed(lists)) <= {2}


class Lying(list):
    """Says that it is longer than it is."""

    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        return []


@pytest.mark.parametrize("backend", BACKENDS)
def test_children_that_lie_about_their_number(backend):
    result = (Splitter(lambda x: Lying([x, x]), max_retries=0) >> Merger(list)).run(range(3), backend)
    holds(result)
