"""Tidying: what a journal need not hold any more goes, block by block; and what is damaged is not believed.

A block whose source tasks have all ended is *ripe*. It is written anew, as one row in which neighbours are one
entry and values between nodes are gone; what failed in it, and was taken up by nobody, keeps all it may need to
be driven again. That is done a little later, when more than `BUDGET` bytes are ripe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dagflow.errors import JournalError
from dagflow.journal.dropping import BUDGET
from dagflow.journal.entries import END, FAIL, LEASED, ROOTS, SPLIT, TRIED, Entry
from dagflow.journal.parts import Wanted, can_join, join_ends, join_ranges, part_of, roots_of, without_roots

if TYPE_CHECKING:
    from dagflow.graph.plan import NodePlan, Plan, PortPlan
    from dagflow.journal.block import Block
    from dagflow.journal.book import Book
    from dagflow.journal.dropping import Dropping

_ENTRY_BYTES = 64
"""About what an entry takes beside its values."""


class Tidier:
    """Tidies the blocks of one run. ``nodes``: the journal's numbers of the plan's nodes; ``born``: their versions."""

    def __init__(self, book: Book, plan: Plan, nodes: list[int], born: list[int], dropping: Dropping) -> None:
        self.book, self.plan, self.dropping = book, plan, dropping
        self.born = born
        self.places = {number: at for at, number in enumerate(nodes)}
        self.windows = any(n.merge is not None and n.merge.closing == "window" for n in plan.nodes)
        self._ripe: deque[tuple[Block, int]] = deque()
        self._bytes = 0

    # -- what is read ---------------------------------------------------------------------------------

    def check(self, block: Block) -> None:
        """A block was read: see which of its values are still there, and whether they are right."""
        if block.damaged and self.windows and self.book.windows:
            raise JournalError(
                f"the journal {self.book.where} is damaged: which tasks were merged in which window cannot be read; "
                f"restore it from a copy, or delete it to start anew"
            )
        broken = False
        wrong = 0
        for at, (version, entries) in enumerate(block.rows):
            found = []
            for entry in entries:
                if entry[0] in (END, SPLIT) and entry[3]:
                    entry, whole = self._check_values(entry)
                    if not whole:
                        broken = True
                        if block.number >= 0:
                            wrong |= roots_of(entry[2], block.first)
                found.append(entry)
            block.rows[at] = (version, found)
        if broken:
            self._redo(block, wrong)
        if self.book.version > 1:
            self._drop_unsound(block)

    def _check_values(self, entry: Entry) -> tuple[Entry, bool]:
        """An entry, without the values that were dropped; and whether the others are as they should be."""
        outs = []
        whole = True
        for out in entry[3]:
            data = out[3]
            if isinstance(data, tuple):
                if self.book.emptied(data[0]):
                    out = (*out[:3], None, out[4])
                elif self.book.data(data) is None:
                    whole = False
            outs.append(out)
        return (*entry[:3], outs, *entry[4:]), whole

    def _redo(self, block: Block, roots: int) -> None:
        """Values of these source tasks are damaged: all that came of them is worked out again."""
        if block.number < 0:
            if self.windows and self.book.windows:
                raise JournalError(
                    f"the journal {self.book.where} is damaged: what was merged in windows cannot be read; restore it "
                    f"from a copy, or delete it to start anew"
                )
            block.rows = []
        else:
            count = roots.bit_count()
            self.book.damage.append(
                f"what was recorded of {count} source task{'s' if count > 1 else ''} is damaged and is worked out again"
            )
            block.rows = [
                (version, [kept for e in entries if (kept := without_roots(e, block.first, roots)) is not None])
                for version, entries in block.rows
            ]
            block.ended &= ~roots
            block.failed &= ~roots
        self._changed(block)

    def _changed(self, block: Block) -> None:
        block.rewrite = True
        block.forget_index()
        self.book.touch(block)

    def _drop_unsound(self, block: Block) -> None:
        """Where a changed node needs values that were dropped, those who made them make them again.

        Backwards through the graph: ``hungry`` are the nodes that need their inputs in this block. What came of
        source tasks that have ended under this version of the graph is needed by nobody.
        """
        if block.full:
            return
        hungry: set[int] = set()
        changed = False

        def over(node: int, shape: int, prefix: tuple[int, ...], number: int) -> bool:
            return block.number >= 0 and bool(block.ended >> ((prefix[0] if prefix else number) - block.first) & 1)

        for node in reversed(self.plan.nodes):
            dropped = False
            for at, (version, entries) in enumerate(block.rows):
                kept = []
                for entry in entries:
                    left: Entry | None = entry
                    if entry[0] in (END, SPLIT, FAIL) and self.places.get(entry[1]) == node.index:
                        if entry[0] != FAIL:
                            if self._lacks(node, entry, version, hungry):
                                left = part_of(entry, over)
                                dropped |= left is not entry
                        elif self._wanted(node.failures, version, hungry) and not part_of(entry, over):
                            hungry.add(node.index)  # what is made of its failures needs the tasks that failed
                    if left is not None:
                        kept.append(left)
                block.rows[at] = (version, kept)
            if dropped:
                changed = True
                hungry.add(node.index)
                if node.kind == "split":  # what a task gave and how it ended may lie in several entries
                    block.rows = [(v, list(self._without(entries, node, over))) for v, entries in block.rows]
        if changed:
            self._changed(block)

    def _without(self, entries: list[Entry], node: NodePlan, over: Wanted) -> Iterator[Entry]:
        """Entries without what a Splitter did for source tasks that are not over."""
        for entry in entries:
            mine = entry[0] in (SPLIT, FAIL) and self.places.get(entry[1]) == node.index
            left = part_of(entry, over) if mine else entry
            if left is not None:
                yield left

    def _lacks(self, node: NodePlan, entry: Entry, version: int, hungry: set[int]) -> bool:
        """Whether values are gone that are needed."""
        return any(out[3] is None and self._wanted(node.ports[out[0]], version, hungry) for out in entry[3])

    def _wanted(self, port: PortPlan | None, version: int, hungry: set[int]) -> bool:
        """Whether those at the end of a port, or the user, need what a row of this version sent there."""
        if port is None:
            return False
        return port.exit or any(self.born[t] > version or t in hungry for t in port.targets)

    # -- what is ripe ---------------------------------------------------------------------------------

    def ended(self, block: Block) -> None:
        """Nothing of a block is on its way any more."""
        if block.ripe or not block.full:
            return
        weight = self._weight(block)
        if not weight:
            self.book.forget(block)
            return
        block.ripe = True
        self._ripe.append((block, weight))
        self._bytes += weight

    def tidy(self) -> None:
        """Write anew what is ripe, oldest first, as far as there is too much of it."""
        while self._bytes > BUDGET:
            block, weight = self._ripe.popleft()
            self._bytes -= weight
            block.ripe = False
            if not block.live:
                self._tidy(block)

    def _weight(self, block: Block) -> int:
        """About how many bytes writing it anew would save."""
        rows = len(block.rows) + bool(block.pending)
        saved = (rows - 1) * _ENTRY_BYTES
        for entry in block.entries():
            if entry[0] in (END, SPLIT):
                for out in entry[3]:
                    if out[3] is not None and not self._kept(entry, out):
                        saved += len(out[3]) if isinstance(out[3], bytes) else out[3][1]
        return saved

    def _kept(self, entry: Entry, out: Any) -> bool:
        """Whether values stay: results, windows, members of windows and of the run, what other blocks share."""
        node = self.places.get(entry[1])
        if node is None:
            return False
        if self.dropping.keeps(node, out[0]):
            return True
        data = out[3]
        if isinstance(data, tuple) and data[0] in self.dropping.released:
            return False
        if self.dropping.into_window(node, out[0]):
            return True
        return isinstance(data, tuple) and data[2] > out[2]

    def _tidy(self, block: Block) -> None:
        rows: dict[int, list[Entry]] = {}
        for version, entries in [*block.rows, (self.book.version, block.pending)]:
            rows.setdefault(version, []).extend(entries)
        block.pending = []
        block.rows = [(version, self._tidied(block, entries)) for version, entries in rows.items()]
        self._changed(block)
        self.book.forget(block)

    def _tidied(self, block: Block, entries: list[Entry]) -> list[Entry]:
        kept: list[Entry] = []
        ends: dict[tuple[int, tuple[str, ...]], list[Entry]] = {}
        ended: list[tuple[int, int]] = []
        for entry in entries:
            kind = entry[0]
            if kind in (TRIED, LEASED):
                continue
            if kind == ROOTS:
                ended.extend(entry[1])
                continue
            if kind in (END, SPLIT) and not roots_of(entry[2], block.first) & block.failed:
                entry = self._emptied(entry)
            if can_join(entry):
                ends.setdefault((entry[1], tuple(sorted(entry[4] or ()))), []).append(entry)
            else:
                kept.append(entry)
        kept.extend(join_ends(group) for group in ends.values())
        if ended:
            kept.append((ROOTS, join_ranges(ended)))
        return kept

    def _emptied(self, entry: Entry) -> Entry:
        outs = []
        for out in entry[3]:
            data = out[3]
            if data is not None and not self._kept(entry, out):
                if isinstance(data, tuple):
                    if data[2] > out[2]:
                        self.book.empty(data[0])
                    else:
                        self.book.drop(data[0])
                out = (*out[:3], None, out[4])
            outs.append(out)
        return (*entry[:3], outs, *entry[4:])

    # -- the merge of the whole run -------------------------------------------------------------------

    def known_living(self) -> int:
        """How many source tasks from before are on their way."""
        return sum(block.live for block in self.book.blocks() if block.old)

    def forget_aggregate(self, number: int) -> None:
        """What was merged of the whole run does not hold any more, nor what came of it."""
        block = self.book.block(number)
        if block.rows:
            block.rows = []
            self._changed(block)
