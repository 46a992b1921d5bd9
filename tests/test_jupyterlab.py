"""A real JupyterLab in headless Chromium: the picture is there, the view moves, the button stops the run.

What a kernel sends is checked in ``test_notebook_live``; here is checked what a person then sees.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from chromium import SECONDS, browser, free_port, webdriver

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra test)")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra test)")
pytest.importorskip("jupyterlab", reason="jupyterlab is not installed (extra test)")
pytest.importorskip("ipywidgets", reason="ipywidgets is not installed (extra notebook)")
errors = pytest.importorskip("selenium.common.exceptions")
wait = pytest.importorskip("selenium.webdriver.support.wait")

FIRST = Path(__file__).parent.parent / "notebooks" / "1_first_graph.ipynb"
CELL = ".jp-Notebook .jp-CodeCell"

# The colours of the first picture that a part of the page shows, each with how many of its dots have it.
COLOURS = """
const [place, done] = arguments;
const image = place.querySelector("img");
image.decode().then(() => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const dots = context.getImageData(0, 0, canvas.width, canvas.height).data, found = {};
    for (let at = 0; at < dots.length; at += 4) {
        const colour = [...dots.slice(at, at + 3)].map(part => part.toString(16).padStart(2, "0")).join("");
        found[colour] = (found[colour] || 0) + 1;
    }
    done(found);
}).catch(error => done({error: String(error)}));
"""

LIVE = """
import os, threading
from dagflow import Graph, TaskManager

def held(task):
    while not os.path.exists("go"):
        threading.Event().wait(0.01)
    return task

result = Graph(TaskManager(held, "thread", 2, name="held")).run(range(6), "thread", show_progress=True)
"""


class Lab:
    """A JupyterLab server in a folder of its own, on loopback and with a token, and a browser."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token, self.port = folder, secrets.token_hex(16), free_port()
        places = {"HOME": ".", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run"}
        environment = {**os.environ, **{name: str(folder / "home" / place) for name, place in places.items()}}
        (folder / "home").mkdir()
        (folder / "work").mkdir()
        # Every cell is in the page, also those that are out of sight; and nobody asks for news.
        settings = folder / "home" / "config" / "lab" / "user-settings" / "@jupyterlab"
        for name, wanted in {
            "notebook-extension/tracker": '{"windowingMode": "none"}',
            "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
        }.items():
            (settings / name).parent.mkdir(parents=True)
            (settings / f"{name}.jupyterlab-settings").write_text(wanted)
        self.log = open(folder / "log", "w")  # noqa: SIM115 - closed when the server has ended
        options = {
            "ip": "127.0.0.1",
            "port": self.port,
            "ServerApp.port_retries": 0,
            "IdentityProvider.token": self.token,
        }
        options |= {
            "ServerApp.root_dir": folder / "work",
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command += [f"--{name}={value}" for name, value in options.items()]
        self.server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )
        self.browser: Any = None

    def start(self) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.answers():
            assert self.server.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            threading.Event().wait(0.1)
        self.browser = browser(self.folder / "home" / "browser")

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status?token={self.token}", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self) -> None:
        family = psutil.Process(self.server.pid).children(recursive=True) if self.server.poll() is None else []
        try:
            if self.browser is not None:
                self.browser.quit()
        finally:
            for process in [psutil.Process(self.server.pid)] if self.server.poll() is None else []:
                process.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=10)
            for process in alive:
                process.kill()
            try:
                self.server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
            self.log.close()

    # -- what a person does ---------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """Open a notebook and wait until its kernel is there (what is run before that is silently lost)."""
        self.browser.get(f"http://127.0.0.1:{self.port}/lab/tree/{name}?token={self.token}&reset")
        self.until(lambda: self.seen(f"{CELL} .cm-content"), "the notebook's cells")
        self.until(lambda: "(ipykernel)" in self.find(".jp-Toolbar-kernelName")[-1].text, "its kernel's name")
        self.until(lambda: self.seen(".jp-Notebook-ExecutionIndicator[data-status=idle]"), "its kernel")

    def run(self, number: int) -> Any:
        """Run a code cell; gives the cell."""
        cell = self.find(CELL)[number]
        self.until(lambda: self.find(".cm-content", cell), "the cell's editor")
        editor = cell.find_element("css selector", ".cm-content")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", editor)
        editor.click()
        editor.send_keys(webdriver.Keys.CONTROL, webdriver.Keys.ENTER)
        return cell

    def find(self, what: str, inside: Any = None) -> list[Any]:
        return list((inside or self.browser).find_elements("css selector", what))

    def seen(self, what: str) -> bool:
        found = self.find(what)
        return bool(found) and bool(found[0].is_displayed())

    def until(self, holds: Any, what: str) -> Any:
        stale = errors.StaleElementReferenceException  # the page was drawn anew between two looks at it
        return wait.WebDriverWait(self.browser, SECONDS, 0.1, [stale]).until(lambda _: holds(), f"waited for {what}")

    def colours(self, place: Any) -> dict[str, int]:
        return dict(self.browser.execute_async_script(COLOURS, place))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.timeout(240)
def test_the_picture_of_a_graph_is_seen_and_a_run_is_watched_and_stopped(lab: Lab) -> None:
    """The first notebook, opened and run cell by cell as a reader does; then a run that waits for its button."""
    notebook = nbformat.read(FIRST, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LIVE.strip()))
    nbformat.write(notebook, lab.folder / "work" / "first.ipynb")
    lab.open("first.ipynb")
    for number in range(2):
        lab.run(number)
    graph = lab.run(2)
    lab.until(lambda: lab.find(".jp-OutputArea-output img", graph), "the graph's picture")
    colours = lab.colours(graph)
    for fill in ("e3eefc", "efe5fb"):  # of tasks, and of the Merger
        assert colours.get(fill, 0) > 500, colours
    assert colours.get("3b74b9", 0) > 100  # an outline

    live = lab.run(len(lab.find(CELL)) - 1)
    lab.until(lambda: "0 of 6 source tasks ended" in live.text and "2 running" in live.text, "the live view")
    assert lab.find("svg g.dagflow-node[data-node='held']", live)
    [button] = lab.find("button.widget-button", live)
    assert button.text == "Stop"
    button.click()
    lab.until(lambda: "stopping, " in live.text, "the button to be heard")
    (lab.folder / "work" / "go").touch()
    lab.until(lambda: lab.find("img", live) and not lab.find("svg g.dagflow-node", live), "the last view")
    assert not lab.find("button.widget-button", live)
    assert lab.colours(live)


@pytest.mark.timeout(240)
def test_pictures_are_seen_in_a_notebook_that_is_not_trusted(lab: Lab) -> None:
    """Somebody else's file, with outputs in it and never run here: bare SVG would be taken out of it."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("from dagflow import Graph, TaskManager\nGraph(TaskManager(abs))")]
    )
    asyncio.run(nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").async_execute())
    nbformat.write(notebook, lab.folder / "work" / "theirs.ipynb")
    lab.open("theirs.ipynb")

    def blue() -> int:
        found = lab.find(f"{CELL} .jp-OutputArea-output:has(img)")
        return lab.colours(found[0]).get("e3eefc", 0) if found else 0

    lab.until(lambda: blue() > 500, "the picture")
