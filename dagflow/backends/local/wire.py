"""Frames: how messages travel between the driver and a worker.

A frame is a header (length of the meta part, of all blobs, token, checksum), the meta part and the blobs. The meta
part is a message of plain builtins, and the blobs' lengths, by `marshal` (it can hold nothing else, so reading it
runs no code); blobs are sealed payloads, which the driver forwards unopened. A frame counts only when it is whole, so
one torn by a death counts as nothing.
"""

from __future__ import annotations

import marshal
import struct
from collections import deque
from itertools import islice
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Final
else:  # the same functions, without the enums and selectors that come with them
    import _socket as socket

HEADER: Final = struct.Struct("<IQQI")
VECTORS_MOST: Final = 512
READ_LEAST: Final = 1 << 16
READ_MOST: Final = 1 << 20

Frame = tuple[int, "Any", list[bytes]]
"""Token, message, blobs."""


class WireError(Exception):
    """A frame whose checksum is wrong: the other side is not ours, or memory is broken."""


def pack(token: int, message: Any, blobs: list[bytes]) -> list[bytes]:
    """The buffers of a frame, to be written one after the other."""
    lengths = [len(blob) for blob in blobs]
    meta = marshal.dumps((message, lengths))
    return [HEADER.pack(len(meta), sum(lengths), token, crc32(meta)) + meta, *blobs]


class Reader:
    """Takes bytes in as they come and gives whole frames out."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._missing = 0
        """So many bytes must come before there can be a whole frame."""

    def frames(self, data: bytes) -> list[Frame]:
        """The frames that are whole now that ``data`` has come."""
        if self._rest:
            self._rest += data
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        found: list[Frame] = []
        at, size = 0, len(data)
        while at < size:
            end = self._frame(data, at, found)
            if end > size:
                self._rest += data[at:]
                self._missing = end - size
                break
            at = end
        return found

    def wanted(self) -> int:
        """How many bytes to ask for at the next reading."""
        return READ_MOST if self._missing > READ_LEAST else READ_LEAST

    def _frame(self, data: bytes, at: int, found: list[Frame]) -> int:
        """Where the frame at ``at`` ends, as far as can be told; it is ``found`` if it is there to its end."""
        meta_at = at + HEADER.size
        if len(data) < meta_at:
            return meta_at
        meta_length: int
        meta_length, blobs_length, token, check = HEADER.unpack_from(data, at)
        blob_at = meta_at + meta_length
        end: int = blob_at + blobs_length
        if len(data) < end:
            return end
        meta = data[meta_at:blob_at]
        if crc32(meta) != check:
            raise WireError("a frame's checksum is wrong")
        message, lengths = marshal.loads(meta)  # noqa: S302 - our own process's builtins
        blobs = []
        for length in lengths:
            blobs.append(data[blob_at : blob_at + length])
            blob_at += length
        found.append((token, message, blobs))
        return end


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

    def send(self, buffers: list[bytes], fds: list[int] | None = None) -> bool:
        """Write a frame, or as much of it as goes, and queue the rest; whether all is written."""
        if not self._queue and not fds and len(buffers) <= VECTORS_MOST:
            try:
                sent = self._socket.sendmsg(buffers)
            except BlockingIOError:
                sent = 0
            if sent == sum(map(len, buffers)):
                return True
            self.put(buffers)
            self._sent(sent)
            return False
        self.put(buffers, fds)
        return self.flush()

    def flush(self) -> bool:
        """Write as much as goes; whether all is written."""
        while self._queue:
            try:
                sent = self._socket.sendmsg(*self._next())
            except BlockingIOError:
                return False
            if self._rights and self._rights[0][0] is self._queue[0]:
                self._rights.popleft()  # they went with the first byte
            self._sent(sent)
        return True

    def _sent(self, sent: int) -> None:
        queue = self._queue
        while sent:
            head = queue[0]
            if sent < len(head):
                queue[0] = head[sent:]
                return
            sent -= len(head)
            queue.popleft()

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
        fds = rights[0][1] if own else []
        return vectors, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if own else []
