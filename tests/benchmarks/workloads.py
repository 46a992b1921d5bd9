"""What is run: the workloads, the size of each, what is measured, and which answer is right.

A workload's ``drive`` runs in a fresh process, with a contender that is prepared; it gives figures. What it does
before and after its own clock is not timed: making tasks, checking answers. Start-up of a contender's processes is.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import tasks
from benchmarks.contender import Contender

Figures = dict[str, float]


class Wrong(Exception):
    """A contender's answer is not right."""


@dataclass(frozen=True)
class Figure:
    """One number of a row: its key, how it is headed, how many decimals, whether more of it is better."""

    key: str
    head: str
    decimals: int = 0
    more: bool = True


@dataclass(frozen=True)
class Workload:
    """One row of the table. ``method``: what a contender must have; the first of ``figures`` is compared."""

    name: str
    title: str
    method: str
    size: int
    quick: int
    figures: tuple[Figure, ...]
    drive: Callable[[Contender, int], Figures]
    memory: bool = False
    """Whether the parent runs it once more, untimed, to see how much memory the whole tree of processes takes."""
    base: int = 0
    """Growth of memory is measured from this size to the full one (W9)."""


def check(right: bool, what: str) -> None:
    """Raise `Wrong` unless ``right``."""
    if not right:
        raise Wrong(what)


# -- W1, W10: throughput --------------------------------------------------------------------------------


def w1(contender: Contender, size: int) -> Figures:
    start = time.perf_counter()
    results = contender.collect(tasks.CHAIN, range(size))
    seconds = time.perf_counter() - start
    check(len(results) == size, f"{len(results)} results of {size}")
    check(sorted(results) == [tasks.chained(x) for x in range(size)], "some results are wrong")
    return {"rate": size / seconds, "seconds": seconds}


def w10(contender: Contender, size: int) -> Figures:
    chains, functions = 10, (tasks.add,) * 10
    start = time.perf_counter()
    results = contender.many(chains, functions, range(size))
    seconds = time.perf_counter() - start
    check(len(results) == chains, f"{len(results)} chains of {chains}")
    for result in results:
        check(sorted(result) == list(range(10, size + 10)), "some results of a chain are wrong")
    return {"rate": chains * size / seconds, "seconds": seconds}


# -- W2: latency ----------------------------------------------------------------------------------------

PERIOD = 0.002
WARM_UP = 100
"""Ticks that are not counted: how long starting takes is W8's affair."""


def w2(contender: Contender, size: int) -> Figures:
    ticks = tasks.Ticks(size + WARM_UP, PERIOD)
    came: list[tuple[int, float]] = []
    for result in contender.stream(tasks.CHAIN, ticks):
        came.append((result, time.perf_counter()))
    check(len(came) == size + WARM_UP, f"{len(came)} results of {size + WARM_UP}")
    known = {tasks.chained(x): x for x in range(size + WARM_UP)}
    check({r for r, _ in came} == known.keys(), "some results are wrong")
    late = sorted(at - ticks.given[known[r]] for r, at in came if known[r] >= WARM_UP)
    return {"p50": late[len(late) // 2] * 1e3, "p99": late[int(len(late) * 0.99)] * 1e3}


# -- W3: fan out, fan in ----------------------------------------------------------------------------------


def w3(contender: Contender, size: int) -> Figures:
    start = time.perf_counter()
    results = contender.gather(range(size))
    seconds = time.perf_counter() - start
    check(len(results) == size, f"{len(results)} results of {size}")
    check(sorted(results) == [tasks.merged(n) for n in range(size)], "some sums are wrong")
    return {"rate": size * tasks.CHILDREN / seconds, "seconds": seconds}


# -- W4: large values ---------------------------------------------------------------------------------------


def w4(contender: Contender, size: int) -> Figures:
    import numpy

    made = [numpy.full(tasks.ARRAY_FLOATS, i, dtype=numpy.float32) for i in range(8)]
    seen: Counter[int] = Counter()
    start = time.perf_counter()
    for array in contender.stream(tasks.ARRAYS, (made[i % 8] for i in range(size))):
        check(array.shape == (tasks.ARRAY_FLOATS,) and array[0] == array[-1] == array[77_777], "an array is wrong")
        seen[int(array[0])] += 1
    seconds = time.perf_counter() - start
    check(bool((array == array[0]).all()), "the last array is wrong")
    check(seen == Counter(i % 8 + 3 for i in range(size)), "some arrays are wrong or missing")
    return {"rate": size * tasks.ARRAY_FLOATS * 4 / 2**30 / seconds, "seconds": seconds}


# -- W5, W6: efficiency of two workers ------------------------------------------------------------------------

WORKERS = 2


def _spread(contender: Contender, size: int, slow: set[int], short: float, long: float = 0.0) -> Figures:
    """Tasks of ``short`` seconds, and in the ``slow`` places of ``long`` ones; each has a length of its own, by a few ns."""
    work = [round((long if i in slow else short) * 1e9) + i for i in range(size)]
    start = time.perf_counter()
    results = contender.spread(tasks.spin, work, WORKERS)
    seconds = time.perf_counter() - start
    check(sorted(results) == sorted(map(tasks.spun, work)), "some results are wrong or missing")
    return {"efficiency": sum(work) / 1e9 / WORKERS / seconds, "seconds": seconds}


def w5(contender: Contender, size: int) -> Figures:
    return _spread(contender, size, set(), 0.005)


def w6(contender: Contender, size: int) -> Figures:
    """1 % slow tasks, five neighbours at a time, evenly over the source."""
    clusters = max(1, size // 500)
    slow = {size * (2 * c + 1) // (2 * clusters) + i for c in range(clusters) for i in range(5)}
    return _spread(contender, size, slow, 0.0002, 0.05)


def w6c(contender: Contender, size: int) -> Figures:
    """1 % slow tasks, all next to each other in the middle of the source."""
    return _spread(contender, size, set(range(size // 2, size // 2 + size // 100)), 0.0002, 0.05)


# -- W7: waiting ------------------------------------------------------------------------------------------------

NAP = 0.010


def w7a(contender: Contender, size: int) -> Figures:
    width = min(1000, size)
    start = time.perf_counter()
    count = contender.sleep_async(size, NAP, width)
    seconds = time.perf_counter() - start
    check(count == size, f"{count} results of {size}")
    return {"efficiency": size * NAP / width / seconds, "seconds": seconds}


def w7t(contender: Contender, size: int) -> Figures:
    width = 64
    start = time.perf_counter()
    count = contender.sleep_threads(size, NAP, width)
    seconds = time.perf_counter() - start
    check(count == size, f"{count} results of {size}")
    return {"efficiency": size * NAP / width / seconds, "seconds": seconds}


# -- W8: start -----------------------------------------------------------------------------------------------


def w8(contender: Contender, size: int) -> Figures:
    figures: Figures = {}
    for prefix in ("", "again_", "warm_"):  # the first run of a process, the next one, and one with what is kept warm
        if prefix == "warm_":
            contender.warm_up()
            list(contender.stream(tasks.CHAIN, range(size)))
        start = time.perf_counter()
        first = 0.0
        results = []
        for result in contender.stream(tasks.CHAIN, range(size)):
            first = first or time.perf_counter() - start
            results.append(result)
        end = time.perf_counter() - start
        check(sorted(results) == [tasks.chained(x) for x in range(size)], "some results are wrong")
        figures |= {f"{prefix}first": first * 1e3, f"{prefix}end": end * 1e3}
    return figures


# -- W9: bounds -----------------------------------------------------------------------------------------------


def w9a(contender: Contender, size: int) -> Figures:
    count = total = 0
    start = time.perf_counter()
    for result in contender.stream(tasks.CHAIN, (x for x in range(size))):
        count += 1
        total += result
    seconds = time.perf_counter() - start
    check(count == size and total == size * (size - 1) - size, f"{count} results of {size}, or some are wrong")
    return {"rate": size / seconds, "seconds": seconds}


def w9b(contender: Contender, size: int) -> Figures:
    """How late in the run the source is used up: 1 where no more than a window is read ahead of a slow sink."""
    used_up = 0.0

    def source() -> Iterator[int]:
        nonlocal used_up
        yield from range(size)
        used_up = time.perf_counter()

    start = time.perf_counter()
    count = 0
    for _ in contender.stream(tasks.CHAIN, source()):
        time.sleep(0.001)
        count += 1
    seconds = time.perf_counter() - start
    check(count == size, f"{count} results of {size}")
    return {"share": (used_up - start) / seconds, "seconds": seconds}


# -- what a journal costs ----------------------------------------------------------------------------------------


def _kept(envelope: int) -> Callable[[Contender, int], Figures]:
    def drive(contender: Contender, size: int) -> Figures:
        start = time.perf_counter()
        results, kept = contender.keep(tasks.CHAIN, range(size), envelope)
        seconds = time.perf_counter() - start
        check(sorted(results) == [tasks.chained(x) for x in range(size)], "some results are wrong")
        return {"rate": size / seconds, "bytes": kept / size, "seconds": seconds}

    return drive


# -- starting Python with it -----------------------------------------------------------------------------------


def imports(contender: Contender, size: int) -> Figures:
    figures: Figures = {}
    commands: dict[str, list[str]] = contender.commands()
    for key, arguments in commands.items():
        times = []
        for _ in range(size):
            start = time.perf_counter()
            done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
            times.append(time.perf_counter() - start)
            check(done.returncode == 0, done.stderr.decode()[-300:])
        figures[key] = statistics.median(times) * 1e3
    return figures


def _figure(key: str, head: str, decimals: int = 0, more: bool = True) -> tuple[Figure, ...]:
    return (Figure(key, head, decimals, more),)


_RATE = _figure("rate", "items/s")
_EFFICIENCY = _figure("efficiency", "efficiency", 3)

WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        Workload("W1", "three trivial nodes, each in its own process, 10^6 ints, results collected", "collect",
                 1_000_000, 50_000, _RATE, w1, memory=True),
        Workload("W2", "latency: one task every 2 ms through the same chain", "stream", 1500, 200,
                 (Figure("p50", "p50 ms", 3, False), Figure("p99", "p99 ms", 3, False)), w2),
        Workload("W3", "2,000 tasks split into 100 children each, squared, summed per task", "gather",
                 2000, 200, _figure("rate", "children/s"), w3),
        Workload("W4", "1,000 arrays of 1 MiB (float32) through three processes", "stream", 1000, 40,
                 _figure("rate", "GiB/s", 3), w4, memory=True),
        Workload("W5", "300 tasks of 5 ms, two workers", "spread", 300, 40, _EFFICIENCY, w5),
        Workload("W6", "2,000 tasks of 0.2 ms, 1 % of them of 50 ms, five such at a time", "spread",
                 2000, 500, _EFFICIENCY, w6),
        Workload("W6c", "the same, all slow tasks next to each other", "spread", 2000, 500, _EFFICIENCY, w6c),
        Workload("W7a", "10,000 async sleeps of 10 ms, 1,000 at once", "sleep_async", 10_000, 2000, _EFFICIENCY, w7a),
        Workload("W7t", "2,000 sleeps of 10 ms in 64 threads", "sleep_threads", 2000, 640, _EFFICIENCY, w7t),
        Workload("W8", "10 tasks through three fresh processes: first result and end, again in the same process, "
                 "and with what can be kept warm", "stream", 10, 10,
                 (Figure("first", "first ms", 1, False), Figure("end", "end ms", 1, False),
                  Figure("again_first", "again: first", 1, False), Figure("again_end", "again: end", 1, False),
                  Figure("warm_first", "warm: first", 1, False), Figure("warm_end", "warm: end", 1, False)), w8),
        Workload("W9a", "10^7 lazily generated ints streamed: growth of the memory of all processes from 10^4 on",
                 "stream", 10_000_000, 100_000,
                 (Figure("growth", "growth MiB", 1, False), Figure("rate", "items/s")), w9a, memory=True, base=10_000),
        Workload("W9b", "20,000 tasks into a 1 ms sink: when the source is used up, as a share of the run", "stream",
                 20_000, 1000, _figure("share", "share", 2), w9b),
        Workload("W10", "10 chains of 10 nodes, 1,000 items each", "many", 1000, 100, _RATE, w10, memory=True),
        Workload("import", "importing it, and its command line's --help, in a fresh interpreter", "commands", 9, 3,
                 (Figure("import", "import ms", 0, False), Figure("help", "--help ms", 0, False)), imports),
        *(
            Workload(f"J{envelope}", f"a journal: the chain of W1, {envelope:,} tasks an envelope", "keep", size, quick,
                     (*_RATE, Figure("bytes", "bytes a task kept", 1, False)), _kept(envelope))
            for envelope, size, quick in ((1, 10_000, 500), (64, 200_000, 5000), (1024, 1_000_000, 20_000))
        ),
        Workload("extras", "W1 with what can be switched on", "extra", 300_000, 30_000, _RATE, w1, memory=True),
    )
}  # fmt: skip
