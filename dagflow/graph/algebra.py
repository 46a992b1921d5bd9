"""Graph: an immutable picture of who feeds whom, and the operators that make one.

``left >> right`` is the union of both plus an edge from every exit of left to every entry of right; it is
associative, and nothing is changed, registered or started by it. `Graph` is a value: nodes are told apart
by identity, edges are `Edge` triples. networkx does the graph theory and is imported when first needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dagflow.errors import GraphError
from dagflow.graph.marks import DROP
from dagflow.graph.node import Node
from dagflow.graph.router import Router
from dagflow.graph.task_manager import TaskManager

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import networkx

    from dagflow.graph.plan import Plan


class _Port:
    """A named way out of a node that is not a Router's label."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return "MAIN" if self is MAIN else "FAILURES"  # told apart by identity, so a copy is the port itself


MAIN: Final = _Port("out")
FAILURES: Final = _Port("failures")


@dataclass(frozen=True, eq=False)
class Edge:
    """One edge: what leaves ``source`` by ``port`` (`MAIN`, `FAILURES`, or a Router's label) reaches ``target``.

    ``target`` is None where a Router's branch is `DROP`.
    """

    source: Node
    port: Any
    target: Node | None

    def key(self) -> tuple[int, Any, int]:
        """What makes two edges the same."""
        return id(self.source), _label_key(self.port), id(self.target)


class Graph:
    """A graph of nodes. Make one with ``>>``; ``Graph(x, name=...)`` lifts and names anything that ``>>`` takes.

    >>> graph = TaskManager(str.split) >> len
    >>> graph.run(["to be or not to be"], backend="serial").values
    [6]
    >>> print(graph.to_text())
    split → len
    """

    def __init__(self, what: Any, *, name: str | None = None) -> None:
        given = what if isinstance(what, Graph) else None if isinstance(what, Node) else lift(what)
        if given is None:
            self._set((what,), (), (what,), (what,))
        else:
            self._set(given.nodes, given.edges, given.entries, given.exits)
        self.__dict__["name"] = name or (given.name if given is not None else None)

    name: str | None
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    entries: tuple[Node, ...]
    exits: tuple[Node, ...]

    def _set(
        self,
        nodes: tuple[Node, ...],
        edges: tuple[Edge, ...],
        entries: tuple[Node, ...],
        exits: tuple[Node, ...],
    ) -> None:
        self.__dict__.update(nodes=nodes, edges=edges, entries=entries, exits=exits)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a graph is a value and cannot be changed: make another one instead of setting {name!r}")

    @classmethod
    def _make(
        cls,
        nodes: tuple[Node, ...],
        edges: tuple[Edge, ...],
        entries: tuple[Node, ...],
        exits: tuple[Node, ...],
        name: str | None,
    ) -> Graph:
        graph = cls.__new__(cls)
        graph._set(nodes, edges, entries, exits)
        graph.__dict__["name"] = name
        return graph

    # -- looking at it -----------------------------------------------------------------------------

    @cached_property
    def names(self) -> Mapping[Node, str]:
        """The name of each node in this graph: auto-named ones of one name get ``-2``, ``-3``."""
        taken = {n.explicit_name for n in self.nodes if n.explicit_name}
        names: dict[Node, str] = {}
        for node in self.nodes:
            name, number = node.name, 1
            while node.explicit_name is None and name in taken:
                number += 1
                name = f"{node.name}-{number}"
            taken.add(name)
            names[node] = name
        return names

    @cached_property
    def digraph(self) -> networkx.DiGraph[Node]:
        """The graph as a frozen `networkx.DiGraph`: nodes carry ``name`` and ``kind``, edges ``ports``."""
        import networkx

        digraph: networkx.DiGraph[Node] = networkx.DiGraph(name=self.name or "")
        for node in self.nodes:
            digraph.add_node(node, name=self.names[node], kind=node.kind)
        for edge in self.edges:
            if edge.target is None:
                continue
            if digraph.has_edge(edge.source, edge.target):
                digraph.edges[edge.source, edge.target]["ports"] += (edge.port,)
            else:
                digraph.add_edge(edge.source, edge.target, ports=(edge.port,))
        frozen: networkx.DiGraph[Node] = networkx.freeze(digraph)
        return frozen

    def check(self) -> Plan:
        """Check the whole graph as a run would: raises `GraphError`, gives the plan.

        Warns (`GraphWarning`) where the annotations of two joined functions clearly contradict each other.
        """
        from dagflow.graph.compile import compile_plan
        from dagflow.graph.hints import warn_of_mismatches

        plan = compile_plan(self)
        warn_of_mismatches(self)
        return plan

    def sinks(self) -> tuple[Node, ...]:
        """The nodes whose outputs leave the graph: nothing is joined to their main port."""
        fed = {id(e.source) for e in self.edges if e.port is not FAILURES}
        return tuple(n for n in self.nodes if id(n) not in fed)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, node: object) -> bool:
        return any(n is node for n in self.nodes)

    def __repr__(self) -> str:
        name = f"{self.name!r}: " if self.name else ""
        edges = sum(1 for e in self.edges if e.target is not None)
        nodes = f"{len(self.nodes)} node{'s' if len(self.nodes) != 1 else ''}"
        return f"Graph({name}{nodes}, {edges} edge{'s' if edges != 1 else ''})"

    # -- the algebra -------------------------------------------------------------------------------

    def __rshift__(self, other: Any) -> Graph:
        return join(self, other)

    def __rrshift__(self, other: Any) -> Graph:
        return join(lift(other), self)

    def __or__(self, other: Any) -> Graph:
        return union(self, other)

    def __ror__(self, other: Any) -> Graph:
        return union(lift(other), self)

    def __bool__(self) -> bool:
        raise GraphError(
            "a graph is neither true nor false: 'and', 'or' and chained comparisons do not join nodes; write a >> b"
        )

    def _no_order(self, other: object) -> NoReturn:
        raise GraphError("graphs have no order: to join two of them write left >> right")

    __lt__ = __le__ = __gt__ = __ge__ = _no_order

    # -- running, drawing: faces of what lies floors above, looked up when called -----------------

    def run(
        self,
        tasks: Iterable[Any] | AsyncIterable[Any] | None,
        backend: str = "process",
        *,
        ordered: bool = True,
        fail_fast: bool = False,
        show_progress: bool = False,
        trace: bool | float = False,
        max_in_flight: int | None = None,
        max_bytes: int | str = "1GB",
        logger: Any = None,
        journal: Any = None,
        durability: str = "process",
        resume: str = "strict",
        retry_failed: bool = False,
    ) -> Any:
        """Run ``tasks`` to the end and return a `RunResult`. See `dagflow.api.run`."""
        with _wiring(backend) as api:
            return api.run(
                self,
                tasks,
                backend,
                ordered=ordered,
                fail_fast=fail_fast,
                show_progress=show_progress,
                trace=trace,
                max_in_flight=max_in_flight,
                max_bytes=max_bytes,
                logger=logger,
                journal=journal,
                durability=durability,
                resume=resume,
                retry_failed=retry_failed,
            )

    def stream(
        self, tasks: Iterable[Any] | AsyncIterable[Any], backend: str = "process", **options: Any
    ) -> Iterator[Any]:
        """Run ``tasks`` and give each output as it comes. See `dagflow.api.stream`."""
        with _wiring(backend) as api:
            outputs: Iterator[Any] = api.stream(self, tasks, backend, **options)
        return outputs

    async def arun(
        self, tasks: Iterable[Any] | AsyncIterable[Any] | None, backend: str = "process", **options: Any
    ) -> Any:
        """`run` for use inside a running event loop, which stays free meanwhile."""
        with _wiring(backend) as api:
            return await api.arun(self, tasks, backend, **options)

    def astream(
        self, tasks: Iterable[Any] | AsyncIterable[Any], backend: str = "process", **options: Any
    ) -> AsyncIterator[Any]:
        """`stream` for use inside a running event loop."""
        with _wiring(backend) as api:
            outputs: AsyncIterator[Any] = api.astream(self, tasks, backend, **options)
        return outputs

    def open(self, backend: str = "process", **options: Any) -> Any:
        """A live run to submit tasks to. See `dagflow.api.open_run`."""
        with _wiring(backend) as api:
            return api.open_run(self, backend, **options)

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        return str(import_module("dagflow.draw").to_dot(self))

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return str(import_module("dagflow.draw").to_mermaid(self))

    def to_text(self) -> str:
        """The graph as plain text, a tree."""
        return str(import_module("dagflow.draw").to_text(self))

    def to_svg(self) -> str:
        """The graph as SVG; needs no program."""
        return str(import_module("dagflow.draw").to_svg(self))

    def draw(self, path: Any) -> Any:
        """Draw to ``path``, by its suffix (.svg .png .pdf .dot .gv .mmd .txt); returns the path."""
        return import_module("dagflow.draw").draw(self, path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle: dict[str, str] = import_module("dagflow.draw").mimebundle(self)
        return bundle


class FailurePort:
    """``node.failures``: joined with ``>>`` to where the tasks that finally failed at ``node`` go on."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __rshift__(self, other: Any) -> Graph:
        right = lift(other)
        edges = tuple(Edge(self.node, FAILURES, entry) for entry in right.entries)
        return _combined((self.node, *right.nodes), edges + right.edges, (self.node,), right.exits, right.name)

    def __rrshift__(self, other: Any) -> NoReturn:
        raise GraphError(self._hint())

    def _hint(self) -> str:
        return f"{self!r} is a way out, not a node: write {self!r} >> handler, and join that with |"

    def __repr__(self) -> str:
        return f"{self.node.name}.failures"


def par(*parts: Any) -> Graph:
    """The group of ``parts``: each task goes to all of them. ``par(a, b) >> par(c, d)``."""
    if not parts:
        raise GraphError("par() needs at least one node")
    group = lift(parts[0])
    for part in parts[1:]:
        group = union(group, part)
    return group


def lift(what: Any) -> Graph:
    """What ``>>`` takes, as a graph: a graph, a node, a list of those, or a plain callable."""
    if isinstance(what, Graph):
        return what
    if isinstance(what, Node):
        return Graph(what)
    if isinstance(what, (list, tuple)):
        if not what:
            raise GraphError("an empty list cannot be joined: name at least one node in it")
        return par(*what)
    if isinstance(what, FailurePort):
        raise GraphError(what._hint())
    if isinstance(what, Mapping):
        raise GraphError("a dict of branches can only stand after a Router: router >> {label: node}")
    if what is DROP:
        raise GraphError("DROP can only be a branch of a Router: router >> {label: DROP}")
    if callable(what):
        return Graph(TaskManager(what))
    raise GraphError(
        f"{what!r} ({type(what).__name__}) cannot be a node: give a function, a TaskManager, Splitter, Router "
        f"or Merger, a graph, or a list of these"
    )


def join(left: Graph, right: Any) -> Graph:
    """``left >> right``."""
    if isinstance(right, Mapping):
        return _branch(left, right)
    other = lift(right)
    if not left.exits:
        raise GraphError(
            f"nothing goes on to {other.entries[0].name!r}: all branches before it are DROP, "
            f"so it would never get a task"
        )
    for node in left.exits:
        if isinstance(node, Router):
            raise GraphError(
                f"router {node.name!r} needs labels on its branches: write {node.name} >> {{label: node}}, "
                f"not {node.name} >> {other.entries[0].name}"
            )
    edges = tuple(Edge(a, MAIN, b) for a in left.exits for b in other.entries)
    return _combined(
        left.nodes + other.nodes,
        left.edges + other.edges + edges,
        left.entries,
        other.exits,
        left.name or other.name,
    )


def union(left: Graph, right: Any) -> Graph:
    """``left | right``: both graphs, nodes that stand in both being the same vertex."""
    other = lift(right)
    nodes, edges = left.nodes + other.nodes, left.edges + other.edges
    fed = {id(e.target) for e in edges}
    feeding = {id(e.source) for e in edges if e.port is not FAILURES}
    entries = tuple(n for n in left.entries + other.entries if id(n) not in fed)
    exits = tuple(n for n in left.exits + other.exits if id(n) not in feeding)
    return _combined(nodes, edges, entries, exits, left.name or other.name)


def _wiring(backend: str) -> AbstractContextManager[Any]:
    wiring: AbstractContextManager[Any] = import_module("dagflow.starting").wiring(backend)
    return wiring


def _branch(left: Graph, branches: Mapping[Any, Any]) -> Graph:
    """``left >> {label: x}``: one branch a label, after a Router."""
    if len(left.exits) != 1 or not isinstance(left.exits[0], Router):
        shown = ", ".join(repr(n.name) for n in left.exits) or "nothing"
        raise GraphError(f"a dict of branches can only stand after a single Router, here it stands after {shown}")
    router = left.exits[0]
    if not branches:
        raise GraphError(f"router {router.name!r}: the dict of branches is empty")
    _check_labels(router, branches)
    nodes, edges = left.nodes, left.edges
    exits: tuple[Node, ...] = ()
    new_edges: tuple[Edge, ...] = ()
    for label, branch in branches.items():
        if branch is DROP:
            new_edges += (Edge(router, label, None),)
            continue
        part = lift(branch)
        nodes += part.nodes
        edges += part.edges
        new_edges += tuple(Edge(router, label, entry) for entry in part.entries)
        exits += part.exits
    return _combined(nodes, edges + new_edges, left.entries, exits, left.name)


def _check_labels(router: Router, branches: Mapping[Any, Any]) -> None:
    keys = {_label_key(label) for label in branches}
    default = router.default
    if default is not None and default is not DROP and _label_key(default) not in keys:
        raise GraphError(
            f"router {router.name!r}: its default {default!r} is not among the branches {list(branches)!r}"
        )
    known = router.known_labels()
    if known is None:
        return
    missing = [label for label in known if _label_key(label) not in keys]
    if missing and default is None:
        raise GraphError(
            f"router {router.name!r}: no branch for {', '.join(map(repr, missing))}; add "
            f"{{{missing[0]!r}: node}} or {{{missing[0]!r}: DROP}}, or give the Router a default="
        )
    known_keys = {_label_key(label) for label in known}
    extra = [label for label in branches if _label_key(label) not in known_keys and label != default]
    if extra:
        raise GraphError(
            f"router {router.name!r}: branch {', '.join(map(repr, extra))} can never be taken; "
            f"its labels are {', '.join(map(repr, known))}"
        )


def _label_key(label: Any) -> Any:
    """Labels are told apart by type and value, so that ``1`` and ``True`` are two labels."""
    return (type(label), label)


def _combined(
    nodes: Iterable[Node],
    edges: Iterable[Edge],
    entries: Iterable[Node],
    exits: Iterable[Node],
    name: str | None,
) -> Graph:
    """A graph of these parts, each once, checked for what can be wrong already: a cycle, two explicit names."""
    node_list, edge_list = _unique(nodes, id), _unique(edges, Edge.key)
    graph = Graph._make(node_list, edge_list, _unique(entries, id), _unique(exits, id), name)
    names: dict[str, Node] = {}
    for node in node_list:
        if node.explicit_name is None:
            continue
        if node.explicit_name in names:
            raise GraphError(f"two nodes are named {node.explicit_name!r}: give one of them another name=")
        names[node.explicit_name] = node
    _refuse_cycle(graph)
    return graph


def _refuse_cycle(graph: Graph) -> None:
    # A graph whose every edge leads to a node that stands later in it has no cycle: the usual case, found
    # out without networkx, so that a long chain is built quickly.
    place = {id(n): i for i, n in enumerate(graph.nodes)}
    if all(e.target is None or place[id(e.source)] < place[id(e.target)] for e in graph.edges):
        return
    import networkx

    try:
        cycle = networkx.find_cycle(graph.digraph)
    except networkx.NetworkXNoCycle:
        return
    path = " -> ".join(repr(graph.names[edge[0]]) for edge in cycle)
    raise GraphError(
        f"the graph has a cycle: {path} -> {graph.names[cycle[0][0]]!r}. A node stands once in a graph; "
        f"to run the same function again make a second node of it"
    )


def _unique(items: Iterable[Any], key: Callable[[Any], Any]) -> tuple[Any, ...]:
    seen: dict[Any, Any] = {}
    for item in items:
        seen.setdefault(key(item), item)
    return tuple(seen.values())
