"""What frames say: jobs and answers as plain builtins, payloads as numbered blobs, or as places in shared memory.

Where a payload lies is a number (of a blob of the same frame) or a pair (number of a segment, size).
"""

from __future__ import annotations

from dagflow.core.job import Answer, Job, Produced
from dagflow.core.payload import FailedTask, FailurePayload, Group, Piece
from dagflow.core.visits import Times
from dagflow.errors import PayloadError
from dagflow.work.codec import seal
from dagflow.work.outcome import pack_error, unpack_error
from dagflow.work.values import Sealed, Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dagflow.backends.local.mapping import Mappings
    from dagflow.backends.local.segments import Segments
    from dagflow.work.codec import Store

Blobs = list[bytes]


class Unsendable(Exception):
    """Some of a job's tasks hold values that cannot be pickled: ``bad`` says which (position, error)."""

    def __init__(self, bad: list[tuple[int, PayloadError]]) -> None:
        super().__init__(bad)
        self.bad = bad


# -- jobs: driver to worker ------------------------------------------------------------------------------


class _Load:
    """The payloads of a job, each once: blobs, and segments that the worker is to be given.

    ``keep`` holds what was sealed for this job alone until it is delivered. ``refused``: what of the last piece cannot
    travel, by its place in it.
    """

    __slots__ = ("blobs", "keep", "places", "refused", "segments", "store")

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.blobs: Blobs = []
        self.segments: list[int] = []
        self.places: dict[int, Any] = {}
        self.keep: list[Sealed] = []
        self.refused: list[tuple[int, PayloadError]] = []

    def add(self, sealed: Sealed) -> Any:
        """Where the worker will find it."""
        where = self.places.get(id(sealed))
        if where is None:
            place: Any = sealed.place
            if place is None:
                where = len(self.blobs)
                self.blobs.append(sealed.data)
            else:
                where = (place.segment.number, place.size)
                self.segments.append(place.segment.number)
            self.places[id(sealed)] = where
            self.keep.append(sealed)
        return where


def pack_job(job: Job, store: Store | None = None) -> tuple[Any, _Load]:
    """A job as a message; raises `Unsendable` where values cannot travel."""
    load = _Load(store)
    pieces = []
    bad: list[tuple[int, PayloadError]] = []
    at = 0
    for piece in job.pieces:
        pieces.append(_pack_piece(piece, load))
        if load.refused:
            bad.extend((at + p, error) for p, error in load.refused)
            load.refused = []
        at += piece[2] - piece[1]
    groups = []
    for position, group in enumerate(job.groups):
        packed = []
        for piece in group.pieces:
            packed.append(_pack_piece(piece, load))
            if load.refused:
                bad.append((position, load.refused[0][1]))
                load.refused = []
        state = None if group.state is None else _pack_piece((group.state, 0, 1), load)  # made by a worker: it travels
        groups.append((packed, state, group.final))
    if bad:
        raise Unsendable(bad)
    return (
        "job", job.kind, job.count, pieces, groups, job.skip, job.cuts, job.attempt, job.timed, job.weight,
    ), load  # fmt: skip


def _pack_piece(piece: Piece, load: _Load) -> Any:
    payload, low, high = piece
    if isinstance(payload, Sealed):
        return load.add(payload), payload.count, low, high
    if isinstance(payload, Values):
        sealed, load.refused = seal(list(payload.values[low:high]), load.store, prove=False)
        return load.add(sealed), sealed.count, 0, sealed.count
    if isinstance(payload, FailurePayload):
        items = []
        for failed in payload.items[low:high]:
            inner = []
            for each in failed.pieces:
                inner.append(_pack_piece(each, load))
                if load.refused:
                    load.refused = [(0, load.refused[0][1])]
                    return None
            items.append((inner, pack_error(failed.error), failed.merged))
        return items, len(items), 0, len(items)
    raise TypeError(f"not a payload: {type(payload).__name__}")


def unpack_job(message: Any, blobs: Blobs, mappings: Mappings) -> Job:
    """The job that `pack_job` packed."""
    _, kind, count, pieces, groups, skip, cuts, attempt, timed, weight = message
    sealed: dict[Any, Sealed] = {}

    def at(where: Any, count: int) -> Sealed:
        found = sealed.get(where)
        if found is None:
            if isinstance(where, int):
                found = Sealed(blobs[where], count)
            else:
                found = Sealed(b"", count, mappings.delivered(*where))
            sealed[where] = found
        return found

    unpacked = []
    for members, state, final in groups:
        found = None if state is None else _unpack_piece(state, at)[0]
        unpacked.append(Group([_unpack_piece(p, at) for p in members], found, final))
    pieces = [_unpack_piece(p, at) for p in pieces]
    return Job(kind, count, pieces, unpacked, skip, cuts, attempt, timed, weight)


def _unpack_piece(packed: Any, at: Callable[[Any, int], Sealed]) -> Piece:
    where, count, low, high = packed
    if not isinstance(where, list):
        return at(where, count), low, high
    items = []
    for inner, error, merged in where:
        pieces = [_unpack_piece(piece, at) for piece in inner]
        items.append(FailedTask(pieces, unpack_error(error), merged))
    return FailurePayload(items, len(items), 0), low, high


# -- answers: worker to driver -----------------------------------------------------------------------------


def pack_answer(answer: Answer) -> tuple[Any, Blobs]:
    """An answer as a message."""
    blobs: Blobs = []
    outputs = []
    for produced in answer.outputs:
        payload: Any = produced.payload
        where = _put(payload, blobs)
        outputs.append((produced.port, where, payload.count, produced.positions, produced.children))
    failures: list[Any] = answer.failures
    if failures:
        failures = [(p, pack_error(error), retry) for p, error, retry in failures]
    states = None
    if answer.states is not None:
        states = {position: _put(state, blobs) for position, state in answer.states.items()}
    return (
        "answer",
        answer.last,
        outputs,
        answer.ended,
        failures,
        answer.dropped,
        answer.returned,
        answer.copies,
        answer.keys,
        states,
        answer.seconds,
        answer.cpu,
        answer.stalled,
        None if answer.times is None else _pack_times(answer.times, blobs),
    ), blobs


def _put(payload: Sealed, blobs: Blobs) -> Any:
    """Where the driver will find a payload."""
    place: Any = payload.place
    if place is not None:
        return place.number, place.size
    blobs.append(payload.data)
    return len(blobs) - 1


def unpack_answer(worker: int, token: int, message: Any, blobs: Blobs, segments: Segments) -> Answer:
    """The answer that `pack_answer` packed. Raises `ValueError` where it names segments that it cannot."""
    _, last, outputs, ended, failures, dropped, returned, copies, keys, states, seconds, cpu, stalled, times = message
    produced = [
        Produced(port, _got(worker, where, count, blobs, segments), positions, children)
        for port, where, count, positions, children in outputs
    ]
    if failures:
        failures = [(p, unpack_error(error), retry) for p, error, retry in failures]
    if states is not None:
        states = {p: _got(worker, where, 1, blobs, segments) for p, where in states.items()}
    if times is not None:
        starts, ends, positions = times
        times = Times(blobs[starts], None if ends is None else blobs[ends], positions)
    return Answer(
        worker, token, last, produced, ended, failures, dropped, returned, copies, keys, states, seconds, cpu, stalled,
        times,
    )  # fmt: skip


def _pack_times(times: Times, blobs: Blobs) -> Any:
    """Columns of times as blobs, which nobody on the way looks into."""
    from array import array

    numbers = []
    for column in (times.starts, times.ends):
        numbers.append(None if column is None else len(blobs))
        if column is not None:
            blobs.append(array("d", column).tobytes())
    return (*numbers, None if times.positions is None else list(times.positions))


def _got(worker: int, where: Any, count: int, blobs: Blobs, segments: Segments) -> Sealed:
    if isinstance(where, int):
        return Sealed(blobs[where], count)
    number, size = where
    return segments.arrived(worker, number, size, count)
