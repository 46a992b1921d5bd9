"""W4 by hand: a pool of memory segments that every process has mapped; only a segment's number travels.

The function gets a view of the segment and returns a new array, which is copied into the same segment.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions
from benchmarks.limits.wires import forked

SEGMENTS = 24
BYTES = 4 * tasks.ARRAY_FLOATS
NUMBER = struct.Struct("<I")


class Segments(Contender):
    name = "segments by hand"
    kind = "limit"
    only = ("W4",)
    # Blocks as large as these are given back to the kernel, and faulted in again, unless glibc is told otherwise.
    environment = {
        "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
        "MALLOC_TOP_PAD_": str(64 << 20),
    }

    def prepare(self) -> None:
        import numpy

        self.numpy = numpy

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        shared = os.memfd_create("limit")
        os.ftruncate(shared, SEGMENTS * BYTES)
        memory = mmap.mmap(shared, SEGMENTS * BYTES)
        arrays = self.numpy.frombuffer(memory, dtype=self.numpy.float32).reshape(SEGMENTS, tasks.ARRAY_FLOATS)
        pipes = [os.pipe() for _ in range(len(functions) + 1)]
        ends = [fd for pipe in pipes for fd in pipe]
        pids = []

        def stage(function: Any, read: int, write: int) -> None:
            while data := os.read(read, NUMBER.size):
                array = arrays[NUMBER.unpack(data)[0]]
                array[:] = function(array)
                os.write(write, data)

        for at, function in enumerate(functions):
            read, write = pipes[at][0], pipes[at + 1][1]
            close = [fd for fd in ends if fd not in (read, write)]
            pids.append(forked(lambda f=function, r=read, w=write: stage(f, r, w), close))
        inlet, outlet = pipes[0][1], pipes[-1][0]
        free = list(range(SEGMENTS))
        for fd in ends:
            if fd not in (inlet, outlet):
                os.close(fd)
        iterator, flying, more = iter(source), 0, True
        while more or flying:
            while more and free:
                value = next(iterator, None)
                if value is None:
                    more = False
                    os.close(inlet)
                    break
                number = free.pop()
                arrays[number] = value
                os.write(inlet, NUMBER.pack(number))
                flying += 1
            if flying:
                (number,) = NUMBER.unpack(os.read(outlet, NUMBER.size))
                yield arrays[number]
                free.append(number)
                flying -= 1
        os.close(outlet)
        for pid in pids:
            os.waitpid(pid, 0)


CONTENDERS = (Segments,)
