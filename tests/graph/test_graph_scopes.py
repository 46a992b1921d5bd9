"""What each Merger closes, by example; what each node still leads to; what is refused with which way out."""

from __future__ import annotations

import pytest
from graph_made import closes, merge, needed, route, split, task, tasks

from dagflow import DROP, Graph, GraphError, Merger, par


class TestInnermost:
    def test_a_plain_split(self):
        assert closes(split() >> task("a") >> merge()) == {"m": "split s"}

    def test_nested_splits_close_from_the_inside(self):
        graph = split("s1") >> split("s2") >> task("a") >> merge("m2") >> task("b") >> merge("m1")
        assert closes(graph) == {"m2": "split s2", "m1": "split s1"}

    def test_mergers_in_a_row_close_one_scope_each(self):
        graph = split("s1") >> split("s2") >> split("s3") >> merge("m3") >> merge("m2") >> merge("m1")
        assert closes(graph) == {"m3": "split s3", "m2": "split s2", "m1": "split s1"}

    def test_a_split_after_a_merge_is_another(self):
        graph = split("s1") >> merge("m1") >> split("s2") >> merge("m2")
        assert closes(graph) == {"m1": "split s1", "m2": "split s2"}

    def test_a_broadcast(self):
        a, b, c = tasks("a b c")
        assert closes(a >> [b, c] >> merge()) == {"m": "branch a"}

    def test_a_broadcast_straight_into_the_merger_and_round_it(self):
        a, b, m = *tasks("a b"), merge()
        assert closes((a >> m) | (a >> b >> m)) == {"m": "branch a"}

    def test_a_broadcast_in_a_split(self):
        a, b, c = tasks("a b c")
        assert closes(split() >> a >> [b, c] >> merge("m1") >> merge("m2")) == {"m1": "branch a", "m2": "split s"}

    def test_a_splitter_that_broadcasts_its_children(self):
        b, c = tasks("b c")
        assert closes(split() >> [b, c] >> merge("m1") >> merge("m2")) == {"m1": "branch s", "m2": "split s"}

    def test_a_split_in_one_branch_of_a_broadcast(self):
        a, b, c = tasks("a b c")
        graph = a >> [split() >> b >> merge("inner"), c] >> merge("outer")
        assert closes(graph) == {"inner": "split s", "outer": "branch a"}

    def test_an_unclosed_split_in_one_branch_belongs_to_the_branching(self):
        a, b, c = tasks("a b c")
        assert closes(a >> [split() >> b, c] >> merge()) == {"m": "branch a"}

    def test_a_union_of_unclosed_splits_is_the_branching_before_them(self):
        a = task("a")
        assert closes(a >> [split("s1"), split("s2")] >> merge()) == {"m": "branch a"}

    def test_a_side_branch_that_never_comes_back(self):
        """One branch alone leads to the Merger, so it is the split that it closes."""
        s, a, b, log = split(), *tasks("a b log")
        graph = (s >> a >> b >> merge()) | (a >> log)
        assert closes(graph) == {"m": "split s"}

    def test_two_of_three_branches_come_back(self):
        a, b, c, log = tasks("a b c log")
        assert closes((a >> [b, c] >> merge()) | (a >> log)) == {"m": "branch a"}

    def test_branches_that_meet_before_the_merger(self):
        a, b, c, d = tasks("a b c d")
        assert closes(a >> [b, c] >> d >> merge()) == {"m": "branch a"}

    def test_several_entries_are_a_branching_of_the_source(self):
        a, b = tasks("a b")
        assert closes(par(a, b) >> merge()) == {"m": "branch of the source"}
        assert closes(par(a, b) >> split() >> merge("m1") >> merge("m2")) == {
            "m1": "split s",
            "m2": "branch of the source",
        }

    def test_an_entry_that_does_not_come_back(self):
        a, b = tasks("a b")
        assert closes((split() >> a >> merge()) | b) == {"m": "split s"}

    def test_the_branches_of_a_router_are_inside_its_split(self):
        a, b = tasks("a b")
        assert closes(split() >> route() >> {"x": a, "y": b} >> merge()) == {"m": "split s"}

    def test_mergers_in_both_branches_of_a_router_close_the_same_split(self):
        graph = split() >> route() >> {"x": merge("mx"), "y": merge("my")}
        assert closes(graph) == {"mx": "split s", "my": "split s"}
        plan = graph.check()
        assert [len(f.closers) for f in plan.frames if f.kind == "split"] == [2]

    def test_a_label_with_several_targets_is_a_branching(self):
        a, b, c = tasks("a b c")
        graph = (route() >> {"x": par(a, b) >> merge(), "y": c}) | task("other")
        assert closes(graph) == {"m": "branch r[x]"}


class TestNamed:
    def test_an_outer_split_takes_in_all_inside_it(self):
        outer = split("s1")
        graph = outer >> split("s2") >> task("a") >> split("s3") >> merge("m", outer)
        assert closes(graph) == {"m": "split s1"}

    def test_after_an_outer_one_nothing_inside_is_open(self):
        outer = split("s1")
        with pytest.raises(GraphError, match="'m2' has no scope to close"):
            (outer >> split("s2") >> merge("m1", outer) >> merge("m2")).check()

    def test_a_node_that_broadcasts(self):
        a, b, c = tasks("a b c")
        assert closes(a >> [b, c] >> split() >> merge("m", a)) == {"m": "branch a"}

    def test_of_a_splitter_that_broadcasts_it_is_the_split(self):
        s = split()
        assert closes(s >> tasks("b c") >> merge("m", s)) == {"m": "split s"}

    def test_a_side_branch_may_be_named(self):
        """Named outright, a branching of which one branch comes back merges lists of one."""
        a, b, log = tasks("a b log")
        assert closes((a >> b >> merge("m", a)) | (a >> log)) == {"m": "branch a"}

    def test_a_router_that_sends_on_several_branches(self):
        r = route()
        assert closes(r >> {"x": task("a"), "y": task("b")} >> merge("m", r)) == {"m": "route r"}

    def test_one_task_each(self):
        s = split()
        assert closes(s >> tasks("a b") >> merge("m", "task")) == {"m": "task"}
        assert closes(task("a") >> merge("m", "task")) == {"m": "task"}
        assert closes(par(*tasks("a b")) >> merge("m", "task")) == {"m": "task"}

    def test_everything(self):
        assert closes(split() >> merge("m", "run")) == {"m": "run"}
        assert closes(task("a") >> merge("m", "run") >> merge("n", "run")) == {"m": "run", "n": "run"}

    @pytest.mark.parametrize("window", [{"size": 2}, {"within": 1.5}, {"size": 2, "within": 1.5}])
    def test_windows(self, window):
        graph = split() >> merge("m", **window)
        assert closes(graph) == {"m": "window"}
        plan = graph.check().node_named("m").merge
        assert (plan.size, plan.within, plan.frame) == (window.get("size"), window.get("within"), -1)

    @pytest.mark.parametrize("window", [{"size": 2}, {"of": "run"}])
    def test_a_scope_that_opens_after_a_window_can_be_closed(self, window):
        graph = split("s1") >> merge("w", **window) >> split("s2") >> merge("m")
        assert closes(graph)["m"] == "split s2"

    def test_what_the_plan_says_of_a_merger(self):
        plan = (split() >> merge("m", on_missing="skip", fold=(max, 0))).check()
        found = plan.node_named("m").merge
        assert (found.closing, found.skip_missing, found.fold, found.spread) == ("scope", True, True, None)
        assert plan.frames[found.frame].closers == (plan.node_named("m").index,)
        assert plan.node_named("s").split_frame == found.frame
        assert plan.node_named("s").merge is None


class TestFailures:
    def test_failures_of_a_node_are_where_the_node_is(self):
        a, x, m = *tasks("a x"), merge()
        assert closes((split() >> a >> m) | (a.failures >> x >> m)) == {"m": "split s"}

    def test_a_splitter_that_failed_has_opened_nothing(self):
        s, x, m = split(), task("x"), merge()
        with pytest.raises(GraphError, match="'m' has no scope to close"):
            ((s >> m) | (s.failures >> x >> m)).check()

    def test_a_router_that_failed_has_sent_nothing(self):
        r, x, m = route(), task("x"), merge("m", "task")
        assert closes((r >> {"x": m}) | (r.failures >> x >> m)) == {"m": "task"}

    def test_failures_sent_to_several_nodes_are_a_branching(self):
        a, b, c = tasks("a b c")
        assert closes(a.failures >> [b, c] >> merge()) == {"m": "branch a[failures]"}

    def test_the_two_ways_out_of_a_node_are_no_branching(self):
        a, b, x = tasks("a b x")
        m = merge()
        with pytest.raises(GraphError, match="no scope to close"):
            ((a >> b >> m) | (a.failures >> x >> m)).check()

    def test_a_merged_task_that_failed_is_outside_the_scope(self):
        """It is the parent that failed, and the scope is closed: it cannot be closed a second time."""
        m1, x = merge("m1"), task("x")
        with pytest.raises(GraphError, match="'m2' has no scope to close"):
            ((split() >> m1) | (m1.failures >> x >> merge("m2"))).check()

    def test_a_merged_task_that_failed_is_in_the_scope_around(self):
        m1, x = merge("m1"), task("x")
        graph = (split("s1") >> split("s2") >> m1) | (m1.failures >> x >> merge("m2"))
        assert closes(graph) == {"m1": "split s2", "m2": "split s1"}

    @pytest.mark.parametrize("window", [{"size": 2}, {"of": "run"}])
    @pytest.mark.parametrize("of", [None, "task"])
    def test_a_window_that_failed_is_in_no_scope(self, window, of):
        w, x = merge("w", **window), task("x")
        with pytest.raises(GraphError, match="'m'"):
            ((split() >> w) | (w.failures >> x >> merge("m", of))).check()


class TestRefused:
    def refusal(self, graph):
        with pytest.raises(GraphError) as refused:
            graph.check()
        return str(refused.value)

    def test_no_scope_at_all(self):
        said = self.refusal(task("a") >> merge())
        assert said.startswith("merger 'm' has no scope to close")
        for way_out in ("Splitter", "a >> [b, c] >> m", 'of="task"', 'of="run"', "size=n", "within=seconds"):
            assert way_out in said

    def test_a_merger_alone(self):
        assert "no scope to close" in self.refusal(Graph(merge()))

    def test_after_a_window(self):
        assert "no scope to close" in self.refusal(split() >> merge("w", size=2) >> merge("m"))

    def test_a_split_that_is_not_on_every_way(self):
        a, b, m = *tasks("a b"), merge()
        assert "'m' has no scope to close" in self.refusal(par(split() >> a >> merge("n", "run"), b) >> m)

    def test_behind_a_router_the_way_out_names_it(self):
        said = self.refusal(route() >> {"x": task("a"), "y": task("b")} >> merge())
        assert "to merge what a Router sent on several branches write of=r" in said

    def test_a_branching_that_does_not_come_back_is_told_as_one(self):
        """It must not say that no branching is open and then that one is."""
        a, log = tasks("a log")
        said = self.refusal((a >> merge()) | (a >> log))
        assert "'a'" in said
        assert "no branching is open" not in said

    def test_of_a_node_elsewhere(self):
        said = self.refusal(split() >> merge("m", split("other")))
        assert "of='other' is not a node of this graph; name a Splitter or a node that sends each task" in said

    def test_of_a_node_that_opens_nothing(self):
        a = task("a")
        said = self.refusal(split() >> a >> merge("m", a))
        assert "of='a' opens no scope: it is no Splitter and sends its tasks to one node only" in said
        assert "open here: 's'" in said

    def test_what_is_open_is_said_once(self):
        a, b, c = tasks("a b c")
        assert self.refusal(a >> split() >> [b, c] >> merge("m", a)).count("'s'") == 1

    def test_of_a_splitter_that_is_not_on_every_way(self):
        s, a, b = split(), *tasks("a b")
        said = self.refusal((par(s >> a, b)) >> merge("m", s))
        assert "the scope of 's' is not open on every way into it" in said

    def test_of_a_splitter_that_was_closed_before(self):
        s = split()
        said = self.refusal(split("around") >> s >> merge("m1") >> merge("m2", s))
        assert "the scope of 's' is not open on every way into it (some way does not come from it, or a Merger" in said
        assert "open here: 'around'" in said

    def test_of_a_broadcast_or_a_router_that_was_closed_before(self):
        a, r = task("a"), route()
        assert "scope of 'a' is not open" in self.refusal(a >> tasks("b c") >> merge("m1") >> merge("m2", a))
        routed = split() >> r >> {"x": merge("m1"), "y": DROP} >> merge("m2", r)
        assert "scope of 'r' is not open" in self.refusal(routed)

    def test_of_a_splitter_that_comes_later(self):
        later = split("later")
        said = self.refusal(split() >> merge("m", later) >> later)
        assert "it is no Splitter" not in said
        assert "the scope of 'later' is not open on every way into it" in said

    @pytest.mark.parametrize("before", [{"size": 2}, {"of": "run"}, {"of": "task"}])
    def test_of_task_after_tasks_were_merged(self, before):
        said = self.refusal(split() >> merge("m1", **before) >> merge("m2", "task"))
        assert "merger 'm2': of=\"task\" cannot be closed here: a Merger before it has merged" in said

    def test_names_are_those_of_the_graph(self):
        assert "merger 'len-2'" in self.refusal(split() >> Merger(len) >> Merger(len))


class TestNeeded:
    """Which scopes still concern a node: those whose Merger can be reached from it."""

    def test_inside_a_scope_it_is_needed_outside_not(self):
        graph = task("a") >> split() >> task("b") >> merge() >> task("c")
        assert needed(graph) == {"a": set(), "s": set(), "b": {"split s"}, "m": {"split s"}, "c": set()}

    def test_nested(self):
        graph = split("s1") >> split("s2") >> merge("m2") >> merge("m1")
        outer, inner = "split s1", "split s2"
        assert needed(graph) == {"s1": set(), "s2": {outer}, "m2": {inner, outer}, "m1": {outer}}

    def test_a_scope_that_nobody_closes_is_not_needed(self):
        outer = split("s1")
        graph = outer >> split("s2") >> task("a") >> merge("m", outer)
        assert needed(graph) == {"s1": set(), "s2": {"split s1"}, "a": {"split s1"}, "m": {"split s1"}}

    def test_a_side_branch_has_left_the_scope(self):
        s, a, log, m = split(), *tasks("a log"), merge()
        found = needed((s >> a >> m) | (a >> log))
        assert (found["a"], found["log"]) == ({"split s"}, set())

    def test_branches_of_a_broadcast(self):
        a, b, c = tasks("a b c")
        found = needed(a >> [b, c] >> merge())
        assert found == {"a": set(), "b": {"branch a"}, "c": {"branch a"}, "m": {"branch a"}}

    def test_source_scopes_concern_the_entries(self):
        a, b = tasks("a b")
        both = {"branch of the source"}
        assert needed(par(a, b) >> merge()) == {"a": both, "b": both, "m": both}
        assert needed(a >> merge("m", "task") >> b) == {"a": {"task"}, "m": {"task"}, "b": set()}

    @pytest.mark.parametrize("window", [{"size": 2}, {"of": "run"}])
    def test_a_member_of_a_window_has_left_all_scopes(self, window):
        graph = split() >> task("a") >> merge("w", **window) >> split("s2") >> merge()
        assert needed(graph) == {"s": set(), "a": set(), "w": set(), "s2": set(), "m": {"split s2"}}

    def test_a_way_back_by_failures_counts(self):
        s, a, x = split(), *tasks("a x")
        m = merge("m", s)
        found = needed((s >> a) | (a.failures >> x >> m) | (s >> m))
        assert (found["a"], found["x"]) == ({"split s"}, {"split s"})

    def test_a_way_back_by_failures_makes_a_branch_come_back(self):
        """So it is the branching that is innermost: its second branch leads here as well."""
        s, a, x, m = split(), *tasks("a x"), merge()
        graph = (s >> a) | (a.failures >> x >> m) | (s >> m)
        assert closes(graph) == {"m": "branch s"}
        assert (needed(graph)["a"], needed(graph)["x"]) == ({"branch s"}, {"branch s"})

    def test_a_merged_task_that_failed_does_not_need_its_scope(self):
        m, x = merge(), task("x")
        found = needed((split() >> m) | (m.failures >> x))
        assert (found["m"], found["x"]) == ({"split s"}, set())
