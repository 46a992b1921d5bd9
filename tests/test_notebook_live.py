"""Runs in a real Jupyter kernel: the live view, its button, interrupting, and running changed cells again."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

jupyter_client = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed (extra test)")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra test)")
pytest.importorskip("ipywidgets", reason="ipywidgets is not installed (extra notebook)")

SECONDS = 30


class Cell:
    """What came of a cell: its outputs in order, later states of updated ones included, and its error."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.text = ""
        self.error = ""
        self.ended = False

    @property
    def html(self) -> list[str]:
        return [data["text/html"] for data in self.shown if "text/html" in data]


class Kernel:
    """A kernel and its client, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manager = jupyter_client.KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        [self.process] = [p for p in psutil.Process().children() if p.pid == self.manager.provisioner.pid]

    def begin(self, code: str) -> str:
        return str(self.client.execute(code))

    def follow(self, message: str, until: Any = None) -> Cell:
        """Read what a cell says, to its end, or until ``until(cell)`` holds (a view goes on when its cell has ended)."""
        cell = Cell()
        self.go_on(message, cell, until)
        return cell

    def go_on(self, message: str, cell: Cell, until: Any = None) -> None:
        deadline = time.monotonic() + SECONDS
        while not (cell.ended if until is None else until(cell)):
            try:
                said = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the cell has not ended: {cell.text} {cell.shown[-1:]}") from None
            kind, content = said["msg_type"], said["content"]
            # An update finds its place by the display's name, whatever message it is an answer to.
            if said["parent_header"].get("msg_id") != message and kind != "update_display_data":
                continue
            if kind in ("display_data", "update_display_data", "execute_result"):
                cell.shown.append(content["data"])
            elif kind == "stream":
                cell.text += content["text"]
            elif kind == "error":
                cell.error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                cell.ended = True

    def run(self, code: str) -> Cell:
        return self.follow(self.begin(code))

    def subshell(self) -> str:
        """A helper thread of the kernel, as JupyterLab makes one for what widgets say."""
        self.client.control_channel.send(self.client.session.msg("create_subshell_request"))
        return str(self.client.get_control_msg(timeout=SECONDS)["content"]["subshell_id"])

    def press(self, cell: Cell, subshell: str | None) -> None:
        """Press the button that a cell has shown."""
        view = "application/vnd.jupyter.widget-view+json"
        [button] = [data[view]["model_id"] for data in cell.shown if view in data]
        click = {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
        message = self.client.session.msg("comm_msg", click)
        message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def workers(self) -> list[int]:
        """Processes that the kernel has started and that still run."""
        return [child.pid for child in self.process.children(recursive=True)]

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    started = Kernel(tmp_path_factory.mktemp("kernel"))
    try:
        started.run(SETUP)
        yield started
    finally:
        started.stop()


SETUP = """
import os, threading, time
from dagflow import Graph, TaskManager
from loguru import logger
logger.remove()
def held(task):
    while not os.path.exists("go"):
        threading.Event().wait(0.01)
    return task
def slow(task):
    threading.Event().wait(60)
def double(task):
    return 2 * task
"""


@pytest.fixture(autouse=True)
def go(kernel: Kernel) -> Iterator[Path]:
    """The file for which the function ``held`` waits: make it, and all go on."""
    path = kernel.folder / "go"
    yield path
    path.unlink(missing_ok=True)


def running(number: int) -> Any:
    return lambda cell: any(f"{number} running" in html for html in cell.html)


def test_a_graph_is_shown_as_its_picture(kernel: Kernel) -> None:
    [data] = kernel.run("Graph(TaskManager(double))").shown
    assert set(data) == {"image/svg+xml", "text/html", "text/plain"}
    assert data["text/html"].startswith('<img alt="Graph: 1 node, 0 edges" src="data:image/svg+xml;base64,')
    assert data["text/plain"] == "double"


def test_a_run_is_followed_live_and_leaves_its_last_state(kernel: Kernel, go: Path) -> None:
    run = "result = Graph(TaskManager(held, 'thread', 2)).run(range(6), 'thread', show_progress=True)"
    message = kernel.begin(run + "; print(result.values)")
    cell = kernel.follow(message, running(2))
    assert "running, " in cell.html[-1]
    assert "0 of 6 source tasks ended" in cell.html[-1]
    assert "<svg" in cell.html[-1]
    assert "<table" in cell.html[-1]
    go.touch()
    kernel.go_on(message, cell)
    assert cell.text == "[0, 1, 2, 3, 4, 5]\n"
    assert cell.html[-1].startswith("<img alt=")
    assert "<table" in cell.html[-1]
    assert "running" not in cell.html[-1]
    assert kernel.run("[t.name for t in threading.enumerate() if 'dagflow' in t.name]").shown[0]["text/plain"] == "[]"


def test_the_button_is_heard_while_the_cell_waits(kernel: Kernel, go: Path) -> None:
    """Pressed once: running tasks end, nothing more begins, and the result says what was cancelled."""
    message = kernel.begin("result = Graph(TaskManager(held, 'thread', 2)).run(range(6), 'thread', show_progress=True)")
    cell = kernel.follow(message, running(2))
    kernel.press(cell, kernel.subshell())
    kernel.go_on(message, cell, lambda cell: any("stopping, " in html for html in cell.html))
    go.touch()
    kernel.go_on(message, cell)
    assert cell.error == ""
    statuses = kernel.run("result.statuses()").shown[0]["text/plain"]
    assert "'cancelled'" in statuses
    assert "'done'" in statuses


def test_the_button_pressed_twice_kills(kernel: Kernel) -> None:
    message = kernel.begin("result = Graph(TaskManager(slow, worker_limit=1)).run(range(3), show_progress=True)")
    cell = kernel.follow(message, running(1))
    assert kernel.workers()
    shell = kernel.subshell()
    kernel.press(cell, shell)
    kernel.press(cell, shell)
    kernel.go_on(message, cell)
    assert cell.error == ""
    assert kernel.workers() == []


def test_interrupting_the_kernel_stops_the_run_and_its_workers(kernel: Kernel) -> None:
    message = kernel.begin("Graph(TaskManager(slow, 'process', 2)).run(range(9), show_progress=True)")
    cell = kernel.follow(message, running(2))
    assert kernel.workers()
    kernel.manager.interrupt_kernel()  # the running tasks may end
    kernel.go_on(message, cell, lambda cell: any("stopping, " in html for html in cell.html))
    kernel.manager.interrupt_kernel()  # at once
    kernel.go_on(message, cell)
    assert cell.error == "KeyboardInterrupt"
    assert kernel.workers() == []


def test_a_changed_cell_runs_as_it_is_now(kernel: Kernel) -> None:
    for factor in (3, 4):
        cell = kernel.run(
            f"def times(task): return {factor} * task\nprint(Graph(TaskManager(times)).run([1, 2]).values)"
        )
        assert cell.text == f"[{factor}, {2 * factor}]\n"


def test_a_cell_that_awaits_leaves_the_kernel_free(kernel: Kernel, go: Path) -> None:
    """The button needs no helper thread there."""
    message = kernel.begin(
        "result = await Graph(TaskManager(held, 'thread', 2)).arun(range(6), 'thread', show_progress=True)"
    )
    cell = kernel.follow(message, running(2))
    kernel.press(cell, None)
    kernel.go_on(message, cell, lambda cell: any("stopping, " in html for html in cell.html))
    go.touch()
    kernel.go_on(message, cell)
    assert cell.error == ""
    assert "'cancelled'" in kernel.run("result.statuses()").shown[0]["text/plain"]


def test_interrupting_a_cell_that_awaits_stops_the_workers(kernel: Kernel) -> None:
    message = kernel.begin("await Graph(TaskManager(slow, 'process', 2)).arun(range(9), show_progress=True)")
    cell = kernel.follow(message, running(2))
    kernel.manager.interrupt_kernel()
    kernel.go_on(message, cell)
    assert cell.error
    assert kernel.workers() == []


def test_an_open_run_is_followed_over_many_cells(kernel: Kernel, go: Path) -> None:
    message = kernel.begin(
        "run = Graph(TaskManager(held, 'thread', 2)).open('thread')\nfor n in range(4): run.submit(n)\nrun"
    )
    cell = kernel.follow(message)
    kernel.go_on(message, cell, running(2))  # the cell has ended, the run goes on
    go.touch()
    last = kernel.run("run.close(); print(run.wait(30).values)")
    assert last.text == "[0, 1, 2, 3]\n"
    assert "application/vnd.jupyter.widget-view+json" in cell.shown[0]


def test_an_open_run_shows_itself_when_asked_to(kernel: Kernel, go: Path) -> None:
    go.touch()
    code = "with Graph(TaskManager(held)).open('thread', show_progress=True) as run: run.submit(1)"
    cell = kernel.run(code)
    assert cell.html[-1].startswith("<img alt=")
    assert "1 done" in kernel.run("print(run.to_text())").text


def test_without_ipywidgets_there_is_a_view_and_no_button(kernel: Kernel, go: Path) -> None:
    kernel.run(
        "import sys, importlib.util; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'ipywidgets' else find(name, *more)"
    )
    try:
        message = kernel.begin(
            "Graph(TaskManager(held, 'thread', 2)).run(range(6), 'thread', show_progress=True).values"
        )
        cell = kernel.follow(message, running(2))
        assert "interrupt the kernel to stop" in cell.html[-1]
        go.touch()
        kernel.go_on(message, cell)
    finally:
        kernel.run("importlib.util.find_spec = find")
    assert not any("application/vnd.jupyter.widget-view+json" in data for data in cell.shown)
    assert any("[0, 1, 2, 3, 4, 5]" in data.get("text/plain", "") for data in cell.shown)


def test_bars_are_for_nodes_that_ask_for_them(kernel: Kernel) -> None:
    """``show_progress`` of a node is a bar of its own, in a notebook too."""
    cell = kernel.run("Graph(TaskManager(double, name='twice', show_progress=True)).run([1], 'serial').values")
    assert any("twice" in str(data) for data in cell.shown) or "twice" in cell.text
