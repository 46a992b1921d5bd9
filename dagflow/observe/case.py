"""What a verdict is made of: how much each node of a run worked, and what the run waited for otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from dagflow.observe.text import NAME_MOST, clean

if TYPE_CHECKING:
    from dagflow.graph.plan import NodePlan, Plan
    from dagflow.observe.trace import Hop, Trace
    from dagflow.protocols import Load, NodeSnapshot, Snapshot

WAITING_MOST = 0.5
"""A function that computes for less than this part of its time waits for others rather than computes."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
    """What traces alone tell of a run, where they are of ``fraction`` of its source tasks.

    Of source, consumer and machine they tell nothing. A node's width is as much as was seen to run at once.
    """
    by_node: dict[str, list[Hop]] = {}
    for family in traces:
        for trace in family.walk():
            for hop in trace.hops:
                by_node.setdefault(hop.node, []).append(hop)
    if not by_node:
        return Case((), 0.0)
    hops = [hop for here in by_node.values() for hop in here]
    span = max(max(h.end for h in hops) - min(h.start for h in hops), 1e-9)
    return Case(tuple(_seen(name, here, span, fraction) for name, here in by_node.items()), span)


def _seen(name: str, hops: list[Hop], span: float, fraction: float) -> Part:
    work, waited = sum(hop.ran for hop in hops) / fraction, sum(hop.waited for hop in hops) / fraction
    width = max(_at_once(hops), len({hop.worker for hop in hops}), ceil(work / span))
    # Little's law: what waits on average is what was waited in all, by the time.
    return Part(name, "", width, round(len(hops) / fraction), work, function=work, queued=waited / span)


def _at_once(hops: list[Hop]) -> int:
    """The most of the hops that ran at any moment."""
    steps = [(moment, step) for h in hops if h.end > h.start for moment, step in ((h.start, 1), (h.end, -1))]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most
