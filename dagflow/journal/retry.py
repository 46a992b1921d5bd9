"""Driving dead letters again: their ends are forgotten, and those of the merges above them; all else stays.

A dead letter is a task that has failed finally and was taken up by no ``failures`` branch. When its failure is
forgotten it is a task like any that has not ended, and runs at the node that failed it. The Mergers of the scopes
around it have merged without it (or could not): so what they made, and whatever came of that, is forgotten too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dagflow.core.ids import CLOSED
from dagflow.journal.entries import ALOST, FAIL, HANDLED, MISS, ROOTS, WINDOW, Entry
from dagflow.journal.parts import part_of, roots_of, tasks_in, without_roots

if TYPE_CHECKING:
    from dagflow.graph.plan import Plan
    from dagflow.journal.block import Block
    from dagflow.journal.book import Book
    from dagflow.journal.places import Step

Task = tuple[int, int, tuple[int, ...]]
"""A task at a node of the plan: the node's index, the task's shape and all of its numbers."""


def dead_nodes(book: Book, blocks: Iterable[int]) -> Counter[str]:
    """How many dead letters there are at each node."""
    if not book.graph:
        return Counter()  # nothing has run on it yet
    ids = book.graph["ids"]
    current = {node["id"] for node in book.graph["nodes"].values()}
    found: Counter[str] = Counter()
    for number in blocks:
        for entry in book.block(number).entries():
            if entry[0] == FAIL and entry[1] in current and not entry[-1] & HANDLED:
                found[ids[str(entry[1])]] += 1
    return found


class Retry:
    """Forgets dead letters, and what follows from their failure."""

    def __init__(self, book: Book, plan: Plan, nodes: list[int]) -> None:
        self.book, self.plan, self.nodes = book, plan, nodes
        self.places = {number: at for at, number in enumerate(nodes)}
        self.below = _below(plan)

    def forget(self, blocks: Iterable[int]) -> None:
        """Forget the dead letters of these blocks."""
        numbers = list(blocks)
        windows: set[tuple[int, int]] = set()
        for number in numbers:
            block = self.book.block(number)
            dead = list(self._dead(block))
            if dead:
                windows.update((self.nodes[at], last[0]) for at, shape, last in dead if self._is_window(at, shape))
                self._forget(block, dead)
        if windows:
            for number in numbers:
                self._open_again(self.book.block(number), windows)

    def _is_window(self, node: int, shape: int) -> bool:
        """Whether a dead letter is a window that could not be merged."""
        plan = self.plan.nodes[node]
        window = plan.merge is not None and plan.merge.closing == "window"
        return window and self.book.shapes.paths[shape] == (plan.name, ())

    def _open_again(self, block: Block, windows: set[tuple[int, int]]) -> None:
        """The members of windows that could not be merged belong to none any more."""

        def stays(entry: Entry) -> bool:
            return entry[0] != WINDOW or (entry[1], entry[2]) not in windows

        if not all(map(stays, block.entries())):
            block.rows = [(version, list(filter(stays, entries))) for version, entries in block.rows]
            block.rewrite = True
            block.forget_index()
            self.book.touch(block)

    def _dead(self, block: Block) -> Iterator[Task]:
        for entry in block.entries():
            if entry[0] == FAIL and entry[1] in self.places and not entry[-1] & HANDLED:
                for shape, prefix, number in tasks_in((entry[2],)):
                    yield self.places[entry[1]], shape, (*prefix, number)

    def _forget(self, block: Block, dead: list[Task]) -> None:
        gone = set(dead)
        merges: set[Task] = set()
        todo = list(dead)
        while todo:
            for merge in self._merges_above(todo.pop()):
                if merge not in merges:
                    merges.add(merge)
                    todo.append(merge)
        gone |= merges
        by_root: dict[int, list[Task]] = {}
        for task in gone:
            by_root.setdefault(task[2][0], []).append(task)

        def wanted(node: int, shape: int, prefix: tuple[int, ...], number: int) -> bool:
            at = self.places.get(node)
            root = prefix[0] if prefix else number
            if at is None or root not in by_root:
                return True
            numbers = (*prefix, number)
            if (at, shape, numbers) in gone:
                return False
            return not any(
                task in merges and at in self.below[task[0]] and self._comes_of(task, shape, numbers)
                for task in by_root[root]
            )

        roots = 0
        if block.number >= 0:
            for root in by_root:
                roots |= 1 << (root - block.first)
        nodes = {self.nodes[at] for at, _, _ in gone}
        block.rows = [(v, list(self._kept(block, entries, wanted, roots, nodes))) for v, entries in block.rows]
        block.ended &= ~roots
        block.failed = 0
        block.before &= ~roots
        for entry in block.entries():
            block.heed_failure(entry)
        block.rewrite = True
        block.forget_index()
        self.book.touch(block)

    def _kept(self, block: Block, entries: list[Entry], wanted: object, roots: int, nodes: set[int]) -> Iterator[Entry]:
        for entry in entries:
            if entry[0] == ALOST and entry[1] in nodes:
                kept = None
            elif entry[0] == ROOTS:
                kept = without_roots(entry, block.first, roots)
            elif entry[0] == MISS and block.number >= 0 and roots_of((entry[2],), block.first) & roots:
                kept = None  # it is said again, if members are missing again
            else:
                kept = part_of(entry, wanted)  # type: ignore[arg-type]
            if kept is not None:
                yield kept

    def _merges_above(self, task: Task) -> Iterator[Task]:
        """The merges that a task is a member of, or of what comes of it."""
        node, shape, numbers = task
        root, steps = self.book.shapes.paths[shape]
        plan = self.plan.nodes[node]
        if plan.split_frame >= 0:  # it failed after some children had gone on: a missing member of its own scope
            yield from self._closed(plan.split_frame, root, steps, numbers)
        used = len(numbers)
        for at in range(len(steps) - 1, -1, -1):
            _, branch, frame, _ = steps[at]
            if not branch:
                used -= 1
            if frame >= 0 and frame in plan.needed:
                yield from self._closed(frame, root, steps[:at], numbers[:used])
        frame = self.plan.task_frame
        if not root and frame in plan.needed:
            yield from self._closed(frame, root, (), numbers[:1])

    def _closed(self, frame: int, root: str, steps: tuple[Step, ...], numbers: tuple[int, ...]) -> Iterator[Task]:
        closers = self.plan.frames[frame].closers
        for at, merger in enumerate(closers):
            mine = steps if len(closers) == 1 else (*steps, ("closed", str(at), CLOSED, at))
            yield merger, self.book.shapes.number(root, mine), numbers

    def _comes_of(self, merge: Task, shape: int, numbers: tuple[int, ...]) -> bool:
        """Whether a task is a merged one further on, or came of it there (and not of its opener, before the merge)."""
        merger, first, begin = merge
        root, steps = self.book.shapes.paths[first]
        mine_root, mine = self.book.shapes.paths[shape]
        if root != mine_root or numbers[: len(begin)] != begin or len(mine) < len(steps):
            return False
        if any(a[:2] != b[:2] for a, b in zip(steps, mine, strict=False)):
            return False
        if len(mine) == len(steps) or mine[len(steps)][2] < 0:
            return True
        opener = self.plan.frames[mine[len(steps)][2]].node
        return opener == merger or opener in self.below[merger]


def _below(plan: Plan) -> list[set[int]]:
    """For each node, all that follow it."""
    found: list[set[int]] = [set() for _ in plan.nodes]
    for node in reversed(plan.nodes):
        for port in [*node.ports, *([node.failures] if node.failures is not None else [])]:
            for target in port.targets:
                found[node.index] |= found[target] | {target}
    return found
