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
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import ANY

from dagflow.errors import MissingMembers, RunCancelled, RunFailed, TaskTimeout
from dagflow.graph.algebra import Graph
from dagflow.graph.merger import Merger
from dagflow.graph.node import MODES
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager
from dagflow.result import RunResult
from dagflow.testing.functions import (
    Model,
    double,
    fail_odd,
    hundred,
    increment,
    later,
    meet_in_children,
    meet_in_children_async,
    meet_in_lists,
    meet_in_lists_async,
    meet_in_merges,
    meet_in_merges_async,
    raise_by_name,
    slowly,
    take_long,
    take_long_async,
    take_long_children,
    take_long_children_async,
    take_long_lists,
    take_long_lists_async,
    take_long_merging,
    take_long_merging_async,
    three,
)
from dagflow.testing.semantics import Semantics, caught, counts, fates, kinds
from dagflow.testing.witnesses import Gate, Log


class BackendContract(Semantics):
    """What every backend does alike. ``backend``: its name, as `Graph.run` takes it."""

    travels: ClassVar[bool] = True
    """Whether values are pickled on their way to a function (so that what cannot be pickled fails)."""
    in_callers_thread: ClassVar[bool] = False
    """Whether functions run in the thread that called `run` (so that Ctrl-C in one is the user's)."""

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

    # -- retries, time-outs, rates, duplicates ------------------------------------------------------------

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

    def test_timeouts_of_every_kind_of_node(self) -> None:
        """Lists of tasks, splits and merges have time-outs as single tasks do, in every mode; the others go on."""
        for mode in MODES if self.concurrent else ("serial",):
            later = mode == "async"
            options: Any = {"execution_mode": mode, "timeout": 0.3, "max_retries": 0}
            lists = TaskManager(take_long_lists_async if later else take_long_lists, batch_size=2, **options)
            children: Any = take_long_children_async if later else take_long_children
            split = Splitter(children, **options)
            merge = Merger(take_long_merging_async if later else take_long_merging, **options)
            graphs: list[tuple[Any, list[int]]] = [
                (lists, [0, 0, 1, 1]),
                (split >> Merger(list), [0, 1, 0]),
                (Splitter(lambda n: [n, n]) >> merge, [0, 1, 0]),
            ]
            for graph, tasks in graphs:
                result = self.run(graph, tasks)
                assert fates(result) == [(t, "failed" if t else "done", ANY) for t in tasks], (mode, graph)
                for outcome in result.outcomes:
                    error = outcome.error
                    if isinstance(error, MissingMembers):  # its first child was on its way already
                        error = error.causes[0]
                    assert error is None or isinstance(error, TaskTimeout), (mode, graph, error)

    def test_a_split_that_waits_for_room_is_not_late(self) -> None:
        """Only the time that a Splitter works counts, not the time that nobody takes its children."""
        for mode in ("serial", "thread"):
            split = Splitter(hundred, mode, timeout=0.25, max_retries=0)
            result = self.run(split >> TaskManager(slowly) >> Merger(len), [1], max_bytes=64)
            assert result.outcomes[0].values == [100], (mode, result.outcomes[0])

    def test_lists_and_merges_and_splits_spread_over_threads(self) -> None:
        """In thread and async mode several lists of tasks, merges and splits are worked on at once."""
        if not self.concurrent:
            return
        cases: list[tuple[Any, Any, Any, Any]] = [
            ("thread", meet_in_lists, meet_in_children, meet_in_merges),
            ("async", meet_in_lists_async, meet_in_children_async, meet_in_merges_async),
        ]
        for mode, lists, children, merges in cases:
            assert self.run(TaskManager(lists, mode, 2, batch_size=2), range(4)).values == [0, 1, 2, 3]
            assert self.run(Splitter(children, mode, 2) >> Merger(sum), [1, 2]).values == [2, 4]
            merger = Merger(merges, execution_mode=mode, worker_limit=2)
            assert self.run(Splitter(lambda n: [n, n]) >> merger, [1, 2]).values == [2, 4]

    def test_lists_are_full_where_there_are_enough_tasks(self, tmp_path: Path) -> None:
        """A function of lists gets full ones under load, in every mode, but never more than ``batch_size``."""
        log = Log(tmp_path / "sizes")

        def sizes(tasks: list[int]) -> list[int]:
            log.add(len(tasks))
            return tasks

        async def sizes_async(tasks: list[int]) -> list[int]:
            return sizes(tasks)

        for mode in MODES:
            func = sizes_async if mode == "async" else sizes
            before = len(log.lines())
            assert self.run(TaskManager(func, mode, 2, batch_size=16), range(400)).values == list(range(400))
            seen = [int(line) for line in log.lines()[before:]]
            assert sum(seen) == 400
            assert max(seen) <= 16
            if self.concurrent:
                assert sum(1 for size in seen if size == 16) >= 20, (mode, seen)

    def test_a_step_of_a_fold_that_fails_is_tried_again_from_its_start(self, tmp_path: Path) -> None:
        """A fold that changes its accumulated value in place does not find the traces of a failed attempt in it."""
        log = Log(tmp_path / "shaky")

        def collect(found: list[int], x: int) -> list[int]:
            found.append(x)
            if x == 5 and not log:
                log.add("once")
                raise ConnectionError("once")
            return found

        fold = Merger(sorted, fold=(collect, []), retry_delay=0.001, name="fold")
        result = self.run(Splitter(range, name="split") >> fold, [8])
        assert result.values == [list(range(8))]
        assert result.counts["fold"].retried == 1

    def test_rate_limit(self) -> None:
        """Tasks a second, over all workers of the node."""
        start = time.monotonic()
        result = self.run(TaskManager(increment, "thread", 4, rate_limit=50), range(11))
        assert result.values == list(range(1, 12))
        assert time.monotonic() - start >= 0.18

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
                if self.in_callers_thread:  # nothing can be taken out of the hand of a thread: it ends by itself,
                    close = run.close  # but not before the run has been cancelled, which is before it is closed
                    run.close = lambda: (open_it(), close())[1]
                raise LookupError("mine")

        runs: list[Any] = []
        start = time.monotonic()
        assert caught(LookupError, use).args == ("mine",)
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


_MEETING = threading.Barrier(2)


def _met_list(x: Any) -> Any:
    _MEETING.wait(3)
    return x


async def _counted(number: int) -> AsyncIterator[int]:
    for x in range(number):
        yield x
