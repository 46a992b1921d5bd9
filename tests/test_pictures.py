"""The committed pictures are what would be drawn today."""

from __future__ import annotations

import re
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pictures import IMAGES, NOTEBOOK, RUN, drawn

from dagflow.demo import build

SVG = "{http://www.w3.org/2000/svg}"
AGAIN = "draw them anew with `python tests/pictures.py`"


def test_the_pictures_of_graphs_are_up_to_date() -> None:
    found = {f"{name}.svg": graph.to_svg() for name, graph in drawn().items()}
    committed = {path.name: path.read_text(encoding="utf-8") for path in IMAGES.glob("*.svg") if path != RUN}
    assert sorted(committed) == sorted(found), AGAIN
    for name, svg in found.items():
        assert committed[name] == svg, f"{name} has changed: {AGAIN}"


def skeleton(svg: str) -> list[tuple[str | None, ...]]:
    """What is drawn, without the numbers that a run has laid over."""
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        parts = [group.get(f"data-{name}") for name in ("node", "kind", "source", "target", "scope")]
        if any(parts):
            found.append(tuple(parts))
    return sorted(found, key=str)


def test_the_picture_of_the_demos_run_is_of_its_graph() -> None:
    """Its numbers are those of one run on one machine; its nodes, edges and box are the demo's of today."""
    svg = RUN.read_text(encoding="utf-8")
    assert skeleton(svg) == skeleton(build().to_svg()), f"{AGAIN} --run"
    assert re.search(r"[\d,]+ source tasks in \d+\.\d\d s: \d+ done", svg)
    assert svg.count('data-limiting="true"') == 1


def test_the_picture_of_the_notebook_is_one() -> None:
    data = NOTEBOOK.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 800
    assert height > 500


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.svg")), ids=lambda path: path.stem)
def test_pictures_ask_for_nothing_outside(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("http") == 1  # the name of the language
