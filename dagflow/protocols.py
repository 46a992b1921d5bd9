"""Floor 3: the doors between the ring and the world. Small enough to be implemented in an afternoon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from dagflow.core.record import field, record

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.core.events import Event
    from dagflow.core.job import Job
    from dagflow.core.lifecycle import Phase
    from dagflow.graph.plan import Plan
    from dagflow.work.program import Program


@record(frozen=True)
class NodeSnapshot:
    """One node at one moment. ``seconds``: worker time spent in its function; ``held``: members a Merger keeps.

    ``width``: how many tasks it can work on at once. ``sent``: tasks that left by each of its ports, by the
    port's index in the plan. ``cpu``: processor seconds of its worker processes, ``stalled``: seconds in
    which those could have used a processor and had none. ``capacity``: how many tasks its queue holds before those
    that feed the node are held back; ``queued_mean``: how many it held on average since the run began, ``full``: the
    part of that time, 0 to 1, in which it was full. ``throttled``: seconds in which its rate limit held it back.
    """

    name: str
    kind: str
    phase: Phase
    queued: int
    leased: int
    waiting: int
    held: int
    workers: int
    received: int
    succeeded: int
    failed: int
    dropped: int
    retried: int
    duplicates: int
    seconds: float
    width: int = 1
    sent: tuple[int, ...] = ()
    cpu: float = 0.0
    stalled: float = 0.0
    capacity: int = 0
    queued_mean: float = 0.0
    full: float = 0.0
    throttled: float = 0.0


@record(frozen=True)
class Load:
    """Where the time of a run went, in seconds.

    ``starting``: a node had tasks, and its workers were not ready yet (half of the time in which half of them were
    not). ``source``: a node was idle and the source gave nothing. ``consumer``: outputs waited for the user until
    there was no more room for them. ``retries``: all there was to do waited for its next attempt. ``in_flight``:
    ``max_in_flight`` kept tasks out. ``paused``: by the user. ``ring``: processor seconds that the run's own thread
    used or lacked, ``driver``: its process. ``cores``: processors to use.
    """

    starting: float = 0.0
    source: float = 0.0
    consumer: float = 0.0
    retries: float = 0.0
    in_flight: float = 0.0
    paused: float = 0.0
    ring: float = 0.0
    driver: float = 0.0
    cores: int = 1


@record(frozen=True)
class Snapshot:
    """A run at one moment. ``admitted``, ``ended``: source tasks; ``elapsed``: seconds since the start."""

    nodes: tuple[NodeSnapshot, ...]
    admitted: int
    ended: int
    source_open: bool
    state: Literal["running", "paused", "stopping", "finished"]
    elapsed: float
    late_answers: int
    crashes: int
    load: Load = Load()


class Backend(Protocol):
    """Who works. Never raises into the ring: every trouble is an event.

    ``wait`` gives what has happened; if nothing has, it asks for ``patience()`` and waits up to so many seconds (None:
    as long as it takes); ``wake`` makes a `wait` return at once, from any thread. ``expect`` is told the first tasks,
    before workers are started for them: what these are says what workers will have to load. ``shares_memory``: nodes
    get the very objects that other nodes have, so what goes to several of them is copied. ``give_back`` asks, and owes
    nothing: a worker that can returns what it has not begun.
    """

    shares_memory: bool

    def open(self, plan: Plan, programs: Sequence[Program]) -> None: ...
    def expect(self, values: Sequence[object]) -> None: ...
    def start(self, worker: int, node: int) -> None: ...
    def deliver(self, worker: int, token: int, job: Job) -> None: ...
    def grant(self, worker: int, token: int, count: int, cut: int) -> None: ...
    def give_back(self, worker: int, token: int) -> None: ...
    def probe(self, worker: int) -> None: ...
    def stop(self, worker: int, *, kill: bool) -> None: ...
    def wait(self, patience: Callable[[], float | None]) -> list[Event]: ...
    def wake(self) -> None: ...
    def close(self, *, kill: bool) -> None: ...


@record
class Turn:
    """What one turn of the ring changes in a journal: all of it is kept, or nothing.

    ``rows``: ``(block, number, body)``, in place of what was there. ``blobs``: ``(number, body)``. ``emptied``:
    blobs that are not needed any more, of which it stays known that they were there. ``notes``: by name.
    """

    rows: list[tuple[int, int, bytes]] = field(default_factory=list)
    dropped_rows: list[tuple[int, int]] = field(default_factory=list)
    blobs: list[tuple[int, bytes]] = field(default_factory=list)
    emptied: list[int] = field(default_factory=list)
    dropped_blobs: list[int] = field(default_factory=list)
    notes: dict[str, bytes] = field(default_factory=dict)


class Journal(Protocol):
    """Where what has happened is kept. It holds bytes and knows nothing of what they mean.

    One driver at a time: `open` keeps others out until `close`, or until this process is gone. Whatever goes
    wrong in it is a `JournalError` of one sentence; what `write` has not returned from may be kept or not, but
    never in part. ``where`` is how people call it, ``folder`` the folder it lies in, if it is a file.
    """

    where: str
    folder: str | None

    def open(self, *, durability: str, write: bool, make: bool) -> None:
        """Open it; ``write``: to write into it, ``make``: and make it if it is not there."""
        ...

    def note(self, name: str) -> bytes | None:
        """The note of that name."""
        ...

    def rows(self, block: int) -> list[tuple[int, bytes]]:
        """The rows of a block, by rising number."""
        ...

    def blob(self, number: int) -> bytes | None:
        """A blob; empty if it was emptied, None if there never was one, or it is gone."""
        ...

    def write(self, turn: Turn) -> None:
        """Keep a turn."""
        ...

    def size(self) -> int:
        """How many bytes it takes."""
        ...

    def close(self) -> None: ...


class Observer(Protocol):
    """Who listens. Called from the ring's thread; one that raises is logged and dropped, and never hurts the run.

    ``facts`` hears every decision in order; ``tick`` comes a few times a second and once at the end.
    """

    def opened(self, plan: Plan) -> None: ...
    def facts(self, facts: Sequence[Fact]) -> None: ...
    def tick(self, snapshot: Snapshot) -> None: ...
    def closed(self, snapshot: Snapshot) -> None: ...
