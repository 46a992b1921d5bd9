"""Frames: how messages travel between the driver and a worker.

A frame is a header (length of the meta part, number of blobs, token, checksum), the blobs' lengths, the meta
part and the blobs. The meta part is a message of plain builtins by `marshal` (it can hold nothing else, so
reading it runs no code); blobs are sealed payloads, which the driver forwards unopened. A frame counts only
when it is whole, so one torn by a death counts as nothing.
"""

from __future__ import annotations

import marshal
import socket
import struct
from collections import deque
from typing import Any, Final
from zlib import crc32

HEADER: Final = struct.Struct("<IIQI")
VECTORS_MOST: Final = 512
READ_MOST: Final = 1 << 20

Frame = tuple[int, Any, list[bytes]]
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
    """Buffers on their way into a non-blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._queue: deque[memoryview] = deque()

    def put(self, buffers: list[bytes]) -> None:
        """Queue a frame."""
        self._queue.extend(memoryview(b) for b in buffers if len(b))

    def flush(self) -> bool:
        """Write as much as goes; whether all is written."""
        queue = self._queue
        while queue:
            try:
                sent = self._socket.sendmsg([queue[i] for i in range(min(len(queue), VECTORS_MOST))])
            except BlockingIOError:
                return False
            while sent and queue:
                head = queue[0]
                if sent >= len(head):
                    sent -= len(head)
                    queue.popleft()
                else:
                    queue[0] = head[sent:]
                    sent = 0
        return True


def send_blocking(sock: socket.socket, buffers: list[bytes]) -> None:
    """Write a whole frame into a blocking socket."""
    writer = Writer(sock)
    writer.put(buffers)
    writer.flush()
