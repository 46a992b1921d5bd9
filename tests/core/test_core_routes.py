"""Routes: a task goes on by its label; by several as copies, whose scope a Merger may close."""

from __future__ import annotations

from core_made import (
    Play,
    children,
    done,
    error,
    fail,
    inputs,
    merge,
    part,
    route,
    routed,
    split,
    task,
    tasks,
    wide,
)

from dagflow import DROP
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import tasks_of


def routing(*values, branches=None, merger=False, **options):
    """A run of a Router that works on several tasks at once, with branches ``x`` and ``y``."""
    router = route(execution_mode="thread", worker_limit=4, **options)
    graph = router >> (branches or {"x": wide("a"), "y": wide("b")})
    play = Play(graph >> merge("m", router) if merger else graph)
    play.play(*values)
    return play


class TestLabels:
    def test_each_task_goes_on_by_its_label(self):
        play = routing("p", "q", "r")
        play.tell(routed(play.job("r"), {0: [0, 2], 1: [1]}))
        assert (inputs(play.job("a")), inputs(play.job("b"))) == (["p", "r"], ["q"])
        play.work("a", "b")
        assert (play.ended, play.finish) == ([0, 2, 1], "done")
        assert play.counts("r") == {"received": 3, "succeeded": 3}

    def test_one_label_for_all_needs_no_positions(self):
        play = routing("p", "q")
        job = play.job("r")
        play.tell(done(job))
        assert inputs(play.job("a")) == ["p", "q"]

    def test_it_may_say_so_in_parts(self):
        play = routing("p", "q")
        job = play.job("r")
        play.tell(routed(job, {1: [1]}, last=False, ended=[1]))
        assert inputs(play.job("b")) == ["q"]
        play.tell(routed(job, {0: [0]}, ended=[0]))
        assert inputs(play.job("a")) == ["p"]

    def test_a_task_without_label_is_dropped(self):
        play = routing("p", default=DROP)
        play.tell(part(play.job("r"), {}, dropped=[0], last=True))
        assert (play.counts("r"), play.finish) == ({"received": 1, "dropped": 1}, "done")

    def test_a_label_without_branch_is_a_failure_of_its_task_alone(self):
        play = routing("p", "q")
        job = play.job("r")
        play.tell(routed(job, {0: [0]}, failures=[(1, error("label 'z' has no branch"), False)]))
        assert play.lost == [(1, "label 'z' has no branch")]
        assert inputs(play.job("a")) == ["p"]

    def test_a_branch_that_drops_drops_those_it_is_given(self):
        play = routing("p", "q", branches={"x": wide("a"), "y": DROP})
        play.tell(routed(play.job("r"), {0: [0], 1: [1]}))
        (dropped,) = [f for f in play.heard(do.TasksEnded, "r") if f.status == "dropped"]
        assert (dropped.positions, dropped.count) == ([1], 1)
        assert play.counts("r") == {"received": 2, "succeeded": 1, "dropped": 1}
        play.work("a")
        assert (play.ended, play.finish) == ([1, 0], "done")

    def test_a_branch_of_several_nodes_is_a_branching(self):
        play = routing("p", branches={"x": [wide("a"), wide("b")] >> merge("m"), "y": DROP})
        play.tell(routed(play.job("r"), {0: [0]}))
        play.work("a", "b")
        assert inputs(play.job("m")) == [["p", "p"]]


class TestCopies:
    def test_by_several_labels_a_task_goes_on_as_so_many(self):
        play = routing("p", "q")
        play.tell(routed(play.job("r"), {0: [0, 1], 1: [0]}))
        assert inputs(play.job("b")) == ["p"]
        play.work("a")
        assert play.ended == [1]
        play.work("b")
        assert (sorted(play.outputs), play.ended, play.finish) == (["p", "p", "q"], [1, 0], "done")
        assert play.counts("r") == {"received": 2, "succeeded": 2}

    def test_copies_are_told_apart_by_their_branch(self):
        play = routing("p")
        play.tell(routed(play.job("r"), {0: [0], 1: [0]}))
        play.work("b", "a")
        lineages = [space.lineage(i) for f in play.heard(do.Output) for space, i in tasks_of(f.segments)]
        assert lineages == [(0, -2, 1), (0, -2, 0)]

    def test_one_of_them_may_be_dropped(self):
        play = routing("p", branches={"x": wide("a"), "y": DROP})
        play.tell(routed(play.job("r"), {0: [0], 1: [0]}))
        assert [f.status for f in play.heard(do.TasksEnded, "r")] == ["succeeded"]
        play.work("a")
        assert (play.outputs, play.ended, play.finish) == (["p"], [0], "done")

    def test_in_a_scope_all_of_them_are_members(self):
        play = Play(split() >> route() >> {"x": task("a"), "y": task("b")} >> merge())
        play.play("p")
        play.tell(children(play.job("s"), "p0", "p1"))
        play.tell(routed(play.job("r"), {0: [0], 1: [0]}))
        play.tell(routed(play.job("r"), {1: [0]}))
        play.tell(done(play.job("b"), "p0y"))
        play.tell(done(play.job("b"), "p1y"))
        assert play.jobs("m") == []
        play.tell(done(play.job("a"), "p0x"))
        assert inputs(play.job("m")) == [["p0x", "p0y", "p1y"]]

    def test_one_of_them_fails(self):
        play = routing("p")
        play.tell(routed(play.job("r"), {0: [0], 1: [0]}))
        play.tell(fail(play.job("a")))
        play.work("b")
        assert (play.lost, play.outputs, play.ended) == ([(0, "broken p")], ["p"], [0])


class TestClosing:
    """A Merger ``of=router`` waits for all the labels that the Router gave a task."""

    def test_all_labels_of_a_task_are_merged_in_the_order_of_the_branches(self):
        play = routing("p", "q", merger=True)
        play.tell(routed(play.job("r"), {0: [0], 1: [0, 1]}))
        play.tell(done(play.job("b"), "py", "qy"))
        assert inputs(play.job("m")) == [["qy"]]
        play.tell(done(play.job("a"), "px"))
        play.tell(done(play.job("m"), "q"))
        assert inputs(play.job("m")) == [["px", "py"]]
        play.work("m")
        assert (play.ended, play.finish) == ([1, 0], "done")

    def test_one_label_for_all_opens_a_scope_each(self):
        play = routing("p", "q", merger=True)
        play.tell(done(play.job("r")))
        play.work("a")
        assert inputs(play.job("m")) == [["p"]], "what it costs is not known yet"
        play.work("m")
        assert sorted(play.outputs) == [("p",), ("q",)]
        assert play.finish == "done"

    def test_a_branch_that_drops_is_simply_absent(self):
        play = routing("p", "q", branches={"x": wide("a"), "y": DROP}, merger=True)
        play.tell(routed(play.job("r"), {0: [0], 1: [0, 1]}))
        play.work("a")
        play.work("m")
        assert sorted(play.outputs) == [(), ("p",)]
        assert play.counts("r") == {"received": 2, "succeeded": 1, "dropped": 1}
        assert play.finish == "done"

    def test_a_task_without_label_opens_nothing(self):
        play = routing("p", merger=True)
        play.tell(part(play.job("r"), {}, dropped=[0], last=True))
        assert (play.jobs("m"), play.ended, play.finish) == ([], [0], "done")

    def test_a_failed_copy_is_missing(self):
        play = routing("p", merger=True)
        play.tell(routed(play.job("r"), {0: [0], 1: [0]}))
        play.work("b")
        play.tell(fail(play.job("a")))
        ((_, text),) = play.lost
        assert text.startswith("1 member failed: ValueError: broken p at node 'a'")

    def test_a_router_that_failed_has_opened_nothing(self):
        play = routing("p", merger=True)
        play.tell(fail(play.job("r")))
        assert (play.lost, play.jobs("m"), play.finish) == ([(0, "broken p")], [], "done")

    def test_inside_another_scope(self):
        r = route()
        play = Play(split() >> r >> {"x": wide("a"), "y": wide("b")} >> merge("m2", r) >> merge("m1"))
        play.play("p")
        play.tell(children(play.job("s"), "p0", "p1"))
        play.tell(routed(play.job("r"), {0: [0], 1: [0]}))
        play.tell(routed(play.job("r"), {1: [0]}))
        play.work("a", "b")
        while jobs := play.jobs("m2"):
            play.tell(done(jobs[0], *["+".join(members) for members in inputs(jobs[0])]))
        assert inputs(play.job("m1")) == [["p0+p0", "p1"]]
        play.work("m1")
        assert play.finish == "done"

    def test_a_scope_that_is_closed_after_the_scope_around_was_left(self):
        """The branches lead into a Merger of the Router, but no more into that of the split."""
        s, r = split(), route()
        a, b, c = tasks("a b c")
        play = Play((s >> r >> {"x": a, "y": b} >> merge("m2", r)) | (s >> c >> merge("m1", s)))
        play.play("p")
        play.tell(children(play.job("s"), "p0"))
        play.tell(routed(play.job("r"), {0: [0], 1: [0]}))
        play.work("c")
        assert inputs(play.job("m1")) == [["p0"]]
        play.work("m1", "a", "b")
        assert inputs(play.job("m2")) == [["p0", "p0"]]
        play.work("m2")
        assert play.finish == "done"

    def test_the_scope_around_waits_for_the_routers(self):
        """The Router itself is where nobody waits for the split any more: its failures are."""
        s, r, x = split(), route(), task("x")
        m = merge("m", s)
        play = Play((s >> r >> {"x": task("a"), "y": DROP} >> merge("n", r)) | (r.failures >> x >> m))
        play.play("p")
        play.tell(children(play.job("s"), "p0", "p1"))
        play.tell(routed(play.job("r"), {0: [0]}))
        play.tell(fail(play.job("r")))
        play.work("x")
        assert inputs(play.job("m")) == [[("failure", "p1", "broken p1")]]
        play.work("m", "a", "n")
        assert (sorted(map(str, play.outputs)), play.finish) == (
            ["('p0',)", "(('failure', 'p1', 'broken p1'),)"],
            "done",
        )


def test_a_router_that_dies_gives_back_what_it_has_not_routed():
    play = routing("p", "q")
    job = play.job("r")
    play.tell(routed(job, {1: [1]}, last=False, ended=[1]))
    play.tell(ev.WorkerLost(job.worker, "was killed", (0, 0)))
    assert inputs(play.job("r")) == ["p"]
