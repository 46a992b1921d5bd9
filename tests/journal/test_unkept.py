"""Values that a journal cannot keep: what made them is done again, with what it was given then, wherever a driver dies."""

from __future__ import annotations

import threading

import pytest
from journal_made import small_blocks

import dagflow as df
from dagflow.journal.memory import MemoryJournal


class Killed(BaseException):
    """The driver's death, right after something has been kept."""


class Mortal(MemoryJournal):
    """A journal whose driver dies after ``left`` writes (0: never)."""

    def __init__(self, left):
        super().__init__()
        self.left = left

    def write(self, turn):
        super().write(turn)
        self.left -= 1
        if not self.left:
            raise Killed


class Held:
    """A value that cannot be pickled."""

    def __init__(self, value):
        self.value, self.lock = value, threading.Lock()


def more(n):
    return n + 1


def held(n):
    return Held(n)


def two_held(n):
    yield Held(n)
    yield Held(n + 1)


def held_sum(members):
    return Held(sum(members))


def three(n):
    return [n, n + 1, n + 2]


def plus(total, n):
    return total + n


def freed(value):
    return value.value


def task(function, name):
    return df.TaskManager(function, "thread", name=name)


GRAPHS = {
    "a result": lambda: task(more, "a") >> task(held, "h") >> task(freed, "f"),
    "children": lambda: task(more, "a") >> df.Splitter(two_held, "thread", name="h") >> task(freed, "f"),
    "a merge": lambda: (
        df.Splitter(three, name="s") >> task(more, "a") >> df.Merger(held_sum, name="h") >> task(freed, "f")
    ),
    "a fold": lambda: (
        df.Splitter(three, name="s") >> task(more, "a") >> df.Merger(Held, fold=(plus, 0), name="h") >> task(freed, "f")
    ),
    "the whole run": lambda: task(more, "a") >> df.Merger(held_sum, of="run", name="h") >> task(freed, "f"),
    "of a window": lambda: (
        task(more, "a") >> df.Merger(sum, size=2, name="w") >> task(held, "h") >> task(freed, "f")
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("size", ["large", "small"])
def test_what_made_them_has_what_it_needs_wherever_the_driver_dies(kind, size, monkeypatch):
    """After each write of a run the driver dies; the next one ends as if it had not."""
    if size == "small":
        small_blocks(monkeypatch, inline=0)
    graph = df.Graph(GRAPHS[kind]())
    expected = graph.run(range(5), "serial")
    writes, died = 0, True
    while died:
        writes += 1
        journal = Mortal(writes)
        try:
            graph.run(range(5), "serial", journal=journal)
            died = False
        except Killed:
            journal.abandon()
        journal.left = 0  # from here on it lives
        result = graph.run(range(5), "serial", journal=journal)
        assert result.values == expected.values, f"died after {writes} writes"
        assert [o.status for o in result.outcomes] == ["done"] * 5
    assert writes > 10
