"""The command line: traces written, shown, and what limits a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
import time
from dagflow import Merger, Splitter, TaskManager

def half(x):
    time.sleep(0.004)
    return 10 // x

def letters(text):
    return list(text)

def up(letter):
    if letter == "!":
        raise ValueError("no \\x1b[31m marks")
    return letter.upper()

graph = TaskManager(half) >> TaskManager(str, name="text")
words = Splitter(letters) >> TaskManager(up) >> Merger("".join, on_missing="skip", name="join")
numbers = [1, 2, 5, 0] * 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


def dagflow(folder: Path, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dagflow", *arguments]
    return subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=100, env={**os.environ, **env}
    )


@pytest.fixture
def traced(folder: Path) -> Path:
    done = dagflow(
        folder, "run", "flow:words", "--input", "-", "--backend", "thread", "--trace", "t.jsonl", "--out", "out.jsonl",
        stdin='"ab"\n"c!"\n"0"\n',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_run_writes_a_hop_a_line(traced: Path) -> None:
    hops = [json.loads(line) for line in (traced / "t.jsonl").read_text().splitlines()]
    assert len(hops) == 3 * 2 + 5
    assert {hop["node"] for hop in hops} == {"letters", "up", "join"}
    ids = {json.loads(line)["trace_id"] for line in (traced / "out.jsonl").read_text().splitlines()}
    assert {hop["trace_id"] for hop in hops if hop["parent"] is None} == ids


@pytest.mark.parametrize("backend", ["serial", "thread", "process"])
def test_run_writes_a_trace_for_perfetto(folder: Path, backend: str) -> None:
    done = dagflow(folder, "run", "flow:graph", "--input", "flow:numbers", "--backend", backend, "--trace", "t.json")
    assert done.returncode == 1, "some failed"
    events = json.loads((folder / "t.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == 20 + 15


def test_a_run_whose_input_breaks_writes_what_there_is(folder: Path) -> None:
    done = dagflow(
        folder, "run", "flow:graph", "--input", "-", "--backend", "serial", "--trace", "t.jsonl", stdin="1\n{\n"
    )
    assert done.returncode == 2
    assert [json.loads(line)["task"] for line in (folder / "t.jsonl").read_text().splitlines()] == [1, 1]


def test_trace_shows_trees(traced: Path) -> None:
    done = dagflow(traced, "trace", "t.jsonl")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("[")] == ["[0] 'ab'  done", "[1] 'c!'  done", "[2] '0'  done"]
    assert any(re.match(r"│  └─ up .* failed .* ValueError: no \\x1b\[31m marks", line) for line in lines)
    assert "\x1b" not in done.stdout, "control characters are escaped"


@pytest.mark.parametrize(
    ("what", "first"),
    [
        ("c!", "[1] 'c!'  done"),
        ('"c!"', "[1] 'c!'  done"),
        ("1", "[1] 'c!'  done"),
        ("0", "[2] '0'  done"),  # a task before an id
        ("!", "'!'  failed"),
        ("ab", "[0] 'ab'  done"),
    ],
)
def test_trace_of_one_task(traced: Path, what: str, first: str) -> None:
    done = dagflow(traced, "trace", "t.jsonl", what)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(first)


def test_trace_by_the_id_of_a_child(traced: Path) -> None:
    shown = json.loads(dagflow(traced, "trace", "t.jsonl", "ab", "--json").stdout)
    child = shown["children"][1]
    done = dagflow(traced, "trace", "t.jsonl", child["trace_id"], "--json")
    assert json.loads(done.stdout) == child and child["task"] == "b"


def test_only_those_that_failed(folder: Path) -> None:
    dagflow(folder, "run", "flow:graph", "--input", "flow:numbers", "--backend", "serial", "--trace", "t.jsonl")
    done = dagflow(folder, "trace", "t.jsonl", "--failed", "--json")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [trace["task"] for trace in shown] == [0] * 5
    assert {trace["hops"][0]["error"] for trace in shown} == {"ZeroDivisionError: integer division or modulo by zero"}
    several = dagflow(folder, "trace", "t.jsonl", "2").stdout
    assert several.count("[") == 5, "each task that equals it"


def test_a_task_is_shown_too_of_which_something_failed_that_its_merge_did_without(traced: Path) -> None:
    shown = [json.loads(line) for line in dagflow(traced, "trace", "t.jsonl", "--failed", "--json").stdout.splitlines()]
    assert [(trace["task"], trace["status"]) for trace in shown] == [("c!", "done")]


def test_many_tasks_are_not_all_shown(folder: Path) -> None:
    numbers = "\n".join(map(str, range(1, 31)))
    dagflow(
        folder, "run", "flow:graph", "--input", "-", "--backend", "serial", "--trace", "t.jsonl", "--out", "x",
        stdin=numbers,
    )  # fmt: skip
    done = dagflow(folder, "trace", "t.jsonl")
    assert done.stdout.count("\n[") + 1 == 20
    assert "10 more tasks are in t.jsonl" in done.stderr
    assert len(dagflow(folder, "trace", "t.jsonl", "--json").stdout.splitlines()) == 30


def test_a_terminal_that_knows_ascii_only(traced: Path) -> None:
    done = dagflow(traced, "trace", "t.jsonl", "ab", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("|- letters")


def test_explain_a_file(folder: Path) -> None:
    dagflow(folder, "run", "flow:graph", "--input", "flow:numbers", "--backend", "thread", "--trace", "t.jsonl")
    done = dagflow(folder, "explain", "t.jsonl")
    assert done.returncode == 0, done.stderr
    assert re.match(r"'half' limits the run: its one worker was busy \d+% of the time\.", done.stdout)
    assert json.loads(dagflow(folder, "explain", "t.jsonl", "--json").stdout) == {"explain": done.stdout.rstrip("\n")}


def test_explain_a_file_of_a_sample(folder: Path) -> None:
    code = "from flow import graph; graph.run(range(1, 101), 'thread', trace=0.1).export_trace('t.jsonl')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=100)
    done = dagflow(folder, "explain", "t.jsonl")
    assert "'half' limits the run" in done.stdout
    assert re.search(r"This is told from traces of \d+\.\d% of the source tasks\.", done.stdout)


def test_explain_a_graph(folder: Path) -> None:
    done = dagflow(folder, "explain", "flow.py:graph", "--input", "flow:numbers", "--backend", "thread")
    assert done.returncode == 1, "some tasks failed"
    assert done.stdout.startswith("'half' limits the run")
    asked = dagflow(folder, "explain", "flow.py:words", "--input", "-", "--json", "--backend", "serial", stdin='"ab"\n')
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert found["tasks"] == 1 and "limits the run" in found["explain"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "flow:graph", "--input", "-", "--trace", "t.csv"], "end it in .jsonl or .json"),
        (["trace", "missing.jsonl"], "no file missing.jsonl"),
        (["trace", "flow.py"], "flow.py, line 2: not a JSON value"),
        (["trace", "t.jsonl", "nothing"], "tells of no task nothing"),
        (["explain", "missing.jsonl"], "no file missing.jsonl"),
        (["explain", "flow.py"], "flow.py, line 2: not a JSON value"),
        (["explain", "flow:graph"], "--input"),
        (["explain", "flow:nothing", "--input", "-"], "has no 'nothing'"),
        (["explain", "odd.jsonl"], "'!' is no trace id"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(traced: Path, arguments: list[str], says: str) -> None:
    (traced / "odd.jsonl").write_text((traced / "t.jsonl").read_text().replace('"trace_id": "0"', '"trace_id": "!"', 1))
    done = dagflow(traced, *arguments)
    assert done.returncode == 2
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_an_unwritable_place_is_the_worlds_fault(folder: Path) -> None:
    done = dagflow(folder, "run", "flow:graph", "--input", "flow:numbers", "--trace", "nowhere/t.jsonl", "--out", "x")
    assert done.returncode == 3
    assert "nowhere/t.jsonl" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "x").exists(), "told before anything runs"


def test_help_shows_an_example(folder: Path) -> None:
    for command in ("trace", "explain"):
        done = dagflow(folder, command, "--help")
        assert done.returncode == 0
        assert f"example: dagflow {command}" in done.stdout
