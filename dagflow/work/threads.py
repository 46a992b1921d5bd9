"""Threads: a pool of threads in this process that take units of work from all leases."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from dagflow.core.job import SPLIT_CREDIT
from dagflow.graph.marks import makes_instances
from dagflow.work.execute import Children, Runner, timed_out
from dagflow.work.sharing import Done, Post, SharedLease, Sharing, Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dagflow.core.job import Job
    from dagflow.work.program import Program

Work = Callable[["_Slot"], None]


class Threads(Sharing):
    """A pool of up to ``width`` threads, each with its own instance where the function is a class.

    Results are gathered: the thread that finds nobody posting posts what all have finished meanwhile.
    ``whole``: jobs are run as they come, each by one thread (a serial node has one thread and needs no more).
    """

    def __init__(
        self,
        worker: int,
        program: Program,
        post: Post,
        *,
        width: int | None = None,
        whole: bool = False,
        runner: Runner | None = None,
    ) -> None:
        super().__init__(worker, runner or Runner(program, seal=False), post)
        self.program = program
        self.spare: Runner | None = self.runner  # the first thread's, made early so that a bad class shows early
        self.width = width or program.width
        self.whole = whole
        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)
        self.posting = threading.Lock()
        self.tasks: deque[Work] = deque()
        self.slots: list[_Slot] = []
        self.idle = 0
        self.closed = False
        self.granted = threading.Condition(self.lock)
        self.credits: dict[int, int] = {}
        self.watchdog: threading.Thread | None = None
        self.ended = threading.Event()

    def deliver(self, token: int, job: Job) -> None:
        """Take a job: its units queue for the threads (or the whole job, where keys are asked for)."""
        work: list[Work]
        if self.whole or job.kind == "key":
            work = [lambda slot: self._whole(slot, token, job)]
        else:
            do = self._split if self.splits else self._do
            work = [lambda slot, unit=unit: do(slot, unit) for unit in self.open(token, job)]  # type: ignore[misc]
        if not work:
            return
        with self.lock:
            if self.splits:
                self.credits[token] = SPLIT_CREDIT
            self.tasks.extend(work)
            fresh = min(len(self.tasks) - self.idle, self.width - len(self.slots))
            self.work.notify(len(self.tasks))
        for _ in range(fresh):
            self._add_slot()

    def grant(self, token: int, count: int, cut: int) -> None:
        """Let a lease's splits send more."""
        with self.lock:
            if token in self.credits:
                self.runner.cuts[token] = cut
                self.credits[token] += count
                self.granted.notify_all()

    def owes(self) -> bool:
        """Whether an answer is still to come."""
        with self.lock:
            return not self.broken and bool(self.leases or self.tasks or any(slot.busy for slot in self.slots))

    def close(self) -> None:
        """End the threads as they become idle, and wait for those that are."""
        with self.lock:
            self.closed = True
            self.ended.set()
            slots = list(self.slots)
            self.tasks.clear()
            self.work.notify_all()
            self.granted.notify_all()
        for slot in slots:
            if not slot.busy:
                slot.thread.join(timeout=5)
        self.runner.close()

    # -- the threads ----------------------------------------------------------------------------------

    def _add_slot(self) -> None:
        slot = _Slot(self)
        try:
            with self.lock:
                if self.closed:
                    return
                slot.thread.start()
                self.slots.append(slot)
            if self.program.timeout is not None and self.watchdog is None:
                name = f"dagflow {self.program.name} clock"
                watchdog = threading.Thread(target=self._watch, name=name, daemon=True)
                watchdog.start()
                self.watchdog = watchdog
        except RuntimeError:
            # The system gives no more threads: too many of those that hang were abandoned. Others may go on.
            if not self.slots or (self.program.timeout is not None and self.watchdog is None):
                self.broke()

    def serve(self, slot: _Slot) -> None:
        """One thread's life."""
        while True:
            with self.lock:
                slot.busy = False
                while not self.tasks and not self.closed and not slot.abandoned:
                    self.idle += 1
                    self.work.wait()
                    self.idle -= 1
                if slot.abandoned or not self.tasks:
                    break
                work = self.tasks.popleft()
                slot.busy = True
            try:
                work(slot)
            except BaseException:
                self.broke()
                raise
            del work  # which has the tasks, and there may be no others for long
        with self.lock:
            if slot in self.slots:
                self.slots.remove(slot)
        slot.close()

    def _whole(self, slot: _Slot, token: int, job: Job) -> None:
        """A job that one thread does alone."""
        for answer in slot.runner.run(self.worker, token, job):
            self.still_own()
            self.post(answer)
            if not answer.last and answer.outputs and not self._spend(token, len(answer.outputs)):
                return
        with self.lock:
            self.credits.pop(token, None)

    def _do(self, slot: _Slot, unit: Unit) -> None:
        """A task, a list of tasks, or a merge."""
        start = slot.begin(unit)
        lease, low, high = unit
        results: list[Any] = [None] * (high - low)
        failure: BaseException | None = None
        try:
            runner = slot.runner
            if self.single:
                results[0] = runner.call(lease.values[low])
            elif self.merges:
                results[0] = runner.merge_group(lease.values[low], lease.opened)
            else:
                part = list(lease.values[low:high])
                results = runner.batch_results(part, runner.func(part))
        except BaseException as error:  # noqa: BLE001 - whatever a function raises is its task's failure
            failure = error
        self.still_own()
        if slot.end():
            end = monotonic()
            self.finished(lease, [(p, r, failure, start, end, len(results)) for p, r in enumerate(results, low)])

    def finished(self, lease: SharedLease, ended: list[Done]) -> None:
        """Tasks have ended: post them, with whatever else has ended, unless somebody is posting already."""
        lease.done.extend(ended)
        while self.posting.acquire(blocking=False):
            try:
                for answer in self.collect():
                    self.post(answer)
            finally:
                self.posting.release()
            # What was finished after `collect` and before the release found the lock taken: look again.
            if not any(other.done for other in list(self.leases.values())):
                break

    # -- splits ---------------------------------------------------------------------------------------

    def _split(self, slot: _Slot, unit: Unit) -> None:
        """A task to be split: its children flow while the function runs, as far as its lease has credit."""
        lease, position, _ = unit
        slot.begin(unit)
        try:
            runner = slot.runner
        except BaseException as error:  # noqa: BLE001 - a class's __init__ may raise anything
            batch = Children(self.runner, self.worker, lease.token, lease.job)
            batch.answer.failures.append(self.runner.failed(error, position))
            with self.posting:
                self._post_end(unit, batch)
            return
        batch = Children(runner, self.worker, lease.token, lease.job)
        skip = lease.job.skip.get(position, 0)
        for answer in runner.split_one(batch, position, skip, lease.values[position]):
            self.still_own()
            with self.posting:  # an abandoned split sends nothing any more: its failure has been told
                if slot.abandoned:
                    return
                self.post(answer)
            slot.since = 0.0
            if not self._spend(lease.token, len(answer.outputs)):
                return
            slot.since = monotonic() - batch.spent
        self.still_own()
        with self.posting:
            if slot.end():
                self._post_end(unit, batch)

    def _post_end(self, unit: Unit, batch: Children) -> None:
        answer = self.end_split(unit, batch)
        if answer.last:
            with self.lock:
                self.credits.pop(unit[0].token, None)
        self.post(answer)

    def _spend(self, token: int, payloads: int) -> bool:
        """Take off what was sent, and wait until more may be; False when nothing is wanted any more."""
        with self.lock:
            self.credits[token] -= payloads
            while self.credits.get(token, 1) <= 0 and not self.closed:
                self.granted.wait()
            return not self.closed

    # -- time-outs ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Give up on tasks that run too long: their threads cannot be killed, others take their places."""
        timeout = self.program.timeout
        assert timeout is not None
        while not self.closed:
            now = monotonic()
            with self.lock:
                late = [s for s in self.slots if s.unit is not None and s.since and now - s.since > timeout]
                soonest = min((s.since for s in self.slots if s.since), default=now)
            for slot in late:
                self._abandon(slot, timeout)
            self.ended.wait(max(0.005, min(soonest + timeout - monotonic(), timeout)))

    def _abandon(self, slot: _Slot, timeout: float) -> None:
        with self.posting:
            with self.lock:
                unit = slot.unit
                if unit is None or slot.abandoned:
                    return
                slot.abandoned = True
                slot.unit = None
                began = slot.since
                self.slots.remove(slot)
            error = timed_out(timeout)
            lease, low, high = unit
            if self.splits:
                batch = Children(self.runner, self.worker, lease.token, lease.job)
                batch.abandon(low, error, began)
                self._post_end(unit, batch)
        self._add_slot()
        if not self.splits:
            end, number = monotonic(), high - low
            self.finished(lease, [(p, None, error, began, end, number) for p in range(low, high)])


class _Slot:
    """One thread of a pool, what it is doing, and since when (0: what it does is not timed)."""

    def __init__(self, pool: Threads) -> None:
        self.pool = pool
        self.abandoned = False
        self.busy = False
        self.unit: Unit | None = None
        self.since = 0.0
        self.own: Runner | None = None
        self.thread = threading.Thread(
            target=pool.serve, args=(self,), name=f"dagflow {pool.program.name}", daemon=True
        )

    def begin(self, unit: Unit) -> float:
        """A unit begins; gives when."""
        self.unit, self.since = unit, monotonic()
        return self.since

    def end(self) -> bool:
        """The unit has ended; False if the watchdog has answered for it already."""
        with self.pool.lock:
            self.unit, self.since = None, 0.0
            return not self.abandoned

    @property
    def runner(self) -> Runner:
        """The pool's runner, or one of its own where each thread has its own instance."""
        if not makes_instances(self.pool.program.func):
            return self.pool.runner
        if self.own is None:
            self.own = self.pool.spare or Runner(
                self.pool.program, seal=self.pool.runner.seals, store=self.pool.runner.store
            )
            self.own.cuts = self.pool.runner.cuts
            self.pool.spare = None
        return self.own

    def close(self) -> None:
        """Close the thread's own instance."""
        if self.own is not None:
            self.own.close()


def one_thread(worker: int, program: Program, post: Post) -> Threads:
    """A serial node in the calling process: one thread, which takes whole jobs.

    With a ``timeout`` it takes them apart, so that a watchdog can give up on a task that runs too long: its
    thread cannot be killed and is abandoned, and a new one goes on with what is left.
    """
    return Threads(worker, program, post, width=1, whole=program.timeout is None)
