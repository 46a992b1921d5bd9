"""Loop: an event loop in a thread of its own, where coroutines take units of work from all leases.

A coroutine of the user's finds an `asyncio.Task` and a context of its own. To make them costs about as much as all else
that is done for it, so they are used for the next task as well, where nothing can tell them from new ones.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from os import getpid
from sys import getrefcount
from time import monotonic, sleep
from weakref import getweakrefcount

from dagflow.core.job import SPLIT_CREDIT
from dagflow.graph.marks import DROP
from dagflow.work.execute import Children, Runner, children_of, timed_out
from dagflow.work.sharing import Post, Sharing, Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from contextvars import Context, ContextVar
    from typing import Any, Final

    from dagflow.core.job import Answer, Job
    from dagflow.work.program import Program

YIELD_SECONDS: Final = 20e-6
"""So long the loop rests where the driver has not come to hear it, and the tasks at hand are getting few."""
CANCEL_SECONDS: Final = 1.0
"""How long coroutines that are cancelled at the end of their loop are waited for."""


class Loop(Sharing):
    """Up to ``width`` coroutines at once."""

    def __init__(self, worker: int, program: Program, post: Post, *, runner: Runner | None = None) -> None:
        super().__init__(worker, runner or Runner(program, seal=False), post)
        self.program = program
        self.incoming: deque[tuple[int, Job]] = deque()
        self.queue: deque[Unit] = deque()
        self.active = 0
        self.plain = self.single and program.timeout is None
        self.context = copy_context()
        self.variables = list(self.context.items())
        self.flushing = False
        self.turns = 0
        self.ending = False
        self.kept: set[asyncio.Task[Any]] = set()
        self.stop: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.started = threading.Event()
        self.given = 0
        self.thread = threading.Thread(target=self._main, name=f"dagflow {program.name} loop", daemon=True)
        self.thread.start()
        self.started.wait()

    def deliver(self, token: int, job: Job) -> None:
        """Take a job."""
        self.given += 1
        self.incoming.append((token, job))
        if not self.flushing:  # a loop that is about to flush looks by itself; to wake it costs a system call
            self._call(self._receive)

    def grant(self, token: int, count: int, cut: int) -> None:
        """Let a lease's splits send more."""
        self.runner.cuts[token] = cut
        self._call(self._granted, token, count)

    def owes(self) -> bool:
        """Whether an answer is still to come."""
        return not self.broken and bool(self.given or self.leases)

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

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve())
        finally:
            for task in asyncio.all_tasks(loop):  # those that swallow their cancellation
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            asyncio.set_event_loop(None)
            loop.close()

    async def _serve(self) -> None:
        import asyncio

        self.loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()
        self.started.set()
        await self.stop.wait()
        # `asyncio.run` would wait for all of them, also for one that will never end.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_SECONDS)
        await self.loop.shutdown_asyncgens()

    def _end(self) -> None:
        assert self.stop is not None
        self.ending = True
        self.incoming.clear()
        self.queue.clear()
        self.stop.set()

    def _receive(self) -> None:
        try:
            while self.incoming:
                self._take(*self.incoming.popleft())
        except BaseException:  # a bug of ours, whatever its class: the lease would never be answered
            self.broke()
            raise

    def _take(self, token: int, job: Job) -> None:
        if job.kind == "key":
            self.post(next(self.runner.run(self.worker, token, job)))
        else:
            self.queue.extend(self.open(token, job))
            self._fill()
        self.given -= 1

    def _fill(self) -> None:
        while self.queue and self.active < self.program.width:
            unit = self.queue.popleft()
            self.active += 1
            if self.plain:
                context = self.context.copy()
                self._begin(self._several(unit, context), context)
            else:
                self._keep(self._guarded(self._split(unit) if self.splits else self._do(unit)))

    def _keep(self, coroutine: Any) -> asyncio.Task[Any]:
        task = self._begin(coroutine, self.context.copy())
        task.add_done_callback(self.kept.discard)
        return task

    def _begin(self, coroutine: Any, context: Context) -> asyncio.Task[Any]:
        assert self.loop is not None
        task = self.loop.create_task(coroutine, context=context)
        self.kept.add(task)
        return task

    async def _guarded(self, coroutine: Any) -> None:
        try:
            await coroutine
        except BaseException:
            if not self.ending:
                self.broke()
            raise

    async def _several(self, unit: Unit, context: Context) -> None:
        """A task, and those after it, as long as each leaves its asyncio task as it was and lets others have the loop.

        `_do` for one task, laid out flat. ``context`` is the one that the asyncio task runs in.
        """
        from asyncio import current_task

        try:
            task: Any = current_task()
            call, queue, pid, ours, turn = self.runner.call, self.queue, self.pid, self.variables, -1
            named, cancelling = task.get_name, task.cancelling
            name, references, weak = named(), getrefcount(task), getweakrefcount(task)
            while True:
                lease, position, _ = unit
                start = monotonic()
                result: Any = None
                failure: BaseException | None = None
                try:
                    result = call(lease.values[position])
                    if hasattr(result, "__await__"):
                        result = await result
                except BaseException as error:  # noqa: BLE001 - a coroutine's CancelledError is its own failure too
                    failure, result = error, None
                if getpid() != pid:
                    self.still_own()
                lease.done.append((position, result, failure, start, monotonic(), 1))
                if not self.flushing:
                    self._flush_soon()
                if failure is not None or turn == self.turns or not queue:
                    break
                if (  # somebody knows it, or renamed it, or something is to be called when it ends
                    getrefcount(task) != references
                    or getweakrefcount(task) != weak
                    or named() != name
                    or getattr(task, "_callbacks", task) is not None
                    # it is cancelled, or was and is not any more, between two awaits
                    or cancelling()
                    or getattr(task, "_must_cancel", task)
                    or len(context) != len(ours)
                    or (ours and not _as_they_were(ours, context))
                ):
                    break
                turn, unit = self.turns, queue.popleft()
            self.kept.discard(task)
        except BaseException:
            if not self.ending:
                self.broke()
            raise
        self.active -= 1
        self._fill()

    async def _do(self, unit: Unit) -> None:
        """A task, a list of tasks, or a merge."""
        start = monotonic()
        lease, low, high = unit
        results: list[Any] = [None] * (high - low)
        failure: BaseException | None = None
        runner = self.runner
        try:
            if self.single:
                results[0] = await self._within(self.program.timeout, runner.call, lease.values[low])
            elif self.merges:
                results[0] = await self._within(
                    self.program.timeout, runner.merge_group, lease.values[low], lease.opened
                )
            else:
                part = list(lease.values[low:high])
                results = runner.batch_results(part, await self._within(self.program.timeout, runner.func, part))
        except BaseException as error:  # noqa: BLE001 - a coroutine's CancelledError is its own failure too
            failure = error
        self.still_own()
        end, number = monotonic(), len(results)
        lease.done.extend((p, r, failure, start, end, number) for p, r in enumerate(results, low))
        self.active -= 1
        self._fill()
        if not self.flushing:
            self._flush_soon()

    def _flush_soon(self) -> None:
        assert self.loop is not None
        self.flushing = True
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flushing = False
        self.turns += 1
        try:
            behind = [self.post(answer) for answer in self.collect()]
        except BaseException:
            self.broke()
            raise
        # The first alone tells whether what was posted before lies there still: the others find the first.
        if behind and behind[0] and len(self.queue) < self.program.width:
            # A loop that is always busy gives the interpreter's lock away only while it looks for what is ready, which
            # is too short for a thread to wake up in; and each time that thread begins to wait for its 5 ms anew.
            sleep(YIELD_SECONDS)
        self._receive()

    async def _within(self, seconds: float | None, function: Callable[..., Any], *args: Any) -> Any:
        """What ``function`` gives, awaited if it must be, for up to ``seconds``."""
        if seconds is None:
            result = function(*args)
            return await result if hasattr(result, "__await__") else result
        import asyncio

        async def call() -> tuple[Any, BaseException | None]:
            try:
                result = function(*args)
                return (await result if hasattr(result, "__await__") else result), None
            except BaseException as error:  # noqa: BLE001 - a SystemExit that leaves a coroutine ends its loop
                return None, error

        task = self._keep(call())
        done, _ = await asyncio.wait({task}, timeout=max(0.0, seconds))
        if done:
            found, error = task.result()
            if error is not None:
                raise error
            return found
        # Cancelled and left to itself: a coroutine that swallows the cancellation must not hold the slot.
        task.cancel()
        task.add_done_callback(_retrieve)
        assert self.program.timeout is not None
        raise timed_out(self.program.timeout)

    # -- splits ---------------------------------------------------------------------------------------

    def _granted(self, token: int, count: int) -> None:
        lease = self.leases.get(token)
        if lease is not None and lease.credit is not None:
            for _ in range(count):
                lease.credit.release()

    async def _split(self, unit: Unit) -> None:
        """Children of a task; the function may be a coroutine, or an async generator."""
        import asyncio

        lease, position, _ = unit
        if lease.credit is None:
            lease.credit = asyncio.Semaphore(SPLIT_CREDIT)
        batch = Children(self.runner, self.worker, lease.token, lease.job)
        batch.begin(position, lease.job.skip.get(position, 0))
        try:
            given = self.runner.call(lease.values[position])
            if hasattr(given, "__aiter__"):
                await self._async_children(batch, unit, given)
            else:
                if hasattr(given, "__await__"):
                    given = await self._within(self.program.timeout, lambda: given)
                if given is not DROP:
                    for answer in batch.take(children_of(given)):
                        await self._send(unit, answer)
            batch.check_time()
        except BaseException as error:  # noqa: BLE001 - whatever a function raises is its task's failure
            for answer in batch.fail(error):
                await self._send(unit, answer)
        else:
            (batch.drop if given is DROP else batch.end)()
        self.still_own()
        self.active -= 1
        self.post(self.end_split(unit, batch))
        self._fill()

    async def _async_children(self, batch: Children, unit: Unit, given: Any) -> None:
        skip, iterator, end = batch.skip, aiter(given), object()
        timeout = self.program.timeout
        while True:
            left = None if timeout is None else timeout - batch.spent - (monotonic() - batch.resumed)
            child = await self._within(left, anext, iterator, end)
            if child is end:
                return
            if skip:
                skip -= 1
                continue
            batch.add((child,))
            if batch.due():
                for answer in batch.flush():
                    await self._send(unit, answer)

    async def _send(self, unit: Unit, answer: Answer) -> None:
        self.still_own()
        self.post(answer)
        for _ in answer.outputs:
            await unit[0].credit.acquire()


def _as_they_were(variables: list[tuple[ContextVar[Any], Any]], context: Context) -> bool:
    """Whether a context has these variables, each with the very value that it had."""
    return all(context.get(variable, context) is value for variable, value in variables)


def _retrieve(task: Any) -> None:
    """Take the result of a coroutine nobody waits for, so that asyncio does not complain about it."""
    if not task.cancelled():
        task.exception()
