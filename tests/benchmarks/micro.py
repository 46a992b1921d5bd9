"""Micro-benchmarks of the core: what the scheduler costs per event, per envelope and hop, per task that is counted.

``Scheduler`` is driven with events from a fake worker that answers at once: no process, no pickle, no function; so
the figures are the scheduler's own, in microseconds, and a change of the core shows in them alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import machine, tasks

LOUDER = 1.15
"""A figure that has grown by more than this factor is called slower; the machine's own noise is about 10 %."""


class Payload:
    """A payload that is never opened: a count and a size."""

    __slots__ = ("count", "size")

    def __init__(self, count: int) -> None:
        self.count, self.size = count, 8 * count

    def branch(self, number: int) -> Payload:
        del number
        return self


class FakeWorld:
    """Answers each command at once, as a perfect backend and source would.

    ``envelope``: tasks that the source gives at a time; ``seconds``: what each task is said to have cost.
    """

    def __init__(self, graph: Any, count: int, envelope: int, seconds: float = 1e-7) -> None:
        from dagflow.core.scheduler import Scheduler

        self.plan = graph.check()
        self.scheduler = Scheduler(self.plan)
        self.count, self.envelope, self.seconds = count, envelope, seconds
        self.events = self.answers = 0
        self.spent = 0.0

    def run(self) -> None:
        """Turn to the end; ``spent`` is the time inside the scheduler alone."""
        from dagflow.core import events as ev

        queue: deque[Any] = deque([ev.TimePassed()])
        now = 0.0
        clock = time.perf_counter
        left = self.count
        workers: dict[int, int] = {}
        while not self.scheduler.finished:
            given, queue = list(queue), deque()
            self.events += len(given)
            start = clock()
            out = self.scheduler.handle(given, now)
            self.spent += clock() - start
            now += 1e-4
            for item in out:
                kind = type(item).__name__
                if kind == "Pull":
                    part = min(item.count, self.envelope, left)
                    left -= part
                    queue.append(ev.Pulled(Payload(part), part) if part else ev.SourceEnded())
                elif kind == "StartWorker":
                    workers[item.worker] = item.node
                    queue.append(ev.WorkerUp(item.worker))
                elif kind == "Deliver":
                    self.answers += 1
                    queue.append(self.answer(workers[item.worker], item))
            if not queue:
                queue.append(ev.TimePassed())

    def answer(self, node: int, item: Any) -> Any:
        """What a worker would say."""
        from dagflow.core import events as ev

        plan, job = self.plan.nodes[node], item.job
        count = job.count
        answer = ev.Answer(item.worker, item.token, seconds=self.seconds * count)
        if plan.kind == "split":
            runs = [(p, 0, tasks.CHILDREN) for p in range(count)]
            answer.outputs = [ev.Produced(0, Payload(tasks.CHILDREN * count), None, runs)]
            answer.ended = list(range(count))
        elif plan.kind == "route":
            ports = len(plan.ports)
            for port in range(ports):
                positions = list(range(port, count, ports))
                if positions:
                    answer.outputs.append(ev.Produced(port, Payload(len(positions)), positions))
        else:
            answer.outputs = [ev.Produced(0, Payload(count))]
        return answer


def _chain(envelope: int, count: int) -> FakeWorld:
    import dagflow as df

    graph = df.TaskManager(tasks.add) >> df.TaskManager(tasks.double) >> df.TaskManager(tasks.less)
    return FakeWorld(graph, count, envelope, 1e-7 if envelope > 1 else 1.0)


def per_event() -> float:
    """Microseconds an event, with envelopes of one task (light load)."""
    world = _chain(1, 3000)
    world.run()
    return world.spent / world.events * 1e6


def per_hop() -> float:
    """Microseconds for one envelope of 1,024 tasks at one node: arrival, lease, answer."""
    world = _chain(1024, 1024 * 600)
    world.run()
    return world.spent / world.answers * 1e6


def per_routed() -> float:
    """Microseconds a task through a Router and one of its two branches, 1,024 at a time."""
    import dagflow as df

    router: Any = df.Router(lambda x: x % 2)
    world = FakeWorld(router >> {0: df.TaskManager(tasks.add), 1: df.TaskManager(tasks.double)}, 100_000, 1024)
    world.run()
    return world.spent / world.count * 1e6


def per_child() -> float:
    """Microseconds a child of a split, through one node into its Merger (a scope a parent, 100 children)."""
    import dagflow as df

    graph = df.Splitter(tasks.split) >> df.TaskManager(tasks.square) >> df.Merger(sum)
    world = FakeWorld(graph, 1000, 64)
    world.run()
    return world.spent / (world.count * tasks.CHILDREN) * 1e6


def per_counted() -> float:
    """Microseconds a task that is counted alone: a broadcast to two nodes that a Merger joins."""
    import dagflow as df

    graph = df.TaskManager(tasks.less) >> [df.TaskManager(tasks.add), df.TaskManager(tasks.double)] >> df.Merger(max)
    world = FakeWorld(graph, 30_000, 1024)
    world.run()
    return world.spent / world.count * 1e6


MEASURES: dict[str, Callable[[], float]] = {
    "us per event (envelopes of one)": per_event,
    "us per envelope and hop (1,024 tasks)": per_hop,
    "us per routed task": per_routed,
    "us per child of a split, merged": per_child,
    "us per broadcast task, merged": per_counted,
}


def measure(runs: int) -> dict[str, float]:
    """The best of several runs of each: noise only ever adds."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for _ in range(runs):
        for name, run in MEASURES.items():
            gc.collect()
            found[name].append(run())
    return {name: min(values) for name, values in found.items()}


def main(arguments: list[str]) -> int:
    """Print, store and compare; 1 with ``--strict`` where something has become slower."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks micro", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="store the figures in this JSON file")
    parser.add_argument("--compare", type=Path, help="an earlier such file")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a figure is slower than in --compare")
    given = parser.parse_args(arguments)
    where = machine.describe()
    figures = measure(given.runs)
    before: dict[str, float] = {}
    if given.compare is not None:
        stored = json.loads(given.compare.read_text(encoding="utf-8"))
        before = stored["figures"]
        if stored["machine"]["cpu"] != where["cpu"]:
            print(f"WARNING: the earlier figures are of another machine: {machine.text(stored['machine'])}")
    print(machine.text(where))
    slower = []
    for name, figure in figures.items():
        line = f"{name:40} {figure:8.3f}"
        if name in before:
            ratio = figure / before[name]
            word = "SLOWER" if ratio > LOUDER else "faster" if ratio < 1 / LOUDER else "same"
            line += f"   was {before[name]:8.3f}   x {ratio:.2f} {word}"
            if ratio > LOUDER:
                slower.append(name)
        print(line)
    if given.out is not None:
        text = json.dumps({"machine": where, "runs": given.runs, "figures": figures}, indent=1)
        given.out.write_text(text + "\n", encoding="utf-8")
    return 1 if slower and given.strict else 0


__all__ = ["MEASURES", "main", "measure"]
