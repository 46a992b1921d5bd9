"""The standard library: ``Pool.imap`` chained with three chunk sizes, ``ProcessPoolExecutor.map``, ``Queue`` by hand."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions


class Imap(Contender):
    """One pool of one process a function, chained; the chunk size is the user's to find."""

    name = "imap(1)"
    chunk = 1
    sizes = {"W1": 20_000, "W4": 100, "W9a": 100_000, "W9b": 5000}
    only = ("W1", "W2", "W4", "W5", "W6", "W6c", "W8", "W9a", "W9b")

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        context = multiprocessing.get_context("fork")
        with ExitStack() as stack:
            flow: Any = source
            for function in functions:
                pool = stack.enter_context(context.Pool(1))
                flow = pool.imap(function, flow, chunksize=self.chunk)
            yield from flow

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            return list(pool.imap(function, source, chunksize=self.chunk))


def squared(item: tuple[int, int]) -> tuple[int, int]:
    parent, x = item
    return parent, tasks.square(x)


class Imap64(Imap):
    name = "imap(64)"
    chunk = 64
    sizes = {}
    only = ("W3", "W6", "W6c")

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        """Split in a process, square in another, gathered by hand in the driver, keyed by the parent."""
        context = multiprocessing.get_context("fork")
        sums: dict[int, int] = {}
        missing: dict[int, int] = {}
        with context.Pool(1) as splitting, context.Pool(1) as squaring:
            families = splitting.imap(tasks.split, source, chunksize=self.chunk)
            children = ((parent, x) for parent, xs in enumerate(families) for x in xs)
            for parent, value in squaring.imap(squared, children, chunksize=self.chunk):
                sums[parent] = sums.get(parent, 0) + value
                missing[parent] = missing.get(parent, tasks.CHILDREN) - 1
        assert not any(missing.values())
        return list(sums.values())


class Imap1024(Imap):
    name = "imap(1024)"
    chunk = 1024
    sizes = {}
    only = ("W1",)


class Executor(Contender):
    """``ProcessPoolExecutor.map``: takes the whole input before it gives the first result."""

    name = "ProcessPoolExecutor"
    only = ("W1", "W5", "W6", "W6c")

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        context = multiprocessing.get_context("fork")
        with ExitStack() as stack:
            flow: Any = source
            for function in functions:
                flow = stack.enter_context(ProcessPoolExecutor(1, context)).map(function, flow, chunksize=1024)
            yield from flow

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as executor:
            return list(executor.map(function, source))


END = "end of the queue"


def serve(function: Any, inlet: Any, outlet: Any) -> None:
    while (item := inlet.get()) is not END and item != END:
        outlet.put(function(item))
    outlet.put(END)


def serve_arrays(function: Any, inlet: Any, outlet: Any) -> None:
    while not isinstance(item := inlet.get(), str):
        outlet.put(function(item))
    outlet.put(END)


class Queues(Contender):
    """By hand: processes joined by ``multiprocessing.Queue``, a task a message."""

    name = "mp.Queue"
    only = ("W1", "W2", "W4", "W8", "W9a", "W9b", "W10")
    sizes = {"W1": 100_000, "W9a": 200_000, "W9b": 5000}

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        context = multiprocessing.get_context("fork")
        queues = [context.Queue() for _ in range(len(functions) + 1)]
        target = serve_arrays if self.workload == "W4" else serve
        processes = [
            context.Process(target=target, args=(function, queues[at], queues[at + 1]), daemon=True)
            for at, function in enumerate(functions)
        ]
        for process in processes:
            process.start()

        def feed() -> None:
            for item in source:
                queues[0].put(item)
            queues[0].put(END)

        threading.Thread(target=feed, daemon=True).start()
        while True:
            item = queues[-1].get()
            if isinstance(item, str):
                break
            yield item
        for process in processes:
            process.join()

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        # All are started before any is read, or they would run one after the other.
        flows = [self.stream(functions, source) for _ in range(chains)]
        firsts = [next(flow) for flow in flows]
        return [[first, *flow] for first, flow in zip(firsts, flows, strict=True)]


CONTENDERS = (Imap, Imap64, Imap1024, Executor, Queues)
