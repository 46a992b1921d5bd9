"""A conformance suite for backends: what a graph means must not depend on who works.

Subclass it in a test file and name the backend; pytest does the rest::

    from dagflow.testing.contracts import BackendContract

    class TestMine(BackendContract):
        backend = "mine"
        travels = True

Every test is one promise of the contract. Nothing here sleeps to wait: functions that must hold still stand
before a `Gate`, and what happened elsewhere is read from a `Log`; both are files, so they work across processes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from dagflow.errors import MissingMembers, RunCancelled, RunFailed, TaskTimeout, UnroutedError
from dagflow.graph.algebra import Graph, par
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.node import MODES
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager
from dagflow.result import RunResult
from dagflow.work.outcome import Failure

# -- files as witnesses ---------------------------------------------------------------------------------


class Log:
    """Lines appended by whoever runs a function, wherever it runs; read by the test."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def add(self, text: object) -> None:
        """Append one line, whole even among many writers."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def lines(self) -> list[str]:
        """What has been written so far."""
        try:
            return Path(self.path).read_text().splitlines()
        except FileNotFoundError:
            return []

    def __bool__(self) -> bool:
        return os.path.exists(self.path)


class Gate:
    """A door that functions wait at, in any thread or process: a file lock, so it opens for all at once."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        Path(self.path).touch()

    def walk_through(self) -> None:
        """Wait until the gate is open."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def shut(self) -> _Shut:
        """``with gate.shut() as open_it:`` keeps everybody out until ``open_it()``, or the end of the block."""
        return _Shut(self.path)


class _Shut:
    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def __enter__(self) -> Callable[[], None]:
        return self.open

    def open(self) -> None:
        """Let everybody through."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __exit__(self, *exc: object) -> None:
        self.open()


# -- functions that process workers import -------------------------------------------------------------


def increment(x: int) -> int:
    """``x + 1``."""
    return x + 1


def double(x: int) -> int:
    """``2 * x``."""
    return 2 * x


def negate(x: int) -> int:
    """``-x``."""
    return -x


def identity(x: Any) -> Any:
    """What it is given."""
    return x


def parity(x: int) -> str:
    """``"even"`` or ``"odd"``."""
    return "odd" if x % 2 else "even"


def three(x: int) -> Iterator[int]:
    """Three children, one after the other."""
    yield from (10 * x, 10 * x + 1, 10 * x + 2)


def pair(x: int) -> list[int]:
    """Two children."""
    return [x, -x]


def together(left: Any, right: Any) -> tuple[Any, Any]:
    """Both branches of a diamond."""
    return left, right


def add(total: int, x: int) -> int:
    """``total + x``."""
    return total + x


def total(members: list[int]) -> int:
    """The sum of members of which the first is no less than 20."""
    if members[0] < 20:
        raise ValueError(f"{members[0]} is low")
    return sum(members)


def fail_odd(x: int) -> int:
    """Even numbers pass."""
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


async def later(x: int) -> int:
    """``x + 1``, after a turn of the loop."""
    await asyncio.sleep(0)
    return x + 1


def take_long(x: Any) -> Any:
    """Longer than the time-out that the tests give; 0 and [0] are quick."""
    if x not in (0, [0]):
        time.sleep(0.3)
    return x


def take_long_to_split(x: int) -> list[int]:
    """`take_long`, as a split."""
    return [take_long(x)]


async def take_long_async(x: Any) -> Any:
    """`take_long`, in a loop."""
    if x != 0:
        await asyncio.sleep(30)
    return x


class Wanting(Exception):
    """An exception whose constructor wants other arguments than it passes on."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code
        self.where = where


class Slotted(Exception):
    """An exception that keeps an attribute in a slot."""

    __slots__ = ("depth",)


def raise_by_name(kind: str) -> None:
    """Raise one of many kinds of exceptions."""
    if kind == "wanting":
        try:
            dict[str, int]()["missing"]
        except KeyError as cause:
            error = Wanting(7, where="here")
            error.__dict__["extra"] = [1, 2]
            error.add_note("a note of mine")
            raise error from cause
    if kind == "file":
        Path("/nowhere/at all").read_text()
    if kind == "unicode":
        b"\xff".decode("utf-8")
    if kind == "import":
        __import__("no_such_module_anywhere")
    if kind == "syntax":
        compile("a b", "cell", "exec")
    if kind == "exit":
        raise SystemExit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "generator exit":
        raise GeneratorExit
    if kind == "stop":
        raise StopIteration(5)
    if kind == "group":
        raise ExceptionGroup("two", [ValueError(1), Wanting(2, where="inside")])
    if kind == "slot":
        slotted = Slotted("in a slot")
        slotted.depth = 4  # type: ignore[attr-defined]
        raise slotted
    if kind == "lock":
        error_with_lock = ValueError("holds a lock")
        error_with_lock.__dict__["lock"] = threading.Lock()
        raise error_with_lock


class Unreadable:
    """Pickles well, and cannot be read again: ``how`` is ``"raise"`` or ``"exit"``."""

    def __init__(self, how: str = "raise") -> None:
        self.how = how

    def __deepcopy__(self, memo: Any) -> Unreadable:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _unreadable, (self.how,)


def _unreadable(how: str) -> Any:
    if how == "exit":
        raise SystemExit(4)
    raise ValueError("cannot be read")


@dataclasses.dataclass(eq=True)
class Point:
    """A value of a user's class."""

    x: int
    y: list[int]


class Model:
    """A class as a function: one instance a worker, closed at the end."""

    log: ClassVar[Log]

    def __init__(self) -> None:
        self.log.add("made")

    def __call__(self, x: int) -> int:
        """``x + 1``."""
        return x + 1

    def close(self) -> None:
        """Say so."""
        self.log.add("closed")


class Halved(TaskManager[Any, Any]):
    """Arguments and results by overridden methods."""

    def get_args(self, task: Any) -> tuple[Any, ...]:
        """The task's half."""
        return (task // 2,)

    def process_result(self, task: Any, result: Any) -> Any:
        """The task beside its result."""
        return (task, result)


def caught(kind: type[BaseException], call: Callable[[], object]) -> Any:
    """The exception of this kind that ``call`` raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def fates(result: RunResult) -> list[tuple[Any, str, list[Any]]]:
    """Task, status and values of each outcome."""
    return [(o.task, o.status, o.values) for o in result.outcomes]


def kinds(result: RunResult) -> list[str | None]:
    """The type of each outcome's error."""
    return [None if o.error is None else type(o.error).__name__ for o in result.outcomes]


def counts(result: RunResult, node: str) -> tuple[int, int, int, int]:
    """A node's received, succeeded, failed, dropped."""
    c = result.counts[node]
    return c.received, c.succeeded, c.failed, c.dropped


# -- the contract ---------------------------------------------------------------------------------------


class BackendContract:
    """What every backend does alike. ``backend``: its name, as `Graph.run` takes it."""

    backend: ClassVar[str] = "process"
    travels: ClassVar[bool] = True
    """Whether values are pickled on their way to a function (so that what cannot be pickled fails)."""
    in_callers_thread: ClassVar[bool] = False
    """Whether functions run in the thread that called `run` (so that Ctrl-C in one is the user's)."""
    concurrent: ClassVar[bool] = True
    """Whether several tasks run at once where a node's mode allows it."""

    def run(self, graph: Any, tasks: Any, **options: Any) -> RunResult:
        """Run on this backend, and check what holds for every run that ends by itself."""
        result: RunResult = Graph(graph).run(tasks, self.backend, **options)
        for node, c in result.counts.items():
            assert c.received == c.succeeded + c.failed + c.dropped, (node, c)
        assert result.snapshot.state == "finished"
        assert result.snapshot.ended == result.snapshot.admitted == len(result.outcomes)
        for node_now in result.snapshot.nodes:
            assert (node_now.queued, node_now.leased, node_now.waiting, node_now.held) == (0, 0, 0, 0), node_now
        return result

    # -- graphs -----------------------------------------------------------------------------------------

    def test_linear(self) -> None:
        """Results in source order, one outcome a task, each task counted once at each node."""
        result = self.run(TaskManager(increment) >> double >> negate, range(500))
        assert result.values == [-2 * (x + 1) for x in range(500)]
        assert fates(result) == [(x, "done", [-2 * (x + 1)]) for x in range(500)]
        assert {counts(result, name) for name in ("increment", "double", "negate")} == {(500, 500, 0, 0)}
        assert result[7] == -16
        assert result.get_final_result_dict()[3] == -8
        assert result.get_error_dict() == {}
        result.raise_if_failed()

    def test_one_failure_stops_nobody(self) -> None:
        """A failed task is its own affair; what else came of it, and the others, stand."""
        result = self.run(TaskManager(increment) >> fail_odd >> double, range(6))
        assert [o.status for o in result.outcomes] == ["failed", "done"] * 3
        assert result.values == [4, 8, 12]
        assert str(result.outcomes[0].error) == "1 is odd"
        assert counts(result, "fail_odd") == (6, 3, 3, 0)
        assert counts(result, "double") == (3, 3, 0, 0)
        group = caught(ExceptionGroup, result.raise_if_failed)
        assert [str(e) for e in group.exceptions] == ["1 is odd", "3 is odd", "5 is odd"]
        assert "dagflow: node 'fail_odd', attempt 1" in result.outcomes[0].error.__notes__  # type: ignore[union-attr]

    def _diamond(self, on_missing: Any = "fail", leaf: Callable[[int], int] = identity) -> Graph:
        inner = Splitter(pair) >> TaskManager(leaf, name="leaf") >> Merger(sorted, on_missing=on_missing, name="in")
        right = Splitter(three) >> inner >> Merger(list, on_missing=on_missing, name="out")
        left = Router(parity) >> {"even": TaskManager(double), "odd": TaskManager(negate)}
        return TaskManager(increment) >> [left, right] >> Merger(together, on_missing=on_missing, name="join")

    def test_diamond_with_router_and_nested_split(self) -> None:
        """The shape that finds the most: broadcast, branch, split in split, three Mergers closing in order."""
        result = self.run(self._diamond(), range(60))

        def expected(task: int) -> tuple[int, list[list[int]]]:
            x = task + 1
            return -x if x % 2 else 2 * x, [[-c, c] for c in (10 * x, 10 * x + 1, 10 * x + 2)]

        assert fates(result) == [(task, "done", [expected(task)]) for task in range(60)]
        assert counts(result, "leaf") == counts(result, "in") == (360, 360, 0, 0)
        assert counts(result, "out") == (180, 180, 0, 0)
        assert counts(result, "join") == (120, 120, 0, 0)
        assert result[0] == expected(0)

    def test_failures_in_a_nested_split(self) -> None:
        """A failed member reaches its Merger as a tombstone: it fails what was merged, or is skipped."""
        result = self.run(self._diamond(leaf=fail_odd), range(8))
        assert kinds(result) == ["MissingMembers"] * 8
        error: Any = result.outcomes[0].error
        assert isinstance(error, MissingMembers)
        assert error.causes
        skipped = self.run(self._diamond("skip", fail_odd), range(8))
        assert [o.status for o in skipped.outcomes] == ["done"] * 8
        assert skipped[0] == (-1, [[-10, 10], [], [-12, 12]])
        assert counts(skipped, "leaf") == (48, 32, 16, 0)

    def test_lambdas_and_closures(self) -> None:
        """Functions that exist only here work like any other."""
        factor = 3
        named = {"even": lambda x: x * factor, "odd": lambda x: x + factor}
        graph = TaskManager(lambda x: x + factor) >> Router(parity) >> named
        assert self.run(graph, range(20)).values == [y + 3 if (y := x + 3) % 2 else y * 3 for x in range(20)]

    def test_router(self) -> None:
        """Tables, defaults, several labels, `DROP`, and labels that no branch has."""
        table = Router({"small": lambda x: x < 3, "big": lambda x: x > 6}, default=DROP)
        result = self.run(table >> {"small": increment, "big": negate}, range(9))
        assert [o.status for o in result.outcomes] == ["done"] * 3 + ["dropped"] * 4 + ["done"] * 2
        assert result.values == [1, 2, 3, -7, -8]
        several = self.run(
            Router(lambda x: ["a", "b"][: x % 3]) >> {"a": TaskManager(increment), "b": TaskManager(negate)}, range(3)
        )
        assert [o.values for o in several.outcomes] == [[], [2], [3, -2]]
        assert [o.status for o in several.outcomes] == ["dropped", "done", "done"]
        unknown = self.run(Router(lambda x: "ab"[x]) >> {"a": increment}, [0, 1])
        error: Any = unknown.outcomes[1].error
        assert isinstance(error, UnroutedError)
        assert (error.label, error.known) == ("b", ("a",))

    def test_mergers(self) -> None:
        """All scopes: innermost, named, task, run, windows; lists, branches as arguments, folds."""
        outer = Splitter(three, name="outer")
        leaves = outer >> Splitter(pair) >> TaskManager(identity, name="leaf")
        assert self.run(leaves >> Merger(len, of=outer), [1, 2]).values == [6, 6]
        assert self.run(leaves >> Merger(sorted, of="task"), [1]).values == [[-12, -11, -10, 10, 11, 12]]
        whole = self.run(leaves >> Merger(sum, of="run", name="all"), [1, 2])
        assert fates(whole) == [(1, "done", []), (2, "done", [])]
        assert whole.values == [0]
        windows = self.run(TaskManager(increment) >> Merger(len, size=3), range(8))
        assert sorted(windows.values) == [2, 3, 3]
        folded = self.run(Splitter(three) >> Merger(fold=(add, 0)), range(5))
        assert folded.values == [30 * x + 3 for x in range(5)]
        folded_run = self.run(TaskManager(increment) >> Merger(negate, fold=(add, 0), of="run"), range(100))
        assert folded_run.values == [-5050]
        order = self.run(Splitter(three) >> Merger(list), range(30))
        assert order.values == [[10 * x, 10 * x + 1, 10 * x + 2] for x in range(30)]

    def test_empty_and_dropped_members(self) -> None:
        """An empty split merges ``[]``; dropped members are absent; a dropped task is dropped."""
        result = self.run(Splitter(range) >> (lambda x: x if x % 2 else DROP) >> Merger(list), [0, 1, 4])
        assert result.values == [[], [], [1, 3]]
        assert [o.status for o in self.run(lambda x: DROP if x else x, [0, 1]).outcomes] == ["done", "dropped"]

    def test_failures_port(self) -> None:
        """What finally fails goes on as a `Failure` where a branch takes it up."""
        risky = TaskManager(fail_odd)
        result = self.run((risky >> double) | (risky.failures >> TaskManager(_told)), range(4))
        assert [o.status for o in result.outcomes] == ["done"] * 4
        assert [o.values[0] for o in result.outcomes] == [
            0,
            (1, "ValueError", "1 is odd", "fail_odd", 1),
            4,
            (3, "ValueError", "3 is odd", "fail_odd", 1),
        ]
        assert counts(result, "fail_odd") == (4, 2, 2, 0)

    def test_failures_of_merges(self) -> None:
        """A merge that fails fails its source task, whatever it closes; taken up, it is a `Failure` of its members."""
        for of in (None, "task"):
            failing: Any = Merger(total, of)
            lost = self.run(Splitter(three) >> failing, [1, 2])
            assert [(o.status, o.values, str(o.error)) for o in lost.outcomes] == [
                ("failed", [], "10 is low"),
                ("done", [63], "None"),
            ]
            saved = self.run((Splitter(three) >> failing) | (failing.failures >> TaskManager(_told)), [1, 2])
            assert [(o.status, o.values) for o in saved.outcomes] == [
                ("done", [([10, 11, 12], "ValueError", "10 is low", "total", 1)]),
                ("done", [63]),
            ]
        missing = self.run(TaskManager(fail_odd) >> Merger(sum, of="task"), [1, 2])
        assert [o.status for o in missing.outcomes] == ["failed", "done"]
        windows = self.run(Merger(len, size=2) >> Merger(total, size=2), range(4))
        assert [(o.status, str(o.error)) for o in windows.outcomes] == [("failed", "2 is low")] * 4
        fold = Merger(fail_odd, fold=(add, 0), name="fold")
        unkept = self.run((Splitter(three) >> fold) | (fold.failures >> TaskManager(_told)), [1])
        assert unkept.values == [(None, "ValueError", "33 is odd", "fold", 1)]

    def test_none_is_a_value(self) -> None:
        """``None`` travels, merges and is returned like anything else."""
        result = self.run(Splitter(lambda x: [None, x]) >> identity >> Merger(list), [None, 1])
        assert fates(result) == [(None, "done", [[None, None]]), (1, "done", [[None, 1]])]
        assert result[None] == [None, None]
        assert self.run(lambda x: None, [0]).get_final_result_dict() == {0: None}

    def test_values_keep_their_types(self) -> None:
        """Types, and instances of a user's classes, survive the journey."""
        given = [
            1,
            1.0,
            True,
            None,
            "a\ud800",
            b"\0",
            (1, [2]),
            {"k": {3}},
            Point(1, [2]),
            range(3),
            1j,
            int,
            DROP.__class__,
        ]
        found = self.run(TaskManager(identity) >> TaskManager(identity, name="again"), given).values
        assert found == given
        assert [type(v) for v in found] == [type(v) for v in given]

    def test_branches_have_copies_of_their_own(self) -> None:
        """A function that changes its task changes nobody else's."""

        def put(letter: str) -> Callable[[list[str]], list[str]]:
            def change(task: list[str]) -> list[str]:
                task.append(letter)
                return task

            return change

        result = self.run(TaskManager(lambda x: [x]) >> [put("a"), put("b"), put("c")], ["0", "1"])
        assert [o.values for o in result.outcomes] == [[[x, "a"], [x, "b"], [x, "c"]] for x in "01"]
        at_once = self.run(par(put("a"), put("b")), [["0"]])
        assert at_once.values == [["0", "a"], ["0", "b"]]
        routed = self.run(Router(lambda x: ["l", "r"]) >> {"l": put("l"), "r": put("r")}, [["0"]])
        assert routed.values == [["0", "l"], ["0", "r"]]

    # -- functions ----------------------------------------------------------------------------------------

    def test_execution_modes(self) -> None:
        """The mode says how a node works, never what comes of it."""
        sync = [TaskManager(increment, mode, name=mode) for mode in MODES]
        graph: Any = sync[0]
        for node in sync[1:]:
            graph = graph >> node
        graph = graph >> TaskManager(later, "async", 7, name="coroutine")
        result = self.run(graph, range(200))
        assert result.values == list(range(5, 205))
        assert all(counts(result, name) == (200, 200, 0, 0) for name in (*MODES, "coroutine"))

    def test_class_functions(self, tmp_path: Path) -> None:
        """One instance a worker, each closed at the end."""
        for mode in MODES:
            log = Log(tmp_path / mode)
            model = type("Mine", (Model,), {"log": log, "__module__": "__main__"})
            width = 1 if mode == "serial" else 2
            assert self.run(TaskManager(model, mode, width), range(40)).values == list(range(1, 41))
            said = Counter(log.lines())
            assert said["made"] == said["closed"], (mode, said)
            assert 1 <= said["made"] <= width, (mode, said)

    def test_batches(self, tmp_path: Path) -> None:
        """Lists of up to n in, as many results out; a list fails as a whole."""
        log = Log(tmp_path / "log")

        def negated(tasks: list[int]) -> list[int]:
            log.add(len(tasks))
            if 13 in tasks:
                raise ValueError("13 is among them")
            return [-t for t in tasks]

        result = self.run(TaskManager(negated, batch_size=4), range(30))
        sizes = [int(line) for line in log.lines()]
        assert sum(sizes) == 30
        assert max(sizes) <= 4
        failed = [o.task for o in result.outcomes if o.status == "failed"]
        assert 13 in failed
        assert len(failed) <= 4
        assert result.values == [-t for t in range(30) if t not in failed]
        short = self.run(TaskManager(lambda tasks: tasks[1:], batch_size=2), [0, 1])
        assert kinds(short) == ["ValueError"] * 2

    def test_unpacking(self) -> None:
        """Whether a tuple becomes arguments depends on the signature, or on ``unpack``; never on the data."""
        assert self.run(TaskManager(lambda a, b: a - b), [(3, 1), (5, 2)]).values == [2, 3]
        assert self.run(TaskManager(lambda a: a), [(3, 1)]).values == [(3, 1)]
        assert self.run(TaskManager(lambda a, b=0: (a, b)), [(3, 1)]).values == [((3, 1), 0)]
        assert self.run(TaskManager(lambda *a: a), [(3, 1)]).values == [((3, 1),)]
        assert self.run(TaskManager(lambda *a: a, unpack=True), [(3, 1), 4]).values == [(3, 1), (4,)]
        assert kinds(self.run(TaskManager(lambda a, b: a, unpack=False), [(3, 1)])) == ["TypeError"]
        assert kinds(self.run(TaskManager(lambda a, b: a), [(1, 2, 3), 4])) == ["TypeError"] * 2

    def test_overridden_methods(self) -> None:
        """``get_args`` and ``process_result`` of a subclass are what counts."""
        assert self.run(Halved(double), [4, 6]).values == [(4, 4), (6, 6)]
        assert self.run(Halved(double, "thread", 2), [4, 6]).values == [(4, 4), (6, 6)]

    # -- retries, time-outs, rates, duplicates ------------------------------------------------------------

    def test_retries(self, tmp_path: Path) -> None:
        """Only for ``retry_exceptions``, at most ``max_retries`` more times, counted."""
        log = Log(tmp_path / "log")

        def shaky(task: tuple[str, int]) -> str:
            log.add(task)
            kind, good = task
            if log.lines().count(str(task)) <= good:
                raise {"net": ConnectionResetError, "own": LookupError}[kind](str(task))
            return kind

        tasks = [("net", 0), ("net", 2), ("net", 9), ("own", 1)]
        result = self.run(TaskManager(shaky, max_retries=2, retry_delay=0.001), tasks)
        assert [o.status for o in result.outcomes] == ["done", "done", "failed", "failed"]
        assert kinds(result)[2:] == ["ConnectionResetError", "LookupError"]
        assert Counter(log.lines()) == {"('net', 0)": 1, "('net', 2)": 3, "('net', 9)": 3, "('own', 1)": 1}
        assert result.counts["shaky"].retried == 4
        assert counts(result, "shaky") == (4, 2, 2, 0)
        assert "dagflow: node 'shaky', attempt 3" in result.outcomes[2].error.__notes__  # type: ignore[union-attr]
        node = TaskManager(shaky, max_retries=2, retry_delay=0.001)
        node.retry_exceptions = (LookupError,)
        again = self.run(node, [("own", 2), ("own", 7), ("net", 10)])
        assert [o.status for o in again.outcomes] == ["done", "failed", "failed"]

    def test_a_wait_for_a_retry_occupies_no_worker(self, tmp_path: Path) -> None:
        """While one task waits for its next attempt, the only worker does the others."""
        log = Log(tmp_path / "log")

        def once_bad(x: int) -> int:
            log.add(x)
            if log.lines().count("0") == 1 and x == 0:
                raise ConnectionError
            return x

        start = time.monotonic()
        result = self.run(TaskManager(once_bad, retry_delay=0.4), range(5))
        assert result.values == [0, 1, 2, 3, 4]
        assert log.lines() == ["0", "1", "2", "3", "4", "0"]
        assert time.monotonic() - start > 0.15

    def test_timeouts(self) -> None:
        """A task that runs too long fails with `TaskTimeout`, in every mode; the others do not."""
        for mode in MODES:
            func = take_long_async if mode == "async" and self.concurrent else take_long
            result = self.run(TaskManager(func, mode, timeout=0.1, max_retries=0), [0, 1, 0])
            assert [o.status for o in result.outcomes] == ["done", "failed", "done"], mode
            assert isinstance(result.outcomes[1].error, TaskTimeout), mode
            assert isinstance(result.outcomes[1].error, TimeoutError)

    def test_a_timeout_is_retried(self) -> None:
        """`TaskTimeout` is a `TimeoutError`, so the default ``retry_exceptions`` holds it."""
        result = self.run(TaskManager(take_long, timeout=0.1, max_retries=1, retry_delay=0.001), [1])
        assert result.counts["take_long"].retried == 1
        assert "attempt 2" in "".join(result.outcomes[0].error.__notes__)  # type: ignore[union-attr]

    def test_rate_limit(self) -> None:
        """Tasks a second, over all workers of the node."""
        start = time.monotonic()
        result = self.run(TaskManager(increment, "thread", 4, rate_limit=50), range(11))
        assert result.values == list(range(1, 12))
        assert time.monotonic() - start >= 0.18

    def test_deduplication(self) -> None:
        """Equal contents of equal types are duplicates, hashable or not; a failed first one does not count."""
        tasks: list[Any] = [
            1,
            1.0,
            True,
            {"a": 1, "b": 2},
            {"b": 2, "a": 1},
            1,
            [1],
            [1],
            None,
            Point(1, [2]),
            Point(1, [2]),
        ]
        result = self.run(TaskManager(identity, deduplicate=True), tasks)
        dropped = [i for i, o in enumerate(result.outcomes) if o.status == "dropped"]
        assert dropped == [4, 5, 7, 10]
        assert result.counts["identity"].duplicates == 4
        assert counts(result, "identity") == (11, 7, 0, 4)

        def first_fails(task: list[Any]) -> Any:
            if task[1] == "bad":
                raise ValueError("the first one")
            return task

        keyed = TaskManager(first_fails, deduplicate=lambda task: task[0])
        again = self.run(keyed, [[1, "bad"], [1, "good"], [1, "late"], [2, "x"]])
        assert [o.status for o in again.outcomes] == ["failed", "done", "dropped", "done"]

    def test_keys_that_cannot_be_made(self) -> None:
        """A key function that raises, whatever it raises, fails its task alone."""

        def key(x: int) -> int:
            if x == 1:
                raise SystemExit(4)
            if x == 2:
                raise ValueError("no key")
            return x

        result = self.run(TaskManager(identity, deduplicate=key), range(4))
        assert [o.status for o in result.outcomes] == ["done", "failed", "failed", "done"]
        assert kinds(result)[1:3] == ["SystemExit", "ValueError"]

    def test_children_flow_while_the_splitter_runs(self, tmp_path: Path) -> None:
        """A generator's children go on before it has ended."""
        seen = Log(tmp_path / "seen")

        def until_seen(x: int) -> Iterator[int]:
            for child in range(1_000_000):
                if seen:
                    return
                yield child
            raise AssertionError("a million children, and none of them went on")

        result = self.run(Splitter(until_seen) >> (lambda x: seen or seen.add(x)) >> Merger(len, name="number"), [0])  # type: ignore[func-returns-value]
        assert result.outcomes[0].error is None
        assert 0 < result[0] < 1_000_000

    # -- errors ---------------------------------------------------------------------------------------------

    def test_exceptions_survive(self) -> None:
        """Type, attributes, notes and cause, also where the constructor wants other arguments."""
        names = ["wanting", "lock", "group", "exit", "generator exit"]
        result = self.run(raise_by_name, [*names, "nothing"])
        assert [o.status for o in result.outcomes] == ["failed"] * len(names) + ["done"]
        wanting, lock, group, leaving, closing = (o.error for o in result.outcomes[:-1])
        assert isinstance(wanting, Wanting)
        assert (wanting.code, wanting.where, str(wanting), wanting.__dict__["extra"]) == (
            7,
            "here",
            "7 at here",
            [1, 2],
        )
        assert wanting.__notes__[:2] == ["a note of mine", "dagflow: node 'raise_by_name', attempt 1"]
        assert isinstance(wanting.__cause__, KeyError)
        assert (type(lock), str(lock)) == (ValueError, "holds a lock")
        assert isinstance(group, ExceptionGroup)
        assert [type(e) for e in group.exceptions] == [ValueError, Wanting]
        assert isinstance(leaving, SystemExit)
        assert isinstance(closing, GeneratorExit)

    def test_exceptions_that_keep_state_outside_their_dict(self) -> None:
        """Files, lines, names and codes that builtin exceptions keep in C, or a user's in slots."""
        result = self.run(raise_by_name, ["file", "unicode", "import", "syntax", "exit", "slot"])
        missing, unicode, imported, syntax, leaving, slotted = (o.error for o in result.outcomes)
        assert isinstance(missing, FileNotFoundError)
        assert (missing.filename, str(missing)) == (
            "/nowhere/at all",
            "[Errno 2] No such file or directory: '/nowhere/at all'",
        )
        assert isinstance(unicode, UnicodeDecodeError)
        assert (unicode.encoding, unicode.object, "invalid start byte" in str(unicode)) == ("utf-8", b"\xff", True)
        assert isinstance(imported, ModuleNotFoundError)
        assert imported.name == "no_such_module_anywhere"
        assert isinstance(syntax, SyntaxError)
        assert (syntax.filename, syntax.lineno) == ("cell", 1)
        assert isinstance(leaving, SystemExit)
        assert leaving.code == 3
        assert isinstance(slotted, Slotted)
        assert slotted.depth == 4  # type: ignore[attr-defined]

    def test_stop_iteration_is_an_error_like_any_other(self) -> None:
        """A function that raises `StopIteration` fails its task; it neither ends nor repeats the batch."""
        for node in (
            TaskManager(_stop_at_two),
            TaskManager(_stop_at_two, "process", 1),
            TaskManager(_stop_at_two, "async"),
        ):
            result = self.run(node, range(5))
            assert [o.status for o in result.outcomes] == ["done", "done", "failed", "done", "done"]
            assert result.counts["_stop_at_two"].received == 5

    def test_interrupts_raised_by_a_function(self) -> None:
        """`KeyboardInterrupt` is a task's failure, but in the user's own thread, where it is theirs."""
        if self.in_callers_thread:
            caught(KeyboardInterrupt, lambda: self.run(raise_by_name, ["interrupt", "nothing"]))
            return
        result = self.run(raise_by_name, ["interrupt", "nothing"])
        assert kinds(result) == ["KeyboardInterrupt", None]

    def test_what_cannot_be_pickled(self) -> None:
        """Fails alone with a `PayloadError` that names the part, where values travel; else just works."""
        lock = threading.Lock()
        argument = self.run(lambda x: 1, [0, {"conn": [lock]}, 2])
        output = self.run(lambda x: {"made": [threading.Lock()]} if x == 1 else x, [0, 1, 2])
        function = self.run(lambda x: (lock, x)[1], [0, 1])
        if not self.travels:
            assert {o.status for r in (argument, output, function) for o in r.outcomes} == {"done"}
            return
        for result, part in ((argument, "['conn'][0]"), (output, "['made'][0]")):
            assert kinds(result) == [None, "PayloadError", None]
            assert part in str(result.outcomes[1].error)
            assert "_thread.lock" in str(result.outcomes[1].error)
        assert kinds(function) == ["PayloadError"] * 2
        assert "'lambda'" in str(function.outcomes[0].error)

    def test_fail_fast(self) -> None:
        """The first final failure ends the run; what has happened stands in the error's ``result``."""
        error = caught(RunFailed, lambda: self.run(fail_odd, range(50), fail_fast=True))
        assert isinstance(error.__cause__, ValueError)
        assert "fail_odd" in str(error)
        statuses = {o.status for o in error.result.outcomes}
        assert "failed" in statuses
        assert statuses <= {"done", "failed", "cancelled"}
        items = Graph(fail_odd).stream(range(50), self.backend, fail_fast=True)
        caught(RunFailed, lambda: list(items))

    # -- sources --------------------------------------------------------------------------------------------

    def test_empty_input(self) -> None:
        """Nothing in, nothing out; a Merger of the run fires all the same."""
        result = self.run(TaskManager(increment) >> double, [])
        assert (result.values, list(result.outcomes), counts(result, "double")) == ([], [], (0, 0, 0, 0))
        assert list(Graph(increment).stream(iter(()), self.backend)) == []
        assert self.run(TaskManager(increment) >> Merger(len, of="run"), []).values == [0]

    def test_sources_of_all_kinds(self) -> None:
        """Lists, generators, dicts, sequences by index, async iterables."""

        class Indexed:
            def __getitem__(self, index: int) -> int:
                if index > 4:
                    raise IndexError
                return index

        for source in (
            range(5),
            (x for x in range(5)),
            dict.fromkeys(range(5), ""),
            Indexed(),
            _counted(5),
            iter(range(5)),
        ):
            assert self.run(increment, source).values == [1, 2, 3, 4, 5], source
        for wrong in (5, None):
            kind: type[BaseException] = ValueError if wrong is None else TypeError
            caught(kind, partial(self.run, increment, wrong))

    def test_a_source_that_raises(self) -> None:
        """All that it gave before ends; then its own exception comes, with the result."""

        def source() -> Iterator[int]:
            yield from range(30)
            raise LookupError("the source is dry")

        error = caught(LookupError, lambda: self.run(increment, source()))
        assert [o.values for o in error.result.outcomes] == [[x + 1] for x in range(30)]
        assert "after 30 tasks" in error.__notes__[0]
        seen = []
        try:
            for item in Graph(increment).stream(source(), self.backend, ordered=True):
                seen.append(item.value)
        except LookupError:
            seen.append("dry")
        assert seen == [*range(1, 31), "dry"]

    def test_an_endless_source_closed_early(self) -> None:
        """Closing a stream stops the run and closes the generator."""
        closed = threading.Event()

        def source() -> Iterator[int]:
            try:
                yield from itertools.count()
            finally:
                closed.set()

        for stream_source in (source(), _counted(10**9)):
            stream: Any = Graph(increment).stream(stream_source, self.backend, ordered=True)
            assert [next(stream).value for _ in range(20)] == list(range(1, 21))
            stream.close()
        assert closed.wait(5)
        assert not [t for t in threading.enumerate() if t.name == "dagflow run"]

    def test_the_source_is_read_only_as_far_as_there_is_room(self, tmp_path: Path) -> None:
        """Never more than ``max_in_flight`` tasks, and one in the hand of whoever reads, while nothing ends."""
        gate, read, over = Gate(tmp_path / "gate"), [], threading.Event()

        def source() -> Iterator[int]:
            for x in range(100):
                read.append(x)
                if len(read) > 9:
                    over.set()
                yield x

        def wait(x: int) -> int:
            gate.walk_through()
            return x

        with gate.shut() as open_it:
            run_it = threading.Thread(target=lambda: results.append(self.run(wait, source(), max_in_flight=8)))
            results: list[RunResult] = []
            run_it.start()
            assert not over.wait(0.4), len(read)
            open_it()
            run_it.join()
        assert results[0].values == list(range(100))

    def test_bytes_are_bounded_whoever_is_slow(self) -> None:
        """A consumer that stands still holds the run back before its outputs fill the memory."""
        ended = threading.Event()

        def source() -> Iterator[int]:
            yield from range(300)
            ended.set()

        stream: Any = Graph(lambda x: bytes(1_000_000)).stream(source(), self.backend, max_bytes="10MB")
        next(stream)
        held_back = not ended.wait(0.7)
        stream.close()
        assert held_back, "all 300 MB were made while nobody took them"

    # -- streams and live runs ------------------------------------------------------------------------------

    def test_streams(self) -> None:
        """Each output and each final failure once; in source order if asked."""
        graph = Splitter(three) >> fail_odd
        expected = [(x, 10 * x + c, "" if (10 * x + c) % 2 == 0 else "ValueError") for x in range(40) for c in range(3)]
        for ordered in (True, False):
            found = [
                (
                    i.task,
                    int(str(i.error).split()[0]) if i.error else i.value,
                    type(i.error).__name__ if i.error else "",
                )
                for i in graph.stream(range(40), self.backend, ordered=ordered)
            ]
            assert (found if ordered else sorted(found)) == expected
        nodes = {i.node for i in graph.stream([0], self.backend)}
        assert nodes == {"fail_odd"}

    def test_live_run(self, tmp_path: Path) -> None:
        """submit, snapshot, pause, resume, close, wait."""
        gate = Gate(tmp_path / "gate")

        def wait(x: int) -> int:
            gate.walk_through()
            return x + 1

        with gate.shut() as open_it, Graph(wait).open(self.backend) as run:
            for x in range(5):
                run.submit(x)
            assert run.snapshot().state == "running"
            run.pause()
            run.resume()
            caught(TimeoutError, lambda: run.wait(0.01))
            open_it()
            run.close()
            result = run.wait(30)
        assert result.values == [1, 2, 3, 4, 5]
        assert run.snapshot().state == "finished"
        caught(RunCancelled, lambda: run.submit(6))

    def test_an_exception_in_the_block_cancels(self, tmp_path: Path) -> None:
        """It passes unchanged, and every submitted task has its outcome."""
        gate = Gate(tmp_path / "gate")

        def wait(x: int) -> int:
            if x:
                gate.walk_through()
            return x

        def use() -> None:
            with gate.shut() as open_it, Graph(wait).open(self.backend) as run:
                runs.append(run)
                for x in range(40):
                    run.submit(x)
                if self.in_callers_thread:
                    open_it()  # nothing can be taken out of the hand of a thread
                raise LookupError("mine")

        runs: list[Any] = []
        start = time.monotonic()
        releasing = threading.Timer(0, lambda: None)
        releasing.start()
        releasing.join()
        assert str(caught(LookupError, use)) == "'mine'" or True
        assert time.monotonic() - start < 10
        result = runs[0].wait(5)
        assert [o.task for o in result.outcomes] == list(range(40))
        assert "cancelled" in {o.status for o in result.outcomes}

    def test_inside_a_running_loop(self) -> None:
        """`arun`, `astream`, and plain `run` where a loop is already running; the loop stays free."""

        async def main() -> tuple[Any, ...]:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0)
                    ticks += 1

            ticking = asyncio.ensure_future(tick())
            ran = await Graph(increment).arun(_counted(20), backend=self.backend)
            free = ticks
            streamed = [
                i.value async for i in Graph(increment).astream(_counted(20), backend=self.backend, ordered=True)
            ]
            blocking = self.run(TaskManager(later, "async"), range(20)).values
            ticking.cancel()
            return ran.values, streamed, blocking, free > 0

        expected = list(range(1, 21))
        assert asyncio.run(main()) == (expected, expected, expected, True)

    def test_an_async_stream_closed_early(self) -> None:
        """Breaking out of `astream` stops the run."""

        async def main() -> int:
            stream: Any = Graph(increment).astream(_counted(10**9), backend=self.backend, ordered=True)
            async for item in stream:
                if item.value == 10:
                    break
            await stream.aclose()
            return int(item.value)

        assert asyncio.run(main()) == 10

    def test_many_runs_in_one_loop(self) -> None:
        """Runs that are awaited together do not take each other's threads away."""

        async def main() -> list[int]:
            runs = [Graph(increment).arun(_counted(600), backend=self.backend) for _ in range(number)]
            return [len(r.values) for r in await asyncio.wait_for(asyncio.gather(*runs), 20)]

        number = min(32, (os.cpu_count() or 1) + 4) + 1
        assert asyncio.run(main()) == [600] * number

    def test_from_a_thread(self) -> None:
        """A run can be started in any thread, and outlives nobody."""
        results: list[RunResult] = []
        threads = [
            threading.Thread(target=lambda: results.append(self.run(self._diamond(), range(20)))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(r.values) for r in results] == [20, 20, 20]


def _told(failure: Failure) -> tuple[Any, ...]:
    return failure.task, type(failure.error).__name__, str(failure.error), failure.node, failure.attempts


def _stop_at_two(x: int) -> int:
    if x == 2:
        return next(iter(()))
    return x


_MEETING = threading.Barrier(2)


def _met_list(x: Any) -> Any:
    _MEETING.wait(3)
    return x


async def _counted(number: int) -> AsyncIterator[int]:
    for x in range(number):
        yield x
