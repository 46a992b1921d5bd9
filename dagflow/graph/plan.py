"""Plan: a checked graph, numbered for running. Plain values; all the core ever sees of a graph.

Nodes are numbered in topological order, so a larger number lies deeper. A *frame* is a place where scopes
open: a Splitter (one scope per task it splits), a port that leads to several nodes (one scope per task sent),
or the source (``of="task"``: one scope per source task). See `dagflow.graph.scopes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

FrameKind = Literal["task", "split", "branch", "route"]
Closing = Literal["scope", "run", "window"]


@dataclass(frozen=True, slots=True)
class FramePlan:
    """A place where scopes open, and the Mergers that close them.

    ``node`` is the opener (-1: the source), ``port`` the port of a ``"branch"`` frame. Scopes of a frame
    without ``closers`` are not tracked: nobody waits for them.
    """

    index: int
    kind: FrameKind
    node: int
    port: int
    closers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PortPlan:
    """One way out of a node: its label (None: the main port), where it leads, and what it means.

    ``frame`` is the frame opened by leading to several nodes, or -1. ``exit``: outputs leave the graph here.
    ``drop``: tasks are dropped on purpose here.
    """

    index: int
    label: Any
    targets: tuple[int, ...]
    frame: int = -1
    exit: bool = False
    drop: bool = False


@dataclass(frozen=True, slots=True)
class MergePlan:
    """How a Merger merges: which frame it closes, or windows, or the whole run.

    ``spread``: the number of branches that become separate arguments, or None for one list.
    """

    closing: Closing
    frame: int
    skip_missing: bool
    fold: bool
    size: int | None
    within: float | None
    spread: int | None


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node, numbered: what the core needs to decide about its tasks."""

    index: int
    name: str
    kind: str
    mode: str
    width: int
    max_retries: int
    retry_delay: float
    retry_max_delay: float
    retries_timeout: bool
    timeout: float | None
    rate_limit: float | None
    batch_size: int | None
    deduplicate: bool
    ports: tuple[PortPlan, ...]
    failures: PortPlan | None
    merge: MergePlan | None
    split_frame: int
    route_frame: int
    needed: frozenset[int]
    """Frames of which a Merger that closes them can still be reached from here: the others have been left."""

    @property
    def gives_back(self) -> bool:
        """Whether it has several worker processes, which can give back tasks that they have not begun."""
        return self.mode == "process" and self.width > 1 and self.kind in ("task", "route")


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole graph, numbered. ``source`` is the port of the source; ``single``: at most one output a source task."""

    name: str | None
    nodes: tuple[NodePlan, ...]
    frames: tuple[FramePlan, ...]
    source: PortPlan
    task_frame: int
    single: bool

    def node_named(self, name: str) -> NodePlan:
        """The node of that name; `KeyError` if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)
