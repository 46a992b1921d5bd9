"""World: reality as data. Given the commands outstanding, it says which events may come next.

Hypothesis picks among them (short, shrinkable), the simulator picks with a seed (long, with deaths), a test
picks by hand. Functions are run for real, in this process; workers, time and the source are made up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import Segment
from dagflow.core.inbox import JOURNAL
from dagflow.core.job import SPLIT_CREDIT, Job
from dagflow.graph.algebra import Graph
from dagflow.graph.plan import Plan
from dagflow.journal.keeper import Keeper
from dagflow.work.clock import Clock
from dagflow.work.execute import Runner, load
from dagflow.work.program import Program
from dagflow.work.values import live

Choose = Callable[[int], int]


_plans: WeakKeyDictionary[Graph, Plan] = WeakKeyDictionary()


def _plan(graph: Graph) -> Plan:
    """The graph, checked once: its nodes stay as they are while it is run again and again."""
    plan = _plans.get(graph)
    if plan is None:
        plan = _plans[graph] = graph.check()
    return plan


class FakeWorker:
    """A worker that does nothing until the world lets it."""

    def __init__(self, number: int, node: int) -> None:
        self.number, self.node = number, node
        self.up = False
        self.jobs: deque[tuple[int, Job]] = deque()
        self.answers: Iterator[ev.Answer] | None = None
        self.token = 0
        self.credit = 0
        self.back = 0
        self.ended: set[int] = set()


class World:
    """The surroundings of one run. `act` takes what the scheduler wants; `choices` says what may happen."""

    def __init__(self, graph: Graph, tasks: Sequence[Any], choose: Choose, *, deaths: int = 0) -> None:
        self.plan = _plan(graph)
        by_name = {name: node for node, name in graph.names.items()}
        self.programs = [Program.of(by_name[n.name], n) for n in self.plan.nodes]
        self.runners = [Runner(_synchronous(p), seal=False) for p in self.programs]
        self.tasks = list(tasks)
        self.choose = choose
        self.deaths = deaths
        self.given = 0
        self.pulling = 0
        self.source_ended = False
        self.workers: dict[int, FakeWorker] = {}
        self.late: list[ev.Event] = []
        self.asked: set[int] = set()
        self.facts: list[do.Fact] = []
        self.kept: list[Any] = []
        self.reason: str | None = None
        self.keeper: Keeper | None = None
        self.timed: Callable[[Sequence[Segment]], list[int] | None] | None = None

    # -- what the scheduler wants -----------------------------------------------------------------------

    def act(self, out: Sequence[do.Out]) -> list[ev.Event]:
        """Take commands in, and keep the facts; gives what a journal answers at once."""
        events: list[ev.Event] = []
        for item in out:
            match item:
                case do.StartWorker():
                    self.workers[item.worker] = FakeWorker(item.worker, item.node)
                case do.StopWorker():
                    self.workers.pop(item.worker, None)
                case do.Deliver():
                    if self.keeper is not None:
                        self.keeper.fill(item.job)
                    if self.timed is not None:
                        item.job.timed = self.timed(item.segments)
                    if item.worker in self.workers:
                        self.workers[item.worker].jobs.append((item.token, item.job))
                case do.Grant() if item.worker == JOURNAL:
                    assert self.keeper is not None
                    events.extend(self.keeper.grant(item.token))
                case do.Recall():
                    assert self.keeper is not None
                    events.extend(self.keeper.recall(item))
                case do.Grant():
                    worker = self.workers.get(item.worker)
                    if worker is not None and worker.token == item.token:
                        worker.credit += item.count
                case do.GiveBack():
                    if item.worker in self.workers:
                        self.workers[item.worker].back = item.token
                case do.Pull():
                    self.pulling = item.count
                case do.StopSource():
                    self.source_ended = True
                case do.Finish():
                    self.reason = item.reason
                case do.Probe():
                    self.asked.add(item.worker)
                case do.Settled() | do.Fired() | do.AggregatesEnded() | do.Tried() | do.Leased():
                    pass
                case _:
                    self.facts.append(item)
        return events

    # -- what may happen ----------------------------------------------------------------------------------

    def choices(self) -> list[Callable[[], ev.Event]]:
        """The events that may come next, each as a function that makes it happen."""
        found: list[Callable[[], ev.Event]] = []
        if self.pulling and not self.source_ended:
            found.append(self._pull)
        for worker in self.workers.values():
            if not worker.up:
                found.append(lambda w=worker: self._come_up(w))  # type: ignore[misc]
            elif (worker.answers is not None and worker.credit > 0) or (worker.answers is None and worker.jobs):
                found.append(lambda w=worker: self._work(w))  # type: ignore[misc]
            if worker.number in self.asked:
                found.append(lambda w=worker: self._say(w))  # type: ignore[misc]
        found.extend(lambda e=event: self._arrive_late(e) for event in self.late)  # type: ignore[misc]
        return found

    def mortal(self) -> list[FakeWorker]:
        """The workers that may die now."""
        return [w for w in self.workers.values() if w.up] if self.deaths > 0 else []

    def kill(self, worker: FakeWorker) -> ev.Event:
        """Let a worker die; sometimes what it was about to say arrives later all the same."""
        self.deaths -= 1
        del self.workers[worker.number]
        running: tuple[int, int] | None = (0, 0)
        if worker.jobs or worker.answers is not None:
            token, job = (worker.token, None) if worker.answers is not None else worker.jobs[0]
            how = self.choose(3)
            if how == 0:
                running = None
            elif how == 1 and job is not None:
                running = (token, self.choose(job.count))
            elif job is not None:
                self.late.append(ev.Answer(worker.number, token, failures=[]))
        return ev.WorkerLost(worker.number, "was killed by the simulator", running)

    def _arrive_late(self, event: ev.Event) -> ev.Event:
        self.late.remove(event)
        return event

    def _pull(self) -> ev.Event:
        wanted, self.pulling = self.pulling, 0
        left = len(self.tasks) - self.given
        if not left:
            self.source_ended = True
            return ev.SourceEnded()
        count = 1 + self.choose(min(wanted, left))
        values = self.tasks[self.given : self.given + count]
        self.given += count
        if self.keeper is not None:
            self.keeper.take(values)
        self.kept.extend(values)
        return ev.Pulled(live(values, len(self.plan.source.targets)), count)

    def _come_up(self, worker: FakeWorker) -> ev.Event:
        worker.up = True
        return ev.WorkerUp(worker.number)

    def _say(self, worker: FakeWorker) -> ev.Event:
        """The answer to a probe: whether there is anything that the worker has to do."""
        self.asked.discard(worker.number)
        return ev.Running(worker.number, 0, 0, 0.0, idle=worker.answers is None and not worker.jobs)

    def _work(self, worker: FakeWorker) -> ev.Event:
        """The next answer of a worker."""
        if worker.answers is None:
            worker.token, job = worker.jobs.popleft()
            worker.credit = SPLIT_CREDIT
            worker.answers = self._answers(worker, job)
        answer = next(worker.answers)
        answer.seconds = 0.0  # how long it really took must not decide what happens next
        if answer.last:
            worker.answers = None
        elif answer.outputs and self.programs[worker.node].kind == "split":
            worker.credit -= len(answer.outputs)
        return answer

    def _answers(self, worker: FakeWorker, job: Job) -> Iterator[ev.Answer]:
        """The answers to a job: whole, or in parts as threads would give them."""
        runner = self.runners[worker.node]
        program = runner.program
        plain = job.kind == "run" and program.kind in ("task", "route")
        if not (plain and (worker.back >= worker.token or (job.count > 1 and self.choose(2)))):
            yield from runner.run(worker.number, worker.token, job)
            return
        values = load(job)
        left = list(range(job.count))
        while left:
            if worker.back >= worker.token and self.choose(3):
                yield ev.Answer(worker.number, worker.token, ended=[], returned=left)
                return
            chosen = sorted(left.pop(self.choose(len(left))) for _ in range(1 + self.choose(len(left))))
            clock = Clock() if runner.traced else None
            out, failures = runner.each([values[p] for p in chosen], clock)
            answer = runner.answer(worker.number, worker.token, [values[p] for p in chosen], out, failures, whole=False)
            answer.renumber(chosen)
            answer.times = clock.times(chosen) if clock is not None else None
            answer.last = not left
            yield answer


def _synchronous(program: Program) -> Program:
    """The program with coroutines run to their end: a fake worker has no event loop."""
    func = program.func
    if program.mode == "async":

        def call(*args: Any) -> Any:
            result = func(*args)
            if not hasattr(result, "__await__"):
                return result
            try:
                result.send(None)
            except StopIteration as stop:
                return stop.value
            raise RuntimeError("a coroutine that waits cannot be simulated")

        program.func = call
    return program
