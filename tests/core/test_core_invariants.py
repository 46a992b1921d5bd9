"""The invariants: each can fail, and says what does not add up, with the scheduler's story."""

from __future__ import annotations

import pytest
from core_made import Play, done, merge, part, task, wide

from dagflow import Graph
from dagflow.core.ids import ROOT, Space
from dagflow.core.invariants import check
from dagflow.errors import InvariantBroken

# What is broken on purpose, and what is said of it. Each starts from a sound state: one task is leased at "a", one
# queued there, and one is held by the window "w".


def more_queued(core):
    core.nodes[0].queued += 1


def envelope_without_tasks(core):
    core.nodes[0].queue[0].segments = []


def more_leased(core):
    core.nodes[0].leased += 1


def more_in_flight(core):
    core.in_flight += 1


def load_of_nothing(core):
    core.workers[1].load += 1


def a_worker_is_gone(core):
    del core.workers[1]


def lease_without_tasks(core):
    (lease,) = core.leases.values()
    core.nodes[0].leased -= lease.left
    core.in_flight -= lease.left
    core.workers[1].load -= lease.left
    lease.left = 0


def lease_of_other_tasks(core):
    (lease,) = core.leases.values()
    lease.segments = [*lease.segments, (Space(None, ROOT, None, 0), [1])]


def closed_with_members(core):
    core.nodes[1].phase = "closed"


def ended_twice(core):
    core.nodes[1].counts.succeeded += 9


def a_fate_below_one(core):
    core.lineages.fates.live[2] = 0


def more_ended_than_began(core):
    core.open_roots = -1


def more_open_than_began(core):
    core.open_roots = core.admitted + 1


BREAKING = {
    more_queued: "'a' says 2 queued, holds 1",
    envelope_without_tasks: "an envelope at 'a' miscounts",
    more_leased: "'a' says 2 leased, leases hold 1",
    more_in_flight: "in flight is 3, counted 2",
    load_of_nothing: "worker 1 says load 2, leases hold 1",
    a_worker_is_gone: "lease 2 is held by worker 1, which is gone",
    lease_without_tasks: "lease 2 has 0 tasks left",
    lease_of_other_tasks: "lease 2 miscounts its tasks",
    closed_with_members: "'w' is closed and still holds something",
    ended_twice: "'w' ended more tasks than it received",
    a_fate_below_one: "a source task counts below one",
    more_ended_than_began: "more source tasks have ended than began",
    more_open_than_began: "more source tasks have ended than began",
}


def sound():
    play = Play(task("a", timeout=60.0) >> merge("w", size=5))
    play.give("x", "y", "z")
    play.tell(done(play.job("a"), seconds=9.0))
    assert (play.node("a").queued, play.node("a").leased, play.node("w").merge.held) == (1, 1, 1)
    return play.core


def test_a_sound_state_passes():
    check(sound())


@pytest.mark.parametrize(("breaking", "what"), BREAKING.items(), ids=[f.__name__ for f in BREAKING])
def test_what_does_not_add_up_is_told_with_the_story(breaking, what):
    core = sound()
    breaking(core)
    with pytest.raises(InvariantBroken) as broken:
        check(core)
    told, _, story = str(broken.value).partition("; ")
    assert told == what
    assert story == core.story()


class TestAnswersThatCannotBe:
    """A worker (a backend) that says impossible things is caught where it says them."""

    def test_tasks_that_have_no_end(self):
        play = Play(Graph(wide("a")))
        play.give("x", "y")
        job = play.job("a")
        with pytest.raises(InvariantBroken, match="the last answer of lease 1 of node 'a' left 1 of 2 tasks without"):
            play.tell(part(job, {0: "x"}, last=True))

    def test_tasks_that_end_twice(self):
        play = Play(Graph(wide("a")))
        play.give("x", "y")
        job = play.job("a")
        with pytest.raises(InvariantBroken, match="left -1 of 2 tasks without an end"):
            play.tell(part(job, {0: "x", 1: "y"}, fails=[1], last=True))


class TestEndsThatCannotBe:
    """The last net: what has been lost on the way is missed when the run ends."""

    def test_a_node_that_lost_a_task(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.node("a").counts.received += 1
        play.tell(done(play.job("a")))
        with pytest.raises(InvariantBroken, match="node 'a' received 2 tasks but 1 ended"):
            play.end()

    def test_a_source_task_that_has_no_end(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.core.lineages.fates.live[0] = 2
        play.tell(done(play.job("a")))
        with pytest.raises(InvariantBroken, match="1 source tasks have no end: source ended, 1 admitted, 1 not ended"):
            play.end()
