"""A driver dies after each write in turn: the next run ends as if it had not, also where values cannot be kept."""

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


def odd_fails(members):
    if sum(members) % 2:
        raise ValueError(f"{members} is odd")
    return members


def odd_fold_fails(total):
    return odd_fails([total])


def members_of(failure):
    return "failed", failure.task


def repeated(n):
    return [n, n, n + 100]


def task(function, name):
    return df.TaskManager(function, "thread", name=name)


def failing(merger):
    handler = df.TaskManager(members_of, name="handler")
    return (task(more, "a") >> merger) | (merger.failures >> handler)


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
    "a window": lambda: task(more, "a") >> df.Merger(held_sum, size=2, name="h") >> task(freed, "f"),
    "a folded window": lambda: (
        task(more, "a") >> df.Merger(Held, fold=(plus, 0), size=2, name="h") >> task(freed, "f")
    ),
    "windows in windows": lambda: (
        task(more, "a") >> df.Merger(held_sum, size=2, name="h") >> task(freed, "f")
        >> df.Merger(sorted, size=3, name="w")
    ),
    "of a window": lambda: (
        task(more, "a") >> df.Merger(sum, size=2, name="w") >> task(held, "h") >> task(freed, "f")
    ),
    "a window that fails": lambda: failing(df.Merger(odd_fails, size=3, name="w", max_retries=0)),
    "a fold of a window that fails": lambda: failing(
        df.Merger(odd_fold_fails, fold=(plus, 0), size=3, name="w", max_retries=0)
    ),
    "duplicates": lambda: (
        df.Splitter(repeated, name="s") >> df.TaskManager(more, deduplicate=True, name="d") >> df.Merger(list, name="m")
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("size", ["large", "small"])
def test_the_next_run_ends_as_if_it_had_not_died(kind, size, monkeypatch):
    """What made a value that was not kept has all that it was given; no member of a window is lost."""
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
        assert result.counts == expected.counts
        assert [o.status for o in result.outcomes] == [o.status for o in expected.outcomes]
    assert writes > 10


@pytest.mark.parametrize("size", ["large", "small"])
def test_what_can_be_kept_since_a_change_is_tidied_with_the_rest(size, monkeypatch):
    """Of merges that all gave what could not be kept there is nothing in the journal, not even of no task."""
    if size == "small":
        small_blocks(monkeypatch, inline=0)

    def graph(function):
        first, second = df.Splitter(three, name="s"), df.Splitter(three, name="t")
        return first >> second >> df.Merger(function, name="h") >> df.Merger(len, name="m")

    journal = MemoryJournal()
    assert graph(held_sum).run(range(8), "serial", journal=journal).values == [3] * 8
    for _ in range(2):
        result = graph(sum).run(range(8), "serial", journal=journal, resume="compatible")
        assert result.values == [3] * 8
    assert result.reused == 8
