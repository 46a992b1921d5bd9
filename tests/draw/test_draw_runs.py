"""A run laid over its graph: counts, failures, tasks on edges, busy shares and the bottleneck; tables in notebooks."""

from __future__ import annotations

import html.parser
import random
import re
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagflow.busy import Busy
from dagflow.draw.model import picture
from dagflow.draw.overlay import overlay_of
from dagflow.graph.algebra import Graph
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager
from dagflow.observe.case import Case, Part
from dagflow.observe.verdict import busy, verdict
from dagflow.testing.graphs import random_graph
from dagflow.testing.simulate import simulate

SVG = "{http://www.w3.org/2000/svg}"


def reciprocal(number: int) -> float:
    return 1 / number


def by_size(number: float) -> str:
    return "large" if number >= 0.2 else "small"


def orders() -> Graph:
    """Splits 1..n, halves fail at 0, routes, drops, merges; failures are logged."""
    split = Splitter(range, name="split")
    work = TaskManager(reciprocal, name="work")
    route = Router(by_size, name="size")
    log = TaskManager(str, name="log")
    graph = split >> work >> route >> {"large": TaskManager(round, name="round"), "small": DROP}
    return graph >> Merger(sum, name="sum", on_missing="skip") | (work.failures >> log)


def edges_of(drawn: Any) -> dict[tuple[str, str], str]:
    names = {node.id: node.name for node in drawn.nodes}
    return {(names[edge.source], names[edge.target]): edge.text for edge in drawn.edges}


def test_tasks_on_edges_and_counts_on_nodes() -> None:
    result = orders().run([3, 10, 0], "serial")
    drawn = result._picture()
    assert edges_of(drawn) == {
        ("split", "work"): "13",
        ("work", "size"): "11",
        ("work", "log"): "failures: 2",
        ("size", "round"): "large: 7",
        ("size", "DROP"): "small: 4",
        ("round", "sum"): "7",
    }
    laid = {node.name: node.laid for node in drawn.nodes if node.laid is not None}
    assert laid["work"].lines[0].startswith("11 done, ")
    assert laid["work"].alarm == "2 failed"
    assert laid["size"].lines[1] == "4 dropped"
    assert laid["round"].alarm == ""
    assert drawn.caption.startswith("3 source tasks in ")
    assert drawn.caption.endswith(" s: 3 done")


@given(st.integers(0, 10**6), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_what_arrives_is_what_was_sent(seed: int, deaths: int) -> None:
    """On any graph, in any order of things: the counts of the edges into a node add up to what it received."""
    chance = random.Random(seed)
    graph = random_graph(chance.randrange, modes=("serial", "thread", "process", "async"))
    tasks = [chance.randrange(1000) for _ in range(chance.randrange(12))]
    result = simulate(graph, tasks, seed, deaths=deaths)
    plan, nodes = graph.check(), result.snapshot.nodes
    arrived = dict.fromkeys((node.name for node in nodes), 0)
    for target in plan.source.targets:
        arrived[nodes[target].name] += result.snapshot.admitted
    for (_, _, target), count in overlay_of(plan, result.snapshot, result.busy()).counts.items():
        if target != "DROP":
            arrived[target] += count
    assert arrived == {node.name: node.received for node in nodes}


def slow(number: int) -> int:
    return sum(step % 7 for step in range(100_000)) * 0 + number


def marked(svg: str) -> list[str | None]:
    return [g.get("data-node") for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("data-limiting")]


@pytest.mark.parametrize("backend", ["serial", "thread", "process"])
def test_the_bottleneck_is_marked_in_pictures_and_tables(backend: str) -> None:
    graph = TaskManager(abs, name="fast") >> TaskManager(slow, name="slow")
    result = graph.run(range(60), backend)
    assert result.explain().startswith("'slow' limits the run")
    assert marked(result.to_svg()) == ["slow"]
    shares = dict(zip(("fast", "slow"), result.busy().shares, strict=True))
    assert shares["slow"] > 0.5 > shares["fast"]
    assert f"{shares['slow']:.0%} busy" in result.to_svg()
    for shown in (result.to_text(), result.to_mermaid(), result.to_dot(), result.summary()._repr_html_()):
        assert shown.count("bottleneck") == 1


def case(*parts: tuple[str, float, int], span: float = 10.0, **more: Any) -> Case:
    return Case(tuple(Part(name, "process", width, 50, work) for name, work, width in parts), span, **more)


def test_what_is_marked_is_what_the_words_name() -> None:
    both = case(("fast", 2.0, 1), ("slow", 9.0, 1), ("wide", 30.0, 8))
    assert busy(both) == Busy((0.2, 0.9, 0.375), 1)
    assert verdict(both).startswith("'slow' limits the run")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (case(("a", 3.0, 1), ("b", 4.0, 1)), "though no node was busy for most of the time"),
        (case(("a", 6.0, 1), source=0.9), "the source of the tasks limits the run"),
        (case(), "nothing limits the run"),
    ],
)
def test_nothing_is_marked_where_no_node_has_too_much_to_do(given: Case, says: str) -> None:
    assert says in verdict(given)
    assert busy(given).limits is None


def test_the_faces_of_a_result(tmp_path: Path) -> None:
    result = orders().run([3], "serial")
    for suffix in (".svg", ".dot", ".mmd", ".txt"):
        path = result.draw(tmp_path / f"run{suffix}")
        assert path == tmp_path / f"run{suffix}"
        assert "2 done" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(".svg")):
        result.draw(tmp_path / "run.bmp")
    assert result.draw(tmp_path / "run.svg").read_text(encoding="utf-8") == result.to_svg() == result.to_svg()


class Reader(html.parser.HTMLParser):
    """Tags opened and closed, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class Hostile:
    def __repr__(self) -> str:
        return "<script>alert('task')</script>"


def refuse(task: Any) -> Any:
    raise ValueError("<b>bold & loud</b>")


def test_a_result_in_a_notebook_is_a_picture_a_table_and_its_failures() -> None:
    result = Graph(TaskManager(refuse, name="<i>node</i>")).run([Hostile() for _ in range(8)], "thread")
    bundle = result._repr_mimebundle_()
    assert list(bundle) == ["image/svg+xml", "text/html", "text/plain"]
    assert bundle["image/svg+xml"] == result.to_svg()
    read = Reader(bundle["text/html"])
    assert set(read.seen) == {"img", "table", "thead", "tbody", "tr", "th", "td", "b", "span", "ul", "li", "code"}
    assert "<i>node</i>" in read.text
    assert "<script>alert('task')</script>: ValueError('<b>bold & loud</b>')" in read.text
    assert "and 3 more" in read.text
    assert str(result.summary()) in bundle["text/plain"]
    assert result.to_text() in bundle["text/plain"]


def test_a_summary_is_a_text_and_a_table_in_a_notebook() -> None:
    summary = orders().run([3, 10], "serial").summary()
    assert isinstance(summary, str)
    assert summary.splitlines()[0].split()[:2] == ["node", "received"]
    read = Reader(summary._repr_html_())
    assert read.seen.count("tr") == 7
    assert "2 source tasks in" in read.text
    assert "13" in read.text


def test_a_live_run_is_drawn_as_it_is_now() -> None:
    """Three tasks are held inside the function while the picture is drawn."""
    inside, go = threading.Semaphore(0), threading.Event()

    def wait(task: int) -> int:
        inside.release()
        go.wait(30)
        return task

    graph = Graph(TaskManager(wait, "thread", 2, name="wait"))
    with graph.open("thread") as run:
        try:
            for task in range(3):
                run.submit(task)
            inside.acquire(timeout=30)
            inside.acquire(timeout=30)
            text, svg = run.to_text(), run.to_svg()
            bundle = run._repr_mimebundle_()
        finally:
            go.set()
    assert "running, " in text
    assert re.search(r"wait \[thread x2\] \(0 done, 0% busy, \d waiting, [23] running\)", text)
    assert "running" in svg
    assert list(bundle) == ["image/svg+xml", "text/html", "text/plain"]
    assert "3 done" in run.to_text()
    assert "0 of" not in run.to_text()


def test_a_stopped_run_is_drawn_too() -> None:
    run = Graph(TaskManager(abs, name="a")).open("thread")
    run.cancel()
    run.close()
    result = run.wait(30)
    assert "0 source tasks in" in result.to_text()


def test_a_picture_without_a_run_has_no_overlay() -> None:
    drawn = picture(orders())
    assert drawn.caption == ""
    assert all(node.laid is None for node in drawn.nodes)
    assert all(edge.count is None for edge in drawn.edges)
