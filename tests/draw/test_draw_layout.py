"""Facts of the layout: to the right, apart, boxes around what is theirs, and fast."""

from __future__ import annotations

import itertools
import random
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dagflow import draw
from dagflow.draw.layout import Layout, Rect, Route, lay_out
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
        assert layout.rows > 1 or source.right < target.x
        assert layout.rows > 1 or not route.lanes
        for leg in route.legs:
            xs = [x for x1, x2, _ in leg for x in (x1, x2)]
            assert all(a <= b + NEARLY for a, b in itertools.pairwise(xs))
        assert abs(route.legs[0][0][0] - source.right) < NEARLY
        assert abs(route.legs[0][0][2] - source.middle) < NEARLY
        assert len(route.lanes) - len(route.legs) in ((-1,) if route.ends else (-1, 0))
        if route.ends:
            assert abs(route.legs[-1][-1][1] - target.x) < NEARLY
            assert abs(route.legs[-1][-1][2] - target.middle) < NEARLY
        assert (route.label is not None) == bool(edge.text)
    labels = [route.label for route in layout.edges if route.label is not None]
    for one, other in itertools.combinations([*layout.nodes, *labels], 2):
        assert not one.grown(-NEARLY).meets(other)
    check_edges_keep_off(drawn, layout)
    inside = [r.grown(-NEARLY) for r in (*layout.nodes, *labels, *(piece for box in layout.boxes for piece in box))]
    assert all(r.x >= 0 and r.y >= 0 and r.right <= layout.width and r.bottom <= layout.height for r in inside)


def check_edges_keep_off(drawn: Picture, layout: Layout) -> None:
    """No straight stretch of an edge runs through a node or through another edge's label."""
    for edge, route in zip(drawn.edges, layout.edges, strict=True):
        others = [r for n, r in zip(drawn.nodes, layout.nodes, strict=True) if n.id not in (edge.source, edge.target)]
        others += [r.label for r in layout.edges if r.label is not None and r is not route]
        for line in [*level_lines(route), *lane_lines(route)]:
            assert not any(line.meets(other.grown(-2 * NEARLY)) for other in others)


def level_lines(route: Route) -> list[Rect]:
    """The level stretches of an edge's legs, as thin rectangles."""
    return [Rect(x1, y - NEARLY, max(x2 - x1, NEARLY), 2 * NEARLY) for leg in route.legs for x1, x2, y in leg]


def lane_lines(route: Route) -> list[Rect]:
    """The straight pieces of an edge's ways from row to row."""
    lines = []
    for number, lane in enumerate(route.lanes):
        leaves = route.legs[number][-1][2]
        if number + 1 == len(route.legs):  # it joins an earlier edge in its lane
            lines.append(Rect(lane.out - NEARLY, min(leaves, route.meets), 2 * NEARLY, abs(route.meets - leaves)))
            continue
        enters = route.legs[number + 1][0][2]
        lines.append(Rect(lane.out - NEARLY, leaves, 2 * NEARLY, lane.level - leaves))
        lines.append(Rect(lane.into, lane.level - NEARLY, lane.out - lane.into, 2 * NEARLY))
        lines.append(Rect(lane.into - NEARLY, lane.level, 2 * NEARLY, enters - lane.level))
    return lines


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
    assert all(len(pieces) == 1 for pieces in layout.boxes)
    for box, (around,) in zip(drawn.boxes, layout.boxes, strict=True):
        for node, rect in zip(drawn.nodes, layout.nodes, strict=True):
            if node.id in box.members:
                assert around.x < rect.x < rect.right < around.right
                assert around.y < rect.y < rect.bottom < around.bottom
            else:
                assert not around.meets(rect)


def with_dead_letters(count: int) -> Graph:
    """A chain with one handler for the failures of all its nodes."""
    nodes = [task(f"step {i}") for i in range(count)]
    graph: Graph = Graph(nodes[0])
    for node in nodes[1:]:
        graph = graph >> node
    handler = task("dead letters")
    for node in nodes:
        graph = graph | (node.failures >> handler)
    return graph


def test_a_chain_with_one_handler_of_failures_stays_level() -> None:
    layout = lay_out(picture(with_dead_letters(7)))
    assert layout.rows == 1
    assert layout.height < 160
    assert len({round(rect.middle) for rect in layout.nodes[:7]}) == 1


def test_what_is_too_wide_for_a_page_is_folded_into_rows() -> None:
    drawn = picture(with_dead_letters(40))
    layout = lay_out(drawn)
    check(drawn, layout)
    assert layout.width < 1600
    levels = {round(rect.middle) for rect in layout.nodes[:40]}  # each row is level
    assert len(levels) == layout.rows > 3
    rows = [[rect for rect in layout.nodes[:40] if round(rect.middle) == level] for level in sorted(levels)]
    assert [rect for row in rows for rect in row] == list(layout.nodes[:40])  # and reads as lines of text do
    assert all(len(route.legs) == len(route.lanes) + 1 for route in layout.edges if route.ends)


def long_picture(rng: random.Random, count: int) -> Picture:
    nodes = tuple(PictureNode(f"n{i}", f"node {i}", rng.choice(KINDS[:4])) for i in range(count))
    pairs = {(rng.randrange(max(0, i - 6), i), i) for i in range(1, count) for _ in range(2)}
    labels = ("", "", "", "yes", "failures")
    edges = [
        PictureEdge(f"n{a}", f"n{b}", label, label == "failures")
        for a, b in sorted(pairs)
        for label in [rng.choice(labels)]
    ]
    return Picture(None, nodes, tuple(edges))


@given(st.integers(0, 10**6), st.integers(30, 60))
@settings(max_examples=25, deadline=None)
def test_folded_pictures_keep_edges_off_nodes(seed: int, count: int) -> None:
    drawn = long_picture(random.Random(seed), count)
    layout = lay_out(drawn)
    assert layout.rows > 1
    check(drawn, layout)


def test_a_box_that_a_fold_cuts_goes_on_in_the_next_row() -> None:
    inner: Any = task("first")
    for number in range(30):
        inner = inner >> task(f"step {number}")
    drawn = picture(Splitter(name="s") >> inner >> Merger(list, name="m"))
    layout = lay_out(drawn)
    check(drawn, layout)
    [pieces] = layout.boxes
    assert len(pieces) == layout.rows > 1
    for rect in layout.nodes:
        assert sum(piece.meets(rect) for piece in pieces) == 1
    svg = draw.to_svg(drawn)
    assert svg.count('class="dagflow-scope"') == 1


def test_branches_stand_as_written_and_sources_by_what_they_feed() -> None:
    a, b, c, d = (task(name) for name in "abcd")
    layout = lay_out(picture((a >> [b, c] >> Merger(list, name="m")) | (d >> task("x") >> task("y"))))
    assert layout.nodes[1].middle < layout.nodes[2].middle
    late = task("late")
    layout = lay_out(picture((a >> b >> c) | (late >> c)))
    assert layout.nodes[3].x == layout.nodes[1].x + (layout.nodes[1].width - layout.nodes[3].width) / 2


def random_picture(count: int) -> Picture:
    rng = random.Random(7)
    nodes = tuple(PictureNode(f"n{i}", f"node {i}", "task") for i in range(count))
    pairs = {(rng.randrange(max(0, i - 25), i), i) for i in range(1, count) for _ in range(2)}
    return Picture(None, nodes, tuple(PictureEdge(f"n{a}", f"n{b}") for a, b in sorted(pairs)))


def steps(drawn: Picture) -> int:
    """How many calls and returns drawing takes: as good as time, and the same on each machine."""
    events = itertools.count()
    sys.setprofile(lambda *_: next(events))
    try:
        draw.to_svg(drawn)
    finally:
        sys.setprofile(None)
    return next(events)


def test_a_hundred_nodes_take_no_time_and_four_hundred_little_more() -> None:
    drawn = random_picture(100)
    assert draw.to_svg(drawn).count("data-node=") == 100
    assert (hundred := steps(drawn)) < 800_000  # some 60 ms on a slow machine
    assert steps(random_picture(400)) < 6 * hundred
    check(drawn, lay_out(drawn))
