"""Visits: who worked at tasks of a node, which attempt it was, and when. Carried through the core, not opened."""

from __future__ import annotations

from dagflow.core.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


@record
class Times:
    """When a worker was at tasks of a lease, in seconds of its machine's monotonic clock.

    Columns of doubles (arrays, their bytes, or any sequence), one value a task: of ``positions``, rising, or, where
    that is None, of all tasks of the lease in order. Where ``ends`` is None each task ended when the next began,
    and ``starts`` has one value more, the end of the last.
    """

    starts: Any
    ends: Any = None
    positions: Sequence[int] | None = None


@record
class Visit:
    """A worker's stay at the tasks of a lease, as one of its answers tells of it.

    ``attempt``: which one it was, 1 the first; an attempt that killed its worker counts. ``arrived``: how many
    tasks came to the node when (by the scheduler's clock), through the lease.
    """

    worker: int
    pid: int
    attempt: int
    arrived: list[tuple[int, float]]
    times: Times
