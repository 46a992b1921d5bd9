"""Dropping: values between nodes are kept until what was made of them is recorded, and then let go.

Each kept payload has a count of uses ahead: its values times the nodes that they go to. A use is over when the
task has ended well, and what it gave is on record (for a fold: when the fold has). One that failed does not count
as over, nor do the members of a merge in which something failed: they are what a dead letter needs when it is driven
again.

What is not needed any more is dropped a little later, when more than `BUDGET` bytes of it have gathered: until
then a changed node finds its inputs, and need not have them made again.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dagflow.core.envelope import Lease
    from dagflow.core.merging import Fold
    from dagflow.core.payload import Piece
    from dagflow.graph.plan import NodePlan, Plan
    from dagflow.journal.book import Book

REFERENCES_MOST: Final = 64
"""Of a merge that failed so many pieces of its members are named; the others are there, but not shown."""
BUDGET: Final = 1 << 20
"""Bytes of values that are not needed any more and are kept all the same."""


class Uses:
    """The uses ahead of values that are kept as ``data``. ``debts``: those by folds that have not ended.

    ``blob``: where they lie, if they can be dropped there (0: they cannot).
    """

    __slots__ = ("blob", "data", "debts", "left", "size")

    def __init__(self, data: Any, *, stays: bool) -> None:
        self.data = data
        self.blob = self.size = 0
        if isinstance(data, tuple) and not stays:
            self.blob, self.size, _ = data
        self.left = self.debts = 0


class Dropping:
    """Counts uses, and drops what is not needed any more."""

    def __init__(self, book: Book, plan: Plan) -> None:
        self.book = book
        self._keeps = [[_keeps(plan, node, port.index) for port in node.ports] for node in plan.nodes]
        self._windows = [[_into_window(plan, node, port.index) for port in node.ports] for node in plan.nodes]
        self._targets = [[len(port.targets) for port in node.ports] for node in plan.nodes]
        self._payloads: dict[int, Uses] = {}
        self._watch: dict[int, weakref.ref[Any]] = {}
        self._debts: weakref.WeakKeyDictionary[Fold, list[tuple[Uses, int]]] = weakref.WeakKeyDictionary()
        self._over: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self.released: set[int] = set()
        """Blobs whose values have all been used."""

    def keeps(self, node: int, port: int) -> bool:
        """Whether what leaves a node by a port stays for good: it is a result, merged over the whole run, or a window.

        A window cannot be made again when a node after it has changed: its members were those that came just then.
        """
        return self._keeps[node][port]

    def into_window(self, node: int, port: int) -> bool:
        """Whether what leaves a node by a port goes into windows, where it may wait when its source task has ended."""
        return self._windows[node][port]

    def made(self, node: int, port: int, payload: Any, data: Any, uses: Uses | None = None) -> Uses | None:
        """A payload leaves a node, kept as ``data``; ``uses``: those counted already, if it was recalled."""
        number = self._targets[node][port]
        if not number:
            return None
        if uses is None:
            uses = Uses(data, stays=self._keeps[node][port])
            uses.left = payload.count * number
        for branch in range(number):
            self._see(payload.branch(branch), uses)
        return uses

    def _see(self, payload: Any, uses: Uses) -> None:
        key = id(payload)
        self._payloads[key] = uses
        watch = self._watch

        def gone(_: object, key: int = key) -> None:
            self._payloads.pop(key, None)
            watch.pop(key, None)

        watch[key] = weakref.ref(payload, gone)

    # -- uses -----------------------------------------------------------------------------------------

    def used(self, pieces: Iterable[Piece]) -> None:
        """Values were used up."""
        for payload, low, high in pieces:
            uses = self._payloads.get(id(payload))
            if uses is not None:
                uses.left -= high - low
                if not uses.left and not uses.debts:
                    self._release(uses)

    def used_by(self, lease: Lease, positions: Sequence[int]) -> None:
        """The tasks at ``positions`` of a lease have ended well."""
        if len(positions) == lease.count:
            self.used([(e.payload, e.low, e.low + e.count) for e in lease.envelopes if e.payload is not None])
            return
        for position in positions:
            envelope, at = lease.find(position)
            if envelope.payload is not None:
                self.used([(envelope.payload, envelope.low + at, envelope.low + at + 1)])

    def folded(self, fold: Fold, pieces: Iterable[Piece]) -> None:
        """Values were combined into a fold that has not ended: they are needed until it has."""
        debts = self._debts.setdefault(fold, [])
        for payload, low, high in pieces:
            uses = self._payloads.get(id(payload))
            if uses is not None:
                uses.left -= high - low
                uses.debts += high - low
                debts.append((uses, high - low))

    def fold_ended(self, fold: Fold, *, well: bool) -> None:
        """A fold has ended."""
        for uses, count in self._debts.pop(fold, ()):
            if well:
                uses.debts -= count
                if not uses.left and not uses.debts:
                    self._release(uses)

    def references(self, pieces: Iterable[Piece]) -> list[tuple[Any, int, int]]:
        """Where values lie in the journal: data, from, to; None for the data of source tasks."""
        found: list[tuple[Any, int, int]] = []
        for payload, low, high in pieces:
            uses = self._payloads.get(id(payload))
            found.append((uses.data if uses is not None else None, low, high))
            if len(found) >= REFERENCES_MOST:
                break
        return found

    def _release(self, uses: Uses) -> None:
        if not uses.blob:
            return
        self.released.add(uses.blob)
        self._over.append((uses.blob, uses.size))
        self._bytes += uses.size
        while self._bytes > BUDGET:
            blob, size = self._over.popleft()
            self._bytes -= size
            self.book.empty(blob)


def _into_window(plan: Plan, node: NodePlan, port: int) -> bool:
    merges = [plan.nodes[target].merge for target in node.ports[port].targets]
    return any(merge is not None and merge.closing == "window" for merge in merges)


def _keeps(plan: Plan, node: NodePlan, port: int) -> bool:
    there = node.ports[port]
    if there.exit or (node.merge is not None and node.merge.closing == "window"):
        return True
    for target in there.targets:
        merge = plan.nodes[target].merge
        if merge is not None and merge.closing == "run":
            return True
    return False
