"""Facts of the layout: to the right, apart, boxes around what is theirs, and fast."""

from __future__ import annotations

import itertools
import random
import sys
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dagflow import draw
from dagflow.draw.layout import Layout, Rect, lay_out
from dagflow.draw.model import Picture, PictureEdge, PictureNode, picture
from dagflow.graph.algebra import Graph
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager

NEARLY = 0.01
KINDS = ("task", "split", "route", "merge", "drop")


def task(name: str) -> TaskManager[Any, Any]:
    return TaskManager(lambda x: x, name=name)


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Any DAG, any labels, any names."""
    count = draw(st.integers(1, 14))
    names = st.text("abcdefgh 日", min_size=1, max_size=30)
    lines = st.lists(st.text("abc", max_size=9), max_size=2).map(tuple)
    nodes = tuple(PictureNode(f"n{i}", draw(names), draw(st.sampled_from(KINDS)), draw(lines)) for i in range(count))
    numbers = draw(st.permutations(range(count)))  # the order written need not be that of the edges
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1), st.sampled_from(["", "failures", "x" * 20]))
    edges: dict[tuple[str, str, bool], PictureEdge] = {}
    for a, b, label in draw(st.lists(pairs, max_size=30)):
        if a != b:
            source, target = (f"n{numbers[i]}" for i in sorted((a, b)))
            dashed = label == "failures"
            edges[source, target, dashed] = PictureEdge(source, target, label, dashed)
    return Picture(None, nodes, tuple(edges.values()))


def check(drawn: Picture, layout: Layout) -> None:
    place = {node.id: rect for node, rect in zip(drawn.nodes, layout.nodes, strict=True)}
    for edge, route in zip(drawn.edges, layout.edges, strict=True):
        source, target = place[edge.source], place[edge.target]
        assert source.right < target.x
        xs = [x for x1, x2, _ in route.stretches for x in (x1, x2)]
        assert all(a <= b + NEARLY for a, b in itertools.pairwise(xs))
        assert abs(xs[0] - source.right) < NEARLY
        assert abs(route.stretches[0][2] - source.middle) < NEARLY
        if route.ends:
            assert abs(xs[-1] - target.x) < NEARLY
            assert abs(route.stretches[-1][2] - target.middle) < NEARLY
        assert (route.label is not None) == bool(edge.text)
    labels = [route.label for route in layout.edges if route.label is not None]
    for one, other in itertools.combinations([*layout.nodes, *labels], 2):
        assert not one.grown(-NEARLY).meets(other)
    check_edges_keep_off(drawn, layout)
    frame = Rect(0, 0, layout.width, layout.height)
    assert all(r.x >= 0 and r.y >= 0 and r.right <= frame.right and r.bottom <= frame.bottom for r in place.values())


def check_edges_keep_off(drawn: Picture, layout: Layout) -> None:
    """No level stretch of an edge runs through a node or through another edge's label."""
    for edge, route in zip(drawn.edges, layout.edges, strict=True):
        others = [r for n, r in zip(drawn.nodes, layout.nodes, strict=True) if n.id not in (edge.source, edge.target)]
        others += [r.label for r in layout.edges if r.label is not None and r is not route]
        for x1, x2, y in route.stretches:
            line = Rect(x1, y - NEARLY, max(x2 - x1, NEARLY), 2 * NEARLY)
            assert not any(line.meets(other.grown(-2 * NEARLY)) for other in others)


@given(pictures())
@settings(max_examples=150, deadline=None)
def test_edges_lead_right_and_nothing_overlaps(drawn: Picture) -> None:
    check(drawn, lay_out(drawn))


@given(pictures())
@settings(max_examples=20, deadline=None)
def test_the_layout_is_the_same_each_time(drawn: Picture) -> None:
    assert lay_out(drawn) == lay_out(drawn)


def scopes() -> Graph:
    def scope(name: str, inner: Any) -> Graph:
        split = Splitter(name=f"split {name}")
        return split >> inner >> Merger(list, of=split, name=f"merge {name}")

    choose = Router({"x": bool, "y": bool, "z": bool}, name="choose")
    routed = choose >> {"x": task("x"), "y": task("y") >> task("y2"), "z": DROP}
    parts = [
        scope("b", task("b1") >> task("b2")),
        scope("c", [task("c1"), task("c2")]),
        scope("d", routed),
        task("e"),
    ]
    work = task("work")
    graph = task("in") >> [scope("a", parts), scope("f", work)] >> task("out")
    return graph | (work.failures >> task("oops"))


def test_boxes_hold_their_nodes_and_no_others() -> None:
    drawn = picture(scopes())
    layout = lay_out(drawn)
    check(drawn, layout)
    assert len(drawn.boxes) == 5
    assert None not in layout.boxes
    for box, around in zip(drawn.boxes, layout.boxes, strict=True):
        assert around is not None
        for node, rect in zip(drawn.nodes, layout.nodes, strict=True):
            if node.id in box.members:
                assert around.x < rect.x < rect.right < around.right
                assert around.y < rect.y < rect.bottom < around.bottom
            else:
                assert not around.meets(rect)


def test_a_chain_with_one_handler_of_failures_stays_level() -> None:
    nodes = [task(f"step {i}") for i in range(40)]
    graph: Graph = Graph(nodes[0])
    for node in nodes[1:]:
        graph = graph >> node
    handler = task("dead letters")
    for node in nodes:
        graph = graph | (node.failures >> handler)
    layout = lay_out(picture(graph))
    assert layout.height < 160
    levels = {round(rect.middle) for rect in layout.nodes[:35]}
    assert len(levels) == 1


def test_branches_stand_as_written_and_sources_by_what_they_feed() -> None:
    a, b, c, d = (task(name) for name in "abcd")
    layout = lay_out(picture((a >> [b, c] >> Merger(list, name="m")) | (d >> task("x") >> task("y"))))
    assert layout.nodes[1].middle < layout.nodes[2].middle
    late = task("late")
    layout = lay_out(picture((a >> b >> c) | (late >> c)))
    assert layout.nodes[3].x == layout.nodes[1].x + (layout.nodes[1].width - layout.nodes[3].width) / 2


def test_a_hundred_nodes_take_no_time() -> None:
    rng = random.Random(7)
    nodes = tuple(PictureNode(f"n{i}", f"node {i}", "task") for i in range(100))
    pairs = {(rng.randrange(max(0, i - 25), i), i) for i in range(1, 100) for _ in range(2)}
    drawn = Picture(None, nodes, tuple(PictureEdge(f"n{a}", f"n{b}") for a, b in sorted(pairs)))
    draw.to_svg(drawn)
    spent = []
    for _ in range(3):
        began = time.process_time()
        svg = draw.to_svg(drawn)
        spent.append(time.process_time() - began)
    assert svg.count("data-node=") == 100
    assert min(spent) < (0.1 if sys.gettrace() is None else 2.0)  # a tracer makes it many times slower
    check(drawn, lay_out(drawn))
