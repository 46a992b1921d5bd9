"""Frames: how messages travel between the driver and a worker.

A frame is a header (length of the meta part, number of blobs, token, checksum), the blobs' lengths, the meta
part and the blobs. The meta part is a message of plain builtins by `marshal` (it can hold nothing else, so
reading it runs no code); blobs are sealed payloads, which the driver forwards unopened. A frame counts only
when it is whole, so one torn by a death counts as nothing.
"""

from __future__ import annotations

import marshal
import struct
from array import array
from collections import deque
from itertools import islice
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Final
else:  # the same functions, without the enums and selectors that come with them
    import _socket as socket

HEADER: Final = struct.Struct("<IIQI")
VECTORS_MOST: Final = 512
READ_MOST: Final = 1 << 20

Frame = tuple[int, "Any", list[bytes]]
"""Token, message, blobs."""


class WireError(Exception):
    """A frame whose checksum is wrong: the other side is not ours, or memory is broken."""


def pack(token: int, message: Any, blobs: list[bytes]) -> list[bytes]:
    """The buffers of a frame, to be written one after the other."""
    meta = marshal.dumps(message)
    lengths = struct.pack(f"<{len(blobs)}Q", *map(len, blobs))
    head = HEADER.pack(len(meta), len(blobs), token, crc32(meta, crc32(lengths)))
    return [head + lengths + meta, *blobs]


class Reader:
    """Takes bytes in as they come and gives whole frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take in what was read."""
        self._buffer += data

    def frames(self) -> list[Frame]:
        """The frames that are whole now."""
        found: list[Frame] = []
        buffer, at = self._buffer, self._start
        while len(buffer) - at >= HEADER.size:
            meta_length, number, token, check = HEADER.unpack_from(buffer, at)
            meta_at = at + HEADER.size + 8 * number
            if len(buffer) < meta_at + meta_length:
                break
            lengths = struct.unpack_from(f"<{number}Q", buffer, at + HEADER.size)
            end = meta_at + meta_length + sum(lengths)
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                meta = bytes(view[meta_at : meta_at + meta_length])
                if crc32(meta, crc32(view[at + HEADER.size : meta_at])) != check:
                    raise WireError("a frame's checksum is wrong")
                blobs = []
                blob_at = meta_at + meta_length
                for length in lengths:
                    blobs.append(bytes(view[blob_at : blob_at + length]))
                    blob_at += length
            found.append((token, marshal.loads(meta), blobs))  # noqa: S302 - our own process's builtins
            at = end
        if at == len(buffer):
            buffer.clear()
            at = 0
        elif at > READ_MOST:
            del buffer[:at]
            at = 0
        self._start = at
        return found


class Writer:
    """Buffers on their way into a non-blocking socket; descriptors go with the first byte of their frame."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._queue: deque[memoryview] = deque()
        self._rights: deque[tuple[memoryview, list[int]]] = deque()

    def put(self, buffers: list[bytes], fds: list[int] | None = None) -> None:
        """Queue a frame, and descriptors that the other side gets with it."""
        views = [memoryview(b) for b in buffers if len(b)]
        if fds:
            self._rights.append((views[0], fds))
        self._queue.extend(views)

    def flush(self) -> bool:
        """Write as much as goes; whether all is written."""
        queue = self._queue
        while queue:
            try:
                sent = self._socket.sendmsg(*self._next())
            except BlockingIOError:
                return False
            if self._rights and self._rights[0][0] is queue[0]:
                self._rights.popleft()  # they went with the first byte
            while sent and queue:
                head = queue[0]
                if sent >= len(head):
                    sent -= len(head)
                    queue.popleft()
                else:
                    queue[0] = head[sent:]
                    sent = 0
        return True

    def _next(self) -> tuple[list[memoryview], list[tuple[int, int, bytes]]]:
        """What the next system call sends: no further than to a frame that has descriptors of its own."""
        queue, rights = self._queue, self._rights
        if not rights:
            return list(islice(queue, VECTORS_MOST)), []
        vectors: list[memoryview] = [queue[0]]
        own = rights[0][0] is queue[0]
        stop = rights[own][0] if len(rights) > own else None
        for i in range(1, min(len(queue), VECTORS_MOST)):
            if queue[i] is stop:
                break
            vectors.append(queue[i])
        return vectors, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", rights[0][1]).tobytes())] if own else []


def send_blocking(sock: socket.socket, buffers: list[bytes]) -> None:
    """Write a whole frame into a blocking socket."""
    writer = Writer(sock)
    writer.put(buffers)
    writer.flush()
