"""Picture: what there is to see of a graph, as plain values. Every renderer reads this and nothing else."""

from __future__ import annotations

import enum
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dagflow.graph.algebra import FAILURES, MAIN, Graph
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.node import Node
from dagflow.graph.router import Router

Kind = Literal["task", "split", "route", "merge", "drop"]
KINDS: Final[dict[str, Kind]] = {"task": "task", "split": "split", "route": "route", "merge": "merge"}

OTHERWISE: Final = "any other"
"""Label of the way of tasks for which a Router's function gives no known label."""


LIMITING: Final = "bottleneck"
"""What stands on the node that limits a run."""


@dataclass(frozen=True, slots=True)
class Laid:
    """What a run lays over one node.

    ``lines``: small print, such as ``1,204 done``. ``alarm``: what went wrong there, if anything. ``share``: how
    busy it is, 0 to 1: a colour and a bar. ``limiting``: it is the one that the run waits for.
    """

    lines: tuple[str, ...] = ()
    alarm: str = ""
    share: float | None = None
    limiting: bool = False


@dataclass(frozen=True, slots=True)
class PictureNode:
    """A node, or the mark (``kind="drop"``) where a branch ends on purpose. The kind tells the shape.

    ``name`` is as the user gave it, so it may hold anything; ``lines`` are small print, such as ``process x2``.
    """

    id: str
    name: str
    kind: Kind
    lines: tuple[str, ...] = ()
    laid: Laid | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """All that stands under the name, line by line."""
        if self.laid is None:
            return self.lines
        return (*self.lines, *self.laid.lines, *filter(None, (self.laid.alarm,)))

    @property
    def share(self) -> float | None:
        """How busy it is, where a run has been laid over."""
        return None if self.laid is None else self.laid.share

    @property
    def limiting(self) -> bool:
        """Whether it is the one that the run laid over waits for."""
        return self.laid is not None and self.laid.limiting


@dataclass(frozen=True, slots=True)
class PictureEdge:
    """An arrow between two node ids. ``count``: tasks that went along it, where a run has been laid over."""

    source: str
    target: str
    label: str = ""
    dashed: bool = False
    count: int | None = None

    @property
    def text(self) -> str:
        """What stands on the arrow: label and count, either, or nothing."""
        shown = "" if self.count is None else f"{self.count:,}"
        return f"{self.label}: {shown}" if self.label and shown else self.label or shown


@dataclass(frozen=True, slots=True)
class PictureBox:
    """A scope: the Splitter ``opener``, the Mergers that close it, and the node ids between them.

    What is dropped on the way from one to the other is dropped inside.
    ``parent``: the place among the picture's boxes of the one around this one, always an earlier place.
    """

    opener: str
    members: tuple[str, ...]
    parent: int | None = None

    def own(self, boxes: Iterable[PictureBox]) -> list[str]:
        """The members that are in none of the other ``boxes`` inside this one."""
        inner = {m for box in boxes if len(box.members) < len(self.members) for m in box.members}
        return [m for m in self.members if m not in inner]


@dataclass(frozen=True, slots=True)
class Picture:
    """All there is to see. Two boxes never share members unless one lies within the other."""

    name: str | None
    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]
    boxes: tuple[PictureBox, ...] = ()
    caption: str = ""
    """One line about the run laid over it."""

    @property
    def title(self) -> str:
        """One short line about the whole."""
        nodes = sum(1 for n in self.nodes if n.kind != "drop")
        marks = {n.id for n in self.nodes if n.kind == "drop"}
        edges = sum(1 for e in self.edges if e.target not in marks)
        counts = f"{nodes} node{'s' * (nodes != 1)}, {edges} edge{'s' * (edges != 1)}"
        return f"{self.name}: {counts}" if self.name else f"Graph: {counts}"


@dataclass(frozen=True)
class Overlay:
    """What a run lays over a picture; nodes are known by their names, edges by source, label and target.

    ``nodes``: see `Laid`. ``counts``: tasks an edge; its label is that of one port (``""``: the main one), the
    target of a dropping branch ``"DROP"``. ``caption``: one line about the whole run.
    """

    nodes: Mapping[str, Laid] = field(default_factory=dict)
    counts: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    caption: str = ""


def picture(graph: Graph, overlay: Overlay | None = None) -> Picture:
    """The picture of ``graph``. One that does not pass its check is drawn all the same, without boxes."""
    over = overlay or Overlay()
    ids = {node: f"n{i}" for i, node in enumerate(graph.nodes)}
    nodes = [_node(node, ids[node], graph.names[node], over) for node in graph.nodes]
    edges: list[PictureEdge] = []
    for (source, target, dashed), labels in _arrows(graph).items():
        there = f"drop{ids[source][1:]}" if target is None else ids[target]
        if target is None:
            nodes.append(PictureNode(there, "DROP", "drop"))
        name = "DROP" if target is None else graph.names[target]
        keys = {(graph.names[source], label, name) for label in labels or ("",)}
        found = [over.counts[key] for key in keys if key in over.counts]
        edges.append(PictureEdge(ids[source], there, ", ".join(labels), dashed, sum(found) if found else None))
    boxes = _boxes(graph, {name: ids[node] for node, name in graph.names.items()}, edges)
    return Picture(graph.name, tuple(nodes), tuple(edges), boxes, over.caption)


def as_dict(drawn: Picture) -> dict[str, Any]:
    """A picture as plain values, for programs: nodes by their names, edges, and the members of each scope."""
    names = {node.id: node.name for node in drawn.nodes}
    return {
        "name": drawn.name,
        "nodes": [{"name": n.name, "kind": n.kind, "lines": list(n.lines)} for n in drawn.nodes if n.kind != "drop"],
        "edges": [
            {"source": names[e.source], "target": names[e.target], "label": e.label, "failures": e.dashed}
            for e in drawn.edges
        ],
        "scopes": [{"opener": names[b.opener], "members": [names[m] for m in b.members]} for b in drawn.boxes],
    }


def _node(node: Node, ident: str, name: str, over: Overlay) -> PictureNode:
    kind = KINDS.get(node.kind, "task")
    return PictureNode(ident, name, kind, _small_print(node), over.nodes.get(name))


def _small_print(node: Node) -> tuple[str, ...]:
    lines = []
    # A default width depends on the machine, and a picture should not: only what the graph says is shown.
    width = "" if node.worker_limit is None else f" x{node.worker_limit}"
    if node.execution_mode != "serial" or node.worker_limit not in (None, 1):
        lines.append(node.execution_mode + width)
    if isinstance(node, Merger):
        window = [f"size {node.size}"] if node.size is not None else []
        window += [f"within {node.within:g} s"] if node.within is not None else []
        lines += [", ".join(window)] if window else []
        lines += [f"of {node.of}"] if isinstance(node.of, str) else []
    return tuple(lines)


def _arrows(graph: Graph) -> dict[tuple[Node, Node | None, bool], list[str]]:
    """The labels of each arrow: several labels of a Router that lead to one node share an arrow."""
    arrows: dict[tuple[Node, Node | None, bool], list[str]] = {}
    for edge in graph.edges:
        labels = arrows.setdefault((edge.source, edge.target, edge.port is FAILURES), [])
        labels += label_of(edge.port)
    for node in graph.nodes:
        if isinstance(node, Router) and node.default is DROP:
            arrows.setdefault((node, None, False), []).append(OTHERWISE)
    return arrows


def label_of(port: Any) -> list[str]:
    """What stands on the arrow of one way out of a node: a text, or nothing at all."""
    if port is MAIN:
        return []
    if port is FAILURES:
        return ["failures"]
    if isinstance(port, enum.Enum):
        return [port.name]
    if isinstance(port, str) and port:
        return [port]
    return [reprlib.repr(port)]  # bounded, and a repr that raises does no harm


def _boxes(graph: Graph, ids: Mapping[str, str], edges: Iterable[PictureEdge]) -> tuple[PictureBox, ...]:
    try:
        plan = graph.check()
    except (ValueError, TypeError):  # a GraphError is a ValueError; options set to nonsense raise these too
        return ()
    after: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    for edge in edges:
        after.setdefault(edge.source, []).append(edge.target)
        before.setdefault(edge.target, []).append(edge.source)
    found: list[tuple[str, set[str]]] = []
    for frame in plan.frames:
        if frame.kind != "split" or not frame.closers:
            continue
        opener = ids[plan.nodes[frame.node].name]
        closers = [ids[plan.nodes[c].name] for c in frame.closers]
        members = (_reach([opener], after) & _reach(closers, before)) - {opener, *closers}
        members |= {there for m in members for there in after[m] if there.startswith("drop")}
        found.append((opener, members | {opener, *closers}))
    return _nested(found)


def _reach(starts: Iterable[str], steps: Mapping[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(starts)
    while todo:
        for there in steps.get(todo.pop(), ()):
            if there not in seen:
                seen.add(there)
                todo.append(there)
    return seen


def _nested(found: list[tuple[str, set[str]]]) -> tuple[PictureBox, ...]:
    """Boxes, outer ones first; one that would cut through another is left out."""
    boxes: list[PictureBox] = []
    for opener, members in sorted(found, key=lambda each: -len(each[1])):
        parent = None
        for place, box in enumerate(boxes):
            shared = members.intersection(box.members)
            if shared == members:
                parent = place  # later boxes are smaller, so the last that holds all is the closest around
            elif shared:
                break
        else:
            boxes.append(PictureBox(opener, tuple(sorted(members, key=_number)), parent))
    return tuple(boxes)


def _number(ident: str) -> tuple[bool, int]:
    return ident.startswith("drop"), int(ident.lstrip("dropn"))
