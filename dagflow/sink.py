"""Where a stream's outputs wait for the user: bounded by the scheduler, opened in the user's own thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from dagflow.core.commands import AggregateLost, Fact, Lost, Output, RootsEnded
from dagflow.core.record import record
from dagflow.result import Source
from dagflow.work.codec import read_values
from dagflow.work.outcome import open_error

if TYPE_CHECKING:
    from dagflow.core.payload import ErrorRecord
    from dagflow.graph.plan import Plan


ENTRIES_MOST: Final = 256
"""So many entries are handed over at a time, so that the ring hears of what was taken once for all of them."""
BYTES_MOST: Final = 1 << 20
"""Nor more of them than weigh so much: what is opened ahead lies in memory twice until the user comes to it."""
OPENED_MOST: Final = 16
"""So many payloads that were opened, and not yet given to their last value, are kept open."""


class StreamItem:
    """One output of a run, or one final failure (``error`` set). ``task`` is None where it came from several."""

    __slots__ = ("error", "node", "task", "trace_id", "value")

    def __init__(self, task: Any, value: Any, error: BaseException | None, node: str, trace_id: str) -> None:
        self.task = task
        self.value = value
        self.error = error
        self.node = node
        self.trace_id = trace_id

    def __repr__(self) -> str:
        what = f"error={self.error!r}" if self.error is not None else f"value={self.value!r}"
        return f"StreamItem(task={self.task!r}, {what}, node={self.node!r})"


@record
class _Values:
    """Values on their way to the user: ``low`` .. of a payload, and the source tasks (and numbers) they came from."""

    node: int
    payload: Any
    low: int
    roots: Sequence[int | None]
    tasks: Sequence[Any]


@record
class _Error:
    """A final failure on its way to the user."""

    node: int
    record: ErrorRecord
    root: int | None
    task: Any


class _Opened:
    """A payload and what it held, of which ``left`` values have not been given yet."""

    __slots__ = ("bad", "left", "payload", "values")

    def __init__(self, payload: Any) -> None:
        self.payload = payload
        self.values, self.bad = read_values(payload)
        self.left = len(self.values)


class Sink:
    """Takes facts in from the ring, gives `StreamItem`s to the user in their thread, ordered if asked."""

    def __init__(self, plan: Plan, source: Source, *, ordered: bool) -> None:
        self.plan, self.source, self.ordered = plan, source, ordered
        self._lock = threading.Lock()
        self._there = threading.Condition(self._lock)
        self._ready: deque[_Values | _Error] = deque()
        self._held: dict[int, list[tuple[tuple[int, ...], _Values | _Error]]] = {}
        self._next_root = 0
        self._ended_roots: set[int] = set()
        self._over = False
        self._payloads: dict[int, _Opened] = {}
        self.listener: Callable[[], None] | None = None

    # -- the ring's side ------------------------------------------------------------------------------

    def take(self, facts: Sequence[Fact]) -> None:
        """Take in what was decided."""
        ready: list[_Values | _Error] = []
        for fact in facts:
            match fact:
                case Output():
                    (self._hold_values if self.ordered else self._pass_values)(fact, ready)
                case Lost():
                    root = fact.space.root_index(fact.index)
                    error = _Error(fact.node, fact.error, root, self.source[root])
                    if self.ordered:
                        self._held.setdefault(root, []).append((fact.space.lineage(fact.index), error))
                    else:
                        ready.append(error)
                case AggregateLost():
                    ready.append(_Error(fact.node, fact.error, None, None))
                case RootsEnded():
                    self._roots_ended(fact.indices, ready)
        if ready:
            with self._lock:
                self._ready.extend(ready)
                self._there.notify_all()
            if self.listener is not None:
                self.listener()

    def _pass_values(self, fact: Output, ready: list[_Values | _Error]) -> None:
        source, low = self.source, fact.low
        for space, indices in fact.segments:
            count = len(indices)
            if space.aggregate:
                ready.append(_Values(fact.node, fact.payload, low, [None] * count, [None] * count))
            else:
                roots = space.root_indices(indices)
                roots = roots if len(roots) == count else [roots[0]] * count
                ready.append(_Values(fact.node, fact.payload, low, roots, [source[r] for r in roots]))
            low += count

    def _hold_values(self, fact: Output, ready: list[_Values | _Error]) -> None:
        low = fact.low
        for space, indices in fact.segments:
            for at, index in enumerate(indices, low):
                if space.aggregate:
                    ready.append(_Values(fact.node, fact.payload, at, (None,), (None,)))
                    continue
                key = space.lineage(index)
                root = key[0]
                values = _Values(fact.node, fact.payload, at, (root,), (self.source[root],))
                self._held.setdefault(root, []).append((key, values))
            low += len(indices)

    def _roots_ended(self, indices: Sequence[int], ready: list[_Values | _Error]) -> None:
        ended = self._ended_roots
        ended.update(indices)
        while self._next_root in ended:
            ended.discard(self._next_root)
            held = self._held.pop(self._next_root, None)
            if held is not None:
                if len(held) > 1:
                    held.sort(key=_key)
                ready.extend(entry for _, entry in held)
            self._next_root += 1
        self.source.forget_before(self._next_root)

    def has_ended(self, root: int) -> bool:
        """Whether all that came from a source task has ended; from any thread."""
        return root < self._next_root or root in self._ended_roots

    def end(self) -> None:
        """Nothing more will come; what is held back goes out."""
        with self._lock:
            for root in sorted(self._held):
                self._ready.extend(entry for _, entry in sorted(self._held[root], key=_key))
            self._held.clear()
            self._over = True
            self._there.notify_all()
        if self.listener is not None:
            self.listener()

    # -- the user's side ------------------------------------------------------------------------------

    def get(self, *, wait: bool = True) -> tuple[list[StreamItem], bool]:
        """The next items (opened here), and whether more may come."""
        with self._lock:
            while wait and not self._ready and not self._over:
                self._there.wait()
            if not self._ready:
                return [], not self._over
            entries = self._taken()
        return [item for entry in entries for item in self._opened(entry)], True

    def _taken(self) -> list[_Values | _Error]:
        """The entries that are handed over together: at least one."""
        entries: list[_Values | _Error] = []
        weight = 0
        while self._ready and len(entries) < ENTRIES_MOST and weight < BYTES_MOST:
            entry = self._ready.popleft()
            entries.append(entry)
            if isinstance(entry, _Values):
                weight += entry.payload.size * len(entry.roots) // entry.payload.count
        return entries

    def _open(self, payload: Any) -> _Opened:
        # Ordering takes payloads apart, so neighbours often lie in one: each is opened once, not once a value.
        found = self._payloads.get(id(payload))
        if found is None:
            while len(self._payloads) >= OPENED_MOST:
                del self._payloads[next(iter(self._payloads))]
            found = self._payloads[id(payload)] = _Opened(payload)
        return found

    def _opened(self, entry: _Values | _Error) -> Iterator[StreamItem]:
        """The items of an entry, their values opened."""
        node = self.plan.nodes[entry.node].name
        if isinstance(entry, _Error):
            yield StreamItem(entry.task, None, open_error(entry.record), node, _trace_id(entry.root))
            return
        opened = self._open(entry.payload)
        for at, (root, task) in enumerate(zip(entry.roots, entry.tasks, strict=True), entry.low):
            yield StreamItem(task, opened.values[at], opened.bad.get(at), node, _trace_id(root))
        opened.left -= len(entry.roots)
        if opened.left <= 0:
            # Large values are the user's alone now, and their segment is free.
            self._payloads.pop(id(entry.payload), None)


def _trace_id(root: int | None) -> str:
    return "" if root is None else f"{root:x}"


def _key(item: tuple[tuple[int, ...], Any]) -> tuple[int, ...]:
    return item[0]
