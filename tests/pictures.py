"""The pictures of README and gallery, drawn by dagflow itself.

``python tests/pictures.py`` draws those of graphs anew, ``--run`` also that of a run, ``--notebook`` also that of a
notebook in JupyterLab. The tests check that what is committed is what would be drawn (``test_pictures``).
"""

from __future__ import annotations

import re
import runpy
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
IMAGES = EXAMPLES / "images"
RUN, NOTEBOOK = IMAGES / "demo-run.svg", IMAGES / "notebook.png"


class Begun(BaseException):
    """A script begins its first run: its graph is what was wanted."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph


@contextmanager
def stopped_at_the_first_run() -> Iterator[None]:
    api = import_module("dagflow.api")
    ways = ("run", "stream", "arun", "astream", "open_run")
    before = {way: getattr(api, way) for way in ways}

    def begin(graph: Any, *args: Any, **options: Any) -> None:
        raise Begun(graph)

    try:
        for way in ways:
            setattr(api, way, begin)
        yield
    finally:
        for way, function in before.items():
            setattr(api, way, function)


def first_graph(begin: Any) -> Any:
    """The graph that is run first by what ``begin()`` does."""
    with stopped_at_the_first_run():
        try:
            begin()
        except Begun as begun:
            return begun.graph
    raise AssertionError("nothing was run")


def of_example(path: Path) -> Any:
    return first_graph(lambda: runpy.run_path(str(path), run_name="example"))


def readme_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def drawn() -> dict[str, Any]:
    """Each picture of a graph: its name and the graph."""
    blocks = readme_blocks()
    found = {
        f"readme-{number}": first_graph(lambda block=block: exec(block, {}))
        for number, block in enumerate(blocks[:2], 1)
    }
    found["demo"] = import_module("dagflow.demo").build()
    for path in sorted(EXAMPLES.rglob("*.py")):
        found[path.relative_to(EXAMPLES).with_suffix("").as_posix().replace("/", "-")] = of_example(path)
    return found


def draw_run() -> None:
    """The demo's run, with what it counted on this machine."""
    demo = import_module("dagflow.demo")
    demo.build().run(demo.packages(sysconfig.get_path("stdlib"))).draw(RUN)


def main(arguments: list[str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    for name, graph in drawn().items():
        graph.draw(IMAGES / f"{name}.svg")
    if "--run" in arguments:
        draw_run()
    if "--notebook" in arguments:
        import_module("notebook_picture").take(NOTEBOOK)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(sys.argv[1:])
