"""Scopes, needed frames and `Plan.single` over random graphs, against naive oracles: every path, every behaviour."""

from __future__ import annotations

from graph_made import (
    NoScope,
    closes,
    edges,
    most_outputs_by_trying,
    needed,
    needed_by_paths,
    paths_of,
    scoped_graphs,
)
from hypothesis import HealthCheck, assume, given, settings

from dagflow import GraphError

CHECK = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def compiled(graph):
    """The plan, or an example that does not count: the graph has a Merger with nothing to close."""
    try:
        return graph.check()
    except GraphError:
        assume(False)


@CHECK
@given(scoped_graphs())
def test_each_merger_closes_the_scope_that_every_path_has_open(graph):
    """And a graph is refused if and only if some Merger has nothing to close."""
    try:
        closed, _ = paths_of(graph)
    except NoScope:
        closed = None
    try:
        found = closes(graph)
    except GraphError as error:
        assert "merger" in str(error)
        found = None
    assert found == (None if closed is None else {graph.names[m]: frame for m, frame in closed.items()})


@CHECK
@given(scoped_graphs())
def test_a_frame_is_open_on_every_path_from_the_source_to_each_of_its_closers(graph):
    compiled(graph)
    _, stacks = paths_of(graph)
    for merger, frame in closes(graph).items():
        node = next(n for n in graph if graph.names[n] == merger)
        assert stacks[node]
        if frame not in ("run", "window"):
            assert all(frame in [f for f, _ in stack] for stack in stacks[node])


@CHECK
@given(scoped_graphs())
def test_a_frame_is_needed_where_its_merger_can_be_reached(graph):
    compiled(graph)
    assert needed(graph) == needed_by_paths(graph, paths_of(graph)[0])


@CHECK
@given(scoped_graphs())
def test_nodes_are_numbered_in_topological_order_and_all_of_them(graph):
    plan = compiled(graph)
    assert [n.index for n in plan.nodes] == list(range(len(graph)))
    assert {n.name for n in plan.nodes} == set(graph.names.values())
    for node in plan.nodes:
        for port in [*node.ports, *([node.failures] if node.failures else [])]:
            assert all(target > node.index for target in port.targets)


@CHECK
@given(scoped_graphs())
def test_the_ports_of_the_plan_are_the_edges_of_the_graph(graph):
    plan = compiled(graph)
    found = set()
    for node in plan.nodes:
        ports = [(f"[{p.label}]" if node.kind == "route" else "", p) for p in node.ports]
        ports += [("[failures]", node.failures)] if node.failures else []
        assert len({p.index for _, p in ports}) == len(ports)
        for label, port in ports:
            found |= {f"{node.name}{label}>{plan.nodes[t].name}" for t in port.targets}
            found |= {f"{node.name}{label}>DROP"} if port.drop else set()
            assert (port.frame >= 0) == (len(port.targets) > 1)
            assert port.exit == (not port.targets and not port.drop)
    assert found == edges(graph)
    assert [plan.nodes[t].name for t in plan.source.targets] == [graph.names[n] for n in graph.entries]


@CHECK
@given(scoped_graphs())
def test_frames_and_their_closers_know_each_other(graph):
    plan = compiled(graph)
    assert [f.index for f in plan.frames] == list(range(len(plan.frames)))
    assert plan.frames[plan.task_frame].kind == "task"
    for node in plan.nodes:
        mine = [f.index for f in plan.frames if node.index in f.closers]
        closing = node.merge is not None and node.merge.closing == "scope"
        assert mine == ([node.merge.frame] if closing else [])
        assert (node.split_frame >= 0) == (node.kind == "split")
        assert (node.route_frame >= 0) == (node.kind == "route")


@CHECK
@given(scoped_graphs())
def test_single_means_at_most_one_output_whatever_the_nodes_do(graph):
    plan = compiled(graph)
    most = most_outputs_by_trying(graph)
    assume(most is not None)
    assert plan.single == (most <= 1)
