"""Crew: workers come up, die, run out of time; and are given what is queued, the deepest node first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.envelope import Envelope, Lease
from dagflow.core.ids import slice_segments, tasks_of
from dagflow.core.inbox import ENVELOPE_BYTES, ENVELOPE_TASKS, Inbox, WorkerState
from dagflow.core.job import Job
from dagflow.core.payload import ErrorRecord, Group, Piece
from dagflow.core.recalling import Recalling
from dagflow.core.record import replace
from dagflow.core.visits import Times
from dagflow.errors import BackendError, InvariantBroken

MAX_CRASHES: Final = 3
"""How often a task may kill its worker before it fails."""
MAX_FAILED_STARTS: Final = 3
"""How many workers of a node may die before they are up, one after the other, before the run is broken."""
STALL_SECONDS: Final = 5.0
"""After so long without any answer those who owe one are asked whether they still know of it."""
HANDLING_SECONDS: Final = 10.0
"""Reading and sealing values has the node's timeout, but at least this: it is the function that the user timed."""
HOARD_SECONDS: Final = 0.020
"""A worker that is at an envelope for longer than is aimed at shares what is left with those who have none."""
LEAVING_CUT: Final = 1024
"""How many children go into one payload where they leave the graph, if they are small."""
LEAVING_CUT_FIRST: Final = 16
"""The same while it is not known how large they are."""


class Crew(Recalling):
    """Starts workers, leases envelopes to them, and takes leases back from dead ones."""

    def _start_worker(self, node: Inbox) -> None:
        if len(node.workers) >= node.slots or node.phase == "closed" or self.stopping is not None:
            return
        self._worker_numbers += 1
        worker = WorkerState(self._worker_numbers, node.index, node.lanes)
        node.workers[worker.number] = self.workers[worker.number] = worker
        self._out.append(do.StartWorker(worker.number, node.index))

    def _worker_up(self, event: ev.WorkerUp) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            worker.ready = True
            worker.killable = event.killable
            worker.pid = event.pid
            self.nodes[worker.node].failed_starts = 0

    def _forget(self, worker: WorkerState) -> list[Lease]:
        self.workers.pop(worker.number, None)
        node = self.nodes[worker.node]
        node.workers.pop(worker.number, None)
        leases = list(worker.leases.values())
        for lease in leases:
            self.leases.pop(lease.token, None)
            self._blocked_splits.discard(lease.token)
            node.leased -= lease.left
            self.in_flight -= lease.left
        return leases

    def _worker_lost(self, event: ev.WorkerLost) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        node = self.nodes[worker.node]
        leases = self._forget(worker)
        if not event.started:
            node.failed_starts += 1
            if node.failed_starts >= MAX_FAILED_STARTS or event.output.startswith("cannot load"):
                self._broken(
                    BackendError(
                        f"workers of node {node.plan.name!r} cannot start ({event.cause}); "
                        f"{event.output or 'they wrote nothing to stderr'}"
                    )
                )
            return
        self.crashes += 1
        if self.stopping is not None:
            return
        error = ErrorRecord("died", "WorkerDied", event.cause, event.output)
        self._take_back(node, leases, event.running, error, may_retry=False)

    def _take_back(
        self,
        node: Inbox,
        leases: list[Lease],
        running: tuple[int, int] | None,
        error: ErrorRecord,
        *,
        may_retry: bool,
    ) -> None:
        """Leases of a dead worker: blame the task that it was at, give all others to other workers.

        Where several may have been it, they are halved until one is left: each half goes to a fresh worker of
        its own, so that one culprit among n costs log2(n) deaths, and no innocent task is blamed for it.
        """
        suspects: list[tuple[Lease, int]] = []
        for lease in reversed(leases):
            left = [p for p in range(lease.count) if lease.ended is None or p not in lease.ended]
            guilty = self._suspects(node, lease, left, running)
            self._requeue(node, lease, sorted(set(left).difference(guilty)))
            suspects[:0] = [(lease, p) for p in guilty]
        at_once = error.kind == "timeout" and running is not None and running[1] != ev.ANYWHERE
        if at_once or len(suspects) == 1:
            for lease, position in reversed(suspects):
                self._blame(node, lease, position, error, may_retry)
            return
        for part in reversed(_halves(suspects)):
            self._trials += 1
            for token, following in groupby(reversed(part), lambda suspect: suspect[0].token):
                lease = next(lease for lease in leases if lease.token == token)
                self._requeue(node, lease, sorted(p for _, p in following), trial=self._trials)

    def _suspects(self, node: Inbox, lease: Lease, left: list[int], running: tuple[int, int] | None) -> Sequence[int]:
        """Which of the tasks ``left`` in a dead worker's lease may have killed it."""
        if running is None:
            return left
        token, position = running
        if token != lease.token:
            return ()
        if position == ev.ANYWHERE:
            return left
        together = node.plan.batch_size if lease.envelopes[0].kind == "run" else None
        return [p for p in left if position <= p < position + (together or 1)]

    def _blame(self, node: Inbox, lease: Lease, position: int, error: ErrorRecord, may_retry: bool) -> None:
        """A task killed its worker: it is tried again by itself in a fresh one, but not for ever."""
        envelope, at = lease.find(position)
        space, index = next(iter(tasks_of(slice_segments(envelope.segments, at, at + 1))))
        where = f"a worker of node {node.plan.name!r}"
        # When it began is known only to the lease: the worker took its clock with it.
        lease.visit = visit = lease.visited(Times((lease.since,), (self.now,), (position,)))
        if error.kind == "timeout":
            text = f"source {space.told(index)} {error.message}; {where} was killed for it and replaced"
            self._attempt_failed(node, lease, position, replace(error, message=text), may_retry)
            return
        crashes = envelope.crashes + 1
        if crashes < MAX_CRASHES:
            again = envelope.only(at)
            self._trials += 1
            again.crashes, again.trial = crashes, self._trials
            self._carry_split(lease, position, again)
            self._reset_fold(again)
            again.arrived = self.now
            node.push(again, first=True)
            self.in_flight += 1
            if self.recording:
                self._out.append(do.Tried(node.index, space, index, again.attempt, again.crashes))
            value = envelope.piece(at) if envelope.groups is None else None
            self._out.append(do.TaskFailed(node.index, space, index, error, visit.attempt, 0.0, value, visit, position))
            return
        text = (
            f"{where} {error.message} while it ran source {space.told(index)}: {crashes} times, "
            f"the last {crashes - 1} of them in a fresh worker, by itself; it is not tried again"
        )
        self._attempt_failed(node, lease, position, replace(error, message=text), False)

    def _broken(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
        self._stop("kill")

    def _running_leases(self, node: Inbox) -> list[Lease]:
        """The lease that each killable worker of ``node`` is at."""
        return [next(iter(w.leases.values())) for w in node.workers.values() if w.killable and w.leases]

    def stall_deadline(self) -> float | None:
        """When to ask the workers about their leases, if nothing is heard of any until then."""
        return max(self.heard_at, self.probed_at) + STALL_SECONDS if self.leases else None

    def _ask_about_leases(self) -> None:
        deadline = self.stall_deadline()
        if deadline is not None and deadline <= self.now:
            self.probed_at = self.now
            for worker in self.workers.values():
                if worker.ready and worker.leases:
                    self._out.append(do.Probe(worker.number))

    def _found_idle(self, worker: WorkerState) -> None:
        """A worker that holds a lease says that it has nothing to do: said twice, with nothing in between, the
        lease or its answer is lost, and nobody would ever wait for it in vain."""
        if worker.number not in self.suspects:
            self.suspects.add(worker.number)
            return
        lease = next(iter(worker.leases.values()))
        name = self.nodes[worker.node].plan.name
        raise InvariantBroken(
            f"worker {worker.number} of node {name!r} has nothing to do, but never answered lease {lease.token} "
            f"({lease.left} of {lease.count} tasks): the run cannot end; {self.story()}"
        )

    def _probe(self) -> None:
        for node in self._timed:
            for lease in self._running_leases(node):
                if lease.deadline is not None and lease.deadline <= self.now:
                    lease.deadline = None  # until the answer comes
                    self._out.append(do.Probe(lease.worker))

    def _running(self, event: ev.Running) -> None:
        worker = self.workers.get(event.worker)
        if worker is None or not worker.leases:
            return
        if event.idle:
            self._found_idle(worker)
        if not worker.killable:
            return
        node = self.nodes[worker.node]
        lease = next(iter(worker.leases.values()))
        timeout = node.plan.timeout
        if timeout is None:
            return
        limit = timeout if event.position != ev.ANYWHERE else max(timeout, HANDLING_SECONDS)
        if event.token != lease.token or event.since + limit > self.now:
            since = event.since if event.token == lease.token else self.now
            lease.deadline = since + limit
            return
        self._out.append(do.StopWorker(worker.number, kill=True))
        leases = self._forget(worker)
        text = f"ran longer than the timeout of {timeout:g} s"
        if event.position == ev.ANYWHERE:
            text = f"could not be read or sealed within {limit:g} s"
        lease.since = event.since
        error = ErrorRecord("timeout", "TaskTimeout", text)
        self._take_back(node, leases, (event.token, event.position), error, may_retry=node.plan.retries_timeout)

    def _dispatch(self) -> None:
        for node in reversed(self.nodes):
            if self.solo is not None and node.index != self.solo and not self._blocked_splits:
                continue  # a task that is suspected runs alone, unless it is a split whose children must be taken
            while node.queue and self.has_room(node) and self._deliver_one(node):
                pass

    def _deliver_one(self, node: Inbox) -> bool:
        most = node.allow(self.now)
        if most < 1:
            return False
        if node.queue[0].trial:
            return self._try_suspects(node)
        best: WorkerState | None = None
        credit = 0
        for worker in node.workers.values():
            if best is None or worker.load < best.load:
                room = node.credit(worker, self.now)
                if room > 0:
                    best, credit = worker, room
        if best is None:
            if len(node.workers) < node.slots:
                starting = sum(1 for w in node.workers.values() if not w.ready)
                if starting * node.want < node.queued:
                    self._start_worker(node)
            return False
        if self.one_by_one:
            credit = 1
        envelopes = node.pop(node.rounded(min(credit, most)))
        self._lease(node, best, envelopes)
        if node.queued and len(node.workers) < node.slots and all(w.ready for w in node.workers.values()):
            self._start_worker(node)
        return True

    def _share_out(self) -> None:
        """Where workers have nothing to do, have those that hoard give back what they have not begun."""
        for node in self._several:
            for worker, due in self._hoarders(node):
                if due <= self.now:
                    worker.asked = next(reversed(worker.leases))
                    self._out.append(do.GiveBack(worker.number, worker.asked))

    def _hoarders(self, node: Inbox) -> Iterator[tuple[WorkerState, float]]:
        """Workers that have more than the task they are at while others have none, and until when they may keep it.

        The costs of tasks are known from those before, so an envelope of slow ones among quick ones holds too many.
        """
        if node.queued or node.leased < 2 or not any(w.ready and not w.leases for w in node.workers.values()):
            return
        for worker in node.workers.values():
            if worker.load > 1 and not worker.alone and next(reversed(worker.leases)) > worker.asked:
                yield worker, worker.since + HOARD_SECONDS

    def _try_suspects(self, node: Inbox) -> bool:
        """Lease the trial at the front of the queue to a worker that has been given nothing before."""
        fresh = spent = None
        for worker in node.workers.values():
            if not worker.ready:
                return False  # a fresh one is coming up
            if not worker.leases:
                fresh, spent = (fresh, worker) if worker.used else (worker, spent)
        if fresh is None:
            if spent is not None and len(node.workers) >= node.slots:
                self._forget(spent)
                self._out.append(do.StopWorker(spent.number))
            self._start_worker(node)
            return False
        self._lease(node, fresh, node.pop_trial())
        return True

    def _lease(self, node: Inbox, worker: WorkerState, envelopes: list[Envelope]) -> None:
        self._tokens += 1
        if len(envelopes) == 1:
            segments, count = envelopes[0].segments, envelopes[0].count
        else:
            segments, count = [s for e in envelopes for s in e.segments], sum(e.count for e in envelopes)
        # All by place: what is not given would be looked for field by field.
        lease = Lease(self._tokens, node.index, worker.number, envelopes, segments, count, count, None, {}, {})
        lease.since, lease.pid = self.now, worker.pid
        for envelope in envelopes:
            for group in envelope.groups or ():
                if group.fold is not None:
                    group.fold.lease()
        if not worker.leases:
            self._set_deadline(node, lease)
            worker.since = self.now
        worker.leases[lease.token] = self.leases[lease.token] = lease
        worker.load += count
        worker.used, worker.alone = True, bool(envelopes[0].trial)
        node.leased += count
        if node.plan.rate_limit is not None:
            node.allowance -= count
        position = 0
        for envelope in envelopes:
            if envelope.child_space is not None:
                lease.spaces[position] = envelope.child_space
                lease.children[position] = envelope.accepted
            position += envelope.count
        if self.recording:
            self._out.append(do.Leased(node.index, lease.segments))
        self._out.append(do.Deliver(worker.number, lease.token, self._job(node, lease), lease.segments))

    def _job(self, node: Inbox, lease: Lease) -> Job:
        first = lease.envelopes[0]
        pieces: list[Piece] = []
        groups: list[Group] = []
        for envelope in lease.envelopes:
            if envelope.payload is not None:
                pieces.append((envelope.payload, envelope.low, envelope.low + envelope.count))
            if envelope.groups is not None:
                groups.extend(envelope.groups)
        cuts = self._cuts(node) if node.plan.kind == "split" else {}
        weight = int(node.out_bytes or 0)
        return Job(first.kind, lease.count, pieces, groups, dict(lease.children), cuts, first.attempt, None, weight)

    def _cuts(self, node: Inbox) -> dict[int, int]:
        """How many values to put in one payload, by port."""
        return {
            port.index: min((self._cut(self.nodes[t]) for t in port.targets), default=_leaving_cut(node))
            for port in node.plan.ports
        }

    def _cut(self, node: Inbox) -> int:
        most = ENVELOPE_TASKS if node.merge is not None else node.cut()
        if node.value_bytes:
            most = min(most, max(1, int(ENVELOPE_BYTES / node.value_bytes)))
        return most

    def _grant(self) -> None:
        """Let splits go on whose children have room again."""
        for token in list(self._blocked_splits):
            lease = self.leases[token]
            node = self.nodes[lease.node]
            if self.has_room(node):
                self._out.append(do.Grant(lease.worker, token, lease.owed, min(self._cuts(node).values())))
                lease.owed = 0
                self._blocked_splits.discard(token)


def _leaving_cut(node: Inbox) -> int:
    """How many children to put in one payload where they leave the graph."""
    if node.out_bytes is None:
        return LEAVING_CUT_FIRST
    return max(1, min(LEAVING_CUT, int(ENVELOPE_BYTES / max(node.out_bytes, 1.0))))


def _halves(suspects: list[tuple[Lease, int]]) -> list[list[tuple[Lease, int]]]:
    """Suspects in two parts; in more where they are of several kinds, which cannot share a lease."""
    kinds = [list(part) for _, part in groupby(suspects, lambda s: (s[0].envelopes[0].kind, s[0].envelopes[0].attempt))]
    if len(kinds) > 1:
        return kinds
    middle = len(suspects) // 2
    return [part for part in (suspects[:middle], suspects[middle:]) if part]
