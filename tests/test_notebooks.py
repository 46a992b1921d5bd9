"""The notebooks are true: a kernel runs them from the first cell to the last, and they show what they speak of."""

from __future__ import annotations

import asyncio
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra test)")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra test)")
pytest.importorskip("ipywidgets", reason="ipywidgets is not installed (extra notebook)")

FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
PICTURE = re.compile(r'<img alt="[^"]*" src="data:image/svg\+xml;base64,')

SAYS = {
    "1_first_graph.ipynb": (
        r"'lines': \d+, 'functions': \d+",
        r"FileNotFoundError\(2, 'No such file or directory'\)",
        r"25 done, 1 failed",
        r"report \[merger\]",
    ),
    "2_split_route_join.ipynb": (
        r"'json': \d+",
        r"empty: \d+ → DROP",
        r"json     encoder\._make_iterencode has \d+ lines",
        r"asyncio failed \d+ members? failed: ValueError: \w+\.py brings bad luck at node 'fragile'",
        r"\d+ noted, first: check: \w+\.py brings bad luck \(attempt 1\)",
        r"attempts after the first: \d\d",
        r"means: \[1\.5, 5\.5, 8\.5\]",
    ),
    "3_speed.ipynb": (
        r"read:  thread   x16  \d+\.\d\d s",
        r"read \(36 done, (100|\d\d)% busy, bottleneck\)",
        r"finished \d+",
        r"squares +[\d,]+ tasks a second",
        r"24 after \d\.\d s",
        r"TaskTimeout\(.source task 3 ran longer than the timeout of 0\.5 s",
    ),
    "4_resume_and_trace.ipynb": (
        r"ended by signal 9",
        r"the last run was interrupted",
        r"([89]|1\d) files have ended, \d\d have not",
        r"36 files, ([89]|1\d) of them as they had ended before",
        r"\['interrupted', 'finished', 'finished'\]",
        r"is of another graph: node 'functions': the code of its function has changed",
        r"redone: node 'functions'",
        r"\[0\.1-\d\] '.*/email/errors\.py'  failed",
        r"0\.1-\d at longest_function attempt 1 in worker \d+",
        r"error: ValueError: max\(\) arg is an empty sequence",
        r"\('decoder\.py', \[\(1, 'retried'\), \(2, 'done'\)\]\)",
        r"longest_function after 1 attempt: ValueError",
        r"\{'email': \d+, 'html': \d+, 'json': \d+\} \{'done': 3\}",
        r"2 packages as they were",
        r"\d+ of 60 tasks traced",
        r"'look_up' limits the run: its one worker was busy (100|\d\d)% of the time",
        r"\d\.\d s before, \d\.\d s now",
    ),
}


def texts(cell: Any) -> list[str]:
    """What a cell has printed and shown, as plain text."""
    found = []
    for output in cell.outputs:
        found.append(output.get("text", "") + output.get("data", {}).get("text/plain", ""))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_runs_the_notebook(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    mark = uuid.uuid4().hex
    client = nbclient.NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
        coalesce_streams=True,  # a line may come in two parts
    )
    asyncio.run(client.async_execute(env={**os.environ, "DAGFLOW_TEST": mark}))  # `execute` leaves its loop open
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "\n".join(text for cell in cells for text in texts(cell))
    for expected in SAYS[name]:
        assert re.search(expected, said), f"{expected} is not in:\n{said}"
    shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
    assert any(PICTURE.match(data.get("text/html", "")) for data in shown)
    assert not any("application/vnd.jupyter.widget-view+json" in data for data in shown)  # no button is left behind
    left = [p for p in psutil.process_iter() if environment(p).get("DAGFLOW_TEST") == mark]
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def test_every_notebook_is_looked_at() -> None:
    assert sorted(SAYS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_no_stored_outputs(name: str) -> None:
    """Stored outputs grow old; the diff of a notebook should show what was written."""
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
