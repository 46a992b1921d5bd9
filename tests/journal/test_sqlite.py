"""Journals in SQLite files: power, full disks, lost folders, forks, odd names, and what a large one takes."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import dagflow as df
from dagflow.errors import JournalError
from dagflow.journal.sqlite import SqliteJournal
from dagflow.protocols import Turn


@pytest.fixture
def where(tmp_path):
    return tmp_path / "journal.db"


def double(n):
    return n * 2


def graph(function=double):
    return df.Graph(df.TaskManager(function, name="double"))


# -- durability ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_power_waits_for_the_disk(where, durability, level):
    """synchronous is NORMAL or FULL, the log is a write-ahead log, the lock exclusive."""
    room = SqliteJournal(where)
    room.open(durability=durability, write=True, make=True)
    try:
        asked = room._connection.execute
        assert asked("PRAGMA synchronous").fetchone() == (level,)
        assert asked("PRAGMA journal_mode").fetchone() == ("wal",)
        assert asked("PRAGMA locking_mode").fetchone() == ("exclusive",)
    finally:
        room.close()


def test_each_turn_is_synced_where_power_may_fail(where, tmp_path):
    """Seen from outside: calls of fdatasync, none of them while a run of durability "process" works."""
    strace = next((p for p in ("/usr/bin/strace", "/bin/strace") if os.path.exists(p)), None)
    if strace is None:
        pytest.skip("no strace here")
    code = "import sys, dagflow as df\ndf.Graph(df.TaskManager(abs)).run(range(50), 'serial', journal=sys.argv[1], durability=sys.argv[2])"
    calls = {}
    for durability in ("process", "power"):
        out = tmp_path / f"{durability}.trace"
        command = [strace, "-f", "-e", "trace=fdatasync,fsync", "-o", str(out), sys.executable, "-c", code]
        subprocess.run([*command, f"{where}{durability}", durability], check=True, timeout=60)
        calls[durability] = out.read_text().count("sync(")
    assert calls["power"] >= calls["process"] + 50


WAL = """
import os, sys, dagflow as df
def double(n):
    if n == 30:
        os.kill(os.getpid(), 9)
    return n * 2
df.Graph(df.TaskManager(double, name="double", version="1")).run(range(60), "serial", journal=sys.argv[1])
"""


def test_a_log_that_was_left_behind_is_taken_in(where, drive):
    """By readers and by runs; afterwards the file is all there is."""
    assert drive(WAL, where, check=False)[0] == -9
    log = Path(f"{where}-wal")
    assert log.stat().st_size > 0
    with df.open_journal(where) as journal:
        assert [o.task for o in journal.outcomes] == list(range(30))
    one = df.Graph(df.TaskManager(double, name="double", version="1"))
    result = one.run(range(60), "serial", journal=where)
    assert (result.reused, result.values) == (30, [n * 2 for n in range(60)])
    assert not log.exists()


def test_a_log_that_was_torn_is_as_long_as_it_is_whole(where, drive):
    """What was written last is missing, and worked on again; nothing is wrong."""
    drive(WAL, where, check=False)
    log = Path(f"{where}-wal")
    whole, file = log.read_bytes(), where.read_bytes()
    one = df.Graph(df.TaskManager(double, name="double", version="1"))
    reused = []
    for part in (1.0, 0.8, 0.4, 0.0):
        where.write_bytes(file)
        log.write_bytes(whole[: int(len(whole) * part)])
        try:
            result = one.run(range(60), "serial", journal=where)
        except JournalError:
            assert part < 0.5  # not even a key is there
            continue
        assert result.values == [n * 2 for n in range(60)]
        reused.append(result.reused)
    assert reused == sorted(reused, reverse=True)
    assert reused[0] == 30


# -- a disk that is full ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("may not mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def large(n):
    return os.urandom(40_000)


def test_a_full_disk_is_waited_for(small_disk, monkeypatch):
    """The run goes on when there is room again; nothing is lost."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_200_000))
    waited = []

    def wait(self, error, since):
        waited.append(str(error))
        ballast.unlink(missing_ok=True)

    monkeypatch.setattr(SqliteJournal, "_wait", wait)
    result = graph(large).run(range(15), "serial", journal=small_disk / "j.db")
    assert "full" in waited[0]
    assert len(result.values) == 15
    again = graph(large).run(range(15), "serial", journal=small_disk / "j.db")
    assert (again.reused, again.values) == (15, result.values)


def test_a_disk_that_stays_full(small_disk, monkeypatch):
    """The run ends with an error of one sentence; what had ended is there, and goes on elsewhere."""
    monkeypatch.setattr("dagflow.journal.sqlite.PATIENCE_SECONDS", 0.3)
    where = small_disk / "j.db"
    seen = []
    with pytest.raises(JournalError, match="cannot be used: .*full") as caught:
        for out in graph(large).stream(range(500), "serial", journal=where):
            seen.append((out.task, out.value))
    assert "\n" not in str(caught.value)
    assert 5 < len(seen) < 60
    with df.open_journal(where) as journal:
        known = {o.task: o.values[0] for o in journal.outcomes}
    assert all(known[task] == value for task, value in seen)  # what was handed out is on record


def test_a_file_that_may_not_grow(where, drive):
    """A limit of the process is like a full disk: an error, and the file is sound."""
    code = """
import os, resource, signal, sys, dagflow as df, dagflow.journal.sqlite as sqlite
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sqlite.PATIENCE_SECONDS = 0.3
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    df.Graph(df.TaskManager(lambda n: os.urandom(40_000), name="double", version="1")).run(range(100), "serial", journal=sys.argv[1])
except df.JournalError as error:
    print(error)
"""
    assert "cannot be used" in drive(code, where)[1]
    with df.open_journal(where) as journal:
        ended = len(journal.outcomes)
    assert 5 < ended < 60
    again = df.Graph(df.TaskManager(large, name="double", version="1")).run(range(ended + 3), "serial", journal=where)
    assert again.reused == ended
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


# -- places -------------------------------------------------------------------------------------------------


def test_a_folder_that_disappears(tmp_path):
    """The run ends, well or with an error, and does not make a folder of its own."""
    folder = tmp_path / "gone"
    folder.mkdir()

    def source():
        yield from range(5)
        folder.rename(tmp_path / "moved")
        yield from range(5, 10)

    try:
        result = graph().run(source(), "serial", journal=folder / "j.db", max_in_flight=1)
        assert result.values == [n * 2 for n in range(10)]
    except JournalError as error:
        assert "\n" not in str(error)
    assert not folder.exists()
    with df.open_journal(tmp_path / "moved" / "j.db") as journal:
        assert len(journal.outcomes) >= 5


def test_a_file_that_is_deleted_meanwhile(where):
    """Another may be made in its place; this run does not write there."""

    def source():
        yield from range(5)
        where.unlink()
        yield from range(5, 10)

    try:
        assert graph().run(source(), "serial", journal=where, max_in_flight=1).values == [n * 2 for n in range(10)]
    except JournalError as error:
        assert "\n" not in str(error)
    assert not where.exists()
    log = Path(f"{where}-wal")
    if log.exists():
        refused_log(where)
        log.unlink()
    assert graph().run([1], "serial", journal=where).reused == 0


def refused_log(where):
    for attempt in (lambda: graph().run([1], "serial", journal=where), lambda: df.open_journal(where)):
        with pytest.raises(JournalError, match="journal.db-wal, the log of a journal that is gone"):
            attempt()
    assert not where.exists()


def test_the_log_of_a_journal_that_is_gone_is_not_taken_in(where, drive):
    """Its driver was killed, and somebody has deleted the file to start anew: the log has all the old ends in it."""
    drive(WAL, where, check=False)
    where.unlink()
    before = Path(f"{where}-wal").read_bytes()
    refused_log(where)
    assert Path(f"{where}-wal").read_bytes() == before
    Path(f"{where}-wal").unlink()
    one = df.Graph(df.TaskManager(double, name="double", version="1"))
    assert one.run(range(60), "serial", journal=where).reused == 0


NAMES = (
    ":memory:",
    "file:x.db",
    "file:x.db?mode=memory",
    "a b.db",
    "a%20b.db",
    "a?b#c.db",
    "日本.db",
    "-wal",
    "x'y\".db",
    "~x",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(name, tmp_path, monkeypatch):
    """Whatever it looks like: one file, of just that name, in the folder where one is."""
    monkeypatch.chdir(tmp_path)
    assert graph().run(range(3), "serial", journal=name).values == [0, 2, 4]
    assert os.listdir(tmp_path) == [name]
    assert graph().run(range(3), "serial", journal=Path(name)).reused == 3
    with df.open_journal(os.fsencode(name).decode()) as journal:
        assert journal.values == [0, 2, 4]
    assert os.listdir(tmp_path) == [name]


def test_links_and_other_ways_to_write_a_path(tmp_path, monkeypatch):
    """The same file is the same journal: it cannot be opened twice."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link.db").symlink_to(real / "j.db")
    (tmp_path / "folder").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    graph().run(range(3), "serial", journal="link.db")
    assert os.listdir(real) == ["j.db"]
    assert (tmp_path / "link.db").is_symlink()
    for where in (real / "j.db", "folder/j.db", "real/../real/j.db", str(real / "j.db").encode().decode()):
        assert graph().run(range(3), "serial", journal=where).reused == 3
    with graph().open("thread", journal="link.db") as run:
        run.submit(1)
        for where in (real / "j.db", "folder/j.db"):
            with pytest.raises(JournalError, match="in use"):
                graph().run([1], "serial", journal=where)


def test_bytes_and_path_objects(tmp_path):
    """As `open` takes them."""

    class Place:
        def __fspath__(self):
            return str(tmp_path / "j.db")

    assert graph().run([1], "serial", journal=Place()).values == [2]
    assert graph().run([1], "serial", journal=tmp_path / "j.db").reused == 1
    for empty in ("",):
        with pytest.raises(JournalError, match="names no place"):
            graph().run([1], "serial", journal=empty)


# -- forks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["os._exit(0)", "sys.exit(0)", "run"])
def test_a_function_that_forks_leaves_the_journal_alone(ends, where, drive):
    """Its child may end as it likes, collect all it has, or open the journal itself: that is refused."""
    code = f"""
import gc, os, sys, dagflow as df
ends = {ends!r}
def fork(n):
    child = os.fork()
    if not child:
        gc.collect()
        if ends == "run":
            try:
                df.open_journal(sys.argv[1])
                os._exit(1)
            except df.JournalError:
                os._exit(0)
        if ends == "sys.exit(0)":
            try:
                sys.exit(0)
            finally:
                gc.collect()
                os._exit(0)
        os._exit(0)
    return os.waitpid(child, 0)[1]
graph = df.Graph(df.TaskManager(fork, name="fork"))
print(graph.run(range(10), "serial", journal=sys.argv[1]).values)
print(graph.run(range(12), "serial", journal=sys.argv[1]).reused)
"""
    assert drive(code, where)[1].splitlines() == [str([0] * 10), "10"]
    with sqlite3.connect(where) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


# -- how much -----------------------------------------------------------------------------------------------


def test_what_goes_between_nodes_is_let_go(where):
    """100,000 tasks through three nodes: what is kept for good is source and results, some bytes a task."""

    def wide(n):
        return str(n) * 10

    three = df.TaskManager(wide, name="wide") >> df.TaskManager(wide, name="wider") >> df.TaskManager(len, name="len")
    # How far the nodes run apart, and with it how much lies there at once, would be the machine's affair without a bound.
    three.run(range(100_000), "thread", journal=where, max_in_flight=8_192)
    with df.open_journal(where) as journal:
        kept = journal.kept
    assert (kept.tasks, kept.ended) == (100_000, 100_000)
    made = 100_000 * (50 + 500)
    assert kept.between < 3_000_000 < made  # what lies there unneeded is let go above 1 MB, an envelope at a time
    assert kept.file < 10_000_000
    again = three.run(range(100_000), "thread", journal=where)
    assert again.reused == 100_000
    assert where.stat().st_size < 10_000_000


BIG = """
import itertools, json, os, sys, psutil, dagflow as df
COUNT = 1_000_000
def stop(n):
    os.kill(os.getpid(), 9)
def work(n):
    return n
where, mode = sys.argv[1:]
graph = df.Graph(df.TaskManager(work, name="work", version="1"))
if mode == "fill":
    # A million source tasks on record, of which none has been begun: put there as a run puts them.
    from dagflow.journal.keeper import Keeper
    from dagflow.journal.versions import Versions
    from dagflow.journal.where import journal_at
    plan = graph.check()
    plan = getattr(plan, "plan", plan)
    keeper = Keeper(journal_at(where), plan, Versions(graph, plan))
    keeper.open()
    for low in range(0, COUNT, 1000):
        keeper.take(range(low, low + 1000))
        keeper.record([])
    keeper.close("stopped")
else:
    process = psutil.Process()
    before = process.memory_info().rss
    most = seen = 0
    for out in itertools.islice(graph.stream(None, "thread", journal=where), 200_000):
        seen += 1
        if seen % 1000 == 0:
            most = max(most, process.memory_info().rss)
    print(json.dumps({"grown": most - before, "seen": seen}))
"""


def test_a_million_pending_tasks_take_little_memory(where, drive):
    """They are read as they are needed, not all at once."""
    drive(BIG, where, "fill", timeout=100)
    told = json.loads(drive(BIG, where, "resume", timeout=100)[1])
    assert told["seen"] == 200_000
    assert told["grown"] < 150 << 20  # the million as objects, each on its way, would be a gigabyte
    assert psutil.virtual_memory().total > 0


def test_a_turn_is_kept_whole_or_not_at_all(where):
    """One statement of it fails: nothing of it is there, and the next turn is."""
    room = SqliteJournal(where)
    room.open(durability="process", write=True, make=True)
    try:
        room.write(Turn(rows=[(0, 1, b"one")], blobs=[(1, b"x")]))
        with pytest.raises(JournalError, match="cannot be used"):
            room.write(Turn(rows=[(0, 2, b"two")], blobs=[(1, b"again")]))  # the same blob twice
        assert room.rows(0) == [(1, b"one")]
        room.write(Turn(rows=[(0, 3, b"three")]))
        assert room.rows(0) == [(1, b"one"), (3, b"three")]
    finally:
        room.close()
