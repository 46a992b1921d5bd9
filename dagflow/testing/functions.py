"""The functions that the conformance suites put into nodes; worker processes import them."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

from dagflow.graph.task_manager import TaskManager
from dagflow.testing.witnesses import Log


def increment(x: int) -> int:
    """``x + 1``."""
    return x + 1


def double(x: int) -> int:
    """``2 * x``."""
    return 2 * x


def negate(x: int) -> int:
    """``-x``."""
    return -x


def identity(x: Any) -> Any:
    """What it is given."""
    return x


def parity(x: int) -> str:
    """``"even"`` or ``"odd"``."""
    return "odd" if x % 2 else "even"


def three(x: int) -> Iterator[int]:
    """Three children, one after the other."""
    yield from (10 * x, 10 * x + 1, 10 * x + 2)


def pair(x: int) -> list[int]:
    """Two children."""
    return [x, -x]


def together(left: Any, right: Any) -> tuple[Any, Any]:
    """Both branches of a diamond."""
    return left, right


def add(total: int, x: int) -> int:
    """``total + x``."""
    return total + x


def total(members: list[int]) -> int:
    """The sum of members of which the first is no less than 20."""
    if members[0] < 20:
        raise ValueError(f"{members[0]} is low")
    return sum(members)


def fail_odd(x: int) -> int:
    """Even numbers pass."""
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


async def later(x: int) -> int:
    """``x + 1``, after a turn of the loop."""
    await asyncio.sleep(0)
    return x + 1


def take_long(x: Any) -> Any:
    """Longer than the time-out that the tests give; 0 and [0] are quick."""
    if x not in (0, [0]):
        time.sleep(0.3)
    return x


def take_long_to_split(x: int) -> list[int]:
    """`take_long`, as a split."""
    return [take_long(x)]


async def take_long_async(x: Any) -> Any:
    """`take_long`, in a loop."""
    if x != 0:
        await asyncio.sleep(30)
    return x


def take_long_lists(tasks: list[int]) -> list[int]:
    """Lists with a 1 in them take long."""
    if 1 in tasks:
        time.sleep(0.8)
    return tasks


async def take_long_lists_async(tasks: list[int]) -> list[int]:
    """The same as a coroutine."""
    if 1 in tasks:
        await asyncio.sleep(30)
    return tasks


def take_long_children(x: int) -> Iterator[int]:
    """The second child of 1 takes long."""
    yield x
    if x == 1:
        time.sleep(0.8)
    yield x


async def take_long_children_async(x: int) -> AsyncIterator[int]:
    """The same as an async generator."""
    yield x
    if x == 1:
        await asyncio.sleep(30)
    yield x


def take_long_merging(members: list[int]) -> int:
    """Members with a 1 among them take long."""
    if 1 in members:
        time.sleep(0.8)
    return sum(members)


async def take_long_merging_async(members: list[int]) -> int:
    """The same as a coroutine."""
    if 1 in members:
        await asyncio.sleep(30)
    return sum(members)


def slowly(x: int) -> int:
    """It takes four milliseconds."""
    time.sleep(0.004)
    return x


def hundred(x: int) -> Iterator[int]:
    """A hundred children."""
    yield from range(100)


_BARRIERS: dict[object, threading.Barrier] = {}
_ASYNC_BARRIERS: dict[object, asyncio.Barrier] = {}


def meet(what: str) -> None:
    """Wait for another thread of this process that is at the same place."""
    _BARRIERS.setdefault(what, threading.Barrier(2)).wait(10)


async def meet_async(what: str) -> None:
    """Wait for another coroutine of this loop that is at the same place."""
    key = what, id(asyncio.get_running_loop())
    async with asyncio.timeout(10):
        await _ASYNC_BARRIERS.setdefault(key, asyncio.Barrier(2)).wait()


def meet_in_lists(tasks: list[int]) -> list[int]:
    """A function of lists, of which two must run at once."""
    meet("lists")
    return tasks


async def meet_in_lists_async(tasks: list[int]) -> list[int]:
    """The same as a coroutine."""
    await meet_async("lists")
    return tasks


def meet_in_children(x: int) -> Iterator[int]:
    """A Splitter's function, of which two must run at once."""
    yield x
    meet("children")
    yield x


async def meet_in_children_async(x: int) -> AsyncIterator[int]:
    """The same as an async generator."""
    yield x
    await meet_async("children")
    yield x


def meet_in_merges(members: list[int]) -> int:
    """A Merger's function, of which two must run at once."""
    meet("merges")
    return sum(members)


async def meet_in_merges_async(members: list[int]) -> int:
    """The same as a coroutine."""
    await meet_async("merges")
    return sum(members)


class Wanting(Exception):
    """An exception whose constructor wants other arguments than it passes on."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code
        self.where = where


class Slotted(Exception):
    """An exception that keeps an attribute in a slot."""

    __slots__ = ("depth",)


def raise_by_name(kind: str) -> None:
    """Raise one of many kinds of exceptions."""
    if kind == "wanting":
        try:
            dict[str, int]()["missing"]
        except KeyError as cause:
            error = Wanting(7, where="here")
            error.__dict__["extra"] = [1, 2]
            error.add_note("a note of mine")
            raise error from cause
    if kind == "file":
        Path("/nowhere/at all").read_text()
    if kind == "unicode":
        b"\xff".decode("utf-8")
    if kind == "import":
        __import__("no_such_module_anywhere")
    if kind == "syntax":
        compile("a b", "cell", "exec")
    if kind == "exit":
        raise SystemExit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "generator exit":
        raise GeneratorExit
    if kind == "stop":
        raise StopIteration(5)
    if kind == "group":
        raise ExceptionGroup("two", [ValueError(1), Wanting(2, where="inside")])
    if kind == "slot":
        slotted = Slotted("in a slot")
        slotted.depth = 4  # type: ignore[attr-defined]
        raise slotted
    if kind == "lock":
        error_with_lock = ValueError("holds a lock")
        error_with_lock.__dict__["lock"] = threading.Lock()
        raise error_with_lock


class Unreadable:
    """Pickles well, and cannot be read again: ``how`` is ``"raise"`` or ``"exit"``."""

    def __init__(self, how: str = "raise") -> None:
        self.how = how

    def __deepcopy__(self, memo: Any) -> Unreadable:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _unreadable, (self.how,)


def _unreadable(how: str) -> Any:
    if how == "exit":
        raise SystemExit(4)
    raise ValueError("cannot be read")


@dataclasses.dataclass(eq=True)
class Point:
    """A value of a user's class."""

    x: int
    y: list[int]


class Model:
    """A class as a function: one instance a worker, closed at the end."""

    log: ClassVar[Log]

    def __init__(self) -> None:
        self.log.add("made")

    def __call__(self, x: int) -> int:
        """``x + 1``."""
        return x + 1

    def close(self) -> None:
        """Say so."""
        self.log.add("closed")


class Halved(TaskManager[Any, Any]):
    """Arguments and results by overridden methods."""

    def get_args(self, task: Any) -> tuple[Any, ...]:
        """The task's half."""
        return (task // 2,)

    def process_result(self, task: Any, result: Any) -> Any:
        """The task beside its result."""
        return (task, result)
