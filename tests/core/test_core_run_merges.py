"""Mergers of the whole run: everything, once, at the end."""

from __future__ import annotations

from core_made import (
    Play,
    children,
    done,
    fail,
    fold,
    inputs,
    merge,
    part,
    split,
    states,
    task,
    wide,
)

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import tasks_of


def everything(name="m", **options):
    return merge(name, "run", **options)


class TestFiring:
    def test_it_fires_when_its_upstreams_have_closed_in_lineage_order(self):
        play = Play(wide("a") >> everything())
        play.give("x", "y", "z")
        play.tell(part(play.job("a"), {2: "z"}))
        play.end()
        play.tell(part(play.job("a"), {0: "x", 1: "y"}, last=True))
        assert inputs(play.job("m")) == [["x", "y", "z"]]
        assert play.node("m").phase == "flushing"
        play.tell(done(play.job("m"), "xyz"))
        assert (play.outputs, play.finish) == (["xyz"], "done")
        assert play.counts("m") == {"received": 3, "succeeded": 3}

    def test_children_stand_where_their_parents_did(self):
        play = Play(split() >> wide("a") >> everything())
        play.play("x", "y")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(children(play.job("s"), "y0"))
        first, second = play.jobs("a")
        play.tell(done(second))
        play.tell(done(first))
        assert inputs(play.job("m")) == [["x0", "x1", "y0"]]

    def test_it_fires_for_a_run_of_nothing_too(self):
        play = Play(task("a") >> everything())
        play.end()
        assert inputs(play.job("m")) == [[]]
        play.tell(done(play.job("m"), "nothing"))
        assert (play.outputs, play.finish) == (["nothing"], "done")

    def test_not_while_the_run_is_paused(self):
        play = Play(Graph(everything()))
        play.give("x")
        play.tell(ev.PauseAsked(True))
        play.end()
        assert play.jobs("m") == []
        play.tell(ev.PauseAsked(False))
        assert inputs(play.job("m")) == [["x"]]

    def test_one_after_another(self):
        play = Play(everything("m1") >> everything("m2"))
        play.play("x", "y")
        play.tell(done(play.job("m1"), "xy"))
        assert inputs(play.job("m2")) == [["xy"]]
        play.tell(done(play.job("m2"), "xy"))
        assert play.finish == "done"

    def test_a_window_after_a_window(self):
        play = Play(merge("w", size=2) >> everything())
        play.play("x", "y", "z")
        play.tell(done(play.job("w"), "xy"))
        play.tell(done(play.job("w"), "z"))
        assert inputs(play.job("m")) == [["xy", "z"]]

    def test_source_tasks_end_when_their_members_have_arrived(self):
        play = Play(Graph(everything()))
        play.give("x", "y")
        assert (play.ended, play.node("m").merge.held) == ([0, 1], 2)


class TestFold:
    def test_members_are_combined_as_they_come(self):
        play = Play(Graph(fold("m", "run")))
        play.give("x", "y")
        assert inputs(play.job("m")) == [["x", "y"]]
        play.give("z")
        play.end()
        play.tell(states(play.job("m"), "xy"))
        assert (inputs(play.job("m")), play.job("m").job.groups[0].final) == ([["z"]], False)
        play.tell(states(play.job("m"), "xyz"))
        assert (inputs(play.job("m")), play.job("m").job.groups[0].final) == ([[]], True)
        play.tell(done(play.job("m"), "xyz"))
        assert (play.outputs, play.finish) == (["xyz"], "done")

    def test_nothing_folds_to_the_initial_value(self):
        play = Play(Graph(fold("m", "run")))
        play.end()
        assert inputs(play.job("m")) == [[]]

    def test_a_failed_step_fails_the_run_of_it(self):
        play = Play(Graph(fold("m", "run")))
        play.give("x")
        play.tell(fail(play.job("m")))
        play.give("y")
        play.end()
        (lost,) = play.heard(do.AggregateLost)
        assert lost.error.message == "broken ['x']"
        assert [index for _, index in tasks_of(lost.members)] == [0, 1]
        assert (play.counts("m"), play.finish) == ({"received": 2, "failed": 2}, "done")


class TestMissing:
    def test_what_failed_before_it_fails_it_and_all_its_members(self):
        play = Play(wide("a") >> everything())
        play.play("x", "y")
        play.tell(fail(play.job("a"), 1))
        assert play.lost == [(1, "broken y")]
        (lost,) = play.heard(do.AggregateLost)
        assert lost.error.message.startswith("1 member failed: ValueError: broken y at node 'a'")
        assert [index for _, index in tasks_of(lost.members)] == [0]
        assert (play.counts("m"), play.finish) == ({"received": 1, "failed": 1}, "done")

    def test_or_is_skipped_and_has_then_not_failed_its_source_task(self):
        play = Play(wide("a") >> everything(on_missing="skip"))
        play.play("x", "y")
        play.tell(fail(play.job("a"), 1))
        assert inputs(play.job("m")) == [["x"]]
        play.tell(done(play.job("m"), "x"))
        assert (play.lost, play.finish) == ([], "done")

    def test_a_fold_that_misses_members(self):
        play = Play(wide("a") >> fold("m", "run"))
        play.play("x", "y")
        play.tell(fail(play.job("a"), 1))
        play.tell(states(play.job("m"), "x"))
        (lost,) = play.heard(do.AggregateLost)
        assert lost.error.type == "MissingMembers"
        assert (play.counts("m"), play.finish) == ({"received": 1, "failed": 1}, "done")

    def test_those_that_stand_elsewhere_are_not_missed(self):
        a, b = task("a"), task("b")
        play = Play((a >> everything()) | b)
        play.play("x")
        play.work("a")
        play.tell(fail(play.job("b")))
        assert inputs(play.job("m")) == [["x"]]
        assert play.lost == [(0, "broken x")]
