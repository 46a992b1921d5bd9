"""What else the plan says: how many outputs a task can give, and which Mergers get separate arguments."""

from __future__ import annotations

import functools
import operator
from typing import Literal

import pytest
from graph_made import gives_lists, merge, route, same, split, task, tasks

from dagflow import DROP, Graph, GraphError, par


def single(graph):
    return graph.check().single


class TestSingle:
    """``single``: one source task gives at most one output, as far as the graph can say."""

    def test_a_chain_gives_one(self):
        assert single(Graph(task("a")))
        assert single(task("a") >> task("b"))

    def test_a_split_gives_several_unless_merged(self):
        assert not single(split() >> task("a"))
        assert single(split() >> task("a") >> merge())
        assert single(split("s1") >> split("s2") >> merge("m2") >> merge("m1"))
        assert not single(split("s1") >> split("s2") >> merge("m2"))

    def test_a_broadcast_gives_several_unless_merged(self):
        a, b, c = tasks("a b c")
        assert not single(a >> [b, c])
        assert not single(par(a, b))
        assert single(a >> [b, c] >> merge())
        assert single(par(a, b) >> merge())
        assert single(par(a, b) >> merge("m", "task"))

    def test_a_side_branch_is_an_output_more(self):
        a, log = tasks("a log")
        assert not single((split() >> a >> merge()) | (a >> log))
        assert not single((a >> task("b")) | (a >> log))

    def test_branches_of_a_router_exclude_each_other(self):
        a, b = tasks("a b")
        assert single(route() >> {"x": a, "y": b})
        assert not single(route() >> {"x": split(), "y": b})
        assert not single(route() >> {"x": [a, b]})

    def test_unless_it_may_give_several_labels(self):
        a, b = tasks("a b")
        assert not single(route("r", gives_lists) >> {"x": a, "y": b})
        assert single(route("r", gives_lists) >> {"x": a, "y": DROP})
        r = route("r", gives_lists)
        assert single(r >> {"x": a, "y": b} >> merge("m", r))

    def test_mergers_in_both_branches_of_a_router_fire_both(self):
        assert not single(split() >> route() >> {"x": merge("mx"), "y": merge("my")})

    def test_what_belongs_to_no_task_is_not_counted(self):
        assert single(split() >> merge("m", "run"))
        assert single(split() >> merge("m", size=2) >> split("s2"))

    def test_done_or_failed_a_task_goes_one_way(self):
        a, b, x = tasks("a b x")
        assert single((a >> b) | (a.failures >> x))
        assert not single((a >> b) | (a.failures >> [x, same]))

    def test_a_merger_that_fails_sends_its_failure_on(self):
        m, x, y = merge(), *tasks("x y")
        assert single((split() >> m) | (m.failures >> x))
        assert not single((split() >> m) | (m.failures >> [x, y]))
        assert not single((split() >> m >> merge("run", "run")) | (m.failures >> [x, y]))

    def test_a_splitter_may_fail_after_its_first_children(self):
        """They have gone on by then, so the failure is an output more."""
        s, x = split(), task("x")
        assert not single((s >> merge()) | (s.failures >> x))
        assert single(s >> merge())


class Two:
    def __call__(self, left, right):
        raise NotImplementedError


class Configured:
    """Built with two arguments; called with one."""

    def __init__(self, left, right):
        raise NotImplementedError

    def __call__(self, members):
        raise NotImplementedError


def two(left, right):
    raise NotImplementedError


def three(left, middle, right):
    raise NotImplementedError


TAKES_TWO = [
    two,
    lambda a, b: a,
    lambda a, b, *, c=1: a,
    operator.add,
    functools.partial(three, 1),
    Two(),
    Two,
    Two().__call__,
]
TAKES_OTHERWISE = [
    same,
    three,
    len,
    max,
    list,
    Configured,
    lambda *members: members,
    lambda a, b=None: a,
    lambda a, b, *rest: a,
    lambda a, b, c=None: a,
]


def spread(graph):
    return graph.check().node_named("m").merge.spread


class TestSpread:
    """Branches become separate arguments if the function takes exactly that many, else one list."""

    @pytest.mark.parametrize("func", TAKES_TWO)
    def test_exactly_as_many_as_branches(self, func):
        assert spread(task("a") >> tasks("b c") >> merge(func=func)) == 2

    @pytest.mark.parametrize("func", TAKES_OTHERWISE)
    def test_else_a_list(self, func):
        assert spread(task("a") >> tasks("b c") >> merge(func=func)) is None

    def test_the_branches_that_come_here_count(self):
        a, b, c, log = tasks("a b c log")
        assert spread((a >> [b, c] >> merge(func=two)) | (a >> log)) == 2
        assert spread((a >> [b, c] >> merge(func=three)) | (a >> log)) is None
        assert spread(a >> tasks("x y z") >> merge(func=three)) == 3

    def test_of_the_source_too(self):
        assert spread(par(*tasks("a b")) >> merge(func=two)) == 2

    def test_a_fold_gets_its_one_value(self):
        assert spread(task("a") >> tasks("b c") >> merge(func=two, fold=(max, 0))) is None

    def test_children_of_a_split_are_a_list(self):
        assert spread(split() >> merge(func=two)) is None
        s = split()
        assert spread(s >> tasks("a b") >> merge("m", s, func=two)) is None

    @pytest.mark.parametrize("what", [{"of": "run"}, {"of": "task"}, {"size": 2}])
    def test_what_is_no_branching_is_a_list(self, what):
        assert spread(task("a") >> tasks("b c") >> merge(func=two, **what)) is None


class TestRoutersInThePlan:
    def test_ports_keep_their_numbers_wherever_the_failures_were_written(self):
        r = route("r", default=DROP)
        a, b, x = tasks("a b x")
        for graph in (
            (r >> {"x": a, "y": b}) | (r.failures >> x),
            (r.failures >> x) | (r >> {"x": a, "y": b}),
            (r >> {"x": a}) | (r.failures >> x) | (r >> {"y": b}),
        ):
            plan = graph.check().node_named("r")
            assert [p.label for p in plan.ports] == ["x", "y", DROP]
            numbers = [plan.failures.index, *(p.index for p in plan.ports)]
            assert sorted(numbers) == [0, 1, 2, 3]

    def test_a_plan_is_a_value(self):
        graph = task("a") >> split() >> merge()
        assert graph.check() == graph.check()

    def test_a_label_that_is_no_branch_of_a_literal_is_found_before_it_runs(self):
        def choose(value) -> Literal["x"]:
            raise NotImplementedError

        with pytest.raises(GraphError, match="can never be taken"):
            route("r", choose) >> {"x": task("a"), "z": task("b")}
