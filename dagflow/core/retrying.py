"""When a failed task is tried again: exponential backoff with jitter, on a heap; never in a worker."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagflow.core.envelope import Envelope
    from dagflow.graph.plan import NodePlan

_GOLDEN = 0x9E3779B97F4A7C15


def backoff(plan: NodePlan, attempt: int, salt: int) -> float:
    """Seconds to wait before attempt number ``attempt`` (1 is the first retry).

    ``min(retry_max_delay, retry_delay * 2**n)`` times a jitter between one half and one ("equal jitter"),
    which is worked out of ``salt`` so that the core needs no randomness and a replay waits the same.
    """
    full = min(plan.retry_max_delay, plan.retry_delay * 2.0 ** min(attempt - 1, 60))
    mixed = ((salt + attempt) * _GOLDEN) & 0xFFFFFFFF
    return full * (0.5 + 0.5 * mixed / 0x100000000)


class Waiting:
    """Envelopes that wait for their next attempt, soonest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Envelope]] = []
        self._number = 0
        self.at_node: dict[int, int] = {}

    def put(self, due: float, node: int, envelope: Envelope) -> None:
        """Keep ``envelope`` of ``node`` until ``due``."""
        self._number += 1
        heapq.heappush(self._heap, (due, self._number, node, envelope))
        self.at_node[node] = self.at_node.get(node, 0) + envelope.count

    def due(self, now: float) -> list[tuple[int, Envelope]]:
        """Take out what is due."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            _, _, node, envelope = heapq.heappop(self._heap)
            self.at_node[node] -= envelope.count
            found.append((node, envelope))
        return found

    def next_due(self) -> float | None:
        """When the next one is due."""
        return self._heap[0][0] if self._heap else None

    def envelopes(self) -> list[Envelope]:
        """All that wait, in no order."""
        return [envelope for *_, envelope in self._heap]

    def clear(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        self.at_node.clear()
