"""The serial backend: everything in the calling thread, one task at a time. Deterministic; ``breakpoint()`` works."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dagflow.backends.mailbox import Mailbox
from dagflow.core.events import Event, Running, WorkerLost, WorkerUp
from dagflow.core.job import Answer
from dagflow.work.execute import Runner
from dagflow.work.sequential import Sequential

if TYPE_CHECKING:
    from dagflow.core.job import Job
    from dagflow.graph.plan import Plan
    from dagflow.work.program import Program


class SerialBackend:
    """Each worker is a `Sequential` that the ring's own thread turns when it waits for something to happen."""

    shares_memory = True

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.programs: Sequence[Program] = ()
        self.workers: dict[int, Sequential] = {}

    def open(self, plan: Plan, programs: Sequence[Program]) -> None:
        """Take the programs of the nodes."""
        del plan
        self.programs = programs

    def expect(self, values: Sequence[object]) -> None:
        """All that they need is loaded here already."""

    def start(self, worker: int, node: int) -> None:
        """Make a node's runner."""
        program = self.programs[node]
        try:
            runner = _AsyncRunner(program) if program.mode == "async" else Runner(program, seal=False, interrupts=True)
        except Exception as error:  # noqa: BLE001 - a class's __init__ may raise anything
            self.mailbox.post(cannot_load(worker, error))
            return
        self.workers[worker] = Sequential(worker, runner, self.mailbox.post)
        self.mailbox.post(WorkerUp(worker, pid=os.getpid()))

    def deliver(self, worker: int, token: int, job: Job) -> None:
        """Queue a job; it runs at the next `wait`."""
        self.workers[worker].deliver(token, job)

    def grant(self, worker: int, token: int, count: int, cut: int) -> None:
        """Let a split go on."""
        self.workers[worker].grant(token, count, cut)

    def give_back(self, worker: int, token: int) -> None:
        """Never asked for: each is given one task at a time."""

    def probe(self, worker: int) -> None:
        """Nothing runs while the ring does; but there may be something to do."""
        found = self.workers.get(worker)
        if found is not None:
            self.mailbox.post(Running(worker, 0, 0, 0.0, idle=found.running is None and not found.jobs))

    def stop(self, worker: int, *, kill: bool) -> None:
        """Close a runner."""
        del kill
        found = self.workers.pop(worker, None)
        if found is not None:
            found.runner.close()

    def wait(self, patience: Callable[[], float | None]) -> list[Event]:
        """Run one step of one worker, if one has something to do; else wait like any other."""
        if not self.mailbox.events:
            for worker in reversed(self.workers.values()):
                if worker.ready():
                    worker.turn()
                    break
        return self.mailbox.wait(patience)

    def wake(self) -> None:
        """Make `wait` return."""
        self.mailbox.wake()

    def close(self, *, kill: bool) -> None:
        """Close all runners."""
        for worker in list(self.workers):
            self.stop(worker, kill=kill)
        self.mailbox.close()


def cannot_load(worker: int, error: BaseException) -> WorkerLost:
    """The event of a worker that cannot be made."""
    text = f"cannot load its function: {type(error).__name__}: {error}"
    return WorkerLost(worker, "could not be made", started=False, output=text)


class _AsyncRunner(Runner):
    """A runner whose function gives coroutines, each run to its end before the next begins.

    In the caller's thread where that has no running event loop, else in a thread of its own, since a loop
    cannot be run inside another.
    """

    def __init__(self, program: Program) -> None:
        self.loop = asyncio.new_event_loop()
        super().__init__(program, seal=False, interrupts=True)

    def caller(self) -> Callable[[Any], Any]:
        """The function, awaited."""
        call = super().caller()
        func = self.func
        self.func = lambda *args: self._finish(func(*args))
        return lambda task: self._finish(call(task))

    def _finish(self, result: Any) -> Any:
        if hasattr(result, "__aiter__"):
            return self._children(result)
        if not hasattr(result, "__await__"):
            return result
        return self._until_done(self._limited(result))

    async def _limited(self, awaitable: Any) -> Any:
        return await awaitable

    def _children(self, source: Any) -> Any:
        iterator = aiter(source)
        end = object()

        async def following() -> Any:
            return await anext(iterator, end)

        while (child := self._until_done(following())) is not end:
            yield child

    def _until_done(self, coroutine: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.loop.run_until_complete(coroutine)
        box: list[Any] = []

        def run() -> None:
            try:
                box.append((self.loop.run_until_complete(coroutine), None))
            except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
                box.append((None, error))

        thread = threading.Thread(target=run, name="dagflow serial loop")
        thread.start()
        thread.join()
        result, error = box[0]
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Close the loop too."""
        super().close()
        self.loop.close()


__all__ = ["Answer", "SerialBackend", "cannot_load"]
