"""The meaning of graphs, as a suite to subclass: the same on every backend and in every execution mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from dagflow.errors import MissingMembers, UnroutedError
from dagflow.graph.algebra import Graph, par
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.node import Mode
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager
from dagflow.result import RunResult
from dagflow.testing.functions import (
    Halved,
    Point,
    Slotted,
    Wanting,
    add,
    double,
    fail_odd,
    identity,
    increment,
    negate,
    pair,
    parity,
    raise_by_name,
    three,
    together,
    total,
)
from dagflow.testing.witnesses import Log
from dagflow.work.outcome import Failure


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


class Semantics:
    """What graphs mean. ``backend``: as `Graph.run` takes it; ``mode``: the execution mode of nodes that name none."""

    backend: ClassVar[str] = "process"
    mode: ClassVar[Mode | None] = None
    concurrent: ClassVar[bool] = True
    """Whether several tasks run at once where a node's mode allows it."""

    def run(self, graph: Any, tasks: Any, **options: Any) -> RunResult:
        """Run on this backend, and check what holds for every run that ends by itself."""
        graph = Graph(graph)
        for node in graph.nodes:
            if self.mode is not None and node.execution_mode == "serial":
                node.execution_mode, node.worker_limit = self.mode, 2
        result: RunResult = graph.run(tasks, self.backend, **options)
        for node, c in result.counts.items():
            assert c.received == c.succeeded + c.failed + c.dropped, (node, c)
        assert result.snapshot.state == "finished"
        assert result.snapshot.ended == result.snapshot.admitted == len(result.outcomes)
        for node_now in result.snapshot.nodes:
            assert (node_now.queued, node_now.leased, node_now.waiting, node_now.held) == (0, 0, 0, 0), node_now
        return result

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
        done = [i for i, o in enumerate(result.outcomes) if o.status == "done"]
        # The first of equals wins where tasks come one by one; where several are looked at at once, one of them.
        first = {3: 3, 4: 3, 0: 0, 5: 0, 6: 6, 7: 6, 9: 9, 10: 9}
        assert sorted(first.get(i, i) for i in done) == [0, 1, 2, 3, 6, 8, 9]
        assert self.mode is not None or done == [0, 1, 2, 3, 6, 8, 9]
        assert result.counts["identity"].duplicates == 4
        assert counts(result, "identity") == (11, 7, 0, 4)

        def first_fails(task: list[Any]) -> Any:
            if task[1] == "bad":
                raise ValueError("the first one")
            return task

        keyed = TaskManager(first_fails, deduplicate=lambda task: task[0])
        again = self.run(keyed, [[1, "bad"], [1, "good"], [1, "late"], [2, "x"]])
        assert self.mode is not None or [o.status for o in again.outcomes] == ["failed", "done", "dropped", "done"]
        assert counts(again, "first_fails")[1] == 2
        assert again.outcomes[0].status in ("failed", "dropped")

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


def _told(failure: Failure) -> tuple[Any, ...]:
    return failure.task, type(failure.error).__name__, str(failure.error), failure.node, failure.attempts


def _stop_at_two(x: int) -> int:
    if x == 2:
        return next(iter(()))
    return x
