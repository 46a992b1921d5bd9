"""The command line: what it prints where, and how it exits."""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dagflow import demo
from dagflow.cli import main

Here = Callable[..., tuple[int, str, str]]

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

def needs(something):
    return graph

def leave():
    raise SystemExit(7)

def some():
    yield 5
    raise OSError("the disk is gone")

class Odd:
    def __repr__(self):
        raise RuntimeError("no repr")

def odd(task):
    return {1: {2}, (3, 4): b"x", "nan": float("nan"), "odd": Odd(), "text": "\\ud800 日"}

def unspeakable(task):
    raise Unspeakable()

class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")
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
BROKEN = """
from dagflow import Graph, InvariantBroken

class Broken(Graph):
    def run(self, *tasks, **options):
        raise InvariantBroken("two and two are five")

graph = Broken(abs)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW, encoding="utf-8")
    (tmp_path / "waits.py").write_text(WAITS)
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "os.py").write_text(FLOW)
    (tmp_path / "wrong.py").write_text("graph = no_such_name")
    (tmp_path / "syntax.py").write_text("graph = (")
    return tmp_path


def dagflow(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dagflow", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=100)


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """The command carried out in this process: much quicker, where a process of its own is not the point."""
    loaded, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(folder)
    yield lambda *arguments: (main(arguments), *capsys.readouterr())
    sys.path[:] = path
    for name in ("flow", "wrong", "syntax"):
        if name not in loaded:
            sys.modules.pop(name, None)


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
        (["run", "flow:grap", "--input", "-"], "did you mean 'graph'?"),
        (["run", "flow:needs", "--input", "-"], "flow:needs was called for its graph and raised TypeError: "),
        (["run", "flow:leave", "--input", "-"], "ended with exit code 7"),
        (
            ["run", "wrong.py:graph", "--input", "-"],
            "raised NameError: name 'no_such_name' is not defined (wrong.py, line 1)",
        ),
        (["run", "syntax:graph", "--input", "-"], "raised SyntaxError: '(' was never closed (syntax.py, line 1)"),
        (["run", "os.py:graph", "--input", "-"], "bears the name of another module (os): rename it"),
        (["run", "flow:graph", "--input", "flow:graph.name"], "is no iterable of tasks but a NoneType"),
        (
            ["run", "flow:graph", "--input", "flow:some", "--backend", "serial"],
            "raised OSError: the disk is gone (flow.py, line 24)",
        ),
        (["run", "flow:graph"], "--input says where the tasks come from; only a --journal knows some by itself"),
        (["run", "flow:graph", "--input", "-", "--draw", "x.bmp"], ".svg"),
        ([], "required: COMMAND"),
        (["run", "flow", "--input", "-"], "MODULE:NAME"),
        (["run", "flow:graph", "--input", "missing.jsonl"], "no file missing.jsonl"),
        (["run", "missing.py:graph", "--input", "-"], "no file missing.py"),
        (["draw", "flow:graph", "-o", "flow.xyz"], ".svg"),
        (["demo", "--packages", "0"], "--packages"),
        (["fly"], "invalid choice"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(here: Here, arguments: list[str], says: str) -> None:
    code, _, err = here(*arguments)
    assert code == 2
    told = [line for line in err.splitlines() if line.startswith("dagflow")]
    assert len(told) == 1
    assert says in told[0]
    assert "Traceback" not in err


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


@pytest.mark.parametrize(
    "command",
    [
        "run flow:graph --input flow:numbers --backend serial | true",
        "run flow:graph --input flow:numbers --backend serial 2>&1 >/dev/null | true",
        "draw flow:graph | true",
        "draw flow:graph -o flow.svg 2>&1 | true",
        "--help | true",
        "run --no-such-thing 2>&1 | true; true",
        "draw flow:graph >&-",
        "draw flow:graph >&- 2>&-",
    ],
)
def test_a_closed_pipe_is_no_error(folder: Path, command: str) -> None:
    command = f"{sys.executable} -m dagflow {command}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True, timeout=100)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_tasks_that_come_before_the_input_breaks_are_given(here: Here) -> None:
    code, out, _ = here("run", "flow:graph", "--input", "flow:some", "--backend", "serial")
    assert code == 2
    assert [json.loads(line)["values"] for line in out.splitlines()] == [[4]]


def test_what_json_has_no_word_for_is_described(folder: Path) -> None:
    done = dagflow(folder, "run", "flow:odd", "--input", "-", "--backend", "serial", stdin="1\n")
    assert done.returncode == 2  # it is called for a graph, being a function
    (folder / "odd.py").write_text("from flow import *\ngraph = TaskManager(odd) >> TaskManager(dict)\n")
    for encoding in ("utf-8", "latin-1"):
        command = [sys.executable, "-m", "dagflow", "run", "odd:graph", "--input", "-", "--backend", "serial"]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        ran = subprocess.run(command, cwd=folder, input=b"1\n", capture_output=True, timeout=100, env=environment)
        assert ran.returncode == 0, ran.stderr
        [value] = json.loads(ran.stdout)["values"]
        assert "<Odd instance at" in str(value)
        assert "nan" in str(value)


def test_an_error_without_words_is_described(folder: Path) -> None:
    (folder / "mute.py").write_text("from flow import *\ngraph = TaskManager(unspeakable) >> TaskManager(double)\n")
    done = dagflow(folder, "run", "mute:graph", "--input", "-", "--backend", "serial", stdin="1\n")
    assert done.returncode == 1
    assert "Unspeakable" in json.loads(done.stdout)["error"]


def test_no_colours_without_a_terminal(folder: Path) -> None:
    done = dagflow(folder, "run", "flow:graph", "--input", "-", "--backend", "serial", "--progress", stdin="0\n1\n")
    assert "ZeroDivisionError" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_bug_of_ours_is_told_with_its_traceback(folder: Path) -> None:
    done = dagflow(folder, "run", "broken:graph", "--input", "flow:numbers")
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert "two and two are five" in done.stderr
    assert "please report it" in done.stderr


def test_the_summary_as_json(folder: Path) -> None:
    done = dagflow(
        folder,
        "run",
        "flow:graph",
        "--input",
        "-",
        "--backend",
        "serial",
        "--json",
        "--draw",
        "run.svg",
        stdin="1\n5\n",
    )
    summary = json.loads(done.stderr)
    assert summary["tasks"] == 2
    assert summary["statuses"] == {"done": 2}
    assert summary["nodes"]["half"]["succeeded"] == 2
    assert set(summary) == {"tasks", "statuses", "seconds", "bottleneck", "explain", "nodes"}
    assert "2 done" in (folder / "run.svg").read_text(encoding="utf-8")


def test_a_graph_as_json(here: Here) -> None:
    code, out, err = here("draw", "flow:graph", "--json")
    assert (code, err) == (0, "")
    drawn = json.loads(out)
    assert [node["name"] for node in drawn["nodes"]] == ["half", "double"]
    assert drawn["edges"] == [{"source": "half", "target": "double", "label": "", "failures": False}]


def test_draw_without_graphviz_is_the_worlds_fault(folder: Path) -> None:
    (folder / "pygraphviz.py").write_text("raise ImportError('not here')")
    command = [sys.executable, "-m", "dagflow", "draw", "flow:graph", "-o", "flow.png"]
    environment = {**os.environ, "PATH": str(folder), "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "pygraphviz" in done.stderr
    assert "flow.svg" in done.stderr


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dagflow", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, text=True, **pipes)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.mark.parametrize("backend", ["process", "thread", "serial"])
def test_interrupted_once_lets_running_tasks_end(folder: Path, backend: str) -> None:
    (folder / "tasks.jsonl").write_text("1\n2\n3\n")
    with begin(folder, "run", "waits:graph", "--input", "tasks.jsonl", "--backend", backend) as running:
        try:
            wait_for(folder / "begun1")
            running.send_signal(signal.SIGINT)
            (folder / "go").touch()
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "dagflow: interrupted"
    lines = [json.loads(line) for line in out.splitlines()]
    assert (lines[0]["status"], lines[0]["values"]) == ("done", [1])
    assert {line["status"] for line in lines} <= {"done", "cancelled"}


def test_interrupted_while_it_waits_for_input(folder: Path) -> None:
    """Standard input stays open: nobody waits for its next line."""
    (folder / "go").touch()
    with begin(folder, "run", "waits:graph", "--input", "-") as running:
        try:
            assert running.stdin is not None
            running.stdin.write("1\n")
            running.stdin.flush()
            wait_for(folder / "begun1")
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=60) == 130
        finally:
            running.kill()


def test_the_command_and_the_module_are_the_same(folder: Path) -> None:
    script = Path(sys.executable).with_name("dagflow")
    for arguments in (["--version"], ["draw", "flow:graph"], ["draw", "flow:nothing"]):
        done = subprocess.run([script, *arguments], cwd=folder, capture_output=True, text=True, timeout=100)
        same = dagflow(folder, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (same.returncode, same.stdout, same.stderr)


def test_help_shows_an_example_and_loads_nothing_heavy(here: Here) -> None:
    for command in ("demo", "run", "draw"):
        code, out, _ = here(command, "--help")
        assert code == 0
        assert f"example: dagflow {command}" in out
        assert "--json" in out
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
    assert "The run is drawn in demo.svg" in done.stdout
    assert "% busy" in (folder / "demo.svg").read_text(encoding="utf-8")
    if "lib2to3/tests" in done.stdout:
        assert "SyntaxError" in done.stdout


def test_the_demo_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a small library, in this process."""
    for name, text in {"good/a.py": "def f(): pass\n", "good/test/b.py": "import a\n", "bad/c.py": "def (\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    importlib.import_module("loguru")  # asks for the paths of the library, too
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    out = io.StringIO()
    assert demo.main("serial", 12, str(tmp_path / "demo.txt"), out, as_json=True) == 0
    report = json.loads(out.getvalue())
    assert {"package": "good", "files": 2, "lines": 2, "functions": 1, "classes": 0, "imports": 1} in report["packages"]
    assert [failure["path"] for failure in report["failures"]] == [os.path.join("bad", "c.py")]
    assert report["counts"]["read"]["received"] == 3
    assert "3 done" in (tmp_path / "demo.txt").read_text(encoding="utf-8")
