"""Processes by fork, raw pipes, pickled lists with a length in front: what the limits are made of."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

LENGTH = struct.Struct("<Q")
READ = 1 << 20


def dump(values: Any) -> bytes:
    """A frame."""
    data = pickle.dumps(values, 5)
    return LENGTH.pack(len(data)) + data


class Frames:
    """Cuts what was read into frames (still pickled)."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def take(self, data: bytes) -> list[bytes]:
        buffer = self.buffer
        buffer += data
        found = []
        at = 0
        while len(buffer) - at >= 8:
            end = at + 8 + LENGTH.unpack_from(buffer, at)[0]
            if len(buffer) < end:
                break
            found.append(bytes(buffer[at:end]))
            at = end
        del buffer[:at]
        return found


def received(fd: int) -> Iterator[bytes]:
    """The frames of a blocking descriptor, until its other end is closed."""
    frames = Frames()
    while data := os.read(fd, READ):
        yield from frames.take(data)


def write_all(fd: int, data: bytes) -> None:
    """Write to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def forked(run: Callable[[], None], close: list[int]) -> int:
    """A child process that runs ``run`` without the descriptors ``close``; its number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for fd in close:
                os.close(fd)
            run()
            code = 0
        finally:
            os._exit(code)
    return pid


def work(function: Callable[[list[Any]], Any], read: int, write: int) -> None:
    """A worker: frame by frame, values in, values out."""
    for frame in received(read):
        write_all(write, dump(function(pickle.loads(memoryview(frame)[8:]))))


def each(function: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    """A function of lists."""
    return lambda values: list(map(function, values))
