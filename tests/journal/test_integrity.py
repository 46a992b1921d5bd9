"""What is damaged, foreign, forged or out of reach is noticed: an error of one sentence, or work done again; never a lie."""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import dagflow as df
from dagflow.errors import JournalError
from dagflow.journal.entries import pack, unpack
from dagflow.journal.seal import SUM_BYTES, Key, Seal
from dagflow.work.codec import dumps


class Bomb:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def double(task):
    return task * 2


def numbers(task):
    return [task * 10 + child for child in range(task % 4)]


def fail_some(value):
    if value % 7 == 3:
        raise LookupError(f"no {value}")
    return str(value) * (200 if value % 2 else 20)


def joined(members):
    return ",".join(m[:3] for m in members)


def made():
    inside = df.Splitter(numbers, name="numbers") >> df.TaskManager(fail_some, name="some", max_retries=0)
    return df.TaskManager(double, name="double") >> inside >> df.Merger(joined, on_missing="skip", name="joined")


def told(result):
    return [(o.task, o.status, o.values, repr(o.error)) for o in result.outcomes]


def run(where, tasks=range(40), **options):
    return made().run(tasks, "serial", journal=where, **options)


@pytest.fixture
def where(tmp_path):
    return tmp_path / "journal.db"


def content(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(where, match, *, untouched=True):
    """Neither a run nor a reader can use it, each with one sentence; and it is as it was."""
    before = content(where) if where.is_file() else None
    for attempt in (lambda: run(where), lambda: df.open_journal(where)):
        with pytest.raises(JournalError, match=match) as caught:
            attempt()
        assert str(where) in str(caught.value)
        assert "\n" not in str(caught.value)
    if untouched and before is not None:
        assert content(where) == before


# -- what is no journal of ours -----------------------------------------------------------------------------


def test_files_that_are_no_journal_are_not_touched(where):
    """Text, nothing, a part of one, another program's database."""
    for bytes_ in (b"dear diary", b"SQLite format 3\0", bytes(4096)):
        where.write_bytes(bytes_)
        refused(where, "no journal of dagflow's")
    where.write_bytes(b"")
    refused(where, "is an empty file")
    where.unlink()
    other = sqlite3.connect(where)
    other.execute("CREATE TABLE notes (name TEXT PRIMARY KEY, body BLOB)")
    other.commit()
    other.close()
    refused(where, "no journal of dagflow's")


def test_a_later_format_is_refused(where):
    """By its layout, which anybody can read, and by what is sealed."""
    run(where)
    alter(where, "PRAGMA user_version = 999")
    refused(where, "later version of dagflow")
    alter(where, "PRAGMA user_version = 1")
    seal, _ = sealed_by(where)
    with sqlite3.connect(where) as file:
        body = unpack(file.execute("SELECT body FROM notes WHERE name = 'state'").fetchone()[0][SUM_BYTES:])
        file.execute(
            "UPDATE notes SET body = ? WHERE name = 'state'", (seal.seal(b"nstate", pack({**body, "format": 99})),)
        )
    file.close()
    refused(where, "later version of dagflow")


def alter(where, *statements):
    file = sqlite3.connect(where)
    for statement in statements:
        file.execute(statement)
    file.commit()
    file.close()


def sealed_by(where):
    """The seal that a journal is sealed with, as somebody with the key would make it."""
    secret = (Path(os.environ["XDG_STATE_HOME"]) / "dagflow" / "key").read_bytes()
    file = sqlite3.connect(where)
    name = file.execute("SELECT body FROM notes WHERE name = 'journal'").fetchone()[0]
    file.close()
    return Seal(Key(secret), name), name


def test_places_that_cannot_hold_a_journal(tmp_path):
    """No folder, a folder in its place, a folder or file that nobody may write."""
    for path, match in (
        (tmp_path / "none" / "j.db", "there is no folder"),
        (tmp_path, "it is a folder"),
        (os.devnull, "no ordinary file"),
    ):
        with pytest.raises(JournalError, match=match):
            run(path)
    locked = tmp_path / "locked"
    locked.mkdir()
    run(locked / "old.db")
    before = content(locked / "old.db")
    (locked / "old.db").chmod(0o444)
    with pytest.raises(JournalError, match="read-only"):
        run(locked / "old.db")
    locked.chmod(0o555)
    with pytest.raises(JournalError, match="read-only"):
        run(locked / "new.db")
    with df.open_journal(locked / "old.db") as journal:
        assert len(journal.outcomes) == 40
    assert content(locked / "old.db") == before
    assert os.listdir(locked) == ["old.db"]
    locked.chmod(0o755)


@pytest.mark.parametrize("address", ["ftp://host/x", "postgres://host/db", "http://127.0.0.1:1/"])
def test_other_addresses_are_refused_before_anything_runs(address):
    """By name, within no time."""
    with pytest.raises(JournalError, match="cannot be kept at"):
        run(address, tasks=iter(()))


@pytest.mark.parametrize("given", [7, object(), ["j.db"]])
def test_what_is_no_place_is_a_type_error(given):
    """And says what would be one."""
    with pytest.raises(TypeError, match="a path"):
        run(given)


@pytest.mark.parametrize("options", [{"durability": "none"}, {"resume": "maybe"}])
def test_unknown_words_are_value_errors(where, options):
    """That name the known ones; nothing is made."""
    with pytest.raises(ValueError, match="must be"):
        run(where, **options)
    assert not where.exists()
    with pytest.raises(ValueError, match="needs the journal"):
        made().run([1], "serial", retry_failed=True)


# -- keys ---------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_only_its_owner_may_read_it(where, tmp_path, monkeypatch):
    """Never beside the journal."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run(where)
    key = tmp_path / "state" / "dagflow" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    assert os.listdir(key.parent) == ["key"]
    with pytest.raises(JournalError, match="must not lie beside the key"):
        run(key.parent / "journal.db")
    key.chmod(0o644)
    with pytest.raises(JournalError, match="may be read by others"):
        run(where)
    key.chmod(0o600)
    key.write_bytes(b"short")
    with pytest.raises(JournalError, match="damaged"):
        run(tmp_path / "other.db")


def test_without_its_key_a_journal_is_not_believed(where, tmp_path, monkeypatch):
    """A replaced key is found by its id; a text in DAGFLOW_KEY is a key; the wrong one is refused, naming which."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run(where)
    folder = tmp_path / "state" / "dagflow"
    old = (folder / "key").read_bytes()
    (folder / "key").unlink()
    with pytest.raises(JournalError, match="sealed with key"):
        run(where)
    run(tmp_path / "newer.db")
    (folder / f"key.{Key(old).id}").write_bytes(old)
    (folder / f"key.{Key(old).id}").chmod(0o600)
    assert run(where).reused == 40
    monkeypatch.setenv("DAGFLOW_KEY", "open sesame")
    run(tmp_path / "text.db")
    monkeypatch.setenv("DAGFLOW_KEY", "new words")
    with pytest.raises(JournalError, match="sealed with key"):
        run(tmp_path / "text.db")
    monkeypatch.setenv("DAGFLOW_KEY", "new words, open sesame")
    assert run(tmp_path / "text.db").reused == 40
    run(tmp_path / "text2.db")
    monkeypatch.delenv("DAGFLOW_KEY")
    with pytest.raises(JournalError, match="sealed with key"):
        run(tmp_path / "text2.db")


# -- forged and damaged -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seal_of", ["none", "wrong", "truncated", "another place", "another journal"])
def test_a_pickle_that_somebody_put_there_is_never_opened(where, tmp_path, seal_of):
    """In any table, with no, a wrong, a cut, a moved seal: what it would do is not done."""
    run(where)
    run(tmp_path / "other.db")
    fuse = tmp_path / "exploded"
    body = dumps([Bomb(fuse)] * 40)
    mine, _ = sealed_by(where)
    theirs, _ = sealed_by(tmp_path / "other.db")
    forged = {
        "none": body,
        "wrong": bytes(SUM_BYTES) + body,
        "truncated": mine.seal(b"nstate", body)[1:],
        "another place": mine.seal(b"b" + bytes(16), body),
        "another journal": theirs.seal(b"nstate", body),
    }[seal_of]
    original = where.read_bytes()
    for table, key in (("rows", "block"), ("blobs", "number"), ("notes", "name")):
        file = sqlite3.connect(where)
        keys = [row[0] for row in file.execute(f"SELECT DISTINCT {key} FROM {table}")]
        file.close()
        for one in keys:
            where.write_bytes(original)
            file = sqlite3.connect(where)
            file.execute(f"UPDATE {table} SET body = ? WHERE {key} = ?", (forged, one))
            file.commit()
            file.close()
            try:
                result = run(where)
                assert told(result) == EXPECTED
            except JournalError:
                pass
            assert not fuse.exists()


EXPECTED = told(made().run(range(40), "serial"))


def test_damaged_results_are_worked_out_again(where):
    """Those of the damaged row, and nothing else; the run says so."""
    large = df.TaskManager(lambda n: bytes(500) + bytes([n]), name="large")
    graph = df.Graph(large)
    first = graph.run(range(5), "serial", journal=where)
    alter(where, "UPDATE blobs SET body = zeroblob(length(body)) WHERE number = (SELECT max(number) FROM blobs)")
    ran = []
    large.func, large.version = lambda n: ran.append(n) or bytes(500) + bytes([n]), None
    again = graph.run(range(5), "serial", journal=where, resume="force")
    assert ran == [4]
    assert again.values == first.values
    assert any("damaged" in note for note in again.notes)
    assert graph.run(range(5), "serial", journal=where).reused == 5


def test_damaged_inputs_fail_their_tasks_or_are_given_again(where):
    """Without the source they cannot be worked on; with it they are, anew."""
    graph = df.Graph(df.TaskManager(len, name="len"))
    tasks = [bytes(300), bytes(301), bytes(302)]
    for one in tasks:
        graph.run([*tasks[: tasks.index(one)], one], "serial", journal=where)
    file = sqlite3.connect(where)
    file.execute("UPDATE blobs SET body = substr(body, 1, 100) WHERE number = 2")
    file.commit()
    file.close()
    result = graph.run(None, "serial", journal=where)
    assert [o.status for o in result.outcomes] == ["done", "failed", "done"]
    assert isinstance(result.outcomes[1].error, JournalError)
    assert "damaged" in str(result.outcomes[1].error)
    assert graph.run(tasks, "serial", journal=where).values == [300, 301, 302]


def test_a_row_that_is_gone_or_has_come_back_is_noticed(where):
    """Though every row that is there fits its checksum: the block does not balance, and is worked on again."""
    run(where, range(20))
    file = sqlite3.connect(where)
    rows = file.execute("SELECT block, number, body FROM rows WHERE number > 0 ORDER BY number").fetchall()
    file.close()
    original = where.read_bytes()
    for block, number, _ in rows[1::7]:
        where.write_bytes(original)
        alter(where, f"DELETE FROM rows WHERE block = {block} AND number = {number}")
        result = run(where, range(20))
        assert told(result) == EXPECTED[:20]
        assert any("damaged" in note for note in result.notes)
    where.write_bytes(original)
    with pytest.raises(JournalError, match="damaged"):
        alter(where, f"DELETE FROM rows WHERE block = 0 AND number = {rows[3][1]}")
        with df.open_journal(where) as journal:
            journal.outcomes  # noqa: B018


@pytest.mark.parametrize("row", ["balance", "entries"])
def test_a_row_whose_number_is_no_number_any_more_is_noticed(where, row):
    """SQLite keeps what is there, whatever the column says: text, or nothing, where a bit of its kind has flipped."""
    run(where, range(20))
    which = "number = 0" if row == "balance" else "number = (SELECT max(number) FROM rows WHERE block = 0)"
    alter(where, f"UPDATE rows SET number = 'x' WHERE block = 0 AND {which}")
    damaged = where.read_bytes()
    result = run(where, range(20))
    assert told(result) == EXPECTED[:20]
    assert any("damaged" in note for note in result.notes)
    assert told(run(where, range(20))) == EXPECTED[:20]
    where.write_bytes(damaged)
    with pytest.raises(JournalError, match="damaged"), df.open_journal(where) as journal:
        journal.outcomes  # noqa: B018


@pytest.mark.parametrize("state", ["finished", "stopped"])
@pytest.mark.parametrize("part", range(3))
def test_no_bit_that_flips_gives_another_result(where, part, state):
    """600 single flips in all, anywhere in the file: the results are the same, or an error says that it is damaged."""
    if state == "finished":
        run(where)
    else:
        stopped(where, 13 + part)
    original = where.read_bytes()
    chance = random.Random(part)
    ended = {"same": 0, "refused": 0}
    for _ in range(100):
        place, bit = chance.randrange(len(original)), chance.randrange(8)
        damaged = bytearray(original)
        damaged[place] ^= 1 << bit
        for use in (_run, _read):
            where.write_bytes(damaged)
            try:
                found = use(where)
                if use is _run:
                    assert found == EXPECTED, f"byte {place}, bit {bit}"
                else:
                    assert found == [line for line in EXPECTED if line[0] in {told[0] for told in found}]
                ended["same"] += 1
            except JournalError as error:
                assert "\n" not in str(error)
                ended["refused"] += 1
            finally:
                for name in os.listdir(where.parent):
                    if name.startswith("journal.db-"):
                        (where.parent / name).unlink()
    assert ended["same"] > 50, ended


def stopped(where, after):
    """A journal of a run that was stopped when so many tasks had come out."""
    gate = threading.Event()

    def tasks():
        yield from range(20)
        gate.wait()

    stream = made().stream(tasks(), "thread", journal=where)
    for _ in range(after):
        next(stream)
    stream.close()
    gate.set()


def _run(where):
    return told(run(where))


def _read(where):
    with df.open_journal(where) as journal:
        return told(journal)


# -- two drivers --------------------------------------------------------------------------------------------

HOLD = """
import sys, dagflow as df
def wait(task):
    print("holding", flush=True)
    sys.stdin.readline()
    return task
print(df.Graph(df.TaskManager(wait, name="wait")).run([1], "serial", journal=sys.argv[1]).values, flush=True)
"""


def test_a_second_driver_is_told_who_holds_the_journal(where, tmp_path):
    """By the number of its process; a killed one holds nothing."""
    (tmp_path / "hold.py").write_text(HOLD)
    holder = subprocess.Popen(
        [sys.executable, str(tmp_path / "hold.py"), str(where)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"holding\n"
        for attempt in (lambda: run(where), lambda: df.open_journal(where)):
            with pytest.raises(JournalError, match=f"in use by another driver \\(process {holder.pid}\\)"):
                attempt()
        holder.kill()
        holder.wait()
        with df.open_journal(where) as journal:
            assert [r.state for r in journal.runs] == ["interrupted"]
            assert journal.unfinished == [1]
    finally:
        holder.kill()
        holder.communicate()
