"""Overlay: what the numbers of a run say on its graph's picture. Counts and failures on nodes, tasks on edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagflow.busy import Busy, waiting_and_running
from dagflow.draw.model import OTHERWISE, Laid, Overlay, label_of
from dagflow.graph.marks import DROP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagflow.graph.plan import NodePlan, Plan
    from dagflow.protocols import NodeSnapshot, Snapshot


def overlay_of(plan: Plan, snapshot: Snapshot, busy: Busy, ends: Mapping[Any, int] | None = None) -> Overlay:
    """What ``snapshot`` lays over the picture of the graph that ``plan`` was made of.

    ``ends``: how many source tasks ended how, where that is known.
    """
    over = snapshot.state == "finished"
    nodes: dict[str, Laid] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for number, (node, now) in enumerate(zip(plan.nodes, snapshot.nodes, strict=True)):
        nodes[now.name] = laid(now, busy.shares[number], limits=number == busy.limits, over=over)
        for key, count in _sent(plan, node, now):
            counts[key] = counts.get(key, 0) + count
    return Overlay(nodes, counts, caption(snapshot, ends))


def laid(node: NodeSnapshot, share: float, *, limits: bool, over: bool) -> Laid:
    """What stands on one node. ``over``: the run has ended."""
    lines = [f"{node.succeeded:,} done, {share:.0%} busy"]
    if not over:
        waiting, running = waiting_and_running(node)
        lines.append(f"{waiting:,} waiting, {running:,} running")
    elif node.dropped or node.retried:
        more = ((node.dropped, "dropped"), (node.retried, "retried"))
        lines.append(", ".join(f"{count:,} {word}" for count, word in more if count))
    return Laid(tuple(lines), f"{node.failed:,} failed" if node.failed else "", share, limits)


def caption(snapshot: Snapshot, ends: Mapping[Any, int] | None = None) -> str:
    """One line about the whole run."""
    tasks = f"{snapshot.admitted:,} source task{'s' * (snapshot.admitted != 1)}"
    if snapshot.state != "finished":
        return f"{snapshot.state}, {snapshot.elapsed:.1f} s: {snapshot.ended:,} of {tasks} ended"
    told = ", ".join(f"{count:,} {status}" for status, count in sorted((ends or {}).items()))
    return f"{tasks} in {snapshot.elapsed:.2f} s" + (f": {told}" if told else "")


def _sent(plan: Plan, node: NodePlan, now: NodeSnapshot) -> list[tuple[tuple[str, str, str], int]]:
    """How many tasks went along each edge that leaves ``node``: each target of a port gets all that left by it."""
    found: list[tuple[tuple[str, str, str], int]] = []
    for port in (*node.ports, *([node.failures] if node.failures is not None else [])):
        if not now.sent:
            continue
        if port is node.failures:
            label = "failures"
        elif port.label is DROP:
            label = OTHERWISE
        else:
            label = "".join(label_of(port.label)) if node.kind == "route" else ""
        targets = [plan.nodes[target].name for target in port.targets] or ["DROP"] * port.drop
        found += [((node.name, label, target), now.sent[port.index]) for target in targets]
    return found
