"""Graphs for journals to remember, blocks small enough to be full, and a watch over what runs again."""

from __future__ import annotations

import os
import pkgutil
import random
from importlib import import_module
from pathlib import Path

import dagflow.journal
from dagflow.core import commands as do
from dagflow.journal.book import Book
from dagflow.journal.entries import END, FAIL, SPLIT
from dagflow.journal.parts import tasks_in
from dagflow.testing.graphs import GraphMaker, Merge, Split, Step
from dagflow.testing.simulate import Simulation

MODES = ("serial", "thread", "process", "async")


SIZED = [import_module(f"dagflow.journal.{found.name}") for found in pkgutil.iter_modules(dagflow.journal.__path__)]
SIZED.append(import_module("dagflow.reading"))
"""All that may name a size: imported now, as what is first imported while sizes are small would keep them for good."""


def small_blocks(monkeypatch, bits=2, budget=0, inline=20):
    """Blocks of a few source tasks, tidied as soon as they are ripe; nothing is kept longer than it must."""
    for module in SIZED:
        for attribute, value in {
            "BLOCK_BITS": bits, "BLOCK": 1 << bits, "ALL": (1 << (1 << bits)) - 1, "BUDGET": budget, "INLINE_BYTES": inline,
        }.items():  # fmt: skip
            if hasattr(module, attribute):
                monkeypatch.setattr(module, attribute, value)


class Fixable(GraphMaker):
    """Graphs in which many functions fail and could be mended: no split breaks off."""

    def with_failures(self, depth):
        return self.plain(depth)

    def splitter(self):
        from dagflow.graph.splitter import Splitter

        return Splitter(Split(self.next_salt(), 0, 0), max_retries=0)

    def fails(self):
        return (0, 3, 4, 5)[self.choose(4)]

    def merge(self):
        return Merge(self.next_salt(), (0, 0, 5)[self.choose(3)])


def mend(graph):
    for node in graph.nodes:
        if isinstance(node.func, (Step, Merge)):
            node.func.fails = 0


def made(seed, maker=GraphMaker, modes=MODES):
    chance = random.Random(seed)
    graph = maker(chance.randrange, modes=modes).graph()
    return graph, [chance.randrange(1000) for _ in range(chance.randrange(12))]


class RanAgain(AssertionError):
    """A task was given to a worker although its end was on record."""


class Watched(Simulation):
    """A simulation that notices when a task is worked on whose end is on record, or ends twice."""

    def __init__(self, *args, ended, **options):
        self.ended = ended
        super().__init__(*args, **options)

    def tell(self, events):
        while True:
            out = self.scheduler.handle(events, self.now)
            news = self._record(out)
            for item in out:
                if isinstance(item, do.Deliver) and item.token in self.scheduler.leases:
                    self._look(self.scheduler.leases[item.token])
            from dagflow.core.invariants import check

            check(self.scheduler)
            events = [*news, *self.world.act(out)]
            if not events:
                break

    def _record(self, out):
        commit, fresh = Book.commit, []

        def watched(book):
            for block in book._touched.values():
                for entry in block.pending:
                    fresh.extend(ends_of(entry))
            commit(book)

        Book.commit = watched
        try:
            news = self.keeper.record(out)
        finally:
            Book.commit = commit
        for task in fresh:
            if task in self.ended:
                raise RanAgain(f"ended twice: {task}")
            self.ended.add(task)
        return news

    def _look(self, lease):
        if lease.envelopes[0].kind == "key":
            return
        node = self.keeper.nodes[lease.node]
        for spot in self.keeper.places.locate(lease.segments):
            for number in spot.numbers:
                if (node, spot.shape, spot.prefix, number) in self.ended:
                    name = self.scheduler.nodes[lease.node].plan.name
                    raise RanAgain(f"node {name!r}, task {spot.prefix} {number}")


def ends_of(entry):
    kind = entry[0]
    if kind not in (END, SPLIT, FAIL):
        return
    tasks = list(tasks_in((entry[2],) if kind == FAIL else entry[2]))
    if kind == SPLIT and entry[4] is not None:
        tasks = [tasks[at] for at in entry[4]]
    for task in tasks:
        yield (entry[1], *task)


def with_deaths(graph, tasks, journal, chance, drivers, *, kind=Watched, **options):
    """Run to the end, the driver being killed some times on the way; nothing that ended runs again."""
    ended = set()
    more = {"ended": ended} if kind is Watched else {}
    for _ in range(drivers):
        simulation = kind(graph, tasks, chance.randrange, journal=journal, **more, **options)
        for _ in range(chance.randrange(60)):
            if not simulation.step():
                return simulation.result()
        journal.abandon()
    return kind(graph, tasks, chance.randrange, journal=journal, **more, **options).run()


def some_way(graph, tasks, journal, chance):
    """A run that comes to its end, or is killed before."""
    simulation = Simulation(graph, tasks, chance.randrange, journal=journal)
    for _ in range(chance.choice([30, 60, 100_000])):
        if not simulation.step():
            break
    if simulation.scheduler.finished:
        simulation.result()
    else:
        journal.abandon()


class SideLog:
    """A line per execution, appended by whoever runs a function, wherever it runs."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, text):
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def lines(self):
        try:
            return Path(self.path).read_text().splitlines()
        except FileNotFoundError:
            return []

    def since(self, count):
        return self.lines()[count:]

    def __len__(self):
        return len(self.lines())

    def __bool__(self):
        return True
