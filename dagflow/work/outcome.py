"""What became of a task: `Failure` values, and exceptions that survive the journey.

An exception is caught in the worker as an `ErrorRecord`: texts for people, and the exception itself, sealed,
opened only where the user reads it. It is rebuilt without calling its ``__init__``, so that exceptions whose
constructor wants other arguments survive; attributes that cannot travel are left behind with a note.
"""

from __future__ import annotations

import os

from dagflow.core.payload import ErrorRecord
from dagflow.errors import MissingMembers, PayloadError, TaskTimeout, WorkerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from typing import Any
else:
    import _pickle as pickle  # what `pickle` itself uses, without what else it imports

MESSAGE_MOST = 2048
TRACEBACK_MOST = 20480
_HERE = os.path.dirname(__file__)


class Failure:
    """A task that finally failed at ``node`` after ``attempts`` attempts, on its way over ``node.failures``.

    ``task`` of a Merger is the list of the members that were there (None of a fold, which keeps none).
    """

    __slots__ = ("attempts", "error", "node", "task")

    def __init__(self, task: Any, error: BaseException, node: str, attempts: int) -> None:
        self.task = task
        self.error = error
        self.node = node
        self.attempts = attempts

    def __repr__(self) -> str:
        return f"Failure(task={self.task!r}, error={self.error!r}, node={self.node!r}, attempts={self.attempts})"


def capture(error: BaseException, *, seal: bool) -> ErrorRecord:
    """The record of an exception; ``seal``: it has to travel to another process."""
    try:
        return _captured(error, seal)
    except BaseException as second:  # noqa: BLE001 - its class may forbid even to look at it
        text = f"{type(error).__qualname__}, which cannot be looked at ({type(second).__qualname__})"
        stand_in = PayloadError(f"the function raised {text}")
        return ErrorRecord("raised", type(error).__qualname__, text, sealed=seal_error(stand_in) if seal else stand_in)


def _captured(error: BaseException, seal: bool) -> ErrorRecord:
    import traceback

    try:
        lines = traceback.format_exception(type(error), error, _without_ours(error.__traceback__))
        text = "".join(lines)
    except BaseException as second:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"{type(error).__qualname__} (its text cannot be made: {type(second).__name__})\n"
    sealed: Any = seal_error(error) if seal else error
    return ErrorRecord("raised", type(error).__qualname__, _text_of(error), _cut_middle(text), sealed=sealed)


def _without_ours(tb: Any) -> Any:
    """The traceback from the user's function on."""
    inner = tb
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_HERE):
        inner = inner.tb_next
    return inner if inner is not None else tb


def _text_of(error: BaseException) -> str:
    try:
        return _cut(str(error), MESSAGE_MOST)
    except BaseException as second:  # noqa: BLE001
        return f"(its text cannot be made: {type(second).__name__})"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 16] + f"... ({len(text)})"


def _cut_middle(text: str) -> str:
    """A traceback: its end says most, then its beginning."""
    if len(text) <= TRACEBACK_MOST:
        return text
    return text[: TRACEBACK_MOST // 4] + f"\n... ({len(text)} characters) ...\n" + text[-TRACEBACK_MOST * 3 // 4 :]


def seal_error(error: BaseException, depth: int = 0) -> bytes:
    """An exception as bytes that `unseal_error` is sure to be able to read."""
    try:
        return _sealed(error, depth)
    except BaseException as second:  # noqa: BLE001 - a class that cannot travel at all
        text = f"{type(error).__qualname__}: {_text_of(error)}"
        note = f"the exception itself could not travel ({type(second).__name__}: {_text_of(second)})"
        return pickle.dumps((PayloadError, (text,), {"__notes__": [note]}, {}, None, None), 5)


def _sealed(error: BaseException, depth: int) -> bytes:
    from dagflow.work.codec import dumps

    state = dict(getattr(error, "__dict__", {}))
    # An OSError keeps its file name beside its args and only gives it away here.
    args: tuple[Any, ...] = OSError.__reduce__(error)[1] if isinstance(error, OSError) else error.args  # type: ignore[assignment]
    fields = {name: getattr(error, name, None) for name in _fields(error)}
    lost = []
    for name in list(state):
        if not _travels(state[name]):
            lost.append(f".{name} ({type(state.pop(name)).__qualname__})")
    if not _travels(args):
        args = tuple(a if _travels(a) else safe_repr(a) for a in args)
    if lost:
        state["__notes__"] = [*state.get("__notes__", ()), f"left behind in the worker: {', '.join(lost)}"]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    inner = seal_error(cause, depth + 1) if cause is not None and depth < 5 else None
    parts = None
    if isinstance(error, BaseExceptionGroup):  # its members travel each in its own way
        args, parts = args[:1], [seal_error(part, depth + 1) for part in error.exceptions]
    data = dumps((type(error), args, state, fields, inner, parts))
    unseal_error(data)
    return data


def _fields(error: BaseException) -> tuple[str, ...]:
    """What builtin exceptions keep beside ``args`` and ``__dict__``."""
    if isinstance(error, ImportError):
        return ("name", "path")
    if isinstance(error, (NameError, AttributeError)):
        return ("name",)
    slots = [vars(c).get("__slots__", ()) for c in type(error).__mro__]
    named = [name for s in slots for name in ((s,) if isinstance(s, str) else s)]
    return tuple(name for name in named if hasattr(error, name))


def unseal_error(data: bytes) -> BaseException:
    """The exception that `seal_error` sealed."""
    kind, args, state, fields, inner, parts = pickle.loads(data)
    if parts is not None:
        args = (*args, [unseal_error(part) for part in parts])
    error: BaseException = kind.__new__(kind, *args)
    builtin = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    builtin.__init__(error, *args)
    for name, value in fields.items():
        setattr(error, name, value)
    try:
        error.__dict__.update(state)
    except AttributeError:
        pass
    if inner is not None:
        error.__cause__ = unseal_error(inner)
    return error


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


def open_error(record: ErrorRecord) -> BaseException:
    """The exception of a record, as the user gets it: itself, with node, attempts and worker's traceback in notes."""
    if record.kind == "missing":
        error: BaseException = MissingMembers(record.message, causes=[open_error(c) for c in record.causes])
    elif record.kind == "died":
        error = WorkerDied(record.message)
    elif record.kind == "timeout":
        error = TaskTimeout(record.message)
    elif isinstance(record.sealed, BaseException):
        error = record.sealed
    else:
        try:
            error = unseal_error(record.sealed)
        except BaseException as second:  # noqa: BLE001 - its class is not known here
            error = PayloadError(f"{record.type}: {record.message}")
            error.add_note(f"the exception could not be read here ({type(second).__name__}: {_text_of(second)})")
    try:
        _annotate(error, record)
    except Exception as second:  # noqa: BLE001 - its class may forbid even to look at it
        error = PayloadError(f"{record.type}: {record.message}")
        error.add_note(f"the exception itself cannot be told where it was raised ({type(second).__name__})")
        _annotate(error, record)
    return error


def _annotate(error: BaseException, record: ErrorRecord) -> None:
    where = f"dagflow: node {record.node!r}, attempt {record.attempts}"
    notes = getattr(error, "__notes__", [])
    if record.node and where not in notes:
        error.add_note(where)
        if record.traceback and not isinstance(record.sealed, BaseException):
            error.add_note("in the worker:\n" + record.traceback.rstrip())


def _travels(value: Any) -> bool:
    from dagflow.work.codec import dumps, loads

    try:
        loads(dumps(value))
        return True
    except BaseException:  # noqa: BLE001 - the question is only whether it can
        return False


def safe_repr(value: Any) -> str:
    """The ``repr`` of a value, cut to a bound, whatever its class does."""
    try:
        return _cut(repr(value), 200)
    except BaseException:  # noqa: BLE001
        return f"<{type(value).__qualname__}>"
