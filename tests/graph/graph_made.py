"""What the tests of dagflow.graph share: short ways to make nodes, ways to read a graph or plan by names, and
naive oracles (every path, every behaviour, one by one) to compare the plan with."""

from __future__ import annotations

import itertools
from typing import Literal

import networkx
from hypothesis import strategies as st

from dagflow import DROP, Graph, GraphError, Merger, Router, Splitter, TaskManager, par


def same(value):
    return value


def task(name, func=same, **options):
    return TaskManager(func, name=name, **options)


def tasks(names):
    return [task(name) for name in names.split()]


def split(name="s", func=same):
    return Splitter(func, name=name)


def route(name="r", func=same, default=None):
    return Router(func, default, name=name)


def merge(name="m", of=None, func=len, **options):
    return Merger(func, of, name=name, **options)


def edges(graph):
    """The edges by names: ``a>b``, with the port where it is not the main one: ``r[x]>b``, ``a[failures]>b``."""
    found = set()
    for edge in graph.edges:
        port = "" if repr(edge.port) == "out" else f"[{edge.port}]"
        target = "DROP" if edge.target is None else graph.names[edge.target]
        found.add(f"{graph.names[edge.source]}{port}>{target}")
    return found


def names(nodes):
    return [node.name for node in nodes]


def meaning(graph):
    """What a graph says, whatever the order it was written in."""
    return set(names(graph.nodes)), edges(graph), set(names(graph.entries)), set(names(graph.exits))


def written(graph):
    """What a graph says, in the order it was written in."""
    return names(graph.nodes), edges(graph), names(graph.entries), names(graph.exits)


def snapshot(graph):
    return graph.nodes, graph.edges, graph.entries, graph.exits, graph.name


# -- a plan by names -----------------------------------------------------------------------------------------


def frame_name(plan, index):
    """``"split s"``, ``"branch a"``, ``"branch a[failures]"``, ``"branch r[x]"``, ``"route r"``; the source's own."""
    frame = plan.frames[index]
    if frame.node < 0:
        return "task" if frame.kind == "task" else "branch of the source"
    node = plan.nodes[frame.node]
    port = ""
    if frame.kind == "branch":
        if node.failures is not None and node.failures.index == frame.port:
            port = "[failures]"
        elif node.kind == "route":
            port = f"[{next(p.label for p in node.ports if p.index == frame.port)}]"
    return f"{frame.kind} {node.name}{port}"


def closes(graph):
    """What each Merger of a graph closes: the frame, or ``"run"``, ``"window"``."""
    plan = graph.check()
    found = {}
    for node in plan.nodes:
        if node.merge is not None:
            scope = node.merge.closing == "scope"
            found[node.name] = frame_name(plan, node.merge.frame) if scope else node.merge.closing
    return found


def needed(graph):
    """The frames that each node can still lead to the Merger of."""
    plan = graph.check()
    return {node.name: {frame_name(plan, f) for f in node.needed} for node in plan.nodes}


# -- oracles: every path through a graph, one after the other --------------------------------------------------


class NoScope(Exception):
    """The oracle's answer for a Merger that has nothing to close."""


def ways_out(graph, node):
    """``[(port key, targets)]`` of a node, in the order written."""
    ports = {}
    for edge in graph.edges:
        if edge.source is node:
            ports.setdefault((type(edge.port), str(edge.port)), []).append(edge.target)
    return [(key[1], [t for t in targets if t is not None]) for key, targets in ports.items()]


def paths_of(graph):
    """``(closed, stacks)``: the frame each Merger closes, found by following every path from the source; for each
    node the stacks ``((frame, branch), ...)`` it can be reached with. Raises `NoScope` where there is nothing to close.
    """
    stacks = {node: set() for node in graph.nodes}
    closed = {}
    for number, entry in enumerate(graph.entries):
        inside = (("branch of the source", number),) if len(graph.entries) > 1 else ()
        stacks[entry].add((("task", None), *inside))
    for node in networkx.topological_sort(graph.digraph):
        name = graph.names[node]
        if isinstance(node, Merger):
            closed[node] = _closed_by(graph, node, stacks[node])
        for port, targets in ways_out(graph, node):
            failed = port == "failures"
            for came in stacks[node]:
                stack = came
                if isinstance(node, Merger):
                    at = [f for f, _ in came].index(closed[node]) if closed[node] not in ("run", "window") else 0
                    stack = came[:at]
                elif isinstance(node, Splitter) and not failed:
                    stack = (*came, (f"split {name}", None))
                elif isinstance(node, Router) and not failed:
                    stack = (*came, (f"route {name}", port))
                label = f"[{port}]" if failed or isinstance(node, Router) else ""
                for branch, target in enumerate(targets):
                    several = ((f"branch {name}{label}", branch),) if len(targets) > 1 else ()
                    stacks[target].add((*stack, *several))
    return closed, stacks


def _closed_by(graph, merger, stacks):
    if merger.windowed or merger.of == "run":
        return "window" if merger.windowed else "run"
    everywhere = [f for f, _ in min(stacks) if all(f in [g for g, _ in stack] for stack in stacks)]
    if merger.of == "task":
        found = [f for f in everywhere if f == "task"]
    elif merger.of is not None:
        opener = graph.names[merger.of]
        found = [f for f in everywhere if f.split(" ", 1)[-1].split("[")[0] == opener and f != "task"]
    else:
        leading = {f: {b for stack in stacks for g, b in stack if g == f} for f in everywhere}
        found = [f for f in everywhere if f.startswith("split") or (f.startswith("branch") and len(leading[f]) > 1)]
        found.reverse()
    if not found:
        raise NoScope(merger.name)
    return found[0]


def needed_by_paths(graph, closed):
    """For each node the frames whose Merger can be reached without passing the opener, a window or ``of="run"``."""
    lets_through = [n for n in graph.nodes if closed.get(n) not in ("run", "window")]
    found = {graph.names[n]: set() for n in graph.nodes}
    for frame in {f for f in closed.values() if f not in ("run", "window")}:
        opener = frame.split(" ", 1)[-1].split("[")[0] if frame not in ("task", "branch of the source") else None
        inside = graph.digraph.subgraph([n for n in lets_through if graph.names[n] != opener])
        for merger, what in closed.items():
            if what == frame:
                for node in {merger, *networkx.ancestors(inside, merger)}:
                    found[graph.names[node]].add(frame)
    return found


def most_outputs_by_trying(graph, limit=400):
    """The most outputs one source task gave (at most 2 are counted), over every behaviour of every node; None if
    there are more than ``limit`` behaviours. Every Splitter gives two children; each node either does or fails; a
    Router takes one branch, or all where its annotation says that it gives a list.
    """
    plan = graph.check()
    options = []
    for node in plan.nodes:
        does = [("do", None)]
        if node.kind == "route":
            several = router_gives_lists(graph, node.name)
            does = [("do", {p.index}) for p in node.ports]
            does += [("do", {p.index for p in node.ports})] if several else []
        fails = [("fail", None)] if node.failures is not None else []
        options.append(does + fails)
    total = 1
    for each in options:
        total *= len(each)
    if total > limit:
        return None
    return min(2, max(_outputs(plan, behaviour) for behaviour in itertools.product(*options)))


def router_gives_lists(graph, name):
    router = next(n for n in graph.nodes if graph.names[n] == name)
    return router.func is gives_lists


def gives_lists(value) -> list[Literal["x", "y"]]:
    raise NotImplementedError


def _outputs(plan, behaviour):
    outputs = 0

    def opened(frame, scopes, inside):
        """Run ``inside(scopes)`` in a new scope of ``frame``; its Mergers fire once each when all inside is done."""
        if frame < 0 or not plan.frames[frame].closers:
            inside(scopes)
            return
        inside([*scopes, frame])
        for merger in plan.frames[frame].closers:
            leave(plan.nodes[merger], scopes)

    def send(port, scopes):
        nonlocal outputs
        outputs += port.exit
        opened(port.frame, scopes, lambda inner: [arrive(plan.nodes[t], inner) for t in port.targets])

    def leave(node, scopes):
        verb, ports = behaviour[node.index]
        if node.kind == "split":
            # A failing one gives its children first, then fails: they had flowed on while it still ran.
            opened(node.split_frame, scopes, lambda inner: [send(node.ports[0], inner) for _ in range(2)])
        if verb == "fail":
            send(node.failures, scopes)
        elif node.kind == "route":
            taken = [p for p in node.ports if p.index in ports]
            opened(node.route_frame, scopes, lambda inner: [send(p, inner) for p in taken])
        elif node.kind != "split":
            send(node.ports[0], scopes)

    def arrive(node, scopes):
        if node.merge is None:
            leave(node, scopes)
        elif node.merge.closing == "scope":
            assert node.merge.frame in scopes, f"{node.name} closes {frame_name(plan, node.merge.frame)}, not open"

    opened(plan.task_frame, [], lambda scopes: send(plan.source, scopes))
    return outputs


# -- random graphs ---------------------------------------------------------------------------------------------


@st.composite
def plain_graphs(draw, pool, depth=3):
    """Graphs of the plain nodes of ``pool`` (the same node may stand in it twice) by ``>>``, ``|`` and lists."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return Graph(draw(st.sampled_from(pool)))
    left, right = draw(plain_graphs(pool, depth - 1)), draw(plain_graphs(pool, depth - 1))
    how = draw(st.sampled_from(("join", "union", "list")))
    try:
        return left >> right if how == "join" else left | right if how == "union" else left >> [right, pool[0]]
    except GraphError:
        return left  # a cycle


@st.composite
def mixed_graphs(draw, pool, depth=3):
    """Like `plain_graphs`, with Routers, dropped branches and failures ports."""
    how = draw(st.integers(0, 6)) if depth else 6
    if how == 6:
        return Graph(draw(st.sampled_from(pool)))
    left, right = draw(mixed_graphs(pool, depth - 1)), draw(mixed_graphs(pool, depth - 1))
    node = draw(st.sampled_from(pool))
    try:
        if how <= 1:
            return left >> right
        if how <= 3:
            return left | right
        if how == 4:
            return node.failures >> right
        return left >> Router(same, name=f"r{id(left)}") >> {"x": right, "y": DROP}
    except GraphError:
        return left


@st.composite
def scoped_graphs(draw, size=3, failing=True):
    """Graphs of all kinds of nodes, mostly such that their Mergers have something to close."""
    numbers = itertools.count()

    def block(depth):
        number = next(numbers)
        kinds = (
            ["task"]
            if depth == 0
            else ["task", "split", "window", "chain", "spread", "scoped", "routed", "side", "fail", "merge"]
        )
        kind = draw(st.sampled_from(kinds))
        if kind == "task":
            return Graph(task(f"t{number}"))
        if kind == "split":
            return Graph(split(f"s{number}"))
        if kind == "window":
            return Graph(merge(f"w{number}", **draw(st.sampled_from(({"size": 2}, {"of": "run"})))))
        if kind == "merge":
            return block(depth - 1) >> merge(f"m{number}", draw(st.sampled_from((None, "task"))))
        if kind == "chain":
            return block(depth - 1) >> block(depth - 1)
        if kind == "scoped":
            opener = split(f"s{number}")
            return opener >> block(depth - 1) >> merge(f"m{number}", draw(st.sampled_from((None, opener, "task"))))
        if kind == "spread":
            opener = draw(st.sampled_from((task, split)))(f"o{number}")
            graph = opener >> par(block(depth - 1), block(depth - 1))
            return graph >> merge(f"m{number}", draw(st.sampled_from((None, opener)))) if draw(st.booleans()) else graph
        if kind == "routed":
            router = route(f"r{number}", draw(st.sampled_from((same, gives_lists))))
            graph = router >> {"x": block(depth - 1), "y": draw(st.sampled_from((DROP, block(depth - 1))))}
            return graph >> merge(f"m{number}", router) if draw(st.booleans()) else graph
        if kind == "side":
            opener = task(f"o{number}")
            return (opener >> block(depth - 1) >> block(depth - 1)) | (opener >> block(depth - 1))
        graph = block(depth - 1)
        failed = draw(st.sampled_from(graph.nodes))
        return graph | (failed.failures >> block(depth - 1)) if failing else graph

    graph = block(size)
    for _ in range(draw(st.integers(0, 2))):
        a, b = draw(st.sampled_from(graph.nodes)), draw(st.sampled_from(graph.nodes))
        try:
            graph = graph | (a >> b)
        except GraphError:  # a cycle, or a Router
            continue
    return graph
