"""Stage: the real ring and the real scheduler, with everything around them made up, all from one seed.

Time, workers, the source, the consumer and whoever wants to stop are fakes that do what `choose` says: workers die
(at any task, or while they start), answer slowly, late, twice, or not at all. A run is a sequence of choices, so the
same seed makes the same run to the last event. Functions are run for real, in this process.

The ring's seams are its arguments: a `Backend`, a source, a clock; `Staged._act` lies between what was decided (and,
with a journal, recorded) and its being done, where a driver may die.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.invariants import check
from dagflow.core.scheduler import Scheduler
from dagflow.errors import InvariantBroken
from dagflow.graph.algebra import Graph
from dagflow.graph.plan import Plan
from dagflow.observe.bus import Bus
from dagflow.observe.case import case_of
from dagflow.result import Collector, RunResult
from dagflow.run import Ring
from dagflow.sink import Sink
from dagflow.testing.world import FakeWorker, World
from dagflow.work.program import Program

Choose = Callable[[int], int]


class DriverDied(BaseException):
    """The driver was killed here. A `BaseException`, so that nothing on the way takes it for a failure."""


@dataclass
class Faults:
    """What may go wrong, and how often: one time in so many chances (0: never).

    ``deaths``, ``starts``: how many workers may die at work, and before they are up. ``slow``: an answer takes up to
    20 s. ``twice``: an answer is delivered again. ``lost``: an answer never comes. ``driver``: the driver dies after
    so many turns, between what it decided and its being done.
    """

    deaths: int = 0
    starts: int = 0
    slow: int = 0
    twice: int = 0
    lost: int = 0
    driver: int = 0


class MadeSource:
    """Tasks that come when it pleases. ``error``: what it raises after the last of them."""

    at_hand = False

    def __init__(self, tasks: Sequence[Any], choose: Choose, fails: BaseException | None = None) -> None:
        self.error: BaseException | None = None
        self.tasks, self.choose, self.fails = list(tasks), choose, fails
        self.wanted = self.ready = 0
        self.closed = False

    def start(self, wake: Callable[[], None]) -> None:
        """It is asked by the stage."""

    def request(self, count: int) -> None:
        """The ring wants tasks."""
        self.wanted = count

    def may_give(self) -> bool:
        """Whether something can come of it now."""
        return self.wanted > self.ready and not self.closed

    def give(self) -> None:
        """Read a few of the tasks that are wanted."""
        self.ready += 1 + self.choose(self.wanted - self.ready)

    def take(self, count: int) -> list[Any] | None:
        """What has been read."""
        if not self.ready:
            return []
        if not self.tasks:
            self.error = self.fails
            return None
        found, self.tasks = self.tasks[: min(count, self.ready)], self.tasks[min(count, self.ready) :]
        self.ready = self.wanted = 0
        return found

    def hurry(self) -> float | None:
        """Never."""
        return None

    def rest(self) -> list[Any]:
        """What was read and not taken any more."""
        found = self.tasks[: self.ready]
        self.ready = 0
        return found

    def close(self) -> None:
        """Read no more."""
        self.closed = True


class FakeBackend:
    """Workers of a `World` behind the door of a real backend; `wait` lets something happen, or time pass."""

    shares_memory = True

    def __init__(self, stage: Stage, world: World) -> None:
        self.stage, self.world, self.choose = stage, world, stage.choose
        self.woken = False
        self.closed: str | None = None
        self.ready: list[ev.Event] = []
        self.transit: list[tuple[float, ev.Event]] = []
        self.again: list[tuple[float, ev.Event]] = []

    def open(self, plan: Plan, programs: Sequence[Program]) -> None:
        """The world has its own."""

    def expect(self, values: Sequence[object]) -> None:
        """Fake workers load nothing."""

    def start(self, worker: int, node: int) -> None:
        """A worker begins to start."""
        self.world.act([do.StartWorker(worker, node)])

    def deliver(self, worker: int, token: int, job: Any) -> None:
        """A job lies before a worker."""
        self.world.act([do.Deliver(worker, token, job, [])])

    def grant(self, worker: int, token: int, count: int, cut: int) -> None:
        """A split may go on."""
        self.world.act([do.Grant(worker, token, count, cut)])

    def give_back(self, worker: int, token: int) -> None:
        """A worker shall give back what it has not begun."""
        self.world.act([do.GiveBack(worker, token)])

    def probe(self, worker: int) -> None:
        """A worker says what it is at, after all that it has said before."""
        found = self.world.workers.get(worker)
        if found is None:
            return
        owes = found.answers is not None or found.jobs or any(_worker_of(e) == worker for _, e in self.transit)
        self.ready.append(ev.Running(worker, 0, 0, self.stage.now, idle=not owes))

    def stop(self, worker: int, *, kill: bool) -> None:
        """A worker ends; what it still says is said to nobody."""
        self.world.act([do.StopWorker(worker, kill)])
        self.transit = [(due, e) for due, e in self.transit if _worker_of(e) != worker]

    def wake(self) -> None:
        """Somebody has asked something."""
        self.woken = True

    def close(self, *, kill: bool) -> None:
        """The run is over."""
        assert self.closed is None, "closed twice"
        self.closed = "kill" if kill else "end"

    def wait(self, patience: Callable[[], float | None]) -> list[ev.Event]:
        """One thing, or a few, or nothing but time."""
        stage, choose = self.stage, self.choose
        stage.turn()
        timeout = patience()
        assert timeout is not None, "the ring waits for ever"
        if self.ready or self.woken:
            self.woken = False
            found, self.ready = self.ready, []
            return found
        found = []
        for _ in range(1 + choose(3)):
            possible = self._possible()
            if not possible or choose(6) == 0:
                break
            stage.now += min(timeout, 0.002 * choose(4))
            event = possible[choose(len(possible))]()
            if event is not None:
                found.append(event)
            if self.ready:  # a dead worker's last words, and its death: nothing comes in between
                found.extend(self.ready)
                self.ready = []
                break
        if not found:
            due = [d for d, _ in [*self.transit, *self.again] if d > stage.now]
            stage.now = min([stage.now + timeout, *due])
        return found

    def _possible(self) -> list[Callable[[], ev.Event | None]]:
        possible: list[Callable[[], ev.Event | None]] = list(self.stage.others())
        for happens in self.world.choices():
            possible.append(lambda h=happens: self._sent(h()))  # type: ignore[misc]
        faults = self.stage.faults
        if self.world.deaths:
            mortal = self.world.mortal()
            possible.extend(lambda w=w: self._killed(w) for w in mortal if self.choose(8) == 0)  # type: ignore[misc]
        if faults.starts:
            starting = [w for w in self.world.workers.values() if not w.up]
            possible.extend(lambda w=w: self._stillborn(w) for w in starting if self.choose(3) == 0)  # type: ignore[misc]
        heard: set[int] = set()
        for entry in self.transit:  # what a worker says arrives in the order in which it was said
            if entry[0] <= self.stage.now and _worker_of(entry[1]) not in heard:
                possible.append(lambda e=entry: _taken(self.transit, e))  # type: ignore[misc]
            heard.add(_worker_of(entry[1]))
        possible.extend(
            lambda e=entry: _taken(self.again, e)  # type: ignore[misc]
            for entry in self.again
            if entry[0] <= self.stage.now
        )
        return possible

    def _sent(self, event: ev.Event) -> ev.Event | None:
        """What becomes of an event on its way: it arrives, later, twice, or never."""
        faults = self.stage.faults
        if not isinstance(event, ev.Answer):
            return event
        if faults.lost and event.last and self.choose(faults.lost) == 0:
            self.stage.lost += 1
            return None
        earlier = [due for due, e in self.transit if _worker_of(e) == event.worker]
        if earlier or (faults.slow and self.choose(faults.slow) == 0):
            due = max([self.stage.now + 0.001 * self.choose(20_000), *earlier])
            self.transit.append((due, event))
            return None
        if faults.twice and self.choose(faults.twice) == 0:
            self.again.append((self.stage.now + 0.001 * self.choose(50), copy.deepcopy(event)))
        return event

    def _killed(self, worker: FakeWorker) -> ev.Event:
        """What it had said and is still on its way arrives first: its socket is read to the end."""
        said = [e for _, e in self.transit if _worker_of(e) == worker.number]
        self.transit = [(due, e) for due, e in self.transit if _worker_of(e) != worker.number]
        lost = self.world.kill(worker)
        if not said:
            return lost
        self.ready.extend([*said[1:], lost])
        return said[0]

    def _stillborn(self, worker: FakeWorker) -> ev.Event:
        self.stage.faults.starts -= 1
        del self.world.workers[worker.number]
        return ev.WorkerLost(worker.number, "ended with exit code 1", started=False, output="(made up)")


def _taken(entries: list[tuple[float, ev.Event]], entry: tuple[float, ev.Event]) -> ev.Event:
    entries[:] = [e for e in entries if e is not entry]
    return entry[1]


def _worker_of(event: ev.Event) -> int:
    return event.worker if isinstance(event, ev.Answer) else -1


class Staged(Ring):
    """The real ring; its driver may die between what was decided and its being done."""

    tick_seconds = 10.0  # nobody listens
    stage: Stage

    def _act(self, out: list[Any]) -> None:
        if self.stage.faults.driver and self.stage.turns >= self.stage.faults.driver:
            raise DriverDied
        super()._act(out)


class Stage:
    """One run of ``graph`` over ``tasks`` in a real ring.

    ``streamed``: a consumer takes the outputs, when it pleases. ``stop``: after so many turns somebody asks the run
    to stop (0: nobody does). ``pauses``: how often somebody may hold it. ``source_fails``: what the source raises at
    its end. ``check_every``: after so many turns the invariants are checked. Other options are the `Scheduler`'s.
    """

    def __init__(
        self,
        graph: Graph,
        tasks: Sequence[Any],
        choose: Choose,
        faults: Faults | None = None,
        *,
        streamed: bool = False,
        stop: int = 0,
        kill: bool = False,
        pauses: int = 0,
        source_fails: BaseException | None = None,
        check_every: int = 1,
        **options: Any,
    ) -> None:
        self.check_every = check_every
        self.choose, self.graph = choose, graph
        self.faults = faults or Faults()
        self.now = 0.0
        self.turns = self.lost = 0
        self.stop_at, self.kill, self.pauses = stop, kill, pauses
        self.paused = False
        world = World(graph, tasks, choose, deaths=self.faults.deaths)
        self.plan = world.plan
        if streamed:
            options.setdefault("sink_room", 1 + choose(6))
        self.scheduler = Scheduler(world.plan, **options)
        self.collector = Collector(world.plan)
        ordered = bool(options.get("sink_holds"))
        self.sink = Sink(world.plan, self.collector.source, ordered=ordered) if streamed else None
        self.source = MadeSource(tasks, choose, source_fails)
        self.backend = FakeBackend(self, world)
        self.ring = Staged(
            world.plan,
            world.programs,
            self.backend,
            self.source,
            self.scheduler,
            observers=Bus([]),
            keep=self.collector.source.add,
            facts=self._facts,
            clock=lambda: self.now,
        )
        self.ring.stage = self
        self.items: list[Any] = []
        self.facts: list[do.Fact] = []

    def _facts(self, facts: Sequence[do.Fact]) -> None:
        self.facts.extend(facts)
        self.collector.take(facts)
        if self.sink is not None:
            self.sink.take(facts)

    def turn(self) -> None:
        """A turn of the ring: everything must add up, and they must not be endless."""
        self.turns += 1
        if self.turns % self.check_every == 0:
            check(self.scheduler)
        if self.turns > 50_000:
            raise InvariantBroken(f"no end after {self.turns} turns: {self.scheduler.story()}")
        if self.stop_at and self.turns == self.stop_at:
            self.paused = False
            self.ring.ask(ev.StopAsked(self.kill))

    def others(self) -> list[Callable[[], ev.Event | None]]:
        """What everybody but the workers may do now."""
        found: list[Callable[[], ev.Event | None]] = []
        if self.source.may_give():
            found.append(self.source.give)
        if self.sink is not None:
            found.append(self._consume)
        if self.pauses or self.paused:
            found.append(self._pause)
        return found

    def _consume(self) -> None:
        assert self.sink is not None
        items, _ = self.sink.get(wait=False)
        self.items.extend(items)
        if items:
            self.ring.ask(ev.Consumed(len(items)))

    def _pause(self) -> None:
        self.pauses -= not self.paused
        self.paused = not self.paused
        self.ring.ask(ev.PauseAsked(self.paused))

    def run(self) -> RunResult:
        """Turn the ring to its end; raises what it raises."""
        self.ring.run()
        check(self.scheduler)
        if self.sink is not None:
            self.sink.end()
            while (found := self.sink.get(wait=False))[0]:
                self.items.extend(found[0])
        counts = {node.plan.name: node.counts for node in self.scheduler.nodes}
        snapshot = self.ring.snapshot()
        return RunResult(
            self.graph, self.collector, counts, snapshot, [], lambda: case_of(self.collector.plan, snapshot)
        )


def staged(graph: Graph, tasks: Sequence[Any], seed: int, faults: Faults | None = None, **options: Any) -> RunResult:
    """Run ``graph`` over ``tasks`` in a real ring, in the order of things that ``seed`` gives."""
    chance = random.Random(seed)
    return Stage(graph, tasks, chance.randrange, faults, **options).run()
