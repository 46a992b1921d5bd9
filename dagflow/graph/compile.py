"""Graph -> Plan: check everything that can be wrong, then number nodes, ports and frames."""

from __future__ import annotations

from dagflow.errors import GraphError, TaskTimeout
from dagflow.graph.algebra import FAILURES, Graph
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.node import Node
from dagflow.graph.plan import Closing, FramePlan, MergePlan, NodePlan, Plan, PortPlan
from dagflow.graph.router import Router
from dagflow.graph.scopes import Frame, Scopes, most_outputs
from dagflow.graph.signature import takes_exactly


def compile_plan(graph: Graph) -> Plan:
    """The plan of ``graph``; raises `GraphError` for whatever would go wrong when it runs."""
    _check_routers(graph)
    scopes = Scopes(graph)
    number = {node: i for i, node in enumerate(scopes.order)}
    frames = scopes.frames
    frame_number = {id(f): i for i, f in enumerate(frames)}

    def frame_index(frame: Frame | None) -> int:
        return -1 if frame is None else frame_number[id(frame)]

    nodes = []
    for node in scopes.order:
        ports, failures = _ports(scopes, node, number, frame_number)
        nodes.append(
            NodePlan(
                index=number[node],
                name=graph.names[node],
                kind=node.kind,
                mode=node.execution_mode,
                width=node.width(),
                max_retries=node.max_retries,
                retry_delay=node.retry_delay,
                retry_max_delay=node.retry_max_delay,
                retries_timeout=issubclass(TaskTimeout, node.retry_types()),
                timeout=node.timeout,
                rate_limit=node.rate_limit,
                batch_size=node.batch_size,
                deduplicate=node.deduplicate is not False,
                ports=ports,
                failures=failures,
                merge=_merge_plan(scopes, node, frame_number) if isinstance(node, Merger) else None,
                split_frame=frame_index(scopes.split_frames.get(node)),
                route_frame=frame_index(scopes.route_frames.get(node)),
                needed=frozenset(frame_number[id(f)] for f in scopes.needed[node]),
            )
        )
    source = PortPlan(
        index=0,
        label=None,
        targets=tuple(number[n] for n in graph.entries),
        frame=frame_index(scopes.source_branch),
    )
    return Plan(
        name=graph.name,
        nodes=tuple(nodes),
        frames=tuple(
            FramePlan(
                index=i,
                kind=f.kind,
                node=-1 if f.opener is None else number[f.opener],
                port=-1 if f.opener is None or f.kind != "branch" else scopes.port_number(f.opener, f.port),
                closers=tuple(sorted(number[m] for m in f.closers)),
            )
            for i, f in enumerate(frames)
        ),
        source=source,
        task_frame=frame_index(scopes.task_frame),
        single=most_outputs(scopes, graph.entries) <= 1,
    )


def _check_routers(graph: Graph) -> None:
    branched = {id(e.source) for e in graph.edges if e.port is not FAILURES}
    for node in graph.nodes:
        if isinstance(node, Router) and id(node) not in branched:
            raise GraphError(f"router {graph.names[node]!r} has no branches: write {node.name} >> {{label: node, ...}}")


def _ports(
    scopes: Scopes, node: Node, number: dict[Node, int], frame_number: dict[int, int]
) -> tuple[tuple[PortPlan, ...], PortPlan | None]:
    ports: list[PortPlan] = []
    failures: PortPlan | None = None
    for index, port in enumerate(scopes.ports[node]):
        edges = scopes.out_edges[node].get(index, [])
        targets = tuple(number[e.target] for e in edges if e.target is not None)
        frame = scopes.branch_frames.get((node, index))
        plan = PortPlan(
            index=index,
            label=port if isinstance(node, Router) and port is not FAILURES else None,
            targets=targets,
            frame=-1 if frame is None else frame_number[id(frame)],
            exit=not edges and not isinstance(node, Router),
            drop=bool(edges) and not targets,
        )
        if port is FAILURES:
            failures = plan
        else:
            ports.append(plan)
    if isinstance(node, Router) and node.default is DROP:
        # A port of its own, which no label leads to: where unknown labels are dropped.
        ports.append(PortPlan(index=len(scopes.ports[node]), label=DROP, targets=(), drop=True))
    return tuple(ports), failures


def _merge_plan(scopes: Scopes, merger: Merger, frame_number: dict[int, int]) -> MergePlan:
    frame = scopes.closes[merger]
    closing: Closing = "window" if merger.windowed else "run" if frame is None else "scope"
    branches = scopes.spread.get(merger, 0)
    spreads = branches >= 2 and merger.fold is None and takes_exactly(merger.func, branches)
    return MergePlan(
        closing=closing,
        frame=-1 if frame is None else frame_number[id(frame)],
        skip_missing=merger.on_missing == "skip",
        fold=merger.fold is not None,
        size=merger.size,
        within=merger.within,
        spread=branches if spreads else None,
    )
