"""Blocks: a pickle and the large buffers that belong to it, one behind the other, so that none is copied into it.

A head that no pickle starts with, the lengths, the pickle, the buffers, each where a cache line begins.

A row is several of them, or of pickles, in one piece of memory: a head, what it consists of, and where each lies.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = Struct("<cxxxIQ")
_MARK = b"\0"
_ROW = b"\1"
PICKLE = b"\x80"
"""What a pickle begins with."""
_ALIGN = 64
ROW_HEAD = _HEAD.size
"""What a row begins with takes so many bytes."""

Part = bytes | memoryview


def block(body: bytes, buffers: Sequence[memoryview]) -> list[Part]:
    """The parts of a block."""
    head = _HEAD.pack(_MARK, len(buffers), len(body)) + Struct(f"<{len(buffers)}Q").pack(*(b.nbytes for b in buffers))
    parts: list[Part] = [head, body]
    at = len(head) + len(body)
    for buffer in buffers:
        parts += [bytes(aligned(at) - at), buffer]
        at = aligned(at) + buffer.nbytes
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
    at = aligned(at + length)
    buffers = []
    for size in sizes:
        buffers.append(whole[at : at + size])
        at = aligned(at + size)
    return body, buffers


def row(places: Sequence[tuple[int, int]], at: int) -> tuple[bytes, bytes]:
    """What a row begins with, and its table, which lies ``at``: where each of its parts lies, and how large it is."""
    numbers = [number for place in places for number in place]
    return _HEAD.pack(_ROW, len(places), at), Struct(f"<{len(numbers)}Q").pack(*numbers)


def parted(data: bytes | bytearray | memoryview) -> list[memoryview] | None:
    """The parts of a row, which lie in ``data``, or in a copy where that cannot be written to; None for all else."""
    if data[:1] != _ROW:
        return None
    whole = memoryview(bytearray(data) if isinstance(data, bytes) else data)
    _, number, at = _HEAD.unpack_from(whole)
    places = Struct(f"<{2 * number}Q").unpack_from(whole, at)
    return [whole[start : start + size] for start, size in zip(places[::2], places[1::2], strict=True)]


def aligned(at: int) -> int:
    """The next place where a cache line begins."""
    return -(-at // _ALIGN) * _ALIGN
