"""The ``>>`` algebra by example: what graphs mean, what they look like, and what is refused with which hint."""

from __future__ import annotations

import copy
import pickle

import networkx
import pytest
from graph_made import edges, merge, names, route, same, snapshot, split, task, tasks

from dagflow import DROP, Graph, GraphError, Router, Splitter, TaskManager, par


class TestJoining:
    def test_a_chain(self):
        a, b, c = tasks("a b c")
        graph = a >> b >> c
        assert isinstance(graph, Graph)
        assert edges(graph) == {"a>b", "b>c"}
        assert (names(graph.entries), names(graph.exits)) == (["a"], ["c"])

    def test_every_exit_of_the_left_leads_to_every_entry_of_the_right(self):
        a, b, c, d = tasks("a b c d")
        graph = par(a, b) >> par(c, d)
        assert edges(graph) == {"a>c", "a>d", "b>c", "b>d"}
        assert (names(graph.entries), names(graph.exits)) == (["a", "b"], ["c", "d"])

    def test_a_list_is_a_group_on_either_side(self):
        a, b, c, d = tasks("a b c d")
        graph = a >> [b, (c, [d])] >> a.__class__(same, name="e")
        assert edges(graph) == {"a>b", "a>c", "a>d", "b>e", "c>e", "d>e"}
        assert edges([a, b] >> c) == {"a>c", "b>c"}
        assert edges([a, b] >> (c >> d)) == {"a>c", "b>c", "c>d"}

    def test_plain_callables_are_lifted(self):
        graph = same >> TaskManager(len) >> str >> (lambda x: x)
        assert [graph.names[n] for n in graph] == ["same", "len", "str", "lambda"]
        assert all(type(n) is TaskManager for n in graph)
        assert edges(same >> (task("a") >> task("b"))) == {"same>a", "a>b"}

    def test_union(self):
        a, b, c = tasks("a b c")
        graph = (a >> b) | (a >> c)
        assert edges(graph) == {"a>b", "a>c"}
        assert (names(graph.entries), names(graph.exits)) == (["a"], ["b", "c"])
        assert names((a | b).nodes) == names((a | Graph(b)).nodes) == names((Graph(a) | b).nodes) == ["a", "b"]
        assert names(([a, same] | Graph(b)).nodes) == ["a", "same", "b"]

    def test_what_a_union_feeds_is_no_entry_and_what_feeds_is_no_exit(self):
        a, b, c = tasks("a b c")
        graph = (b >> c) | (a >> b)
        assert (names(graph.entries), names(graph.exits)) == (["a"], ["c"])
        assert names(graph.nodes) == ["b", "c", "a"]

    def test_the_same_node_is_the_same_vertex(self):
        a, b, c, d = tasks("a b c d")
        diamond = (a >> b >> d) | (a >> c >> d)
        assert len(diamond) == 4
        assert edges(diamond) == {"a>b", "a>c", "b>d", "c>d"}

    def test_the_same_edge_is_one_edge(self):
        a, b = tasks("a b")
        assert repr((a >> b) | (a >> b)) == "Graph(2 nodes, 1 edge)"

    def test_graph_lifts_and_names(self):
        a, b = tasks("a b")
        assert names(Graph(a).nodes) == ["a"]
        assert names(Graph([a, b]).entries) == ["a", "b"]
        assert Graph(same).nodes[0].func is same
        named = Graph(a >> b, name="chain")
        assert (named.name, edges(named), (a >> b).name) == ("chain", {"a>b"}, None)
        assert Graph(named).name == (named >> same).name == (same >> named).name == (named | same).name == "chain"
        assert (Graph(named, name="other").name, named.name, named.check().name) == ("other", "chain", "chain")

    def test_operands_stay_as_they_were(self):
        a, b, c = tasks("a b c")
        left, right = a >> b, Graph(c)
        before = snapshot(left), snapshot(right)
        left >> right, left | right, left >> [right, same], right >> Router(same) >> {1: left}
        assert (snapshot(left), snapshot(right)) == before

    def test_a_graph_cannot_be_changed(self):
        graph = task("a") >> task("b")
        for attribute in ("nodes", "edges", "entries", "exits"):
            with pytest.raises(AttributeError):
                setattr(graph, attribute, ())


class TestFailures:
    def test_the_way_of_failures_goes_on_from_the_last_node(self):
        a, x, y = tasks("a x y")
        graph = a.failures >> x >> y
        assert edges(graph) == {"a[failures]>x", "x>y"}
        assert (names(graph.entries), names(graph.exits)) == (["a"], ["y"])
        assert repr(a.failures) == "a.failures"

    def test_it_is_joined_with_a_union(self):
        a, b, x = tasks("a b x")
        graph = (a >> b) | (a.failures >> x)
        assert edges(graph) == {"a>b", "a[failures]>x"}
        assert names(graph.exits) == ["b", "x"]

    def test_a_node_whose_failures_go_on_is_still_an_exit(self):
        a, x = tasks("a x")
        assert names((a | (a.failures >> x)).exits) == ["a", "x"]
        assert names((a.failures >> x).sinks()) == ["a", "x"]

    def test_both_ways_may_lead_to_the_same_node(self):
        a, b = tasks("a b")
        graph = (a >> b) | (a.failures >> b)
        assert edges(graph) == {"a>b", "a[failures]>b"}
        assert [len(p) for *_, p in graph.digraph.edges(data="ports")] == [2]

    def test_it_takes_lists_and_functions(self):
        a, b = tasks("a b")
        assert edges(a.failures >> [b, same]) == {"a[failures]>b", "a[failures]>same"}

    def test_nothing_is_joined_into_it(self):
        a = task("a")
        for wrong in (lambda: same >> a.failures, lambda: task("b") >> a.failures, lambda: Graph(a.failures)):
            with pytest.raises(GraphError, match=r"a\.failures is a way out.*write a\.failures >> handler"):
                wrong()


class TestLookingAtIt:
    def test_len_iter_contains(self):
        a, b, c = tasks("a b c")
        graph = a >> b
        assert len(graph) == 2
        assert list(graph) == [a, b]
        assert a in graph
        assert c not in graph
        assert "a" not in graph

    def test_repr_counts(self):
        a, b = tasks("a b")
        assert repr(Graph(a)) == "Graph(1 node, 0 edges)"
        assert repr(Graph(a >> b, name="g")) == "Graph('g': 2 nodes, 1 edge)"
        assert repr(route() >> {"x": a, "y": b, "z": DROP}) == "Graph(3 nodes, 2 edges)"

    def test_the_digraph_is_frozen_and_says_names_kinds_and_ports(self):
        r, a, b = route("r"), task("a"), split("b")
        graph = Graph(r >> {"x": a, "y": a, "z": b, "n": DROP}, name="g")
        digraph = graph.digraph
        assert isinstance(digraph, networkx.DiGraph)
        assert digraph.graph["name"] == "g"
        assert dict(digraph.nodes(data=True)) == {
            r: {"name": "r", "kind": "route"},
            a: {"name": "a", "kind": "task"},
            b: {"name": "b", "kind": "split"},
        }
        assert digraph.edges[r, a] == {"ports": ("x", "y")}
        assert digraph.edges[r, b] == {"ports": ("z",)}
        with pytest.raises(networkx.NetworkXError, match="[Ff]rozen"):
            digraph.add_edge(a, b)
        assert graph.digraph is digraph

    def test_the_kinds(self):
        kinds = [n.kind for n in (task("a"), split(), route(), merge())]
        assert kinds == ["task", "split", "route", "merge"]

    def test_sinks_are_where_outputs_leave(self):
        a, b, x = tasks("a b x")
        assert names(((a >> b) | (b.failures >> x)).sinks()) == ["b", "x"]
        assert (route() >> {"x": DROP}).sinks() == ()

    def test_a_copy_of_a_graph_means_the_same(self):
        """Ports are told apart by identity: a copy must not make a failures branch an ordinary one."""
        graph = (task("a", len) >> task("b", len)) | (task("c", len).failures >> task("d", len))
        for other in (copy.copy(graph), copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
            assert edges(other) == {"a>b", "c[failures]>d"}
            plan = other.check()
            assert plan.node_named("c").failures is not None
            assert plan.node_named("a").ports[0].targets == (plan.node_named("b").index,)


class TestNames:
    def test_auto_named_nodes_of_one_name_are_numbered(self):
        graph = same >> TaskManager(same) >> TaskManager(same)
        assert list(graph.names.values()) == ["same", "same-2", "same-3"]
        assert [n.name for n in graph.check().nodes] == ["same", "same-2", "same-3"]

    def test_explicit_names_are_kept_and_stepped_around(self):
        graph = same >> TaskManager(same, name="same-2") >> TaskManager(same)
        assert list(graph.names.values()) == ["same", "same-2", "same-3"]
        graph = same >> TaskManager(same, name="same")
        assert list(graph.names.values()) == ["same-2", "same"]

    @pytest.mark.parametrize("join", [lambda a, b: a >> b, lambda a, b: a | b, lambda a, b: par(a, b)])
    def test_two_nodes_of_one_explicit_name_are_refused(self, join):
        with pytest.raises(GraphError, match=r"two nodes are named 'a': give one of them another name="):
            join(task("a"), task("a"))

    def test_a_node_may_stand_twice_under_its_name(self):
        a, b = tasks("a b")
        assert len((a >> b) | a) == 2


class TestCycles:
    def test_a_cycle_is_shown_as_a_path(self):
        a, b, c = tasks("a b c")
        with pytest.raises(GraphError, match=r"cycle: 'b' -> 'c' -> 'b'\..*make a second node"):
            a >> b >> c >> b
        with pytest.raises(GraphError, match="cycle: 'a' -> 'a'"):
            a >> a
        with pytest.raises(GraphError, match="cycle: 'a' -> 'b' -> 'a'|cycle: 'b' -> 'a' -> 'b'"):
            (a >> b) | (b >> a)

    def test_by_failures_too(self):
        a, b = tasks("a b")
        with pytest.raises(GraphError, match="cycle"):
            (a >> b) | (b.failures >> a)

    def test_by_a_branch_too(self):
        r = route()
        with pytest.raises(GraphError, match="cycle: 'r' -> 'a' -> 'r'|cycle: 'a' -> 'r' -> 'a'"):
            (a := task("a")) >> r >> {"again": a}

    def test_nodes_written_backwards_are_no_cycle(self):
        a, b, c = tasks("a b c")
        assert edges((b >> c) | (a >> b)) == {"a>b", "b>c"}


class TestRefused:
    @pytest.mark.parametrize("thing", [5, "text", None, 1.5, {1, 2}])
    @pytest.mark.parametrize(
        "join",
        [
            lambda a, x: a >> x,
            lambda a, x: Graph(a) >> x,
            lambda a, x: x >> a,
            lambda a, x: x >> Graph(a),
            lambda a, x: a | x,
            lambda a, x: Graph(a) | x,
            lambda a, x: x | Graph(a),
            lambda a, x: Graph(x),
            lambda a, x: par(a, x),
            lambda a, x: a.failures >> x,
        ],
    )
    def test_what_is_no_node_is_refused_by_name_with_a_hint(self, join, thing):
        with pytest.raises(GraphError) as refusal:
            join(task("a"), thing)
        assert repr(thing) in str(refusal.value)
        assert type(thing).__name__ in str(refusal.value)
        assert "give a function, a TaskManager, Splitter, Router or Merger, a graph, or a list" in str(refusal.value)

    def test_a_union_takes_on_its_left_what_it_takes_on_its_right(self):
        assert names((same | task("a")).nodes) == ["same", "a"]
        assert names(([same, len] | task("a")).nodes) == ["same", "len", "a"]

    def test_nothing_at_all(self):
        with pytest.raises(GraphError, match=r"par\(\) needs at least one node"):
            par()
        with pytest.raises(GraphError, match="an empty list cannot be joined"):
            task("a") >> []

    def test_dicts_and_drop_have_their_place(self):
        a = task("a")
        for wrong in (lambda: {"x": same} >> a, lambda: [a, {"x": same}] >> task("b"), lambda: Graph({"x": same})):
            with pytest.raises(GraphError, match=r"only stand after a Router: router >> \{label: node\}"):
                wrong()
        for wrong in (lambda: a >> DROP, lambda: par(a, DROP), lambda: DROP >> a):
            with pytest.raises(GraphError, match=r"DROP can only be a branch of a Router"):
                wrong()

    @pytest.mark.parametrize("compare", ["__lt__", "__le__", "__gt__", "__ge__"])
    def test_graphs_have_no_order(self, compare):
        graph = task("a") >> task("b")
        with pytest.raises(GraphError, match="no order.*left >> right"):
            getattr(graph, compare)(graph)

    def test_a_graph_is_neither_true_nor_false(self):
        graph = task("a") >> task("b")
        for wrong in (lambda: bool(graph), lambda: graph and same, lambda: graph or same, lambda: not graph):
            with pytest.raises(GraphError, match="neither true nor false.*write a >> b"):
                wrong()

    def test_an_arrow_too_short_is_refused(self):
        a, b, c = tasks("a b c")
        for wrong in (lambda: a > b, lambda: a > b > c, lambda: a >> b > c, lambda: a < (b >> c), lambda: same > a):
            with pytest.raises(GraphError, match="no order.*>>"):
                wrong()

    def test_nothing_goes_on_from_where_all_is_dropped(self):
        """A node behind branches that are all DROP would never get a task."""
        with pytest.raises(GraphError, match="DROP"):
            route("r") >> {"x": DROP} >> task("a")


class TestRouterBranches:
    def test_one_branch_a_label_and_all_their_exits_go_on(self):
        a, b, c, d, e = tasks("a b c d e")
        graph = a >> route() >> {"x": b >> c, 2: [d, same]} >> e
        assert edges(graph) == {"a>r", "r[x]>b", "b>c", "r[2]>d", "r[2]>same", "c>e", "d>e", "same>e"}
        assert (names(graph.entries), names(graph.exits)) == (["a"], ["e"])

    def test_drop_as_a_branch(self):
        graph = route() >> {"x": task("a"), "y": DROP}
        assert edges(graph) == {"r[x]>a", "r[y]>DROP"}
        ports = graph.check().node_named("r").ports
        assert [(p.label, p.drop, len(p.targets)) for p in ports] == [("x", False, 1), ("y", True, 0)]

    def test_all_branches_dropped(self):
        graph = route() >> {"x": DROP, "y": DROP}
        assert (graph.exits, graph.check().single) == ((), True)

    def test_two_labels_may_share_a_branch(self):
        a = task("a")
        assert edges(route() >> {"x": a, "y": a}) == {"r[x]>a", "r[y]>a"}

    def test_labels_are_told_apart_by_type(self):
        a, b, c, r = *tasks("a b c"), route()
        graph = (r >> {1: a}) | (r >> {True: b}) | (r >> {1.0: c})
        ports = graph.check().node_named("r").ports
        assert [(type(p.label), len(p.targets)) for p in ports] == [(int, 1), (bool, 1), (float, 1)]

    def test_branches_may_be_written_one_by_one(self):
        r, a, b = route(), *tasks("a b")
        assert edges((r >> {"x": a}) | (r >> {"y": b})) == {"r[x]>a", "r[y]>b"}

    def test_a_router_needs_labels(self):
        r, a = route(), task("a")
        for wrong in (lambda: r >> a, lambda: task("b") >> r >> [a, same], lambda: par(r, task("b")) >> a):
            with pytest.raises(GraphError, match=r"'r' needs labels on its branches: write r >> \{label: node\}"):
                wrong()

    def test_branches_need_a_single_router(self):
        a, b = tasks("a b")
        with pytest.raises(GraphError, match="only stand after a single Router, here it stands after 'a'"):
            a >> {"x": b}
        with pytest.raises(GraphError, match="single Router, here it stands after 'r', 'a'"):
            par(route(), a) >> {"x": b}
        with pytest.raises(GraphError, match="single Router, here it stands after nothing"):
            route() >> {"x": DROP} >> {"y": a}

    def test_branches_are_not_nothing(self):
        with pytest.raises(GraphError, match="'r'.*dict of branches is empty"):
            route() >> {}

    def test_what_a_branch_holds_is_lifted_or_refused(self):
        with pytest.raises(GraphError, match=r"5 \(int\) cannot be a node"):
            route() >> {"x": 5}

    def test_a_router_without_branches_is_refused_by_the_check(self):
        for graph in (Graph(route()), task("a") >> route(), route().failures >> same):
            with pytest.raises(GraphError, match=r"'r' has no branches: write r >> \{label: node, ...\}"):
                graph.check()

    def test_a_splitter_is_no_router(self):
        with pytest.raises(GraphError, match="single Router"):
            Splitter() >> {"x": same}
