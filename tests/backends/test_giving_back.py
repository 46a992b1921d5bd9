"""What a worker has not begun comes back when the driver wants it: asked by a number in the page that both see."""

import os
from array import array
from time import monotonic

import pytest

from dagflow import Graph, Router, TaskManager
from dagflow.backends.local import ProcessBackend
from dagflow.core.events import WorkerUp
from dagflow.core.job import Answer, Job
from dagflow.work.codec import open_values
from dagflow.work.execute import Runner
from dagflow.work.page import BACK, NUMBERS
from dagflow.work.program import Program
from dagflow.work.values import live

pytestmark = pytest.mark.timeout(60)
TOKEN_NOW = 7


def program(node, traced=False):
    graph = Graph(node)
    found = Program.of(node, graph.check().nodes[0])
    found.traced = traced
    return found


def node_of(function, width=2, **options):
    return TaskManager(function, "process", width, name="n", **options)


class Asks:
    """A function that, at task ``at``, does as the driver does which wants the rest back. Fails at tasks below 0."""

    def __init__(self, mark, at, token=TOKEN_NOW):
        self.mark, self.at, self.token, self.seen = mark, at, token, []

    def __call__(self, task):
        self.seen.append(task)
        if task == self.at:
            self.mark[BACK] = self.token
        if task < 0:
            raise ValueError(task)
        return task

    def batch(self, tasks):
        return [self(task) for task in tasks]


def answered(make, tasks=range(6), at=2, *, traced=False, token=TOKEN_NOW):
    mark = memoryview(array("q", [0] * NUMBERS))
    asks = Asks(mark, at, token)
    runner = Runner(program(make(asks), traced), seal=False, mark=mark)
    [answer] = runner.run(1, TOKEN_NOW, Job("run", len(tasks), [(live(list(tasks)), 0, len(tasks))]))
    assert answer.last
    return answer, asks.seen


def test_the_rest_is_given_back_between_two_tasks():
    answer, seen = answered(node_of)
    assert seen == [0, 1, 2]
    assert answer.returned == [3, 4, 5]
    assert answer.outputs[0].positions == [0, 1, 2]
    assert answer.outputs[0].payload.values == [0, 1, 2]


def test_also_where_tasks_have_a_timeout_or_come_in_lists():
    answer, seen = answered(lambda asks: node_of(asks, timeout=30))
    assert (seen, answer.returned) == ([0, 1, 2], [3, 4, 5])
    answer, seen = answered(lambda asks: node_of(asks.batch, batch_size=2))
    assert (seen, answer.returned) == ([0, 1, 2, 3], [4, 5])


@pytest.mark.parametrize("options", [{}, {"timeout": 30}, {"batch_size": 2}])
def test_a_trace_tells_of_those_that_ran(options):
    def make(asks):
        return node_of(asks.batch if "batch_size" in options else asks, **options)

    answer, seen = answered(make, traced=True)
    assert answer.returned == list(range(len(seen), 6))
    assert list(answer.times.positions) == list(range(len(seen)))
    whole, _ = answered(make, at=99, traced=True)
    assert whole.returned == []
    assert whole.times.positions is None


def test_failures_before_it_are_told():
    answer, seen = answered(node_of, [0, -1, 2, 3, 4])
    assert seen == [0, -1, 2]
    assert [(p, retry) for p, _, retry in answer.failures] == [(1, False)]
    assert answer.outputs[0].positions == [0, 2]
    assert answer.returned == [3, 4]


def test_routed_tasks_too():
    mark = memoryview(array("q", [0] * NUMBERS))
    seen = []

    def label(task):
        seen.append(task)
        if task == 2:
            mark[BACK] = TOKEN_NOW
        return "odd" if task % 2 else "even"

    router = Router(label, execution_mode="process", worker_limit=2, name="r")
    graph = router >> {"odd": str, "even": str}
    plan = graph.check()
    runner = Runner(Program.of(router, plan.node_named("r")), seal=False, mark=mark)
    [answer] = runner.run(1, TOKEN_NOW, Job("run", 6, [(live(list(range(6))), 0, 6)]))
    assert seen == [0, 1, 2]
    assert answer.returned == [3, 4, 5]
    assert sorted(p for produced in answer.outputs for p in produced.positions) == [0, 1, 2]


def test_a_job_that_has_not_begun_comes_back_unread():
    mark = memoryview(array("q", [0] * NUMBERS))
    mark[BACK] = TOKEN_NOW
    runner = Runner(program(node_of(Asks(mark, 99))), seal=False, mark=mark)
    [answer] = runner.run(1, TOKEN_NOW, Job("run", 3, [("not a payload", 0, 3)]))
    assert (answer.returned, answer.ended, answer.outputs) == ([0, 1, 2], [], [])
    [answer] = runner.run(1, TOKEN_NOW + 1, Job("run", 3, [(live([1, 2, 3]), 0, 3)]))
    assert answer.returned == []


def test_what_was_asked_of_earlier_leases_is_no_concern_of_later_ones():
    answer, seen = answered(node_of, token=TOKEN_NOW - 1)
    assert len(seen) == 6
    assert answer.returned == []


def test_a_worker_without_others_beside_it_never_does():
    answer, seen = answered(lambda asks: node_of(asks, width=1))
    assert len(seen) == 6
    assert answer.returned == []


def test_a_real_worker(tmp_path):
    gates = [[str(tmp_path / f"{name}{turn}") for name in ("here", "go")] for turn in range(2)]
    for path in (*gates[0], *gates[1]):
        os.mkfifo(path)
    left = list(gates)

    def work(task):
        if task == 3:
            here, go = left.pop(0)
            with open(here, "w"), open(go) as file:  # "I am at it", and wait until the test says so
                file.read()
        return -task

    node = node_of(work)
    plan = Graph(node).check()
    backend = ProcessBackend()
    backend.open(plan, [Program.of(node, plan.nodes[0])])
    try:
        backend.start(1, 0)
        events = []
        while not any(isinstance(event, WorkerUp) for event in events):
            events = backend.wait(lambda: 30.0)
        for token in (TOKEN_NOW, TOKEN_NOW + 1, TOKEN_NOW + 2):
            backend.deliver(1, token, Job("run", 10, [(live(list(range(10))), 0, 10)]))
        for turn, (here, go) in enumerate(gates):
            with open(here):
                if turn == 0:
                    backend.give_back(1, TOKEN_NOW + 1)  # the third lease is run to its end
                    backend.give_back(99, TOKEN_NOW)  # one that is gone
                with open(go, "w"):
                    pass
        answers = []
        while len(answers) < 3:
            answers += [event for event in backend.wait(lambda: 30.0) if isinstance(event, Answer)]
    finally:
        backend.close(kill=True)
    first, second, third = answers
    assert [a.token for a in answers] == [TOKEN_NOW, TOKEN_NOW + 1, TOKEN_NOW + 2]
    assert first.returned == list(range(4, 10))
    assert open_values(first.outputs[0].payload) == [0, -1, -2, -3]
    assert (second.returned, second.outputs) == (list(range(10)), [])
    assert third.returned == []
    assert open_values(third.outputs[0].payload) == [-task for task in range(10)]


def test_slow_tasks_at_the_end_are_done_by_all():
    """Many quick tasks, then slow ones, which an envelope holds many of: they are not left to one worker."""

    def work(task):
        end = monotonic() + task
        while monotonic() < end:
            pass
        return os.getpid()

    tasks = [0.0] * 3000 + [0.05] * 40
    result = Graph(TaskManager(work, "process", 2)).run(tasks)
    pids = result.values[3000:]
    assert len(result.values) == len(tasks)
    assert len(set(pids)) == 2
    assert min(pids.count(pid) for pid in set(pids)) >= 10
    assert result.counts["work"].succeeded == len(tasks)
