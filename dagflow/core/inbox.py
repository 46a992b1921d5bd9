"""A node at run time: its queue and room, its workers, its counts, and what its tasks have cost so far."""

from __future__ import annotations

from collections import deque
from typing import Final

from dagflow.core.envelope import Envelope, Lease
from dagflow.core.lifecycle import Phase
from dagflow.core.merging import MergeState
from dagflow.core.record import field, record
from dagflow.graph.plan import NodePlan

ENVELOPE_SECONDS: Final = 0.020
"""Work aimed at in one envelope: long enough to hide what an envelope costs, short enough to stay fair.

Between slow tasks an envelope costs up to a millisecond of processor time, ten times what it takes in a loop: driver
and worker come to it with their caches full of something else.
"""
ENVELOPE_TASKS: Final = 4096
ENVELOPE_BYTES: Final = 256 * 1024
LEASE_BYTES: Final = (4 << 20) + (64 << 10)
"""What the values of an envelope may take: four arrays of a MiB, with what belongs to them. An envelope of large values
costs a worker and the driver as much time as copying one MiB several times over; twice as many at once would save a
tenth of the time, and take twice the memory."""
CHANNEL_BYTES: Final = LEASE_BYTES
"""What the values queued at a node should take: an envelope, beside the one or two that are at its workers."""
GROWTH: Final = 8
"""An envelope grows at most so much at a time, since a cost measured on few tasks says little."""
LEASES_MOST: Final = 8
"""So many envelopes may wait at a worker, if they are very little work: none of the others is woken for each."""
JOURNAL: Final = 0
"""The worker that leases are given to while a journal is asked about their tasks."""
PREFETCH_SECONDS: Final = 0.050
"""A second envelope waits at a busy worker only if it will not wait longer than this, when others could take it."""


@record
class Counts:
    """What became of the tasks of one node. received = succeeded + failed + dropped when a run has ended."""

    received: int = 0
    succeeded: int = 0
    failed: int = 0
    dropped: int = 0
    retried: int = 0
    duplicates: int = 0


@record
class WorkerState:
    """A worker as the core knows it.

    ``lanes``: how many tasks it works on at once. ``used``: it has been given something. ``alone``: it tries
    suspects, and gets nothing beside them. ``since``: when it began with the first of its leases. ``asked``: the last
    of its leases that it was asked to give back from.
    """

    number: int
    node: int
    lanes: int
    ready: bool = False
    killable: bool = False
    pid: int = 0
    leases: dict[int, Lease] = field(default_factory=dict)
    load: int = 0
    used: bool = False
    alone: bool = False
    since: float = 0.0
    asked: int = 0


class Dedup:
    """Which keys a node has seen: ``done`` for good, ``pending`` with the tasks that wait for the first one's end."""

    def __init__(self) -> None:
        self.done: set[bytes] = set()
        self.pending: dict[bytes, deque[Envelope]] = {}
        self.waiting = 0


class Inbox:
    """The run-time side of one node.

    ``want``: how many tasks make a good envelope for it, by what they have cost and weighed so far. ``capacity``: how
    many may wait in its queue before those that feed it are held back.
    """

    want: int
    capacity: int

    def __init__(self, plan: NodePlan) -> None:
        self.plan = plan
        self.index = plan.index
        self.queue: deque[Envelope] = deque()
        self.unasked: deque[Envelope] = deque()
        self.queued = 0
        self.bytes = 0
        self.leased = 0
        self.phase: Phase = "open"
        self.counts = Counts()
        self.sent = [0] * (1 + max(port.index for port in (*plan.ports, plan.failures) if port is not None))
        self.seconds = self.cpu = self.stalled = 0.0
        self.cost: float | None = None
        self.reach = 1
        self.value_bytes: float | None = None  # of what comes in, about, a value
        self.out_bytes: float | None = None  # of what goes out
        self.workers: dict[int, WorkerState] = {}
        self.failed_starts = 0
        self.deferred = 0
        self.dedup = Dedup() if plan.deduplicate else None
        self.merge = MergeState(plan.merge) if plan.merge is not None else None
        self.slots = plan.width if plan.mode == "process" else 1
        self.lanes = plan.width if plan.mode in ("thread", "async") else 1
        self.unit = plan.batch_size or 1
        # Coroutines that wait equally long end together: the next width is then at hand, and one more until the driver,
        # whose thread may have to wait for that of the loop, has heard of it.
        self.widths = 3 if plan.mode == "async" else 2
        self._judge()
        self.allowance = 0.0
        self.allowed_at: float | None = None

    # -- the queue -----------------------------------------------------------------------------------

    def push(self, envelope: Envelope, *, first: bool = False, ask: bool = False) -> None:
        """Queue an envelope (``first``: before all others; ``ask``: to be asked of the journal before it is run)."""
        self.queued += envelope.count
        self.bytes += envelope.size
        if ask:
            self.unasked.append(envelope)
        elif first:
            self.queue.appendleft(envelope)
        else:
            self.queue.append(envelope)

    def pop(self, most: int, *, ask: bool = False) -> list[Envelope]:
        """Take up to ``most`` tasks of one kind and one attempt from the front of the queue, where no trial is.

        ``ask``: of those that the journal is to be asked about.
        """
        queue = self.unasked if ask else self.queue
        first = queue[0]
        taken: list[Envelope] = []
        while queue and most > 0:
            head = queue[0]
            if taken and (head.kind != first.kind or head.attempt != first.attempt or head.trial or head.accepted):
                break
            size, count = head.size, head.count
            if count <= most:
                queue.popleft()
                taken.append(head)
                self.queued -= count
                self.bytes -= size
                most -= count
                if head.accepted:
                    break
            else:
                taken.append(head.split(most))
                self.queued -= most
                self.bytes -= size - head.size
                most = 0
        return taken

    def pop_trial(self) -> list[Envelope]:
        """Take the envelopes of the trial that stands at the front of the queue."""
        trial = self.queue[0].trial
        taken: list[Envelope] = []
        while self.queue and self.queue[0].trial == trial:
            head = self.queue.popleft()
            self.queued -= head.count
            self.bytes -= head.size
            taken.append(head)
        return taken

    def take_out(self, envelope: Envelope) -> None:
        """Take one envelope out of the middle of the queue."""
        queue = self.unasked if any(queued is envelope for queued in self.unasked) else self.queue
        at = next(i for i, queued in enumerate(queue) if queued is envelope)
        del queue[at]
        self.queued -= envelope.count
        self.bytes -= envelope.size

    def clear(self) -> None:
        """Forget what is queued."""
        self.queue.clear()
        self.unasked.clear()
        self.deferred = 0
        self.queued = self.bytes = 0

    # -- how much ------------------------------------------------------------------------------------

    def weigh(self, size: float) -> None:
        """Take in that values of ``size`` bytes each have arrived."""
        if size == self.value_bytes:
            return
        known = self.value_bytes or 0.0
        self.value_bytes = 0.75 * known + 0.25 * size if known else size
        if max(self.value_bytes, known) * ENVELOPE_TASKS > LEASE_BYTES:  # else their number is bound enough
            self._judge()

    def _judge(self) -> None:
        """Work out ``want`` and ``capacity``, which are looked at more often than anything is learnt."""
        best = 1
        if self.cost is not None:
            best = min(self.reach * GROWTH, ENVELOPE_TASKS)
            if best * self.cost > ENVELOPE_SECONDS:
                best = round(ENVELOPE_SECONDS / self.cost)
        size = heaviest = self.value_bytes or 0.0
        if self.out_bytes is not None and self.out_bytes > size and self.plan.kind != "split":
            heaviest = self.out_bytes  # but the children of a split are held back while it runs
        if best * heaviest > LEASE_BYTES:
            best = int(LEASE_BYTES / heaviest)
        self.want = max(best, self.unit)
        tasks = max(64, 4 * self.want * self.slots, 2 * self.lanes * self.unit)
        if tasks * size > CHANNEL_BYTES:
            tasks = max(2 * self.slots * self.lanes * self.unit, int(CHANNEL_BYTES / size))
        self.capacity = tasks

    def cut(self) -> int:
        """How many values those that feed it should put in one payload."""
        return max(1, min(4 * self.want, ENVELOPE_TASKS)) if self.lanes == 1 else 64

    def learn_size(self, size: float) -> None:
        """Take in that values which it gave took ``size`` bytes each."""
        if size == self.out_bytes:
            return
        known = self.out_bytes or 0.0
        self.out_bytes = 0.75 * known + 0.25 * size if known else size
        if max(self.out_bytes, known) * ENVELOPE_TASKS > LEASE_BYTES:
            self._judge()

    def learn(self, count: int, seconds: float) -> None:
        """Take in that the ``count`` tasks of a lease took ``seconds`` of a worker's time."""
        if self.lanes > 1 or count <= 0:
            return
        cost = seconds / count
        self.reach = max(self.reach, min(count, ENVELOPE_TASKS))
        # Rising costs are believed faster than falling ones: a slow task in a big envelope is what hurts.
        weight = 0.5 if self.cost is None or cost > self.cost else 0.25
        self.cost = cost if self.cost is None else self.cost + weight * (cost - self.cost)
        self._judge()

    def credit(self, worker: WorkerState, now: float) -> int:
        """How many more tasks the worker may be given ``now``."""
        if not worker.ready or worker.alone:
            return 0
        if self.lanes > 1:
            busy = self.lanes * self.unit
            most = self.widths * busy
            return max(0, most - worker.load) if worker.load <= most - busy // 2 else 0
        held = len(worker.leases)
        if held:
            if self.plan.timeout is not None or (held > 1 and not self._brief(worker)):
                return 0
            if self.slots > 1 and (self.cost is None or self.cost * self.want > PREFETCH_SECONDS):
                return 0
        return self.share(worker, now)

    def _brief(self, worker: WorkerState) -> bool:
        """Whether all that a worker has is less work than one envelope should be: then it may have more of them."""
        if self.cost is None or len(worker.leases) >= LEASES_MOST:
            return False
        enough = self.value_bytes is not None and worker.load * self.value_bytes >= 1.5 * LEASE_BYTES
        return worker.load * self.cost < ENVELOPE_SECONDS and not enough

    def share(self, worker: WorkerState, now: float) -> int:
        """An envelope; less where little is left: so much that all workers end together, by what tasks have cost."""
        part = -(-self.queued // self.slots)
        if self.want <= part:
            return self.want
        if self.slots > 1:
            own = self._ahead_of(worker, now)
            fair = (self.queued + sum([self._ahead_of(other, now) for other in self.workers.values()])) / self.slots
            if worker.leases and own >= fair:
                return 0  # the others will be there before it
            part = round(fair - own)
        return min(self.want, max(part, self.unit))

    def _ahead_of(self, worker: WorkerState, now: float) -> float:
        """How many tasks a worker still has to do, about."""
        if not worker.leases or not self.cost:
            return worker.load
        first = next(iter(worker.leases.values()))
        return worker.load - min((now - worker.since) / self.cost, first.left)

    def rounded(self, count: int) -> int:
        """``count`` tasks, or fewer: whole lists only where the function takes lists, if there are enough tasks."""
        count = min(count, self.queued)
        return count - count % self.unit if count > self.unit else count

    def allow(self, now: float) -> int:
        """How many tasks the rate limit allows at ``now``: a bucket that holds 10 ms worth, and at least one."""
        rate = self.plan.rate_limit
        if rate is None:
            return ENVELOPE_TASKS
        most = max(1.0, rate * 0.010)
        if self.allowed_at is None:
            self.allowance = most
        else:
            self.allowance = min(most, self.allowance + (now - self.allowed_at) * rate)
        self.allowed_at = now
        return int(self.allowance + 1e-9)

    def allowed_next(self, now: float) -> float | None:
        """When the rate limit will allow the next task, if it does not now."""
        rate = self.plan.rate_limit
        if rate is None or self.allowed_at is None or self.allowance >= 1:
            return None
        return now + (1 - self.allowance) / rate
