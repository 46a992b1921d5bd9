"""Payloads: sealed values, and what else stands for values on the way to a worker and back: errors, groups.

A `Payload` is whatever the backend keeps a list of values in (the list itself, or its pickle); the core only
slices: "values ``low`` to ``low + count`` of this payload".
"""

from __future__ import annotations

from dagflow.core.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Protocol

    Kind = Literal["run", "key", "merge", "member"]
else:
    Protocol, Kind = object, str


class Payload(Protocol):
    """Sealed values: how many, and how many bytes they take (an estimate where they are live objects).

    ``branch(i)`` is what the i-th of several nodes gets: bytes may be shared, live objects are copies.
    """

    count: int
    size: int

    def branch(self, number: int, /) -> Payload: ...


Piece = tuple[Payload, int, int]
"""Values ``[1]`` to ``[2]`` of payload ``[0]``."""


@record(frozen=True)
class ErrorRecord:
    """One task's error. Texts for people; ``sealed`` is the exception, opened only where the user reads it.

    ``kind``: ``"raised"`` by the function, or made by the core: ``"missing"`` members (``causes``), the worker
    ``"died"``, a ``"timeout"``. ``node`` and ``attempts`` are filled in when the failure is final.
    """

    kind: Literal["raised", "missing", "died", "timeout"]
    type: str
    message: str
    traceback: str = ""
    sealed: Any = None
    causes: tuple[ErrorRecord, ...] = ()
    node: str = ""
    attempts: int = 1


@record(frozen=True)
class FailedTask:
    """A finally failed task on its way to ``node.failures``: its input (sealed) and its error.

    The input is one value; of a merge (``merged``) the members that were there; nothing, of a fold, which keeps none.
    """

    pieces: list[Piece]
    error: ErrorRecord
    merged: bool = False


@record
class FailurePayload:
    """A payload made of failed tasks; workers turn each into a `Failure` value."""

    items: list[FailedTask]
    count: int
    size: int

    def branch(self, number: int, /) -> FailurePayload:
        """The same for every branch: each worker makes its own values of it."""
        del number
        return self


@record
class Group:
    """The members of one scope for a Merger's function (or the next of them, for a fold).

    ``state`` is the fold's accumulated value (sealed; None at its start), ``final`` whether ``func`` is to be
    called now. ``fold`` refers back to the fold that this is a step of. ``known``: how many members it had where
    those are not here any more, since a journal knows what came of them. ``lost``: whether members are missing.
    """

    pieces: list[Piece]
    state: Any = None
    final: bool = True
    fold: Any = None
    known: int = 0
    lost: bool = False

    @property
    def members(self) -> int:
        """How many values arrive with this group."""
        return self.known or sum(high - low for _, low, high in self.pieces)
