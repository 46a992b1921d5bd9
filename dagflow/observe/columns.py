"""Hops in columns: what a traced run keeps, some ten bytes a hop where many tasks travel together.

A *row* says of neighbouring tasks what they have in common: node, status, attempt, worker, when they came, and a
*path*: the lineage with a hole where each task's own number goes. When each of them ran is in a column of doubles.
Rows lie in chunks; when all of them take more than `BYTES_MOST`, the oldest chunk is forgotten.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from dagflow.core.ids import Indices, Space

BYTES_MOST: Final = 512 << 20
"""Room for some fifty million hops of tasks that travel by the thousand, or eight million of single ones."""
CHUNK_BYTES: Final = 4 << 20
VALUES_BYTES: Final = 64 << 20
"""Values of children are kept up to so many bytes; they belong to the run and would be freed else."""
BUCKET: Final = 256
"""Source tasks are looked up by so many at a time."""

DONE, FAILED, DROPPED, RETRIED, LOST = range(5)
"""How a hop ended. LOST: failed, and nothing took that up, so that its source task failed too."""
_ROW: Final = Struct("<HBBIIIIqQd")
_LISTED, _PAIRED = 1, 2
_SPACES_MOST: Final = 4096

Lineage = tuple[int, ...]
Column: TypeAlias = "array[float] | memoryview"
"""Doubles."""
Place = tuple[Any, Sequence[int]]
"""Where values lie: a payload, and the places in it."""


class Entry(NamedTuple):
    """One hop as it is kept. Times are of the machine's monotonic clock; worker 0: none was asked."""

    node: int
    status: int
    attempt: int
    worker: int
    queued: float
    start: float
    end: float
    error: str | None
    place: tuple[Any, int] | None


class Columns:
    """All that is kept of a run. One thread adds; others may read meanwhile."""

    def __init__(self, most: int = BYTES_MOST) -> None:
        self.most = most
        self.chunks: deque[_Chunk] = deque([_Chunk()])
        self.forgotten = 0
        """Source tasks with numbers below this may have hops that were forgotten."""
        self.rows = 0
        self._sealed = 0
        self._values = 0
        self._payload: Any = None
        self._last: tuple[tuple[int, bool, int], dict[int, list[tuple[Lineage, Entry]]]] | None = None

    def add(
        self,
        head: tuple[int, int, int, int],
        space: Space,
        indices: Indices,
        arrived: float,
        starts: Column,
        ends: Column | None,
        error: str | None = None,
        place: Place | None = None,
    ) -> None:
        """One row. ``head``: node, status, attempt, worker. ``starts`` has one value more where ``ends`` is None."""
        chunk = self.chunks[-1]
        if chunk.bytes() > CHUNK_BYTES:
            chunk = self._begin_chunk()
        chunk.add(head, space, indices, arrived, starts, ends, error, place)
        self.rows += 1

    def values_fit(self, payload: Any) -> bool:
        """Whether one more payload may be kept; counts it if so."""
        if payload is self._payload:
            return True
        if self._values + payload.size > VALUES_BYTES:
            return False
        self._payload = payload
        self._values += payload.size
        self.chunks[-1].values += payload.size
        return True

    def _begin_chunk(self) -> _Chunk:
        full = self.chunks[-1]
        full.spaces.clear()
        self._sealed += full.bytes()
        while self._sealed > self.most and len(self.chunks) > 1:
            oldest = self.chunks.popleft()
            self._sealed -= oldest.bytes()
            self._values -= oldest.values
            self.forgotten = max(self.forgotten, oldest.last_root + 1)
        self.chunks.append(_Chunk())
        return self.chunks[-1]

    # -- reading --------------------------------------------------------------------------------------

    def of(self, root: int, *, aggregate: bool = False) -> list[tuple[Lineage, Entry]]:
        """The hops of a source task (or aggregate) and of all that came from it, in the order of their ends."""
        wanted = root // BUCKET, aggregate, self.rows
        if self._last is None or self._last[0] != wanted:
            self._last = wanted, self._bucket(root // BUCKET, aggregate=aggregate)
        return self._last[1].get(root, [])

    def aggregates(self) -> list[int]:
        """The numbers of all aggregates that have hops, rising."""
        found: set[int] = set()
        for chunk in list(self.chunks):
            for bucket, aggregate in chunk.index():
                if aggregate:
                    found.update(self._bucket(bucket, aggregate=True))
        return sorted(found)

    def _bucket(self, bucket: int, *, aggregate: bool) -> dict[int, list[tuple[Lineage, Entry]]]:
        found: dict[int, list[tuple[Lineage, Entry]]] = {}
        low, high = bucket * BUCKET, (bucket + 1) * BUCKET
        for chunk in list(self.chunks):
            for row in chunk.index().get((bucket, aggregate), ()):
                for lineage, entry in chunk.entries(row, low, high):
                    found.setdefault(lineage[0], []).append((lineage, entry))
        return found


class _Chunk:
    """Rows and what belongs to them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.times = array("d")
        self.listed = array("q")
        self.paths = array("q")
        self.spaces: dict[int, tuple[Space, int]] = {}
        self.errors: dict[int, str] = {}
        self.places: dict[int, Place] = {}
        self.values = 0
        self.last_root = -1
        self.texts = 0
        self._index: dict[tuple[int, bool], array[int]] = {}
        self._indexed = 0

    def bytes(self) -> int:
        """About how many bytes it takes."""
        columns = 8 * (len(self.times) + len(self.listed) + len(self.paths))
        return len(self.data) + columns + self.texts + 200 * len(self.places)

    def add(
        self,
        head: tuple[int, int, int, int],
        space: Space,
        indices: Indices,
        arrived: float,
        starts: Column,
        ends: Column | None,
        error: str | None,
        place: Place | None,
    ) -> None:
        row = len(self.data) // _ROW.size
        path = self._path(space)
        how, first, at = 0, indices[0], len(self.times)
        run = range(first, first + len(indices))
        if indices != run and list(indices) != list(run):
            how, first = _LISTED, len(self.listed)
            self.listed.extend(indices)
        self.times.frombytes(memoryview(starts).cast("B"))
        if ends is not None:
            how |= _PAIRED
            self.times.frombytes(memoryview(ends).cast("B"))
        if error is not None:
            self.errors[row] = error
            self.texts += len(error) + 100
        if place is not None:
            self.places[row] = place
        node, status, attempt, worker = head
        if not space.aggregate:
            roots = space.root_indices(indices)
            self.last_root = max(self.last_root, roots[-1] if isinstance(roots, range) else max(roots))
        # Last, so that whoever reads meanwhile finds all that belongs to it.
        self.data += _ROW.pack(node, status, how, min(attempt, 1 << 31), worker, path, len(indices), first, at, arrived)

    def _path(self, space: Space) -> int:
        """Where a space stands in `paths`: the length of its lineage, where the hole is, whether aggregate, itself."""
        known = self.spaces.get(id(space))
        if known is not None:
            return known[1]
        hole, above = 0, space
        while above.parent is not None and above.fixed is None:
            hole -= 2
            above = above.parent
        lineage = space.lineage(0)
        number = len(self.paths)
        self.paths.extend((len(lineage), len(lineage) - 1 + hole, space.aggregate, *lineage))
        if len(self.spaces) >= _SPACES_MOST:
            self.spaces.clear()
        # Kept with the space: an identity is its own only as long as the object lives.
        self.spaces[id(space)] = space, number
        return number

    # -- reading --------------------------------------------------------------------------------------

    def index(self) -> dict[tuple[int, bool], array[int]]:
        """The rows that hold hops of source tasks (or aggregates) by bucket."""
        until = len(self.data) // _ROW.size
        for row in range(self._indexed, until):
            _, _, how, _, _, path, count, first, _, _ = _ROW.unpack_from(self.data, row * _ROW.size)
            _, hole, aggregate = self.paths[path : path + 3]
            buckets: Any
            if hole:
                buckets = (self.paths[path + 3] // BUCKET,)
            elif how & _LISTED:
                buckets = {i // BUCKET for i in self.listed[first : first + count]}
            else:
                buckets = range(first // BUCKET, (first + count - 1) // BUCKET + 1)
            for bucket in buckets:
                self._index.setdefault((bucket, bool(aggregate)), array("I")).append(row)
        self._indexed = until
        return self._index

    def entries(self, row: int, low: int, high: int) -> Iterator[tuple[Lineage, Entry]]:
        """The hops of a row that belong to source tasks (or aggregates) ``low`` to ``high``."""
        node, status, how, attempt, worker, path, count, first, at, arrived = _ROW.unpack_from(
            self.data, row * _ROW.size
        )
        length, hole, _ = self.paths[path : path + 3]
        lineage = tuple(self.paths[path + 3 : path + 3 + length])
        before, after = lineage[:hole], lineage[hole + 1 :]
        indices: Indices = self.listed[first : first + count] if how & _LISTED else range(first, first + count)
        wanted: Indices = range(count)
        if not hole:
            if how & _LISTED:
                wanted = [n for n, i in enumerate(indices) if low <= i < high]
            else:
                wanted = range(max(low - first, 0), min(high - first, count))
        error, place = self.errors.get(row), self.places.get(row)
        offset = count if how & _PAIRED else 1
        for n in wanted:
            start, end = self.times[at + n], self.times[at + n + offset]
            where = None if place is None else (place[0], place[1][n])
            yield (
                (*before, indices[n], *after),
                Entry(node, status, attempt, worker, arrived, start, end, error, where),
            )
