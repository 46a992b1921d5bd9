"""The meter: where the time of a run goes. The ring samples its scheduler with it, some fifty times a second.

A sample is taken when something has happened, of the state as it was until then, and stands for all the time since the
last one. So what holds for long is met with in proportion, however many short states lie between.
"""

from __future__ import annotations

import os
from math import ceil
from typing import TYPE_CHECKING, Final

from dagflow.core.record import record
from dagflow.protocols import Load
from dagflow.work.usage import OwnUsage, Usage

if TYPE_CHECKING:
    from dagflow.core.inbox import Inbox
    from dagflow.core.scheduler import Scheduler

SAMPLE_SECONDS: Final = 0.02
LOOK_SECONDS: Final = 1.0
"""The driver's threads are asked so often how long they stood in line for a processor."""
SINK_FULL: Final = 0.75
"""The consumer takes some hundreds of outputs at a time, so what waits for it is full from here on."""


@record
class NodeLoad:
    """One node's part. ``queued``: tasks x seconds; ``full``, ``throttled``: seconds."""

    queued: float = 0.0
    full: float = 0.0
    throttled: float = 0.0


class Meter:
    """The samples of one run. `sample` and `tick` are called by the ring's thread only."""

    def __init__(self, scheduler: Scheduler, began: float) -> None:
        self.scheduler, self.began = scheduler, began
        self.nodes = [NodeLoad() for _ in scheduler.nodes]
        self.last = began
        self.source = self.consumer = self.retries = self.in_flight = self.paused = self.starting = 0.0
        self.ring = self.driver = 0.0
        self.cores = cores()
        self._ring: OwnUsage | None = None
        self._driver: Usage | None = None

    def start(self) -> None:
        """The ring begins to turn, in this thread."""
        self._ring, self._driver = OwnUsage(every=LOOK_SECONDS), Usage(threads=True, every=LOOK_SECONDS)

    def tick(self, *, last: bool = False) -> None:
        """See what the ring's thread and the driver's process have used of the processors, or lacked."""
        if self._ring is not None and self._driver is not None:
            self.ring = self._ring.so_far(last=last)
            self.driver += sum(self._driver.since(last=last))

    def sample(self, now: float) -> None:
        """Count the time since the last sample to whatever the scheduler waits for."""
        run, span = self.scheduler, now - self.last
        self.last = now
        if run.paused:
            self.paused += span
            return
        for node, load in zip(run.nodes, self.nodes, strict=True):
            load.queued += span * node.queued
            if node.queued >= node.capacity:
                load.full += span
            if node.queue and _held_by_rate(node, now):
                load.throttled += span
        missing = max((_starting(node) for node in run.nodes if node.queue), default=0.0)
        self.starting += missing * span
        span -= missing * span  # which leaves nothing to count where all of them are missing
        room = run.sink_room
        if room is not None and (run.unread >= room * SINK_FULL or run.unread_bytes > run.max_bytes // 2):
            self.consumer += span
        elif run.pulling and self._starved():
            self.source += span
        elif run.max_in_flight is not None and run.source_open and run.in_flight >= run.max_in_flight:
            self.in_flight += span
        elif not run.leases and not run.in_flight and run.waiting.next_due() is not None:
            self.retries += span

    def _starved(self) -> bool:
        """Whether a node that the source feeds has nothing to do."""
        entries = [self.scheduler.nodes[target] for target in self.scheduler.plan.source.targets]
        return any(not node.queued and (_idle(node) or node.merge is not None) for node in entries)

    def load(self) -> Load:
        """What has been measured so far."""
        return Load(
            starting=self.starting,
            source=self.source,
            consumer=self.consumer,
            retries=self.retries,
            in_flight=self.in_flight,
            paused=self.paused,
            ring=self.ring,
            driver=self.driver,
            cores=self.cores,
        )


def _idle(node: Inbox) -> bool:
    return node.leased < node.slots * node.lanes


def _starting(node: Inbox) -> float:
    """The share of its workers that are not ready yet: a second in which half of them are is half a second's work."""
    if not node.workers:
        return 0.0
    return sum(not worker.ready for worker in node.workers.values()) / len(node.workers)


def _held_by_rate(node: Inbox, now: float) -> bool:
    """Whether its rate limit let it begin nothing until ``now``, whether or not its workers could have."""
    rate = node.plan.rate_limit
    if rate is None or node.allowed_at is None or node.allowance >= 1:
        return False
    return _idle(node) or node.allowance + (now - node.allowed_at) * rate < 1


def cores() -> int:
    """How many processors this process may use: by its affinity, and by what its control group is given."""
    try:
        found = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        found = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1, min(found, ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return found
