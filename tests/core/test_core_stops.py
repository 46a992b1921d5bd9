"""Stops: a run that is told to end, at once or when the running tasks have; and one that holds."""

from __future__ import annotations

import pytest
from core_made import Play, children, done, error, fail, fold, inputs, kinds, merge, split, states, task, tasks, wide
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core import events as ev


class TestDrain:
    def test_nothing_is_read_or_begun_any_more_and_what_runs_may_end(self):
        play = Play(Graph(task("a")))
        play.give("x", "y", "z")
        first, second = play.jobs("a")
        play.tell(ev.StopAsked())
        assert kinds(play.out, do.StopSource) == [do.StopSource()]
        assert (play.finish, play.node("a").queued, play.core.in_flight) == (None, 0, 2)
        play.tell(done(first))
        play.tell(done(second))
        assert kinds(play.out, do.StopWorker) == [do.StopWorker(1)]
        assert (play.outputs, play.finish) == (["x", "y"], "stopped")
        assert play.counts("a") == {"received": 2, "succeeded": 2}, "what was only queued never counts"

    def test_what_comes_of_the_running_tasks_goes_nowhere(self):
        a, b = tasks("a b")
        play = Play(a >> b)
        play.give("x")
        play.tell(ev.StopAsked())
        play.tell(done(play.job("a")))
        assert (play.finish, play.ended, play.counts("b")) == ("stopped", [], {})

    def test_a_failed_one_is_not_tried_again(self):
        play = Play(Graph(task("a", retries=5)))
        play.give("x")
        play.tell(ev.StopAsked())
        play.tell(fail(play.job("a"), retry=True))
        assert (play.lost, play.finish) == ([(0, "broken x")], "stopped")

    def test_what_waits_for_a_retry_is_given_up(self):
        play = Play(Graph(task("a", retries=5)))
        play.give("x")
        play.tell(fail(play.job("a"), retry=True))
        play.tell(ev.StopAsked())
        assert (play.finish, play.core.next_deadline()) == ("stopped", None)

    def test_a_merge_that_becomes_complete_is_not_begun(self):
        play = Play(split() >> wide("a") >> merge())
        play.give("x")
        play.tell(children(play.job("s"), "x0"))
        play.tell(ev.StopAsked())
        play.tell(done(play.job("a")))
        assert (play.jobs("m"), play.finish) == ([], "stopped")

    def test_nor_the_next_step_of_a_fold(self):
        play = Play(Graph(fold("f", "run")))
        play.give("x")
        play.give("y")
        play.tell(ev.StopAsked())
        play.tell(states(play.job("f"), "X"))
        assert play.finish == "stopped"

    def test_tasks_that_the_source_had_read_already_do_not_count(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.tell(ev.StopAsked())
        play.give("y")
        assert (play.core.admitted, play.core.in_flight) == (1, 1)

    def test_it_may_be_asked_for_again(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.tell(ev.StopAsked())
        play.tell(ev.StopAsked())
        assert (kinds(play.out, do.StopSource), play.finish) == ([], None)

    def test_before_anything_was_read(self):
        play = Play(Graph(task("a")))
        play.tell(ev.StopAsked())
        assert play.out == [do.StopSource(), do.Finish("stopped")]


class TestKill:
    def test_at_once_whatever_runs(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.tell(ev.StopAsked(kill=True))
        assert kinds(play.out, do.StopWorker) == [do.StopWorker(1, kill=True)]
        assert (play.finish, play.counts("a"), play.core.leases) == ("stopped", {}, {})

    def test_after_the_run_was_asked_to_stop(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.tell(ev.StopAsked())
        assert play.finish is None
        play.tell(ev.StopAsked(kill=True))
        assert (kinds(play.out, do.StopSource), play.finish) == ([], "stopped")

    def test_after_it_there_is_nothing_milder(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.tell(ev.StopAsked(kill=True), ev.StopAsked())
        assert kinds(play.out, do.StopWorker) == [do.StopWorker(1, kill=True)]


class TestFailFast:
    def test_the_first_lost_task_ends_the_run(self):
        play = Play(Graph(wide("a")), fail_fast=True)
        play.give("x", "y", "z")
        job = play.job("a")
        play.tell(ev.Answer(job.worker, job.token, failures=[(1, error("no"), False), (2, error("nor"), False)]))
        assert (play.finish, play.core.first_lost.index) == ("failed", 1)
        assert play.lost == [(1, "no"), (2, "nor")]

    def test_a_failure_that_is_taken_up_ends_nothing(self):
        a, told = tasks("a told")
        play = Play(a.failures >> told, fail_fast=True)
        play.give("x")
        play.tell(fail(play.job("a")))
        assert (play.finish, inputs(play.job("told"))) == (None, [("failure", "x", "broken x")])

    def test_a_window_that_is_lost_ends_it_too(self):
        play = Play(Graph(merge("w", size=1)), fail_fast=True)
        play.give("x")
        play.tell(fail(play.job("w")))
        assert isinstance(play.core.first_lost, do.AggregateLost)
        assert play.finish == "failed"


class TestPause:
    def test_nothing_is_begun_or_read_until_it_goes_on(self):
        play = Play(Graph(task("a")))
        play.give("x", "y", "z")
        play.tell(ev.PauseAsked(True))
        for job in play.jobs("a"):
            play.tell(done(job))
        assert (play.outputs, play.jobs("a"), play.node("a").queued) == (["x", "y"], [], 1)
        assert play.core.stuck() is None
        play.tell(ev.PauseAsked(False))
        assert inputs(play.job("a")) == ["z"]

    def test_the_source_is_asked_for_nothing(self):
        play = Play(Graph(task("a")))
        play.tell(ev.PauseAsked(True))
        play.give("x")
        assert play.resumed(do.Pull) == []
        play.tell(ev.PauseAsked(False))
        assert play.resumed(do.Pull) != []

    def test_what_has_ended_still_closes(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.tell(ev.PauseAsked(True))
        play.tell(done(play.job("a")))
        play.end()
        assert play.finish == "done"

    def test_a_paused_run_can_be_stopped(self):
        play = Play(Graph(task("a")))
        play.tell(ev.PauseAsked(True))
        play.give("x")
        play.tell(ev.StopAsked())
        assert play.finish == "stopped"


class TestSourceErrors:
    def test_what_was_read_is_done_and_the_run_has_failed(self):
        play = Play(Graph(task("a")))
        play.give("x")
        broken = ValueError("the source broke")
        play.end(broken)
        play.work("a")
        assert (play.outputs, play.ended, play.finish) == (["x"], [0], "failed")
        assert play.core.source_error is broken

    def test_the_first_error_is_told(self):
        play = Play(Graph(task("a")))
        play.give("x")
        first = ValueError("first")
        play.end(first)
        play.end(ValueError("second"))
        assert play.core.source_error is first


@pytest.mark.parametrize("kill", [False, True])
@given(data=st.data())
def test_a_stopped_run_counts_what_ended_and_nothing_else(kill, data):
    """Wherever it is stopped: received = succeeded + failed + dropped, and nothing is in flight at the end."""
    play = Play(split() >> wide("a") >> merge())
    play.give(*range(3))
    steps = data.draw(st.integers(0, 8))
    for number in range(99):
        if number == steps:
            play.tell(ev.StopAsked(kill))
        if play.finish:
            break
        if jobs := [(name, job) for name in "sam" for job in play.jobs(name)]:
            name, job = data.draw(st.sampled_from(jobs))
            play.tell(children(job, "0", "1") if name == "s" else done(job))
        else:
            play.end()
    assert play.finish in ("stopped", "done")
    for node in play.core.nodes:
        counts = node.counts
        assert counts.received == counts.succeeded + counts.failed + counts.dropped
    assert (play.core.in_flight, play.core.workers, play.core.leases) == (0, {}, {})
