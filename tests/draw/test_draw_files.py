"""Files by suffix, the programs they need, and the notebook's bundle."""

from __future__ import annotations

import base64
import re
import shutil
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from dagflow import draw
from dagflow.draw import xdot
from dagflow.draw.model import picture
from dagflow.draw.paint import paint
from dagflow.errors import BackendError
from dagflow.graph.algebra import Graph
from dagflow.graph.task_manager import TaskManager


@pytest.fixture
def graph() -> Graph:
    return TaskManager(len, name="é <a>") >> TaskManager(len, name="b")


def test_texts_by_suffix(graph: Graph, tmp_path: Path) -> None:
    for suffix, content in {
        ".svg": draw.to_svg(graph),
        ".dot": draw.to_dot(graph),
        ".gv": draw.to_dot(graph),
        ".mmd": draw.to_mermaid(graph),
        ".txt": draw.to_text(graph) + "\n",
        ".SVG": draw.to_svg(graph),
    }.items():
        path = draw.draw(graph, str(tmp_path / f"picture{suffix}"))
        assert path == tmp_path / f"picture{suffix}"
        assert path.read_text(encoding="utf-8") == content
        assert draw.draw(graph, path) == path  # over what is there
    assert len(list(tmp_path.iterdir())) == 6  # and nothing is left beside


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "svg"])
def test_another_suffix_is_refused(graph: Graph, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(".svg .png .pdf .dot .gv .mmd .txt")):
        draw.draw(graph, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        draw.draw(graph, tmp_path / "no" / "picture.svg")


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_without_graphviz_the_error_names_the_remedies(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(BackendError, match=r"`dot`.*pygraphviz.*\.svg"):
        draw.draw(graph, tmp_path / f"picture{suffix}")
    assert not list(tmp_path.iterdir())


def test_pygraphviz_draws_where_there_is_no_program(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AGraph:
        def __init__(self, string: str) -> None:
            self.source = string

        def draw(self, *, format: str, prog: str) -> bytes:
            return f"{format} {prog} {self.source}".encode()

    stand_in: Any = types.ModuleType("pygraphviz")
    stand_in.AGraph = AGraph
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pygraphviz", stand_in)
    path = draw.draw(graph, tmp_path / "picture.pdf")
    assert path.read_text(encoding="utf-8") == f"pdf neato {xdot.render(picture(graph))}"


def test_a_program_that_fails_is_an_error_that_says_so(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no such format >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="no such format"):
        draw.draw(graph, tmp_path / "picture.png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not there")
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_png_and_pdf(graph: Graph, tmp_path: Path, suffix: str, magic: bytes) -> None:
    assert draw.draw(graph, tmp_path / f"picture{suffix}").read_bytes().startswith(magic)


@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not there")
def test_a_png_is_as_large_as_the_svg_at_two_dots_a_pixel(graph: Graph, tmp_path: Path) -> None:
    big: Any = graph
    for number in range(100):  # far more than Graphviz reads as one string
        big = big >> TaskManager(len, name=f"step {number}")
    data = draw.draw(big, tmp_path / "picture.png").read_bytes()
    size = struct.unpack(">II", data[16:24])
    painting = paint(picture(big))
    assert size == pytest.approx((2 * painting.width, 2 * painting.height), abs=4)


def test_the_bundle(graph: Graph) -> None:
    bundle = draw.mimebundle(graph)
    assert list(bundle) == ["image/svg+xml", "text/html", "text/plain"]
    assert bundle["image/svg+xml"] == draw.to_svg(graph)
    assert bundle["text/plain"] == draw.to_text(graph)
    found = re.fullmatch(r'<img alt="([^"<>]+)" src="data:image/svg\+xml;base64,([\w+/=]+)">', bundle["text/html"])
    assert found
    assert found[1] == "Graph: 2 nodes, 1 edge"
    assert base64.b64decode(found[2]).decode("utf-8") == bundle["image/svg+xml"]


def test_the_faces_of_a_graph(graph: Graph, tmp_path: Path) -> None:
    assert graph.to_svg() == draw.to_svg(graph)
    assert graph.to_dot() == draw.to_dot(graph)
    assert graph.to_mermaid() == draw.to_mermaid(graph)
    assert graph.to_text() == draw.to_text(graph)
    assert graph._repr_mimebundle_() == draw.mimebundle(graph)
    assert graph.draw(tmp_path / "a.txt") == tmp_path / "a.txt"


def test_importing_the_package_loads_no_renderer() -> None:
    code = "import sys, dagflow.draw; print([m for m in sys.modules if 'draw.' in m or 'graph' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
