"""How busy the nodes of a run are, and which of them limits it: one answer for words, tables and pictures.

What is said here is found by `dagflow.observe.verdict`, and shown by `dagflow.draw`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagflow.core.record import record

if TYPE_CHECKING:
    from dagflow.protocols import NodeSnapshot


@record(frozen=True)
class Busy:
    """By node number: ``shares``, the part of its workers' time, 0 to 1, that each node was busy while there was work
    to do; ``limits``, the node that has too much to do, if that is what limits the run."""

    shares: tuple[float, ...]
    limits: int | None = None


def waiting_and_running(node: NodeSnapshot) -> tuple[int, int]:
    """How many tasks wait at ``node``, in its queue, for a retry, for others of their scope or for their turn at a
    worker that has them already; and how many it works on."""
    running = min(node.leased, node.width)
    return node.queued + node.waiting + node.held + node.leased - running, running
