"""Journals on a Redis server: it may go away and come back, forget, be taken, be full, be no Redis; nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import dagflow as df
from dagflow.errors import JournalError
from dagflow.journal.redis import RedisJournal
from dagflow.protocols import Turn
from dagflow.work.codec import dumps

pytest.importorskip("redis")
AOF = ("--appendonly", "yes")
ALWAYS = (*AOF, "--appendfsync", "always")
"""Else, while its disk is slow, a server answers before it has written, and loses that when it is killed."""


def double(n):
    return n * 2


def graph(function=double):
    return df.Graph(df.TaskManager(function, name="double"))


def within(seconds, attempt, match):
    began = time.monotonic()
    with pytest.raises(JournalError, match=match) as caught:
        attempt()
    assert time.monotonic() - began < seconds
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def later():
    """Does something in a thread that is waited for at the end."""
    threads = []

    def do(what):
        threads.append(threading.Thread(target=what))
        threads[-1].start()

    yield do
    for thread in threads:
        thread.join(20)


# -- the server goes away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["serial", "thread", "process"])
def test_a_server_that_is_killed_and_comes_back(backend, own_redis, log, later):
    """Twice in a run: the run waits, and ends as if nothing had been; nothing is executed again."""
    server = own_redis(*ALWAYS)

    def source():
        for n in range(60):
            if n in (20, 40):
                server.kill()
                later(server.start)
            yield n

    def work(n):
        log(f"work {n}")
        return n * 2

    options = {"journal": server.url, "max_in_flight": 5}
    assert graph(work).run(source(), backend, **options).values == [n * 2 for n in range(60)]
    assert sorted(log.lines()) == sorted(f"work {n}" for n in range(60))
    again = graph(work).run(range(60), "serial", **options)
    assert (again.reused, len(log)) == (60, 60)
    with df.open_journal(server.url) as journal:
        assert [r.state for r in journal.runs] == ["finished", "finished"]


def test_a_turn_that_was_kept_though_nobody_heard_is_not_kept_twice(own_redis):
    """The connection breaks after the server has done it: it is sent again, and counts once."""
    server = own_redis(*AOF)
    room = RedisJournal(server.url)
    room.open(durability="process", write=True, make=True)
    try:
        room.write(Turn(rows=[(0, 1, b"one")]))
        run, broken = room._run, []

        def breaks(script, keys, given):
            said = run(script, keys, given)
            if not broken:
                broken.append(said)
                raise ConnectionResetError("on the way back")
            return said

        room._run = breaks
        room.write(Turn(rows=[(0, 2, b"two")], dropped_rows=[(0, 1)]))
        room.write(Turn(rows=[(0, 3, b"three")]))
        assert room.rows(0) == [(2, b"two"), (3, b"three")]
        assert broken == [b"OK"]
    finally:
        room.close()


def test_a_server_that_comes_back_without_what_it_had(own_redis):
    """Is told as such, and not written on."""
    server = own_redis(*AOF)
    room = RedisJournal(server.url)
    room.open(durability="process", write=True, make=True)
    room.write(Turn(rows=[(0, 1, b"one")]))
    server.kill()
    for path in server.folder.glob("appendonlydir/*"):
        path.unlink()
    server.start()
    within(10, lambda: room.write(Turn(rows=[(0, 2, b"two")])), "was emptied by somebody")
    room.close()


def test_a_server_that_comes_back_without_the_last_that_it_had(own_redis, tmp_path):
    """It has answered before it had written: the run stops, and the same call goes on from what is left."""
    server = own_redis(*ALWAYS)
    old = tmp_path / "old"

    def source():
        yield from range(20)
        shutil.copytree(server.folder, old)
        yield from range(20, 40)
        server.kill()
        shutil.rmtree(server.folder / "appendonlydir")
        shutil.copytree(old / "appendonlydir", server.folder / "appendonlydir")
        server.start()
        yield from range(40, 60)

    options = {"journal": server.url, "max_in_flight": 1}
    says = within(20, lambda: graph().run(source(), "serial", **options), "without the last turns")
    assert "the same call again goes on from what is left; with appendfsync always nothing is lost" in says
    result = graph().run(range(60), "serial", **options)
    assert result.values == [n * 2 for n in range(60)]
    assert 18 <= result.reused <= 20


def test_a_server_that_stays_away(own_redis, monkeypatch):
    """The run ends with an error when its patience is over; what had ended is there when the server is."""
    monkeypatch.setattr("dagflow.journal.redis.PATIENCE_SECONDS", 0.5)
    server = own_redis(*ALWAYS)

    def source():
        yield from range(5)
        server.kill()
        yield from range(5, 9)

    within(20, lambda: graph().run(source(), "serial", journal=server.url, max_in_flight=1), "cannot be used")
    server.start()
    result = graph().run(range(9), "serial", journal=server.url)
    assert result.values == [n * 2 for n in range(9)]
    assert result.reused >= 3


WAITS = """
import sys, dagflow as df
def source():
    n = 0
    while True:
        yield n
        n += 1
def work(n):
    if n == 50:
        print("going", flush=True)
        sys.stdin.readline()
    return n
try:
    df.Graph(df.TaskManager(work, name="work")).run(source(), sys.argv[2], journal=sys.argv[1])
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("backend", ["serial", "thread"])
def test_ctrl_c_while_the_server_is_away(backend, own_redis, tmp_path):
    """Once, it goes on waiting, for what has been done is not on record; twice, it ends within seconds."""
    server = own_redis(*AOF)
    path = tmp_path / "waits.py"
    path.write_text(WAITS)
    driver = subprocess.Popen(
        [sys.executable, str(path), server.url, backend],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert driver.stdout.readline() == b"going\n"
        server.kill()
        driver.stdin.write(b"\n")
        driver.stdin.flush()
        for line in driver.stderr:  # it says that it waits
            if b"the run waits" in line:
                break
        driver.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            driver.wait(0.5)
        driver.send_signal(signal.SIGINT)
        _, err = driver.communicate(timeout=20)
        assert driver.returncode not in (0, -signal.SIGKILL)
        assert b"JournalError" in err or driver.returncode == 130
    finally:
        driver.kill()
        driver.communicate()


def test_a_full_server_is_waited_for(own_redis, monkeypatch):
    """Nothing is evicted; when there is room again the run goes on."""
    server = own_redis(*AOF)
    told = []

    def tell(self, error, waited):
        told.append(str(error))
        with server.client() as client:
            client.config_set("maxmemory", 0)

    monkeypatch.setattr(RedisJournal, "_tell", tell)

    def source():
        yield from range(5)
        with server.client() as client:
            client.config_set("maxmemory", 1)
        yield from range(5, 9)

    assert graph().run(source(), "serial", journal=server.url).values == [n * 2 for n in range(9)]
    assert "memory" in told[0]


# -- which servers ------------------------------------------------------------------------------------------


def test_servers_that_could_lose_records_are_refused(own_redis):
    """Naming the setting; nothing is written there, nothing is run."""
    for options, durability, says in (
        ((*AOF, "--maxmemory-policy", "allkeys-lru"), "process", "maxmemory-policy is allkeys-lru, .* noeviction"),
        (("--appendonly", "no"), "process", 'durability="process" needs appendonly yes'),
        (AOF, "power", 'durability="power" needs appendfsync always, and it is everysec'),
    ):
        server = own_redis(*options)
        within(5, lambda s=server, d=durability: graph().run(iter(()), journal=s.url, durability=d), says)
        with server.client() as client:
            assert client.keys() == []
    server = own_redis(*ALWAYS)
    assert graph().run([1], "serial", journal=server.url, durability="power").values == [2]


def test_passwords(own_redis):
    """None, a wrong one, the right one; no message has it."""
    server = own_redis(*AOF)
    with server.client() as client:
        client.config_set("requirepass", "sesame")
    address = server.url.removeprefix("redis://")
    within(5, lambda: graph().run([1], journal=server.url), "cannot be (reached|used)")
    text = within(5, lambda: graph().run([1], journal=f"redis://:tomato@{address}"), "cannot be (reached|used)")
    assert "tomato" not in text
    where = f"redis://:sesame@{address}"
    assert graph().run([1], "serial", journal=where).values == [2]
    with df.open_journal(where) as journal:
        assert "sesame" not in journal.where + repr(journal)
        result = within(5, lambda: graph().run([1], "serial", journal=where), "in use")
    assert "sesame" not in result


def test_what_is_no_redis_server(tmp_path):
    """Nobody there, somebody who says nothing, somebody else, no such address: an error within seconds."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        within(8, lambda: graph().run([1], journal=f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"), "reached")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        within(8, lambda: graph().run([1], journal=url), "cannot be reached")
        within(8, lambda: df.open_journal(url), "cannot be reached")
    with socket.create_server(("127.0.0.1", 0)) as other:
        stop = threading.Event()

        def speak():
            other.settimeout(0.1)
            while not stop.is_set():
                try:
                    line, _ = other.accept()
                except TimeoutError:
                    continue
                with line:
                    line.recv(1000)
                    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            url = f"redis://127.0.0.1:{other.getsockname()[1]}/0"
            within(8, lambda: graph().run([1], journal=url), "cannot be (reached|used)")
        finally:
            stop.set()
            thread.join()
    for url, says in (
        ("redis://127.0.0.1:notaport/0", "address|reached|used"),
        ("redis://127.0.0.1:1/x", "address|reached|used"),
        (f"unix://{tmp_path}/nothing.sock", "reached"),
        ("redis://127.0.0.1:1/0?no_such_option=1", "address|reached|used"),
    ):
        within(8, lambda u=url: graph().run([1], journal=u), says)


def test_a_unix_socket(own_redis, tmp_path):
    """An address like any; a name of the journal goes with it."""
    path = tmp_path / "redis.sock"
    own_redis(*AOF, "--unixsocket", str(path))
    for where in (f"unix://{path}", f"unix://{path}?db=1&journal=mine"):
        assert graph().run(range(3), "serial", journal=where).values == [0, 2, 4]
        assert graph().run(range(3), "serial", journal=where).reused == 3
        with df.open_journal(where) as journal:
            assert journal.values == [0, 2, 4]


def test_journals_of_several_names(redis_server):
    """Beside each other on one server, each for itself, used at the same time; other keys are left alone."""
    first, second = f"{redis_server.url}?journal=one[*]", f"{redis_server.url}?journal=one"
    with redis_server.client() as client:
        client.set("mine", "yours")
        with graph().open("thread", journal=first) as run:
            run.submit(1)
            assert graph().run([2, 3], "serial", journal=second).values == [4, 6]
        with df.open_journal(first) as one, df.open_journal(second) as two:
            assert (one.values, two.values) == ([2], [4, 6])
            assert one.kept.file > 0
        assert client.get("mine") == b"yours"
        client.delete("mine")


# -- one driver ---------------------------------------------------------------------------------------------


def cut(server, room):
    """The connection of a driver is gone, and it does not know."""
    holder = room._key + "holder"
    with server.client() as client:
        client.client_kill_filter(_id=client.hget(holder, "client"))


def test_a_driver_that_was_replaced_is_fenced_off(redis_server):
    """It is told, and stops; nothing of what it would write is kept."""
    where = f"{redis_server.url}?journal=fenced"
    old, new = RedisJournal(where), RedisJournal(where)
    old.open(durability="process", write=True, make=True)
    old.write(Turn(rows=[(0, 1, b"old")], notes={"key": b"x"}))
    with pytest.raises(JournalError, match=f"in use by another driver \\(process {os.getpid()} on "):
        new.open(durability="process", write=True, make=True)
    cut(redis_server, old)
    new.open(durability="process", write=True, make=True)
    try:
        new.write(Turn(rows=[(0, 2, b"new")]))
        within(5, lambda: old.write(Turn(rows=[(0, 3, b"late")])), "taken over by another driver; this one stops")
        within(5, lambda: old.rows(0), "taken over|not open")
        old.close()
        new.write(Turn(rows=[(0, 4, b"more")]))
        assert new.rows(0) == [(1, b"old"), (2, b"new"), (4, b"more")]
    finally:
        new.close()


def test_a_run_that_was_replaced_stops(redis_server):
    """With one sentence; the other's results are whole."""
    where = f"{redis_server.url}?journal=replaced"

    def source():
        yield from range(5)
        cut(redis_server, RedisJournal(where))
        assert graph().run(range(8), "serial", journal=where).values == [n * 2 for n in range(8)]
        yield from range(5, 50)

    within(20, lambda: graph().run(source(), "thread", journal=where, max_in_flight=2), "has been taken over")
    with df.open_journal(where) as journal:
        assert journal.values == [n * 2 for n in range(8)]
        assert [r.state for r in journal.runs] == ["interrupted", "finished"]


def test_a_driver_comes_back_to_what_is_still_its_own(redis_server):
    """A connection that breaks is no reason to lose the journal."""
    where = f"{redis_server.url}?journal=back"

    def source():
        for n in range(20):
            if n % 5 == 0:
                cut(redis_server, RedisJournal(where))
            yield n

    assert graph().run(source(), "serial", journal=where, max_in_flight=2).values == [n * 2 for n in range(20)]


def test_a_reader_does_not_put_out_a_driver_whose_server_was_restarted(own_redis, monkeypatch):
    """It has not noticed yet, as its task takes long: it goes on all the same."""
    monkeypatch.setattr("dagflow.journal.redis.RETURN_SECONDS", 0.2)
    server = own_redis(*ALWAYS)

    def work(n):
        if n == 2:
            server.kill()
            server.start()
            with df.open_journal(server.url) as journal:
                assert journal.runs[-1].state == "interrupted"
        return n * 2

    assert graph(work).run(range(5), "serial", journal=server.url).values == [0, 2, 4, 6, 8]


def test_a_journal_that_is_emptied_while_it_is_used(own_redis):
    """The run stops and says so; it does not write half a journal."""
    server = own_redis(*AOF)

    def source():
        yield from range(5)
        with server.client() as client:
            client.flushall()
        yield from range(5, 50)

    within(20, lambda: graph().run(source(), "thread", journal=server.url, max_in_flight=2), "was emptied by somebody")
    with server.client() as client:
        assert client.keys() == []
    assert graph().run(range(3), "serial", journal=server.url).values == [0, 2, 4]


# -- what somebody else put there ---------------------------------------------------------------------------


class Bomb:
    """A pickle that leaves a folder behind when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_foreign_values_are_never_opened(redis_server, tmp_path):
    """Whatever stands under the keys, of whatever type: an error or work done again, and no pickle is opened."""
    where = f"{redis_server.url}?journal=forged"
    tasks = [bytes([n]) * 400 for n in range(4)]
    one = graph(len)
    one.run(tasks, "serial", journal=where)
    fuse = tmp_path / "exploded"
    body = dumps([Bomb(fuse)] * 4)
    with redis_server.client() as client:
        keys = client.keys("dagflow:{forged}:*")
        saved = {key: client.dump(key) for key in keys}
        places = [(key, field) for key in keys for field in client.hkeys(key)]
        assert len(places) > 8
        for key, field in places:
            for forged in (body, bytes(16) + body, b""):
                for name, dump in saved.items():
                    client.restore(name, 0, dump, replace=True)
                client.hset(key, field, forged)
                for use in (lambda: one.run(tasks, "serial", journal=where).values, lambda: read(where)):
                    try:
                        assert use() == [400] * 4
                    except JournalError as error:
                        assert "\n" not in str(error)
                    assert not fuse.exists()
        for key in keys:
            for name, dump in saved.items():
                client.restore(name, 0, dump, replace=True)
            client.set(key, body)  # not even a hash
            for use in (lambda: one.run(tasks, "serial", journal=where).values, lambda: read(where)):
                try:
                    assert use() == [400] * 4
                except JournalError as error:
                    assert "\n" not in str(error)
        assert not fuse.exists()


def read(where):
    with df.open_journal(where) as journal:
        return journal.values


def test_a_driver_that_was_killed_holds_nothing(redis_server, drive):
    """The next one goes on at once."""
    where = f"{redis_server.url}?journal=killed"
    code = """
import os, sys, dagflow as df
def double(n):
    if n == 5:
        os.kill(os.getpid(), 9)
    return n * 2
df.Graph(df.TaskManager(double, name="double", version="1")).run(range(10), "serial", journal=sys.argv[1])
"""
    assert drive(code, where, check=False)[0] == -9
    began = time.monotonic()
    result = df.Graph(df.TaskManager(double, name="double", version="1")).run(range(10), "serial", journal=where)
    assert time.monotonic() - began < 5
    assert result.values == [n * 2 for n in range(10)]
    assert result.reused == 5
