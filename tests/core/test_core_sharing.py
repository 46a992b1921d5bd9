"""A worker that holds more than the task it is at, for too long, while others have nothing, gives back the rest."""

import pytest
from core_made import Play, done, error, inputs, kinds, part, task

from dagflow import Graph, Merger, Router, Splitter, TaskManager
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.crew import HOARD_SECONDS
from dagflow.testing.simulate import simulate, simulate_with_deaths
from dagflow.testing.stage import Faults, staged
from dagflow.testing.world import World


def played(count=20, width=2, **options):
    """Workers with a few tasks each: those before were quick, so they are given several at once."""
    play = Play(Graph(task("a", "process", width, **options)))
    play.give(*["first"] * width)
    for job in play.jobs("a"):
        play.tell(done(job, seconds=0.0005))
    assert len(play.core.workers) == width
    play.give(*range(count))
    return play


def given_back(job, begun, **more):
    """The answer of a worker that gives back all but the first ``begun`` of its tasks."""
    results = dict(enumerate(inputs(job)[:begun]))
    left = list(range(begun, job.job.count))
    return part(job, results, last=True, returned=left, **more)


def idle_beside_a_hoarder():
    """One worker has been through with all it had; the other still holds two envelopes."""
    play = played()
    hoarder = play.job("a").worker
    while quick := [job for job in play.jobs("a") if job.worker != hoarder]:
        play.tell(done(quick[0], seconds=0.004))
    mine, *others = play.jobs("a")
    return play, mine, others


def test_after_a_while_it_is_asked_once():
    play, job, others = idle_beside_a_hoarder()
    assert play.node("a").queued == 0
    assert job.job.count > 1
    last = max(j.token for j in (job, *others))
    assert play.core.next_deadline() == pytest.approx(play.core.workers[job.worker].since + HOARD_SECONDS)
    assert play.tell(wait=HOARD_SECONDS / 2) == []
    assert play.tell(wait=HOARD_SECONDS / 2) == [do.GiveBack(job.worker, last)]
    assert play.tell(wait=HOARD_SECONDS) == []
    assert play.core.next_deadline() > play.now + 1


def test_what_comes_back_is_shared_among_all():
    play, job, others = idle_beside_a_hoarder()
    values = [v for j in (job, *others) for v in inputs(j)]
    play.tell(wait=HOARD_SECONDS)
    play.tell(given_back(job, 1, seconds=0.02), *(given_back(j, 0) for j in others))
    leased = play.jobs("a")
    assert {j.worker for j in leased} == set(play.core.workers)
    there = [v for j in leased for v in inputs(j)]
    assert len(there) + play.node("a").queued == len(values) - 1
    play.end()
    play.work("a")
    assert sorted(v for v in play.outputs if v != "first") == list(range(20))
    assert play.counts("a") == {"received": 22, "succeeded": 22}
    assert play.finish == "done"


def test_a_worker_at_its_last_task_may_take_its_time():
    play = Play(Graph(task("a", "process", 2)))
    play.give("x", "y")
    first, second = play.jobs("a")
    play.tell(done(first))
    assert second.job.count == 1
    assert kinds(play.tell(wait=HOARD_SECONDS * 3), do.GiveBack) == []


def test_nobody_is_asked_while_all_are_busy():
    play = played()
    assert all(worker.leases for worker in play.core.workers.values())
    assert kinds(play.tell(wait=HOARD_SECONDS * 3), do.GiveBack) == []


def test_nobody_is_asked_in_a_run_that_holds_or_stops():
    play, job, _ = idle_beside_a_hoarder()
    play.tell(ev.PauseAsked(True))
    assert kinds(play.tell(wait=HOARD_SECONDS * 2), do.GiveBack) == []
    assert play.core.next_deadline() > play.now
    assert kinds(play.tell(ev.PauseAsked(False)), do.GiveBack) == [
        do.GiveBack(job.worker, max(play.core.workers[job.worker].leases))
    ]
    play, _, _ = idle_beside_a_hoarder()
    play.tell(ev.StopAsked())
    assert kinds(play.tell(wait=HOARD_SECONDS * 2), do.GiveBack) == []


def test_a_single_worker_has_nobody_to_share_with():
    for mode, width in (("process", 1), ("serial", None), ("thread", 4), ("async", 4)):
        play = Play(Graph(task("a", mode, width)))
        play.give("first")
        play.tell(done(play.job("a"), seconds=0.0005))
        play.give(*range(20))
        assert kinds(play.tell(wait=HOARD_SECONDS * 3), do.GiveBack) == []


def test_suspects_are_tried_where_they_are():
    """A trial is one lease for a fresh worker: what it gives back would lose the suspicion."""
    play, job, _ = idle_beside_a_hoarder()
    play.tell(ev.WorkerLost(job.worker, "died"))
    trials = [w for w in play.core.workers.values() if w.alone]
    assert any(w.load > 1 for w in trials)
    for other in play.jobs("a"):
        if not play.core.workers[other.worker].alone:
            play.tell(done(other, seconds=0.004))
    assert kinds(play.tell(wait=HOARD_SECONDS * 3), do.GiveBack) == []


def test_a_retry_that_is_given_back_keeps_its_attempts():
    play = played(count=2, retries=2, retry_delay=0.001)
    for job in play.jobs("a"):
        failures = [(p, error(), True) for p in range(job.job.count)]
        play.tell(ev.Answer(job.worker, job.token, ended=[], failures=failures))
    play.tell(wait=1.0)
    job = play.job("a")
    assert job.job.attempt == 1
    play.tell(given_back(job, 0))
    assert {j.job.attempt for j in play.jobs("a")} == {1}
    assert play.counts("a") == {"received": 4, "succeeded": 2, "retried": 2}


# -- in the simulator --------------------------------------------------------------------------------------------


def shaky(x):
    if x % 7 == 3:
        raise ConnectionError(x)
    return x + 1


def shared():
    """A graph whose nodes have several workers each."""
    odd = (
        TaskManager(lambda x: [x, x], "process", 2, name="twice")
        >> Splitter(name="split")
        >> TaskManager(lambda x: x * 2, "process", 4, name="double")
        >> Merger(sum, name="sum")
    )
    parity = Router(lambda x: "odd" if x % 2 else "even", execution_mode="process", worker_limit=2, name="parity")
    first = TaskManager(shaky, "process", 3, 1, retry_delay=0.01, name="shaky")
    return first >> parity >> {"odd": odd, "even": TaskManager(lambda x: -x, "process", 3, name="minus")}


def ended(result):
    return [(o.status, o.values, type(o.error)) for o in result.outcomes], result.counts


@pytest.mark.parametrize("seed", range(12))
def test_whoever_gives_back_what_and_when_the_outcome_is_the_same(seed, monkeypatch):
    asked, act = [], World.act
    monkeypatch.setattr(World, "act", lambda self, out: asked.extend(kinds(out, do.GiveBack)) or act(self, out))
    expected = ended(shared().run(range(40), "serial"))
    tasks = list(range(40))
    assert ended(simulate(shared(), tasks, seed)) == expected
    assert ended(staged(shared(), tasks, seed, Faults(slow=4 * (seed % 2)))) == expected
    assert asked
    for result in (
        simulate(shared(), tasks, seed, deaths=2),
        staged(shared(), tasks, seed, Faults(deaths=2, slow=4)),
        simulate_with_deaths(shared(), tasks, seed, drivers=2),
    ):
        assert [o.status for o in result.outcomes] == [status for status, *_ in expected[0]]
        assert [o.values for o in result.outcomes] == [values for _, values, _ in expected[0]]
