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
from dagflow.errors import BackendError


def lost(job, running=None, **more):
    """The worker of a job has died; ``running``: the position it was at (None: nobody knows)."""
    return ev.WorkerLost(
        job.worker, "was killed by signal 9", None if running is None else (job.token, running), **more
    )


def batched(*values, **options):
    """A run of a node whose workers take up to four tasks at a time."""
    play = Play(Graph(task("a", batch_size=4, **options)))
    play.play(*values)
    return play


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
        play.tell(ev.WorkerLost(worker, "was killed"))
        assert (play.core.workers, play.core.crashes) == ({}, 1)
        play.give("y")
        assert play.job("a").worker != worker

    def test_the_task_it_was_at_is_tried_again_alone_in_a_fresh_worker(self):
        play = batched("x", "y", "z")
        first = play.job("a")
        play.tell(lost(first, 1))
        jobs = play.jobs("a")
        assert [inputs(job) for job in jobs] == [["y"]]
        assert jobs[0].worker != first.worker
        assert play.node("a").queued == 2, "nobody works beside a suspect"
        play.work("a")
        assert (play.outputs, play.finish) == (["y", "x", "z"], "done")
        assert play.counts("a") == {"received": 3, "succeeded": 3}

    def test_a_suspect_waits_for_an_idle_worker(self):
        play = Play(Graph(task("a", "process", 2)))
        play.give(*range(4))
        first, second = play.jobs("a")
        play.tell(done(first, seconds=0.001), done(second, seconds=0.001))
        first, second = (job for job in play.jobs("a"))
        play.tell(lost(first, 0))
        suspects = [job for job in play.jobs("a") if inputs(job) == inputs(first)]
        assert [job.worker == second.worker for job in suspects] == [False]

    def test_one_that_kills_worker_after_worker_has_failed(self):
        play = batched("x", "y")
        play.tell(lost(play.job("a"), 1))
        play.tell(lost(play.job("a"), 0))
        assert play.lost == []
        play.tell(lost(play.job("a"), 0))
        (failed,) = play.heard(do.Lost)
        assert (failed.index, failed.error.kind, failed.error.type) == (1, "died", "WorkerDied")
        assert failed.error.message == (
            "the worker was killed by signal 9 while this task was running, 3 times in 3 workers"
        )
        assert inputs(play.job("a")) == ["x"]
        play.work("a")
        assert (play.core.crashes, play.finish) == (3, "done")

    def test_unless_the_node_retries_what_died(self):
        play = Play(Graph(task("a", retries=1, retry_delay=1.0, retry_exceptions=(WorkerDied,))))
        play.play("x")
        for _ in range(3):
            play.tell(lost(play.job("a"), 0))
        assert (play.lost, play.counts("a")) == ([], {"received": 1, "retried": 1})
        play.tell(wait=1.0)
        play.tell(lost(play.job("a"), 0))
        assert len(play.lost) == 1

    def test_a_lease_of_one_task_leaves_no_doubt(self):
        play = Play(Graph(task("a")))
        play.play("x")
        for _ in range(3):
            play.tell(lost(play.job("a")))
        assert play.lost[0][1].endswith("3 times in 3 workers")

    def test_when_nobody_knows_which_task_it_was_each_is_tried_alone(self):
        play = batched("x", "y", "z")
        play.tell(lost(play.job("a")))
        order = []
        while jobs := play.jobs("a"):
            assert len(jobs) == 1
            order += inputs(jobs[0])
            play.tell(done(jobs[0]))
        assert order == ["x", "y", "z"]
        assert play.finish == "done"

    def test_the_poison_among_them_is_found_and_nobody_else_fails(self):
        play = batched(*range(4))
        while jobs := play.jobs("a"):
            play.tell(lost(jobs[0]) if 2 in inputs(jobs[0]) else done(jobs[0]))
        assert [index for index, _ in play.lost] == [2]
        assert sorted(play.outputs) == [0, 1, 3]

    def test_those_that_had_ended_are_not_run_again(self):
        play = batched("x", "y", "z")
        job = play.job("a")
        play.tell(part(job, {0: "X"}, fails=[1]))
        play.tell(lost(job))
        assert inputs(play.job("a")) == ["z"]
        assert (play.outputs, play.lost) == (["X"], [(1, "broken y")])

    def test_one_that_had_ended_is_not_to_blame(self):
        """The worker said what it was at before its last answer was read."""
        play = batched("x", "y")
        job = play.job("a")
        play.tell(part(job, {0: "X"}))
        play.tell(lost(job, 0))
        assert inputs(play.job("a")) == ["y"]
        play.tell(done(play.job("a")))
        assert play.finish == "done"

    def test_leases_that_waited_behind_are_not_suspected(self):
        play = Play(Graph(task("a")))
        play.play(*range(3))
        play.tell(done(play.job("a"), seconds=0.005))
        first, second = play.jobs("a")
        play.tell(lost(first))
        assert [inputs(job) for job in play.jobs("a")] == [inputs(first)]
        play.work("a")
        assert (sorted(play.outputs), play.finish) == ([0, 1, 2], "done")

    def test_the_one_it_was_at_may_be_of_the_second_lease(self):
        play = Play(Graph(task("a")))
        play.play(*range(3))
        play.tell(done(play.job("a"), seconds=0.005))
        first, second = play.jobs("a")
        play.tell(lost(second, 0))
        assert sorted(v for job in play.jobs("a") for v in inputs(job)) == inputs(first)

    def test_a_merge_may_kill_its_worker_too(self):
        play = Play(split() >> merge())
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        for _ in range(2):
            play.tell(lost(play.job("m"), 0))
            assert inputs(play.job("m")) == [["x0", "x1"]]
        play.tell(lost(play.job("m"), 0))
        assert play.lost[0][1].endswith("3 times in 3 workers")
        assert play.counts("m") == {"received": 2, "failed": 2}

    def test_one_that_nobody_knows_is_no_loss(self):
        play = batched("x")
        play.tell(ev.WorkerLost(99, "was killed"))
        assert (play.core.crashes, inputs(play.job("a"))) == (0, ["x"])

    def test_while_the_run_is_stopped_nothing_is_tried_again(self):
        play = batched("x", "y")
        job = play.job("a")
        play.tell(ev.StopAsked())
        play.tell(lost(job, 0))
        assert (play.finish, play.core.crashes, play.counts("a")) == ("stopped", 1, {})

    @given(st.lists(st.sampled_from(("known", "unknown", "idle", "works")), max_size=12), st.integers(1, 9))
    def test_whatever_dies_without_a_poison_every_task_is_done(self, deaths, count):
        """Innocent tasks survive any deaths that do not hit them alone three times over."""
        play = Play(Graph(task("a", "process", 2, batch_size=3)))
        play.play(*range(count))
        blamed = {}
        for how in deaths:
            jobs = play.jobs("a")
            if not jobs:
                break
            job = jobs[-1]
            suspect = inputs(job)[0]
            if how == "works" or blamed.get(suspect, 0) == 2:
                play.tell(done(job))
                continue
            if how == "known" or (how == "unknown" and job.job.count == 1):
                blamed[suspect] = blamed.get(suspect, 0) + 1
            running = {"known": (job.token, 0), "unknown": None, "idle": (0, 0)}[how]
            play.tell(ev.WorkerLost(job.worker, "was killed", running))
        play.work("a")
        assert (sorted(play.outputs), play.lost, play.finish) == (list(range(count)), [], "done")


class TestLateAnswers:
    """Every lease has a token that is never used again; what comes with a dead one counts for nothing."""

    def test_of_a_worker_that_was_taken_for_dead(self):
        play = batched("x")
        job = play.job("a")
        play.tell(lost(job, 0))
        play.tell(done(job))
        assert (play.core.late_answers, play.outputs) == (1, [])
        play.work("a")
        assert play.outputs == ["x"]

    def test_of_a_lease_that_was_answered(self):
        play = batched("x", "y")
        job = play.job("a")
        play.tell(done(job))
        play.tell(done(job), fail(job))
        assert (play.core.late_answers, play.outputs, play.lost) == (0, ["x", "y"], []), "the run has ended"
        play = Play(Graph(task("a")))
        play.give("x")
        job = play.job("a")
        play.tell(done(job), done(job))
        assert (play.core.late_answers, play.outputs) == (1, ["x"])


class TestGivingBack:
    """What a backend could not deliver comes back without having been run."""

    def test_it_is_leased_again(self):
        play = batched("x", "y", "z")
        job = play.job("a")
        failures = [(1, error("cannot be pickled"), False)]
        play.tell(ev.Answer(job.worker, job.token, failures=failures, returned=[0, 2]))
        assert play.lost == [(1, "cannot be pickled")]
        play.work("a")
        assert (play.outputs, play.finish) == (["x", "z"], "done")
        assert play.counts("a") == {"received": 3, "succeeded": 2, "failed": 1}

    def test_together_with_what_was_run(self):
        play = batched("x", "y", "z")
        job = play.job("a")
        outputs = [ev.Produced(0, Box("X"), [0])]
        play.tell(ev.Answer(job.worker, job.token, outputs=outputs, dropped=[1], returned=[2]))
        assert (play.outputs, inputs(play.job("a"))) == (["X"], ["z"])

    def test_all_of_it(self):
        play = batched("x", "y")
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
        play = Play(Graph(task("a", "process", 1, timeout=2.0, batch_size=3, **options)), killable=killable)
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
        assert play.core.next_deadline() is None
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
        assert play.lost == [(1, "ran longer than the timeout of 2 s; its worker was killed and replaced")]
        assert len(kinds(play.out, do.StartWorker)) == 1
        assert inputs(play.job("a")) == ["x", "z"]

    def test_it_is_tried_again_where_timeouts_are(self):
        play = self.running("x", retries=1, retry_delay=1.0)
        play.tell(wait=2.0)
        play.tell(self.at(play.job("a"), 0, since=0.0))
        (failed,) = kinds(play.out, do.TaskFailed)
        assert (failed.error.kind, failed.error.type, failed.retry_in is None) == ("timeout", "TaskTimeout", False)

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
        play = self.running("x", "y", "z", "w")
        job = play.job("a")
        play.tell(wait=2.0)
        play.tell(done(job), self.at(job, 0, since=0.0))
        assert kinds(play.out, do.StopWorker) == []
        assert inputs(play.job("a")) == ["w"]

    def test_one_that_is_idle_or_gone(self):
        play = Play(Graph(task("a", "process", 1, timeout=2.0)), killable=True)
        play.give("x")
        job = play.job("a")
        play.work("a")
        assert play.tell(self.at(job, 0, since=0.0), ev.Running(99, job.token, 0, 0.0), wait=9.0) == []

    def test_workers_that_cannot_be_killed_are_not_asked(self):
        """Where tasks are timed out from inside, the core has nothing to do with it."""
        play = self.running("x", killable=False)
        assert play.core.next_deadline() is None
        play.tell(wait=10.0)
        assert kinds(play.out, do.Probe) == []

    def test_nor_those_of_nodes_without_a_timeout(self):
        play = Play(Graph(task("a", "process", 1)), killable=True)
        play.give("x")
        assert play.tell(ev.Running(1, play.job("a").token, 0, 0.0), wait=99.0) == []

    def test_the_next_lease_has_its_own_time(self):
        play = self.running("x", "y", "z", "w")
        play.tell(done(play.job("a")), wait=1.5)
        assert play.core.next_deadline() == 3.5

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
    shapes = {"serial": [1, 1], "thread": [6], "process": [1, 1, 1], "async": [6]}
    assert [job.job.count for job in play.jobs("a")] == shapes[mode]
