"""Reading a journal: what became of everything, without running or changing anything."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time

import pytest

import dagflow as df
from dagflow.errors import JournalError, MissingMembers
from dagflow.journal.memory import MemoryJournal


@pytest.fixture
def where(tmp_path):
    return tmp_path / "journal.db"


def told(result):
    return [(o.task, o.status, o.values, type(o.error), str(o.error), o.trace_id) for o in result.outcomes]


def half(n):
    if n % 4 == 3:
        raise ValueError(f"no half of {n}")
    return n // 2


def way(n):
    return df.DROP if n == 5 else "even" if n % 2 == 0 else "odd"


def graph():
    """Every way to end: done with none, one or many values, dropped, failed by itself and for want of members."""
    route = df.Router(way, name="way")
    some = df.Splitter(lambda n: range(n % 4), name="some") >> df.TaskManager(half, name="half", max_retries=0)
    return df.TaskManager(abs, name="abs") >> route >> {
        "even": some,
        "odd": df.Splitter(lambda n: [n, n + 1], name="two") >> df.TaskManager(half, name="other", max_retries=0)
        >> df.Merger(sum, name="sum"),
    }  # fmt: skip


def test_outcomes_counts_and_values_are_those_of_the_result(where):
    """Statuses, errors with their types and notes, values in lineage order, trace ids."""
    result = graph().run(range(12), "thread", journal=where)
    with df.open_journal(where) as journal:
        assert told(journal) == told(result)
        assert {o.status for o in journal.outcomes} == {"done", "failed", "dropped"}
        assert journal.counts == result.counts
        assert journal.values == result.values
        assert journal.unfinished == []
        lost = next(o for o in journal.outcomes if isinstance(o.error, MissingMembers))
        assert [str(cause) for cause in lost.error.causes] == [f"no half of {lost.task}"]
        assert journal.where == str(where)
        assert repr(journal) == f"JournalReader({str(where)!r})"


def test_a_dead_letter_has_its_story(where):
    """Source, task, node, attempts, and the error as it was raised, with where that was."""
    tries = []

    def flaky(n):
        tries.append(n)
        raise TimeoutError(f"no answer for {n}")

    graph = df.Splitter(lambda n: [n * 10, n * 10 + 1], name="pages") >> df.TaskManager(
        flaky, name="fetch", max_retries=2, retry_delay=0.001
    )
    graph.run([7], "serial", journal=where)
    with df.open_journal(where) as journal:
        first, second = journal.failures
    assert (first.source, first.task, first.node, first.attempts) == (7, 70, "fetch", 3)
    assert second.task == 71
    assert isinstance(first.error, TimeoutError)
    assert str(first.error) == "no answer for 70"
    notes = "\n".join(first.error.__notes__)
    assert "fetch" in notes
    assert "in flaky" in notes
    assert "task=70" in repr(first)
    assert len(tries) == 6


def test_runs_are_numbered_and_say_how_they_ended(where, drive):
    """Finished, cancelled, broken off, killed; when they began and ended, as seconds since the epoch."""
    before = time.time()
    one = df.Graph(df.TaskManager(half, name="half", max_retries=0))
    one.run(range(3), "serial", journal=where)
    gate = threading.Event()

    def tasks():
        yield from range(5)
        gate.wait()

    stream = one.stream(tasks(), "thread", journal=where)
    next(stream)
    stream.close()
    gate.set()
    with pytest.raises(df.RunFailed):
        one.run(range(8), "serial", journal=where, fail_fast=True)
    with pytest.raises(ZeroDivisionError):
        one.run((1 // n for n in (1, 0)), "serial", journal=where)
    with df.open_journal(where) as journal:
        runs = journal.runs
    assert [r.number for r in runs] == [1, 2, 3, 4]
    assert [r.state for r in runs[:3]] == ["finished", "cancelled", "cancelled"]
    assert runs[3].state in ("cancelled", "interrupted")
    for run in runs:
        assert before <= run.started <= run.ended <= time.time()
    drive(KILLED, where, check=False)
    with df.open_journal(where) as journal:
        assert [(r.state, r.ended) for r in journal.runs[4:]] == [("interrupted", None)]
        assert journal.unfinished[-1] == 4444
        ended = [o.task for o in journal.outcomes]
    one.run([4444], "serial", journal=where, resume="force")
    with df.open_journal(where) as journal:
        assert [r.state for r in journal.runs[4:]] == ["interrupted", "finished"]
        assert [o.task for o in journal.outcomes] == [*ended, 4444]


KILLED = """
import os, sys, dagflow as df
def half(n):
    if n == 4444:
        os.kill(os.getpid(), 9)
    if n % 4 == 3:
        raise ValueError(f"no half of {n}")
    return n // 2
df.Graph(df.TaskManager(half, name="half", max_retries=0)).run([4444], "serial", journal=sys.argv[1], resume="force")
"""


def test_of_a_run_that_was_stopped_the_rest_is_unfinished(where):
    """Each task is in one of both lists; what was done at nodes is counted."""
    gate = threading.Event()

    def tasks():
        yield from range(10)
        gate.wait()

    stream = df.Graph(df.TaskManager(abs, name="abs")).stream(tasks(), "serial", journal=where, max_in_flight=2)
    seen = [next(stream).value for _ in range(4)]
    stream.close()
    gate.set()
    with df.open_journal(where) as journal:
        done = [o.task for o in journal.outcomes]
        assert done[:4] == seen
        assert done + journal.unfinished == list(range(len(done) + len(journal.unfinished)))
        assert journal.counts["abs"].succeeded >= len(done)
        assert journal.kept.tasks == len(done) + len(journal.unfinished)
        assert journal.kept.ended == len(done)


def test_a_journal_of_a_run_without_tasks(where):
    """Is a journal all the same."""
    graph().run([], "serial", journal=where)
    with df.open_journal(where) as journal:
        assert (journal.outcomes, journal.values, journal.failures, journal.unfinished) == ([], [], [], [])
        assert [r.state for r in journal.runs] == ["finished"]
        assert {c.received for c in journal.counts.values()} == {0}


def test_what_is_kept_is_told_in_bytes(where):
    """By what it is for; a large value is seen where it lies."""
    large = df.TaskManager(lambda n: bytes(100_000), name="large") >> df.TaskManager(len, name="len")
    large.run(range(3), "serial", journal=where)
    with df.open_journal(where) as journal:
        kept = journal.kept
    assert (kept.tasks, kept.ended) == (3, 3)
    assert 0 < kept.sources < 1000
    assert 0 < kept.results < 1000
    assert kept.records > 0
    assert kept.file == where.stat().st_size


def test_reading_changes_nothing_and_may_be_done_twice(where):
    """By one reader or several, one after the other; not a byte."""
    graph().run(range(12), "serial", journal=where)
    before = hashlib.sha256(where.read_bytes()).digest()
    for _ in range(2):
        with df.open_journal(where) as journal:
            assert told(journal) == told(journal)
            assert journal.failures
    assert hashlib.sha256(where.read_bytes()).digest() == before
    assert [path.name for path in where.parent.iterdir() if path.name.startswith("journal")] == ["journal.db"]
    assert graph().run(range(12), "serial", journal=where).reused == 12


def test_a_closed_reader_holds_nothing(where):
    """What it has read it still knows; it does not open the journal by itself, which would keep others out."""
    graph().run(range(4), "serial", journal=where)
    with df.open_journal(where) as journal:
        outcomes = told(journal)
    assert told(journal) == outcomes
    assert graph().run(range(5), "serial", journal=where).reused == 4
    assert len(journal.outcomes) == 4
    assert len(journal.runs) == 1
    journal.close()
    unread = df.open_journal(where)
    unread.close()
    assert len(unread.runs) == 2
    with pytest.raises(JournalError, match="was closed before it was read"):
        unread.outcomes  # noqa: B018
    graph().run(range(6), "serial", journal=where)
    with unread, journal_is_held(where):
        assert len(unread.outcomes) == 6
    graph().run(range(6), "serial", journal=where)


@contextlib.contextmanager
def journal_is_held(where):
    with pytest.raises(JournalError, match="in use"):
        graph().run([1], "serial", journal=where)
    yield


def test_while_a_driver_has_it_nobody_reads(where):
    """One sentence that says who."""
    with graph().open("thread", journal=where) as run:
        run.submit(1)
        with pytest.raises(JournalError, match="in use by another run in this process"):
            df.open_journal(where)
    with df.open_journal(where) as journal:
        assert len(journal.outcomes) == 1
        with pytest.raises(JournalError, match="in use"):
            graph().run([1], "serial", journal=where)
    graph().run([1], "serial", journal=where)


def test_what_is_no_journal_is_told(where, tmp_path):
    """Nothing there, a folder, another file, an object that is none."""
    with pytest.raises(JournalError, match="there is no journal at"):
        df.open_journal(where)
    with pytest.raises(JournalError, match="it is a folder"):
        df.open_journal(tmp_path)
    where.write_text("dear diary")
    with pytest.raises(JournalError, match="no journal of dagflow's"):
        df.open_journal(where)
    for given in (None, 3, object()):
        with pytest.raises(TypeError, match="a path"):
            df.open_journal(given)
    with pytest.raises(JournalError):
        df.open_journal("")
    with pytest.raises(JournalError, match="there is no journal"):
        df.open_journal(MemoryJournal())
    assert not list(tmp_path.glob("*-wal"))


def test_runs_are_told_without_reading_the_tasks(where, monkeypatch):
    """A large journal opens at once: its blocks are read when one asks for what is in them."""
    df.Graph(df.TaskManager(abs, name="abs")).run(range(20_000), "thread", journal=where)
    from dagflow.journal.sqlite import SqliteJournal

    asked = []
    rows, blob = SqliteJournal.rows, SqliteJournal.blob
    monkeypatch.setattr(SqliteJournal, "rows", lambda self, block: asked.append(block) or rows(self, block))
    monkeypatch.setattr(SqliteJournal, "blob", lambda self, number: asked.append(number) or blob(self, number))
    with df.open_journal(where) as journal:
        assert len(journal.runs) == 1
        assert asked == []
        assert len(journal.outcomes) == 20_000
        assert asked
        count = len(asked)
        assert journal.outcomes[-1].values == [19_999]
        assert len(asked) == count


def test_values_whose_class_is_gone_do_not_hide_the_others(where, tmp_path, drive):
    """A journal outlives the code that wrote it: what cannot be opened says so, each by itself."""
    code = """
import sys, dagflow as df
class Gone:
    def __init__(self, n):
        self.n = n
class Trouble(Exception):
    pass
def make(n):
    if n == 2:
        raise Trouble(n)
    return Gone(n) if n == 1 else n
df.Graph(df.TaskManager(make, name="make", max_retries=0)).run(range(4), "serial", journal=sys.argv[1])
"""
    drive(code, where)
    with df.open_journal(where) as journal:
        assert [o.task for o in journal.outcomes] == [0, 1, 2, 3]
        assert [o.status for o in journal.outcomes] == ["done", "failed", "failed", "done"] or [
            o.status for o in journal.outcomes
        ] == ["done", "done", "failed", "done"]
        assert journal.outcomes[0].values == [0]
        assert journal.outcomes[3].values == [3]
        assert "Trouble" in repr(journal.outcomes[2].error) + type(journal.outcomes[2].error).__name__
        assert [f.task for f in journal.failures] == [2]
