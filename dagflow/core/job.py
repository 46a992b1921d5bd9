"""A job and the answer to it: all that a worker needs to know of the scheduler's commands and events."""

from __future__ import annotations

from dagflow.core.payload import ErrorRecord, Group, Kind, Payload, Piece
from dagflow.core.record import field, record
from dagflow.core.visits import Times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

SPLIT_CREDIT: Final = 4
"""Payloads of children that a Splitter may send before it must wait for a `Grant`."""


@record
class Job:
    """What a worker is to do for a lease: run a node's function over values, or merge groups.

    ``skip``: children already accepted, by position (a Splitter that is tried again). ``cuts``: by port, the
    largest number of values wanted in one payload. ``timed``: in a traced run, the positions of the tasks of which it
    is asked when they ran, rising (None: all); more may be told. ``weight``: about how many bytes a result takes, as
    far as is known.
    """

    kind: Kind
    count: int
    pieces: list[Piece] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    skip: dict[int, int] = field(default_factory=dict)
    cuts: dict[int, int] = field(default_factory=dict)
    attempt: int = 0
    timed: list[int] | None = None
    weight: int = 0


@record
class Produced:
    """Values that a lease gave on one port.

    ``positions``: the tasks they come from, rising, one value each (None: all tasks of the lease).
    ``children``: for a Splitter instead: ``(position, first child number, count)`` runs. ``low``: where in the
    payload they begin.
    """

    port: int
    payload: Payload
    positions: list[int] | None = None
    children: list[tuple[int, int, int]] | None = None
    low: int = 0


@record
class Answer:
    """What a worker says of a lease: all of it (``last``), or the part that has ended so far.

    ``ended``: positions whose task succeeded (None: all that are not named otherwise, now or before).
    ``failures``: ``(position, error, may be retried)``. ``copies``: how many labels a Router gave, where not one.
    ``returned``: positions given back without having been run. ``keys``: deduplication keys by position.
    ``states``: accumulated values of folds, by position. ``seconds``: what was spent in the node's function;
    ``cpu``, ``stalled``: seconds since its last answer that the worker, where it is a process of its own, had a
    processor, and could have used one and had none.
    ``times``: when each task ran, in a traced run.
    """

    worker: int
    token: int
    last: bool = True
    outputs: list[Produced] = field(default_factory=list)
    ended: list[int] | None = None
    failures: list[tuple[int, ErrorRecord, bool]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    copies: dict[int, int] = field(default_factory=dict)
    keys: list[bytes | None] | None = None
    states: dict[int, Any] | None = None
    seconds: float = 0.0
    cpu: float = 0.0
    stalled: float = 0.0
    times: Times | None = None

    def renumber(self, positions: list[int]) -> None:
        """Make an answer that was worked out for some tasks of a lease speak of their ``positions`` in it."""
        for produced in self.outputs:
            if produced.children is not None:
                produced.children = [(positions[p], start, n) for p, start, n in produced.children]
            else:
                at = range(len(positions)) if produced.positions is None else produced.positions
                produced.positions = [positions[p] for p in at]
        self.failures = [(positions[p], error, retry) for p, error, retry in self.failures]
        self.dropped = [positions[p] for p in self.dropped]
        self.copies = {positions[p]: n for p, n in self.copies.items()}
        if self.states is not None:
            self.states = {positions[p]: state for p, state in self.states.items()}
        if self.ended is None:
            gone = {p for p, _, _ in self.failures} | set(self.dropped)
            self.ended = [p for p in positions if p not in gone]
        else:
            self.ended = [positions[p] for p in self.ended]
