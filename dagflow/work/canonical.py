"""Equality of contents: a value as bytes that are equal exactly for equal values of equal types.

``1``, ``1.0`` and ``True`` differ; dicts and sets are equal whatever their order; what is not a builtin is
told apart by its class and what its own pickling protocol says of it. Used for deduplication keys and to look
results up by task; a user's ``__eq__`` and ``__hash__`` are never called.
"""

from __future__ import annotations

import copyreg
import hashlib
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from typing import Any
else:
    import _pickle as pickle  # what `pickle` itself uses, without what else it imports

_DEPTH_MOST = 200


def content_key(value: Any) -> bytes:
    """16 bytes that stand for the content of ``value`` (blake2b of its canonical form)."""
    return hashlib.blake2b(canonical(value), digest_size=16).digest()


def canonical(value: Any, depth: int = 0) -> bytes:
    """The canonical form. Raises `TypeError` for what has no content to compare (a lock, a socket)."""
    kind = type(value)
    if value is None:
        return b"N"
    if kind is str:
        return _framed(b"s", value.encode("utf-8", "surrogatepass"))
    if kind is int:
        return _framed(b"i", b"%d" % value)
    if kind is bool:
        return b"T" if value else b"F"
    if kind is float:
        return b"f" + struct.pack("<d", value)
    if kind is bytes:
        return _framed(b"b", value)
    if depth > _DEPTH_MOST:
        return _framed(b"deep", pickle.dumps(value, 5))
    if kind in (tuple, list):
        return _framed(b"t" if kind is tuple else b"l", b"".join(canonical(v, depth + 1) for v in value))
    if kind is dict:
        items = sorted(canonical(k, depth + 1) + canonical(v, depth + 1) for k, v in value.items())
        return _framed(b"d", b"".join(items))
    if kind in (set, frozenset):
        return _framed(b"S" if kind is set else b"Z", b"".join(sorted(canonical(v, depth + 1) for v in value)))
    return _other(value, kind, depth)


def _other(value: Any, kind: type, depth: int) -> bytes:
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return _framed(b"g", f"{value.__module__}:{value.__qualname__}".encode())
    registered = copyreg.dispatch_table.get(kind)  # as pickle does: for patterns, say
    reduced: Any = value.__reduce_ex__(4) if registered is None else registered(value)
    name = f"{kind.__module__}:{kind.__qualname__}".encode()
    if isinstance(reduced, str):
        return _framed(b"g", name + b":" + reduced.encode())
    parts = [canonical(reduced[1], depth + 1)]
    for extra in reduced[2:5]:
        if hasattr(extra, "__next__"):
            extra = list(extra)
        parts.append(canonical(extra, depth + 1))
    return _framed(b"o", _framed(b"n", name) + b"".join(parts))


def _framed(tag: bytes, body: bytes) -> bytes:
    # Lengths in front, so that no content can look like the end of another.
    return tag + b"%d:" % len(body) + body
