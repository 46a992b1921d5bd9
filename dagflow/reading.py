"""Reading a journal without running anything: what became of its tasks, what failed, which runs there were.

A journal is read block by block, each checked as it is read; what is damaged raises `JournalError` instead of
being left out. Values are opened where they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dagflow.core.inbox import Counts
from dagflow.errors import JournalError
from dagflow.journal.book import Book
from dagflow.journal.entries import (
    ALOST,
    END,
    FAIL,
    HANDLED,
    LOST,
    MISS,
    PULLED,
    SPLIT,
    Entry,
    length_of,
    numbers_of,
    positions_of,
)
from dagflow.journal.parts import tasks_in
from dagflow.journal.places import BLOCK
from dagflow.journal.where import journal_at
from dagflow.result import Outcome, Status
from dagflow.work.codec import open_values
from dagflow.work.outcome import open_error, unpack_error
from dagflow.work.values import Sealed

if TYPE_CHECKING:
    from dagflow.journal.block import Block

_Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run on a journal: its number, how it ended, and when (seconds since the epoch; None: not known).

    ``state``: ``"finished"``, ``"cancelled"`` (stopped, or broken off because of a failure), ``"interrupted"``
    (its driver died, or is running while this is read).
    """

    number: int
    state: Literal["finished", "cancelled", "interrupted"]
    started: float
    ended: float | None


class FailureRecord:
    """A dead letter: a task that failed finally at ``node``, after ``attempts`` attempts, with ``error``.

    ``source`` is the source task that it came from (None where several), ``task`` what the node was given: a value,
    the list of a merge's members, or None where that was not kept.
    """

    __slots__ = ("attempts", "error", "node", "source", "task")

    def __init__(self, source: Any, task: Any, node: str, attempts: int, error: BaseException) -> None:
        self.source = source
        self.task = task
        self.node = node
        self.attempts = attempts
        self.error = error

    def __repr__(self) -> str:
        return f"FailureRecord(task={self.task!r}, node={self.node!r}, attempts={self.attempts}, error={self.error!r})"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a journal holds: source tasks known, those of them that have ended, and bytes by what they are for.

    ``file``: all that it takes, with what is free in it.
    """

    tasks: int
    ended: int
    sources: int
    results: int
    between: int
    records: int
    file: int


class JournalReader:
    """A journal opened for reading: ``with df.open_journal("crawl.db") as journal: ...``. Nothing is run or changed."""

    def __init__(self, where: Any) -> None:
        self._place = where
        self._book = Book(journal_at(where))
        self._opened = False
        self._read: _Reading | None = None

    def __enter__(self) -> JournalReader:
        self._open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it. What was read stays known; to read more, open it again."""
        if self._opened:
            self._opened = False
            self._book.close()

    def _open(self) -> None:
        if not self._opened:
            book = Book(journal_at(self._place))
            book.open(write=False)
            self._book, self._read, self._opened = book, None, True

    def _reading(self) -> _Reading:
        if self._read is None:
            if not self._opened:
                raise JournalError(f"the journal {self.where} was closed before it was read; open it again")
            self._read = _Reading(self._book)
        return self._read

    @property
    def where(self) -> str:
        """What it was called."""
        return self._book.where

    @property
    def runs(self) -> list[RunRecord]:
        """The runs on this journal, the first one first."""
        return [
            RunRecord(r["number"], "interrupted" if r["state"] == "running" else r["state"], r["started"], r["ended"])
            for r in self._book.runs
        ]

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of each source task that has ended, in the order in which they came first."""
        return self._reading().outcomes

    @property
    def unfinished(self) -> list[Any]:
        """The source tasks that have no end yet."""
        return self._reading().unfinished

    @property
    def values(self) -> list[Any]:
        """All results, flat: by source task, those that came from several source tasks last."""
        reading = self._reading()
        return [value for outcome in reading.outcomes for value in outcome.values] + reading.nobodys

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the tasks of each node, by name."""
        return self._reading().counts

    @property
    def failures(self) -> list[FailureRecord]:
        """The dead letters: tasks that failed finally and that no ``failures`` branch took up.

        In the order of their source tasks; those that came of several, last.
        """
        return self._reading().failures

    @property
    def kept(self) -> Kept:
        """What the journal holds."""
        return self._reading().kept

    def __repr__(self) -> str:
        return f"JournalReader({self.where!r})"


def open_journal(where: Any) -> JournalReader:
    """Open a journal for reading: a path, or ``redis://host:port/0``. Use it as a context manager.

    Raises:
        JournalError: there is none, a driver has it open, or it is damaged.
    """
    reader = JournalReader(where)
    reader._open()
    return reader


class _Reading:
    """All of a journal, read once."""

    def __init__(self, book: Book) -> None:
        self.book = book
        graph = book.graph
        nodes = graph.get("nodes", {})
        self.names = {node["id"]: name for name, node in nodes.items()}
        self.about = nodes
        self.counts = {name: Counts() for name in graph.get("order", nodes)}
        self.outcomes: list[Outcome] = []
        self.unfinished: list[Any] = []
        self._dead: list[tuple[tuple[bool, _Key, int], FailureRecord]] = []
        self.nobodys: list[Any] = []
        self._bytes = {"sources": 0, "results": 0, "between": 0, "records": 0}
        self._weighed: set[int] = set()
        self._aggregate_errors: dict[int, BaseException] = {}
        blocks = list(book.all_blocks())
        nobodys: list[tuple[_Key, Any]] = []
        for number in blocks:
            if number < 0:
                self._aggregates(self._block(number), nobodys)
        for number in blocks:
            if number >= 0:
                self._sources(self._block(number))
        self.nobodys = [value for _, value in sorted(nobodys, key=_first)]
        self.failures = [failure for _, failure in sorted(self._dead, key=_first)]
        self.kept = Kept(book.sources, len(self.outcomes), **self._bytes, file=book.room.size())

    def _block(self, number: int) -> Block:
        block = self.book.block(number)
        if block.damaged:
            self._refuse("some of what was recorded is damaged")
        return block

    def _refuse(self, what: str) -> None:
        raise JournalError(
            f"the journal {self.book.where} is damaged: {what}; run the graph on it again to have that worked out anew"
        )

    def _open(self, data: Any) -> list[Any]:
        """The values that ``data`` stands for."""
        sealed = self.book.data(data)
        if sealed is None:
            self._refuse("values that it should hold are gone or altered")
        assert sealed is not None
        return open_values(Sealed(sealed, 0))

    # -- entries --------------------------------------------------------------------------------------

    def _count(self, entry: Entry) -> None:
        kind, name = entry[0], self.names.get(entry[1])
        if name is None:
            return
        counts = self.counts[name]
        if kind == END:
            self._count_end(entry, counts, self.about[name]["drops"])
        elif kind == SPLIT:
            ended = length_of(entry[2]) if entry[4] is None else len(entry[4])
            odd = entry[5] or {}
            counts.succeeded += ended - len(odd.get("d", ()))
            counts.dropped += len(odd.get("d", ()))
            counts.retried += odd.get("a", 0) * ended
        elif kind in (FAIL, MISS):
            counts.failed += entry[5]
            counts.retried += entry[4] - 1
        counts.received = counts.succeeded + counts.failed + counts.dropped

    def _count_end(self, entry: Entry, counts: Counts, drops: list[int]) -> None:
        odd = entry[4] or {}
        members = odd.get("m")
        dropped = {*odd.get("d", ()), *odd.get("u", ()), *self._drops(entry, drops)}
        for position in range(length_of(entry[2])):
            number = members[position] if members is not None else 1
            if position in dropped:
                counts.dropped += number
            else:
                counts.succeeded += number
        counts.duplicates += len(odd.get("u", ()))
        counts.retried += odd.get("a", 0) * length_of(entry[2])

    def _drops(self, entry: Entry, drops: list[int]) -> Iterator[int]:
        """Positions that a Router sent where tasks are dropped, and nowhere else."""
        copies = (entry[4] or {}).get("c", {})
        for out in entry[3]:
            if out[0] in drops:
                yield from (p for p in positions_of(out) if p not in copies)

    def _weigh(self, entry: Entry) -> None:
        if entry[0] == PULLED:
            self._bytes["sources"] += _size(entry[3])
        elif entry[0] in (END, SPLIT):
            exits = self.about.get(self.names.get(entry[1], ""), {}).get("exits", ())
            for out in entry[3]:
                self._bytes["results" if out[0] in exits else "between"] += self._weight(out[3])
        self._bytes["records"] += 1

    def _weight(self, data: Any) -> int:
        """How many bytes values take; of those that several entries share, nothing but the first time."""
        if isinstance(data, tuple):
            if data[0] in self._weighed or self.book.emptied(data[0]):
                return 0
            self._weighed.add(data[0])
        return _size(data) if data is not None else 0

    def _given(self, entry: Entry) -> Iterator[tuple[_Key, Any]]:
        """The results that an entry tells of, each with its sort key."""
        name = self.names.get(entry[1])
        if name is None or entry[0] not in (END, SPLIT):
            return
        about = self.about[name]
        tasks = [(s, (*p, n)) for s, p, n in tasks_in(entry[2])]
        for out in entry[3]:
            port, low, count, data, where = out
            if port not in about["exits"]:
                continue
            values = self._open(data)[low : low + count]
            if entry[0] == END:
                for value, at in zip(values, positions_of(out), strict=True):
                    yield self.book.shapes.lineage(*tasks[at]), value
            else:
                at = 0
                for position, first, number in where:
                    key = self.book.shapes.lineage(*tasks[position])
                    for child, value in enumerate(values[at : at + number], first):
                        yield (*key, about["frame"], child), value
                    at += number

    def _failure(self, entry: Entry, sources: dict[int, Any] | None) -> tuple[tuple[bool, _Key, int], FailureRecord]:
        """A dead letter, and where it stands: by its lineage, those that came of several source tasks last."""
        _, node, seg, error, attempts, _, inputs, _ = entry
        root = seg[1][0] if seg[1] else numbers_of(seg)[0]
        source = sources.get(root) if sources is not None else None
        values: list[Any] = []
        for data, low, high in inputs:
            if data is None:
                values.append(source)
            elif (sealed := self.book.data(data)) is not None:
                values.extend(open_values(Sealed(sealed, 0))[low:high])
        merged = self.about[self.names[node]]["print"]["kind"] == "merge"
        task = values if merged else values[0] if values else None
        place = (sources is None, self.book.shapes.lineage(seg[0], (*seg[1], numbers_of(seg)[0])), node)
        return place, FailureRecord(source, task, self.names[node], attempts, open_error(unpack_error(error)))

    # -- blocks ---------------------------------------------------------------------------------------

    def _aggregates(self, block: Block, nobodys: list[tuple[_Key, Any]]) -> None:
        for entry in block.entries():
            self._weigh(entry)
            self._count(entry)
            nobodys.extend(self._given(entry))
            if entry[0] == ALOST and entry[1] in self.names:
                error = open_error(unpack_error(entry[2]))
                for start, stop in entry[3]:
                    for root in range(start, stop):
                        self._aggregate_errors.setdefault(root, error)
            if entry[0] == FAIL and entry[1] in self.names and not entry[-1] & HANDLED:
                self._dead.append(self._failure(entry, None))

    def _sources(self, block: Block) -> None:
        values: dict[int, list[tuple[_Key, Any]]] = {}
        lost: dict[int, list[tuple[_Key, Any]]] = {}
        dropped: set[int] = set()
        sources: dict[int, Any] = {}
        for entry in block.entries():
            self._weigh(entry)
            kind = entry[0]
            if kind == PULLED:
                sources.update(enumerate(self._open(entry[3]), entry[1]))
            elif kind in (END, SPLIT, FAIL, MISS) and entry[1] in self.names:
                self._count(entry)
                for key, value in self._given(entry):
                    values.setdefault(key[0], []).append((key, value))
                if kind in (FAIL, MISS):
                    if entry[-1] & LOST:
                        seg = entry[2]
                        key = self.book.shapes.lineage(seg[0], (*seg[1], numbers_of(seg)[0]))
                        lost.setdefault(key[0], []).append((key, entry[3]))
                else:
                    dropped.update(self._dropped_roots(entry))
        count = min(BLOCK, self.book.known - block.first)
        if len(sources) != count:
            self._refuse("some source tasks are gone")
        for entry in block.entries():
            if entry[0] == FAIL and entry[1] in self.names and not entry[-1] & HANDLED:
                self._dead.append(self._failure(entry, sources))
        for root in range(block.first, block.first + count):
            if not block.ended >> (root - block.first) & 1:
                self.unfinished.append(sources[root])
                continue
            self.outcomes.append(self._outcome(root, sources[root], values.get(root, []), lost.get(root), dropped))

    def _dropped_roots(self, entry: Entry) -> Iterator[int]:
        odd = (entry[4] if entry[0] == END else entry[5]) or {}
        drops = self.about[self.names[entry[1]]]["drops"]
        positions = {*odd.get("d", ()), *odd.get("u", ())}
        if entry[0] == END and drops:
            positions.update(self._drops(entry, drops))
        if positions:
            for at, (_, prefix, number) in enumerate(tasks_in(entry[2])):
                if at in positions:
                    yield prefix[0] if prefix else number

    def _outcome(
        self,
        root: int,
        task: Any,
        found: list[tuple[_Key, Any]],
        lost: list[tuple[_Key, Any]] | None,
        dropped: set[int],
    ) -> Outcome:
        found.sort(key=_first)
        values = [value for _, value in found]
        status: Status = "done"
        error: BaseException | None = None
        if lost:
            status, error = "failed", open_error(unpack_error(min(lost, key=_first)[1]))
        elif root in self._aggregate_errors:
            status, error = "failed", self._aggregate_errors[root]
        elif not values and root in dropped:
            status = "dropped"
        return Outcome(task, status, values, error, f"{root:x}")


def _first(item: tuple[Any, Any]) -> Any:
    return item[0]


def _size(data: Any) -> int:
    return len(data) if isinstance(data, bytes) else int(data[1])
