"""Names may hold anything; in each language they stay names, and nothing else of the picture changes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagflow import draw
from dagflow.draw import xdot
from dagflow.draw.model import picture
from dagflow.draw.words import cut, visible, width
from dagflow.graph.algebra import Graph
from dagflow.graph.router import Router
from dagflow.graph.task_manager import TaskManager

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "quote \" and ' and `tick`",
    "<script>alert(1)</script> & <b>",
    "&lt;&#34;&quot;#34;#quot;",
    "two\nlines\r\nand\ttab",
    "back\\slash\\n and \\",
    "]end[ {x} (y) |z| end",
    "end",
    "subgraph",
    'n0["x"] --> n1; click n0 href "javascript:x"',
    "%%{init: {}}%% --> ---",
    "1. list",
    "- list",
    "# head",
    "__init__ *b* $$x$$ www.example.com a@b.c",
    "日本語 é ünï 👩‍🔬",
    "\u202eright to left\u2028line",
    "null \x00 bell \x07 escape \x1b[31m \x7f",
    "lone \ud800 surrogate and \ufffe",
    "]]> <!-- x --> <?php",
    " ",
]


def graph_of(names: list[str]) -> Graph:
    first, *others = [TaskManager(len, name=name) for name in names]
    graph = Graph(first, name=names[-1])
    for node in others:
        graph = graph >> node
    return graph >> Router(lambda t: names[0], name="the router") >> {name: TaskManager(len) for name in names}


def check_svg(names: list[str]) -> None:
    svg = draw.to_svg(graph_of(names))
    root = ET.fromstring(svg.encode("utf-8"))
    nodes = [g for g in root.iter(f"{SVG}g") if g.get("class") == "dagflow-node"]
    for node, name in zip(nodes, names, strict=False):
        xml_cannot = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
        assert node.get("data-node") == xml_cannot.sub("\ufffd", name)
        [text] = node.findall(f"{SVG}text")
        assert text.text == cut(visible(name), 36)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "g", "path", "rect", "text", "polygon", "circle")
    }


def test_svg() -> None:
    check_svg(HOSTILE)


@given(st.lists(st.text(st.characters(), min_size=1, max_size=12), min_size=1, max_size=4, unique=True))
def test_svg_of_any_names(names: list[str]) -> None:
    check_svg([name if name != "the router" else "a" for name in names])


def test_svg_asks_for_nothing_outside() -> None:
    svg = draw.to_svg(graph_of(["a", "b"]))
    assert svg.count("http") == 1  # the name of the language
    for word in ("href", "<script", "<style", "url(", "<image", "<use", "foreignObject", " id="):
        assert word not in svg


def test_svg_says_what_it_is() -> None:
    root = ET.fromstring(draw.to_svg(Graph(graph_of(["a", "b"]), name="a & b")))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "a & b: 5 nodes, 4 edges"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == root.get("aria-label")
    assert (root.get("viewBox") or "").split()[2:] == [root.get("width"), root.get("height")]


def dot_strings(dot: str) -> list[str]:
    """All quoted strings, as Graphviz's own grammar cuts them."""
    return re.findall(r'"((?:[^"\\]|\\.)*)"', dot)


def test_dot_without_the_program() -> None:
    dot = draw.to_dot(graph_of(HOSTILE))
    nothing_left = re.sub(r'"(?:[^"\\]|\\.)*"', "", dot)
    assert '"' not in nothing_left
    assert re.fullmatch(r"[\w\s{}\[\];=,.>()-]*", nothing_left)
    dot.encode("utf-8")


@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not there")
def test_dot_with_the_program() -> None:
    source = draw.to_dot(graph_of(HOSTILE)).encode("utf-8")
    done = subprocess.run(["dot", "-Tjson"], input=source, capture_output=True, check=True)
    drawn = json.loads(done.stdout)
    nodes = [o for o in drawn["objects"] if o["name"].startswith("n")]
    for node, name in zip(nodes, HOSTILE, strict=False):
        texts = [op["text"] for op in node["_ldraw_"] if op["op"] == "T"]
        assert texts == ([visible(name)] if visible(name).strip() else texts)
    assert len(nodes) == 2 * len(HOSTILE) + 1


def test_the_source_of_files() -> None:
    source = xdot.render(picture(graph_of(HOSTILE)))
    nothing_left = re.sub(r'"(?:[^"\\]|\\.)*"', "", source)
    assert '"' not in nothing_left
    assert re.fullmatch(r"[\w\s{}\[\]=;,+.]*", nothing_left)
    [background] = re.findall(r"_background=(.*);$", source, re.M)
    assert re.fullmatch(r'[\w\s"+.#()-]*', background)  # numbers, colours and styles: no text of anybody's


@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not there")
def test_the_source_of_files_with_the_program() -> None:
    source = xdot.render(picture(graph_of(HOSTILE))).encode("utf-8")
    done = subprocess.run(["dot", "-Kneato", "-Tjson"], input=source, capture_output=True, check=True)
    shown = {op["text"] for o in json.loads(done.stdout)["objects"] for op in o.get("_ldraw_", []) if op["op"] == "T"}
    assert {cut(visible(name), 36) for name in HOSTILE if name.strip()} <= shown


def test_mermaid() -> None:
    names = HOSTILE
    mermaid = draw.to_mermaid(graph_of(names))
    labels = re.findall(r'^    n\d+[({\[\\/]+"(.*)"[)}\]\\/]+$', mermaid, re.M)
    for label, name in zip(labels, names, strict=False):
        assert re.fullmatch(r"(?:[^\x00-\x7f]|[0-9A-Za-z]|(?<=\w)[ ,_-]|(?<=,) |#\d+;)*", label)
        assert re.sub(r"#(\d+);", lambda m: chr(int(m[1])), label) == visible(name)
    without_labels = re.sub(r'"[^"\n]*"', "", mermaid)
    line = r"(flowchart TD|    (n\d+\W+|n\d+ -->(\|\|)? n\d+|classDef \S+ \S+|class [\w,]+ \w+))"
    assert all(re.fullmatch(line, each) for each in without_labels.splitlines())


def test_text_is_a_line_a_line() -> None:
    graph = TaskManager(len, name="a\nb") >> TaskManager(len, name="c\x1b[0m\u2028")
    assert draw.to_text(graph) == "a\\nb → c\\x1b[0m\\u2028"


def test_a_label_whose_repr_raises_is_drawn() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    text = draw.to_text(Router(lambda t: t, name="r") >> {Bad(): TaskManager(len), "x": TaskManager(len)})
    assert "<Bad instance at" in text


def test_words() -> None:
    assert width("日本e\u0301") == 5
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert width(cut("日本語日本語", 6)) <= 6
