"""Retrying: how long a failed task waits, and what waits."""

from __future__ import annotations

import pytest
from core_made import Box, Play, done, fail, inputs, kinds, part, task, wide
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core.envelope import Envelope
from dagflow.core.retrying import Waiting, backoff


def plan(delay=0.1, most=30.0):
    return Graph(task("a", retry_delay=delay, retry_max_delay=most)).check().node_named("a")


def envelope(count):
    return Envelope("run", [], count, Box(*range(count)))


class TestBackoff:
    @given(st.floats(0, 1e3), st.floats(0, 1e3), st.integers(1, 2000), st.integers())
    def test_it_doubles_up_to_its_bound_less_at_most_half_for_jitter(self, delay, most, attempt, salt):
        full = min(most, delay * 2.0 ** min(attempt - 1, 60))
        assert full / 2 <= backoff(plan(delay, most), attempt, salt) <= full

    def test_it_depends_on_the_salt_alone_so_that_a_replay_waits_the_same(self):
        assert backoff(plan(), 3, 17) == backoff(plan(), 3, 17)

    @pytest.mark.parametrize(("attempt", "full"), [(1, 0.1), (2, 0.2), (3, 0.4), (9, 25.6), (10, 30.0), (5000, 30.0)])
    def test_the_defaults(self, attempt, full):
        assert full / 2 <= backoff(plan(), attempt, 1) <= full


class TestWaiting:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(1, 3))), st.integers(0, 9))
    def test_what_is_due_comes_soonest_first_and_equals_in_order(self, puts, now):
        waiting = Waiting()
        for number, (due, node, count) in enumerate(puts):
            one = envelope(count)
            one.attempt = number
            waiting.put(due, node, one)
        expected = sorted((due, number, node) for number, (due, node, _) in enumerate(puts))
        assert waiting.next_due() == (expected[0][0] if expected else None)
        found = waiting.due(now)
        assert [(e.attempt, node) for node, e in found] == [(n, node) for due, n, node in expected if due <= now]
        left = [(n, node) for due, n, node in expected if due > now]
        for node in range(3):
            assert waiting.at_node.get(node, 0) == sum(puts[n][2] for n, at in left if at == node)

    def test_all_of_it_can_be_forgotten(self):
        waiting = Waiting()
        waiting.put(1.0, 0, envelope(2))
        waiting.clear()
        assert (waiting.next_due(), waiting.due(9.0), waiting.at_node) == (None, [], {})


class TestRetries:
    """By events: a failed attempt that may be retried comes back when its time has come."""

    def test_it_is_told_with_its_delay_and_leased_again_when_that_has_passed(self):
        play = Play(Graph(task("a", retries=2, retry_delay=1.0)))
        play.give("x")
        play.tell(fail(play.job("a"), retry=True))
        (failed,) = kinds(play.out, do.TaskFailed)
        assert (failed.attempt, failed.error.message) == (1, "broken x")
        assert play.core.next_deadline() == failed.retry_in
        assert 0.5 <= failed.retry_in <= 1.0
        assert play.jobs("a") == []
        assert play.core.stuck() is None
        play.tell(wait=failed.retry_in - 0.001)
        assert play.jobs("a") == []
        play.tell(wait=0.001)
        assert (inputs(play.job("a")), play.job("a").job.attempt) == (["x"], 1)
        play.tell(done(play.job("a"), "y"))
        play.end()
        assert (play.outputs, play.finish) == (["y"], "done")
        assert play.counts("a") == {"received": 1, "succeeded": 1, "retried": 1}

    def test_tasks_that_fail_together_do_not_come_back_together(self):
        play = Play(Graph(wide("a", width=100, retries=1, retry_delay=1.0)))
        play.give(*range(100))
        job = play.job("a")
        play.tell(part(job, {}, last=True, fails=range(100), retry=True))
        waits = [f.retry_in for f in kinds(play.out, do.TaskFailed)]
        quarters = [sum(0.5 + q / 8 <= wait <= 0.625 + q / 8 for wait in waits) for q in range(4)]
        assert sum(quarters) == len(set(waits)) == 100
        assert min(quarters) > 10

    def test_after_its_last_attempt_it_has_failed(self):
        play = Play(Graph(task("a", retries=1, retry_delay=1.0)))
        play.give("x")
        play.tell(fail(play.job("a"), retry=True))
        play.tell(wait=1.0)
        play.tell(fail(play.job("a"), retry=True))
        (failed,) = kinds(play.out, do.TaskFailed)
        assert (failed.attempt, failed.retry_in, failed.error.node, failed.error.attempts) == (2, None, "a", 2)
        assert play.lost == [(0, "broken x")]
        assert play.counts("a") == {"received": 1, "failed": 1, "retried": 1}

    def test_what_may_not_be_retried_is_not(self):
        play = Play(Graph(task("a", retries=5)))
        play.give("x")
        play.tell(fail(play.job("a")))
        assert play.lost == [(0, "broken x")]

    def test_a_waiting_task_occupies_no_worker(self):
        play = Play(Graph(task("a", retries=1, retry_delay=1.0)))
        play.give("x", "y")
        play.tell(fail(play.job("a"), retry=True))
        assert inputs(play.job("a")) == ["y"]

    def test_of_a_batch_only_the_failed_ones_are_tried_again(self):
        play = Play(Graph(wide("a", retries=1, retry_delay=1.0)))
        play.give("x", "y", "z")
        play.tell(fail(play.job("a"), 1, retry=True))
        assert play.outputs == ["x", "z"]
        play.tell(wait=1.0)
        assert inputs(play.job("a")) == ["y"]

    def test_a_node_does_not_close_while_something_waits(self):
        play = Play(Graph(task("a", retries=1, retry_delay=1.0)))
        play.play("x")
        play.tell(fail(play.job("a"), retry=True))
        assert play.node("a").phase == "draining"
        assert "1 waiting for a retry" in play.core.story()
