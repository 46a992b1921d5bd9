"""The real ring and scheduler among fake workers, source, consumer and clock, by seeds: thousands of bad days."""

from __future__ import annotations

import random

import pytest
import ring_work
from survival_made import holds

from dagflow import BackendError, Graph, Merger, Splitter, TaskManager, WorkerDied
from dagflow.core.crew import MAX_CRASHES
from dagflow.core.events import WorkerLost
from dagflow.errors import InvariantBroken
from dagflow.testing.stage import DriverDied, Faults, Stage, staged

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

BAD_SEEDS: list[tuple[int, int]] = [
    # Seeds that once found something: (seed, schedule). So far only mistakes of the stage's own: answers of one
    # worker that overtook each other, and a dead worker's answer that came before its death was known.
    (6, 3),
    (31, 9),
    (1214, 3),
    (4877, 3),
]


@pytest.mark.parametrize(("seed", "schedule"), BAD_SEEDS)
def test_seeds_that_found_something(seed, schedule):
    assert ring_work.go(seed, schedule, larger=True) is None


def test_ten_thousand_schedules_give_the_outcomes_of_the_reference():
    """1,000 small graphs, 10 schedules each: deaths, slow and doubled answers, small windows, pauses, consumers.

    They run in worker processes of dagflow itself. A seed that fails says its number: `ring_work.go` runs it again.
    """
    blocks = [range(first, first + 20) for first in range(0, 1000, 20)]
    result = Graph(TaskManager(ring_work.block, "process", 2, name="simulate")).run(blocks)
    result.raise_if_failed()
    assert sum(runs for runs, _ in result.values) == 10_000
    assert [text for _, wrong in result.values for text in wrong][:3] == []


def told(stage):
    return stage.turns, stage.now, [type(fact).__name__ for fact in stage.facts]


def test_a_seed_gives_the_same_run_again():
    """To the last fact and the last microsecond."""
    for schedule in range(20):
        runs = []
        for _ in range(2):
            graph, tasks, _ = ring_work.made(12)
            stage = ring_work.stage_of(12, schedule, graph, tasks)
            stage.run()
            runs.append(told(stage))
        assert runs[0] == runs[1]


def test_deaths_late_and_doubled_answers_do_happen():
    """What the seeds are to show is there to be seen: otherwise all of this shows nothing."""
    crashes = late = late_deaths = 0
    for seed in range(60):
        graph, tasks, _ = ring_work.made(seed)
        for schedule in range(4):
            stage = ring_work.stage_of(seed, schedule, graph, tasks)
            stage.run()
            crashes += stage.scheduler.crashes
            late += stage.scheduler.late_answers
            late_deaths += stage.now > 5.0
    assert crashes > 50
    assert late > 50
    assert late_deaths > 5


def chain():
    return TaskManager(lambda x: x + 1, "process", 2, name="a") >> TaskManager(lambda x: -x, name="b")


def test_a_lost_answer_is_a_report_and_not_a_hang():
    """The worker says that it owes nothing: after some seconds the run ends, and tells who waits for what."""
    found = 0
    for seed in range(40):
        stage = Stage(chain(), range(6), random.Random(seed).randrange, Faults(lost=6, slow=4))
        try:
            result = stage.run()
        except InvariantBroken as broken:
            found += 1
            assert stage.lost
            for part in ("has nothing to do, but never answered lease", "leased", "the run cannot end"):
                assert part in str(broken)
            assert stage.now < 120
        else:
            assert not stage.lost
            assert result.values == [-x - 1 for x in range(6)]
        assert stage.backend.closed == ("kill" if stage.lost else "end")
        assert stage.source.closed
    assert 5 < found < 40


def test_slow_answers_are_not_lost_answers():
    """Twenty seconds of silence, again and again: the workers are asked, and still at it."""
    for seed in range(30):
        result = staged(chain(), range(6), seed, Faults(slow=2))
        assert result.values == [-x - 1 for x in range(6)]


def test_a_doubled_answer_counts_once():
    """Each of them, whole or in parts, to the end of the run."""
    late = 0
    graph = Splitter(lambda x: range(x)) >> TaskManager(lambda x: x, "thread", 3) >> Merger(sum)
    for seed in range(40):
        stage = Stage(graph, range(5), random.Random(seed).randrange, Faults(twice=1))
        result = stage.run()
        holds(result)
        assert result.values == [0, 0, 1, 3, 6]
        late += stage.scheduler.late_answers
    assert late > 100


def test_it_can_be_stopped_at_any_turn():
    """Drained or killed, paused or not: the ring ends, closes all, and the books are in order."""
    for seed in range(150):
        choose = random.Random(seed).randrange
        graph, tasks, _ = ring_work.made(seed)
        stage = Stage(
            graph,
            tasks,
            choose,
            Faults(deaths=1, slow=(0, 6)[seed % 2]),
            stop=1 + choose(40),
            kill=bool(choose(2)),
            pauses=choose(3),
            streamed=bool(choose(2)),
        )
        result = stage.run()
        for counts in result.counts.values():
            assert counts.received == counts.succeeded + counts.failed + counts.dropped
        assert stage.ring.reason in ("stopped", "done")
        assert stage.backend.closed == ("end" if stage.ring.reason == "done" else "kill")
        assert {o.status for o in result.outcomes} <= {"done", "failed", "dropped", "cancelled"}


def test_a_source_that_raises_at_its_end():
    for seed in range(30):
        stage = Stage(chain(), range(5), random.Random(seed).randrange, Faults(deaths=1), source_fails=OSError("torn"))
        result = stage.run()
        assert result.values == [-x - 1 for x in range(5)]
        assert str(stage.scheduler.source_error) == "torn"
        assert stage.ring.reason == "failed"


def test_workers_that_never_come_up():
    """Three in a row end the run; fewer are forgiven."""
    ended = 0
    for seed in range(200):
        stage = Stage(chain(), range(5), random.Random(seed).randrange, Faults(starts=10**6))
        result = stage.run()
        if stage.scheduler.failure is not None:
            ended += 1
            assert isinstance(stage.scheduler.failure, BackendError)
            assert "cannot start (ended with exit code 1)" in str(stage.scheduler.failure)
            assert "(made up)" in str(stage.scheduler.failure)
        else:
            assert {o.status for o in result.outcomes} == {"done"}
    assert 5 < ended < 195


def test_a_poison_task_costs_so_many_deaths_whatever_the_schedule():
    """Halving, fresh workers, late answers of dead ones: innocent tasks never fail, the guilty one always."""

    class Poisoned(Stage):
        deaths_of_poison = 0

    for seed in range(60):
        stage = Poisoned(chain(), range(12), random.Random(seed).randrange, Faults(slow=(0, 5)[seed % 2]))
        plain = stage.backend.world.choices

        def choices(stage=stage, plain=plain):
            """A worker that has been given task 7 at its first node dies; sometimes it can say of what."""
            for worker in stage.backend.world.workers.values():
                if worker.node != 0 or not worker.up or worker.answers is not None or not worker.jobs:
                    continue
                token, job = worker.jobs[0]
                values = [v for payload, low, high in job.pieces for v in payload.values[low:high]]
                if 7 in values:
                    return [lambda: stage.poisoned(worker, token, values.index(7))]
            return plain()

        def poisoned(worker, token, position, stage=stage):
            del stage.backend.world.workers[worker.number]
            stage.deaths_of_poison += 1
            knows = stage.choose(2)
            return WorkerLost(worker.number, "was killed", (token, position) if knows else None)

        stage.poisoned = poisoned
        stage.backend.world.choices = choices
        result = stage.run()
        holds(result)
        assert [o.task for o in result.outcomes if o.status != "done"] == [7]
        assert isinstance(result.outcomes[7].error, WorkerDied)
        assert MAX_CRASHES <= stage.deaths_of_poison <= MAX_CRASHES + 5
        assert stage.scheduler.crashes == stage.deaths_of_poison


def test_the_driver_may_die_between_what_it_decided_and_its_being_done():
    """The seam where a journal has recorded and nobody has acted: nothing is done afterwards, and all is closed."""
    died = 0
    for seed in range(40):
        stage = Stage(chain(), range(8), random.Random(seed).randrange, Faults(driver=1 + seed))
        before = []
        plain = stage.backend.deliver
        stage.backend.deliver = lambda *job: (before.append(stage.turns), plain(*job))  # noqa: B023
        try:
            stage.run()
        except DriverDied:
            died += 1
            assert all(turn < 1 + seed for turn in before)
            assert stage.backend.closed == "kill"
    assert died > 10


def test_folds_of_dead_workers_miss_nobody():
    """Members that come while a step is leased join it when it comes back, and not a step that never comes."""
    graph = (
        Splitter(lambda x: range(x, x + 6))
        >> TaskManager(lambda x: x, "process", 2)
        >> Merger(sorted, fold=(lambda members, member: [*members, member], []))
    )
    whole = 0
    for seed in range(150):
        result = Stage(graph, range(3), random.Random(seed).randrange, Faults(deaths=MAX_CRASHES)).run()
        killed = result.get_error_dict()  # one that each of the deaths has met, once in some hundred runs
        assert all(isinstance(error, WorkerDied) for error in killed.values()), seed
        assert len(killed) <= 1, seed
        assert result.values == [list(range(x, x + 6)) for x in range(3) if x not in killed], seed
        whole += not killed
    assert whole > 140


def test_answers_of_dead_workers_change_nothing():
    """What a dead worker was about to say arrives all the same, sometimes: it is counted, and that is all."""
    late = 0
    for seed in range(80):
        stage = Stage(chain(), range(6), random.Random(seed).randrange, Faults(deaths=3))
        result = stage.run()
        assert result.values == [-x - 1 for x in range(6)]
        late += stage.scheduler.late_answers
    assert late
