"""Small pictures, letter by letter, and what stands on them."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from dagflow import draw
from dagflow.draw.colours import heat
from dagflow.draw.model import Laid, Overlay, picture
from dagflow.graph.algebra import Graph
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager


def task(name: str, *args: Any, **options: Any) -> TaskManager[Any, Any]:
    return TaskManager(lambda x: x, *args, name=name, **options)


def orders() -> Graph:
    check, save = task("check", "thread", 8), task("save", "process", 2)
    choose = Router(lambda t: "ok", name="choose")
    graph = Graph(task("load") >> check >> choose >> {"ok": task("enrich"), "bad": DROP} >> save, name="orders")
    return graph | (check.failures >> task("log"))


def book() -> Graph:
    pages, lines = Splitter(name="pages"), Splitter(name="lines")
    inner = lines >> task("count") >> Merger(sum, name="page")
    return task("open") >> pages >> inner >> Merger(sum, of=pages, name="book") >> task("report")


def test_text_of_a_line() -> None:
    graph = task("load") >> task("clean", "process", 2) >> task("store", "thread")
    assert draw.to_text(graph) == "load → clean [process x2] → store [thread]"


def test_text_of_branches() -> None:
    assert draw.to_text(orders()) == "\n".join(
        [
            "load → check [thread x8]",
            "├─→ choose [router]",
            "│  ├─ ok → enrich → save [process x2]",
            "│  └─ bad → DROP",
            "└┄ failures → log",
        ]
    )


def test_text_where_ways_meet() -> None:
    graph = task("a") >> [task("b"), task("c")] >> Merger(list, name="m") >> task("d")
    assert draw.to_text(graph) == "\n".join(["a", "├─→ b → m ↓", "└─→ c → m ↓", "m [merger] → d"])


def test_text_of_a_single_label_and_a_single_failures_edge() -> None:
    node = task("a")
    graph = (Router(lambda t: "x", name="r") >> {"x": node}) | (node.failures >> task("log"))
    assert draw.to_text(graph) == "r [router] ─ x → a ┄ failures → log"


def test_long_text_is_wrapped() -> None:
    graph: Graph = Graph(task("step 0"))
    for number in range(1, 100):
        graph = graph >> task(f"step {number}")
    lines = draw.to_text(graph).splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 100
    assert " ".join(line.strip() for line in lines).count("→") == 99


def test_dot() -> None:
    dot = draw.to_dot(orders())
    assert dot.startswith('digraph "orders" {\n')
    assert dot.endswith("}\n")
    assert 'n1 [label="check\\nthread x8", shape=box' in dot
    assert 'n2 [label="choose", shape=diamond' in dot
    assert 'n2 -> n3 [label="ok"];' in dot
    assert 'n2 -> drop2 [label="bad"];' in dot
    assert 'n1 -> n5 [label="failures", style="dashed"];' in dot


def test_mermaid() -> None:
    assert draw.to_mermaid(orders()).splitlines()[:14] == [
        "flowchart LR",
        '    n0("load")',
        '    n1("check<br/>thread x8")',
        '    n2{"choose"}',
        '    n3("enrich")',
        '    n4("save<br/>process x2")',
        '    n5("log")',
        '    drop2(("DROP"))',
        "    n0 --> n1",
        "    n1 --> n2",
        '    n2 -->|"ok"| n3',
        '    n2 -->|"bad"| drop2',
        "    n3 --> n4",
        '    n1 -.->|"failures"| n5',
    ]


def test_boxes_are_nested() -> None:
    mermaid, dot, svg = draw.to_mermaid(book()), draw.to_dot(book()), draw.to_svg(book())
    outer, inner = mermaid.index("subgraph scope0"), mermaid.index("subgraph scope1")
    for node in ("n1", "n5"):  # the outer Splitter and its Merger
        assert outer < mermaid.index(f"        {node}\n", outer) < inner
    for node in ("n2", "n3", "n4"):  # the inner ones, and what is between
        assert inner < mermaid.index(f"            {node}\n", inner) < mermaid.index("end\n")
    assert dot.index("cluster_0") < dot.index("cluster_1")
    assert svg.count('class="dagflow-scope"') == 2
    assert svg.index('data-scope="pages"') < svg.index('data-scope="lines"')


def test_what_is_dropped_in_a_scope_is_in_its_box() -> None:
    router = Router({"good": bool, "bad": lambda t: True}, name="r")
    graph = Splitter(name="s") >> router >> {"good": task("a"), "bad": DROP} >> Merger(list, name="m")
    [box] = picture(graph).boxes
    assert box.members == ("n0", "n1", "n2", "n3", "drop1")


@pytest.mark.parametrize(
    "graph",
    [
        task("a") >> Merger(list, name="no scope to close"),
        Graph(Router(lambda t: "x", name="no branches")),
        Splitter(name="s") >> task("a") >> Router(lambda t: t, name="open end"),
    ],
)
def test_a_graph_that_does_not_pass_its_check_is_drawn_without_boxes(graph: Graph) -> None:
    assert picture(graph).boxes == ()
    for render in (draw.to_dot, draw.to_mermaid, draw.to_text, draw.to_svg):
        for name in graph.names.values():
            assert name in render(graph)


class Colour(enum.Enum):
    RED = 1


def test_labels_of_all_sorts() -> None:
    router = Router(lambda t: t, default=DROP, name="r")
    both = task("both")
    labels: dict[Any, Any] = {Colour.RED: both, 7: both, "": task("empty"), ("a", 1): task("pair")}
    edges = picture(router >> labels).edges
    assert [e.label for e in edges] == ["RED, 7", "''", "('a', 1)", "any other"]


def test_small_print() -> None:
    nodes = picture(
        task("a", "thread")
        >> task("b", worker_limit=1)
        >> Merger(list, size=10, within=2.5, name="window")
        >> Merger(list, of="run", name="all")
    ).nodes
    # A default width is that of the machine, and is not part of the graph.
    assert [n.lines for n in nodes] == [("thread",), (), ("size 10, within 2.5 s",), ("of run",)]


def test_two_edges_between_two_nodes_are_both_drawn() -> None:
    node, handler = task("a"), task("b")
    edges = picture((node >> handler) | (node.failures >> handler)).edges
    assert [(e.label, e.dashed) for e in edges] == [("", False), ("failures", True)]


def test_an_overlay_stands_in_every_picture() -> None:
    over = Overlay(
        nodes={
            "check": Laid(("120 done, 25% busy",), "3 failed", 0.25),
            "save": Laid(("7 done",), "", 1.0, limiting=True),
        },
        counts={("choose", "ok", "enrich"): 1234, ("load", "", "check"): 7, ("choose", "bad", "DROP"): 3},
        caption="10 source tasks in 1.00 s",
    )
    drawn = picture(orders(), over)
    for render in (draw.to_dot, draw.to_text, draw.to_svg):
        shown = render(drawn)
        for words in (
            "120 done, 25% busy",
            "3 failed",
            "ok: 1,234",
            "bad: 3",
            "bottleneck",
            "10 source tasks in 1.00 s",
        ):
            assert words in shown
    mermaid = draw.to_mermaid(drawn)
    assert 'n1("check<br/>thread x8<br/>120 done, 25#37;#32;busy<br/>3 failed")' in mermaid
    assert "    style n4 fill:#ffa96b,stroke:#b3261e,stroke-width:3px" in mermaid
    assert draw.to_text(drawn).startswith("load ─ 7 → check [thread x8] (120 done, 25% busy, 3 failed)\n")
    assert 'n4 [label="save\\nprocess x2\\n7 done\\nbottleneck"' in draw.to_dot(drawn)


def test_the_colour_of_a_node_says_how_busy_it_is() -> None:
    assert heat(0.0) == "#f4f6f8"
    assert heat(0.5) == "#ffe39e"
    assert heat(1.0) == heat(7.0) == "#ffa96b"
    red = [int(heat(step / 10)[5:], 16) for step in range(11)]
    assert red == sorted(red, reverse=True)  # the bluer, the less


def test_labels_that_share_an_arrow_share_a_count() -> None:
    node = task("a")
    over = Overlay(counts={("r", "x", "a"): 2, ("r", "y", "a"): 3})
    [edge] = picture(Router(lambda t: "x", name="r") >> {"x": node, "y": node}, over).edges
    assert edge.text == "x, y: 5"


def test_deep_graphs_go_downwards_where_they_cannot_be_folded() -> None:
    deep: Any = Splitter(name="s")
    for number in range(20):
        deep = deep >> task(f"step {number}")
    deep = deep >> Merger(list, name="m")
    assert draw.to_mermaid(deep).startswith("flowchart TD\n")
    assert "rankdir=TB" in draw.to_dot(deep)
    assert draw.to_mermaid(orders()).startswith("flowchart LR\n")
    assert "rankdir=LR" in draw.to_dot(orders())


def test_the_same_graph_gives_the_same_picture() -> None:
    for render in (draw.to_dot, draw.to_mermaid, draw.to_text, draw.to_svg):
        assert render(orders()) == render(orders())
        assert render(book()) == render(book())
