"""Sealing and opening payloads: pickle protocol 5, cloudpickle for what only exists in ``__main__``.

A class of a script or notebook cell is pickled by reference as ``__main__.X``, which another process cannot
find. So bytes that mention ``__main__`` are made again by cloudpickle, which sends such classes by value and
gives the original class back where it came from. cloudpickle takes long to import and is loaded when needed.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from dagflow.core.envelope import FailedTask, FailurePayload
from dagflow.errors import PayloadError
from dagflow.work.outcome import Failure, open_error
from dagflow.work.values import Sealed, Values

_PROTOCOL = 5


def dumps(value: Any) -> bytes:
    """Pickle anything that can be; raises what the pickler raised if it cannot."""
    try:
        data = pickle.dumps(value, _PROTOCOL)
        if b"__main__" not in data:
            return data
    except Exception:  # noqa: BLE001, S110 - whatever plain pickle cannot do, cloudpickle is asked next
        pass
    import cloudpickle

    by_value: bytes = cloudpickle.dumps(value, _PROTOCOL)
    return by_value


def loads(data: bytes) -> Any:
    """The value that `dumps` sealed. Only ever called on bytes of this run's own processes."""
    return pickle.loads(data)


def seal(values: Sequence[Any]) -> tuple[Sealed, list[tuple[int, PayloadError]]]:
    """Seal values; those that cannot travel are left out and returned with their error."""
    try:
        return Sealed(dumps(values if isinstance(values, list) else list(values)), len(values)), []
    except BaseException as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
        if not isinstance(error, Exception) and not isinstance(error, RecursionError):
            _only_user_exits(error)
    good: list[Any] = []
    bad: list[tuple[int, PayloadError]] = []
    for position, value in enumerate(values):
        try:
            dumps(value)
            good.append(value)
        except BaseException as error:  # noqa: BLE001
            bad.append((position, PayloadError(f"{_what_fails(value)} cannot be pickled: {_short(error)}")))
    return Sealed(dumps(good), len(good)), bad


def _only_user_exits(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        raise error


def open_values(payload: Any, low: int = 0, high: int | None = None) -> list[Any]:
    """Values ``low`` to ``high`` of a payload, as a list of their own."""
    if isinstance(payload, Values):
        return list(payload.values[low:high])
    if isinstance(payload, Sealed):
        values: list[Any] = loads(payload.data)
        return values if low == 0 and (high is None or high >= len(values)) else values[low:high]
    if isinstance(payload, FailurePayload):
        return [
            Failure(_failed_input(f), open_error(f.error), f.error.node, f.error.attempts)
            for f in payload.items[low:high]
        ]
    raise TypeError(f"not a payload: {type(payload).__name__}")


def _failed_input(failed: FailedTask) -> Any:
    values = [value for piece in failed.pieces for value in open_values(*piece)]
    return values if failed.merged else values[0] if values else None


def _what_fails(value: Any) -> str:
    """The innermost part of ``value`` that does not pickle, as a path: ``value['conn'].sock (type socket)``."""
    path = "the value"
    for _ in range(8):
        for step, part in _parts(value):
            try:
                dumps(part)
            except BaseException:  # noqa: BLE001 - the question is only whether it raises
                path, value = path + step, part
                break
        else:
            break
    return f"{path} (type {type(value).__module__}.{type(value).__qualname__})"


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{_short(k)}]", v) for k, v in list(value.items())[:100]]
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", v) for i, v in enumerate(value[:100])]
    state = getattr(value, "__dict__", None)
    return [(f".{name}", part) for name, part in list(state.items())[:100]] if isinstance(state, dict) else []


def _short(value: object) -> str:
    try:
        text = repr(value) if not isinstance(value, BaseException) else f"{type(value).__name__}: {value}"
    except BaseException:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 200 else text[:197] + "..."
