"""The tracer: an observer that keeps the hops of sampled tasks in columns, and makes traces of them when asked."""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from dagflow.core import ids
from dagflow.core.commands import Lost, TaskFailed, TasksEnded
from dagflow.core.ids import CLOSED, COPY, Segment
from dagflow.observe.columns import DONE, DROPPED, FAILED, LOST, RETRIED, Column, Columns, Entry, Lineage, Place
from dagflow.observe.text import MESSAGE_MOST, NAME_MOST, clean
from dagflow.observe.trace import Hop, HopStatus, Trace, settle
from dagflow.work.codec import open_values

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.core.ids import Indices, Space
    from dagflow.core.payload import Piece
    from dagflow.core.visits import Visit
    from dagflow.graph.plan import Plan
    from dagflow.observe.sampling import Sample
    from dagflow.protocols import Snapshot

_STATUS: Final[tuple[HopStatus, ...]] = ("done", "failed", "dropped", "retried", "failed")
_FRAMES: Final = {COPY: "r", CLOSED: "m", ids.FAILED: "x"}
_ID: Final = re.compile(r"(?:([0-9a-f]+)w)?([0-9a-f]+)((?:\.(?:[0-9a-f]+|[rmx])-[0-9a-f]+)*)")


class Tracer:
    """An observer that remembers what happened to each sampled task.

    ``keep_sources``: values of source tasks are kept like those of children, where nobody else keeps them. ``clock``:
    the one that the scheduler and the workers read.
    """

    def __init__(
        self, sample: Sample, *, keep_sources: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.sample = sample
        self.clock = clock
        self.keep_sources = keep_sources
        self.columns = Columns()
        self.pids: dict[int, int] = {}
        self.names: list[str] = []
        self.plan: Plan | None = None
        self.offset = 0.0
        self._firsts: dict[int, frozenset[int]] = {}
        self._runs: frozenset[int] = frozenset()

    def sampled(self, segments: Sequence[Segment]) -> list[int] | None:
        """Which of these tasks, by their positions, are sampled; None: all."""
        found: list[int] = []
        at = 0
        for space, indices in segments:
            chosen = self._chosen(space, indices)
            found.extend(range(at, at + len(indices)) if chosen is None else [at + n for n in chosen])
            at += len(indices)
        return None if len(found) == at else found

    # -- listening ------------------------------------------------------------------------------------

    def opened(self, plan: Plan) -> None:
        """A run begins."""
        self.plan = plan
        self.names = [clean(node.name, NAME_MOST) for node in plan.nodes]
        # The monotonic clock is one for all processes of a machine; the difference is taken once, so that a
        # correction of the wall clock in the middle of a run does not tear its traces.
        self.offset = time.time() - self.clock()
        self._firsts = _first_nodes(plan)
        self._runs = frozenset(n.index for n in plan.nodes if n.merge is not None and n.merge.closing == "run")

    def facts(self, facts: Sequence[Fact]) -> None:
        """Keep what the facts say of sampled tasks."""
        for at, fact in enumerate(facts):
            if type(fact) is TasksEnded:
                status = DONE if fact.status == "succeeded" else DROPPED
                values = _Values(fact.inputs)
                self._keep(_Row(fact.node, status, fact.visit, self.clock), fact.segments, fact.positions, values)
            elif type(fact) is TaskFailed:
                status = FAILED if fact.retry_in is None else RETRIED
                following = facts[at + 1] if at + 1 < len(facts) else None
                if type(following) is Lost and following.space is fact.space and following.index == fact.index:
                    status = LOST
                error = clean(f"{fact.error.type}: {fact.error.message}", MESSAGE_MOST)
                row = _Row(fact.node, status, fact.visit, self.clock, fact.attempt, error)
                values = _Values([fact.input] if fact.input is not None else [], fact.position)
                self._keep(row, [(fact.space, (fact.index,))], [fact.position], values)

    def tick(self, snapshot: Snapshot) -> None:
        """Nothing to do."""

    def closed(self, snapshot: Snapshot) -> None:
        """Nothing to do: it is read when somebody asks."""

    def _keep(self, row: _Row, segments: list[Segment], positions: Sequence[int] | None, values: _Values) -> None:
        """The rows of a fact: one for each run of sampled tasks that share a space and a time of arrival."""
        self.pids.update(row.pids)
        at = 0
        for space, indices in segments:
            until = at + len(indices)
            where: Sequence[int] = range(at, until) if positions is None else positions[at:until]
            at = until
            chosen = self._chosen(space, indices)
            if chosen is not None:
                indices, where = [indices[n] for n in chosen], [where[n] for n in chosen]
            keeps = self._keeps(row.node, space)
            for low, high, arrived in row.stretches(where):
                part = where[low:high]
                starts, ends = row.times(part)
                place = values.places(part, self.columns) if keeps else None
                self.columns.add(row.head, space, indices[low:high], arrived, starts, ends, row.error, place)

    def _chosen(self, space: Space, indices: Indices) -> list[int] | None:
        """Which of the tasks, by their place, are sampled; None: all."""
        if self.sample.whole:
            return None
        roots = space.root_indices(indices)
        if space.aggregate:
            number = roots[0]
            if number >> 40 in self._runs:
                return None
            roots = [r & (1 << 40) - 1 for r in roots]
        if len(roots) == 1:
            return None if self.sample.has(roots[0]) else []
        if isinstance(roots, range):
            return [number - roots.start for number in self.sample.within(roots.start, roots.stop)]
        at = {number: n for n, number in enumerate(roots)}
        return sorted(at[number] for number in self.sample.within(min(roots), max(roots) + 1) if number in at)

    def _keeps(self, node: int, space: Space) -> bool:
        if space.parent is None:
            return self.keep_sources and not space.aggregate
        return node in self._firsts.get(space.frame, ())

    # -- asking ---------------------------------------------------------------------------------------

    def family(self, root: int, *, aggregate: bool = False, task: Any = None, status: str | None = None) -> Trace:
        """The trace of a source task (or aggregate), with all that came from it.

        ``task``: its value; ``status``: how it ended, where that is known better than the hops can tell.
        """
        top = Trace(id_of((root,), aggregate=aggregate), task)
        made: dict[Lineage, Trace] = {(root,): top}
        for lineage, entry in self.columns.of(root, aggregate=aggregate):
            trace = self._member(made, lineage, aggregate=aggregate)
            if entry.place is not None and not trace.hops and not (trace is top and task is not None):
                trace._place = _Opened(entry.place)
            trace.hops.append(self._hop(entry))
            trace._lost = trace._lost or entry.status == LOST
        for lineage in sorted(made, key=_order):
            if len(lineage) > 1:
                made[lineage[:-2]].children.append(made[lineage])
        settle(top)
        if status is not None:
            top.status = status
        return top

    def _member(self, made: dict[Lineage, Trace], lineage: Lineage, *, aggregate: bool) -> Trace:
        found = made.get(lineage)
        if found is None:
            found = made[lineage] = Trace(id_of(lineage, aggregate=aggregate))
            found.parent = self._member(made, lineage[:-2], aggregate=aggregate)
        return found

    def _hop(self, entry: Entry) -> Hop:
        off = self.offset
        asked = entry.worker != 0
        return Hop(
            self.names[entry.node],
            entry.attempt,
            _STATUS[entry.status],
            min(entry.queued, entry.start) + off,
            entry.start + off,
            entry.end + off,
            entry.worker if asked else None,
            (self.pids.get(entry.worker) or None) if asked else None,
            entry.error,
        )


class _Opened:
    """A value that is opened when somebody asks for it."""

    def __init__(self, place: tuple[Any, int]) -> None:
        self.payload, self.at = place

    def __call__(self) -> Any:
        try:
            return open_values(self.payload, self.at, self.at + 1)[0]
        except BaseException:  # noqa: BLE001 - reading a value runs code of its class
            return None


class _Values:
    """Where the values of a fact's tasks lie, by position in the lease; ``base``: the position of the first piece."""

    def __init__(self, pieces: Sequence[Piece], base: int = 0) -> None:
        self.pieces, self.base = pieces, base
        self.ends: list[int] | None = None

    def places(self, positions: Sequence[int], columns: Columns) -> Place | None:
        """Where the values at ``positions``, which lie in one piece, are, if there is room to keep them."""
        if self.ends is None:
            self.ends = list(accumulate((high - low for _, low, high in self.pieces), initial=self.base))
        at = bisect_right(self.ends, positions[0]) - 1
        if not 0 <= at < len(self.pieces):
            return None
        payload, low, _ = self.pieces[at]
        if payload is None or not columns.values_fit(payload):
            return None
        shift = low - self.ends[at]
        if isinstance(positions, range):
            return payload, range(positions.start + shift, positions.stop + shift)
        return payload, [p + shift for p in positions]


class _Row:
    """What the tasks of a fact have in common, and when each of them ran, by position in the lease."""

    def __init__(
        self,
        node: int,
        status: int,
        visit: Visit | None,
        clock: Callable[[], float],
        attempt: int = 1,
        error: str | None = None,
    ) -> None:
        self.node, self.error = node, error
        self.head = (node, status, attempt, 0) if visit is None else (node, status, visit.attempt, visit.worker)
        self.pids = {} if visit is None else {visit.worker: visit.pid}
        self.visit = visit
        self.now = clock() if visit is None else 0.0
        self.bounds: list[int] = []
        if visit is not None:
            self.bounds = list(accumulate(count for count, _ in visit.arrived))
            self.starts = _doubles(visit.times.starts)
            self.ends = None if visit.times.ends is None else _doubles(visit.times.ends)

    def stretches(self, where: Sequence[int]) -> Iterator[tuple[int, int, float]]:
        """Stretches of the positions ``where`` that came at one time: from, to (in ``where``), when."""
        if self.visit is None and len(where):
            yield 0, len(where), self.now
            return
        low = 0
        while low < len(where):
            at = min(bisect_right(self.bounds, where[low]), len(self.bounds) - 1)
            high = len(where) if where[-1] < self.bounds[at] else bisect_left(where, self.bounds[at], low)
            high = max(high, low + 1)
            assert self.visit is not None
            yield low, high, self.visit.arrived[at][1]
            low = high

    def times(self, where: Sequence[int]) -> tuple[Column, Column | None]:
        """Starts and ends of the tasks at positions ``where``, as `Columns.add` takes them."""
        if self.visit is None:
            now = array("d", [self.now]) * len(where)
            return now, now
        known = self.visit.times.positions
        numbers = where if known is None else [bisect_left(known, p) for p in where]
        first, count = numbers[0], len(numbers)
        starts, ends = self.starts, self.ends
        if numbers[-1] - first == count - 1:
            if ends is None:
                return starts[first : first + count + 1], None
            return starts[first : first + count], ends[first : first + count]
        chosen = array("d", [starts[n] for n in numbers])
        return chosen, array("d", [starts[n + 1] for n in numbers] if ends is None else [ends[n] for n in numbers])


def _doubles(column: Any) -> memoryview:
    """A column of doubles, to be looked into without a copy."""
    whole = column if isinstance(column, (bytes, array)) else array("d", column)
    return memoryview(whole).cast("B").cast("d")  # type: ignore[return-value]


def _order(lineage: Lineage) -> Lineage:
    """Lineage order, but that what goes on from several Mergers, or from a split that failed, stands after children."""
    return tuple(1 << 30 if step in (CLOSED, ids.FAILED) else step for step in lineage)


def _first_nodes(plan: Plan) -> dict[int, frozenset[int]]:
    """By frame: the nodes at which the tasks of its spaces come first, so that what they get is what the task is."""
    routed = {t for node in plan.nodes if node.kind == "route" for port in node.ports for t in port.targets}
    found: dict[int, set[int]] = {COPY: routed}
    for frame in plan.frames:
        if frame.node < 0:
            ports = (plan.source,)
        else:
            node = plan.nodes[frame.node]
            ports = (*node.ports, *([node.failures] if node.failures is not None else []))  # type: ignore[assignment]
            if frame.kind == "branch":
                ports = tuple(p for p in ports if p.index == frame.port)  # type: ignore[assignment]
        found[frame.index] = {t for port in ports for t in port.targets}
    return {frame: frozenset(nodes) for frame, nodes in found.items()}


def id_of(lineage: Lineage, *, aggregate: bool = False) -> str:
    """The trace id of a task: its source task's number, then frame and number of each split and branch.

    Made of the task's place in source and graph alone, so that it is the same in each run.
    """
    root = lineage[0]
    first = f"{root >> 40:x}w{root & (1 << 40) - 1:x}" if aggregate else f"{root:x}"
    steps = zip(lineage[1::2], lineage[2::2], strict=True)
    return first + "".join(f".{_FRAMES.get(frame) or f'{frame:x}'}-{number:x}" for frame, number in steps)


def root_of(trace_id: str) -> tuple[int, bool] | None:
    """The number of the source task (or aggregate, True) that a trace id names; None where it names none."""
    match = _ID.fullmatch(trace_id)
    if match is None:
        return None
    if match[1] is not None:
        return int(match[1], 16) << 40 | int(match[2], 16), True
    return int(match[2], 16), False
