"""A conformance suite for journals: what a journal means must not depend on where it is kept.

Subclass it in a test file and say how one is made; pytest does the rest::

    from dagflow.testing.journals import JournalContract

    class TestMine(JournalContract):
        def make(self, tmp_path):
            return MyJournal(tmp_path)

``make`` gives what `graph.run(tasks, journal=...)` takes; `room` gives the same journal as the object behind the door
`dagflow.protocols.Journal`, not open. Every test is one promise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagflow as df
from dagflow.errors import JournalError, JournalMismatch
from dagflow.journal.where import journal_at
from dagflow.protocols import Journal, Turn


class _Ran:
    """Functions that say for which tasks they ran, in this process."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.broken = True

    def double(self, task: Any) -> Any:
        """Twice the task."""
        self.calls.append(("double", task))
        return task * 2

    def check(self, value: Any) -> Any:
        """The value, if it is not a multiple of six."""
        self.calls.append(("check", value))
        if self.broken and value % 6 == 0:
            raise KeyError(f"no {value}")
        return value + 1

    def graph(self) -> df.Graph:
        """The two, one after the other."""
        return df.TaskManager(self.double, name="double") >> df.TaskManager(self.check, name="check")

    def since(self, count: int) -> list[tuple[str, Any]]:
        """The calls after so many."""
        return self.calls[count:]


def _told(result: Any) -> list[tuple[Any, ...]]:
    return [(o.task, o.status, o.values, type(o.error), str(o.error)) for o in result.outcomes]


class JournalContract:
    """Tests that every journal passes."""

    def make(self, tmp_path: Path) -> Any:
        """A new journal, as a user would name it."""
        raise AssertionError("a subclass says how")

    def room(self, where: Any) -> Journal:
        """The journal behind its door."""
        return journal_at(where)

    # -- what runs mean by it ---------------------------------------------------------------------------

    def test_the_same_call_again_executes_nothing(self, tmp_path: Path) -> None:
        """All is given again: values, statuses, errors with their types, counts."""
        where, ran = self.make(tmp_path), _Ran()
        first = ran.graph().run(range(20), "serial", journal=where)
        count = len(ran.calls)
        again = ran.graph().run(range(20), "serial", journal=where)
        assert ran.since(count) == []
        assert _told(again) == _told(first)
        assert again.counts == first.counts
        assert (first.reused, again.reused) == (0, 20)
        assert isinstance(again.outcomes[3].error, KeyError)
        assert "20 source tasks given again" in again.summary()

    def test_a_stopped_run_goes_on(self, tmp_path: Path) -> None:
        """What had ended is not executed again; all the rest is."""
        where, ran, stopped = self.make(tmp_path), _Ran(), threading.Event()

        def tasks() -> Iterator[int]:
            yield from range(10)
            stopped.wait()

        stream: Any = ran.graph().stream(tasks(), "serial", journal=where)
        for _ in range(7):
            next(stream)
        stream.close()
        stopped.set()
        before = set(ran.calls)
        with df.open_journal(where) as journal:
            ended = {o.task for o in journal.outcomes}
            assert journal.runs[0].state == "cancelled"
            assert 7 <= len(journal.outcomes) <= len(journal.outcomes) + len(journal.unfinished) <= 10
        count = len(ran.calls)
        result = ran.graph().run(range(50), "serial", journal=where)
        again = set(ran.since(count))
        assert {("double", task) for task in ended}.isdisjoint(again)
        assert {call for call in before | again if call[0] == "double"} == {("double", n) for n in range(50)}
        assert result.reused == len(ended) >= 7

    def test_sources_may_grow_and_come_in_another_order(self, tmp_path: Path) -> None:
        """A task is known by its content, typed, and by which occurrence it is."""
        where, ran = self.make(tmp_path), _Ran()
        ran.broken = False
        ran.graph().run([1, 2, 2, 3.0, "a"], "serial", journal=where)
        count = len(ran.calls)
        result = ran.graph().run(["a", 3, True, 2, 1, 2, 2, 3.0], "serial", journal=where)
        assert [task for name, task in ran.since(count) if name == "double"] == [3, True, 2]
        assert [o.task for o in result.outcomes] == ["a", 3, True, 2, 1, 2, 2, 3.0]
        assert result.values == [7, 3, 5, 3, 5, 5, 7.0]
        assert result.reused == 5

    def test_the_journal_is_a_source_by_itself(self, tmp_path: Path) -> None:
        """``tasks=None`` are the tasks that it knows."""
        where, ran = self.make(tmp_path), _Ran()
        first = ran.graph().run([4, 5, 3], "serial", journal=where)
        again = ran.graph().run(None, "thread", journal=where)
        assert _told(again) == _told(first)

    def test_dead_letters_are_driven_again(self, tmp_path: Path) -> None:
        """Only they run, from the node that failed them."""
        where, ran = self.make(tmp_path), _Ran()
        ran.graph().run(range(7), "serial", journal=where)
        with df.open_journal(where) as journal:
            assert [(f.source, f.task, f.node, f.attempts) for f in journal.failures] == [
                (0, 0, "check", 1), (3, 6, "check", 1), (6, 12, "check", 1)
            ]  # fmt: skip
        count, ran.broken = len(ran.calls), False
        result = ran.graph().run(range(7), "serial", journal=where, retry_failed=True)
        assert ran.since(count) == [("check", 0), ("check", 6), ("check", 12)]
        assert result.values == [n * 2 + 1 for n in range(7)]
        with df.open_journal(where) as journal:
            assert journal.failures == []

    def test_another_graph_is_refused(self, tmp_path: Path) -> None:
        """The mismatch names the node; nothing ran."""
        where, ran = self.make(tmp_path), _Ran()
        ran.graph().run(range(4), "serial", journal=where)
        count = len(ran.calls)
        other = df.TaskManager(ran.double, name="double") >> df.TaskManager(lambda n: n, name="check")
        with pytest.raises(JournalMismatch, match="node 'check'"):
            other.run(range(4), "serial", journal=where)
        assert other.run(range(4), "serial", journal=where, resume="compatible").values == [0, 2, 4, 6]
        assert ran.since(count) == []

    def test_reading_tells_what_was(self, tmp_path: Path) -> None:
        """Runs, outcomes, counts, failures, without running anything."""
        where, ran = self.make(tmp_path), _Ran()
        result = ran.graph().run(range(9), "serial", journal=where)
        with df.open_journal(where) as journal:
            assert _told(journal) == _told(result)
            assert journal.counts == result.counts
            assert [(r.number, r.state) for r in journal.runs] == [(1, "finished")]
            assert journal.runs[0].started <= (journal.runs[0].ended or 0)
            assert journal.unfinished == []
            assert journal.kept.tasks == journal.kept.ended == 9
            assert journal.values == result.values

    def test_large_values_and_many_tasks(self, tmp_path: Path) -> None:
        """Blobs come back as they were, over several blocks of source tasks."""
        where = self.make(tmp_path)
        graph = df.TaskManager(_large, name="large") >> df.TaskManager(len, name="len")
        first = graph.run(range(5000), "thread", journal=where)
        again = graph.run(range(5000), "thread", journal=where)
        assert again.values == first.values == [n % 1000 for n in range(5000)]
        assert again.reused == 5000

    def test_only_one_driver_at_a_time(self, tmp_path: Path) -> None:
        """Others are kept out while it runs, and let in when it has ended."""
        where, ran = self.make(tmp_path), _Ran()
        with ran.graph().open("thread", journal=where) as run:
            run.submit(1)
            with pytest.raises(JournalError, match="in use"):
                ran.graph().run([2], "serial", journal=where)
            with pytest.raises(JournalError, match="in use"), df.open_journal(where):
                pass
        assert ran.graph().run([1], "serial", journal=where).reused == 1

    def test_a_journal_that_is_not_there_is_not_made_by_reading(self, tmp_path: Path) -> None:
        """Nor by going on with tasks that nobody has given."""
        where = self.make(tmp_path)
        for attempt in (lambda: df.open_journal(where), lambda: _Ran().graph().run(None, "serial", journal=where)):
            with pytest.raises(JournalError, match="there is no journal"):
                attempt()

    # -- the door ---------------------------------------------------------------------------------------

    def test_turns_are_kept(self, tmp_path: Path) -> None:
        """Rows by block and number, in place of what was there; blobs; notes; and all of it once it is opened again."""
        where = self.make(tmp_path)
        room = self.room(where)
        room.open(durability="process", write=True, make=True)
        try:
            big = bytes(range(256)) * 4000
            room.write(Turn(rows=[(0, 1, b"one"), (0, 2, b"two"), (-5, 9, b"\0\xff")], blobs=[(1, big), (2, b"small")]))
            room.write(Turn(rows=[(0, 2, b"TWO"), (3, 1, b"")], notes={"n": b"note", "m": b""}))
            room.write(Turn(dropped_rows=[(0, 1)], emptied=[1], dropped_blobs=[2], notes={"n": b"again"}))
        finally:
            room.close()
        room = self.room(where)
        room.open(durability="process", write=True, make=False)
        try:
            assert room.rows(0) == [(2, b"TWO")]
            assert room.rows(-5) == [(9, b"\0\xff")]
            assert room.rows(3) == [(1, b"")]
            assert room.rows(77) == []
            assert (room.blob(1), room.blob(2), room.blob(3)) == (b"", None, None)
            assert (room.note("n"), room.note("m"), room.note("x")) == (b"again", b"", None)
            assert room.size() > 0
        finally:
            room.close()

    def test_rows_come_by_rising_number(self, tmp_path: Path) -> None:
        """However they were written."""
        room = self.room(self.make(tmp_path))
        room.open(durability="process", write=True, make=True)
        try:
            for number in (30, 4, 100, 5):
                room.write(Turn(rows=[(7, number, str(number).encode())]))
            assert [number for number, _ in room.rows(7)] == [4, 5, 30, 100]
        finally:
            room.close()


def _large(task: int) -> bytes:
    return bytes(task % 1000)
