"""A picture as plain text: each way of tasks is a line, read left to right, and branches hang below.

::

    load → check [router]
    ├─ ok → save ↓
    ├─ bad → DROP
    └┄ failures → mend → save ↓
    save [process x2]

A node where several ways meet begins a line of its own, further down, so nothing is indented deeper than
branches are nested; ``↓`` says that it is to be found there.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

from dagflow.draw.model import LIMITING, Kind, Picture, PictureEdge, PictureNode
from dagflow.draw.words import visible, width

_COLUMNS: Final = 100
_KINDS: Final[dict[Kind, str]] = {"split": "splitter", "route": "router", "merge": "merger"}


@dataclass(frozen=True, slots=True)
class _Branch:
    """A line to be written: what it begins with, the edge it begins with (None: a new block), the node."""

    prefix: str
    edge: PictureEdge | None
    node: str
    last: bool = True


class _Writer:
    def __init__(self, picture: Picture) -> None:
        self.nodes = {node.id: node for node in picture.nodes}
        self.after: dict[str, list[PictureEdge]] = {node.id: [] for node in picture.nodes}
        self.entering = dict.fromkeys(self.after, 0)
        for edge in picture.edges:
            self.after[edge.source].append(edge)
            self.entering[edge.target] += 1
        self.lines: list[str] = []

    def block(self, start: str) -> None:
        """Write all that follows ``start`` up to where ways meet."""
        todo = [_Branch("", None, start)]
        while todo:
            branch = todo.pop()
            edges, below = self._line(branch)
            branches = [_Branch(below, e, e.target, last=e is edges[-1]) for e in edges]
            todo += reversed(branches)

    def _line(self, branch: _Branch) -> tuple[list[PictureEdge], str]:
        """Write one line; gives the edges that still hang below it, and what their lines begin with."""
        line, below = branch.prefix, branch.prefix
        if branch.edge is not None:
            line += ("└" if branch.last else "├") + _arrow(branch.edge)
            below += "   " if branch.last else "│  "
        node = branch.node
        line += self._named(node, met=branch.edge is not None)
        while not (branch.edge is not None and self._is_join(node)) and len(self.after[node]) == 1:
            [edge] = self.after[node]
            node = edge.target
            arrow = _arrow(edge) if edge.text or edge.dashed else "→ "
            piece = f" {arrow}" + self._named(node, met=True)
            if width(line) + width(piece) > _COLUMNS:
                self.lines.append(line)
                line = below + "  "
            line += piece
            if self._is_join(node):
                break
        self.lines.append(line)
        ended = self._is_join(node) and (node != branch.node or branch.edge is not None)
        return ([] if ended else self.after[node]), below

    def _is_join(self, node: str) -> bool:
        return self.entering[node] > 1

    def _named(self, ident: str, *, met: bool) -> str:
        node = self.nodes[ident]
        if met and self._is_join(ident):
            return f"{visible(node.name)} ↓"
        return visible(node.name) + _print(node)


def render(picture: Picture) -> str:
    """The text, without a newline at its end."""
    writer = _Writer(picture)
    for ident in _downwards(picture):
        if writer.entering[ident] != 1:
            writer.block(ident)
    lines = [*writer.lines, "", visible(picture.caption)] if picture.caption else writer.lines
    return "\n".join(line.rstrip() for line in lines)


def _arrow(edge: PictureEdge) -> str:
    line = "┄" if edge.dashed else "─"
    return f"{line} {visible(edge.text)} → " if edge.text else f"{line} → " if edge.dashed else f"{line}→ "


def _print(node: PictureNode) -> str:
    """Kind and small print in brackets, then what a run has laid over."""
    words = [_KINDS[node.kind]] if node.kind in _KINDS else []
    small = ", ".join(visible(line) for line in (*words, *node.lines))
    shown = f" [{small}]" if small else ""
    if node.laid is not None:
        told = (*node.laid.lines, node.laid.alarm, LIMITING * node.limiting)
        shown += f" ({', '.join(visible(line) for line in told if line)})"
    return shown


def _downwards(picture: Picture) -> list[str]:
    """Node ids, each after all that lead to it; otherwise as written."""
    place = {node.id: i for i, node in enumerate(picture.nodes)}
    missing = [0] * len(place)
    after: list[list[int]] = [[] for _ in place]
    for edge in picture.edges:
        missing[place[edge.target]] += 1
        after[place[edge.source]].append(place[edge.target])
    todo = [i for i, count in enumerate(missing) if not count]
    ordered = []
    while todo:
        here = heapq.heappop(todo)
        ordered.append(picture.nodes[here].id)
        for there in after[here]:
            missing[there] -= 1
            if not missing[there]:
                heapq.heappush(todo, there)
    return ordered
