"""The crew: workers come up, die, run out of time, answer late; and who is to blame for it."""

from __future__ import annotations

import pytest
from core_made import (
    Box,
    Play,
    children,
    done,
    error,
    fail,
    inputs,
    keys,
    kinds,
    merge,
    never,
    part,
    split,
    task,
    tasks,
    wide,
)
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph, TaskManager, WorkerDied
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.crew import STALL_SECONDS
from dagflow.errors import BackendError, InvariantBroken


def lost(job, running=None, **more):
    """The worker of a job has died; ``running``: the position it was at (None: nobody knows)."""
    return ev.WorkerLost(
        job.worker, "was killed by signal 9", None if running is None else (job.token, running), **more
    )


def leased(*values, mode="serial", width=None, graph=None, **options):
    """A run of a node ``a`` that has been quick with its first task, so that all ``values`` are leased together."""
    play = Play(Graph(task("a", mode, width, **options)) if graph is None else graph)
    play.give("first")
    play.tell(done(play.job("a"), seconds=1e-6))
    play.facts.clear()
    play.play(*values)
    assert inputs(play.job("a")) == list(values)
    return play


def fallen(play):
    """The tasks that have been lost, by the number of their source task among ``values``."""
    return [index - 1 for index, _ in play.lost]


class TestStarting:
    def test_every_node_has_a_worker_as_soon_as_there_is_a_task(self):
        a, b = tasks("a b")
        play = Play(a >> b, up=False)
        assert play.resumed(do.StartWorker) == []
        play.give("x")
        assert kinds(play.out, do.StartWorker) == [do.StartWorker(1, 0), do.StartWorker(2, 1)]

    def test_nothing_is_leased_to_a_worker_before_it_is_up(self):
        play = Play(Graph(task("a")), up=False)
        play.give("x")
        assert play.jobs("a") == []
        play.tell(ev.WorkerUp(1))
        assert inputs(play.job("a")) == ["x"]

    def test_one_that_is_not_wanted_any_more_may_still_come_up(self):
        play = Play(Graph(task("a")), up=False)
        play.tell(ev.WorkerUp(7))
        play.give("x")
        play.tell(ev.StopAsked())
        assert kinds(play.out, do.StopWorker) == [do.StopWorker(1)]
        play.tell(ev.WorkerUp(1))
        assert play.core.workers == {}

    def test_more_are_started_while_more_is_queued_than_one_can_take(self):
        play = Play(Graph(task("a", "process", 3)))
        play.give(*range(10))
        assert len(play.jobs("a")) == 3

    def test_and_no_more_than_that(self):
        play = Play(Graph(task("a", "process", 3)))
        play.give("x")
        assert len(play.core.workers) == 1
        play.give("y")
        assert len(play.core.workers) == 2

    def test_the_least_loaded_is_given_the_next(self):
        play = Play(Graph(task("a", "process", 2)))
        play.give(*range(3))
        first, second = play.jobs("a")
        play.tell(done(second))
        assert play.jobs("a")[1].worker == second.worker
        assert first.worker != second.worker


class TestFailedStarts:
    def cannot_start(self, play, **more):
        (start,) = play.resumed(do.StartWorker)
        return play.tell(ev.WorkerLost(start.worker, "exited with code 1", started=False, **more))

    def begun(self):
        play = Play(Graph(task("a")), up=False)
        play.give("x")
        return play

    def test_it_is_tried_again_a_few_times(self):
        play = self.begun()
        for _ in range(2):
            self.cannot_start(play, output="no memory")
            assert kinds(play.out, do.StartWorker) != []
        self.cannot_start(play, output="no memory")
        assert play.finish == "failed"
        assert isinstance(play.core.failure, BackendError)
        assert str(play.core.failure) == "workers of node 'a' cannot start (exited with code 1); no memory"

    def test_one_that_has_come_up_makes_up_for_those_that_did_not(self):
        play = self.begun()
        for _ in range(2):
            self.cannot_start(play)
        (start,) = play.resumed(do.StartWorker)
        play.tell(ev.WorkerUp(start.worker))
        play.tell(lost(play.job("a"), 0))
        for _ in range(2):
            self.cannot_start(play)
        assert play.finish is None

    def test_a_function_that_cannot_be_loaded_is_not_tried_again(self):
        play = self.begun()
        self.cannot_start(play, output="cannot load the function: No module named 'm'")
        assert (play.finish, str(play.core.failure)) == (
            "failed",
            "workers of node 'a' cannot start (exited with code 1); cannot load the function: No module named 'm'",
        )

    def test_those_that_said_nothing(self):
        play = self.begun()
        for _ in range(3):
            self.cannot_start(play)
        assert str(play.core.failure).endswith("(exited with code 1); they wrote nothing to stderr")

    def test_the_first_failure_is_what_is_told(self):
        a, b = tasks("a b")
        play = Play(a >> b, up=False)
        play.give("x")
        both = [ev.WorkerLost(n, "exited", started=False, output=f"cannot load {n}") for n in (1, 2)]
        play.tell(*both)
        assert "'a'" in str(play.core.failure)
        assert play.finish == "failed"


class TestDeaths:
    def test_an_idle_worker_is_replaced_when_there_is_work(self):
        play = Play(Graph(task("a")))
        play.give("x")
        worker = play.job("a").worker
        play.work("a")
        play.tell(ev.WorkerLost(worker, "was killed", (0, 0)))
        assert (play.core.workers, play.core.crashes) == ({}, 1)
        play.give("y")
        assert play.job("a").worker != worker

    def test_the_task_it_was_at_is_tried_again_alone_in_a_fresh_worker(self):
        play = leased("x", "y", "z")
        first = play.job("a")
        play.tell(lost(first, 1))
        (again,) = play.jobs("a")
        assert inputs(again) == ["y"]
        assert again.worker != first.worker
        assert play.node("a").queued == 2, "nobody works beside a suspect"
        play.work("a")
        assert (play.outputs, play.finish) == (["y", "x", "z"], "done")
        assert play.counts("a") == {"received": 4, "succeeded": 4}

    def test_a_suspect_waits_for_a_worker_that_has_done_nothing_yet(self):
        """In one that has worked before, it would not be known that it is to blame."""
        play = Play(Graph(task("a", "process", 2)))
        play.give(*range(2))
        first, second = play.jobs("a")
        play.tell(lost(first, 0))
        (again,) = [job for job in play.jobs("a") if job.token != second.token]
        assert again.worker not in (first.worker, second.worker)
        play.tell(lost(again, 0), done(second))
        assert second.worker in play.core.workers
        (third,) = play.jobs("a")
        assert third.worker not in (again.worker, second.worker)

    def test_an_idle_worker_makes_way_for_a_fresh_one_where_there_are_as_many_as_may_be(self):
        play = leased("x", "y", "z")
        play.tell(lost(play.job("a")))
        (one,) = play.jobs("a")
        play.tell(done(one))
        assert do.StopWorker(one.worker) in play.out
        assert play.job("a").worker != one.worker

    def test_nothing_is_tried_while_a_fresh_worker_is_coming_up(self):
        play = leased("x", "y")
        play.up = False
        play.tell(lost(play.job("a")))
        (start,) = kinds(play.out, do.StartWorker)
        play.tell()
        assert (kinds(play.out, do.StartWorker), play.jobs("a")) == ([], [])
        play.tell(ev.WorkerUp(start.worker))
        assert len(play.jobs("a")) == 1

    def test_one_that_kills_worker_after_worker_has_failed(self):
        play = leased("x", "y")
        play.tell(lost(play.job("a"), 1, output="its last words"))
        play.tell(lost(play.job("a"), 0))
        assert play.lost == []
        play.tell(lost(play.job("a"), 0, output="its last words"))
        (failed,) = play.heard(do.Lost)
        assert (failed.error.kind, failed.error.type, failed.error.traceback) == (
            "died",
            "WorkerDied",
            "its last words",
        )
        assert failed.error.message == (
            "a worker of node 'a' was killed by signal 9 while it ran source task 2: 3 times, "
            "the last 2 of them in a fresh worker, by itself; it is not tried again"
        )
        play.work("a")
        assert (fallen(play), play.outputs, play.core.crashes, play.finish) == ([1], ["x"], 3, "done")

    def test_a_node_may_not_ask_for_more_of_it(self):
        play = leased("x", retries=5, retry_exceptions=(WorkerDied,))
        for _ in range(3):
            play.tell(lost(play.job("a"), 0))
        assert (fallen(play), play.counts("a")) == ([0], {"received": 2, "succeeded": 1, "failed": 1})

    def test_when_nobody_knows_which_task_it_was_they_are_halved(self):
        play = leased(*range(5))
        play.tell(lost(play.job("a")))
        tried = []
        while jobs := play.jobs("a"):
            (job,) = jobs
            tried.append(inputs(job))
            play.tell(done(job))
        assert tried == [[0, 1], [2, 3, 4]]
        assert play.finish == "done"

    def test_until_one_is_left(self):
        play = leased(*range(5))
        tried = []
        while jobs := play.jobs("a"):
            tried.append(inputs(jobs[0]))
            play.tell(lost(jobs[0]) if 3 in inputs(jobs[0]) else done(jobs[0]))
        assert tried == [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4], [3], [3], [3], [4]]
        assert (fallen(play), sorted(play.outputs)) == ([3], [0, 1, 2, 4])

    def test_a_worker_that_was_reading_or_sealing_may_have_been_at_any_of_a_lease(self):
        play = leased("x", "y")
        play.tell(lost(play.job("a"), ev.ANYWHERE))
        assert inputs(play.job("a")) == ["x"]

    def test_where_the_function_takes_lists_the_whole_list_is_suspected(self):
        play = Play(Graph(task("a", batch_size=2)))
        play.give("first", "second")
        play.tell(done(play.job("a"), seconds=1e-6))
        play.play(*range(4))
        job = play.job("a")
        assert inputs(job) == [0, 1, 2, 3]
        play.tell(lost(job, 2))
        tried = []
        while jobs := play.jobs("a"):
            tried.append(inputs(jobs[0]))
            play.tell(done(jobs[0]))
        assert tried == [[2], [3], [0, 1]]

    def test_those_that_had_ended_are_not_run_again(self):
        play = leased("x", "y", "z")
        job = play.job("a")
        play.tell(part(job, {0: "X"}, fails=[1]))
        play.tell(lost(job))
        assert inputs(play.job("a")) == ["z"]
        assert (play.outputs, fallen(play)) == (["X"], [1])

    def test_nor_are_those_that_were_dropped(self):
        play = leased("x", "y", "z")
        job = play.job("a")
        play.tell(part(job, {}, dropped=[0, 1]))
        play.tell(lost(job))
        assert inputs(play.job("a")) == ["z"]
        play.work("a")
        assert (play.counts("a"), play.finish) == ({"received": 4, "succeeded": 2, "dropped": 2}, "done")

    def test_what_was_leased_together_of_several_payloads_comes_back_whole(self):
        play = Play(Graph(wide("a")))
        play.tell(ev.PauseAsked(True))
        for values in ("xy", "z", "uv"):
            play.give(*values)
        play.tell(ev.PauseAsked(False))
        job = play.job("a")
        play.tell(part(job, {3: "u"}))
        play.tell(ev.WorkerLost(job.worker, "was killed", (0, 0)))
        assert inputs(play.job("a")) == ["x", "y", "z", "v"]
        assert [high - low for _, low, high in play.job("a").job.pieces] == [2, 1, 1]

    def test_one_that_had_ended_is_not_to_blame(self):
        """The worker said what it was at before its last answer was read."""
        play = leased("x", "y")
        job = play.job("a")
        play.tell(part(job, {0: "X"}))
        play.tell(lost(job, 0))
        assert inputs(play.job("a")) == ["y"]
        play.tell(done(play.job("a")))
        assert play.finish == "done"

    def two_leases(self):
        play = Play(Graph(task("a")))
        play.play(*range(3))
        play.tell(done(play.job("a"), seconds=0.005))
        assert [inputs(job) for job in play.jobs("a")] == [[1], [2]]
        return play, *play.jobs("a")

    def test_leases_that_waited_behind_are_not_suspected(self):
        play, first, _ = self.two_leases()
        play.tell(lost(first, 0))
        assert [inputs(job) for job in play.jobs("a")] == [[1]]
        play.work("a")
        assert (sorted(play.outputs), play.finish) == ([0, 1, 2], "done")

    def test_the_one_it_was_at_may_be_of_the_second_lease(self):
        play, _, second = self.two_leases()
        play.tell(lost(second, 0))
        assert [inputs(job) for job in play.jobs("a")] == [[2]]

    def test_all_its_leases_are_suspected_where_it_worked_on_all_at_once(self):
        play, first, _ = self.two_leases()
        play.tell(lost(first))
        assert [inputs(job) for job in play.jobs("a")] == [[1]]
        play.tell(lost(play.job("a")))
        assert [inputs(job) for job in play.jobs("a")] == [[1]]
        play.work("a")
        assert play.outputs == [0, 1, 2]

    def test_suspects_of_several_kinds_are_tried_apart(self):
        """Keys are asked for in other leases than tasks are run in."""
        play = Play(Graph(task("a", deduplicate=True)))
        play.give("x")
        play.tell(keys(play.job("a"), "x", seconds=1e-6))
        play.give("y", "z")
        run, asked = play.jobs("a")
        assert (run.job.kind, asked.job.kind) == ("run", "key")
        play.tell(lost(run), ev.SourceEnded())
        tried = []
        while jobs := play.jobs("a"):
            tried.append((jobs[0].job.kind, inputs(jobs[0])))
            play.tell(keys(jobs[0], *inputs(jobs[0])) if jobs[0].job.kind == "key" else done(jobs[0]))
        assert tried[:2] == [("run", ["x"]), ("key", ["y", "z"])]
        assert (play.outputs, play.finish) == (["x", "y", "z"], "done")

    def test_a_merge_may_kill_its_worker_too(self):
        play = Play(split() >> merge())
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        for _ in range(2):
            play.tell(lost(play.job("m"), 0))
            assert inputs(play.job("m")) == [["x0", "x1"]]
        play.tell(lost(play.job("m"), 0))
        assert "while it ran source task 0: 3 times" in play.lost[0][1]
        assert play.counts("m") == {"received": 2, "failed": 2}

    def test_one_that_nobody_knows_is_no_loss(self):
        play = leased("x")
        play.tell(ev.WorkerLost(99, "was killed"))
        assert (play.core.crashes, inputs(play.job("a"))) == (0, ["x"])

    def test_while_the_run_is_stopped_nothing_is_tried_again(self):
        play = leased("x", "y")
        job = play.job("a")
        play.tell(ev.StopAsked())
        play.tell(lost(job, 0))
        assert (play.finish, play.core.crashes, play.counts("a")) == ("stopped", 1, {"received": 1, "succeeded": 1})

    @given(
        st.integers(1, 8), st.sets(st.integers(0, 7), max_size=2), st.sampled_from([1, 2]), st.integers(0, 3), st.data()
    )
    def test_the_poison_is_found_and_no_innocent_task_fails(self, count, poison, width, accidents, data):
        """Whatever is known of each death, and whoever dies by accident besides; and few workers die for it."""
        play = leased(*range(count)) if width == 1 else Play(Graph(task("a", "process", width, batch_size=3)))
        if width > 1:
            play.play(*range(count))
        blamed = {}
        while jobs := play.jobs("a"):
            job = data.draw(st.sampled_from(jobs))
            bad = [p for p, value in enumerate(inputs(job)) if value in poison]
            if bad:
                known = data.draw(st.sampled_from([bad[0], None, ev.ANYWHERE]))
                play.tell(lost(job, known))
            elif accidents and data.draw(st.booleans()) and all(blamed.get(v, 0) < 2 for v in inputs(job)):
                accidents -= 1
                play.tell(lost(job))
                for value in inputs(job):
                    blamed[value] = blamed.get(value, 0) + 1
            else:
                play.tell(done(job))
        lost_ones = [index - (width == 1) for index, _ in play.lost]
        assert sorted(lost_ones) == sorted(poison & set(range(count)))
        assert sorted(v for v in play.outputs) == sorted(set(range(count)) - poison)
        assert play.finish == "done"


class TestLostAnswers:
    """After some time without any answer those who owe one are asked whether they still know of it."""

    def silent(self):
        play = Play(Graph(task("a")))
        play.play("x")
        return play, play.job("a")

    def test_they_are_asked_again_and_again(self):
        play, job = self.silent()
        assert play.core.next_deadline() == STALL_SECONDS
        for _ in range(3):
            play.tell(wait=STALL_SECONDS)
            assert kinds(play.out, do.Probe) == [do.Probe(job.worker)]
            assert play.tell() == []

    def test_any_answer_of_anybody_is_a_sign_of_life(self):
        play = Play(Graph(task("a", "process", 2)))
        play.give("x", "y")
        first, second = play.jobs("a")
        play.tell(done(first), wait=4.0)
        assert play.tell(wait=4.0) == []
        play.tell(wait=1.0)
        assert kinds(play.out, do.Probe) == [do.Probe(second.worker)]

    def test_one_that_is_at_work_may_take_its_time(self):
        play, job = self.silent()
        for _ in range(3):
            play.tell(wait=STALL_SECONDS)
            assert play.tell(ev.Running(job.worker, job.token, 0, 0.0)) == []

    def test_one_that_has_nothing_to_do_twice_in_a_row_has_lost_it(self):
        play, job = self.silent()
        idle = ev.Running(job.worker, 0, 0, 0.0, idle=True)
        play.tell(idle, wait=STALL_SECONDS)
        with pytest.raises(InvariantBroken, match="worker 1 of node 'a' has nothing to do, but never answered lease 1"):
            play.tell(idle, wait=STALL_SECONDS)

    def test_once_may_be_because_its_answer_was_on_the_way(self):
        play = Play(Graph(task("a")))
        play.give("x", "y", "z")
        first, second = play.jobs("a")
        idle = ev.Running(first.worker, 0, 0, 0.0, idle=True)
        play.tell(idle, wait=STALL_SECONDS)
        play.tell(done(first))
        play.tell(idle, wait=STALL_SECONDS)
        play.tell(done(second))
        assert play.outputs == ["x", "y"]

    def test_workers_that_are_starting_or_idle_owe_nothing(self):
        play = Play(Graph(task("a", "process", 2)), up=False)
        play.give("x", "y")
        play.tell()
        play.tell(ev.WorkerUp(1))
        assert len(play.core.workers) == 2
        play.tell(wait=STALL_SECONDS)
        assert kinds(play.out, do.Probe) == [do.Probe(1)]

    def test_nor_is_anybody_asked_when_nothing_is_leased(self):
        play = Play(Graph(task("a")))
        assert play.core.next_deadline() is None
        assert play.tell(wait=99.0) == []


class TestLateAnswers:
    """Every lease has a token that is never used again; what comes with a dead one counts for nothing."""

    def test_of_a_worker_that_was_taken_for_dead(self):
        play = leased("x")
        job = play.job("a")
        play.tell(lost(job, 0))
        play.tell(done(job))
        assert (play.core.late_answers, play.outputs) == (1, [])
        play.work("a")
        assert play.outputs == ["x"]

    def test_of_a_lease_that_was_answered(self):
        play = leased("x", "y")
        job = play.job("a")
        play.tell(done(job))
        play.tell(done(job), fail(job))
        assert (play.core.late_answers, play.outputs, play.lost) == (0, ["x", "y"], []), "the run has ended"
        play = Play(Graph(task("a")))
        play.give("x")
        job = play.job("a")
        play.tell(done(job), done(job))
        assert (play.core.late_answers, play.outputs) == (1, ["x"])

    def test_of_a_part_that_was_heard(self):
        play = leased("x", "y", mode="thread", width=2)
        job = play.job("a")
        some = part(job, {0: "x"})
        play.tell(some, some, part(job, {1: "y"}, last=True))
        assert (play.core.late_answers, play.outputs) == (1, ["x", "y"])


class TestGivingBack:
    """What a backend could not deliver comes back without having been run."""

    def test_it_is_leased_again(self):
        play = leased("x", "y", "z")
        job = play.job("a")
        failures = [(1, error("cannot be pickled"), False)]
        play.tell(ev.Answer(job.worker, job.token, failures=failures, returned=[0, 2]))
        assert fallen(play) == [1]
        play.work("a")
        assert (play.outputs, play.finish) == (["x", "z"], "done")
        assert play.counts("a") == {"received": 4, "succeeded": 3, "failed": 1}

    def test_together_with_what_was_run(self):
        play = leased("x", "y", "z")
        job = play.job("a")
        outputs = [ev.Produced(0, Box("X"), [0])]
        play.tell(ev.Answer(job.worker, job.token, outputs=outputs, dropped=[1], returned=[2]))
        assert (play.outputs, inputs(play.job("a"))) == (["X"], ["z"])

    def test_all_of_it(self):
        play = leased("x", "y")
        job = play.job("a")
        play.tell(ev.Answer(job.worker, job.token, returned=[0, 1], ended=[]))
        assert inputs(play.job("a")) == ["x", "y"]
        assert play.core.in_flight == 2

    def test_when_keys_were_asked_for(self):
        play = Play(Graph(task("a", batch_size=3, deduplicate=True)))
        play.play("x", "y", "z")
        job = play.job("a")
        failures = [(1, error("cannot be pickled"), False)]
        play.tell(ev.Answer(job.worker, job.token, failures=failures, returned=[0, 2]))
        while jobs := play.jobs("a"):
            job = jobs[0]
            play.tell(keys(job, *inputs(job)) if job.job.kind == "key" else done(job))
        assert (play.outputs, play.lost, play.finish) == (["x", "z"], [(1, "cannot be pickled")], "done")


class TestTimeouts:
    """Whose time is up is asked what it is at before it is judged: the answer may be on its way."""

    def running(self, *values, killable=True, **options):
        play = Play(Graph(task("a", "process", 1, timeout=2.0, **options)), killable=killable)
        play.give("first")
        play.tell(done(play.job("a"), seconds=1e-6))
        play.facts.clear()
        play.play(*values)
        return play

    def at(self, job, position, since):
        return ev.Running(job.worker, job.token, position, since)

    def test_its_worker_is_asked_and_once_only(self):
        play = self.running("x")
        assert play.core.next_deadline() == 2.0
        play.tell(wait=1.9)
        assert kinds(play.out, do.Probe) == []
        play.tell(wait=0.1)
        assert kinds(play.out, do.Probe) == [do.Probe(1)]
        assert play.core.next_deadline() == STALL_SECONDS
        assert play.tell(wait=1.0) == []
        assert play.core.stuck() is None

    def test_who_began_later_has_time_left(self):
        play = self.running("x", "y")
        play.tell(wait=2.0)
        play.tell(self.at(play.job("a"), 1, since=1.5))
        assert kinds(play.out, do.StopWorker) == []
        assert play.core.next_deadline() == 3.5

    def test_who_has_had_its_time_is_killed_and_the_others_are_run_again(self):
        play = self.running("x", "y", "z")
        job = play.job("a")
        play.tell(wait=2.0)
        play.tell(self.at(job, 1, since=0.0))
        assert kinds(play.out, do.StopWorker) == [do.StopWorker(1, kill=True)]
        (failed,) = play.heard(do.Lost)
        assert (failed.error.kind, failed.error.type) == ("timeout", "TaskTimeout")
        assert failed.error.message == (
            "source task 2 ran longer than the timeout of 2 s; a worker of node 'a' was killed for it and replaced"
        )
        assert len(kinds(play.out, do.StartWorker)) == 1
        assert inputs(play.job("a")) == ["x", "z"]

    def test_a_list_whose_time_is_up_fails_together(self):
        play = self.running("x", "y", "z", batch_size=2)
        job = play.job("a")
        assert inputs(job) == ["x", "y"]
        play.tell(wait=2.0)
        play.tell(self.at(job, 0, since=0.0))
        assert sorted(fallen(play)) == [0, 1]
        assert inputs(play.job("a")) == ["z"]

    def test_it_is_tried_again_where_timeouts_are(self):
        play = self.running("x", retries=1, retry_delay=1.0)
        play.tell(wait=2.0)
        play.tell(self.at(play.job("a"), 0, since=0.0))
        (failed,) = kinds(play.out, do.TaskFailed)
        assert failed.retry_in is not None
        play.tell(wait=1.0)
        assert (inputs(play.job("a")), play.job("a").job.attempt) == (["x"], 1)

    def test_values_have_a_while_to_be_read_or_sealed(self):
        play = self.running("x", "y")
        job = play.job("a")
        play.tell(wait=2.0)
        play.tell(self.at(job, ev.ANYWHERE, since=0.0))
        assert (kinds(play.out, do.StopWorker), play.core.next_deadline()) == ([], STALL_SECONDS)
        play.tell(wait=8.0)
        assert do.Probe(job.worker) in play.out
        play.tell(self.at(job, ev.ANYWHERE, since=0.0))
        assert kinds(play.out, do.StopWorker) == [do.StopWorker(1, kill=True)]
        assert inputs(play.job("a")) == ["x"], "each half is tried by itself"
        job = play.job("a")
        play.tell(wait=10.0)
        play.tell(self.at(job, ev.ANYWHERE, since=10.0))
        assert play.lost[0][1].startswith("source task 1 could not be read or sealed within 10 s; a worker")

    def test_one_that_is_between_two_leases_gets_a_new_deadline(self):
        play = self.running("x")
        play.tell(wait=2.0)
        play.tell(ev.Running(1, 0, 0, 0.0))
        assert play.core.next_deadline() == 4.0

    def test_one_that_has_answered_meanwhile(self):
        play = self.running("x")
        job = play.job("a")
        play.tell(wait=2.0)
        play.tell(done(job))
        assert play.finish == "done"

    def test_one_that_has_gone_on_to_the_next_lease_meanwhile(self):
        play = self.running(*range(10))
        job = play.job("a")
        assert job.job.count == 8
        play.tell(wait=2.0)
        play.tell(done(job), self.at(job, 0, since=0.0))
        assert kinds(play.out, do.StopWorker) == []
        assert inputs(play.job("a")) == [8, 9]

    def test_one_that_is_idle_or_gone(self):
        play = Play(Graph(task("a", "process", 1, timeout=2.0)), killable=True)
        play.give("x")
        job = play.job("a")
        play.work("a")
        assert play.tell(self.at(job, 0, since=0.0), ev.Running(99, job.token, 0, 0.0), wait=9.0) == []

    def test_workers_that_cannot_be_killed_are_timed_out_from_inside(self):
        play = self.running("x", killable=False)
        assert play.core.next_deadline() == STALL_SECONDS
        play.tell(self.at(play.job("a"), 0, since=0.0), wait=4.0)
        assert play.out == []

    def test_where_there_is_no_timeout_nothing_is_too_long(self):
        play = Play(Graph(task("a", "process", 1)), killable=True)
        play.give("x")
        play.tell(self.at(play.job("a"), 0, since=0.0), wait=99.0)
        assert kinds(play.out, do.StopWorker) == []

    def test_the_next_lease_has_its_own_time(self):
        play = self.running(*range(10))
        play.tell(done(play.job("a")), wait=1.5)
        assert play.core.next_deadline() == 3.5

    def test_it_still_counts_while_a_run_is_stopped(self):
        """Or what runs for ever would keep a run from ever stopping."""
        play = self.running("x")
        job = play.job("a")
        play.tell(ev.StopAsked())
        play.tell(wait=2.0)
        assert do.Probe(job.worker) in play.out
        play.tell(self.at(job, 0, since=0.0))
        assert play.finish == "stopped"

    def test_children_that_a_killed_splitter_has_given_stay(self):
        s = split(timeout=2.0, execution_mode="process", worker_limit=1)
        play = Play(s >> wide("a") >> merge(on_missing="skip"), killable=True)
        play.play("x")
        job = play.job("s")
        play.tell(children(job, "x0", last=False))
        play.tell(self.at(job, 0, since=0.0), wait=2.0)
        play.work("a")
        assert inputs(play.job("m")) == [["x0"]]


class TestOneByOne:
    def test_the_serial_backend_gets_one_task_at_a_time(self):
        play = Play(task("a") >> wide("b"), one_by_one=True)
        assert play.resumed(do.Pull) == [do.Pull(1)]
        play.give(*range(9))
        sizes = []
        while jobs := play.jobs("a") + play.jobs("b"):
            sizes.append(jobs[0].job.count)
            play.tell(done(jobs[0], seconds=1e-6))
        assert sizes == [1] * 18


@pytest.mark.parametrize("mode", ["serial", "thread", "process", "async"])
def test_workers_and_lanes_by_mode(mode):
    """Threads and coroutines are lanes of one worker; processes are workers of one lane."""

    async def also_never(value):
        raise NotImplementedError

    func = also_never if mode == "async" else never
    play = Play(Graph(TaskManager(func, mode, 3 if mode != "serial" else None, name="a")))
    play.give(*range(20))
    shapes = {"serial": [1, 1], "thread": [6], "process": [1, 1, 1], "async": [9]}
    assert [job.job.count for job in play.jobs("a")] == shapes[mode]
