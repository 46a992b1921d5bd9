"""Overload: more than fits, in every way, and how much memory the driver takes for it.

    python -m dagflow.testing.overload [--scale 1.0] [NAME ...]

Each case runs in a process of its own, which says what its memory was before the run and at its highest. The bound
is ``max_bytes`` and a constant: it must not grow with the number of tasks. ``--scale`` makes the cases smaller.
Exit code 1 if one is over its bound, or takes longer than its time allows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dagflow.graph.algebra import Graph
from dagflow.graph.merger import Merger
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager

CONSTANT_MB: Final = 100
"""What a run may take beside its values: the scheduler's books, buffers of sockets, the allocator's slack."""
MAX_BYTES_MB: Final = 64
SECONDS_MOST: Final = 1800


def increment(x: int) -> int:
    """``x + 1``."""
    return x + 1


def large(x: int) -> bytes:
    """100 kB."""
    return bytes(100_000)


def children(count: int) -> Iterator[int]:
    """So many children, one by one."""
    yield from range(count)


def add(total: int, x: int) -> int:
    """``total + x``."""
    return total + x


def refuse(x: int) -> int:
    """Fails, with a long message."""
    raise ValueError("no " * 300)


# -- the cases: each does its work, calls `watch` now and then, and says how many tasks that were --------------


def _streamed(graph: Any, count: int, watch: Callable[[], None], **options: Any) -> int:
    stream: Any = Graph(graph).stream(itertools.count(), max_bytes=f"{MAX_BYTES_MB}MB", **options)
    seen = 0
    for seen, _ in enumerate(stream, 1):
        if seen % 1024 == 0:
            watch()
        if seen >= count:
            break
    stream.close()
    return seen


def ten_million(count: int, watch: Callable[[], None]) -> int:
    """10,000,000 tasks of an endless source through two processes, streamed."""
    return _streamed(TaskManager(increment, "process", 2), count, watch)


def ten_million_in_order(count: int, watch: Callable[[], None]) -> int:
    """The same, in source order."""
    return _streamed(TaskManager(increment, "process", 2), count, watch, ordered=True)


def million_children(count: int, watch: Callable[[], None]) -> int:
    """One task with 1,000,000 children, worked on and folded again."""
    graph = Splitter(children) >> TaskManager(increment, "process", 2) >> Merger(fold=(add, 0))
    result = graph.run([count], max_bytes=f"{MAX_BYTES_MB}MB")
    watch()
    assert result.values == [count * (count + 1) // 2], result.outcomes
    return count


def hundred_nodes(count: int, watch: Callable[[], None]) -> int:
    """A chain of 100 nodes, each with a process of its own."""
    graph = Graph(TaskManager(increment, name="n0"))
    for number in range(1, 100):
        graph = graph >> TaskManager(increment, name=f"n{number}")
    return _streamed(graph, count, watch)


def slow_sink(count: int, watch: Callable[[], None]) -> int:
    """An endless source, results of 100 kB, and somebody who takes one of them every 10 ms."""
    return _slow(TaskManager(large, "process", 2), count, watch)


def slow_sink_in_order(count: int, watch: Callable[[], None]) -> int:
    """The same, in source order."""
    return _slow(TaskManager(large, "process", 2), count, watch, ordered=True)


def slow_sink_of_failures(count: int, watch: Callable[[], None]) -> int:
    """Nothing but failures, which nobody hurries to look at."""
    return _slow(TaskManager(refuse, "process", 2), count, watch)


def _slow(graph: Any, count: int, watch: Callable[[], None], **options: Any) -> int:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    stream: Any = Graph(graph).stream(source(), max_bytes=f"{MAX_BYTES_MB}MB", **options)
    for seen, _ in enumerate(stream, 1):
        time.sleep(0.01)
        watch()
        if seen >= count:
            break
    stream.close()
    assert read < 10**6, f"read {read} tasks ahead"
    return read


def large_children(count: int, watch: Callable[[], None]) -> int:
    """A Splitter whose children take 100 kB each leaves the graph faster than anybody takes them."""
    return _slow(Splitter(lambda x: (bytes(100_000) for _ in range(10**6))), count, watch)


@dataclass(frozen=True)
class Case:
    """One way to overload a run. ``count``: how many tasks (or outputs taken) at full scale."""

    run: Callable[[int, Callable[[], None]], int]
    count: int


CASES: Final = {
    "ten-million": Case(ten_million, 10_000_000),
    "ten-million-in-order": Case(ten_million_in_order, 10_000_000),
    "million-children": Case(million_children, 1_000_000),
    "hundred-nodes": Case(hundred_nodes, 200_000),
    "slow-sink": Case(slow_sink, 2_000),
    "slow-sink-in-order": Case(slow_sink_in_order, 2_000),
    "slow-sink-of-failures": Case(slow_sink_of_failures, 2_000),
    "large-children": Case(large_children, 2_000),
}


def resident_mb() -> float:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measure(name: str, scale: float) -> dict[str, Any]:
    """Run one case here."""
    from loguru import logger

    logger.disable("dagflow")
    case = CASES[name]
    before = top = resident_mb()

    def watch() -> None:
        nonlocal top
        top = max(top, resident_mb())

    start = time.monotonic()
    tasks = case.run(max(1, int(case.count * scale)), watch)
    seconds = time.monotonic() - start
    return {"case": name, "tasks": tasks, "seconds": seconds, "before": before, "growth": top - before}


def measured_apart(name: str, scale: float) -> dict[str, Any]:
    """Run one case in a process of its own."""
    command = [sys.executable, "-m", "dagflow.testing.overload", "--here", "--scale", str(scale), name]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=SECONDS_MOST, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dagflow.testing.overload", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full number of tasks")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in CASES]
    if unknown:
        parser.error(f"unknown case {', '.join(unknown)}; known: {', '.join(CASES)}")
    if given.here:
        sys.stdout.write(json.dumps(measure(given.names[0], given.scale)))
        return 0
    bound = MAX_BYTES_MB + CONSTANT_MB
    out = sys.stdout
    out.write(f"{'case':24} {'tasks':>12} {'seconds':>9} {'tasks/s':>10} {'before MB':>10} {'growth MB':>10}\n")
    over = []
    for name in given.names or CASES:
        found = measured_apart(name, given.scale)
        rate = found["tasks"] / found["seconds"]
        out.write(f"{name:24} {found['tasks']:12,} {found['seconds']:9.1f} {rate:10,.0f} ")
        out.write(f"{found['before']:10.0f} {found['growth']:10.0f}\n")
        out.flush()
        if found["growth"] > bound:
            over.append(name)
    out.write(f"bound: {bound} MB (max_bytes {MAX_BYTES_MB} MB + {CONSTANT_MB} MB)\n")
    if over:
        out.write(f"over it: {', '.join(over)}\n")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
