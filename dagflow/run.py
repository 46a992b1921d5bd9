"""The ring: collect events, let the scheduler decide, act, tell; until the run has ended.

One turn: take all waiting events (answers, deaths, stop requests, time), one decision, put it on record if there
is a journal, then the commands in order. A decision's commands that can be answered at once (a source at hand, a
question to the journal) are, before anybody waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.inbox import JOURNAL
from dagflow.core.scheduler import Scheduler
from dagflow.errors import InvariantBroken
from dagflow.meter import SAMPLE_SECONDS, Meter
from dagflow.protocols import NodeSnapshot, Snapshot
from dagflow.work.values import live

if TYPE_CHECKING:
    from dagflow.core.ids import Segment
    from dagflow.graph.plan import Plan
    from dagflow.journal.keeper import Keeper
    from dagflow.protocols import Backend, Observer
    from dagflow.source import TaskSource
    from dagflow.work.program import Program

TICK_SECONDS: Final = 0.1


class Ring:
    """One run, from its first turn to its last. ``keep`` sees the source's tasks, ``facts`` what was decided.

    ``timed``: which tasks of a lease, by their positions, workers are asked when they ran (None: all of them).
    `turn` is called again and again by one thread; `ask`, `snapshot` by any.
    """

    tick_seconds = TICK_SECONDS

    def __init__(
        self,
        plan: Plan,
        programs: Sequence[Program],
        backend: Backend,
        source: TaskSource,
        scheduler: Scheduler,
        *,
        observers: Observer,
        keep: Callable[[list[object]], None],
        facts: Callable[[Sequence[do.Fact]], None],
        clock: Callable[[], float] = monotonic,
        journal: Keeper | None = None,
        timed: Callable[[Sequence[Segment]], list[int] | None] | None = None,
    ) -> None:
        self.plan, self.programs = plan, programs
        self.backend, self.source, self.scheduler = backend, source, scheduler
        self.observers, self.keep, self.facts = observers, keep, facts
        self.clock = clock
        self.journal = journal
        self.timed = timed
        self.recalled: list[ev.Event] = []
        self.began = clock()
        self.next_tick = self.began
        self.meter = Meter(scheduler, self.began)
        self.ended_at: float | None = None
        self.reason: Literal["done", "stopped", "failed"] | None = None
        self.asked: list[ev.Event] = []
        self.ready = threading.Event()
        self.opened = False
        self.entry_branches = len(plan.source.targets)
        self.ended_roots = 0

    # -- from any thread ------------------------------------------------------------------------------

    def ask(self, event: ev.Event) -> None:
        """Tell the run something (stop, pause, outputs taken); from any thread."""
        self.asked.append(event)
        if self.journal is not None and isinstance(event, ev.StopAsked) and event.kill:
            self.journal.hurry()  # it may be waiting for its disk, or its server
        self.backend.wake()

    def snapshot(self) -> Snapshot:
        """The run as it is now. Numbers only, each of them right by itself; from any thread."""
        scheduler = self.scheduler
        state: Literal["running", "paused", "stopping", "finished"] = "running"
        if scheduler.finished:
            state = "finished"
        elif scheduler.stopping is not None:
            state = "stopping"
        elif scheduler.paused:
            state = "paused"
        nodes = []
        now = self.ended_at if self.ended_at is not None else self.clock()
        sampled = max(self.meter.last - self.began, 1e-9)
        for node, load in zip(scheduler.nodes, self.meter.nodes, strict=True):
            counts = node.counts
            held = node.merge.held if node.merge is not None else 0
            if node.dedup is not None:
                held += node.dedup.waiting
            nodes.append(
                NodeSnapshot(
                    name=node.plan.name,
                    kind=node.plan.kind,
                    phase=node.phase,
                    queued=node.queued,
                    leased=node.leased,
                    waiting=scheduler.waiting.at_node.get(node.index, 0),
                    held=held,
                    workers=len(node.workers),
                    received=counts.received,
                    succeeded=counts.succeeded,
                    failed=counts.failed,
                    dropped=counts.dropped,
                    retried=counts.retried,
                    duplicates=counts.duplicates,
                    seconds=node.seconds,
                    width=1 if scheduler.one_by_one else node.slots * node.lanes,
                    sent=tuple(node.sent),
                    cpu=node.cpu,
                    stalled=node.stalled,
                    capacity=node.capacity,
                    queued_mean=load.queued / sampled,
                    full=load.full / sampled,
                    throttled=load.throttled,
                )
            )
        return Snapshot(
            nodes=tuple(nodes),
            admitted=scheduler.admitted,
            ended=scheduler.admitted - scheduler.open_roots,
            source_open=scheduler.source_open,
            state=state,
            elapsed=now - self.began,
            late_answers=scheduler.late_answers,
            crashes=scheduler.crashes,
            load=self.meter.load(),
        )

    # -- the ring's own thread ------------------------------------------------------------------------

    def run(self) -> None:
        """Turn until the run has ended, then close everything, whatever happened."""
        kill = True
        self._open_journal()
        self.meter.start()
        try:
            self.observers.opened(self.plan)
            self.backend.open(self.plan, self.programs)
            self.source.start(self.backend.wake)
            self._step([])
            while not self.scheduler.finished:
                self.turn()
            kill = self.reason != "done"
        finally:
            self.ended_at = self.clock()
            self.meter.sample(self.ended_at)
            self.meter.tick(last=True)
            self.source.close()
            rest = self.source.rest()
            if rest:
                self.keep(rest)  # tasks that the run had been given and never began: they are cancelled, not lost
            try:
                self.backend.close(kill=kill)
            finally:
                try:
                    if self.journal is not None:
                        self.journal.close(self.reason, rest)
                finally:
                    self.observers.closed(self.snapshot())

    def _open_journal(self) -> None:
        """See what the journal knows, before anything else begins."""
        if self.journal is not None:
            try:
                self.recalled.append(self.journal.open())
            except BaseException:
                self.source.close()
                self.backend.close(kill=True)
                raise
        self.opened = True
        self.ready.set()

    def turn(self) -> None:
        """Wait for something to happen, and deal with it."""
        self._step(self.backend.wait(self._patience))

    def _patience(self) -> float | None:
        """How long to wait at most."""
        if self.asked:
            return 0.0
        soonest = self.next_tick
        deadline = self.scheduler.next_deadline()
        if deadline is not None and deadline < soonest:
            soonest = deadline
        seconds = soonest - self.clock()
        if self.scheduler.pulling:
            hurry = self.source.hurry()
            if hurry is not None and hurry < seconds:
                seconds = hurry
        return max(0.0, seconds)

    def _step(self, events: list[ev.Event]) -> None:
        asked, self.asked = self.asked, []
        recalled, self.recalled = self.recalled, []
        events = [*recalled, *events, *asked]
        now = self.clock()
        if now - self.meter.last >= SAMPLE_SECONDS:
            self.meter.sample(now)
        while True:
            self._pulled(events)
            out = self.scheduler.handle(events or [ev.TimePassed()], self.clock())
            if self.journal is not None:
                self.recalled.extend(self.journal.record(out))
            self._act(out)
            events, self.recalled = self.recalled, []
            if self.scheduler.finished or not (events or (self.scheduler.pulling and self.source.at_hand)):
                break
        now = self.clock()
        if now >= self.next_tick or self.scheduler.finished:
            self.meter.tick()
            self.next_tick = now + self.tick_seconds
            self.observers.tick(self.snapshot())
        if not self.scheduler.finished:
            self._check_stuck()

    def _pulled(self, events: list[ev.Event]) -> None:
        """If the source owes tasks, see whether it has some."""
        wanted = self.scheduler.pulling
        if not wanted or not self.scheduler.source_open:
            return
        values = self.source.take(wanted)
        if values is None:
            events.append(ev.SourceEnded(self.source.error))
        elif values:
            if self.journal is not None:
                values = values[: self.journal.take(values)]
            self.keep(values)
            if not self.scheduler.admitted:
                self.backend.expect(values)
            # Worker processes make objects of their own from the bytes; nodes in this process need copies.
            copies = self.entry_branches if self.backend.shares_memory else 1
            events.append(ev.Pulled(live(values, copies), len(values)))
            if self.journal is not None and self.journal.refused is not None:
                events.append(ev.SourceEnded(self.journal.refused))
                self.source.close()

    def _act(self, out: list[do.Out]) -> None:
        facts: list[do.Fact] = []
        backend = self.backend
        for item in out:
            match item:  # what there is most of stands first: each case is a question asked
                case do.Output() | do.RootsEnded() | do.TasksEnded():
                    facts.append(item)
                case do.Deliver():
                    if self.journal is not None:
                        self.journal.fill(item.job)
                    if self.timed is not None:
                        item.job.timed = self.timed(item.segments)
                    backend.deliver(item.worker, item.token, item.job)
                case do.Pull():
                    self.source.request(item.count)
                case do.StartWorker():
                    backend.start(item.worker, item.node)
                case do.Grant():
                    if item.worker == JOURNAL:
                        assert self.journal is not None
                        self.recalled.extend(self.journal.grant(item.token))
                    else:
                        backend.grant(item.worker, item.token, item.count, item.cut)
                case do.GiveBack():
                    backend.give_back(item.worker, item.token)
                case do.StopWorker():
                    backend.stop(item.worker, kill=item.kill)
                case do.Probe():
                    backend.probe(item.worker)
                case do.StopSource():
                    self.source.close()
                case do.Finish():
                    self.reason = item.reason
                case do.Recall():
                    assert self.journal is not None
                    self.recalled.extend(self.journal.recall(item))
                case do.Settled() | do.Fired() | do.AggregatesEnded() | do.Tried() | do.Leased():
                    pass  # told to the journal
                case _:
                    facts.append(item)
        if facts:
            self.observers.facts(facts)
            self.facts(facts)  # last: who waits for outputs is woken when this thread is about to sleep

    def _check_stuck(self) -> None:
        story = self.scheduler.stuck()
        if story is not None:
            raise InvariantBroken(story)
