"""Takes the README's picture of a run that is watched in JupyterLab."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from test_jupyterlab import CELL, Lab

CODE = """
import sysconfig
from dagflow.demo import build, packages

result = build().run(packages(sysconfig.get_path("stdlib")), show_progress=True)
""".strip()
SETUP = "from loguru import logger; logger.remove()"


def take(path: Path) -> None:
    """Run the demo's graph in a notebook, and keep what a reader sees of the cell in the midst of it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lab = Lab(Path(folder))
        try:
            cells = [nbformat.v4.new_code_cell(code) for code in (SETUP, CODE)]
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "work" / "run.ipynb")
            lab.start()
            lab.browser.set_window_size(1500, 1500)
            lab.open("run.ipynb")
            lab.run(0)
            cell = lab.run(1)
            lab.until(lambda: "running, 5" in cell.text, "the midst of the run")
            lab.browser.execute_script("arguments[0].blur()", lab.find(f"{CELL} .cm-content")[1])
            path.write_bytes(cell.screenshot_as_png)
        finally:
            lab.stop()
