"""Blocks: a pickle and the large buffers that belong to it, one behind the other, so that none is copied into it.

A head that no pickle starts with, the lengths, the pickle, the buffers, each where a cache line begins.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = Struct("<cxxxIQ")
_MARK = b"\0"
_ALIGN = 64

Part = bytes | memoryview


def block(body: bytes, buffers: Sequence[memoryview]) -> list[Part]:
    """The parts of a block."""
    head = _HEAD.pack(_MARK, len(buffers), len(body)) + Struct(f"<{len(buffers)}Q").pack(*(b.nbytes for b in buffers))
    parts: list[Part] = [head, body]
    at = len(head) + len(body)
    for buffer in buffers:
        parts += [bytes(_aligned(at) - at), buffer]
        at = _aligned(at) + buffer.nbytes
    return parts


def unblocked(data: bytes | bytearray | memoryview) -> tuple[bytes | bytearray | memoryview, list[memoryview]]:
    """The pickle and the buffers. The buffers lie in ``data``, or in a copy where that cannot be written to."""
    if data[:1] != _MARK:
        return data, []
    whole = memoryview(bytearray(data) if isinstance(data, bytes) else data)
    _, number, length = _HEAD.unpack_from(whole)
    sizes = Struct(f"<{number}Q").unpack_from(whole, _HEAD.size)
    at = _HEAD.size + 8 * number
    body = whole[at : at + length]
    at = _aligned(at + length)
    buffers = []
    for size in sizes:
        buffers.append(whole[at : at + size])
        at = _aligned(at + size)
    return body, buffers


def _aligned(at: int) -> int:
    return -(-at // _ALIGN) * _ALIGN
