"""Scheduler: the mind of a run. Events in, commands and facts out, one mutator.

Theory of operation. ``handle(events, now)`` takes in what happened, then takes one turn: retries that are
due, windows that are due, deadlines, dispatch (deepest node first, so that what is nearly done is done before
more is begun), ends, and at last the source, as far as there is room. It touches envelopes, never values; it
has no clock, no thread, no randomness: time is an argument and `next_deadline` says when to come back.

Where a task is, is kept in one place only: queued at a node, leased to a worker, waiting for a retry or behind
an equal task, or held by a scope. What it belongs to is kept by `dagflow.core.scopes`. Everything that was
decided and has not come back yet can be read from the state: `resume` gives those commands again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.commands import Command, Out
from dagflow.core.crew import Crew
from dagflow.core.ids import Segment
from dagflow.core.inbox import ENVELOPE_TASKS, JOURNAL, LEASE_BYTES, Inbox
from dagflow.core.lifecycle import advance
from dagflow.core.recalling import PATIENCE_SECONDS
from dagflow.errors import InvariantBroken


class Scheduler(Crew):
    """The state of one run, and the only thing that changes it. See the module's theory of operation.

    ``max_in_flight`` bounds the tasks queued and leased (what a Merger holds is not in flight); ``max_bytes``
    what their values take; ``sink_room`` the outputs that the user has not taken yet (None: no bound);
    ``sink_holds``: outputs wait for those of earlier tasks, so they may hold back nothing but the source.
    ``one_by_one``: envelopes of one task (the serial backend). ``at_hand``: the source's tasks are in memory already,
    so reading many at once takes none. ``fail_fast``: the first lost task ends the run.
    """

    def handle(self, events: Sequence[ev.Event], now: float) -> list[Out]:
        """Take in ``events`` (in order), decide, and give what is to be done and what was decided, in order."""
        self.now = now
        if self.finished:
            return []
        for event in events:
            if not isinstance(event, (ev.TimePassed, ev.Running)):
                self.heard_at = now
                self.suspects.clear()
            self._take_in(event)
        self._turn()
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When to call `handle` again even if nothing happens."""
        times = [self.waiting.next_due(), self.stall_deadline()]
        if self.deferred and self.source_open and self.pulling and not self.in_flight:
            times.append(self.quiet_since + PATIENCE_SECONDS)
        times.extend([node.merge.due() for node in self._windows if node.merge is not None])
        times.extend([node.allowed_next(self.now) for node in self._limited if node.queue])
        if not self.paused and self.stopping is None:
            times.extend([due for node in self._several for _, due in self._hoarders(node)])
        times.extend([lease.deadline for node in self._timed for lease in self._running_leases(node)])
        return min([t for t in times if t is not None], default=None)

    def resume(self) -> list[Command]:
        """All commands that have been given and not been answered: workers, leases, the pull."""
        out: list[Command] = []
        for worker in self.workers.values():
            if not worker.ready:
                out.append(do.StartWorker(worker.number, worker.node))
        for lease in self.leases.values():
            if lease.worker == JOURNAL:
                groups = [group for e in lease.envelopes for group in e.groups or ()]
                out.append(do.Recall(lease.token, lease.node, lease.envelopes[0].kind, lease.segments, groups))
            else:
                job = self._job(self.nodes[lease.node], lease)
                out.append(do.Deliver(lease.worker, lease.token, job, lease.segments))
        if self.pulling:
            out.append(do.Pull(self.pulling))
        return out

    def _take_in(self, event: ev.Event) -> None:
        match event:
            case ev.Answer():
                self._answered(event)
            case ev.Pulled():
                self._pulled(event)
            case ev.SourceEnded():
                self._source_ended(event)
            case ev.WorkerUp():
                self._worker_up(event)
            case ev.WorkerLost():
                self._worker_lost(event)
            case ev.Running():
                self._running(event)
            case ev.Consumed():
                # Which outputs were taken is not told, so their share of the bytes is taken off.
                self.unread_bytes -= self.unread_bytes * event.count // max(1, self.unread)
                self.unread -= event.count
            case ev.StopAsked():
                self._stop("kill" if event.kill else "drain")
            case ev.PauseAsked():
                self.paused = event.paused
            case ev.Recalled():
                self._recalled(event)
            case ev.WindowFilled():
                self._window_filled(event)
            case ev.Remembered():
                self._remembered(event)
            # Nothing follows from `TimePassed` but what a turn at that time brings.

    def _turn(self) -> None:
        if self._timed:
            self._probe()
        if self.heard_at < self.now:
            self._ask_about_leases()
        if self.stopping is None:
            for number, envelope in self.waiting.due(self.now):
                envelope.arrived = self.now
                self.nodes[number].push(envelope, first=True)
                self.in_flight += envelope.count
            for node in self._windows:
                assert node.merge is not None
                if (due := node.merge.due()) is not None and due <= self.now:
                    self._fire_window(node, node.merge)
            if not self.paused:
                if self._blocked_splits:
                    self._grant()
                if self.recalling:
                    self._ask()
                if self.deferred or self.solo is not None:
                    self._try_deferred()
                self._dispatch()
                if self._several:
                    self._share_out()
            self._close()
            if not self.paused and self.stopping is None:
                self._pull()
        if self.stopping is not None:
            self._wind_down()
        elif self._closed == len(self.nodes) and not self.finished:
            self._finish("done" if self.source_error is None else "failed")

    def _pulled(self, event: ev.Pulled) -> None:
        self.pulling = 0
        if self.stopping is not None or not event.count:
            return
        first = self.admitted
        self.admitted += event.count
        self.open_roots += event.count
        segments: list[Segment] = [(self.lineages.root, range(first, self.admitted))]
        if not first:
            for node in self.nodes:
                self._start_worker(node)
        port = self.plan.source
        if len(port.targets) == 1:
            self._move(segments[0], self._source_account, port.targets[0])
            self._arrive(port.targets[0], segments, event.payload, 0)
        else:
            self._spread(port, segments, [self._source_account], event.payload, 0)

    def _source_ended(self, event: ev.SourceEnded) -> None:
        self.pulling = 0
        self.source_open = False
        if event.error is not None and self.source_error is None:
            self.source_error = event.error

    def _pull(self) -> None:
        if self.pulling or not self.source_open or self.solo is not None:
            return
        entries = self._entries
        if self.leases and not self.one_by_one:
            for node in entries:
                if 2 * node.queued < node.capacity:
                    break
            else:
                return  # what runs will end, and then there is time to read on, in larger pieces, which cost less
        room = min([node.capacity - node.queued for node in entries])
        if self.max_in_flight is not None:
            room = min(room, self.max_in_flight - self.in_flight)
        if self.sink_room is not None:
            room = min(room, self.sink_room - self.unread)
        if room <= 0 or self.held_bytes() >= self.max_bytes:
            return  # with nothing queued or unread there is room, so that one task always passes, however large
        want = max([node.want for node in entries])
        size = max([node.value_bytes or 0.0 for node in entries])
        if self.one_by_one and not self.recalling:
            want = 1
        elif self.at_hand:
            want = room
        elif max([node.lanes for node in entries]) == 1:
            want *= 2  # reading less than an envelope at a time would make small envelopes all the way down
        else:
            want = max([64, want, *(node.lanes * node.unit for node in entries)])
        if size:
            want = min(want, max(1, int(LEASE_BYTES / size)))
        self.pulling = min(room, want)
        self.quiet_since = self.now
        self._out.append(do.Pull(self.pulling))

    def _close(self) -> None:
        """Close what has ended, in topological order."""
        if self.source_open:
            return  # every node lies below an entry, so none can have ended
        while self._close_some():
            pass  # a Merger can wait for nodes that stand after it (see `_find_upstreams`), so one pass may not do

    def _close_some(self) -> bool:
        before = self._closed
        for node in self.nodes:
            if node.phase == "closed":
                continue
            if node.phase == "open":
                if any(self.nodes[u].phase != "closed" for u in self._upstreams[node.index]):
                    continue
                node.phase = advance(node.phase, "upstreams_ended", node.plan.name)
            if node.phase == "draining" and self._idle(node):
                node.phase = advance(node.phase, "drained", node.plan.name)
                merge = node.merge
                if merge is not None and merge.plan.closing != "scope" and (merge.count or merge.plan.closing == "run"):
                    self._fire_window(node, merge)
                    self._dispatch_now(node)
            if node.phase == "flushing" and self._idle(node):
                node.phase = advance(node.phase, "flushed", node.plan.name)
                self._closed += 1
                self._out.append(do.NodeClosed(node.index))
                for worker in list(node.workers.values()):
                    self._forget(worker)
                    self._out.append(do.StopWorker(worker.number))
        return self._closed > before

    def _dispatch_now(self, node: Inbox) -> None:
        if not node.workers:
            self._start_worker(node)
        if not self.paused:
            if self.recalling:
                self._ask()
            self._dispatch()

    def _idle(self, node: Inbox) -> bool:
        waiting = self.waiting.at_node.get(node.index, 0)
        held_back = node.dedup.waiting if node.dedup is not None else 0
        folding = node.merge.folding if node.merge is not None else 0
        return not (node.queued or node.leased or waiting or held_back or folding or node.deferred)

    def _wind_down(self) -> None:
        if self.stopping == "drain" and self.leases:
            for token in list(self._blocked_splits):  # a split that waits for room would wait for ever
                lease = self.leases[token]
                self._out.append(do.Grant(lease.worker, token, ENVELOPE_TASKS, ENVELOPE_TASKS))
            return
        for worker in list(self.workers.values()):
            self._forget(worker)
            self._out.append(do.StopWorker(worker.number, kill=self.stopping == "kill"))
        broken = self.failure is not None or self.first_lost is not None
        self._finish("failed" if broken else "stopped")

    def _finish(self, reason: Literal["done", "stopped", "failed"]) -> None:
        self.finished = True
        for node in self.nodes:
            counts = node.counts
            ended = counts.succeeded + counts.failed + counts.dropped
            if reason == "done" and counts.received != ended:
                raise InvariantBroken(
                    f"node {node.plan.name!r} received {counts.received} tasks but {ended} ended: {counts}"
                )
            counts.received = ended  # a stopped run: what was queued never counted as received
        if reason == "done" and self.open_roots:
            raise InvariantBroken(f"{self.open_roots} source tasks have no end: {self.story()}")
        self._out.append(do.Finish(reason))

    def stuck(self) -> str | None:
        """Why nothing can move any more, if that is so; None while something is going on or owed from outside."""
        if self.finished or self.leases or self.pulling or self.paused or self.next_deadline() is not None:
            return None
        if any(not w.ready for w in self.workers.values()) or self.unread:
            return None
        return f"nothing can move and nothing is running: {self.story()}"
