"""What the nodes of the chaos graph do: deterministic functions of their task. Workers import this, so it is light.

Every execution leaves a byte in the file of its node, so that executions can be counted from outside, whoever died.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

PLACE = "DAGFLOW_CHAOS_PLACE"
"""Environment variable: the folder of the files that executions are counted in."""
DRIVER = "DAGFLOW_CHAOS_DRIVER"
"""Environment variable: the number of the driver's process, which a poison task must not kill."""

_files: dict[str, tuple[int, int]] = {}


class Poisoned(Exception):
    """What a poison task raises where it cannot kill: in the driver, in the serial run."""


class Refused(Exception):
    """An ordinary failure."""


def count(node: str, times: int = 1) -> None:
    """One more execution of a node's function, for so many tasks."""
    pid, fd = _files.get(node, (0, -1))
    if pid != os.getpid():
        fd = os.open(os.path.join(os.environ[PLACE], node), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        _files[node] = os.getpid(), fd
    os.write(fd, b"." * times)


def close_files() -> None:
    """Close this process's files; the next execution opens others."""
    for pid, fd in _files.values():
        if pid == os.getpid():
            os.close(fd)
    _files.clear()


def in_worker() -> bool:
    """Whether this is a worker process, and not the serial run in the driver."""
    return os.environ.get(DRIVER) != str(os.getpid())


def pause(seconds: float) -> None:
    """What keeps a worker busy, so that it can be killed at it; in peace it would be lost time."""
    if in_worker():
        time.sleep(seconds)


def mixed(value: Any) -> int:
    """A number that depends on all of a value."""
    if isinstance(value, int):
        return value * 2654435761 % 1_000_003
    total = 17
    for part in value:
        total = (total * 31 + mixed(part)) % 1_000_003
    return total


def key(x: int) -> tuple[str, int]:
    """A deduplication key: no two tasks have the same."""
    count("key")
    return "task", x


def take(x: int) -> int:
    """The first node: now and then it is slow."""
    count("take")
    pause(0.02 if x % 101 == 7 else 0.0005)
    return x


def kind(x: int) -> list[str]:
    """Where a task goes: to one branch, to two, or to none."""
    count("kind")
    return [["few"], ["many"], ["few", "many"], ["plain"], []][x % 5]


def few(x: int) -> list[int]:
    """None to three children, at once."""
    count("few")
    return [mixed((x, number)) for number in range(x % 4)]


def many(x: int) -> Iterator[int]:
    """Up to twelve children, one after the other; some splits fail on the way."""
    count("many")
    for number in range(x % 13):
        if x % 97 == 5 and number == 3:
            raise Refused(f"{x} gives no more than {number} children")
        yield mixed((number, x))


def work(x: int) -> int:
    """A millisecond of work; a few tasks are refused, a few are poison."""
    count("work")
    pause(0.02 if x % 97 == 0 else 0.001)
    if x % 499 == 3:
        raise Refused(f"{x} is refused")
    if x % 1499 == 11:
        if in_worker():
            os._exit(9)
        raise Poisoned(f"{x} is poison")
    return mixed((x, 119))


def unsteady(x: int) -> int:
    """Some tasks fail with what is retried, each time."""
    count("unsteady")
    pause(0.002)
    if x % 61 == 2:
        raise ConnectionError(f"{x} cannot be reached")
    return x + 1


def handled(failure: Any) -> int:
    """What is made of a failure."""
    count("handled")
    return mixed((failure.task, failure.attempts))


def batched(tasks: list[int]) -> list[int]:
    """A function of lists."""
    count("batched", len(tasks))
    return [x + 3 for x in tasks]


async def later(x: int) -> int:
    """A coroutine that waits a little."""
    count("later")
    if in_worker():
        await asyncio.sleep(0.001 * (x % 3))
    return mixed(x)


class Model:
    """A class as a function; making an instance takes a while."""

    def __init__(self) -> None:
        pause(0.005)

    def __call__(self, x: int) -> int:
        """A number."""
        count("model")
        return mixed((x, 5))

    def close(self) -> None:
        """Nothing to close."""


def merged(members: list[int]) -> int:
    """All members, in order."""
    count("merged")
    pause(0.001)
    return mixed(members)


def add(total: int, x: int) -> int:
    """A fold."""
    count("add")
    return (total + x) % 1_000_003


def plain(value: Any) -> int:
    """A number."""
    count("plain")
    return mixed(value)


def same(value: Any) -> Any:
    """The task itself."""
    count("same")
    return value


def size(members: list[Any]) -> int:
    """How many."""
    count("size")
    return len(members)
