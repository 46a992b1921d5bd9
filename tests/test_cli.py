"""The command line: what it prints where, and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

FLOW = """
from dagflow import TaskManager

def half(x):
    return 10 // x

def double(x):
    return x * 2

graph = TaskManager(half) >> double
numbers = [1, 2, 5]

def make():
    return graph
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


def dagflow(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dagflow", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=100)


def test_run_gives_a_line_a_task_and_the_summary_aside(folder: Path) -> None:
    (folder / "tasks.jsonl").write_text("1\n\n2\n5\n")
    done = dagflow(folder, "run", "flow.py:graph", "--input", "tasks.jsonl", "--out", "out.jsonl")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [(line["task"], line["status"], line["values"]) for line in lines] == [
        (1, "done", [20]),
        (2, "done", [10]),
        (5, "done", [4]),
    ]
    assert set(lines[0]) == {"task", "status", "values", "error", "trace_id"}
    assert done.stdout == ""
    assert "3 source tasks" in done.stderr


@pytest.mark.parametrize("backend", ["serial", "thread", "process"])
def test_a_failed_task_is_a_line_and_exit_code_1(folder: Path, backend: str) -> None:
    done = dagflow(folder, "run", "flow:make", "--input", "-", "--backend", backend, stdin="0\n5\n")
    assert done.returncode == 1
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["status"], first["values"]) == ("failed", [])
    assert first["error"].startswith("ZeroDivisionError: ")
    assert (second["status"], second["values"], second["error"]) == ("done", [4], None)


def test_tasks_may_come_from_a_module(folder: Path) -> None:
    done = dagflow(folder, "run", "flow:graph", "--input", "flow:numbers", "--backend", "serial")
    assert [json.loads(line)["values"] for line in done.stdout.splitlines()] == [[20], [10], [4]]


def test_draw(folder: Path) -> None:
    assert dagflow(folder, "draw", "flow:graph").stdout.startswith("flowchart LR")
    done = dagflow(folder, "draw", "flow:graph", "-o", "flow.svg")
    assert done.returncode == 0
    assert ElementTree.parse(folder / "flow.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "nowhere:graph", "--input", "-"], "no module 'nowhere'"),
        (["run", "flow:nothing", "--input", "-"], "flow has no 'nothing'"),
        (["run", "flow:numbers", "--input", "-"], "is no graph"),
        (["run", "flow", "--input", "-"], "MODULE:NAME"),
        (["run", "flow:graph", "--input", "missing.jsonl"], "no file missing.jsonl"),
        (["run", "missing.py:graph", "--input", "-"], "no file missing.py"),
        (["draw", "flow:graph", "-o", "flow.xyz"], ".svg"),
        (["demo", "--packages", "0"], "--packages"),
        (["fly"], "invalid choice"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(folder: Path, arguments: list[str], says: str) -> None:
    done = dagflow(folder, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_json_names_file_and_line_and_loses_nothing(folder: Path) -> None:
    (folder / "tasks.jsonl").write_text("5\n{oops\n")
    done = dagflow(folder, "run", "flow:graph", "--input", "tasks.jsonl", "--backend", "serial")
    assert done.returncode == 2
    assert "tasks.jsonl, line 2" in done.stderr
    assert json.loads(done.stdout.splitlines()[0])["values"] == [4]


def test_an_unwritable_place_is_the_worlds_fault(folder: Path) -> None:
    done = dagflow(folder, "run", "flow:graph", "--input", "flow:numbers", "--out", "missing/out.jsonl")
    assert done.returncode == 3
    assert "missing/out.jsonl" in done.stderr


def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m dagflow run flow:graph --input flow:numbers --backend serial | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True, timeout=100)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_help_shows_an_example_and_loads_nothing_heavy(folder: Path) -> None:
    for command in ("demo", "run", "draw"):
        done = dagflow(folder, command, "--help")
        assert done.returncode == 0
        assert f"example: dagflow {command}" in done.stdout
    code = "import sys; from dagflow.cli import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert not any(f"'{name}'" in done.stderr for name in ("networkx", "loguru", "tqdm", "asyncio"))


def test_demo(folder: Path) -> None:
    """The demo runs over the real standard library: a table, a diagram, failures with node, task and cause."""
    done = dagflow(folder, "demo", "-o", "demo.svg")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].split()[:3] == ["package", "files", "lines"]
    assert "source tasks in" in done.stdout
    assert ElementTree.parse(folder / "demo.svg").getroot().tag.endswith("svg")
    if "lib2to3/tests" in done.stdout:
        assert "SyntaxError" in done.stdout
