"""Peer to peer: forked processes joined by pipes, lists of values by pickle; the driver is source and sink."""

from __future__ import annotations

import os
import pickle
import select
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions
from benchmarks.limits.wires import READ, Frames, dump, each, forked, work

BATCHES = {"W2": 1, "W4": 1, "W8": 3, "W9b": 64}
BATCH = 1024


class Line:
    """Processes in a row; `put` and `take` frames at its ends."""

    def __init__(self, functions: Sequence[Any]) -> None:
        pipes = [os.pipe() for _ in range(len(functions) + 1)]
        ends = [fd for pipe in pipes for fd in pipe]
        self.pids = []
        for at, function in enumerate(functions):
            read, write = pipes[at][0], pipes[at + 1][1]
            close = [fd for fd in ends if fd not in (read, write)]
            self.pids.append(forked(lambda f=function, r=read, w=write: work(f, r, w), close))
        self.inlet, self.outlet = pipes[0][1], pipes[-1][0]
        for fd in ends:
            if fd not in (self.inlet, self.outlet):
                os.close(fd)
        os.set_blocking(self.inlet, False)
        os.set_blocking(self.outlet, False)
        self.frames = Frames()
        self.out: deque[memoryview] = deque()
        self.ending = False

    def put(self, values: Any) -> None:
        self.out.append(memoryview(dump(values)))
        self.push()

    def push(self) -> None:
        """Write what goes."""
        while self.out:
            try:
                sent = os.write(self.inlet, self.out[0])
            except BlockingIOError:
                return
            if sent == len(self.out[0]):
                self.out.popleft()
            else:
                self.out[0] = self.out[0][sent:]
        if self.ending:
            self.ending = False
            os.close(self.inlet)

    def end(self) -> None:
        """Close the inlet, once all is written."""
        self.ending = True
        self.push()

    def take(self, timeout: float | None = None) -> list[Any] | None:
        """The lists that have come, after waiting for some; None at the end."""
        writing = [self.inlet] if self.out else []
        readable, writable, _ = select.select([self.outlet], writing, [], timeout)
        if writable:
            self.push()
        if not readable:
            return []
        data = os.read(self.outlet, READ)
        if not data:
            os.close(self.outlet)
            for pid in self.pids:
                os.waitpid(pid, 0)
            return None
        return [pickle.loads(memoryview(frame)[8:]) for frame in self.frames.take(data)]


def run(line: Line, batches: Iterator[Any], window: int, left: Any = None) -> Iterator[Any]:
    """Lists through a line, so many at once; ``left``: seconds until the source will have the next one."""
    flying = 0
    more = True
    while True:
        while more and flying < window and not (left is not None and left()):
            batch = next(batches, None)
            if batch is None:
                more = False
                line.end()
                break
            line.put(batch)
            flying += 1
        found = line.take(left() if more and left is not None and flying < window else None)
        if found is None:
            return
        flying -= len(found)
        yield from found


def batched(source: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to ``size``."""
    iterator = iter(source)
    while batch := list(islice(iterator, size)):
        yield batch


class Pipes(Contender):
    name = "pipes by hand"
    kind = "limit"

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        line = Line([each(f) for f in functions])
        left = source.left if isinstance(source, tasks.Ticks) else None
        size = BATCHES.get(self.workload, BATCH)
        for values in run(line, batched(source, size), 16, left):
            yield from values

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        found: list[Any] = []
        for values in run(Line([each(f) for f in functions]), batched(source, BATCH), 16):
            found += values
        return found

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        # A frame holds the children of sixteen parents, so their sums need no numbers.
        def split(parents: list[int]) -> list[list[int]]:
            return [list(tasks.split(n)) for n in parents]

        def square(families: list[list[int]]) -> list[list[int]]:
            return [[tasks.square(x) for x in family] for family in families]

        sums: list[int] = []
        for families in run(Line([split, square]), batched(source, 16), 8):
            sums += map(sum, families)
        return sums

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        lines = [Line([each(f) for f in functions]) for _ in range(chains)]
        for batch in batched(source, 64):
            for line in lines:
                line.put(batch)
        found: list[list[int]] = [[] for _ in lines]
        for line in lines:
            line.end()
        for at, line in enumerate(lines):
            while (lists := line.take()) is not None:
                for values in lists:
                    found[at] += values
        return found


CONTENDERS = (Pipes,)
