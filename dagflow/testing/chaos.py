"""Chaos: real runs of a graph with every kind of node, while a killer is loose among its workers.

    python -m dagflow.testing.chaos [--minutes 10] [--seed 1]

Rounds follow each other until the time is up. In each, the graph runs over some tasks on worker processes while
signals (KILL, SEGV, TERM, STOP and CONT, and now and then a KILL for the zygote) go to random workers at random
times; then the serial backend runs the same graph over the same tasks in peace. Outcomes, values, errors and counts
must be the same. Exit code 0 if there was no difference in any round, else 1.

Some tasks are poison: they kill their worker whenever they run, and must be the only ones that fail for it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dagflow.core.commands import Fact, TaskFailed
from dagflow.errors import BackendError, MissingMembers, WorkerDied
from dagflow.graph.algebra import Graph
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.plan import Plan
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager
from dagflow.protocols import Snapshot
from dagflow.result import RunResult
from dagflow.testing import chaos_work as work

TASKS: Final = 3000
"""Source tasks of a round."""
MEAN_SECONDS: Final = 0.15
"""Between two signals, on average."""
GROWN_SECONDS: Final = 0.3
"""A worker is not killed until so long after it was seen to have worked, but for one now and then (`YOUNG_SECONDS`).

One that is killed while it starts, again and again, ends a run, and rightly so; how long a start takes is the
machine's matter. Suspects are tried in fresh workers: whoever kills those again and again makes an innocent task look
guilty, and no program could tell the difference.
"""
YOUNG_SECONDS: Final = 5.0
"""So much time lies between two kills of workers that are not grown."""
ZYGOTE_SECONDS: Final = 10.0
STOPPED_SECONDS: Final = 0.8
"""How long a stopped worker stays so at most."""
SIGNALS: Final = ("SIGKILL",) * 6 + ("SIGSEGV", "SIGTERM") + ("SIGSTOP",) * 3


def chaos_graph() -> Graph:
    """Every kind of node, every mode, nested scopes, folds, windows, failures that are taken up."""
    take = TaskManager(work.take, "thread", 3, deduplicate=work.key, name="take")
    kind = Router(work.kind, default=DROP, name="kind")
    few, many = Splitter(work.few, name="few"), Splitter(work.many, name="many", max_retries=0)
    worker = TaskManager(work.work, "process", 3, timeout=60, name="work")
    unsteady = TaskManager(work.unsteady, "process", 2, max_retries=1, retry_delay=0.005, name="unsteady")
    handled = unsteady.failures >> TaskManager(work.handled, name="handled")
    inner = TaskManager(work.batched, "process", 2, batch_size=8, name="batched") >> TaskManager(
        work.later, "async", 16, name="later"
    )
    fold = Merger(None, of=many, on_missing="skip", fold=(work.add, 0), name="fold")
    merge = Merger(work.merged, of=few, on_missing="fail", name="merge")
    branches = {
        "few": few >> unsteady >> TaskManager(work.Model, "process", 2, name="model") >> merge,
        "many": many >> worker >> inner >> fold,
        "plain": TaskManager(work.plain, name="plain"),
    }
    whole = take >> kind >> branches
    return (whole >> [TaskManager(work.same, name="out"), Merger(work.size, size=7, name="window")]) | handled


# -- the killer -----------------------------------------------------------------------------------------


class Killer(threading.Thread):
    """Sends signals to this process's workers until told to stop."""

    def __init__(self, chance: random.Random, mean: float = MEAN_SECONDS) -> None:
        super().__init__(name="killer", daemon=True)
        self.chance, self.mean = chance, mean
        self.over = threading.Event()
        self.sent: Counter[str] = Counter()
        self.zygotes = 0
        self.young_at = self.zygote_at = time.monotonic()
        self.at_work: dict[int, float] = {}
        """When workers were first seen to have worked."""

    def run(self) -> None:
        """Wait, strike, wait."""
        stopped: list[tuple[float, int]] = []
        while not self.over.wait(self.chance.expovariate(1 / self.mean)):
            now = time.monotonic()
            for due, fd in [s for s in stopped if s[0] <= now]:
                stopped.remove((due, fd))
                _send(fd, signal.SIGCONT)
                os.close(fd)
            stopped.extend(self._strike(now))
        for _, fd in stopped:
            _send(fd, signal.SIGCONT)
            os.close(fd)

    def _strike(self, now: float) -> list[tuple[float, int]]:
        zygotes = [pid for pid, parent in _processes() if parent == os.getpid() and _is_zygote(pid)]
        workers = [(pid, parent) for pid, parent in _processes() if parent in zygotes]
        self.at_work = {
            pid: self.at_work.get(pid, now) for pid, _ in workers if pid in self.at_work or _has_worked(pid)
        }
        if zygotes and now - self.zygote_at > ZYGOTE_SECONDS and self.chance.random() < 0.2:
            self.zygote_at = now
            self._signal(self.chance.choice(zygotes), os.getpid(), "SIGKILL")
            self.zygotes += 1
            return []
        grown = [w for w in workers if now - self.at_work.get(w[0], now) > GROWN_SECONDS]
        if now - self.young_at > YOUNG_SECONDS and len(workers) > len(grown):
            self.young_at = now
            grown = [w for w in workers if w not in grown]
        if not grown:
            return []
        pid, parent = self.chance.choice(grown)
        name = self.chance.choice(SIGNALS)
        fd = self._signal(pid, parent, name, keep=name == "SIGSTOP")
        return [] if fd is None else [(now + self.chance.uniform(0.05, STOPPED_SECONDS), fd)]

    def _signal(self, pid: int, parent: int, name: str, *, keep: bool = False) -> int | None:
        """Send a signal, by a descriptor of the process: its number may be somebody else's by now."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return None
        if _parent_of(pid) == parent and _send(fd, getattr(signal, name)):
            self.sent[name] += 1
            if keep:
                return fd
        os.close(fd)
        return None

    def stop(self) -> None:
        """Put the weapons down, and let the stopped go on."""
        self.over.set()
        self.join()


def _send(fd: int, number: int) -> bool:
    try:
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    return True


def _parent_of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    return int(text.rpartition(")")[2].split()[1])


def _processes() -> list[tuple[int, int]]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [(pid, _parent_of(pid)) for pid in pids]


def _has_worked(pid: int) -> bool:
    """Whether a process has opened one of the files in which executions are counted."""
    place = os.path.realpath(os.environ[work.PLACE]) + os.sep
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            return any(os.readlink(file.path).startswith(place) for file in files)
    except OSError:
        return False


def _is_zygote(pid: int) -> bool:
    try:
        return b"dagflow.backends.local.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


# -- rounds ---------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What happened in all rounds."""

    rounds: int = 0
    tasks: int = 0
    seconds: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    zygotes: int = 0
    deaths: int = 0
    executions: int = 0
    reruns: int = 0
    blamed: int = 0
    poisoned: int = 0
    differences: list[str] = field(default_factory=list)

    def told(self) -> str:
        """In a few lines."""
        signals = ", ".join(f"{name} {number}" for name, number in sorted(self.sent.items()))
        lines = (
            f"{self.rounds} rounds, {self.tasks:,} tasks, {self.executions:,} executions in {self.seconds:.0f} s",
            f"kills and stops: {sum(self.sent.values())} ({signals}), of which zygotes: {self.zygotes}",
            f"deaths noticed: {self.deaths}; tasks blamed for them: {self.blamed}; failed for it: {self.poisoned}",
            f"executions more than in peace: {self.reruns:,}",
            f"differences from the serial run: {len(self.differences)}",
        )
        return "\n".join(lines) + "\n"


class Listener:
    """Counts the tasks that were blamed for a death, and those that failed for it (in peace: that would have)."""

    def __init__(self) -> None:
        self.blamed = self.poisoned = 0

    def opened(self, plan: Plan) -> None:
        """A run begins."""

    def facts(self, facts: Sequence[Fact]) -> None:
        """What was decided."""
        for fact in facts:
            if isinstance(fact, TaskFailed) and fact.error.type in ("WorkerDied", "Poisoned"):
                self.poisoned += fact.retry_in is None
                self.blamed += fact.retry_in is not None and fact.attempt == 1

    def tick(self, snapshot: Snapshot) -> None:
        """Time passes."""

    def closed(self, snapshot: Snapshot) -> None:
        """The run has ended."""


def told(result: RunResult) -> dict[str, Any]:
    """All of a result that must not depend on what happened to the workers."""
    outcomes = {}
    for outcome in result.outcomes:
        error: Any = None
        if isinstance(outcome.error, (WorkerDied, work.Poisoned)):
            error = "poison"
        elif isinstance(outcome.error, MissingMembers):
            error = "missing members"  # which of them is told first depends on who came first
        elif outcome.error is not None:
            error = (type(outcome.error).__name__, str(outcome.error))
        outcomes[outcome.task] = (outcome.status, outcome.values, error)
    own = Counter(repr(value) for outcome in result.outcomes for value in outcome.values)
    windows = Counter(map(repr, result.values)) - own
    counts = {name: (c.received, c.succeeded, c.failed, c.dropped, c.retried) for name, c in result.counts.items()}
    return {"outcomes": outcomes, "windows": windows, "counts": counts}


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What is not the same, in words."""
    found = [
        f"{what} {key!r}: {there[what].get(key)!r}, in peace {here[what].get(key)!r}"
        for what in there
        for key in there[what].keys() | here[what].keys()
        if there[what].get(key) != here[what].get(key)
    ]
    return sorted(found)


def one_round(seed: int, number: int, tally: Tally, *, tasks: int = TASKS, mean: float = MEAN_SECONDS) -> None:
    """One round: in chaos, in peace, compared."""
    chance = random.Random(f"{seed}/{number}")
    first = chance.randrange(10**6)
    source = range(first, first + tasks)
    there, here = Listener(), Listener()
    with tempfile.TemporaryDirectory(prefix="chaos") as place:
        os.environ[work.DRIVER], os.environ[work.PLACE] = str(os.getpid()), place
        killer = Killer(chance, mean)
        start = time.monotonic()
        killer.start()
        try:
            with chaos_graph().open("process", logger=there) as run:
                for task in source:
                    run.submit(task)
                run.close()
                in_chaos = run.wait()
        except BackendError as error:
            tally.differences.append(f"seed {seed}, round {number}: {error}")
            return
        finally:
            killer.stop()
            tally.seconds += time.monotonic() - start
            tally.sent += killer.sent
            tally.zygotes += killer.zygotes
        executed = _executed(place)
        in_peace = chaos_graph().run(source, "serial", logger=here)
        executed_in_peace = _executed(place) - executed
        work.close_files()
    tally.rounds += 1
    tally.tasks += tasks
    tally.deaths += in_chaos.snapshot.crashes
    tally.executions += executed
    tally.reruns += executed - executed_in_peace
    tally.blamed += there.blamed
    tally.poisoned += there.poisoned
    found = differences(told(in_chaos), told(in_peace))
    if there.poisoned != here.poisoned:
        found.append(f"{there.poisoned} tasks failed for having killed, of {here.poisoned} that are poison")
    tally.differences.extend(f"seed {seed}, round {number}: {text}" for text in found)


def _executed(place: str) -> int:
    return sum(file.stat().st_size for file in Path(place).iterdir())


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    from loguru import logger

    parser = argparse.ArgumentParser(prog="python -m dagflow.testing.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of what is left to chance")
    parser.add_argument("--tasks", type=int, default=TASKS, help=f"source tasks of a round (default: {TASKS})")
    given = parser.parse_args(arguments)
    logger.disable("dagflow")
    sys.stdout.write(f"chaos for {given.minutes:g} minutes, seed {given.seed}\n")
    sys.stdout.flush()
    tally, until, number = Tally(), time.monotonic() + 60 * given.minutes, 0
    try:
        while not number or (time.monotonic() < until and len(tally.differences) < 20):
            one_round(given.seed, number, tally, tasks=given.tasks)
            number += 1
    finally:
        logger.enable("dagflow")
    sys.stdout.write(tally.told())
    for text in tally.differences[:20]:
        sys.stdout.write(f"  {text[:500]}\n")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
