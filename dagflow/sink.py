"""Where a stream's outputs wait for the user: bounded by the scheduler, opened in the user's own thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dagflow.core.commands import AggregateLost, Fact, Lost, Output, RootsEnded
from dagflow.result import Source
from dagflow.work.codec import open_values
from dagflow.work.outcome import open_error

if TYPE_CHECKING:
    from dagflow.core.envelope import ErrorRecord
    from dagflow.graph.plan import Plan


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


class Sink:
    """Takes facts in from the ring, gives `StreamItem`s to the user in their thread, ordered if asked."""

    def __init__(self, plan: Plan, source: Source, *, ordered: bool) -> None:
        self.plan, self.source, self.ordered = plan, source, ordered
        self._lock = threading.Lock()
        self._there = threading.Condition(self._lock)
        self._ready: deque[tuple[Output | ErrorRecord, str, list[Any], list[str]]] = deque()
        self._held: dict[int, list[tuple[tuple[int, ...], Any]]] = {}
        self._next_root = 0
        self._ended_roots: set[int] = set()
        self._over = False
        self._payloads: dict[int, tuple[Any, list[Any]]] = {}
        self.listener: Callable[[], None] | None = None

    # -- the ring's side ------------------------------------------------------------------------------

    def take(self, facts: Sequence[Fact]) -> None:
        """Take in what was decided."""
        ready: list[Any] = []
        for fact in facts:
            match fact:
                case Output():
                    self._output(fact, ready)
                case Lost():
                    root = fact.space.root_index(fact.index)
                    entry = (fact.error, self.plan.nodes[fact.node].name, [self.source[root]], [f"{root:x}"])
                    self._put(root, fact.space.lineage(fact.index), entry, ready)
                case AggregateLost():
                    ready.append((fact.error, self.plan.nodes[fact.node].name, [None], [""]))
                case RootsEnded():
                    self._roots_ended(fact.indices, ready)
        if ready:
            with self._lock:
                self._ready.extend(ready)
                self._there.notify_all()
            if self.listener is not None:
                self.listener()

    def _put(self, root: int, key: tuple[int, ...], entry: Any, ready: list[Any]) -> None:
        if self.ordered:
            self._held.setdefault(root, []).append((key, entry))
        else:
            ready.append(entry)

    def _output(self, fact: Output, ready: list[Any]) -> None:
        node = self.plan.nodes[fact.node].name
        if not self.ordered:
            tasks: list[Any] = []
            ids: list[str] = []
            for space, indices in fact.segments:
                if space.aggregate:
                    tasks.extend([None] * len(indices))
                    ids.extend([""] * len(indices))
                    continue
                roots = space.root_indices(indices)
                roots = roots if len(roots) == len(indices) else [roots[0]] * len(indices)
                tasks.extend(self.source[r] for r in roots)
                ids.extend(f"{r:x}" for r in roots)
            ready.append((fact, node, tasks, ids))
            return
        low = fact.low
        for space, indices in fact.segments:
            for index in indices:
                one = Output(fact.node, [(space, (index,))], fact.payload, low, 1)
                low += 1
                if space.aggregate:
                    ready.append((one, node, [None], [""]))
                else:
                    root = space.root_index(index)
                    self._put(root, space.lineage(index), (one, node, [self.source[root]], [f"{root:x}"]), ready)

    def _roots_ended(self, indices: Sequence[int], ready: list[Any]) -> None:
        self._ended_roots.update(indices)
        while self._next_root in self._ended_roots:
            self._ended_roots.discard(self._next_root)
            held = self._held.pop(self._next_root, None)
            if held is not None:
                held.sort(key=_key)
                ready.extend(entry for _, entry in held)
            self._next_root += 1
        self.source.forget_before(self._next_root)

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
            entry = self._ready.popleft()
        return list(self._opened(entry)), True

    def _open(self, fact: Output) -> list[Any]:
        # Ordering takes payloads apart, so neighbours often lie in one: each is opened once, not once a value.
        key = id(fact.payload)
        found = self._payloads.get(key)
        if found is None:
            while len(self._payloads) >= 16:
                del self._payloads[next(iter(self._payloads))]
            found = self._payloads[key] = (fact.payload, open_values(fact.payload))
        return found[1][fact.low : fact.low + fact.count]

    def _opened(self, entry: tuple[Any, str, Sequence[Any], Sequence[str]]) -> Iterator[StreamItem]:
        """The items of an entry, their values opened."""
        what, node, tasks, ids = entry
        if not isinstance(what, Output):
            yield StreamItem(tasks[0], None, open_error(what), what.node or node, ids[0])
            return
        values = self._open(what)
        for task, value, trace_id in zip(tasks, values, ids, strict=True):
            yield StreamItem(task, value, None, node, trace_id)


def _key(item: tuple[tuple[int, ...], Any]) -> tuple[int, ...]:
    return item[0]
