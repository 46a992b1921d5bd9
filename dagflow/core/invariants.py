"""What must hold after every step, checked from the state alone. For tests, the simulator, and suspicion."""

from __future__ import annotations

from dagflow.core.ids import count_of
from dagflow.core.inbox import JOURNAL, Inbox
from dagflow.core.scheduler import Scheduler
from dagflow.errors import InvariantBroken


def check(scheduler: Scheduler) -> None:
    """Raise `InvariantBroken`, with the scheduler's story, if anything does not add up."""
    for node in scheduler.nodes:
        _check_node(scheduler, node)
    in_flight = sum(node.queued + node.leased for node in scheduler.nodes)
    _must(
        scheduler,
        in_flight == scheduler.in_flight,
        f"in flight is {scheduler.in_flight}, counted {in_flight}",
    )
    for lease in scheduler.leases.values():
        worker = scheduler.workers.get(lease.worker)
        _must(
            scheduler,
            worker is not None or lease.worker == JOURNAL,
            f"lease {lease.token} is held by worker {lease.worker}, which is gone",
        )
        _must(scheduler, 0 < lease.left <= lease.count, f"lease {lease.token} has {lease.left} tasks left")
        _must(scheduler, count_of(lease.segments) == lease.count, f"lease {lease.token} miscounts its tasks")
    fates = scheduler.lineages.fates
    _must(scheduler, all(n > 0 for n in fates.live.values()), "a source task counts below one")
    _must(scheduler, 0 <= scheduler.open_roots <= scheduler.admitted, "more source tasks have ended than began")


def _check_node(scheduler: Scheduler, node: Inbox) -> None:
    name = node.plan.name
    queued = sum(e.count for e in (*node.queue, *node.unasked))
    _must(scheduler, queued == node.queued, f"{name!r} says {node.queued} queued, holds {queued}")
    for envelope in (*node.queue, *node.unasked):
        _must(scheduler, count_of(envelope.segments) == envelope.count, f"an envelope at {name!r} miscounts")
    leased = sum(lease.left for lease in scheduler.leases.values() if lease.node == node.index)
    _must(scheduler, leased == node.leased, f"{name!r} says {node.leased} leased, leases hold {leased}")
    for worker in node.workers.values():
        load = sum(lease.left for lease in worker.leases.values())
        _must(
            scheduler,
            load == worker.load,
            f"worker {worker.number} says load {worker.load}, leases hold {load}",
        )
    if node.phase == "closed":
        waiting = scheduler.waiting.at_node.get(node.index, 0)
        held = node.merge.held if node.merge is not None else 0
        idle = not (node.queued or node.leased or waiting or held or node.workers)
        _must(scheduler, idle, f"{name!r} is closed and still holds something")
    counts = node.counts
    ended = counts.succeeded + counts.failed + counts.dropped
    _must(
        scheduler,
        ended <= counts.received or scheduler.finished,
        f"{name!r} ended more tasks than it received",
    )


def _must(scheduler: Scheduler, holds: bool, what: str) -> None:
    if not holds:
        raise InvariantBroken(f"{what}; {scheduler.story()}")
