"""Worker processes on this machine: a zygote that forks them, a socketpair to each, a hub in the driver.

`wire` is the frames, `messages` what they say, `zygote` and `worker` the other side, `pool` the driver's side.
No queue, lock or semaphore is shared between processes, so a killed worker can hold nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dagflow.backends.local.pool import Pool
    from dagflow.backends.mailbox import Mailbox
    from dagflow.core.events import Event
    from dagflow.core.job import Job
    from dagflow.graph.plan import Plan
    from dagflow.work.program import Program


class ProcessBackend:
    """Each node in worker processes of its own: ``width`` of them in process mode, else one that hosts its executor."""

    shares_memory = False

    def __init__(self) -> None:
        from dagflow.backends.local.helper import Helper, occupy_standard_numbers
        from dagflow.backends.mailbox import Mailbox

        occupy_standard_numbers()
        self.mailbox: Mailbox = Mailbox()
        self.pool: Pool | None = None
        self.helper = Helper.taken()

    def open(self, plan: Plan, programs: Sequence[Program]) -> None:
        """Start the zygote and make the programs ready to travel."""
        from dagflow.backends.local.pool import Pool

        del plan
        helper, self.helper = self.helper, None
        self.pool = Pool(self.mailbox, programs, helper)

    def expect(self, values: Sequence[object]) -> None:
        """Have the zygote load what workers will need to read such values."""
        assert self.pool is not None
        self.pool.expect(values)

    def start(self, worker: int, node: int) -> None:
        """Fork a worker for a node."""
        assert self.pool is not None
        self.pool.start(worker, node)

    def deliver(self, worker: int, token: int, job: Job) -> None:
        """Send a job."""
        assert self.pool is not None
        self.pool.deliver(worker, token, job)

    def grant(self, worker: int, token: int, count: int, cut: int) -> None:
        """Let a split go on."""
        assert self.pool is not None
        self.pool.grant(worker, token, count, cut)

    def give_back(self, worker: int, token: int) -> None:
        """Have a worker give back what it has not begun."""
        assert self.pool is not None
        self.pool.give_back(worker, token)

    def probe(self, worker: int) -> None:
        """Read what a worker is doing off its page."""
        assert self.pool is not None
        self.pool.probe(worker)

    def stop(self, worker: int, *, kill: bool) -> None:
        """Let a worker end, or kill it."""
        assert self.pool is not None
        self.pool.stop(worker, kill=kill)

    def wait(self, patience: Callable[[], float | None]) -> list[Event]:
        """What has happened."""
        return self.mailbox.wait(patience)

    def wake(self) -> None:
        """Make `wait` return."""
        self.mailbox.wake()

    def close(self, *, kill: bool) -> None:
        """End all workers and the zygote, and wait until they are gone."""
        if self.pool is not None:
            self.pool.close(kill=kill)
        if self.helper is not None:
            self.helper.leave()
            self.helper = None
        self.mailbox.close()
