"""Duplicates: of tasks with equal keys the first goes on, the others wait for how it ends."""

from __future__ import annotations

from core_made import Play, children, done, error, fail, inputs, keys, merge, part, split, task, wide
from hypothesis import given
from hypothesis import strategies as st

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core import events as ev


def deduplicating(*values, **options):
    """A run of a node that works on several tasks at once and deduplicates them."""
    play = Play(Graph(wide("a", deduplicate=True, **options)))
    play.play(*values)
    return play


def keyed(play, *given, name="a", **more):
    """The keys of the tasks that are asked for them are known."""
    job = play.job(name)
    assert job.job.kind == "key"
    return play.tell(keys(job, *given, **more))


def duplicates(play):
    return [
        space.root_index(i) for f in play.heard(do.TasksEnded, "a") if f.status == "duplicate" for space, i in _tasks(f)
    ]


def _tasks(fact):
    return [(space, i) for space, indices in fact.segments for i in indices]


class TestKeys:
    def test_keys_are_asked_for_first_then_the_first_of_each_is_run(self):
        play = deduplicating("p", "q", "p2", "r")
        keyed(play, "p", "q", "p", "r")
        job = play.job("a")
        assert (job.job.kind, inputs(job)) == ("run", ["p", "q", "r"])
        play.tell(done(job))
        assert (play.outputs, duplicates(play), play.finish) == (["p", "q", "r"], [2], "done")
        assert play.counts("a") == {"received": 4, "succeeded": 3, "dropped": 1, "duplicates": 1}

    def test_equal_ones_wait_until_the_first_has_ended(self):
        play = deduplicating("p", "p2")
        keyed(play, "p", "p")
        assert (duplicates(play), play.node("a").dedup.waiting, play.ended) == ([], 1, [])
        assert play.node("a").phase == "draining"
        play.tell(done(play.job("a")))
        assert (duplicates(play), play.ended) == ([1], [0, 1])

    def test_those_that_come_later_are_dropped_at_once(self):
        play = Play(Graph(wide("a", deduplicate=True)))
        play.give("p")
        keyed(play, "p")
        play.tell(done(play.job("a")))
        play.give("p2")
        keyed(play, "p")
        assert (duplicates(play), play.ended) == ([1], [0, 1])

    def test_a_task_whose_key_cannot_be_made_has_failed(self):
        play = deduplicating("p", "q", "r")
        keyed(play, None, "q", None, fails=[0, 2])
        assert inputs(play.job("a")) == ["q"]
        assert play.lost == [(0, "no key"), (2, "no key")]
        play.work("a")
        assert play.counts("a") == {"received": 3, "succeeded": 1, "failed": 2}

    def test_neighbours_stay_together_also_of_several_payloads(self):
        play = Play(Graph(wide("a", deduplicate=True)))
        play.tell(ev.PauseAsked(True))
        play.give("p", "q")
        play.give("p2", "r", "s")
        play.tell(ev.PauseAsked(False))
        keyed(play, "p", "q", "p", "r", "s")
        assert inputs(play.job("a")) == ["p", "q", "r", "s"]
        play.tell(done(play.job("a")))
        assert (play.outputs, duplicates(play)) == (["p", "q", "r", "s"], [2])

    def test_children_are_deduplicated_inside_their_scope(self):
        play = Play(split() >> wide("a", deduplicate=True) >> merge())
        play.play("x")
        play.tell(children(play.job("s"), "p", "q", "p2"))
        keyed(play, "p", "q", "p")
        play.work("a")
        assert inputs(play.job("m")) == [["p", "q"]]

    def test_a_splitter_may_deduplicate_what_it_splits(self):
        play = Play(split("a", deduplicate=True, execution_mode="thread", worker_limit=2) >> wide("b") >> merge())
        play.play("x", "x2")
        keyed(play, "x", "x")
        play.tell(children(play.job("a"), "0", "1"))
        play.work("b")
        assert inputs(play.job("m")) == [["0", "1"]]
        play.work("m")
        assert (duplicates(play), play.finish) == ([1], "done")
        assert play.counts("a") == {"received": 2, "succeeded": 1, "dropped": 1, "duplicates": 1}


class TestTheNext:
    """A first one that failed does not count as seen: the next is tried."""

    def test_it_is_tried_when_the_first_has_failed_for_good(self):
        play = deduplicating("p", "p2", "p3")
        keyed(play, "p", "p", "p")
        play.tell(fail(play.job("a")))
        assert play.lost == [(0, "broken p")]
        assert inputs(play.job("a")) == ["p2"]
        play.tell(done(play.job("a")))
        assert (play.outputs, duplicates(play), play.finish) == (["p2"], [2], "done")

    def test_not_while_the_first_is_tried_again(self):
        play = deduplicating("p", "p2", retries=1, retry_delay=1.0)
        keyed(play, "p", "p")
        play.tell(fail(play.job("a"), retry=True))
        assert play.jobs("a") == []
        play.tell(wait=1.0)
        assert inputs(play.job("a")) == ["p"]
        play.tell(done(play.job("a")))
        assert duplicates(play) == [1]

    def test_when_all_have_failed_a_later_one_is_the_first(self):
        play = Play(Graph(wide("a", deduplicate=True)))
        play.give("p")
        keyed(play, "p")
        play.tell(fail(play.job("a")))
        play.give("p2")
        keyed(play, "p")
        assert inputs(play.job("a")) == ["p2"]

    def test_one_that_was_dropped_was_seen(self):
        play = deduplicating("p", "p2")
        keyed(play, "p", "p")
        play.tell(part(play.job("a"), {}, dropped=[0], last=True))
        assert (duplicates(play), play.counts("a")) == ([1], {"received": 2, "dropped": 2, "duplicates": 1})

    def test_a_worker_that_dies_with_the_first_changes_nothing(self):
        play = deduplicating("p", "p2")
        keyed(play, "p", "p")
        play.tell(ev.WorkerLost(play.job("a").worker, "was killed", (0, 0)))
        assert (inputs(play.job("a")), play.job("a").job.kind) == (["p"], "run")
        play.tell(done(play.job("a")))
        assert duplicates(play) == [1]

    def test_a_worker_that_dies_over_the_keys_is_asked_again(self):
        play = deduplicating("p", "p2")
        play.tell(ev.WorkerLost(play.job("a").worker, "was killed", (0, 0)))
        assert play.job("a").job.kind == "key"

    def test_a_run_that_is_stopped_tries_no_other(self):
        play = deduplicating("p", "p2")
        keyed(play, "p", "p")
        job = play.job("a")
        play.tell(ev.StopAsked())
        play.tell(ev.Answer(job.worker, job.token, failures=[(0, error(), False)]))
        assert (play.finish, play.counts("a")) == ("stopped", {"received": 1, "failed": 1})


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_of_each_key_one_succeeds_if_any_does(values, data):
    """Against a plain account of what was tried: a key's tasks are tried in order until one of them succeeds."""
    bad = [data.draw(st.booleans()) for _ in values]
    play = Play(Graph(task("a", deduplicate=True, batch_size=data.draw(st.integers(1, 4)))))
    play.play(*enumerate(values))
    while jobs := play.jobs("a"):
        job = jobs[0]
        given_now = inputs(job)
        if job.job.kind == "key":
            play.tell(keys(job, *(str(value) for _, value in given_now)))
        else:
            results = {p: task for p, task in enumerate(given_now) if not bad[task[0]]}
            play.tell(part(job, results, fails=[p for p in range(len(given_now)) if p not in results], last=True))
    firsts = {v: next((i for i, w in enumerate(values) if w == v and not bad[i]), None) for v in values}
    tried = [i for i, v in enumerate(values) if firsts[v] is None or i <= firsts[v]]
    assert sorted(i for i, _ in play.outputs) == sorted(i for i in firsts.values() if i is not None)
    assert sorted(i for i, _ in play.lost) == [i for i in tried if bad[i]]
    assert sorted(duplicates(play)) == [i for i in range(len(values)) if i not in tried]
    assert play.finish == "done"
