"""The notebooks are true: their cells run, one after the other, as a kernel would run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

KERNEL = """
import json, sys
for source in json.load(sys.stdin):
    exec(compile(source, "<cell>", "exec"), globals())
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    """Functions of cells live in ``__main__`` and have no file: the hard case for worker processes."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        input=json.dumps(sources),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "source tasks in" in done.stdout
    assert "failed FileNotFoundError" in done.stdout


def test_there_are_notebooks_without_stored_outputs() -> None:
    """Stored outputs grow old; the diff of a notebook should show what was written."""
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(c.get("outputs") for c in cells)
