"""Executors: how jobs become running functions. The same three host every node, here or in a worker process.

* `Sequential`: one job after the other, turned by its host: a worker process, or the serial backend.
* `Threads`: a pool of threads that take tasks one by one from all leases (`one_thread`: whole jobs, in order).
* `Loop`: an event loop in a thread of its own.

Each takes jobs by ``deliver`` and gives answers to ``post``, from whatever thread it has.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic, perf_counter

from dagflow.core.commands import SPLIT_CREDIT
from dagflow.core.events import Answer
from dagflow.graph.marks import DROP, makes_instances
from dagflow.work.execute import Children, Failures, Runner, children_of, load, timed_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from dagflow.core.commands import Job
    from dagflow.work.program import Program

Post = Callable[[Answer], None]


class Sequential:
    """Jobs one after the other. `turn` does one step; `serve` turns for ever, for a thread or a process.

    A Splitter's job is suspended while it has no credit; a lease that was delivered after it waits.
    """

    def __init__(self, worker: int, runner: Runner, post: Post) -> None:
        self.worker, self.runner, self.post = worker, runner, post
        self.jobs: deque[tuple[int, Job]] = deque()
        self.running: Iterator[Answer] | None = None
        self.token = 0
        self.credit = 0

    def deliver(self, token: int, job: Job) -> None:
        """Take a job; it runs when those before it have ended."""
        self.jobs.append((token, job))

    def grant(self, token: int, count: int, cut: int) -> None:
        """Let the running split send more."""
        if token == self.token:
            self.credit += count
            self.runner.cuts[token] = cut

    def ready(self) -> bool:
        """Whether `turn` has something to do."""
        return self.credit > 0 if self.running is not None else bool(self.jobs)

    def turn(self) -> None:
        """Run until the next answer, and post it."""
        if self.running is None:
            self.token, job = self.jobs.popleft()
            self.credit = SPLIT_CREDIT
            self.running = self.runner.run(self.worker, self.token, job)
        answer = next(self.running)
        if answer.last:
            self.running = None
        elif answer.outputs:
            self.credit -= len(answer.outputs)
        self.post(answer)


class _Lease:
    """A job that several threads or coroutines work on, and what has ended of it since the last answer."""

    __slots__ = ("credit", "done", "job", "left", "token", "values")

    def __init__(self, token: int, job: Job, values: list[Any]) -> None:
        self.token, self.job, self.values = token, job, values
        self.left = len(values)
        self.done: list[tuple[int, Any, BaseException | None, float]] = []
        self.credit: Any = None


class _Sharing:
    """What `Threads` and `Loop` have in common: tasks of several leases at once, answered as they end."""

    def __init__(self, worker: int, runner: Runner, post: Post) -> None:
        self.worker, self.runner, self.post = worker, runner, post
        self.leases: dict[int, _Lease] = {}
        self.single = runner.program.kind in ("task", "route") and runner.program.batch_size is None

    def shared(self, job: Job) -> bool:
        """Whether the job's tasks are run one by one, each where there is room, or the job as a whole."""
        return job.kind == "run" and self.single

    def opened(self, token: int, job: Job) -> _Lease | None:
        """Open a job for sharing; None where its values cannot be read, which is answered then."""
        try:
            lease = self.leases[token] = _Lease(token, job, load(job))
            return lease
        except Exception as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
            self.post(self.runner.unreadable(self.worker, token, job, error))
            return None

    def collect(self) -> list[Answer]:
        """Answers for all that has ended since the last call."""
        answers = []
        for lease in list(self.leases.values()):
            done, lease.done = lease.done, []
            if not done:
                continue
            done.sort(key=_position)
            lease.left -= len(done)
            answers.append(self._answer(lease, done))
            if not lease.left:
                del self.leases[lease.token]
        return answers

    def _answer(self, lease: _Lease, done: list[tuple[int, Any, BaseException | None, float]]) -> Answer:
        """One answer for some tasks of a lease: made for these alone, then renumbered to their positions."""
        positions = [d[0] for d in done]
        failures: Failures = [(at, d[2]) for at, d in enumerate(done) if d[2] is not None]
        answer = self.runner.answer(
            self.worker,
            lease.token,
            [lease.values[p] for p in positions],
            [d[1] for d in done],
            failures,
            whole=False,
        )
        answer.renumber(positions)
        answer.last = not lease.left
        answer.seconds = sum(d[3] for d in done)
        return answer


def _position(done: tuple[int, Any, BaseException | None, float]) -> int:
    return done[0]


class Threads(_Sharing):
    """A pool of up to ``width`` threads, each with its own instance where the function is a class.

    Results are gathered: the thread that finds nobody posting posts what all have finished meanwhile.
    """

    def __init__(
        self,
        worker: int,
        program: Program,
        post: Post,
        *,
        width: int | None = None,
        runner: Runner | None = None,
    ) -> None:
        super().__init__(worker, runner or Runner(program, seal=False), post)
        self.program = program
        self.spare: Runner | None = self.runner  # the first thread's, made early so that a bad class shows early
        self.width = width or program.width
        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)
        self.posting = threading.Lock()
        self.tasks: deque[Callable[[_Slot], None]] = deque()
        self.slots: list[_Slot] = []
        self.idle = 0
        self.closed = False
        self.granted = threading.Condition(self.lock)
        self.credits: dict[int, int] = {}
        self.watchdog: threading.Thread | None = None

    def deliver(self, token: int, job: Job) -> None:
        """Take a job: its tasks queue for the threads one by one (or the whole job, for merges and batches)."""
        lease = self.opened(token, job) if self.shared(job) else None
        if lease is None and self.shared(job):
            return
        with self.lock:
            if lease is not None:
                self.tasks.extend(_One(self, lease, position) for position in range(len(lease.values)))
            else:
                self.credits[token] = SPLIT_CREDIT
                self.tasks.append(lambda slot: self._whole(slot, token, job))
            fresh = min(len(self.tasks) - self.idle, self.width - len(self.slots))
            self.work.notify(len(self.tasks))
        for _ in range(fresh):
            self._add_slot()

    def grant(self, token: int, count: int, cut: int) -> None:
        """Let a split send more."""
        with self.lock:
            if token in self.credits:
                self.runner.cuts[token] = cut
                self.credits[token] += count
                self.granted.notify_all()

    def close(self) -> None:
        """End the threads as they become idle, and wait for those that are."""
        with self.lock:
            self.closed = True
            slots = list(self.slots)
            self.tasks.clear()
            self.work.notify_all()
            self.granted.notify_all()
        for slot in slots:
            if slot.since == 0.0:
                slot.thread.join(timeout=5)
        self.runner.close()

    # -- the threads ----------------------------------------------------------------------------------

    def _add_slot(self) -> None:
        slot = _Slot(self)
        with self.lock:
            self.slots.append(slot)
        slot.thread.start()
        if self.program.timeout is not None and self.watchdog is None:
            self.watchdog = threading.Thread(target=self._watch, name=f"dagflow {self.program.name} clock", daemon=True)
            self.watchdog.start()

    def serve(self, slot: _Slot) -> None:
        """One thread's life."""
        while True:
            with self.lock:
                while not self.tasks and not self.closed and not slot.abandoned:
                    self.idle += 1
                    self.work.wait()
                    self.idle -= 1
                if slot.abandoned or not self.tasks:
                    break
                task = self.tasks.popleft()
            task(slot)
        with self.lock:
            if slot in self.slots:
                self.slots.remove(slot)
        slot.close()

    def _whole(self, slot: _Slot, token: int, job: Job) -> None:
        """A job that one thread does alone: merges, batches, splits."""
        slot.since = monotonic()
        for answer in slot.runner.run(self.worker, token, job):
            self.post(answer)
            if answer.last or not answer.outputs:
                continue
            with self.lock:
                self.credits[token] = self.credits.get(token, 0) - len(answer.outputs)
                while self.credits[token] <= 0 and not self.closed:
                    self.granted.wait()
                if self.closed:
                    return
        with self.lock:
            self.credits.pop(token, None)
        slot.since = 0.0

    def finished(self, lease: _Lease, ended: tuple[int, Any, BaseException | None, float]) -> None:
        """A task has ended: post it, with whatever else has ended, unless somebody is posting already."""
        lease.done.append(ended)
        while self.posting.acquire(blocking=False):
            try:
                for answer in self.collect():
                    self.post(answer)
            finally:
                self.posting.release()
            # What was finished after `collect` and before the release found the lock taken: look again.
            if not any(other.done for other in list(self.leases.values())):
                break

    def _watch(self) -> None:
        """Give up on tasks that run too long: their threads cannot be killed, others take their places."""
        timeout = self.program.timeout
        assert timeout is not None
        tick = threading.Event()
        while not self.closed:
            now = monotonic()
            with self.lock:
                late = [s for s in self.slots if s.task is not None and s.since and now - s.since > timeout]
                soonest = min((s.since for s in self.slots if s.since), default=now)
            for slot in late:
                self._abandon(slot, timeout)
            tick.wait(max(0.005, min(soonest + timeout - monotonic(), timeout)))

    def _abandon(self, slot: _Slot, timeout: float) -> None:
        with self.lock:
            task = slot.task
            if task is None or slot.abandoned:
                return
            slot.abandoned = True
            slot.task = None
            self.slots.remove(slot)
        self._add_slot()
        self.finished(task.lease, (task.position, None, timed_out(timeout), timeout))


class _Slot:
    """One thread of a pool, what it is doing, and since when."""

    def __init__(self, pool: Threads) -> None:
        self.pool = pool
        self.abandoned = False
        self.task: _One | None = None
        self.since = 0.0
        self.own: Runner | None = None
        self.thread = threading.Thread(
            target=pool.serve, args=(self,), name=f"dagflow {pool.program.name}", daemon=True
        )

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


class _One:
    """One task of a lease, for one thread."""

    __slots__ = ("lease", "pool", "position")

    def __init__(self, pool: Threads, lease: _Lease, position: int) -> None:
        self.pool, self.lease, self.position = pool, lease, position

    def __call__(self, slot: _Slot) -> None:
        start = perf_counter()
        slot.task, slot.since = self, monotonic()
        result: Any = None
        failure: BaseException | None = None
        try:
            result = slot.runner.call(self.lease.values[self.position])
        except BaseException as error:  # noqa: BLE001 - whatever a function raises is its task's failure
            failure = error
        with self.pool.lock:
            late = slot.abandoned  # the watchdog has answered for this task
            slot.task, slot.since = None, 0.0
        if not late:
            self.pool.finished(self.lease, (self.position, result, failure, perf_counter() - start))


class Loop(_Sharing):
    """An event loop in a thread of its own, with up to ``width`` coroutines at once."""

    def __init__(self, worker: int, program: Program, post: Post, *, runner: Runner | None = None) -> None:
        super().__init__(worker, runner or Runner(program, seal=False), post)
        self.program = program
        self.queue: deque[tuple[_Lease, int]] = deque()
        self.active = 0
        self.flushing = False
        self.kept: set[asyncio.Task[Any]] = set()
        self.stop: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._main, name=f"dagflow {program.name} loop", daemon=True)
        self.thread.start()
        self.started.wait()

    def deliver(self, token: int, job: Job) -> None:
        """Take a job."""
        self._call(self._take, token, job)

    def grant(self, token: int, count: int, cut: int) -> None:
        """Let a split send more."""
        self.runner.cuts[token] = cut
        self._call(self._granted, token, count)

    def close(self) -> None:
        """Cancel what still runs and end the loop."""
        if self.thread.is_alive():
            self._call(self._end)
            self.thread.join(timeout=5)
        self.runner.close()

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        assert self.loop is not None
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            pass  # the loop has ended

    # -- inside the loop ------------------------------------------------------------------------------

    def _main(self) -> None:
        import asyncio

        asyncio.run(self._serve())

    async def _serve(self) -> None:
        import asyncio

        self.loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()
        self.started.set()
        await self.stop.wait()

    def _end(self) -> None:
        assert self.stop is not None
        self.stop.set()

    def _take(self, token: int, job: Job) -> None:
        if not self.shared(job):
            self._keep(self._split(token, job) if self.runner.program.kind == "split" else self._whole(token, job))
            return
        lease = self.opened(token, job)
        if lease is None:
            return
        self.queue.extend((lease, p) for p in range(len(lease.values)))
        self._fill()

    def _fill(self) -> None:
        while self.queue and self.active < self.program.width:
            lease, position = self.queue.popleft()
            self.active += 1
            self._keep(self._one(lease, position))

    def _keep(self, coroutine: Any) -> None:
        assert self.loop is not None
        task = self.loop.create_task(coroutine)
        self.kept.add(task)
        task.add_done_callback(self.kept.discard)

    async def _one(self, lease: _Lease, position: int) -> None:
        start = perf_counter()
        result: Any = None
        failure: BaseException | None = None
        try:
            result = await self._result(lease.values[position])
        except BaseException as error:  # noqa: BLE001 - a coroutine's CancelledError is its own failure too
            failure = error
        lease.done.append((position, result, failure, perf_counter() - start))
        self.active -= 1
        self._fill()
        if not self.flushing:
            self.flushing = True
            assert self.loop is not None
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flushing = False
        for answer in self.collect():
            self.post(answer)

    async def _result(self, value: Any) -> Any:
        """What the function gives for a value, awaited if it must be, within the timeout."""
        timeout = self.program.timeout
        if timeout is None:
            result = self.runner.call(value)
            return await result if hasattr(result, "__await__") else result
        import asyncio

        async def call() -> Any:
            result = self.runner.call(value)
            return await result if hasattr(result, "__await__") else result

        assert self.loop is not None
        task = self.loop.create_task(call())
        self.kept.add(task)
        task.add_done_callback(self.kept.discard)
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if done:
            return task.result()
        # Cancelled and left to itself: a coroutine that swallows the cancellation must not hold the slot.
        task.cancel()
        task.add_done_callback(_retrieve)
        raise timed_out(timeout)

    async def _whole(self, token: int, job: Job) -> None:
        """A merge or a batch: the function may be async here too."""
        self.post(await self._awaited(token, job))

    async def _awaited(self, token: int, job: Job) -> Answer:
        runner = self.runner
        if job.kind == "run":
            try:
                values = load(job)
            except Exception as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
                return runner.unreadable(self.worker, token, job, error)
            out: list[Any] = []
            failures: Failures = []
            size = self.program.batch_size or 1
            for at in range(0, len(values), size):
                part = values[at : at + size]
                try:
                    results = runner.batch_results(part, await self._result(part))
                except BaseException as error:  # noqa: BLE001
                    failures.extend((at + i, error) for i in range(len(part)))
                    results = [None] * len(part)
                out.extend(results)
            return runner.answer(self.worker, token, values, out, failures)
        if job.kind == "merge" and runner.program.fold is None:
            return await self._merge(token, job)
        return next(runner.run(self.worker, token, job))

    async def _merge(self, token: int, job: Job) -> Answer:
        runner, opened = self.runner, {}  # type: ignore[var-annotated]
        out: list[Any] = []
        failures: Failures = []
        for position, group in enumerate(job.groups):
            result: Any = None
            try:
                members = runner.members(group.pieces, opened)
                result = runner.merge_one(members)
                if hasattr(result, "__await__"):
                    result = await result
            except BaseException as error:  # noqa: BLE001
                failures.append((position, error))
            out.append(result)
        return runner.answer(self.worker, token, [None] * len(out), out, failures)

    # -- splits ---------------------------------------------------------------------------------------

    def _granted(self, token: int, count: int) -> None:
        lease = self.leases.get(token)
        if lease is not None and lease.credit is not None:
            for _ in range(count):
                lease.credit.release()

    async def _split(self, token: int, job: Job) -> None:
        """Children of each task; the function may be a coroutine, or an async generator."""
        import asyncio

        lease = self.opened(token, job)
        if lease is None:
            return
        lease.credit = asyncio.Semaphore(SPLIT_CREDIT)
        cut = max(1, min(lease.job.cuts.values(), default=1024))
        batch = Children(self.runner, self.worker, lease.token, cut)
        for position, value in enumerate(lease.values):
            batch.begin(position, lease.job.skip.get(position, 0))
            try:
                given = self.runner.call(value)
                if hasattr(given, "__aiter__"):
                    await self._async_children(batch, lease, given)
                else:
                    result = await given if hasattr(given, "__await__") else given
                    if result is DROP:
                        batch.drop()
                        continue
                    for answer in batch.take(children_of(result)):
                        await self._send(lease, answer)
            except BaseException as error:  # noqa: BLE001
                for answer in batch.fail(error):
                    await self._send(lease, answer)
            else:
                batch.end()
        self.leases.pop(lease.token, None)
        self.post(batch.last())

    async def _async_children(self, batch: Children, lease: _Lease, given: Any) -> None:
        skip = batch.skip
        async for child in given:
            if skip:
                skip -= 1
                continue
            batch.add((child,))
            if len(batch.values) >= batch.cut() or perf_counter() - batch.since > 0.005:
                for answer in batch.flush():
                    await self._send(lease, answer)

    async def _send(self, lease: _Lease, answer: Answer) -> None:
        self.post(answer)
        for _ in answer.outputs:
            await lease.credit.acquire()


def _retrieve(task: Any) -> None:
    """Take the result of a coroutine nobody waits for, so that asyncio does not complain about it."""
    if not task.cancelled():
        task.exception()


def one_thread(worker: int, program: Program, post: Post) -> Threads:
    """A serial node in the calling process: one thread, which takes whole jobs.

    With a ``timeout`` it takes tasks one by one, so that a watchdog can give up on one that runs too long: its
    thread cannot be killed and is abandoned, and a new one goes on with what is left.
    """
    pool = Threads(worker, program, post, width=1)
    pool.single = pool.single and program.timeout is not None
    return pool
