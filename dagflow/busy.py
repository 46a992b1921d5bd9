"""How busy the nodes of a run are, and which of them limits it: one answer for tables, pictures and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dagflow.protocols import NodeSnapshot, Snapshot

LIMITING_LEAST: Final = 0.5
"""A node that was idle for more than half of the run does not limit it: the source, its own start or the user does."""


def busy_share(node: NodeSnapshot, elapsed: float) -> float:
    """The part of its workers' time that ``node`` spent in its function, 0 to 1: seconds / (elapsed x width).

    ``elapsed``: seconds since the run began. Work that has not ended yet is not counted.
    """
    time = elapsed * node.width
    return min(1.0, node.seconds / time) if time > 0 else 0.0


def waiting_and_running(node: NodeSnapshot) -> tuple[int, int]:
    """How many tasks wait at ``node``, in its queue, for a retry, for others of their scope or for their turn at a
    worker that has them already; and how many it works on."""
    running = min(node.leased, node.width)
    return node.queued + node.waiting + node.held + node.leased - running, running


def working_seconds(snapshot: Snapshot) -> float:
    """The seconds in which work could be done: without those of starting workers, and of pauses."""
    return max(snapshot.elapsed - snapshot.load.starting - snapshot.load.paused, 1e-9)


def limiting(snapshot: Snapshot) -> NodeSnapshot | None:
    """The node that limits the run: the busiest one (or most held back by its rate limit), the first of equals.

    None where even that one was mostly idle, or less busy than the source or the user was waited for. Why it limits,
    and what would help, is for `dagflow.observe.verdict` to say.
    """
    span = working_seconds(snapshot)

    def claim(node: NodeSnapshot) -> float:
        return max(busy_share(node, span), node.throttled / span)

    busiest = max(snapshot.nodes, key=claim, default=None)
    load = snapshot.load
    others = max(load.source, load.consumer, load.retries) / span
    return busiest if busiest is not None and claim(busiest) >= max(LIMITING_LEAST, others) else None
