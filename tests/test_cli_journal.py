"""The commands that are about journals: what they print where, and how they exit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dagflow.cli import main

Here = Callable[..., tuple[int, str, str]]

FLOW = """
import os
from dagflow import TaskManager

def parse(text):
    if text == "bad\\n\\x1b[31m" and not os.path.exists("mended"):
        raise ValueError(f"cannot read {text!r}")
    return len(text)

def fetch(n):
    if n == 3 and not os.path.exists("mended"):
        raise ConnectionError("no line")
    return n * 2

graph = TaskManager(parse, name="parse", max_retries=0) >> TaskManager(fetch, name="fetch", max_retries=1, retry_delay=0.001)
other = TaskManager(str, name="parse") >> TaskManager(fetch, name="fetch", max_retries=1, retry_delay=0.001)
once = TaskManager(parse, name="parse", max_retries=0, deduplicate=True) >> TaskManager(fetch, name="fetch")
tasks = ["a", "bad\\n\\x1b[31m", "abc", "ab"]
"""
WAITS = """
import os, threading
from dagflow import TaskManager

def wait(task):
    open(f"begun{task}", "w").close()
    while not os.path.exists("go"):
        threading.Event().wait(0.01)
    return task

graph = TaskManager(wait, name="wait", worker_limit=1)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """The command carried out in this process."""
    (tmp_path / "letters.py").write_text(FLOW, encoding="utf-8")
    (tmp_path / "waits.py").write_text(WAITS)
    path = list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield lambda *arguments: (main(arguments), *capsys.readouterr())
    sys.path[:] = path
    sys.modules.pop("letters", None)


def run(here: Here, *more: str, where: str = "j.db") -> tuple[int, str, str]:
    return here("run", "letters:graph", "--input", "letters:tasks", "--backend", "serial", "--journal", where, *more)


def statuses(out: str) -> list[str]:
    return [json.loads(line)["status"] for line in out.splitlines()]


def test_a_run_that_is_called_again_gives_the_same_again(here: Here) -> None:
    code, out, err = run(here)
    assert (code, statuses(out)) == (1, ["done", "failed", "failed", "done"])
    assert "0 source tasks given again" in err
    again, same, told = run(here)
    assert (again, same) == (1, out)
    assert "journal j.db: 4 source tasks given again as they had ended, 0 worked on" in told
    code, out, _ = here("run", "letters:graph", "--journal", "j.db", "--backend", "serial")  # its own tasks
    assert (code, statuses(out)) == (1, ["done", "failed", "failed", "done"])


@pytest.mark.parametrize("command", ["run", "retry"])
def test_dead_letters_are_driven_again(here: Here, command: str) -> None:
    run(here)
    Path("mended").touch()
    if command == "run":
        code, out, err = run(here, "--retry-failed")
    else:
        code, out, err = here("retry", "j.db", "letters:graph", "--backend", "serial", "--out", "again.jsonl")
        assert out == ""
        out = Path("again.jsonl").read_text()
    assert (code, statuses(out)) == (0, ["done"] * 4)
    assert "dead letters driven again: 1 at 'fetch', 1 at 'parse'" in err
    assert here("dead", "j.db")[:2] == (0, "0 dead letters\n")


def test_retry_tells_of_what_fails_again(here: Here) -> None:
    run(here)
    code, out, err = here("retry", "j.db", "letters:graph", "--backend", "serial", "--json")
    assert (code, statuses(out)) == (1, ["done", "failed", "failed", "done"])
    assert json.loads(err.splitlines()[-1])["statuses"] == {"done": 2, "failed": 2}


def test_runs_are_listed(here: Here) -> None:
    run(here)
    run(here)
    code, out, err = here("runs", "j.db")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == ["run", "state", "started", "ended"]
    assert [line.split()[:2] for line in lines] == [["1", "finished"], ["2", "finished"]]
    code, out, _ = here("runs", "j.db", "--json")
    told = json.loads(out)
    assert [(r["number"], r["state"]) for r in told] == [(1, "finished"), (2, "finished")]
    assert all(r["started"] <= r["ended"] for r in told)


def test_a_journal_is_shown(here: Here) -> None:
    run(here)
    code, out, err = here("show", "j.db")
    assert (code, err) == (0, "")
    assert "j.db: last run 1 finished" in out
    assert "4 source tasks: 2 done, 2 failed, 0 unfinished" in out
    assert "2 dead letters" in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:4]}
    assert rows["node"] == ["received", "succeeded", "failed", "dropped", "retried"]
    assert rows["parse"] == ["4", "3", "1", "0", "0"]
    assert rows["fetch"] == ["3", "2", "1", "0", "1"]
    told = json.loads(here("show", "j.db", "--json")[1])
    assert (told["tasks"], told["statuses"], told["unfinished"], told["dead"]) == (4, {"done": 2, "failed": 2}, 0, 2)
    assert told["nodes"]["fetch"]["retried"] == 1
    assert told["kept"]["file"] == Path("j.db").stat().st_size


def test_dead_letters_are_listed_filtered_and_escaped(here: Here) -> None:
    run(here)
    code, out, err = here("dead", "j.db")
    assert (code, err) == (0, "")
    assert "parse after 1 attempt: ValueError: cannot read" in out
    assert "fetch after 2 attempts: ConnectionError: no line" in out
    assert "    task 3, of source task 'abc'" in out
    assert out.splitlines()[-1] == "2 dead letters"
    assert "\x1b" not in out
    assert len(out.splitlines()) == 5
    for filters, count in (
        (["--node", "fetch"], 1),
        (["--error", "ValueError"], 1),
        (["--error", "OSError"], 1),  # a ConnectionError is one
        (["--error", "Exception"], 2),
        (["--node", "fetch", "--error", "ValueError"], 0),
        (["--error", "KeyError"], 0),
    ):
        code, out, _ = here("dead", "j.db", *filters)
        assert (code, out.splitlines()[-1].split()[0]) == (0, str(count)), filters
        assert len(json.loads(here("dead", "j.db", "--json", *filters)[1])) == count
    told = json.loads(here("dead", "j.db", "--json", "--node", "fetch")[1])[0]
    assert set(told) == {"node", "source", "task", "attempts", "error", "type", "traceback"}
    assert (told["node"], told["source"], told["task"], told["attempts"]) == ("fetch", "abc", 3, 2)
    assert (told["error"], told["type"]) == ("ConnectionError: no line", "ConnectionError")
    assert "in fetch" in told["traceback"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs", "none.db"], 3, "there is no journal at none.db"),
        (["show", "none.db"], 3, "there is no journal at none.db"),
        (["dead", "none.db"], 3, "there is no journal at none.db"),
        (["retry", "none.db", "letters:graph"], 3, "there is no journal at none.db"),
        (["run", "letters:graph", "--journal", "none.db"], 3, "there is no journal at none.db"),
        (["show", "letters.py"], 3, "letters.py is no journal of dagflow's"),
        (["show", "."], 3, "it is a folder"),
        (["show", "missing/j.db"], 3, "missing"),
        (["show", "ftp://host/j.db"], 3, "cannot be kept at ftp://"),
        (["dead", "j.db", "--node", "nowhere"], 2, "there is no node 'nowhere'; there are parse, fetch"),
        (["retry", "j.db"], 2, "required: MODULE:GRAPH"),
        (["retry", "j.db", "letters:nothing"], 2, "letters has no 'nothing'"),
        (["retry", "j.db", "letters:once", "--backend", "serial"], 3, "graph: node 'parse': deduplicate is new"),
        (["run", "letters:graph"], 2, "only a --journal knows some by itself"),
        (["run", "letters:graph", "--input", "letters:tasks", "--retry-failed"], 2, "--retry-failed needs the --journal"),
        (["runs"], 2, "required: WHERE"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_clear_line(here: Here, arguments: list[str], code: int, says: str) -> None:
    """2 for wrong use, 3 for the world."""
    run(here)
    found, out, err = here(*arguments)
    assert found == code
    assert out == ""
    told = [line for line in err.splitlines() if line.startswith("dagflow")]
    assert len(told) == 1
    assert says in told[0]
    assert "Traceback" not in err
    assert not Path("none.db").exists()


def test_another_graph_is_the_worlds_and_nothing_is_run(here: Here) -> None:
    run(here)
    before = Path("j.db").read_bytes()
    code, out, err = here("run", "letters:other", "--input", "letters:tasks", "--journal", "j.db")
    assert (code, out) == (3, "")
    assert "node 'parse'" in err
    assert Path("j.db").read_bytes() == before


def test_help_shows_examples(here: Here) -> None:
    for command in ("runs", "show", "dead", "retry"):
        code, out, _ = here(command, "--help")
        assert code == 0
        assert f"example: dagflow {command} crawl.db" in out
        assert "--json" in out
    assert "--journal" in here("run", "--help")[1]
    listed = here("--help")[1]
    assert all(command in listed for command in ("runs", "show", "dead", "retry"))


def test_interrupted_and_gone_on(here: Here, tmp_path: Path) -> None:
    """Exit code 130, the run is on record as cancelled, and the same command finishes it."""
    (tmp_path / "tasks.jsonl").write_text("1\n2\n3\n")
    command = [sys.executable, "-m", "dagflow", "run", "waits:graph", "--input", "tasks.jsonl", "--journal", "w.db"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "begun1").exists():
            assert time.monotonic() < until
            threading.Event().wait(0.01)
        assert here("show", "w.db")[0] == 3  # it is in use
        running.send_signal(signal.SIGINT)
        (tmp_path / "go").touch()
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 130
    assert "Traceback" not in err
    assert json.loads(here("runs", "w.db", "--json")[1])[0]["state"] == "cancelled"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert statuses(done.stdout) == ["done"] * 3
    assert json.loads(here("show", "w.db", "--json")[1])["statuses"] == {"done": 3}


@pytest.mark.parametrize("command", ["runs", "show", "dead"])
def test_a_closed_pipe_is_no_error(here: Here, tmp_path: Path, command: str) -> None:
    run(here)
    text = f"{sys.executable} -m dagflow {command} j.db | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", text], cwd=tmp_path, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        assert time.monotonic() < until
        threading.Event().wait(0.01)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")
def test_a_journal_at_an_address(here: Here, tmp_path: Path) -> None:
    """The same commands, the same words; a server that is away is told within seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", str(tmp_path)]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        where = f"redis://127.0.0.1:{port}/0?journal=letters"
        assert run(here, where=where)[0] == 1
        assert len(json.loads(here("dead", where, "--json")[1])) == 2
        assert f"{where}: last run 1 finished" in here("show", where)[1]
        assert len(json.loads(here("runs", where, "--json")[1])) == 1
        Path("mended").touch()
        assert here("retry", where, "letters:graph", "--backend", "serial")[0] == 0
        code, _, err = here("show", f"redis://127.0.0.1:{port}/0?journal=none")
        assert code == 3
        assert "there is no journal at" in err
    finally:
        server.kill()
        server.wait()
    began = time.monotonic()
    code, out, err = here("show", where)
    assert (code, out) == (3, "")
    assert "cannot be reached" in err
    assert len(err.splitlines()) == 1
    assert time.monotonic() - began < 10


def test_a_password_is_not_told(here: Here) -> None:
    code, _, err = here("show", "redis://me:secret@127.0.0.1:1/0")
    assert code == 3
    assert "secret" not in err
    assert os.environ.get("DAGFLOW_KEY") is None
