"""What frames say: jobs and answers as plain builtins, payloads as numbered blobs."""

from __future__ import annotations

from array import array
from typing import Any

from dagflow.core.commands import Job
from dagflow.core.envelope import ErrorRecord, FailedTask, FailurePayload, Group, Piece
from dagflow.core.events import Answer, Produced
from dagflow.core.visits import Times
from dagflow.errors import PayloadError
from dagflow.work.codec import seal
from dagflow.work.outcome import seal_error
from dagflow.work.values import Sealed, Values

Blobs = list[bytes]


class Unsendable(Exception):
    """Some of a job's tasks hold values that cannot be pickled: ``bad`` says which (position, error)."""

    def __init__(self, bad: list[tuple[int, PayloadError]]) -> None:
        super().__init__(bad)
        self.bad = bad


# -- jobs: driver to worker ------------------------------------------------------------------------------


def pack_job(job: Job) -> tuple[Any, Blobs]:
    """A job as a message; raises `Unsendable` where values cannot travel."""
    blobs: Blobs = []
    numbers: dict[int, int] = {}
    pieces = []
    bad: list[tuple[int, PayloadError]] = []
    at = 0
    for piece in job.pieces:
        packed, refused = _pack_piece(piece, blobs, numbers)
        bad.extend((at + p, error) for p, error in refused)
        pieces.append(packed)
        at += piece[2] - piece[1]
    groups = []
    for position, group in enumerate(job.groups):
        packed_pieces = []
        for piece in group.pieces:
            packed, refused = _pack_piece(piece, blobs, numbers)
            bad.extend((position, error) for _, error in refused[:1])
            packed_pieces.append(packed)
        state = None if group.state is None else _pack_piece((group.state, 0, 1), blobs, numbers)[0]
        groups.append((packed_pieces, state, group.final))
    if bad:
        raise Unsendable(bad)
    return ("job", job.kind, job.count, pieces, groups, job.skip, job.cuts, job.attempt), blobs


def _pack_piece(piece: Piece, blobs: Blobs, numbers: dict[int, int]) -> tuple[Any, list[tuple[int, PayloadError]]]:
    payload, low, high = piece
    if isinstance(payload, Sealed):
        number = numbers.get(id(payload))
        if number is None:
            number = numbers[id(payload)] = len(blobs)
            blobs.append(payload.data)
        return (number, payload.count, low, high), []
    if isinstance(payload, Values):
        sealed, bad = seal(list(payload.values[low:high]), prove=False)
        blobs.append(sealed.data)
        return (len(blobs) - 1, sealed.count, 0, sealed.count), bad
    if isinstance(payload, FailurePayload):
        items = []
        for failed in payload.items[low:high]:
            inner = []
            for each in failed.pieces:
                packed, bad = _pack_piece(each, blobs, numbers)
                if bad:
                    return None, [(0, bad[0][1])]
                inner.append(packed)
            items.append((inner, pack_error(failed.error), failed.merged))
        return (items, len(items), 0, len(items)), []
    raise TypeError(f"not a payload: {type(payload).__name__}")


def unpack_job(message: Any, blobs: Blobs) -> Job:
    """The job that `pack_job` packed."""
    _, kind, count, pieces, groups, skip, cuts, attempt = message
    sealed: dict[int, Sealed] = {}
    return Job(
        kind,
        count,
        [_unpack_piece(p, blobs, sealed) for p in pieces],
        [
            Group(
                [_unpack_piece(p, blobs, sealed) for p in members],
                None if state is None else _unpack_piece(state, blobs, sealed)[0],
                final,
            )
            for members, state, final in groups
        ],
        skip,
        cuts,
        attempt,
    )


def _unpack_piece(packed: Any, blobs: Blobs, sealed: dict[int, Sealed]) -> Piece:
    number, count, low, high = packed
    if isinstance(number, int):
        payload = sealed.get(number)
        if payload is None:
            payload = sealed[number] = Sealed(blobs[number], count)
        return payload, low, high
    items = []
    for inner, error, merged in number:
        pieces = [_unpack_piece(piece, blobs, sealed) for piece in inner]
        items.append(FailedTask(pieces, unpack_error(error), merged))
    return FailurePayload(items, len(items), 0), low, high


# -- errors ------------------------------------------------------------------------------------------------


def pack_error(error: ErrorRecord) -> tuple[Any, ...]:
    """An error record as builtins."""
    sealed = seal_error(error.sealed) if isinstance(error.sealed, BaseException) else error.sealed
    causes = tuple(pack_error(c) for c in error.causes)
    return (
        error.kind,
        error.type,
        error.message,
        error.traceback,
        sealed,
        causes,
        error.node,
        error.attempts,
    )


def unpack_error(packed: tuple[Any, ...]) -> ErrorRecord:
    """The record that `pack_error` packed."""
    kind, name, message, traceback, sealed, causes, node, attempts = packed
    return ErrorRecord(kind, name, message, traceback, sealed, tuple(unpack_error(c) for c in causes), node, attempts)


# -- answers: worker to driver -----------------------------------------------------------------------------


def pack_answer(answer: Answer) -> tuple[Any, Blobs]:
    """An answer as a message."""
    blobs: Blobs = []
    outputs = []
    for produced in answer.outputs:
        payload: Any = produced.payload
        outputs.append((produced.port, len(blobs), payload.count, produced.positions, produced.children))
        blobs.append(payload.data)
    failures = [(p, pack_error(error), retry) for p, error, retry in answer.failures]
    states = None
    if answer.states is not None:
        states = {}
        for position, state in answer.states.items():
            states[position] = len(blobs)
            blobs.append(state.data)
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
        _pack_times(answer.times, blobs),
    ), blobs


def unpack_answer(worker: int, token: int, message: Any, blobs: Blobs) -> Answer:
    """The answer that `pack_answer` packed."""
    _, last, outputs, ended, failures, dropped, returned, copies, keys, states, seconds, cpu, stalled, times = message
    answer = Answer(worker, token, last, ended=ended, dropped=dropped, copies=copies, keys=keys, seconds=seconds)
    answer.returned = returned
    answer.outputs = [
        Produced(port, Sealed(blobs[number], count), positions, children)
        for port, number, count, positions, children in outputs
    ]
    answer.failures = [(p, unpack_error(error), retry) for p, error, retry in failures]
    if states is not None:
        answer.states = {p: Sealed(blobs[number], 1) for p, number in states.items()}
    answer.cpu, answer.stalled = cpu, stalled
    if times is not None:
        starts, ends, positions = times
        answer.times = Times(blobs[starts], None if ends is None else blobs[ends], positions)
    return answer


def _pack_times(times: Times | None, blobs: Blobs) -> Any:
    """Columns of times as blobs, which nobody on the way looks into."""
    if times is None:
        return None
    numbers = []
    for column in (times.starts, times.ends):
        numbers.append(None if column is None else len(blobs))
        if column is not None:
            blobs.append(array("d", column).tobytes())
    return (*numbers, None if times.positions is None else list(times.positions))
