"""The mutator: how much it reads, where there is room, what it says of itself."""

from __future__ import annotations

from core_made import (
    Box,
    Play,
    children,
    done,
    fail,
    fold,
    inputs,
    kinds,
    merge,
    part,
    split,
    task,
    tasks,
    wide,
)
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph, par
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.inbox import LEASE_BYTES


def pulls(out):
    return [c.count for c in kinds(out, do.Pull)]


class TestPulling:
    """As much is read from the source as there is room for, and one request at a time."""

    def test_little_is_asked_for_until_it_is_known_what_tasks_cost(self):
        play = Play(Graph(task("a")))
        assert play.resumed(do.Pull) == [do.Pull(2)]
        assert pulls(play.tell()) == []
        assert pulls(play.give("x", "y")) == [2]
        play.tell(done(play.job("a"), seconds=1e-6))
        play.give("z")
        assert play.resumed(do.Pull) == [do.Pull(16)]

    def test_more_for_nodes_that_work_on_many_at_once(self):
        assert Play(Graph(wide("a"))).resumed(do.Pull) == [do.Pull(64)]

    def test_what_is_at_hand_is_read_as_far_as_there_is_room(self):
        play = Play(Graph(task("a")), at_hand=True)
        assert play.resumed(do.Pull) == [do.Pull(64)]
        assert pulls(play.give(*range(64))) == []

    def test_but_no_more_of_large_values_than_an_envelope_holds(self):
        play = Play(Graph(task("a", "process", 8)), at_hand=True)
        assert pulls(play.give("x", "y", size=LEASE_BYTES // 2)) == [4]

    def test_until_half_of_the_queue_is_full_while_something_runs(self):
        """Read in larger pieces: whatever runs will end, and then there is time to read on."""
        play = Play(Graph(task("a")))
        asked = []
        while count := play.core.pulling:
            asked.append(count)
            play.give(*range(count))
        assert (sum(asked), play.core.stuck()) == (34, None)  # two of them at the worker
        play.work("a")
        assert play.core.pulling > 0

    def test_until_the_queue_is_full_while_nothing_runs(self):
        play = Play(Graph(task("a")), up=False)
        while play.core.pulling:
            play.give(*range(play.core.pulling))
        assert (play.core.admitted, play.core.stuck()) == (64, None)

    def test_the_narrowest_entry_decides(self):
        wide_one, narrow = wide("a"), task("b")
        play = Play(par(wide_one, narrow), up=False)
        while play.core.pulling:
            play.give(*range(play.core.pulling))
        assert play.node("b").queued == 64

    def test_reading_goes_on_where_one_entry_has_little(self):
        play = Play(par(task("a"), task("b")))
        while play.core.pulling:
            play.give(*range(play.core.pulling))
        play.work("b")
        assert (play.node("a").leased, play.node("b").leased) == (2, 0)
        assert play.core.pulling > 0

    def test_no_more_than_may_be_in_flight(self):
        play = Play(Graph(task("a")), max_in_flight=3)
        assert play.resumed(do.Pull) == [do.Pull(2)]
        assert pulls(play.give("x", "y")) == [1]
        assert pulls(play.give("z")) == []
        assert pulls(play.tell(done(play.job("a")))) == [1]

    def test_no_more_than_the_bytes_that_may_be_held(self):
        play = Play(Graph(task("a")), max_bytes=1000)
        play.give("x", "y", "z", size=3000)
        assert (play.core.held_bytes(), play.resumed(do.Pull)) == (1000, [])
        play.work("a")
        assert play.core.pulling > 0

    def test_large_tasks_are_read_in_small_numbers(self):
        play = Play(Graph(wide("a")))
        play.give("x", size=2_000_000)
        assert play.resumed(do.Pull) == [do.Pull(2)]
        play.give("y", size=5_000_000)
        assert play.resumed(do.Pull) == [do.Pull(1)]

    def test_a_task_that_is_larger_than_all_room_passes_alone(self):
        play = Play(Graph(task("a")), max_bytes=1, max_in_flight=1)
        for number in range(3):
            assert play.resumed(do.Pull) == [do.Pull(1)]
            play.give(number, size=500)
            assert play.resumed(do.Pull) == []
            play.work("a")
        assert play.outputs == [0, 1, 2]

    def test_a_source_that_has_nothing_yet_is_asked_again(self):
        play = Play(Graph(task("a")))
        assert pulls(play.tell(ev.Pulled(Box(), 0))) == [2]
        assert (play.core.admitted, play.core.workers) == (0, {})

    def test_and_one_that_has_ended_is_not(self):
        play = Play(Graph(task("a")))
        play.give("x")
        assert pulls(play.end()) == []


class TestRoom:
    """Backpressure: a node is held back while what it gives has nowhere to go."""

    def test_by_a_full_queue_after_it(self):
        play = Play(wide("a", width=100) >> task("b"))
        play.give(*range(300))
        play.tell(done(play.job("a")))
        assert play.node("b").queued > play.node("b").capacity
        assert play.jobs("a") == []
        assert "'a' is open: 100 queued, 0 leased, 0 waiting for a retry, 1 workers, held back" in play.core.story()
        while not play.jobs("a"):
            play.tell(done(play.job("b")))
        assert play.node("b").queued < play.node("b").capacity

    def test_by_bytes_after_it(self):
        play = Play(wide("a") >> task("b"), max_bytes=1000)
        play.give(*range(20), size=20)
        answer = done(play.job("a"))
        answer.outputs[0].payload.size = 800
        play.tell(answer)
        assert (play.node("b").queued, play.node("b").bytes) == (6, 600)
        assert (play.jobs("a"), play.node("a").queued) == ([], 12)
        play.tell(done(play.job("b"), seconds=9.0))
        assert (play.node("b").bytes, len(play.jobs("a"))) == (500, 1)

    def test_not_by_a_window_which_waits_for_nothing(self):
        play = Play(wide("a", width=100) >> merge("w", size=1))
        play.give(*range(300))
        play.tell(done(play.job("a")))
        assert play.node("w").queued > play.node("w").capacity
        assert len(play.jobs("a")) == 1

    def test_by_a_window_that_is_folded_as_its_members_come(self):
        play = Play(wide("a", width=100) >> fold("w", size=1))
        play.give(*range(300))
        play.tell(done(play.job("a")))
        assert play.node("w").queued > play.node("w").capacity
        assert play.jobs("a") == []

    def test_the_deepest_ready_task_is_begun_first(self):
        a, b = tasks("a b")
        play = Play(a >> b)
        play.give("x", "y", "z", "u")
        play.tell(done(play.job("a"), seconds=1.0), done(play.jobs("a")[1], seconds=1.0))
        assert [c.job.pieces[0][0].values for c in kinds(play.out, do.Deliver)][:2] == [("x",), ("y",)]

    @given(st.integers(1, 5), st.lists(st.integers(0, 2), max_size=40))
    def test_no_more_is_in_flight_than_allowed(self, most, choices):
        """But for what one task has become: children and branches are all in flight at once."""
        a, b, c = tasks("a b c")
        play = Play(a >> b >> c, max_in_flight=most)
        for choice in choices:
            if play.core.pulling and choice == 0:
                play.give(*range(play.core.pulling))
            elif jobs := [job for name in "abc" for job in play.jobs(name)]:
                play.tell(done(jobs[choice % len(jobs)]))
            assert play.core.in_flight <= most
            assert play.core.stuck() is None


class TestSink:
    """Outputs that the user has not taken yet hold back what would make more."""

    def test_as_many_as_there_is_room_for(self):
        play = Play(Graph(task("a")), sink_room=2)
        play.give("x", "y")
        play.work("a")
        play.give()
        assert (play.core.unread, play.resumed(do.Pull)) == (2, [])
        assert play.core.stuck() is None, "it is the user's turn"
        assert "2 outputs not taken" in play.core.story()
        play.tell(ev.Consumed(1))
        assert (play.core.unread, play.resumed(do.Pull)) == (1, [do.Pull(1)])

    def test_work_that_was_begun_is_held_back(self):
        play = Play(Graph(task("a")), sink_room=1)
        play.give("x", "y", "z")
        first, second = play.jobs("a")
        play.tell(done(first))
        assert [inputs(job) for job in play.jobs("a")] == [["y"]]
        play.tell(done(second))
        assert play.jobs("a") == []
        play.tell(ev.Consumed(2))
        assert inputs(play.job("a")) == ["z"]

    def test_failures_take_room_too(self):
        play = Play(Graph(task("a")), sink_room=5)
        play.give("x")
        play.tell(fail(play.job("a")))
        assert play.core.unread == 1

    def test_outputs_that_wait_for_those_before_them_hold_back_the_source_alone(self):
        play = Play(Graph(task("a")), sink_room=1, sink_holds=True)
        play.give("x", "y", "z", "u")
        play.work("a")
        play.give()
        assert (play.core.unread, play.outputs, play.resumed(do.Pull)) == (4, ["x", "y", "z", "u"], [])

    def test_large_outputs_take_what_room_there_is(self):
        play = Play(Graph(task("a")), sink_room=99, max_bytes=1000)
        play.give("x", "y", "z", size=3)
        job = play.job("a")
        answer = done(job)
        answer.outputs[0].payload.size = 800
        play.tell(answer)
        play.work("a")
        assert (play.core.unread, play.node("a").queued) == (2, 1), "one had been begun"
        play.tell(ev.Consumed(2))
        assert (play.core.held_bytes(), inputs(play.job("a"))) == (8 - 8, ["z"])

    def test_as_large_as_half_of_what_may_be_held(self):
        play = Play(Graph(task("a", timeout=9.0)), sink_room=99, max_bytes=1000)
        play.give("x", "y", "z", size=3)
        for size, jobs in ((500, 1), (1, 0)):
            answer = done(play.job("a"), seconds=9.0)
            answer.outputs[0].payload.size = size
            play.tell(answer)
            assert len(play.jobs("a")) == jobs

    def test_the_share_of_the_bytes_goes_with_what_is_taken(self):
        play = Play(Graph(wide("a")), sink_room=99)
        play.give(*range(4), size=4)
        answer = done(play.job("a"))
        answer.outputs[0].payload.size = 400
        play.tell(answer)
        assert play.core.held_bytes() == 400
        play.tell(ev.Consumed(1))
        assert play.core.held_bytes() == 300
        play.tell(ev.Consumed(3))
        assert play.core.held_bytes() == 0

    def test_an_output_without_values_takes_no_room(self):
        play = Play(Graph(split()), sink_room=9)
        play.give("x")
        job = play.job("s")
        play.tell(ev.Answer(job.worker, job.token, outputs=[ev.Produced(0, Box(), children=[])], ended=[0]))
        assert (play.core.unread, play.core.held_bytes(), play.ended) == (0, 0, [0])


class TestResuming:
    def test_all_that_was_decided_and_not_answered_is_given_again(self):
        play = Play(task("a") >> task("b"), up=False)
        play.give("x", "y")
        play.tell(ev.WorkerUp(1))
        said = kinds(play.out, do.Deliver)
        assert play.core.resume() == [do.StartWorker(2, 1), *said, do.Pull(2)]

    def test_a_split_goes_on_where_it_was(self):
        play = Play(split() >> wide("a") >> merge())
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1", last=False))
        assert play.job("s").job.skip == {0: 2}

    def test_an_ended_run_has_nothing_to_go_on_with(self):
        play = Play(Graph(task("a")))
        play.play("x")
        play.work("a")
        assert play.core.resume() == []

    @given(st.lists(st.integers(0, 5), max_size=30))
    def test_what_is_outstanding_is_what_was_said_and_not_answered(self, choices):
        play = Play(split() >> wide("a") >> merge(), up=False)
        outstanding = {}

        def hear(out):
            for command in out:
                match command:
                    case do.StartWorker() | do.StopWorker():
                        outstanding.pop(("start", command.worker), None)
                        if isinstance(command, do.StartWorker):
                            outstanding["start", command.worker] = command
                    case do.Deliver():
                        outstanding["lease", command.token] = command.token
                    case do.Pull():
                        outstanding["pull"] = command

        hear([do.Pull(play.core.pulling)])
        for choice in choices:
            jobs = [job for name in "sam" for job in play.jobs(name)]
            starts = play.resumed(do.StartWorker)
            if choice == 0 and play.core.pulling:
                del outstanding["pull"]
                hear(play.give("x"))
            elif choice <= 2 and starts:
                del outstanding["start", starts[-1].worker]
                hear(play.tell(ev.WorkerUp(starts[-1].worker)))
            elif jobs:
                job = jobs[choice % len(jobs)]
                del outstanding["lease", job.token]
                splits = play.core.leases[job.token].node == 0
                hear(play.tell(children(job, "0", "1") if splits else done(job)))
            found = play.core.resume()
            expected = [v for k, v in outstanding.items() if k[0] != "lease"]
            assert sorted(map(repr, expected)) == sorted(repr(c) for c in found if not isinstance(c, do.Deliver))
            assert sorted(c.token for c in kinds(found, do.Deliver)) == sorted(
                v for k, v in outstanding.items() if k[0] == "lease"
            )


class TestStuck:
    """If nothing can move and nothing is running, that is a bug or a broken backend, and it is told where."""

    def test_nothing_is_wrong_while_something_is_going_on_or_owed(self):
        play = Play(Graph(task("a")), up=False)
        assert play.core.stuck() is None, "tasks were asked for"
        play.give("x")
        play.end()
        assert play.core.stuck() is None, "a worker is starting"
        play.tell(ev.WorkerUp(1))
        assert play.core.stuck() is None, "a task is running"
        play.work("a")
        assert play.core.stuck() is None, "it has ended"

    def test_a_task_that_nobody_will_ever_take_is_told(self):
        """As would be where a worker had been taken away behind the scheduler's back."""
        play = Play(Graph(task("a")), up=False)
        play.give("x")
        play.end()
        worker = play.core.workers[1]
        worker.ready = worker.alone = True  # it works for somebody else
        text = play.core.stuck()
        assert text is not None
        assert text.startswith("nothing can move and nothing is running: source ended, 1 admitted, 1 not ended")
        assert "'a' is draining: 1 queued, 0 leased, 0 waiting for a retry, 1 workers" in text


class TestDeadlines:
    def test_the_soonest_of_all_is_told(self):
        a = task("a", retries=1, retry_delay=10.0)
        play = Play(a >> merge("w", within=3.0))
        assert play.core.next_deadline() is None
        play.give("x", "y")
        play.tell(done(play.job("a")))
        assert play.core.next_deadline() == 3.0
        play.tell(fail(play.job("a"), retry=True))
        assert play.core.next_deadline() == 3.0
        play.tell(ev.TimePassed(), wait=3.0)
        assert 5.0 <= play.core.next_deadline() <= 10.0


def test_facts_say_what_ended_with_which_inputs():
    play = Play(Graph(wide("a")))
    play.give("x", "y", "z")
    play.tell(part(play.job("a"), {0: "X", 2: "Z"}, dropped=[1], last=True, seconds=0.5))
    succeeded, dropped = sorted(play.heard(do.TasksEnded), key=lambda f: f.status, reverse=True)
    assert (succeeded.count, succeeded.positions, succeeded.seconds) == (2, [0, 2], 0.5)
    assert (dropped.count, dropped.positions) == (1, [1])
    assert [[payload.values[low:high] for payload, low, high in f.inputs] for f in (succeeded, dropped)] == [
        [("x", "y", "z")]
    ] * 2


def test_a_fold_in_a_scope_is_told_as_a_merge():
    play = Play(split() >> wide("a") >> fold())
    play.play("x")
    play.tell(children(play.job("s"), "x0"))
    play.work("a")
    play.tell(done(play.job("f"), "F"))
    (ended,) = play.heard(do.TasksEnded, "f")
    assert (ended.status, ended.count, ended.inputs) == ("succeeded", 1, [])
    assert play.finish == "done"
