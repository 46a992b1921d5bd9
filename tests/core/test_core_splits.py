"""Splits: children arrive while their Splitter still runs, are numbered, held back, and never doubled."""

from __future__ import annotations

import pytest
from core_made import Box, Play, children, done, error, inputs, kinds, merge, part, split, task, tasks, wide
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import tasks_of
from dagflow.errors import InvariantBroken


def splitting(graph=None, **options):
    play = Play(split(max_retries=2, retry_delay=1.0) >> wide("a") >> merge() if graph is None else graph, **options)
    play.play("x")
    return play


def failed(job, *values, start=0, retry=True):
    """A Splitter gave some more children, and then failed."""
    return children(job, *values, start=start, ended=(), failures=[(0, error("broke off"), retry)])


def crowded(count, *, graph=None):
    """A split of which ``count`` children have filled the queue after it, whose one worker is busy."""
    play = Play(split() >> task("a") >> merge() if graph is None else graph)
    play.play("x")
    play.tell(children(play.job("s"), *range(count), last=False))
    return play


class TestChildren:
    def test_they_go_on_while_their_splitter_runs(self):
        play = splitting()
        job = play.job("s")
        play.tell(children(job, "x0", "x1", last=False))
        assert inputs(play.job("a")) == ["x0", "x1"]
        assert play.counts("s") == {"received": 1}
        play.tell(children(job, "x2", start=2))
        play.work("a")
        assert inputs(play.job("m")) == [["x0", "x1", "x2"]]
        assert play.counts("s") == {"received": 1, "succeeded": 1}
        (ended,) = play.heard(do.TasksEnded, "s")
        assert (ended.status, ended.count, ended.positions) == ("succeeded", 1, [0])

    def test_their_numbers_are_their_places_in_the_scope(self):
        play = splitting()
        play.tell(children(play.job("s"), "x0", "x1"))
        (lease,) = (lease for lease in play.core.leases.values() if lease.node == 1)
        assert [space.lineage(index) for space, index in tasks_of(lease.segments)] == [(0, 1, 0), (0, 1, 1)]

    def test_dropped_children_leave_their_number_out(self):
        play = splitting()
        job = play.job("s")
        answer = children(job, "x0", "x2")
        answer.outputs[0].children = [(0, 0, 1), (0, 2, 1)]
        play.tell(answer)
        play.work("a")
        assert inputs(play.job("m")) == [["x0", "x2"]]

    def test_all_children_of_a_payload_may_be_dropped(self):
        play = splitting()
        job = play.job("s")
        play.tell(ev.Answer(job.worker, job.token, False, [ev.Produced(0, Box(), children=[])], []))
        assert (len(kinds(play.out, do.Grant)), play.jobs("a")) == (1, [])
        play.tell(ev.Answer(job.worker, job.token, outputs=[ev.Produced(0, Box(), children=[])], ended=[0]))
        assert inputs(play.job("m")) == [[]]

    def test_a_task_may_be_dropped_instead_of_split(self):
        play = splitting()
        play.tell(part(play.job("s"), {}, dropped=[0], last=True))
        assert (play.jobs("m"), play.counts("s"), play.finish) == ([], {"received": 1, "dropped": 1}, "done")

    def test_several_tasks_are_split_in_one_lease(self):
        play = Play(split(execution_mode="thread", worker_limit=4) >> wide("a") >> merge())
        play.play("x", "y", "z")
        job = play.job("s")
        play.tell(children(job, "x0", "x1", last=False, ended=[0]))
        play.tell(children(job, "z0", position=2, ended=[1, 2]))
        play.work("a")
        play.work("m")
        assert sorted(play.outputs) == [(), ("x0", "x1"), ("z0",)]
        assert play.finish == "done"

    def test_a_child_that_was_accepted_is_not_taken_again(self):
        play = splitting()
        play.tell(children(play.job("s"), "x0", "x1", last=False))
        play.tell(failed(play.job("s"), "x2", start=2))
        play.tell(wait=1.0)
        with pytest.raises(InvariantBroken, match="splitter 's' sent child 1 of a task of which 3 were accepted"):
            play.tell(children(play.job("s"), "x1", start=1))

    def test_children_that_come_twice_count_once(self):
        play = splitting()
        job = play.job("s")
        for _ in range(2):
            play.tell(children(job, "x0", "x1", last=False))
        assert play.core.late_answers == 1
        assert play.core.leases[job.token].children == {0: 2}


class TestGoingOn:
    """A split that is tried again goes on after the last child that was accepted."""

    def test_after_a_failure(self):
        play = splitting()
        play.tell(children(play.job("s"), "x0", "x1", last=False))
        play.tell(failed(play.job("s"), "x2", start=2))
        assert play.counts("s") == {"received": 1, "retried": 1}
        play.tell(wait=1.0)
        job = play.job("s")
        assert (job.job.attempt, job.job.skip) == (1, {0: 3})
        play.tell(children(job, "x3", start=3))
        play.work("a")
        assert inputs(play.job("m")) == [["x0", "x1", "x2", "x3"]]
        assert play.counts("s") == {"received": 1, "succeeded": 1, "retried": 1}

    def test_again_and_again_and_with_nothing_new(self):
        play = splitting()
        play.tell(failed(play.job("s"), "x0"))
        play.tell(wait=1.0)
        play.tell(failed(play.job("s")))
        play.tell(wait=2.0)
        assert play.job("s").job.skip == {0: 1}
        play.tell(children(play.job("s")))
        play.work("a")
        assert inputs(play.job("m")) == [["x0"]]

    @pytest.mark.parametrize("known", [True, False])
    def test_after_its_worker_died(self, known):
        play = splitting()
        job = play.job("s")
        play.tell(children(job, "x0", last=False))
        play.tell(ev.WorkerLost(job.worker, "was killed", (job.token, 0) if known else None))
        again = play.job("s")
        assert again.token != job.token
        assert (inputs(again), again.job.skip) == (["x"], {0: 1})
        play.tell(children(again, "x1", start=1))
        play.work("a")
        assert inputs(play.job("m")) == [["x0", "x1"]]

    def test_of_a_lease_of_several_those_that_had_begun_go_on_by_themselves(self):
        play = Play(split(execution_mode="thread", worker_limit=4) >> wide("a") >> merge())
        play.play("x", "y", "z", "u")
        job = play.job("s")
        play.tell(children(job, "y0", position=1, last=False))
        play.tell(ev.WorkerLost(job.worker, "was killed", (0, 0)))
        again = []
        while jobs := play.jobs("s"):
            again.append((inputs(jobs[0]), jobs[0].job.skip))
            play.tell(children(jobs[0]))
        assert again == [(["x"], {}), (["y"], {0: 1}), (["z", "u"], {})]
        play.work("a")
        play.work("m")
        assert sorted(play.outputs) == [(), (), (), ("y0",)]

    def test_what_the_dead_worker_had_still_to_say_counts_for_nothing(self):
        play = splitting()
        job = play.job("s")
        play.tell(ev.WorkerLost(job.worker, "was killed", (job.token, 0)))
        play.tell(children(job, "x0", "x1"))
        assert (play.core.late_answers, play.jobs("a")) == (1, [])

    @given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(("fails", "dies")), st.booleans()), max_size=6))
    def test_whatever_happens_each_child_is_there_once(self, attempts):
        play = Play(split(max_retries=9, retry_delay=1.0) >> wide("a") >> merge())
        play.play("x")
        accepted = 0
        for count, how, apart in attempts:
            job = play.job("s")
            assert job.job.skip.get(0, 0) == accepted
            values = range(accepted, accepted + count)
            if apart:
                play.tell(children(job, *values, start=accepted, last=False))
                accepted += count
                values = ()
            if how == "dies":
                play.tell(ev.WorkerLost(job.worker, "was killed", (0, 0)))
            else:
                play.tell(failed(job, *values, start=accepted))
                accepted += len(values)
                play.tell(wait=60.0)
        play.tell(children(play.job("s"), accepted, start=accepted))
        play.work("a")
        assert inputs(play.job("m")) == [list(range(accepted + 1))]

    def test_dropped_when_it_is_tried_again_its_children_are_all_there_is(self):
        play = splitting()
        play.tell(failed(play.job("s"), "x0"))
        play.tell(wait=1.0)
        play.tell(part(play.job("s"), {}, dropped=[0], last=True))
        play.work("a")
        assert inputs(play.job("m")) == [["x0"]]
        play.work("m")
        assert (play.counts("s"), play.finish) == ({"received": 1, "dropped": 1, "retried": 1}, "done")


class TestFailing:
    def test_without_children_the_task_has_failed_and_opened_nothing(self):
        play = splitting()
        play.tell(failed(play.job("s"), retry=False))
        assert (play.lost, play.jobs("m"), play.finish) == ([(0, "broke off")], [], "done")

    def test_after_some_children_it_is_a_missing_member_of_its_own_scope(self):
        play = splitting()
        play.tell(failed(play.job("s"), "x0", retry=False))
        assert play.lost == []
        play.work("a")
        ((_, text),) = play.lost
        assert text.startswith("1 member failed: ValueError: broke off at node 's'")
        assert play.finish == "done"

    def test_after_some_children_of_an_earlier_attempt_too(self):
        play = splitting(split(max_retries=1, retry_delay=1.0) >> wide("a") >> merge(on_missing="skip"))
        play.tell(failed(play.job("s"), "x0"))
        play.tell(wait=1.0)
        play.tell(failed(play.job("s")))
        play.work("a")
        assert inputs(play.job("m")) == [["x0"]]
        assert play.counts("s") == {"received": 1, "failed": 1, "retried": 1}

    def test_where_nobody_merges_the_children_it_has_failed_its_task(self):
        play = splitting(split() >> wide("a"))
        play.tell(failed(play.job("s"), "x0", retry=False))
        assert play.lost == [(0, "broke off")]
        assert play.ended == []
        play.work("a")
        assert (play.outputs, play.ended, play.finish) == (["x0"], [0], "done")

    def test_its_failure_may_be_taken_up_while_its_children_are_merged(self):
        s, told = split(), task("told")
        play = splitting((s >> wide("a") >> merge()) | (s.failures >> told))
        play.tell(failed(play.job("s"), "x0", retry=False))
        assert inputs(play.job("told")) == [("failure", "x", "broke off")]
        play.work("told", "a")
        assert inputs(play.job("m")) == [["x0"]]
        play.work("m")
        assert (play.lost, play.finish) == ([], "done")

    def test_inside_another_scope(self):
        s1, s2 = split("s1"), split("s2")
        play = splitting(s1 >> s2 >> wide("a") >> merge("m2") >> merge("m1"))
        play.tell(children(play.job("s1"), "x0"))
        play.tell(failed(play.job("s2"), "x00", retry=False))
        play.work("a")
        ((root, text),) = play.lost
        assert (root, text[:31]) == (0, "1 member failed: MissingMembers")


class TestInnerScopes:
    def test_failures_that_lead_back_hold_the_scope_around_while_the_splitter_runs(self):
        """What is merged of its children does not lead back there, but it may still fail."""
        s1, s2, x = split("s1"), split("s2"), task("x")
        m1 = merge("m1", s1)
        play = splitting((s1 >> s2 >> wide("a") >> merge("m2", s2)) | (s2.failures >> x >> m1))
        play.tell(children(play.job("s1"), "x0", "x1"))
        first, second = play.jobs("s2")
        play.tell(children(first, "x00", last=False), children(second, "x10", last=False))
        play.work("a")
        play.tell(children(first, start=1))
        assert inputs(play.job("m2")) == [["x00"]]
        assert play.jobs("m1") == []
        play.tell(failed(second, start=1, retry=False))
        play.work("x")
        assert inputs(play.job("m1")) == [[("failure", "x1", "broke off")]]
        play.work("m1", "m2")
        assert play.finish == "done"

    def test_a_splitter_that_is_dropped_lets_go_of_the_scope_around(self):
        s1, s2, x = split("s1"), split("s2", max_retries=1, retry_delay=1.0), task("x")
        m1 = merge("m1", s1)
        play = splitting((s1 >> s2 >> wide("a") >> merge("m2", s2)) | (s2.failures >> x >> m1))
        play.tell(children(play.job("s1"), "x0"))
        play.tell(failed(play.job("s2"), "x00"))
        play.tell(wait=1.0)
        assert play.jobs("m1") == []
        play.tell(part(play.job("s2"), {}, dropped=[0], last=True))
        assert inputs(play.job("m1")) == [[]]
        play.work("m1", "a", "m2")
        assert play.finish == "done"

    def test_a_splitter_in_a_scope_that_only_an_outer_merger_closes(self):
        """The children count in the scope around, each for itself."""
        outer = split("s1")
        play = splitting(outer >> split("s2") >> wide("a") >> merge("m", outer))
        play.tell(children(play.job("s1"), "x0", "x1"))
        first, second = play.jobs("s2")
        play.tell(children(first, "x00", last=False))
        play.work("a")
        play.tell(children(first, start=1))
        play.tell(children(second, "x10", "x11"))
        play.work("a")
        assert inputs(play.job("m")) == [["x00", "x10", "x11"]]

    def test_a_splitter_whose_scope_is_left_open_until_the_side_branch_ends(self):
        s, a, b, log = split(), wide("a"), wide("b"), wide("log")
        play = splitting((s >> a >> merge("m", s)) | (s >> log) | (a >> b))
        play.tell(children(play.job("s"), "x0"))
        play.work("a")
        assert inputs(play.job("m")) == [["x0"]]
        play.work("m", "b", "log")
        assert play.finish == "done"

    def test_one_branch_of_a_broadcast_is_split(self):
        a, b, c = tasks("a b c")
        play = splitting(a >> [split() >> b, c] >> merge("m", a))
        play.work("a", "c")
        play.tell(children(play.job("s"), "0", "1"))
        play.work("b")
        assert inputs(play.job("m")) == [["0", "1", "x"]]


class TestGrants:
    """A Splitter that is far ahead of those who take its children has to wait."""

    def test_where_there_is_room_it_may_go_on_at_once(self):
        play = crowded(3)
        assert kinds(play.out, do.Grant) == [do.Grant(play.job("s").worker, play.job("s").token, 1, 4)]

    def test_where_there_is_none_it_waits_until_there_is(self):
        play = crowded(70)
        assert kinds(play.out, do.Grant) == []
        assert "'s' is draining" in play.core.story()
        assert "held back by a full channel after it" in play.core.story()
        granted = []
        while not granted:
            play.tell(done(play.job("a")))
            granted = kinds(play.out, do.Grant)
        assert play.node("a").queued < play.node("a").capacity
        assert [(g.token, g.count) for g in granted] == [(play.job("s").token, 1)]
        play.tell(done(play.job("a")))
        assert kinds(play.out, do.Grant) == [], "one for each payload that was sent"

    def test_it_is_told_into_how_large_payloads_to_put_them(self):
        play = crowded(3)
        assert play.job("s").job.cuts == {0: 4}
        play.tell(done(play.job("a"), seconds=1e-6))
        play.tell(children(play.job("s"), *range(2), start=3, last=False))
        assert kinds(play.out, do.Grant)[0].cut == 32

    def test_large_children_travel_in_small_payloads(self):
        play = Play(split() >> task("a") >> merge())
        play.play("x")
        job = play.job("s")
        answer = children(job, "x0", last=False)
        answer.outputs[0].payload.size = 300_000
        play.tell(answer)
        assert kinds(play.out, do.Grant)[0].cut == 1

    def test_children_that_leave_the_graph_or_go_into_a_merger(self):
        straight = crowded(3, graph=split() >> merge())
        assert kinds(straight.out, do.Grant)[0].cut == 4096
        leaving = crowded(3, graph=Graph(split()))
        assert kinds(leaving.out, do.Grant)[0].cut == 1024

    def test_a_split_that_has_ended_is_granted_nothing(self):
        play = crowded(70)
        play.tell(children(play.job("s"), start=70))
        while jobs := play.jobs("a"):
            play.tell(done(jobs[0]))
            assert kinds(play.out, do.Grant) == []
        assert inputs(play.job("m")) == [list(range(70))]

    def test_nor_is_one_whose_worker_died(self):
        play = crowded(70)
        play.tell(ev.WorkerLost(play.job("s").worker, "was killed", (0, 0)))
        while jobs := play.jobs("a"):
            play.tell(done(jobs[0]))
            assert kinds(play.out, do.Grant) == []
        assert play.job("s").job.skip == {0: 70}

    def test_when_the_run_is_stopped_it_may_send_the_rest(self):
        """A split that waited for room would wait for ever: what it sends is not begun any more."""
        play = crowded(70)
        job = play.job("s")
        play.tell(ev.StopAsked())
        assert kinds(play.out, do.Grant) == [do.Grant(job.worker, job.token, 4096, 4096)]
        play.tell(children(job, "more", start=70))
        play.work("a")
        assert play.finish == "stopped"
