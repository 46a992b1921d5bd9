"""Folds: members are combined as they come, one step at a time, and what was accumulated is all that is kept."""

from __future__ import annotations

import gc
import weakref

import pytest
from core_made import Box, Play, children, done, error, fail, fold, inputs, kinds, part, split, states, task, wide
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import ROOT, Space
from dagflow.core.merging import Fold, MergeState

SPACE = Space(None, ROOT, None, 0)


def step(job):
    """What a step of a fold is given: its state so far, the new members, and whether it is the last."""
    (group,) = job.job.groups
    return group.state.values[0] if group.state is not None else None, inputs(job)[0], group.final


class TestFold:
    """The fold by itself."""

    @given(st.lists(st.sampled_from(("member", "step", "answer")), max_size=30))
    def test_each_member_is_in_one_step_and_steps_follow_one_another(self, happenings):
        fold = Fold([(SPACE, (0,))])
        added, stepped, queued = 0, [], None
        for what in happenings:
            if what == "member":
                fold.add((Box(added), 0, 1))
                added += 1
                if (envelope := fold.step()) is not None:
                    assert queued is None
                    assert not fold.leased
                    queued = envelope
            elif what == "step" and queued is not None:
                fold.lease()
                (group,) = queued.groups
                stepped += [payload.values[0] for payload, _, _ in group.pieces]
                assert not group.final
            elif what == "answer" and fold.leased:
                fold.leased = False
                queued = fold.step()
            if fold.leased:
                queued = None
        assert stepped == list(range(len(stepped)))
        held = len(queued.groups[0].pieces) if queued is not None else 0
        assert len(stepped) + held + len(fold.pending) == added == fold.members

    def test_a_step_that_is_still_queued_becomes_the_last_when_the_scope_closes(self):
        fold = Fold([(SPACE, (0,))])
        fold.add((Box("a"), 0, 1))
        queued = fold.step()
        fold.closing, fold.segments = True, [(SPACE, (7,))]
        assert fold.step() is None
        assert queued.groups[0].final
        assert queued.segments == [(SPACE, (7,))]


def folding(*values, graph=None, **options):
    """A run in which one task was split into ``values``, which have come to ``a``."""
    play = Play(split() >> wide("a") >> fold(**options) if graph is None else graph)
    play.play("x")
    play.tell(children(play.job("s"), *values))
    return play


class TestSteps:
    def test_the_first_members_are_combined_at_once_the_others_when_that_is_done(self):
        play = folding("p", "q", "r")
        job = play.job("a")
        play.tell(part(job, {1: "q"}))
        assert step(play.job("f")) == (None, ["q"], False)
        play.tell(part(job, {0: "p"}))
        assert len(play.jobs("f")) == 1
        play.tell(states(play.job("f"), "Q"))
        assert step(play.job("f")) == ("Q", ["p"], False)
        play.tell(part(job, {2: "r"}, last=True))
        play.tell(states(play.job("f"), "QP"))
        assert step(play.job("f")) == ("QP", ["r"], True)
        play.tell(done(play.job("f"), "QPR"))
        assert (play.outputs, play.ended, play.finish) == (["QPR"], [0], "done")
        assert play.counts("f") == {"received": 3, "succeeded": 3}

    def test_members_join_a_step_that_still_waits_for_a_worker(self):
        play = folding("p", "q", "r")
        job = play.job("a")
        play.tell(ev.PauseAsked(True))
        for position, value in enumerate("pq"):
            play.tell(part(job, {position: value}))
        assert play.node("f").queued == 1
        play.tell(part(job, {2: "r"}, last=True))
        play.tell(ev.PauseAsked(False))
        assert step(play.job("f")) == (None, ["p", "q", "r"], True)

    def test_nothing_is_left_to_combine_when_the_scope_closes(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(states(play.job("f"), "P"))
        assert play.jobs("f") == []
        play.tell(part(job, {}, dropped=[1], last=True))
        assert step(play.job("f")) == ("P", [], True)

    def test_an_empty_scope_gives_the_initial_value(self):
        play = folding()
        assert step(play.job("f")) == (None, [], True)
        play.tell(done(play.job("f"), "nothing"))
        assert (play.outputs, play.counts("f"), play.finish) == (["nothing"], {}, "done")

    def test_a_lease_may_hold_steps_of_several_scopes(self):
        play = Play(split() >> wide("a") >> fold(execution_mode="thread", worker_limit=4))
        play.play("x", "y")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(children(play.job("s"), "y0"))
        play.tell(ev.PauseAsked(True))
        play.work("a")
        play.tell(ev.PauseAsked(False))
        job = play.job("f")
        assert inputs(job) == [["x0", "x1"], ["y0"]]
        play.tell(done(job, "X", "Y"))
        assert (play.outputs, play.finish) == (["X", "Y"], "done")

    def test_a_last_step_may_drop(self):
        play = folding("p")
        play.work("a")
        play.tell(part(play.job("f"), {}, dropped=[0], last=True))
        assert (play.counts("f"), play.ended) == ({"received": 1, "dropped": 1}, [0])

    def test_what_it_holds_is_no_task_in_flight(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(states(play.job("f"), "P"))
        assert play.core.in_flight == 1
        assert play.node("f").phase == "open"


class TestMissing:
    def test_members_that_failed_fail_the_fold(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(states(play.job("f"), "P"))
        play.tell(part(job, {}, fails=[1], last=True))
        ((_, text),) = play.lost
        assert text.startswith("1 member failed: ValueError: broken q at node 'a'")
        assert play.jobs("f") == []
        assert (play.counts("f"), play.finish) == ({"received": 1, "failed": 1}, "done")

    def test_a_step_that_waits_is_not_combined_any_more(self):
        play = folding("p", "q")
        play.tell(ev.PauseAsked(True))
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        assert play.node("f").queued == 1
        play.tell(part(job, {}, fails=[1], last=True))
        assert (play.node("f").queued, len(play.lost)) == (0, 1)
        assert play.finish == "done"

    def test_a_step_that_is_running_ends_first(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(part(job, {}, fails=[1], last=True))
        assert play.lost == []
        play.tell(states(play.job("f"), "P"))
        assert (len(play.lost), play.finish) == (1, "done")

    def test_or_they_are_skipped(self):
        play = folding("p", "q", on_missing="skip")
        play.tell(fail(play.job("a"), 1))
        assert step(play.job("f")) == (None, ["p"], True)

    def test_all_have_failed_before_anything_was_folded(self):
        play = folding("p")
        play.tell(fail(play.job("a")))
        assert (len(play.lost), play.counts("f"), play.finish) == (1, {}, "done")


class TestFailing:
    def test_a_step_that_failed_fails_the_fold_when_its_scope_closes(self):
        play = folding("p", "q", "r")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(part(job, {1: "q"}))
        play.tell(fail(play.job("f")))
        assert (play.lost, play.jobs("f")) == ([], [])
        play.tell(part(job, {2: "r"}, last=True))
        assert play.lost == [(0, "broken ['p']")]
        assert (play.counts("f"), play.finish) == ({"received": 3, "failed": 3}, "done")

    def test_members_that_come_after_it_are_not_kept(self):
        play = folding("p", "q", "r")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(part(job, {1: "q"}))
        play.tell(fail(play.job("f")))
        answer = part(job, {2: "r"})
        payload = weakref.ref(answer.outputs[0].payload)
        play.tell(answer)
        del answer
        gc.collect()
        assert payload() is None

    def test_the_last_step_fails_at_once(self):
        play = folding("p")
        play.work("a")
        play.tell(fail(play.job("f")))
        assert (play.lost, play.finish) == ([(0, "broken ['p']")], "done")

    def test_a_failure_that_is_taken_up_names_no_members(self):
        f, told = fold(), task("told")
        play = folding("p", graph=(split() >> wide("a") >> f) | (f.failures >> told))
        play.work("a")
        play.tell(fail(play.job("f")))
        assert inputs(play.job("told")) == [("failure", None, "broken ['p']")]

    def test_a_step_is_tried_again_with_the_same_members_and_others_wait(self):
        play = folding("p", "q", max_retries=1, retry_delay=1.0)
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(fail(play.job("f"), retry=True))
        play.tell(part(job, {1: "q"}, last=True))
        assert play.jobs("f") == []
        assert play.node("f").phase == "draining"
        play.tell(wait=1.0)
        assert step(play.job("f")) == (None, ["p"], False)
        play.tell(states(play.job("f"), "P"))
        assert step(play.job("f")) == ("P", ["q"], True)
        assert play.job("f").job.attempt == 0, "a new step has all its attempts"
        play.tell(done(play.job("f"), "PQ"))
        assert play.counts("f") == {"received": 2, "succeeded": 2, "retried": 1}

    def test_after_its_last_attempt_it_has_failed(self):
        play = folding("p", max_retries=1, retry_delay=1.0)
        play.work("a")
        play.tell(fail(play.job("f"), retry=True))
        play.tell(wait=1.0)
        play.tell(fail(play.job("f"), retry=True))
        (lost,) = play.heard(do.Lost)
        assert (lost.error.message, lost.error.node, lost.error.attempts) == ("broken ['p']", "f", 2)

    @pytest.mark.parametrize("running", [None, "its first task", "nothing"])
    def test_a_worker_that_dies_loses_no_member(self, running):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        dead = play.job("f")
        at = {None: None, "its first task": (dead.token, 0), "nothing": (0, 0)}[running]
        play.tell(part(job, {1: "q"}, last=True))
        play.tell(ev.WorkerLost(dead.worker, "was killed", at))
        again = play.job("f")
        assert step(again) == (None, ["p"], False)
        play.tell(states(again, "P"))
        play.tell(done(play.job("f"), "PQ"))
        assert (play.outputs, play.finish) == (["PQ"], "done")

    def test_a_step_that_was_taken_back_is_not_the_last_where_others_wait(self):
        play = folding("p", "q", "r")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        dead = play.job("f")
        play.tell(part(job, {1: "q"}))
        play.tell(ev.PauseAsked(True))
        play.tell(ev.WorkerLost(dead.worker, "was killed", (0, 0)))
        play.tell(part(job, {2: "r"}, last=True))
        play.tell(ev.PauseAsked(False))
        assert step(play.job("f")) == (None, ["p", "r"], False)
        play.tell(states(play.job("f"), "PR"))
        assert step(play.job("f")) == ("PR", ["q"], True)

    def test_members_join_a_step_that_was_taken_back(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        dead = play.job("f")
        play.tell(ev.PauseAsked(True))
        play.tell(ev.WorkerLost(dead.worker, "was killed", (0, 0)))
        play.tell(part(job, {1: "q"}, last=True))
        play.tell(ev.PauseAsked(False))
        assert step(play.job("f")) == (None, ["p", "q"], True)


class TestState:
    """What a Merger of windows holds, by itself."""

    @staticmethod
    def state(**options):
        plan = Graph(fold(**options)).check().nodes[0].merge
        return MergeState(plan)

    def test_a_window_has_room_for_its_size(self):
        state = self.state(size=3)
        assert state.room() == 3
        state.count = 2
        assert state.room() == 1
        state.reset()
        assert state.room() == 3
        assert self.state(of="run").room() is None

    def test_it_is_due_when_its_first_member_has_waited_long_enough(self):
        state = self.state(within=2.0)
        assert state.due() is None
        state.since = 10.0
        assert state.due() == 12.0
        assert self.state(size=3).due() is None


def test_errors_are_kept_whole():
    """What a fold tells of its failure is the record that the worker sent, with the node and its attempts."""
    play = folding("p")
    play.work("a")
    job = play.job("f")
    play.tell(ev.Answer(job.worker, job.token, failures=[(0, error("text"), False)]))
    (failed,) = kinds(play.out, do.TaskFailed)
    assert (failed.error.message, failed.error.node, failed.error.attempts, failed.input) == ("text", "f", 1, None)
