"""What a verdict is made of: how much each node of a run worked, and what the run waited for otherwise."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import ceil
from operator import sub
from typing import TYPE_CHECKING

from dagflow.core.record import record
from dagflow.observe.text import NAME_MOST, clean

if TYPE_CHECKING:
    from dagflow.graph.plan import NodePlan, Plan
    from dagflow.observe.trace import Trace
    from dagflow.protocols import Load, NodeSnapshot, Snapshot

WAITING_MOST = 0.5
"""A function that computes for less than this part of its time waits for others rather than computes."""


@record(frozen=True)
class Part:
    """A node. ``work``: seconds in its function, or of its processes' processors where that is more (moving values).

    ``function``, ``cpu``: the two of them, ``cpu`` with the time in which a processor was lacking. ``width``: how many
    tasks at once. ``waits``: its function waits rather than computes (None: not known). ``own``: it works in processes
    of its own. ``queued``: tasks in its queue on average; ``full``: the share of time in which the queue was full;
    ``throttled``: in which its rate limit of ``rate`` tasks a second held it back.
    """

    name: str
    mode: str
    width: int
    tasks: int
    work: float
    function: float = 0.0
    cpu: float = 0.0
    waits: bool | None = None
    own: bool = True
    queued: float = 0.0
    full: float = 0.0
    throttled: float = 0.0
    rate: float | None = None

    def least(self) -> float:
        """Seconds that its work takes at the least, with its width."""
        return self.work / self.width


@record(frozen=True)
class Case:
    """A run. ``span``: the seconds in which work could be done, of which the others are shares.

    ``source``, ``consumer``, ``retries``, ``in_flight``: what was waited for, see `dagflow.protocols.Load`; ``ring``,
    ``driver``: processor time of the run's own thread, of its process; ``machine``: what was used of all ``cores``, or
    lacking. ``starting``: seconds before. ``one_by_one``: all nodes work in one thread. ``most``: ``max_in_flight``.
    """

    parts: tuple[Part, ...]
    span: float
    source: float = 0.0
    consumer: float = 0.0
    retries: float = 0.0
    in_flight: float = 0.0
    ring: float = 0.0
    driver: float = 0.0
    machine: float = 0.0
    cores: int = 0
    starting: float = 0.0
    one_by_one: bool = False
    most: int | None = None


def case_of(
    plan: Plan, snapshot: Snapshot, *, one_by_one: bool = False, in_process: bool = False, most: int | None = None
) -> Case:
    """What is known of a run. ``in_process``: nodes that are not in process mode work in the driver's process."""
    load = snapshot.load
    span = max(snapshot.elapsed - load.starting - load.paused, 1e-9)
    nodes = zip(plan.nodes, snapshot.nodes, strict=True)
    used = load.driver + sum(now.cpu + now.stalled for now in snapshot.nodes)
    return Case(
        tuple(_part(node, now, load, span, own=not in_process or node.mode == "process") for node, now in nodes),
        span,
        source=load.source / span,
        consumer=load.consumer / span,
        retries=load.retries / span,
        in_flight=load.in_flight / span,
        ring=load.ring / span,
        driver=load.driver / span,
        machine=used / (span * load.cores),
        cores=load.cores,
        starting=load.starting,
        one_by_one=one_by_one,
        most=most,
    )


def _part(node: NodePlan, now: NodeSnapshot, load: Load, span: float, *, own: bool) -> Part:
    if own:
        waits: bool | None = now.cpu + now.stalled < WAITING_MOST * now.seconds
    else:  # who of those in one process computes is not known, unless nobody does
        waits = True if load.driver < WAITING_MOST * span else None
    return Part(
        clean(now.name, NAME_MOST),
        node.mode,
        max(1, now.width),
        now.succeeded + now.failed + now.dropped,
        max(now.seconds, now.cpu + now.stalled),
        function=now.seconds,
        cpu=now.cpu + now.stalled,
        waits=waits,
        own=own,
        queued=now.queued_mean,
        full=now.full,
        throttled=now.throttled / span if node.rate_limit is not None else 0.0,
        rate=node.rate_limit,
    )


def case_of_traces(traces: Iterable[Trace], fraction: float = 1.0) -> Case:
    """What traces alone tell of a run, where they are of ``fraction`` of its source tasks."""
    seen = Seen()
    for family in traces:
        for trace in family.walk():
            for hop in trace.hops:
                seen.add(hop.node, hop.worker, hop.queued, hop.start, hop.end)
    return seen.case(fraction)


class Seen:
    """Hops, and what they tell of a run: how much its nodes worked, and how much of it at once.

    Of source, consumer and machine they tell nothing. A node's width is as much as was seen to run at once.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, _SeenNode] = {}

    def add(self, node: str, worker: int | None, queued: float, start: float, end: float) -> None:
        """One hop."""
        here = self.nodes.get(node)
        if here is None:
            here = self.nodes[node] = _SeenNode()
        here.workers.add(worker)
        here.queued.append(queued)
        here.starts.append(start)
        here.ends.append(max(start, end))

    def case(self, fraction: float = 1.0) -> Case:
        """What they tell, where they are of ``fraction`` of the source tasks."""
        if not self.nodes:
            return Case((), 0.0)
        nodes = self.nodes.values()
        first = min(min(node.starts) for node in nodes)
        span = max(max(max(node.ends) for node in nodes) - first, 1e-9)
        return Case(tuple(node.part(name, first, span, fraction) for name, node in self.nodes.items()), span)


class _SeenNode:
    """One node's hops, as columns."""

    def __init__(self) -> None:
        self.workers: set[int | None] = set()
        self.queued, self.starts, self.ends = array("d"), array("d"), array("d")

    def part(self, name: str, first: float, span: float, fraction: float) -> Part:
        work = sum(map(sub, self.ends, self.starts)) / fraction
        width = max(1, self._at_once(), len(self.workers), ceil(work / span))
        # Little's law: what waits on average is what was waited in all, by the time. What was waited before anybody
        # worked was waited for workers to start.
        waited = sum(max(0.0, start - max(came, first)) for came, start in zip(self.queued, self.starts, strict=True))
        queued = waited / fraction / span
        tasks = round(len(self.starts) / fraction)
        return Part(clean(name, NAME_MOST), "", width, tasks, work, function=work, queued=queued)

    def _at_once(self) -> int:
        """The most that ran at any moment."""
        ends = sorted(self.ends)
        most = over = 0
        for running, start in enumerate(sorted(self.starts), 1):
            while ends[over] <= start and over < running - 1:
                over += 1
            most = max(most, running - over)
        return most
