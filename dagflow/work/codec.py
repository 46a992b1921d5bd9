"""Sealing and opening payloads: pickle protocol 5, cloudpickle for what only exists in ``__main__``.

A class of a script or notebook cell is pickled by reference as ``__main__.X``, which another process cannot
find. So bytes that mention ``__main__`` are made again by cloudpickle, which sends such classes by value and
gives the original class back where it came from. cloudpickle takes long to import and is loaded when needed.

Large buffers (arrays) are not copied into the pickle but lie behind it, in one block: a head (which no pickle
starts with), the lengths, the pickle, the buffers. Where there is a `Store`, large blocks go into it, and only
their place travels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from dagflow.core.envelope import FailedTask, FailurePayload
from dagflow.errors import PayloadError
from dagflow.work.outcome import Failure, open_error
from dagflow.work.values import Place, Sealed, Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from typing import Any
else:
    import _pickle as pickle  # what `pickle` itself uses, without what else it imports

_PROTOCOL = 5
LARGE = 64 * 1024
"""Buffers, and whole payloads, from so many bytes on travel by a `Store` where there is one."""
_HEAD = Struct("<cxxxIQ")
_MARK = b"\0"
_ALIGN = 64

Part = bytes | memoryview
Store = Callable[[list[Part], int], "Place | None"]
"""Puts the parts of a block (so many bytes in all) into shared memory; None where it has no room now."""


def dumps(value: Any) -> bytes:
    """Pickle anything that can be; raises what the pickler raised if it cannot."""
    return _dump(value, None)


def _dump(value: Any, apart: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    try:
        data = pickle.dumps(value, _PROTOCOL, buffer_callback=apart)
        if b"__main__" not in data:
            return data
    except Exception:  # noqa: BLE001, S110 - whatever plain pickle cannot do, cloudpickle is asked next
        pass
    import cloudpickle

    by_value: bytes = cloudpickle.dumps(value, _PROTOCOL, buffer_callback=apart)
    return by_value


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value that was sealed. Only ever called on bytes of this run's own processes.

    Buffers that lie behind the pickle become part of the value where they are, if they may be written to: the
    caller gives memory that is nobody else's.
    """
    if data[:1] != _MARK:
        return pickle.loads(data)
    block = memoryview(bytearray(data) if isinstance(data, bytes) else data)
    _, number, length = _HEAD.unpack_from(block)
    sizes = Struct(f"<{number}Q").unpack_from(block, _HEAD.size)
    at = _HEAD.size + 8 * number
    body = block[at : at + length]
    at = _aligned(at + length)
    buffers = []
    for size in sizes:
        buffers.append(block[at : at + size])
        at = _aligned(at + size)
    return pickle.loads(body, buffers=buffers)


def _aligned(at: int) -> int:
    return -(-at // _ALIGN) * _ALIGN


def seal(values: Sequence[Any], store: Store | None = None) -> tuple[Sealed, list[tuple[int, PayloadError]]]:
    """Seal values; those that cannot travel are left out and returned with their error."""
    values = values if isinstance(values, list) else list(values)
    try:
        return _seal(values, store), []
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
    return _seal(good, store), bad


def _seal(values: list[Any], store: Store | None) -> Sealed:
    if store is None:
        return Sealed(dumps(values), len(values))
    large: list[memoryview] = []

    def apart(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE:
            return True
        large.append(raw)
        return False

    parts: list[Part] = [_dump(values, apart)]
    if large:
        parts = _block(parts[0], large)
    size = sum(map(len, parts))
    place = store(parts, size) if size >= LARGE else None
    if place is not None:
        return Sealed(b"", len(values), place)
    return Sealed(parts[0] if len(parts) == 1 else b"".join(parts), len(values))  # type: ignore[arg-type]


def _block(body: Part, large: list[memoryview]) -> list[Part]:
    """A pickle and the buffers that belong to it, as the parts of a block."""
    head = _HEAD.pack(_MARK, len(large), len(body)) + Struct(f"<{len(large)}Q").pack(*(b.nbytes for b in large))
    parts: list[Part] = [head, body]
    at = len(head) + len(body)
    for buffer in large:
        parts += [bytes(_aligned(at) - at), buffer]
        at = _aligned(at) + buffer.nbytes
    return parts


def _only_user_exits(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        raise error


def open_values(payload: Any, low: int = 0, high: int | None = None) -> list[Any]:
    """Values ``low`` to ``high`` of a payload, as a list of their own."""
    if isinstance(payload, Values):
        return list(payload.values[low:high])
    if isinstance(payload, Sealed):
        values: list[Any] = loads(payload.contents())
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
