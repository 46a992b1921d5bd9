"""The commands about journals: ``run --journal``, ``runs``, ``show``, ``dead``, ``retry``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FLOW = """
from dagflow import TaskManager

def invert(x):
    return 10 // x

def positive(x):
    if x < 0:
        raise KeyError("negative")
    return x

graph = TaskManager(invert) >> TaskManager(positive)
"""
MENDED = FLOW.replace("10 // x", "10 // x if x else 0")
CHANGED = FLOW.replace("return x\n\ngraph", "return -x\n\ngraph")
HELD = """
import os, threading
from dagflow import TaskManager

def held(task):
    while task > 1 and not os.path.exists("go"):
        threading.Event().wait(0.01)
    return task

graph = TaskManager(held, name="held")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "held.py").write_text(HELD)
    (tmp_path / "tasks.jsonl").write_text("1\n0\n-5\n2\n")
    return tmp_path


@pytest.fixture
def kept(folder: Path) -> Path:
    done = dagflow(
        folder, "run", "flow.py:graph", "--input", "tasks.jsonl", "--journal", "flow.db", "--backend", "serial"
    )
    assert done.returncode == 1, done.stderr
    return folder


def dagflow(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dagflow", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=100)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_same_command_again_gives_what_had_ended(kept: Path) -> None:
    with (kept / "tasks.jsonl").open("a") as tasks:
        tasks.write("5\n")
    again = dagflow(kept, "run", "flow.py:graph", "--input", "tasks.jsonl", "--journal", "flow.db")
    assert again.returncode == 1
    assert [(line["task"], line["values"], line["error"]) for line in lines(again.stdout)] == [
        (1, [10], None),
        (0, [], "ZeroDivisionError: integer division or modulo by zero"),
        (-5, [], "KeyError: 'negative'"),
        (2, [5], None),
        (5, [2], None),
    ]
    assert "journal flow.db: 4 source tasks given again as they had ended, 1 worked on" in again.stderr
    known = dagflow(kept, "run", "flow.py:graph", "--journal", "flow.db")
    assert known.stdout == again.stdout, "without --input: the tasks that the journal knows"


def test_a_run_that_was_killed_is_interrupted_and_goes_on(folder: Path) -> None:
    command = [sys.executable, "-m", "dagflow", "run", "held.py:graph", "--input", "-", "--journal", "held.db"]
    driver = subprocess.Popen(
        [*command, "--backend", "thread", "--out", "out"], cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert driver.stdin is not None and driver.stderr is not None
    try:
        driver.stdin.write(b"1\n2\n")
        driver.stdin.flush()
        deadline = time.monotonic() + 60
        # Somebody else asks: who holds it is named, and nothing is harmed.
        while "in use by another driver" not in (asked := dagflow(folder, "show", "held.db")).stderr:
            assert time.monotonic() < deadline and driver.poll() is None, asked
        assert asked.returncode == 3 and asked.stdout == "" and len(asked.stderr.splitlines()) == 1
        assert str(driver.pid) in asked.stderr
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        driver.stdin.close()
        driver.stderr.close()
    assert json.loads(dagflow(folder, "runs", "held.db", "--json").stdout)[0]["state"] == "interrupted"
    (folder / "go").touch()
    done = dagflow(folder, "run", "held.py:graph", "--input", "-", "--journal", "held.db", stdin="1\n2\n3\n")
    assert done.returncode == 0, done.stderr
    assert [line["values"] for line in lines(done.stdout)] == [[1], [2], [3]]
    states = [run["state"] for run in json.loads(dagflow(folder, "runs", "held.db", "--json").stdout)]
    assert states == ["interrupted", "finished"]


def test_runs(kept: Path) -> None:
    dagflow(kept, "run", "flow.py:graph", "--journal", "flow.db")
    told = dagflow(kept, "runs", "flow.db")
    assert told.returncode == 0 and told.stderr == ""
    head, first, second = (line.split() for line in told.stdout.splitlines())
    assert head == ["run", "state", "started", "ended"]
    assert first[:2] == ["1", "finished"] and second[:2] == ["2", "finished"]
    runs = json.loads(dagflow(kept, "runs", "flow.db", "--json").stdout)
    assert [run["number"] for run in runs] == [1, 2]
    assert all(run["started"] <= run["ended"] for run in runs)


def test_show(kept: Path) -> None:
    told = dagflow(kept, "show", "flow.db")
    assert told.returncode == 0 and told.stderr == ""
    first, *others = told.stdout.splitlines()
    assert first.startswith("flow.db: last run 1 finished, 20")
    assert [line.split() for line in others[:3]] == [
        ["node", "received", "succeeded", "failed", "dropped", "retried"],
        ["invert", "4", "3", "1", "0", "0"],
        ["positive", "3", "2", "1", "0", "0"],
    ]
    assert others[3:5] == ["4 source tasks: 2 done, 2 failed, 0 unfinished", "2 dead letters"]
    found = json.loads(dagflow(kept, "show", "flow.db", "--json").stdout)
    assert found["tasks"] == 4 and found["statuses"] == {"done": 2, "failed": 2}
    assert found["unfinished"] == 0 and found["dead"] == 2
    assert found["nodes"]["invert"]["failed"] == 1 and found["kept"]["file"] > 0


def test_dead(kept: Path) -> None:
    told = dagflow(kept, "dead", "flow.db")
    assert told.returncode == 0 and told.stderr == ""
    assert told.stdout.splitlines() == [
        "invert after 1 attempt: ZeroDivisionError: integer division or modulo by zero",
        "    task 0, of source task 0",
        "positive after 1 attempt: KeyError: 'negative'",
        "    task -2, of source task -5",
        "2 dead letters",
    ]
    (failure,) = json.loads(dagflow(kept, "dead", "flow.db", "--node", "positive", "--json").stdout)
    assert (failure["node"], failure["source"], failure["task"], failure["attempts"]) == ("positive", -5, -2, 1)
    assert failure["type"] == "KeyError" and "in positive" in failure["traceback"]
    for kind, found in (("ZeroDivisionError", 1), ("LookupError", 1), ("Exception", 2), ("OSError", 0)):
        assert len(json.loads(dagflow(kept, "dead", "flow.db", "--error", kind, "--json").stdout)) == found


def test_retry(kept: Path) -> None:
    (kept / "flow.py").write_text(MENDED)
    done = dagflow(kept, "retry", "flow.db", "flow.py:graph", "--out", "out.jsonl")
    assert done.returncode == 1, "one of them fails again"
    assert done.stdout == ""
    assert [line["values"] for line in lines((kept / "out.jsonl").read_text())] == [[10], [0], [], [5]]
    assert "2 source tasks given again as they had ended, 2 worked on" in done.stderr
    for command in ("dead", "show"):
        assert "1 dead letter" in dagflow(kept, command, "flow.db").stdout.splitlines()
    also = dagflow(kept, "run", "flow.py:graph", "--journal", "flow.db", "--retry-failed", "--json")
    assert also.returncode == 1 and [line["task"] for line in lines(also.stdout)] == [1, 0, -5, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "flow.py:graph"], 2, "--input says where the tasks come from; only a --journal knows some by itself"),
        (["run", "flow.py:graph", "--input", "tasks.jsonl", "--retry-failed"], 2, "--retry-failed needs the --journal"),
        (["dead", "flow.db", "--node", "nobody"], 2, "there is no node 'nobody'; there are invert, positive"),
        (["show"], 2, "the following arguments are required: WHERE"),
        (["retry", "flow.db"], 2, "the following arguments are required: MODULE:GRAPH"),
        (["show", "nothing.db"], 3, "nothing.db"),
        (["runs", "flow.py"], 3, "flow.py"),
        (["dead", "mysql://somewhere"], 3, "mysql"),
        (["run", "changed.py:graph", "--input", "tasks.jsonl", "--journal", "flow.db"], 3, "node 'positive': the code"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(kept: Path, arguments: list[str], code: int, says: str) -> None:
    (kept / "changed.py").write_text(CHANGED)
    done = dagflow(kept, *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (kept / "nothing.db").exists()


@pytest.mark.parametrize("command", ["runs", "show", "dead", "retry"])
def test_help_shows_an_example(folder: Path, command: str) -> None:
    done = dagflow(folder, command, "--help")
    assert done.returncode == 0 and f"example: dagflow {command} crawl.db" in done.stdout and "--json" in done.stdout
