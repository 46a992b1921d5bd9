"""Sharing: how a job is taken apart for several threads or coroutines, and its answers put together again.

A job becomes *units*, each what one thread or coroutine does at once: a task; a list of tasks for a function of
lists; the members of one scope for a Merger; a task to be split. Units of several leases are worked on at the
same time and answered as they end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import repeat

from dagflow.core.job import Answer
from dagflow.core.visits import Times
from dagflow.work.execute import Children, Failures, Runner, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dagflow.core.job import Job

Post = Callable[[Answer], "bool | None"]
"""Tells the driver something; True where it is known not to have heard what was told before."""
Done = tuple[int, "Any", BaseException | None, float, float, int]
"""A task that has ended: position, result, failure, when it began, when it ended, how many were run together."""


class SharedLease:
    """A job that several threads or coroutines work on, and what has ended of it since the last answer.

    ``values`` are the tasks, or a Merger's groups. ``opened`` keeps payloads that groups have in common.
    """

    __slots__ = ("credit", "done", "job", "left", "opened", "token", "values")

    def __init__(self, token: int, job: Job, values: Sequence[Any]) -> None:
        self.token, self.job, self.values = token, job, values
        self.left = len(values)
        self.done: list[Done] = []
        self.credit: Any = None
        self.opened: dict[int, list[Any]] = {}


Unit = tuple[SharedLease, int, int]
"""What one thread or coroutine does at once: the tasks of a lease from one position to (without it) another."""


class Sharing:
    """What `Threads` and `Loop` have in common. ``fatal``: what to do about a bug of ours (where it is noticed)."""

    def __init__(self, worker: int, runner: Runner, post: Post) -> None:
        self.worker, self.runner, self.post = worker, runner, post
        self.leases: dict[int, SharedLease] = {}
        self.pid = os.getpid()
        self.fatal: Callable[[], object] | None = None
        self.broken = False
        program = runner.program
        self.splits = program.kind == "split"
        self.merges = program.kind == "merge"
        self.single = not self.splits and not self.merges and program.batch_size is None

    def open(self, token: int, job: Job) -> list[Unit]:
        """Take a job apart; no units where its values cannot be read, which is answered then."""
        try:
            values = job.groups if job.kind == "merge" else load(job)
        except Exception as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
            self.post(self.runner.unreadable(self.worker, token, job, error))
            return []
        lease = self.leases[token] = SharedLease(token, job, values)
        size = 1 if self.merges else self.runner.program.batch_size or 1
        number = len(values)
        highs = range(size, number + 1, size)
        units = list(zip(repeat(lease), range(0, number, size), highs, strict=False))
        if number % size:
            units.append((lease, len(units) * size, number))
        return units

    def still_own(self) -> None:
        """To be asked after the user's code has run: ends a process that it forked and that came back from it.

        Such a child is a copy of this process with one thread of it; it must not answer for its parent.
        """
        if os.getpid() != self.pid:
            os._exit(0)

    def broke(self) -> None:
        """Something here raised that never should: a lease may never be answered, so nobody shall wait for it."""
        self.broken = True
        if self.fatal is not None:
            self.fatal()

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

    def _answer(self, lease: SharedLease, done: list[Done]) -> Answer:
        """One answer for some tasks of a lease: made for these alone, then renumbered to their positions."""
        positions = [d[0] for d in done]
        failures: Failures = [(at, d[2]) for at, d in enumerate(done) if d[2] is not None]
        make = self.runner.merge_answer if self.merges else self.runner.answer
        values, out = [lease.values[p] for p in positions], [d[1] for d in done]
        answer = make(self.worker, lease.token, values, out, failures, whole=False)
        answer.renumber(positions)
        answer.last = not lease.left
        answer.seconds = sum((d[4] - d[3]) / d[5] for d in done)
        if self.runner.traced:
            answer.times = Times([d[3] for d in done], [d[4] for d in done], positions)
        return answer

    def end_split(self, unit: Unit, batch: Children) -> Answer:
        """What is left to say of a split that has ended; the last answer of its lease says the last word."""
        answer = batch.last()
        lease = unit[0]
        lease.left -= 1
        answer.last = not lease.left
        if answer.last:
            self.leases.pop(lease.token, None)
            self.runner.cuts.pop(lease.token, None)
        return answer


def _position(done: Done) -> int:
    return done[0]
