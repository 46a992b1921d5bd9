"""The driver's memory segments: large payloads lie in them, and only their numbers travel.

The driver makes a segment (a memfd: no name, gone with the last process that has it), counts who needs it, and
uses it again, since fresh memory costs more in page faults than copying does. At any time a segment is

* free; or
* a worker's to write its next large answer into (a *spare*: the worker is given some ahead, so that it never
  waits for one, and falls back to the socket when it has none); or
* in use: it holds a payload, and is free again when that payload is (its last reference in the driver: queued,
  leased, held by a Merger, not yet read) *and* every worker that it was delivered to has let go of it.

Why a function may keep an array: a worker maps what it is given privately, or copies it
(`dagflow.backends.local.private`). What the function writes, only it sees, so a retry, another branch, or a Merger
finds the payload as it was; and the worker lets go only when the last view of the mapping is gone, however long the
function keeps it. So nobody writes into a segment that anybody still reads. A worker that died reads no more: all it
had is taken back. The user reads in the same way, so that what they get is memory of their own and outlives the run.

Bounds: so many segments, so many bytes. When they are all in use, the oldest payloads are fetched into the
driver's heap; what finds no segment travels by the socket as small payloads do.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import deque
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import ref

from dagflow.backends.local.mapping import rounded, write
from dagflow.backends.local.private import POPULATE_WRITE, Views, populate
from dagflow.work.values import Sealed

if TYPE_CHECKING:
    from dagflow.work.block import Part

SEGMENTS_MOST: Final = 64
"""Each costs a file descriptor here and in each worker that has seen it."""
BYTES_MOST: Final = 256 << 20
JOBS_LEAST: Final = 2
"""A worker has spares for the answers to so many jobs, or to all that it has."""
SPARES_MOST: Final = 8


Supply = tuple[list[int], list[int], list[int]]
"""What a worker is told: segments that are new to it, those that are its spares now, descriptors of the new ones."""


class Segment:
    """One memfd, and who has it."""

    __slots__ = ("delivered", "fd", "kept", "memory", "number", "payload", "room", "writer")

    def __init__(self, number: int, fd: int) -> None:
        self.number, self.fd = number, fd
        self.room = 0
        """How large it is; pages that were never written take nothing."""
        self.memory: mmap.mmap | None = None
        self.writer: int | None = None
        self.kept = False
        """Whether a payload in the driver lies in it: ``payload``, if it can still be found."""
        self.payload: ref[Sealed] | None = None
        self.delivered: dict[int, int] = {}
        """How many deliveries each worker has not let go of."""

    def holds(self, size: int) -> bool:
        """Whether it is so large; the worker whose spare it was may have made it larger, and nobody smaller."""
        if size > self.room:
            self.room = os.fstat(self.fd).st_size
        return size <= self.room

    def mapped(self, size: int) -> mmap.mmap:
        """Its memory, as this process sees it."""
        if not self.holds(size):
            self.room = rounded(size)
            os.ftruncate(self.fd, self.room)
        if self.memory is None or len(self.memory) < size:
            self.memory = mmap.mmap(self.fd, self.room)
            populate(self.memory, POPULATE_WRITE, size)
        return self.memory


class Kept:
    """Where a payload lies, as long as the driver has it, or the user any view of it."""

    __slots__ = ("segment", "segments", "size")

    def __init__(self, segments: Segments, segment: Segment, size: int) -> None:
        self.segments, self.segment, self.size = segments, segment, size

    def contents(self) -> bytearray | memoryview:
        """The bytes, for the user to read and to write."""
        segments, segment = self.segments, self.segment
        if not segments.views.copies(self.size):
            with segments.closing:
                if not segments.closed:
                    return segments.views.open(segment.number, segment.fd, self.size, self)
        with memoryview(segment.mapped(self.size)) as view:
            return bytearray(view[: self.size])

    def copy(self) -> bytes:
        """The bytes."""
        with memoryview(self.segment.mapped(self.size)) as view:
            return bytes(view[: self.size])

    def __del__(self) -> None:
        self.segments.ended.append(self.segment.number)  # from any thread; the ring takes note when it next looks


class Segments:
    """All segments of one pool of workers."""

    def __init__(self) -> None:
        self.all: dict[int, Segment] = {}
        self.free: list[Segment] = []
        self.ended: deque[int] = deque()
        self.views = Views()
        self.closing = Lock()
        self.closed = False
        self.spares: dict[int, set[int]] = {}
        self.known: dict[int, set[int]] = {}
        """By worker: the segments whose descriptors it has."""
        self.appetite: dict[int, tuple[int, int]] = {}
        """By worker: how many large payloads its answers have, and how large they are."""
        self._numbers = 0

    # -- for the driver's own values --------------------------------------------------------------------

    def store(self, parts: list[Part], size: int) -> Kept | None:
        """Put a block into a segment; None where there is none to have."""
        segment = self._take(size)
        if segment is None:
            return None
        write(segment.mapped(size), parts, size)
        segment.kept = True
        return Kept(self, segment, size)

    # -- deliveries -------------------------------------------------------------------------------------

    def deliver(self, worker: int, numbers: list[int], jobs: int) -> Supply:
        """Payloads go to a worker, which then has so many ``jobs``, and with them the spares that it wants.

        With the first payloads go some too: who reads much may well write much.
        """
        supply: Supply = [], [], []
        for number in numbers:
            segment = self.all[number]
            segment.delivered[worker] = segment.delivered.get(worker, 0) + 1
            self._introduce(worker, segment, supply)
        if numbers and worker not in self.appetite and len(self.all) < SEGMENTS_MOST // 2:
            self.wants(worker, len(numbers), self.all[numbers[0]].room)
        self._fill(worker, jobs, supply)
        return supply

    def let_go(self, worker: int, numbers: list[int]) -> None:
        """A worker has no more views of these deliveries."""
        for number in numbers:
            segment = self.all.get(number)
            if segment is None or not segment.delivered.get(worker):
                continue
            segment.delivered[worker] -= 1
            if not segment.delivered[worker]:
                del segment.delivered[worker]
            self._settle(segment)

    def lost(self, worker: int) -> None:
        """A worker is gone, and reads and writes no more."""
        for number in self.spares.pop(worker, ()):
            segment = self.all[number]
            segment.writer = None
            self._settle(segment)
        self.known.pop(worker, None)
        self.appetite.pop(worker, None)
        for segment in list(self.all.values()):
            if segment.delivered.pop(worker, None) is not None:
                self._settle(segment)

    # -- answers ------------------------------------------------------------------------------------------

    def arrived(self, worker: int, number: int, size: int, count: int) -> Sealed:
        """A worker has written a payload into one of its spares. Raises `ValueError` if it was not its to write."""
        if number not in self.spares.get(worker, ()):
            raise ValueError(f"segment {number} is none of worker {worker}'s")
        segment = self.all[number]
        if not segment.holds(size):
            raise ValueError(f"segment {number} is smaller than said")
        self.spares[worker].discard(number)
        segment.writer, segment.kept = None, True
        payload = Sealed(b"", count, Kept(self, segment, size))
        segment.payload = ref(payload)
        return payload

    def wants(self, worker: int, large: int, size: int) -> None:
        """A worker's answer had so many large payloads, the largest of ``size`` bytes; or it had none."""
        known, before = self.appetite.get(worker, (0, 0))
        self.appetite[worker] = max(large, known * 3 // 4), size or before

    def may_want(self, worker: int) -> bool:
        """Whether a worker has ever had to do with large payloads."""
        return worker in self.appetite

    def supply(self, worker: int, jobs: int) -> Supply:
        """Spares that a worker gets now, which has so many ``jobs``."""
        supply: Supply = [], [], []
        self._fill(worker, jobs, supply)
        return supply

    def _fill(self, worker: int, jobs: int, supply: Supply) -> None:
        large, size = self.appetite.get(worker, (0, 0))
        if not large:
            return
        mine = self.spares.setdefault(worker, set())
        while len(mine) < min(SPARES_MOST, large * max(JOBS_LEAST, jobs)):
            segment = self._take(size)
            if segment is None:
                break
            segment.writer = worker
            mine.add(segment.number)
            supply[1].append(segment.number)
            self._introduce(worker, segment, supply)

    def _introduce(self, worker: int, segment: Segment, supply: Supply) -> None:
        known = self.known.setdefault(worker, set())
        if segment.number not in known:
            known.add(segment.number)
            supply[0].append(segment.number)
            supply[2].append(segment.fd)

    # -- which are free -------------------------------------------------------------------------------------

    def _take(self, size: int) -> Segment | None:
        self.collect()
        if self.free:
            # The one that was used last, as it may be in a cache still; but rather one that is large enough.
            at = next((i for i in range(len(self.free) - 1, -1, -1) if self.free[i].room >= size), -1)
            return self.free.pop(at)
        total = sum(segment.room for segment in self.all.values())
        if len(self.all) < SEGMENTS_MOST and total + size <= BYTES_MOST:
            return self._make()
        return self._evict()

    def _make(self) -> Segment | None:
        try:
            fd = os.memfd_create("dagflow", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:  # no more descriptors: the socket does
            return None
        with suppress(OSError):  # a sandbox may know no seals; without one, who reads what was cut off is killed for it
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._numbers += 1
        segment = self.all[self._numbers] = Segment(self._numbers, fd)
        return segment

    def _evict(self) -> Segment | None:
        """Fetch the oldest payload that no worker is at into the heap, for its segment."""
        for segment in self.all.values():
            if not segment.kept or segment.delivered or segment.payload is None:
                continue
            payload = segment.payload()
            if payload is not None:
                payload.detach()
                del payload
                self.collect()
                if self.free:
                    self.all[segment.number] = self.all.pop(segment.number)  # the youngest now
                    return self.free.pop()
        return None

    def collect(self) -> None:
        """Take note of payloads that have ended."""
        self.views.look()
        while self.ended:
            segment = self.all.get(self.ended.popleft())
            if segment is not None:
                segment.kept, segment.payload = False, None
                self._settle(segment)

    def _settle(self, segment: Segment) -> None:
        if not segment.kept and not segment.delivered and segment.writer is None:
            self.free.append(segment)

    def close(self) -> None:
        """Fetch what is still in use, and give all memory back."""
        for segment in self.all.values():
            payload = segment.payload() if segment.payload is not None else None
            if payload is not None:
                payload.detach()
        with self.closing:
            self.closed = True
            for segment in self.all.values():
                os.close(segment.fd)  # what is mapped stays so while another thread is just reading it
        self.views.close()
        self.all.clear()
        self.free.clear()
