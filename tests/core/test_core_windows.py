"""Windows: members in the order they arrive, as many as fit or as come in time; they belong to no source task."""

from __future__ import annotations

from core_made import (
    Box,
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

from dagflow import Graph, par
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import tasks_of


def windows(play, name="w"):
    """What the windows that have fired hold; all of them succeed."""
    found = []
    while jobs := play.jobs(name):
        found += inputs(jobs[0])
        play.tell(done(jobs[0], *["/".join(m) for m in inputs(jobs[0])]))
    return found


class TestSize:
    def test_a_window_fires_when_it_is_full(self):
        play = Play(wide("a") >> merge("w", size=2))
        play.give("x", "y", "z")
        play.tell(part(play.job("a"), {2: "z"}))
        assert play.jobs("w") == []
        play.tell(part(play.jobs("a")[0], {0: "x", 1: "y"}, last=True))
        assert windows(play) == [["z", "x"]]
        assert play.node("w").merge.held == 1
        play.end()
        assert windows(play) == [["y"]]
        assert (play.outputs, play.finish) == (["z/x", "y"], "done")
        assert play.counts("w") == {"received": 3, "succeeded": 3}

    def test_many_members_at_once_fill_many_windows(self):
        play = Play(Graph(merge("w", size=2)))
        play.play(*"abcde")
        assert windows(play) == [["a", "b"], ["c", "d"], ["e"]]

    def test_members_may_come_of_several_payloads_and_scopes(self):
        play = Play(split() >> merge("w", size=3))
        play.play("x", "y")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(children(play.job("s"), "y0", "y1"))
        assert windows(play) == [["x0", "x1", "y0"], ["y1"]]
        assert play.finish == "done"

    def test_source_tasks_end_when_their_members_have_arrived(self):
        play = Play(Graph(merge("w", size=9)))
        play.give("x", "y")
        assert play.ended == [0, 1]

    def test_what_comes_of_a_window_belongs_to_no_source_task(self):
        play = Play(merge("w", size=2) >> task("b"))
        play.play("x", "y")
        windows(play)
        play.work("b")
        (output,) = play.heard(do.Output)
        ((space, _),) = tasks_of(output.segments)
        assert space.aggregate

    def test_windows_of_windows(self):
        play = Play(merge("v", size=2) >> merge("w", size=2))
        play.play(*"abcd")
        assert windows(play, "v") == [["a", "b"], ["c", "d"]]
        assert windows(play, "w") == [["a/b", "c/d"]]
        assert play.finish == "done"

    def test_a_window_may_be_split_and_merged(self):
        play = Play(merge("w", size=2) >> split() >> merge("m"))
        play.play("x", "y")
        windows(play)
        play.tell(children(play.job("s"), "0", "1"))
        assert windows(play, "m") == [["0", "1"]]
        assert (play.outputs, play.finish) == (["0/1"], "done")

    def test_nothing_arrives_so_nothing_fires(self):
        play = Play(task("a") >> merge("w", size=2))
        play.play("x")
        play.tell(part(play.job("a"), {}, dropped=[0], last=True))
        assert (play.jobs("w"), play.finish) == ([], "done")

    def test_what_it_holds_holds_nobody_back(self):
        play = Play(task("a") >> merge("w", size=1000), max_in_flight=2)
        for number in range(10):
            play.give(number)
            play.work("a")
        assert (play.node("w").merge.held, play.core.in_flight) == (10, 0)


class TestWithin:
    def test_a_window_fires_when_its_first_member_has_waited_long_enough(self):
        play = Play(Graph(merge("w", within=2.0)))
        play.give("x")
        assert play.core.next_deadline() == 2.0
        assert play.core.stuck() is None
        play.give("y", wait=1.5)
        assert play.jobs("w") == []
        play.tell(wait=0.5)
        assert windows(play) == [["x", "y"]]
        play.give("z", wait=0.5)
        assert play.core.next_deadline() == play.now + 2.0

    def test_or_when_it_is_full(self):
        play = Play(Graph(merge("w", size=2, within=2.0)))
        play.give("x", "y", "z")
        assert windows(play) == [["x", "y"]]
        play.tell(wait=2.0)
        assert windows(play) == [["z"]]

    def test_or_at_the_end(self):
        play = Play(Graph(merge("w", within=2.0)))
        play.play("x")
        assert windows(play) == [["x"]]
        assert play.finish == "done"


class TestFold:
    def test_a_window_may_be_folded(self):
        play = Play(Graph(fold("w", size=3)))
        play.give("x", "y")
        assert inputs(play.job("w")) == [["x", "y"]]
        play.tell(states(play.job("w"), "XY"))
        play.give("z", "1")
        job = play.job("w")
        assert inputs(job) == [["z"], ["1"]], "the next window has begun"
        last, first = job.job.groups
        assert (last.state.values, last.final, first.state, first.final) == (("XY",), True, None, False)
        ended = [ev.Produced(0, Box("XYZ"), [0])]
        play.tell(ev.Answer(job.worker, job.token, outputs=ended, states={1: Box("1")}))
        play.end()
        assert inputs(play.job("w")) == [[]]
        play.tell(done(play.job("w"), "1"))
        assert (play.outputs, play.finish) == (["XYZ", "1"], "done")

    def test_a_step_that_is_queued_when_its_window_closes(self):
        play = Play(Graph(fold("w", size=2)), up=False)
        play.give("x")
        play.give("y")
        play.up = True
        play.tell()
        assert inputs(play.job("w")) == [["x", "y"]]
        assert play.job("w").job.groups[0].final


class TestFailing:
    def test_a_window_that_fails_fails_its_members_source_tasks(self):
        play = Play(Graph(merge("w", size=2)))
        play.play("x", "y", "z")
        play.tell(fail(play.job("w")))
        (lost,) = play.heard(do.AggregateLost)
        assert [index for _, index in tasks_of(lost.members)] == [0, 1]
        assert lost.error.message == "broken ['x', 'y']"
        assert play.counts("w") == {"received": 3, "failed": 2}

    def test_through_windows_of_windows(self):
        play = Play(merge("v", size=2) >> merge("w", size=2))
        play.play(*"abcd")
        windows(play, "v")
        play.tell(fail(play.job("w")))
        (lost,) = play.heard(do.AggregateLost)
        assert [index for _, index in tasks_of(lost.members)] == [0, 1, 2, 3]

    def test_through_nodes_after_it(self):
        play = Play(par(task("a"), task("b")) >> merge("w", size=2) >> task("c"))
        play.play("x")
        play.work("a", "b")
        windows(play)
        play.tell(fail(play.job("c")))
        (lost,) = play.heard(do.AggregateLost)
        assert [index for _, index in tasks_of(lost.members)] == [0, 0]
        assert (lost.node, play.finish) == (3, "done")

    def test_a_member_that_failed_before_is_not_missed(self):
        play = Play(wide("a") >> merge("w", size=2))
        play.play("x", "y", "z")
        play.tell(fail(play.job("a"), 1))
        assert windows(play) == [["x", "z"]]
        assert play.lost == [(1, "broken y")]

    def test_a_window_is_tried_again(self):
        play = Play(Graph(merge("w", size=2, max_retries=1, retry_delay=1.0)))
        play.play("x", "y")
        play.tell(fail(play.job("w"), retry=True))
        play.tell(wait=1.0)
        assert windows(play) == [["x", "y"]]
        assert play.finish == "done"
