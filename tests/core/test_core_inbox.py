"""A node at run time: what it hands out at once, how that grows with what it learns, and how it is held back."""

from __future__ import annotations

import pytest
from core_made import Box, Play, done, inputs, kinds, part, task, wide
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core.crew import STALL_SECONDS
from dagflow.core.envelope import Envelope, Lease
from dagflow.core.ids import ROOT, Space, tasks_of
from dagflow.core.inbox import ENVELOPE_TASKS, GROWTH, Inbox, WorkerState

SPACE = Space(None, ROOT, None, 0)


def inbox(mode="serial", width=None, **options):
    return Inbox(Graph(task("a", mode, width, **options)).check().nodes[0])


def envelope(first, count, **more):
    return Envelope(more.pop("kind", "run"), [(SPACE, range(first, first + count))], count, Box(*range(count)), **more)


def worker(*leases, ready=True, lanes=1, alone=False):
    held = {n: Lease(n, 0, 1, [], [], count, count) for n, count in enumerate(leases)}
    return WorkerState(1, 0, lanes, ready, leases=held, load=sum(leases), alone=alone)


def popped(box, most):
    return [[index for _, index in tasks_of(e.segments)] for e in box.pop(most)]


class TestQueue:
    @given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1), st.booleans()), max_size=6), st.integers(1, 8))
    def test_popping_gives_all_tasks_in_order_and_no_lease_mixes_attempts(self, pushed, most):
        box, expected, number = inbox(), [], 0
        for count, attempt, first in pushed:
            indices = list(range(number, number + count))
            box.push(envelope(number, count, attempt=attempt), first=first)
            expected = indices + expected if first else expected + indices
            number += count
        found = []
        while box.queue:
            taken = box.pop(most)
            assert 1 <= sum(e.count for e in taken) <= most
            assert len({e.attempt for e in taken}) == 1
            found += [index for e in taken for _, index in tasks_of(e.segments)]
            assert box.queued == number - len(found)
        assert found == expected
        assert box.bytes == 0

    def test_neighbours_are_leased_together_and_the_last_is_cut(self):
        box = inbox()
        for first in (0, 3, 6):
            box.push(envelope(first, 3))
        assert popped(box, 7) == [[0, 1, 2], [3, 4, 5], [6]]
        assert (box.queued, box.bytes) == (2, 16)

    def test_kinds_are_not_mixed(self):
        box = inbox()
        box.push(envelope(0, 1))
        box.push(envelope(1, 1, kind="key"))
        assert popped(box, 9) == [[0]]

    def test_a_split_that_goes_on_travels_by_itself(self):
        box = inbox()
        for first, more in enumerate(({}, {"accepted": 3}, {})):
            box.push(envelope(first, 1, **more))
        assert [popped(box, 9), popped(box, 9), popped(box, 9)] == [[[0]], [[1]], [[2]]]

    def test_suspects_of_one_trial_travel_together_and_with_nobody_else(self):
        box = inbox()
        for first, trial in enumerate((0, 1, 1, 2, 0)):
            box.push(envelope(first, 2, trial=trial))
        assert popped(box, 9) == [[0, 1]]
        found = [[index for _, index in tasks_of(e.segments)] for e in box.pop_trial()]
        assert (found, box.queued, box.bytes) == ([[1, 2], [2, 3]], 4, 32)

    def test_one_can_be_taken_out_of_the_middle(self):
        box = inbox()
        three = [envelope(n, 2) for n in (0, 2, 4)]
        for each in three:
            box.push(each)
        box.take_out(three[1])
        assert (box.queued, box.bytes, list(box.queue)) == (4, 32, [three[0], three[2]])

    def test_all_can_be_forgotten(self):
        box = inbox()
        box.push(envelope(0, 2))
        box.clear()
        assert (box.queued, box.bytes, list(box.queue)) == (0, 0, [])


class TestLearning:
    def test_an_unknown_node_gets_one_task_at_a_time(self):
        assert inbox().want == 1

    def test_it_aims_at_twenty_milliseconds_and_grows_step_by_step(self):
        """What was measured on few tasks says little, so an envelope grows at most eightfold."""
        box = inbox()
        box.learn(1, 1e-6)
        assert box.want == GROWTH
        box.learn(GROWTH, GROWTH * 1e-6)
        assert box.want == GROWTH * GROWTH
        box.learn(10_000, 10_000 * 1e-6)
        assert box.want == ENVELOPE_TASKS
        box.learn(10_000, 10_000 * 13e-6)
        assert box.want == round(0.020 / 7e-6)

    def test_a_task_that_takes_longer_travels_alone(self):
        box = inbox()
        box.learn(1, 0.5)
        assert box.want == 1

    def test_rising_costs_are_believed_faster_than_falling_ones(self):
        rising, falling = inbox(), inbox()
        rising.learn(1, 0.001)
        rising.learn(1, 0.003)
        falling.learn(1, 0.003)
        falling.learn(1, 0.001)
        assert rising.cost == pytest.approx(0.002)
        assert falling.cost == pytest.approx(0.0025)

    def test_time_without_tasks_and_tasks_side_by_side_teach_no_cost(self):
        box, threads = inbox(), inbox("thread", 4)
        box.learn(0, 0.25)
        threads.learn(4, 0.25)
        assert (box.cost, threads.cost) == (None, None)

    def test_a_batch_size_is_the_least(self):
        box = inbox(batch_size=20)
        assert (box.want, box.share(worker(), 0.0)) == (20, 20)


class TestRoom:
    def test_a_queue_holds_some_envelopes_for_each_worker(self):
        cheap = inbox("process", 2)
        cheap.learn(100, 1e-4)
        assert (inbox().capacity, cheap.capacity, inbox("async", 100).capacity) == (64, 4 * cheap.want * 2, 200)

    def test_payloads_are_cut_for_it(self):
        cheap = inbox()
        cheap.learn(10, 1e-5)
        assert (inbox().cut(), cheap.cut(), inbox("thread", 2).cut()) == (4, 4 * cheap.want, 64)


class TestCredit:
    """How many more tasks a worker may be given."""

    def queued(self, box, count=100, cost=1e-6):
        box.push(envelope(0, count))
        if cost is not None:
            box.learn(1000, 1000 * cost)
        return box

    def test_none_before_it_is_ready_or_while_it_is_under_suspicion(self):
        box = self.queued(inbox())
        assert (box.credit(worker(ready=False), 0.0), box.credit(worker(alone=True), 0.0)) == (0, 0)

    def test_an_idle_one_gets_an_envelope_that_leaves_something_for_the_others(self):
        assert self.queued(inbox("process", 4)).credit(worker(), 0.0) == 25
        assert self.queued(inbox()).credit(worker(), 0.0) == 100

    def test_a_second_envelope_waits_at_a_busy_worker_and_no_third(self):
        box = self.queued(inbox(), cost=0.001)
        assert (box.credit(worker(20), 0.0), box.credit(worker(20, 20), 0.0)) == (20, 0)

    def test_more_wait_if_all_of_them_are_less_work_than_one_should_be(self):
        box = self.queued(inbox(), cost=1e-6)
        assert [box.credit(worker(*[10] * n), 0.0) for n in (2, 7, 8)] == [100, 100, 0]
        assert box.credit(worker(10_000, 10_000), 0.0) == 0

    def test_of_large_values_few_are_queued_and_leased(self):
        box = self.queued(inbox(), cost=1e-6)
        box.weigh(2.0**19)
        assert (box.want, box.capacity) == (8, 8)
        assert [box.credit(worker(*loads), 0.0) for loads in ([8], [4, 8], [8, 8])] == [8, 8, 0]

    def test_where_tasks_time_out_none_waits_behind_another(self):
        assert self.queued(inbox(timeout=1.0)).credit(worker(10), 0.0) == 0

    @pytest.mark.parametrize(("cost", "credit"), [(None, 0), (0.2, 0), (0.001, 20)])
    def test_a_second_envelope_waits_only_if_no_other_worker_could_begin_it_sooner(self, cost, credit):
        assert self.queued(inbox("process", 2), cost=cost).credit(worker(10), 0.0) == credit

    @pytest.mark.parametrize(
        ("mine", "others", "queued", "elapsed", "credit"),
        [
            ([4], [8], 2, 0.0, 3),  # 14 in all: seven each
            ([8], [4], 2, 0.0, 0),  # the other one is there first
            ([4], [4, 4], 5, 0.015, 3),  # three of the other one's are done by now
            ([4], [4], 2, 0.0, 1),
            ([], [4, 4], 1, 0.0, 4),  # whoever has nothing gets what there is
            ([], [1], 3, 0.0, 2),
            ([2], [2], 1, 0.0, 1),  # neither is there before the other
            ([4], [2, 2], 4, 60.0, 1),  # it is at a slow one; what waits behind that is left all the same
        ],
    )
    def test_where_little_is_left_all_are_to_end_together(self, mine, others, queued, elapsed, credit):
        """By what tasks have cost: 5 ms each."""
        box = self.queued(inbox("process", 2), queued, cost=0.005)
        box.workers = {1: worker(*mine), 2: worker(*others)}
        for each in box.workers.values():
            each.since = 100.0
        box.workers[1].since = 100.0 + elapsed
        assert box.credit(box.workers[1], 100.0 + elapsed) == credit

    def test_a_worker_of_many_lanes_is_filled_up_in_large_steps(self):
        box = self.queued(inbox("thread", 8))
        credits = [box.credit(worker(load, lanes=8), 0.0) for load in (0, 1, 12, 13, 20)]
        assert credits == [16, 15, 4, 0, 0]


class TestRateLimit:
    def test_none_is_no_bound(self):
        assert inbox().allow(0.0) == ENVELOPE_TASKS
        assert inbox().allowed_next(0.0) is None

    def test_it_fills_up_with_time_and_holds_little(self):
        box = inbox(rate_limit=10)
        assert box.allow(0.0) == 1
        box.allowance -= 1
        assert (box.allow(0.05), box.allowed_next(0.05)) == (0, pytest.approx(0.1))
        assert (box.allow(0.1), box.allowed_next(0.1)) == (1, None)
        assert box.allow(60.0) == 1, "a pause is not made up for"

    def test_a_high_rate_comes_in_small_bursts(self):
        assert inbox(rate_limit=1000).allow(0.0) == 10

    def test_tasks_are_leased_no_faster_than_allowed(self):
        play = Play(Graph(task("a", rate_limit=10)))
        play.give(*range(5))
        begun = []
        while len(begun) < 5:
            begun += [(play.now, inputs(job)) for job in play.jobs("a")]
            play.work("a")
            deadline = play.core.next_deadline()
            if deadline is not None:
                assert play.core.stuck() is None
                play.tell(wait=deadline - play.now)
        assert [(pytest.approx(n / 10), [n]) for n in range(5)] == begun

    def test_a_batch_counts_all_its_tasks(self):
        play = Play(Graph(wide("a", rate_limit=1000)))
        play.give(*range(40))
        assert [inputs(job) for job in play.jobs("a")] == [list(range(8))]
        assert play.core.next_deadline() == STALL_SECONDS, "it could have two more now: its lanes are full"
        play.tell(done(play.job("a")), wait=0.001)
        assert inputs(play.job("a")) == [8, 9, 10]
        assert play.core.next_deadline() == pytest.approx(0.002)


class TestByEvents:
    def test_envelopes_grow_as_answers_say_what_tasks_cost(self):
        play = Play(Graph(task("a")))
        play.give(*range(200))
        sizes = []
        for _ in range(4):
            job = play.job("a")
            sizes.append(job.job.count)
            play.tell(done(job, seconds=1e-5 * job.job.count))
        assert sizes == [1, 1, 8, 8]

    def test_an_answer_in_parts_teaches_what_all_of_them_say(self):
        play = Play(Graph(task("a", batch_size=4)))
        play.give(*range(8))
        job = play.job("a")
        play.tell(part(job, {0: 0, 1: 1}, seconds=0.5))
        assert (play.node("a").cost, play.node("a").seconds) == (None, 0.5)
        play.tell(part(job, {2: 2, 3: 3}, seconds=0.25, last=True))
        assert (play.node("a").cost, play.node("a").seconds) == (0.75 / 4, 0.75)

    def test_workers_of_a_wide_node_are_started_as_there_is_work(self):
        """One a turn, while more is queued than those that are starting will take; never more than its width."""
        play = Play(Graph(task("a", "process", 3)), up=False)
        started = [len(kinds(out, do.StartWorker)) for out in (play.give("x"), play.tell(), play.give("y", "z"))]
        started += [len(kinds(out, do.StartWorker)) for out in (play.tell(), play.give("w"), play.tell())]
        assert started == [1, 0, 1, 1, 0, 0]
