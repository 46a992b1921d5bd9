"""The meter: where the time of a run goes. The ring samples its scheduler with it, some fifty times a second.

A sample is taken when something has happened, of the state as it was until then, and stands for all the time since the
last one. So what holds for long is met with in proportion, however many short states lie between.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from math import ceil
from time import process_time, thread_time
from typing import TYPE_CHECKING, Final

from dagflow.protocols import Load

if TYPE_CHECKING:
    from dagflow.core.inbox import Inbox
    from dagflow.core.scheduler import Scheduler

SAMPLE_SECONDS: Final = 0.02
SINK_FULL: Final = 0.75
"""The consumer takes some hundreds of outputs at a time, so what waits for it is full from here on."""


@dataclass(slots=True)
class NodeLoad:
    """One node's part. ``queued``: tasks x seconds; ``full``, ``throttled``: seconds."""

    queued: float = 0.0
    full: float = 0.0
    throttled: float = 0.0


@dataclass(slots=True)
class Meter:
    """The samples of one run. `sample` and `tick` are called by the ring's thread only."""

    scheduler: Scheduler
    began: float
    nodes: list[NodeLoad] = field(default_factory=list)
    last: float = 0.0
    given_at: float | None = None
    leased_at: float | None = None
    source: float = 0.0
    consumer: float = 0.0
    retries: float = 0.0
    in_flight: float = 0.0
    paused: float = 0.0
    ring: float = 0.0
    driver: float = 0.0
    cores: int = 1
    _ring: float = 0.0
    _driver: float = 0.0

    def __post_init__(self) -> None:
        self.nodes = [NodeLoad() for _ in self.scheduler.nodes]
        self.last = self.began
        self.cores = cores()

    def start(self) -> None:
        """The ring begins to turn, in this thread."""
        self._ring, self._driver = thread_time(), process_time()

    def tick(self) -> None:
        """Read the processor clocks of the ring's thread and of the driver."""
        self.ring, self.driver = thread_time() - self._ring, process_time() - self._driver

    def first(self, now: float) -> None:
        """See whether the first tasks have come, and the first worker has one; until both are so."""
        if self.given_at is None and self.scheduler.admitted:
            self.given_at = now
        if self.scheduler.leases:
            self.leased_at = now

    def sample(self, now: float) -> None:
        """Count the time since the last sample to whatever the scheduler waits for."""
        run, span = self.scheduler, now - self.last
        self.last = now
        if run.paused:
            self.paused += span
            return
        for node, load in zip(run.nodes, self.nodes, strict=True):
            load.queued += span * node.queued
            if node.queued >= node.capacity():
                load.full += span
            if node.queue and node.plan.rate_limit is not None and node.allowance < 1 and _idle(node):
                load.throttled += span
        if self.given_at is not None and self.leased_at is None:
            return  # its workers are starting
        room = run.sink_room
        if room is not None and (run.unread >= room * SINK_FULL or run.unread_bytes > run.max_bytes // 2):
            self.consumer += span
        elif run.pulling and (self.given_at is None or self._starved()):
            self.source += span
        elif run.max_in_flight is not None and run.source_open and run.in_flight >= run.max_in_flight:
            self.in_flight += span
        elif not run.leases and not run.in_flight and run.waiting.next_due() is not None:
            self.retries += span

    def _starved(self) -> bool:
        """Whether a node that the source feeds has nothing to do."""
        entries = [self.scheduler.nodes[target] for target in self.scheduler.plan.source.targets]
        return any(not node.queued and (_idle(node) or node.merge is not None) for node in entries)

    def load(self, now: float) -> Load:
        """What has been measured so far."""
        given = self.given_at if self.given_at is not None else now
        leased = self.leased_at if self.leased_at is not None else now
        return Load(
            starting=max(0.0, leased - given),
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
