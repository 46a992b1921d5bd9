"""The laws of ``>>`` and ``|`` over random graphs, in which the same node may stand in several places."""

from __future__ import annotations

import pytest
from graph_made import edges, meaning, mixed_graphs, names, plain_graphs, snapshot, tasks, written
from hypothesis import given, settings

from dagflow import Graph, GraphError

POOL = tasks("a b c d e f g h")
settings.register_profile("graph", deadline=None, max_examples=100)
LAWS = settings(settings.get_profile("graph"))
plain, mixed = plain_graphs(POOL), mixed_graphs(POOL)


def result(build, how=written):
    """What building gives: the graph's meaning, or that it is refused."""
    try:
        return how(build())
    except GraphError:
        return "refused"


@LAWS
@given(mixed, mixed, mixed)
def test_join_is_associative(a, b, c):
    """Also in order, on which the numbers of branches depend."""
    assert result(lambda: (a >> b) >> c) == result(lambda: a >> (b >> c))


@LAWS
@given(mixed, mixed, mixed)
def test_union_is_associative(a, b, c):
    assert result(lambda: (a | b) | c) == result(lambda: a | (b | c))


@LAWS
@given(mixed, mixed)
def test_union_is_commutative_in_meaning(a, b):
    assert result(lambda: a | b, meaning) == result(lambda: b | a, meaning)


@LAWS
@given(mixed)
def test_union_with_itself_adds_nothing(graph):
    assert (names((graph | graph).nodes), edges(graph | graph)) == (names(graph.nodes), edges(graph))


@LAWS
@given(mixed, mixed)
def test_operands_are_unchanged(a, b):
    before = snapshot(a), snapshot(b)
    result(lambda: a >> b)
    result(lambda: a | b)
    result(lambda: a >> [b, b])
    assert (snapshot(a), snapshot(b)) == before


@LAWS
@given(mixed, mixed)
def test_a_join_is_the_union_and_an_edge_from_every_exit_to_every_entry(a, b):
    got = result(lambda: a >> b, meaning)
    if got == "refused":
        return
    nodes, found, entries, exits = got
    assert nodes == set(names(a)) | set(names(b))
    assert found == edges(a) | edges(b) | {f"{x.name}>{e.name}" for x in a.exits for e in b.entries}
    assert (entries, exits) == (set(names(a.entries)), set(names(b.exits)))


@LAWS
@given(plain, plain, plain)
def test_a_list_is_the_union_of_the_joins(a, b, c):
    """Unless one part feeds an entry of the other, which then is no entry of the list."""
    if set(result(lambda: (b | c).entries, set)) == {*b.entries, *c.entries}:
        assert result(lambda: a >> [b, c], meaning) == result(lambda: (a >> b) | (a >> c), meaning)


@LAWS
@given(plain)
def test_of_plain_nodes_entries_are_what_nothing_feeds_and_exits_what_feeds_nothing(graph):
    digraph = graph.digraph
    assert set(graph.entries) == {n for n in digraph if digraph.in_degree(n) == 0}
    assert set(graph.exits) == {n for n in digraph if digraph.out_degree(n) == 0} == set(graph.sinks())


@LAWS
@given(mixed)
def test_a_vertex_a_node_and_the_digraph_says_the_same(graph):
    assert len(set(map(id, graph.nodes))) == len(graph) == len(graph.digraph)
    shown = {(graph.names[a], graph.names[b]) for a, b in graph.digraph.edges}
    assert shown == {(e.source.name, e.target.name) for e in graph.edges if e.target is not None}
    assert len(set(graph.names.values())) == len(graph)


def test_a_graph_is_lifted_to_itself():
    graph = POOL[0] >> POOL[1]
    assert written(Graph(graph)) == written(graph)
    with pytest.raises(GraphError, match="cycle"):
        graph >> graph
