"""Events: what happened in the world, told to the scheduler. Plain values; each carries only facts.

The same words are heard by a journal, invented by the simulator, and fed back by a replay.
"""

from __future__ import annotations

from dagflow.core.ids import Segment
from dagflow.core.job import Answer as Answer
from dagflow.core.job import Produced as Produced
from dagflow.core.payload import Payload
from dagflow.core.record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ANYWHERE: Final = -1
"""The position of a worker that reads or seals the values of a lease: which task it is at is not known."""


@record
class Pulled:
    """The source gave ``count`` tasks."""

    payload: Payload
    count: int


@record
class SourceEnded:
    """The source will give nothing more; ``error`` if it raised."""

    error: BaseException | None = None


@record
class WorkerUp:
    """A worker is ready for work; ``killable``: a process of its own, whose tasks can be timed out from outside.

    ``pid``: the process that it is in (0: not known).
    """

    worker: int
    killable: bool = False
    pid: int = 0


@record
class WorkerLost:
    """A worker has ended without being asked to. ``running``: (token, position) of the task it was at.

    Token 0: it was idle. Position `ANYWHERE`: it was reading or sealing values of that lease. None: it worked on
    all that it had, and nobody knows which of it was to blame. ``started``: whether it had become ready. ``cause``
    says how it ended (signal, exit code), ``output`` what it last wrote to stderr where that is known.
    """

    worker: int
    cause: str
    running: tuple[int, int] | None = None
    started: bool = True
    output: str = ""


@record
class Running:
    """The answer to a `Probe`: the worker is at task ``position`` of lease ``token`` since ``since``.

    Token 0: it is at none now. Position: see `WorkerLost`. ``idle``: it has answered for all that it was given.
    """

    worker: int
    token: int
    position: int
    since: float
    idle: bool = False


@record
class Consumed:
    """The user took ``count`` outputs."""

    count: int


@record
class StopAsked:
    """Somebody wants the run to end: ``kill`` at once, else after the running tasks have ended."""

    kill: bool = False


@record
class PauseAsked:
    """Somebody wants the run to hold (``paused``) or to go on."""

    paused: bool


@record
class TimePassed:
    """A deadline that the scheduler had named has come; the time itself is an argument of ``handle``."""


@record
class Remembered:
    """What a journal knows. ``recalling``: it may know of tasks, so each is asked of it before it is worked on.

    ``seen``: deduplication keys by node. ``fired``: by Merger of windows, how many it knows. ``merged``: the
    Mergers of the whole run that it knows to have merged.
    """

    recalling: bool
    seen: dict[int, set[bytes]] = field(default_factory=dict)
    fired: dict[int, int] = field(default_factory=dict)
    merged: set[int] = field(default_factory=set)


@record(frozen=True)
class Tries:
    """What a journal knows of a task that has not ended: attempts that failed, workers that it killed.

    ``suspect``: it was running when the driver itself died.
    """

    attempt: int = 0
    crashes: int = 0
    suspect: bool = False


@record
class Recalled:
    """The answer to a `Recall`: ``answer`` as a worker would have given it; tasks not known are ``returned`` in it.

    ``duplicates``: positions that were dropped as such. ``tries``: of returned positions, what came before.
    ``retried``: attempts after the first that the known ones took. ``unmerged``: of known windows that have not been
    merged well, or whose merge cannot be recalled: the positions of their members, by the window's number.
    """

    answer: Answer
    duplicates: list[int] = field(default_factory=list)
    tries: dict[int, Tries] = field(default_factory=dict)
    retried: int = 0
    unmerged: dict[int, list[int]] = field(default_factory=dict)


@record
class WindowFilled:
    """All ``members`` of window ``number`` of a Merger, which a journal knows, have come from tasks ``roots``."""

    node: int
    number: int
    members: int
    roots: list[Segment]


Event = (
    Pulled
    | SourceEnded
    | WorkerUp
    | WorkerLost
    | Running
    | Answer
    | Consumed
    | StopAsked
    | PauseAsked
    | TimePassed
    | Remembered
    | Recalled
    | WindowFilled
)
