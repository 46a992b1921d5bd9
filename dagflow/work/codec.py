"""Sealing and opening payloads: pickle protocol 5, cloudpickle for what only exists in ``__main__``.

A class of a script or notebook cell is pickled by reference as ``__main__.X``, which another process cannot
find. So bytes that mention ``__main__`` are made again by cloudpickle, which sends such classes by value and
gives the original class back where it came from. It takes long to import and is loaded when needed, with what it
is told beside (`dagflow.work.reducers`).

Large buffers (arrays) lie behind the pickle, in a `dagflow.work.block`. Where there is a `Store`, large payloads go
into it, and only their place travels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dagflow.core.payload import FailedTask, FailurePayload
from dagflow.errors import PayloadError
from dagflow.work.block import PICKLE, Part, block, parted, unblocked
from dagflow.work.outcome import Failure, open_error
from dagflow.work.proof import PROTOCOL, pickled
from dagflow.work.values import Place, Sealed, Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from typing import Any
else:
    import _pickle as pickle  # what `pickle` itself uses, without what else it imports

LARGE = 64 * 1024
"""Buffers, and whole payloads, from so many bytes on travel by a `Store` where there is one."""
PLAIN = frozenset((int, float, str, bytes, bool, type(None)))
FEW = 8
"""Of so few values it is asked first whether they are all `PLAIN`: then no pickler of our own is made for them."""
DEPTH_MOST = 8
"""So many steps into a value the part is looked for that cannot travel."""
PARTS_MOST = 100

Store = Callable[[list[Part], int], "Place | None"]
"""Puts the parts of a payload (so many bytes in all) into shared memory; None where it has no room now."""


def dumps(value: Any) -> bytes:
    """Pickle anything that can be; raises what the pickler raised if it cannot."""
    return _dumps(value, None)[0]


def _dumps(value: Any, large: list[memoryview] | None) -> tuple[bytes, bool]:
    """The pickle, and whether it is sure to be readable again. Large buffers go into ``large``, where there is one."""
    apart = None if large is None else lambda buffer: _apart(large, buffer)
    sure = False
    try:
        data, sure = pickled(value, apart)
        if b"__main__" not in data:
            return data, sure
    except Exception:  # noqa: BLE001, S110 - whatever plain pickle cannot do, cloudpickle is asked next
        pass
    if large is not None:
        large.clear()  # what was found on the way there is found again
    from dagflow.work import reducers

    return reducers.dumps(value, apart), sure


def _apart(large: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    """Whether a buffer is to be in the pickle; it is in ``large`` if not."""
    raw = buffer.raw()
    if raw.nbytes < LARGE:
        return True
    large.append(raw)
    return False


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value that was sealed. Only ever called on bytes of this run's own processes.

    Buffers that lie behind the pickle become part of the value where they are, if they may be written to: the
    caller gives memory that is nobody else's.
    """
    if data[:1] == PICKLE:
        return pickle.loads(data)
    parts = parted(data)
    if parts is not None:
        return [loads(part) for part in parts]
    body, buffers = unblocked(data)
    return pickle.loads(body, buffers=buffers)


# -- many values at once --------------------------------------------------------------------------------


def seal(
    values: Sequence[Any], store: Store | None = None, *, prove: bool
) -> tuple[Sealed, list[tuple[int, PayloadError]]]:
    """Seal values, large ones by way of ``store``; those that cannot travel are left out and returned with their error.

    ``prove``: read back those whose reading runs code of the user's. A worker does so with what its function made,
    so that whoever made a value that cannot be read is the one who fails; the driver never does.
    """
    try:
        if not isinstance(values, list):
            values = list(values)
        if len(values) <= FEW and PLAIN.issuperset(map(type, values)):
            return _stored([pickle.dumps(values, PROTOCOL)], len(values), store), []
        return _stored(parts_of(values, prove), len(values), store), []
    except BaseException as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        only_user_exits(error)
    good: list[Any] = []
    bad: list[tuple[int, PayloadError]] = []
    for position, value in enumerate(values):
        try:
            parts_of(value, prove)
            good.append(value)
        except BaseException as error:  # noqa: BLE001
            bad.append((position, unsealable(value, error, prove)))
    return _stored(parts_of(good, False), len(good), store), bad


def parts_of(value: Any, prove: bool) -> list[Part]:
    """The pickle, or the parts of a block."""
    large: list[memoryview] = []
    data, sure = _dumps(value, large)
    if prove and not sure:
        pickle.loads(data, buffers=large)
    return block(data, large) if large else [data]


def _stored(parts: list[Part], count: int, store: Store | None) -> Sealed:
    if len(parts) == 1 and len(parts[0]) < LARGE:
        return Sealed(bytes(parts[0]), count)
    size = sum(map(len, parts))
    if store is not None and size >= LARGE:
        place = store(parts, size)
        if place is not None:
            return Sealed(b"", count, place)
    return Sealed(bytes(parts[0]) if len(parts) == 1 else b"".join(parts), count)


def unsealable(value: Any, error: BaseException, prove: bool) -> PayloadError:
    """What is wrong with a value for which `parts_of` raised ``error``."""
    try:
        dumps(value)
        return PayloadError(f"{_culprit(value, lambda v: parts_of(v, prove))} cannot be read again: {_short(error)}")
    except BaseException:  # noqa: BLE001 - the question is only whether it raises
        return PayloadError(f"{_culprit(value, dumps)} cannot be pickled: {_short(error)}")


def only_user_exits(error: BaseException) -> None:
    """Raise what is no failure of a value."""
    if issubclass(type(error), KeyboardInterrupt):
        raise error


class Unreadable(PayloadError):
    """Some values cannot be read here: ``bad`` says which of those asked for, and why."""

    def __init__(self, bad: dict[int, PayloadError]) -> None:
        super().__init__(str(next(iter(bad.values()))))
        self.bad = bad


def open_values(payload: Any, low: int = 0, high: int | None = None) -> list[Any]:
    """Values ``low`` to ``high`` of a payload, as a list of their own. Raises `Unreadable` if not all can be read."""
    values, bad = read_values(payload, low, high)
    if bad:
        raise Unreadable(bad)
    return values


def read_values(payload: Any, low: int = 0, high: int | None = None) -> tuple[list[Any], dict[int, PayloadError]]:
    """Values ``low`` to ``high`` of a payload, and the errors of those that cannot be read, by their place in them.

    What was pickled together need not be lost together: the place of a value that cannot be read holds None.
    """
    if isinstance(payload, Values):
        return list(payload.values[low:high]), {}
    if isinstance(payload, Sealed):
        try:
            values: list[Any] = loads(payload.contents())
        except BaseException as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
            only_user_exits(error)
            return _read_apart(payload, low, high, error)
        return (values if low == 0 and (high is None or high >= len(values)) else values[low:high]), {}
    if isinstance(payload, FailurePayload):
        failures = [_failure(item) for item in payload.items[low:high]]
        bad = {at: error for at, error in enumerate(failures) if isinstance(error, PayloadError)}
        return [None if at in bad else failure for at, failure in enumerate(failures)], bad
    raise TypeError(f"not a payload: {type(payload).__name__}")


def _failure(failed: FailedTask) -> Failure | PayloadError:
    values: list[Any] = []
    for piece in failed.pieces:
        found, bad = read_values(*piece)
        if bad:
            return next(iter(bad.values()))
        values.extend(found)
    task = values if failed.merged else values[0] if values else None
    return Failure(task, open_error(failed.error), failed.error.node, failed.error.attempts)


def _read_apart(
    payload: Sealed, low: int, high: int | None, error: BaseException
) -> tuple[list[Any], dict[int, PayloadError]]:
    """`read_values` where the fast way has failed: at least one value, maybe not one of those asked for, is bad."""
    from dagflow.work.salvage import Lost, LostFound, salvaged

    try:
        values = list(salvaged(payload.data)[low:high])
    except BaseException as second:  # noqa: BLE001 - nothing of it can be read
        only_user_exits(second)
        values = [Lost("unknown", error)] * len(range(payload.count)[low:high])
    bad: dict[int, PayloadError] = {}
    for at, value in enumerate(values):
        try:
            dumps(value)
        except LostFound as found:
            where = _culprit(value, dumps).split(" (type")[0]
            bad[at] = PayloadError(f"{where} (type {found.lost.told}) cannot be read here: {_short(found.lost.error)}")
            values[at] = None
        except BaseException as other:  # noqa: BLE001 - it has been read, and need not be pickled again
            only_user_exits(other)
    return values, bad


# -- for people -----------------------------------------------------------------------------------------


def _culprit(value: Any, attempt: Callable[[Any], Any]) -> str:
    """The innermost part of ``value`` for which ``attempt`` raises: ``the value['conn'].sock (type socket.socket)``."""
    path = "the value"
    for _ in range(DEPTH_MOST):
        for step, part in _parts(value):
            try:
                attempt(part)
            except BaseException:  # noqa: BLE001 - the question is only whether it raises
                path, value = path + step, part
                break
        else:
            break
    return f"{path} (type {type(value).__module__}.{type(value).__qualname__})"


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{_short(k)}]", v) for k, v in list(value.items())[:PARTS_MOST]]
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", v) for i, v in enumerate(value[:PARTS_MOST])]
    state = getattr(value, "__dict__", None)
    return [(f".{name}", part) for name, part in list(state.items())[:PARTS_MOST]] if isinstance(state, dict) else []


def _short(value: object) -> str:
    try:
        text = repr(value) if not isinstance(value, BaseException) else f"{type(value).__name__}: {value}"
    except BaseException:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 200 else text[:197] + "..."
