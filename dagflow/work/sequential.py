"""Sequential: jobs one after the other, turned by their host (a worker process, or the serial backend)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

from dagflow.core.job import SPLIT_CREDIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dagflow.core.job import Answer, Job
    from dagflow.work.execute import Runner
    from dagflow.work.sharing import Post


class Sequential:
    """Jobs in the order of their delivery. `turn` does one step, up to the next answer.

    A Splitter's job is suspended while it has no credit; a lease that was delivered after it waits.
    """

    def __init__(self, worker: int, runner: Runner, post: Post) -> None:
        self.worker, self.runner, self.post = worker, runner, post
        self.jobs: deque[tuple[int, Job]] = deque()
        self.running: Iterator[Answer] | None = None
        self.token = 0
        self.credit = 0
        self.pid = os.getpid()

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
            self.token = self.jobs[0][0]
            self.credit = SPLIT_CREDIT
            self.running = self.runner.run(self.worker, *self.jobs.popleft())  # which alone keeps the job
        answer = next(self.running)
        if os.getpid() != self.pid:
            os._exit(0)  # a child that a function has forked and that came back from it: it answers for nobody
        if answer.last:
            self.running = None
        elif answer.outputs:
            self.credit -= len(answer.outputs)
        self.post(answer)
