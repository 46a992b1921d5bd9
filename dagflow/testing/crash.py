"""Crash tests: the driver is killed with SIGKILL at random moments, and the run must end as if nothing had been.

``python -m dagflow.testing.crash --kills 200 --seed 1`` starts drivers of a graph with every kind of node, each in
a process group of its own, and kills them (or their whole group) at random moments, also while they go on from an
earlier death, and with another backend each time. Whenever a run comes to its end it is checked that

* what came of every task is the same, to the digest, as in one undisturbed run of the serial backend,
* no function ran for a task whose end was on record when its driver was started. The functions append a line
  to a side log for each execution, which is the independent witness; what was on record is read from the journal
  after each death.

``--journal redis://...`` keeps the journals on a server. The same seed kills at the same moments, as far as a
machine can do the same again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

import dagflow as df
from dagflow.journal.book import Book
from dagflow.journal.entries import END, FAIL, SPLIT
from dagflow.journal.parts import tasks_in
from dagflow.journal.where import journal_at

if TYPE_CHECKING:
    from dagflow.result import RunResult

BACKENDS: Final = ("process", "process", "thread", "serial")
TASKS: Final = 60
DRIVER_SECONDS: Final = 60.0
LOG: Final = "DAGFLOW_CRASH_LOG"

Id = tuple[Any, ...]
"""Who a value is: its source task, ``(splitter, child)`` for each split on its way, ``("copy", port)`` for a copy."""


class Value:
    """A value that knows who it is, so that an execution can be told from its argument."""

    __slots__ = ("id", "n")

    def __init__(self, id: Id, n: int) -> None:
        self.id, self.n = id, n

    def __reduce__(self) -> tuple[Any, ...]:
        return Value, (self.id, self.n)

    def __repr__(self) -> str:
        return f"{self.n}"


class Broken(Exception):
    """What fails here."""


def _note(node: str, id: Id) -> None:
    """One line more in the side log, whole even among many writers."""
    path = os.environ.get(LOG)
    if path:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{node} {id!r}\n".encode())
        finally:
            os.close(fd)


def _enter(task: int) -> Value:
    _note("enter", (task,))
    return Value((task,), task)


def _parts(value: Value) -> Iterator[Value]:
    """Up to five children, one by one; some tasks fail after two of them."""
    _note("parts", value.id)
    for child in range(value.n % 6):
        if value.n % 13 == 4 and child == 2:
            raise Broken(f"{value.n} has no third part")
        yield Value((*value.id, ("parts", child)), value.n * 10 + child)


def _work(value: Value) -> Value:
    _note("work", value.id)
    return Value(value.id, value.n + 1)


def _kind(value: Value) -> Any:
    _note("kind", value.id)
    if value.n % 17 == 0:
        return df.DROP
    if value.n % 19 == 0:
        return "nowhere"
    return ["even", "odd"] if value.n % 5 == 0 else "even" if value.n % 2 == 0 else "odd"


def _copy(value: Value, port: str) -> Id:
    """Who a value is that came by a port of the Router: a copy, if it was sent on both ways."""
    return (*value.id, ("copy", port)) if value.n % 5 == 0 else value.id


async def _even(value: Value) -> Value:
    _note("even", _copy(value, "0"))
    return Value(_copy(value, "0"), value.n * 2)


def _odd(values: list[Value]) -> list[Value]:
    for value in values:
        _note("odd", _copy(value, "1"))
    return [Value(_copy(value, "1"), value.n * 3) for value in values]


def _check(value: Value) -> Value:
    _note("check", value.id)
    if value.n % 11 == 3:
        raise Broken(f"{value.n} is not right")
    return value


def _rescue(failure: Any) -> Value:
    _note("rescue", failure.task.id)
    return Value(failure.task.id, -failure.task.n)


def _join(members: list[Value]) -> Any:
    if not members:
        return df.DROP
    id = members[0].id[:1]
    _note("join", id)
    return Value(id, sum(m.n for m in members) % 9973)


def _left(value: Value) -> Value:
    _note("left", value.id)
    return Value(value.id, value.n + 5)


def _right(value: Value) -> Value:
    _note("right", value.id)
    if value.n % 23 == 5:
        raise TimeoutError(f"{value.n} takes too long")
    return Value(value.id, value.n * 7)


def _pair(left: Value, right: Value) -> Value:
    _note("pair", left.id)
    return Value(left.id, left.n * right.n % 9973)


def _same(value: Value) -> list[Value]:
    """Twice the same, and once something else: of equal ones only the first goes on."""
    _note("same", value.id)
    return [Value((*value.id, ("same", child)), value.n + child // 2) for child in range(3)]


def _once(value: Value) -> Value:
    _note("once", value.id)
    return Value(value.id, value.n % 1000)


def _add(total: int, value: Value) -> int:
    _note("sum", value.id[:-1])
    return total + value.n


def _sum(total: int) -> int:
    return total


def _window(members: list[Value]) -> tuple[str, int, int]:
    return "window", len(members), sum(m.n for m in members)


def _whole(members: list[Value]) -> tuple[str, int, int]:
    return "whole", len(members), sum(m.n for m in members)


def graph() -> df.Graph:
    """A graph with every kind of node, every mode, and every way to end."""
    enter = df.TaskManager(_enter, name="enter")
    parts = df.Splitter(_parts, "process", 2, name="parts", max_retries=0)
    check = df.TaskManager(_check, "thread", 3, name="check", max_retries=0)
    rescue = df.TaskManager(_rescue, name="rescue")
    join = df.Merger(_join, of=parts, on_missing="skip", name="join")
    even = df.TaskManager(_even, "async", name="even")
    odd = df.TaskManager(_odd, "process", 2, batch_size=3, name="odd")
    left = df.TaskManager(_left, "thread", 2, name="left")
    right = df.TaskManager(_right, name="right", max_retries=1, retry_delay=0.001)
    pair = df.Merger(_pair, name="pair")
    same = df.Splitter(_same, name="same")
    once = df.TaskManager(_once, "process", 2, deduplicate=_key, name="once")
    total = df.Merger(_sum, of=same, fold=(_add, 0), name="sum")

    kind = df.Router(_kind, name="kind", max_retries=0)
    work = df.TaskManager(_work, "thread", 4, name="work")
    branches = kind >> {"even": even, "odd": odd}
    inside = work >> branches >> check
    first = enter >> parts >> inside >> join
    second = join >> df.par(left, right) >> pair >> same >> once >> total
    sides = enter >> df.Merger(_window, size=7, name="window")
    whole = enter >> df.Merger(_whole, of="run", name="whole")
    return first | (check.failures >> rescue >> join) | second | sides | whole


def _key(value: Value) -> Any:
    return value.id[:-1], value.n


def told_by(result: RunResult) -> list[str]:
    """What came of every task. Windows are made as tasks come, so only what they hold together counts."""
    told: list[Any] = [
        (o.task, o.status, sorted(map(repr, o.values)), None if o.error is None else _error(o.error))
        for o in sorted(result.outcomes, key=lambda o: o.task)
    ]
    mine = sum(len(o.values) for o in result.outcomes)
    others = result.values[mine:]
    for name in ("window", "whole"):
        of_it = [v for v in others if v[0] == name]
        told.append((name, sum(v[1] for v in of_it), sum(v[2] for v in of_it)))
    told.append(("counts", {name: (c.received, c.succeeded, c.failed, c.dropped) for name, c in result.counts.items()}))
    return [repr(line) for line in told]


def digest(told: list[str]) -> str:
    """That as a hash."""
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _error(error: BaseException) -> tuple[str, str]:
    causes = getattr(error, "causes", ())
    text = str(sorted(f"{type(c).__name__}: {c}" for c in causes)) if causes else str(error)
    return type(error).__name__, text


# -- what was on record, and what ran -----------------------------------------------------------------------


def recorded(where: str) -> set[tuple[str, Id]]:
    """The tasks whose end is on record, by node: read from the journal itself."""
    book = Book(journal_at(where))
    try:
        book.open(write=False)
    except df.JournalError as error:
        if "there is no journal" in str(error):
            return set()
        raise
    try:
        names = {node["id"]: name for name, node in book.graph.get("nodes", {}).items()}
        found: set[tuple[str, Id]] = set()
        for number in book.all_blocks():
            if number >= 0:
                for entry in book.block(number).entries():
                    found.update(_ends(book, names, entry))
        return found
    finally:
        book.close()


def _ends(book: Book, names: dict[int, str], entry: Any) -> Iterator[tuple[str, Id]]:
    kind = entry[0]
    if kind not in (END, SPLIT, FAIL) or entry[1] not in names:
        return
    tasks = list(tasks_in((entry[2],) if kind == FAIL else entry[2]))
    if kind == SPLIT and entry[4] is not None:
        tasks = [tasks[at] for at in entry[4]]
    for shape, prefix, number in tasks:
        numbers = iter((*prefix, number))
        id: list[Any] = [next(numbers)]
        for name, branch, _, _ in book.shapes.paths[shape][1]:
            if not branch:
                id.append((name.removeprefix("split "), next(numbers)))
            elif name == "copy":
                id.append((name, branch))
        yield names[entry[1]], tuple(id)


def executions(log: Path, since: int) -> list[tuple[str, Id]]:
    """What ran, from byte ``since`` of the side log on."""
    found = []
    with contextlib.suppress(FileNotFoundError), log.open("rb") as lines:
        lines.seek(since)
        for line in lines:
            node, _, id = line.decode().rstrip("\n").partition(" ")
            found.append((node, eval(id, {"__builtins__": {}})))  # noqa: S307 - our own side log
    return found


# -- killing -------------------------------------------------------------------------------------------------


class Trial:
    """Drivers of one journal, killed again and again, until one of them comes to the end."""

    def __init__(self, where: str, folder: Path, chance: random.Random, seconds: float) -> None:
        self.where, self.chance, self.seconds = where, chance, seconds
        self.log = folder / "log"
        self.kills = 0
        self.told: list[str] = []

    def run(self, most_kills: int) -> list[str]:
        """Kill up to ``most_kills`` drivers; what the one told that came to the end."""
        while True:
            backend = self.chance.choice(BACKENDS)
            known, since = recorded(self.where), self.log.stat().st_size if self.log.exists() else 0
            kill_at = self._moment() if self.kills < most_kills else None
            ended = self._drive(backend, kill_at)
            again = sorted(known.intersection(executions(self.log, since)), key=repr)
            if again:
                raise AssertionError(f"ran although its end was on record: {again[:5]} ({'; '.join(self.told[-5:])})")
            if ended is not None:
                return ended

    def _moment(self) -> float:
        """When to kill: mostly while tasks run, sometimes while the driver starts and goes on from before."""
        if self.chance.random() < 0.2:
            return self.chance.uniform(0.0, 0.4) * self.seconds
        return self.chance.uniform(0.2, 1.1) * self.seconds

    def _drive(self, backend: str, kill_at: float | None) -> list[str] | None:
        """One driver; what it told if it came to the end."""
        whole = self.chance.random() < 0.5
        command = [sys.executable, "-m", "dagflow.testing.crash", "--drive", self.where, "--backend", backend]
        driver = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, LOG: str(self.log)},
            start_new_session=True,
        )
        began = time.monotonic()
        try:
            out, err = driver.communicate(timeout=DRIVER_SECONDS if kill_at is None else kill_at)
        except subprocess.TimeoutExpired:
            if kill_at is None:
                os.killpg(driver.pid, signal.SIGABRT)
                driver.communicate()
                raise AssertionError(f"a driver ({backend}) did not end within {DRIVER_SECONDS} s") from None
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole else os.kill)(driver.pid, signal.SIGKILL)
            out, err = driver.communicate()
        if driver.returncode == 0:
            if kill_at is not None:  # it was quicker than thought: the next moments come earlier
                self.seconds = (self.seconds + time.monotonic() - began) / 2
            return out.decode().splitlines()
        if driver.returncode != -signal.SIGKILL:
            raise AssertionError(f"a driver ({backend}) ended with {driver.returncode}: {err.decode()[-2000:]}")
        self.kills += 1
        self.told.append(f"{backend} killed after {kill_at:.3f} s{' with its group' if whole else ''}")
        return None


def crash(
    kills: int,
    seed: int,
    journals: str | None = None,
    *,
    most_a_journal: int = 12,
    tell: Callable[[str], None] = lambda text: None,
) -> int:
    """Kill ``kills`` drivers; gives how many runs came to their end meanwhile. Raises `AssertionError` if one lies.

    ``journals``: where they are kept; a Redis address, to which a name is added, or None: files.
    """
    chance = random.Random(seed)
    expected = told_by(graph().run(range(TASKS), "serial"))
    done = runs = 0
    seconds = 1.0
    while done < kills:
        with tempfile.TemporaryDirectory(prefix="dagflow-crash-") as name:
            folder = Path(name)
            where = (
                str(folder / "j.db") if journals is None else f"{journals}?journal=crash-{seed}-{runs}-{os.getpid()}"
            )
            trial = Trial(where, folder, chance, seconds)
            if not runs:  # the first one undisturbed, to know how long it takes
                began = time.monotonic()
                found = trial.run(0)
                seconds = time.monotonic() - began
            else:
                found = trial.run(min(kills - done, 1 + chance.randrange(most_a_journal)))
            if digest(found) != digest(expected):
                wrong = [
                    f"{one} instead of {other}" for one, other in zip(found, expected, strict=False) if one != other
                ]
                raise AssertionError(f"seed {seed}, run {runs}, {'; '.join(trial.told) or 'no death'}: {wrong[:4]}")
            if runs:
                seconds = trial.seconds
            done += trial.kills
            runs += 1
            tell(f"{done} killed, {runs} runs ended")
    return runs


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dagflow.testing.crash", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how many drivers to kill (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="what decides when (default: 0)")
    parser.add_argument("--journal", help="a Redis address, redis://host:port/db (default: files)")
    parser.add_argument("--drive", metavar="WHERE", help=argparse.SUPPRESS)
    parser.add_argument("--backend", default="process", help=argparse.SUPPRESS)
    given = parser.parse_args()
    logger.disable("dagflow")  # so many tasks fail here on purpose
    if given.drive is not None:
        print("\n".join(told_by(graph().run(range(TASKS), given.backend, journal=given.drive))))
        return 0
    began = time.monotonic()
    runs = crash(given.kills, given.seed, given.journal, tell=lambda text: print(text, file=sys.stderr))
    took = time.monotonic() - began
    print(f"{given.kills} drivers killed (seed {given.seed}), {runs} runs ended as they should, {took:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
