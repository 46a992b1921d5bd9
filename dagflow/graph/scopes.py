"""Which scopes are open where, and which of them each Merger closes. Decided from the graph alone.

Theory. A frame opens at an opener: a Splitter, or a port with several targets. A Merger can only close a
frame that is open on *every* way into it; such a frame's opener dominates the Merger, so the frames open on
every way are totally ordered, outermost first, and can be found in one pass in topological order by
intersecting what comes in over each edge. Closing a frame closes all that was opened inside it.

``of=None`` closes the innermost of them that has something to merge here: a split, or a branching of which
at least two branches lead here (a branching of which a single branch comes back would merge lists of one).

A second pass, backwards, finds for each node the frames of which a closing Merger can still be reached. A
task that moves to where none can be reached has left the scope: nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import networkx

from dagflow.errors import GraphError
from dagflow.graph.algebra import FAILURES, MAIN, Edge, Graph
from dagflow.graph.merger import Merger
from dagflow.graph.node import Node
from dagflow.graph.plan import FrameKind
from dagflow.graph.router import Router

SOURCE = None
"""The opener of the frames that the source opens."""


@dataclass(eq=False)
class Frame:
    """A place where scopes open. ``opener`` is a node, or `SOURCE`; ``port`` tells a node's branchings apart."""

    kind: FrameKind
    opener: Node | None
    port: object = None
    closers: list[Node] = field(default_factory=list)


@dataclass
class Way:
    """What is open on a way through the graph: frames, outermost first, and by which branches of each."""

    frames: list[Frame]
    branches: dict[int, frozenset[int]]

    def opened(self, frame: Frame, branch: int | None = None) -> Way:
        """This way after it opened ``frame`` (and took ``branch`` of it)."""
        branches = dict(self.branches)
        branches[id(frame)] = frozenset() if branch is None else frozenset((branch,))
        return Way([*self.frames, frame], branches)

    def outside(self, frame: Frame) -> Way:
        """This way after ``frame``, and all inside it, was closed."""
        return Way(self.frames[: self.frames.index(frame)], self.branches)


def _meet(ways: list[Way]) -> Way:
    frames = [f for f in ways[0].frames if all(f in way.frames for way in ways[1:])]
    branches: dict[int, frozenset[int]] = {}
    for way in ways:
        for key, taken in way.branches.items():
            branches[key] = branches.get(key, frozenset()) | taken
    return Way(frames, branches)


class Scopes:
    """The scopes of a graph: its frames, what each Merger closes, and what each node still leads to."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order: list[Node] = (
            list(networkx.lexicographical_topological_sort(graph.digraph, key=lambda node: places[node]))
            if (places := {n: i for i, n in enumerate(graph.nodes)})
            else []
        )
        self.task_frame = Frame("task", SOURCE)
        self.source_branch = Frame("branch", SOURCE, MAIN) if len(graph.entries) > 1 else None
        self.split_frames: dict[Node, Frame] = {}
        self.route_frames: dict[Node, Frame] = {}
        self.branch_frames: dict[tuple[Node, int], Frame] = {}
        self.closes: dict[Node, Frame | None] = {}
        self.spread: dict[Node, int] = {}
        self.needed: dict[Node, set[Frame]] = {}
        self.out_edges: dict[Node, dict[int, list[Edge]]] = {n: {} for n in graph.nodes}
        self.ports: dict[Node, list[object]] = {n: [] for n in graph.nodes}
        self._collect_ports()
        self._forwards()
        self._backwards()

    @property
    def frames(self) -> list[Frame]:
        """All frames, in the order in which they open on a way through the graph; the source's first."""
        branch = [self.source_branch] if self.source_branch else []
        opened = [*self.split_frames.values(), *self.route_frames.values(), *self.branch_frames.values()]
        place = {id(node): at for at, node in enumerate(self.order)}
        opened.sort(key=lambda frame: place[id(frame.opener)])
        return [self.task_frame, *branch, *opened]

    def port_number(self, node: Node, port: object) -> int:
        """The number of ``port`` among the ways out of ``node``."""
        key = _port_key(port)
        return next(i for i, p in enumerate(self.ports[node]) if _port_key(p) == key)

    def _collect_ports(self) -> None:
        for node in self.graph.nodes:
            if not isinstance(node, Router):
                self.ports[node].append(MAIN)
        for edge in self.graph.edges:
            known = self.ports[edge.source]
            if all(_port_key(p) != _port_key(edge.port) for p in known):
                known.append(edge.port)
            number = self.port_number(edge.source, edge.port)
            self.out_edges[edge.source].setdefault(number, []).append(edge)

    # -- forwards: what is open ------------------------------------------------------------------------

    def _forwards(self) -> None:
        arriving: dict[Node, list[Way]] = {n: [] for n in self.graph.nodes}
        start = Way([self.task_frame], {})
        for number, entry in enumerate(self.graph.entries):
            way = start.opened(self.source_branch, number) if self.source_branch else start
            arriving[entry].append(way)
        for node in self.order:
            came = _meet(arriving[node])
            goes = self._through(node, came)
            for number, edges in self.out_edges[node].items():
                failed = self.ports[node][number] is FAILURES
                # A task that failed at a node is where it was before it; but a merged task is the opener's task
                # going on, so a failed one is outside the scope too: that has been closed.
                base = came if failed and node not in self.closes else goes
                if node in self.route_frames and not failed:
                    base = base.opened(self.route_frames[node], number)
                targets = [e.target for e in edges if e.target is not None]
                if len(targets) > 1:
                    frame = self.branch_frames[node, number] = Frame("branch", node, self.ports[node][number])
                for branch, target in enumerate(targets):
                    way = base.opened(frame, branch) if len(targets) > 1 else base
                    arriving[target].append(way)

    def _through(self, node: Node, came: Way) -> Way:
        if isinstance(node, Merger):
            if node.windowed or node.of == "run":
                self.closes[node] = None
                return Way([], {})
            frame = self._target(node, came)
            frame.closers.append(node)
            self.closes[node] = frame
            self.spread[node] = len(came.branches.get(id(frame), ()))
            return came.outside(frame)
        if node.kind == "split":
            frame = self.split_frames[node] = Frame("split", node)
            return came.opened(frame)
        if isinstance(node, Router):
            self.route_frames[node] = Frame("route", node)
        return came

    def _target(self, merger: Merger, came: Way) -> Frame:
        name = self.graph.names[merger]
        if merger.of == "task":
            if self.task_frame in came.frames:
                return self.task_frame
            raise GraphError(
                f'merger {name!r}: of="task" cannot be closed here: a Merger before it has merged tasks of '
                f'several source tasks (a window, of="run") or closed of="task" already'
            )
        if isinstance(merger.of, Node):
            for frame in came.frames:  # the outermost frame that the named node opens
                if frame.opener is merger.of:
                    return frame
            raise GraphError(self._not_open(merger, name, merger.of, came))
        for frame in reversed(came.frames):
            if frame.kind == "split" or (frame.kind == "branch" and len(came.branches[id(frame)]) >= 2):
                return frame
        raise GraphError(
            f"merger {name!r} has no scope to close: on every way into it no Splitter is open, and no branching of "
            f"which several branches lead here{self._way_out(came)}. Put a Splitter before it, send each task to "
            f'several nodes (a >> [b, c] >> {name}), or say what to merge: of="task" (all that came from one source '
            f'task), of="run" (everything), size=n or within=seconds (windows)'
        )

    def _not_open(self, merger: Merger, name: str, opener: Node, came: Way) -> str:
        if opener not in self.graph:
            return (
                f"merger {name!r}: of={opener.name!r} is not a node of this graph; name a Splitter or a node that "
                f"sends each task to several nodes before the Merger"
            )
        if not self._opens(opener):
            return (
                f"merger {name!r}: of={opener.name!r} opens no scope: it is no Splitter and sends its tasks to one "
                f"node only{self._way_out(came)}"
            )
        return (
            f"merger {name!r}: the scope of {opener.name!r} is not open on every way into it (some way does not "
            f"come from it, or a Merger has closed it){self._way_out(came)}"
        )

    def _opens(self, node: Node) -> bool:
        """Whether ``node`` opens scopes: for the tasks it splits, routes, or sends to several nodes."""
        ways = self.out_edges[node].values()
        return node.kind in ("split", "route") or any(sum(e.target is not None for e in way) > 1 for way in ways)

    def _way_out(self, came: Way) -> str:
        opened = [(f.kind, self.graph.names[f.opener]) for f in came.frames if f.opener is not None]
        names = dict.fromkeys(name for kind, name in opened if kind != "route")
        routers = [name for kind, name in opened if kind == "route"]
        hint = f"; open here: {', '.join(map(repr, names))}" if names else ""
        if routers and not names:
            hint += f"; to merge what a Router sent on several branches write of={routers[-1]}"
        return hint

    # -- backwards: what can still be closed ---------------------------------------------------------

    def _backwards(self) -> None:
        for node in reversed(self.order):
            ahead: set[Frame] = set()
            for edges in self.out_edges[node].values():
                for edge in edges:
                    if edge.target is not None:
                        ahead |= self.needed[edge.target]
            own = {f for f in self.frames if f.opener is node and node is not SOURCE}
            if node not in self.closes:
                self.needed[node] = ahead - own
            elif (frame := self.closes[node]) is not None:
                # Only frames outside the closed one can be needed after it, by construction of `_forwards`.
                self.needed[node] = (ahead - own) | {frame}
            else:
                self.needed[node] = set()  # a member of a window has left all scopes, however the window ends


def _port_key(port: object) -> tuple[type, object]:
    return (type(port), port)


def most_outputs(scopes: Scopes, source_targets: Iterable[Node]) -> int:
    """The largest number of outputs one source task can give: 0, 1, or 2 for "several".

    Counted per arriving task, deepest node first; what is merged is counted at the opener of the scope.
    """
    graph = scopes.graph
    arriving: dict[Node, int] = {}
    merged: dict[Node, int] = {}
    sinks = set(graph.sinks())

    def closed(frame: Frame) -> int:
        return sum(merged[m] for m in frame.closers)

    for node in reversed(scopes.order):
        by_port: dict[int, int] = {}
        for number, edges in scopes.out_edges[node].items():
            targets = [e.target for e in edges if e.target is not None]
            total = sum(arriving[t] for t in targets)
            if (node, number) in scopes.branch_frames:
                total += closed(scopes.branch_frames[node, number])
            by_port[number] = total
        failed = sum(n for p, n in by_port.items() if scopes.ports[node][p] is FAILURES)
        labels = [n for p, n in by_port.items() if scopes.ports[node][p] is not FAILURES]
        if isinstance(node, Router):
            out = sum(labels) if node.may_give_several() else max(labels, default=0)
            out += closed(scopes.route_frames[node])
        else:
            out = sum(labels) + (1 if node in sinks else 0)
        if node.kind == "split":
            out = 2 * out + closed(scopes.split_frames[node]) + failed  # it may fail after some children have gone on
        most = min(2, max(out, failed))
        if node in scopes.closes:
            merged[node] = most
            arriving[node] = 0  # a member is counted where its scope was opened; a window belongs to nobody
        else:
            arriving[node] = most
    total = sum(arriving[t] for t in source_targets) + closed(scopes.task_frame)
    if scopes.source_branch:
        total += closed(scopes.source_branch)
    return min(2, total)
