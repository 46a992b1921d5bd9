"""The thread backend: everything in the calling process, each node by its own execution mode.

Serial nodes have a thread each, thread nodes a pool, async nodes an event loop; only nodes whose mode is
``"process"`` run in worker processes. Values pass by reference and need not pickle (but to process nodes).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dagflow.backends.mailbox import Mailbox
from dagflow.backends.serial import cannot_load
from dagflow.core.events import Event, Running, WorkerLost, WorkerUp
from dagflow.work.loop import Loop
from dagflow.work.threads import Threads, one_thread

if TYPE_CHECKING:
    from dagflow.backends.local.pool import Pool
    from dagflow.core.job import Job
    from dagflow.graph.plan import Plan
    from dagflow.work.program import Program


class ThreadBackend:
    """Executors in this process; a pool of worker processes for process nodes."""

    shares_memory = True

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.programs: Sequence[Program] = ()
        self.here: dict[int, Threads | Loop] = {}
        self.pool: Pool | None = None

    def open(self, plan: Plan, programs: Sequence[Program]) -> None:
        """Take the programs; start what process nodes need."""
        del plan
        self.programs = programs
        if any(program.mode == "process" for program in programs):
            from dagflow.backends.local.pool import Pool

            self.pool = Pool(self.mailbox, programs)

    def expect(self, values: Sequence[object]) -> None:
        """Tell worker processes, if there will be any; all else has loaded already what these are."""
        if self.pool is not None:
            self.pool.expect(values)

    def start(self, worker: int, node: int) -> None:
        """Start the executor of a node."""
        program = self.programs[node]
        if program.mode == "process":
            assert self.pool is not None
            self.pool.start(worker, node)
            return
        try:
            executor = self.here[worker] = _executor(worker, program, self.mailbox)
            executor.fatal = lambda: self.mailbox.post(_broken(worker))
        except Exception as error:  # noqa: BLE001 - a class's __init__ may raise anything
            self.mailbox.post(cannot_load(worker, error))
            return
        self.mailbox.post(WorkerUp(worker, pid=os.getpid()))

    def deliver(self, worker: int, token: int, job: Job) -> None:
        """Give a job to a worker."""
        found = self.here.get(worker)
        if found is not None:
            found.deliver(token, job)
        elif self.pool is not None:
            self.pool.deliver(worker, token, job)

    def grant(self, worker: int, token: int, count: int, cut: int) -> None:
        """Let a split go on."""
        found = self.here.get(worker)
        if found is not None:
            found.grant(token, count, cut)
        elif self.pool is not None:
            self.pool.grant(worker, token, count, cut)

    def give_back(self, worker: int, token: int) -> None:
        """Have a worker process give back what it has not begun; an executor in this process is its node's only one."""
        if self.pool is not None:
            self.pool.give_back(worker, token)

    def probe(self, worker: int) -> None:
        """Ask a worker what it is doing; an executor in this process only whether it does anything."""
        found = self.here.get(worker)
        if found is not None:
            self.mailbox.post(Running(worker, 0, 0, 0.0, idle=not found.owes()))
        elif self.pool is not None:
            self.pool.probe(worker)

    def stop(self, worker: int, *, kill: bool) -> None:
        """End a worker; threads that are busy end when their function returns."""
        found = self.here.pop(worker, None)
        if found is not None:
            found.close()
        elif self.pool is not None:
            self.pool.stop(worker, kill=kill)

    def wait(self, patience: Callable[[], float | None]) -> list[Event]:
        """What has happened."""
        return self.mailbox.wait(patience)

    def wake(self) -> None:
        """Make `wait` return."""
        self.mailbox.wake()

    def close(self, *, kill: bool) -> None:
        """End everything."""
        for worker in list(self.here):
            self.stop(worker, kill=kill)
        if self.pool is not None:
            self.pool.close(kill=kill)
        self.mailbox.close()


def _broken(worker: int) -> WorkerLost:
    """An executor cannot go on: its tasks go to another one, as those of a dead process do."""
    error = sys.exc_info()[1]
    return WorkerLost(worker, f"broke down ({type(error).__name__}: {error})")


def _executor(worker: int, program: Program, mailbox: Mailbox) -> Threads | Loop:
    if program.mode == "async":
        return Loop(worker, program, mailbox.post)
    if program.mode == "thread":
        return Threads(worker, program, mailbox.post)
    return one_thread(worker, program, mailbox.post)
