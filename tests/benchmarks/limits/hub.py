"""A hub: every process has a socketpair to the driver, which forwards frames unopened; one thread, one selector.

This is dagflow's own shape with none of its promises, so the distance to it is what those cost.
"""

from __future__ import annotations

import os
import pickle
import selectors
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions
from benchmarks.limits.pipes import BATCH, BATCHES, batched
from benchmarks.limits.wires import READ, Frames, dump, each, forked, work

WINDOW = 4
"""Frames on their way to one process."""


class Worker:
    """A forked process and its socket."""

    def __init__(self, function: Any, stage: int, others: list[Worker]) -> None:
        ours, theirs = socket.socketpair()
        close = [ours.fileno(), *(w.socket.fileno() for w in others)]
        fd = theirs.fileno()
        self.pid = forked(lambda: work(function, fd, fd), close)
        theirs.close()
        ours.setblocking(False)
        self.socket, self.stage = ours, stage
        self.frames = Frames()
        self.out: deque[memoryview] = deque()
        self.flying = 0


class Hub:
    """Chains of stages of one or more processes; what a stage gives goes to the next of its chain."""

    def __init__(self, stages: Sequence[tuple[Any, int]], chains: int = 1) -> None:
        self.steps, self.chains = len(stages), chains
        self.workers: list[Worker] = []
        for stage, (function, width) in enumerate([*stages] * chains):
            for _ in range(width):
                self.workers.append(Worker(function, stage, self.workers))
        self.stages = [[w for w in self.workers if w.stage == s] for s in range(self.steps * chains)]
        self.waiting: list[deque[bytes]] = [deque() for _ in self.stages]
        self.selector = selectors.DefaultSelector()
        for worker in self.workers:
            self.selector.register(worker.socket, selectors.EVENT_READ, worker)

    def run(self, batches: Iterator[Any], window: int = WINDOW, left: Any = None) -> Iterator[tuple[int, Any]]:
        """Lists through the chains, as (chain, list); ``left``: seconds until the source will have the next one."""
        flying, most, more = 0, window * len(self.workers), True
        while more or flying:
            while more and flying < most and not (left is not None and left()):
                batch = next(batches, None)
                if batch is None:
                    more = False
                    break
                flying += self.chains
                frame = dump(batch)
                for entry in range(0, len(self.stages), self.steps):
                    self.waiting[entry].append(frame)
                    self.dispatch(entry, window)
            if not (more or flying):
                break
            timeout = left() if more and left is not None and flying < most else None
            for key, mask in self.selector.select(timeout):
                worker: Worker = key.data
                if mask & selectors.EVENT_WRITE:
                    self.push(worker)
                if not mask & selectors.EVENT_READ:
                    continue
                found = worker.frames.take(worker.socket.recv(READ))
                worker.flying -= len(found)
                following = worker.stage + 1
                if following % self.steps:
                    self.waiting[following].extend(found)
                    self.dispatch(following, window)
                else:
                    flying -= len(found)
                    chain = worker.stage // self.steps
                    yield from [(chain, pickle.loads(memoryview(frame)[8:])) for frame in found]
                self.dispatch(worker.stage, window)
        self.close()

    def dispatch(self, stage: int, window: int) -> None:
        waiting = self.waiting[stage]
        while waiting:
            worker = min(self.stages[stage], key=lambda w: w.flying)
            if worker.flying >= window:
                return
            worker.flying += 1
            worker.out.append(memoryview(waiting.popleft()))
            if len(worker.out) == 1:
                self.push(worker)

    def push(self, worker: Worker) -> None:
        while worker.out:
            try:
                sent = worker.socket.send(worker.out[0])
            except BlockingIOError:
                self.selector.modify(worker.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, worker)
                return
            if sent == len(worker.out[0]):
                worker.out.popleft()
            else:
                worker.out[0] = worker.out[0][sent:]
        self.selector.modify(worker.socket, selectors.EVENT_READ, worker)

    def close(self) -> None:
        self.selector.close()
        for worker in self.workers:
            worker.socket.close()
        for worker in self.workers:
            os.waitpid(worker.pid, 0)


class ByHub(Contender):
    name = "hub by hand"
    kind = "limit"

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        left = source.left if isinstance(source, tasks.Ticks) else None
        size = BATCHES.get(self.workload, BATCH)
        for _, values in Hub([(each(f), 1) for f in functions]).run(batched(source, size), left=left):
            yield from values

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        found: list[Any] = []
        for _, values in Hub([(each(f), 1) for f in functions]).run(batched(source, BATCH)):
            found += values
        return found

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        found: list[Any] = []
        size = 8 if len(source) >= 1000 else 1
        for _, values in Hub([(each(function), workers)]).run(batched(source, size), 2):
            found += values
        return found

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        found: list[list[int]] = [[] for _ in range(chains)]
        for chain, values in Hub([(each(f), 1) for f in functions], chains).run(batched(source, 64)):
            found[chain] += values
        return found


CONTENDERS = (ByHub,)
