"""Recording: what the scheduler has decided, as entries of a journal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dagflow.core import commands as do
from dagflow.core.ids import Segment, count_of, take
from dagflow.core.inbox import JOURNAL
from dagflow.journal.entries import (
    ALOST,
    END,
    FAIL,
    HANDLED,
    LEASED,
    LOST,
    MISS,
    ROOTS,
    SPLIT,
    TRIED,
    WINDOW,
    Entry,
    Out,
    Seg,
    seg_of,
)
from dagflow.journal.parts import ranges_of, roots_of
from dagflow.journal.places import BLOCK_BITS
from dagflow.work.codec import open_values, seal
from dagflow.work.outcome import pack_error
from dagflow.work.values import Sealed, Values

if TYPE_CHECKING:
    from dagflow.core.envelope import Lease
    from dagflow.core.job import Answer, Produced
    from dagflow.graph.plan import Plan
    from dagflow.journal.block import Block
    from dagflow.journal.book import Book
    from dagflow.journal.dropping import Dropping
    from dagflow.journal.places import Places, Spot


class Recorder:
    """Turns notes and facts into entries. ``nodes``: the journal's numbers of the plan's nodes.

    ``here``: nodes whose functions run in the driver's own process, where a task can kill it.
    """

    def __init__(
        self, book: Book, plan: Plan, places: Places, dropping: Dropping, nodes: list[int], here: set[int], run: int
    ) -> None:
        self.book, self.plan, self.places, self.dropping = book, plan, places, dropping
        self.nodes, self.here, self.run = nodes, here, run
        self.unkept: set[tuple[int, int, tuple[int, ...], int]] = set()
        self.unkept_roots: set[int] = set()
        self.worked: set[int] = set()
        """Nodes at which something has ended in this run that the journal did not know."""
        self.ended: Callable[[Block], None] = lambda block: None
        self.reused = 0
        self.on_the_way: set[int] = set()
        """Windows from before, merged again, of which something is on its way."""
        self._windows: dict[int, list[Segment]] = {}
        self._last_failure: tuple[Block, list[Entry], int] | None = None
        self._looked_at: tuple[Block, list[Entry], int, int] | None = None
        self._takes = {
            do.Settled: self._settled,
            do.TaskFailed: self._failed,
            do.TasksEnded: self._ended,
            do.Lost: self._lost,
            do.AggregateLost: self._aggregate_lost,
            do.Tried: self._tried,
            do.Leased: self._leased,
            do.Fired: self._fired,
            do.AggregatesEnded: self._aggregates_ended,
        }

    def take(self, out: Sequence[do.Out]) -> None:
        """Put what was decided into this turn."""
        ended: list[do.RootsEnded] = []
        for item in out:
            take_in: Any = self._takes.get(type(item))
            if take_in is not None:
                take_in(item)
            elif type(item) is do.RootsEnded:
                ended.append(item)
        self._looked()
        for fact in ended:  # when it is known what was done for them
            self._roots_ended(fact)

    # -- ends -----------------------------------------------------------------------------------------

    def _settled(self, fact: do.Settled) -> None:
        lease, answer = fact.lease, fact.answer
        plan = self.plan.nodes[fact.node]
        merge = lease.envelopes[0].kind == "merge"
        done: Sequence[int] = fact.ended
        if merge and answer.states:
            done = [p for p in done if p not in (answer.states or {})]
        if answer.dropped:
            done = sorted({*done, *answer.dropped})
        unkept: set[int] = set()
        if lease.worker != JOURNAL:
            if done or answer.outputs:
                self.worked.add(fact.node)
                unkept = self._split(fact, done) if plan.kind == "split" else self._end(fact, done)
            if merge:
                self._windows_ended(fact.node, lease, done)
        if unkept:  # they are done again when the run is resumed, and need what they were given
            done = [p for p in done if p not in unkept]
        if merge:
            self._members_used(lease, answer, done)
        else:
            self.dropping.used_by(lease, done)

    def _end(self, fact: do.Settled, done: Sequence[int]) -> set[int]:
        """Ends on record; gives the positions of those whose values cannot be."""
        lease, answer, node = fact.lease, fact.answer, fact.node
        outs, bad = self._sealed(node, answer.outputs, lease.count if len(done) == lease.count else None, done)
        if bad:
            self._not_kept(node, take(lease.segments, sorted(bad)))
            done = [p for p in done if p not in bad]
        whole = len(done) == lease.count
        segments = lease.segments if whole else take(lease.segments, list(done))
        odd = self._odd(lease, answer, done)
        number = self.nodes[node]
        groups = _by_block(self.places.locate(segments))
        place = None if whole else {position: at for at, position in enumerate(done)}
        shared = len(groups) > 1
        kept = [
            (produced, self._data(node, produced, data, shared=shared), _placed(positions, place))
            for produced, data, positions in outs
        ]
        for block, segs, low, high in groups:
            given: list[Out] = []
            for produced, data, positions in kept:
                if positions is None:
                    given.append((produced.port, low, high - low, data, None))
                    continue
                first, last = bisect_left(positions, low), bisect_left(positions, high)
                if last > first:
                    here = None if last - first == high - low else [p - low for p in positions[first:last]]
                    given.append((produced.port, first, last - first, data, here))
            self._add(block, (END, number, segs, given, _odd_part(odd, low, high)))
        return bad

    def _data(self, node: int, produced: Produced, data: Any, *, shared: bool) -> Any:
        if data is None:
            return None
        kept = self.book.keep(data.data, data.count, shared=shared)
        self.dropping.made(node, produced.port, produced.payload, kept)
        return kept

    def _sealed(
        self, node: int, outputs: list[Produced], whole: int | None, done: Sequence[int]
    ) -> tuple[list[tuple[Produced, Any, Sequence[int] | None]], set[int]]:
        """Outputs sealed: what to keep of each, and the positions it is of (None: all); and what cannot be kept."""
        found: list[tuple[Produced, Any, Sequence[int] | None]] = []
        bad: set[int] = set()
        for produced in outputs:
            if self.plan.nodes[node].ports[produced.port].drop:
                found.append((produced, None, produced.positions if produced.positions is not None else list(done)))
                continue
            sealed, refused = _seal(produced.payload)
            positions = produced.positions
            if refused:
                at = positions if positions is not None else done
                bad.update(at[p] for p in refused)
            found.append((produced, sealed, positions if positions is None or len(positions) != whole else None))
        if bad:
            found = [_without(entry, bad, done) for entry in found]
        return found, bad

    def _odd(self, lease: Lease, answer: Answer, done: Sequence[int]) -> dict[str, Any] | None:
        odd: dict[str, Any] = {}
        attempt = lease.envelopes[0].attempt
        if attempt:
            odd["a"] = attempt
        if answer.dropped or answer.copies:
            place = {position: at for at, position in enumerate(done)}
            if answer.dropped:
                odd["d"] = sorted(place[p] for p in answer.dropped if p in place)
            if answer.copies:
                odd["c"] = {place[p]: n for p, n in answer.copies.items() if p in place}
        if lease.envelopes[0].groups is not None:
            groups = [group for e in lease.envelopes for group in e.groups or ()]
            odd["m"] = [groups[p].fold.members if groups[p].fold is not None else groups[p].members for p in done]
        if lease.envelopes[0].keys is not None:
            keys = [key for e in lease.envelopes for key in e.keys or ()]
            odd["k"] = keys if len(done) == lease.count else [keys[p] for p in done]
        return odd or None

    # -- splits ---------------------------------------------------------------------------------------

    def _split(self, fact: do.Settled, done: Sequence[int]) -> set[int]:
        """Children on record; gives the positions of tasks that have some which cannot be."""
        lease, answer, node = fact.lease, fact.answer, fact.node
        parents = {p for produced in answer.outputs for p, _, _ in produced.children or ()}
        involved = sorted(parents.union(done))
        segments = lease.segments if len(involved) == lease.count else take(lease.segments, involved)
        spots = list(self.places.locate(segments))
        lame = self._lame(node, spots, involved)
        kept: list[tuple[Produced, Any]] = []
        for produced in answer.outputs:
            mine = {p for p, _, _ in produced.children or ()}
            sealed, refused = _seal(produced.payload)
            if refused or mine & lame:
                # Children that cannot be kept would leave a gap: nothing of these tasks is kept from here on.
                lame |= mine
                self._not_kept(node, take(lease.segments, sorted(mine)))
            else:
                kept.append((produced, sealed))
        groups = _by_block(iter(spots))
        place = {position: at for at, position in enumerate(involved)}
        ended = sorted(place[p] for p in done if p not in lame)
        dropped = sorted(place[p] for p in answer.dropped if p not in lame)
        attempt = lease.envelopes[0].attempt
        stored = [(produced, self._data(node, produced, sealed, shared=len(groups) > 1)) for produced, sealed in kept]
        gone = {place[p] for p in lame}
        for block, segs, low, high in groups:
            outs: list[Out] = []
            for produced, data in stored:
                outs.extend(_children_of(produced, data, place, low, high))
            here = [p - low for p in ended if low <= p < high]
            odd: dict[str, Any] = {}
            if drops := [p - low for p in dropped if low <= p < high]:
                odd["d"] = drops
            if attempt:
                odd["a"] = attempt
            if gone & set(range(low, high)) and not outs and not here:
                continue
            self._add(block, (SPLIT, self.nodes[node], segs, outs, here, odd or None))
        return lame

    def _lame(self, node: int, spots: list[Spot], involved: list[int]) -> set[int]:
        """Tasks of which something could not be kept before."""
        if not self.unkept:
            return set()
        number = self.nodes[node]
        return {
            involved[at]
            for spot in spots
            for at, last in enumerate(spot.numbers, spot.low)
            if (number, spot.shape, spot.prefix, last) in self.unkept
        }

    # -- merges ---------------------------------------------------------------------------------------

    def _members_used(self, lease: Lease, answer: Answer, done: Sequence[int]) -> None:
        ended = set(done)
        for position in range(lease.count):
            envelope, at = lease.find(position)
            assert envelope.groups is not None
            group = envelope.groups[at]
            if position in ended:
                well = not group.lost and not self._has_dead_letter(lease, position)
                if group.fold is not None:
                    self.dropping.fold_ended(group.fold, well=well)
                if well:
                    self.dropping.used(group.pieces)
            elif position in (answer.states or {}):
                self.dropping.folded(group.fold, group.pieces)

    def _has_dead_letter(self, lease: Lease, position: int) -> bool:
        spot = next(self.places.locate(take(lease.segments, [position])))
        if spot.block < 0:
            return False
        block = self.book.block(spot.block)
        root = spot.prefix[0] if spot.prefix else spot.numbers[0]
        return bool(block.failed >> (root - block.first) & 1)

    def _fired(self, fact: do.Fired) -> None:
        self._windows[fact.index] = fact.members

    def _aggregates_ended(self, fact: do.AggregatesEnded) -> None:
        self.on_the_way.difference_update(fact.indices)

    def _windows_ended(self, node: int, lease: Lease, done: Sequence[int]) -> None:
        if not self._windows:
            return
        for space, indices in take(lease.segments, list(done)):
            if space.aggregate and space.parent is None:
                for index in indices:
                    self._window_ended(node, index)

    def _window_ended(self, node: int, index: int) -> None:
        """A window has been merged, or has failed to: its members belong to it from now on."""
        members = self._windows.pop(index, None)
        if members is None:
            return
        number = index & ((1 << 40) - 1)
        name = self.plan.nodes[node].name
        self.book.windows[name] = max(self.book.windows.get(name, 0), number + 1)
        total = count_of(members)
        for block, segs, _, _ in _by_block(self.places.locate(members)):
            self._add(block, (WINDOW, self.nodes[node], number, segs, total))

    # -- failures -------------------------------------------------------------------------------------

    def _failed(self, fact: do.TaskFailed) -> None:
        self._looked()
        self._last_failure = None
        if fact.retry_in is not None:
            return
        spot = next(self.places.locate([(fact.space, (fact.index,))]))
        seg = seg_of(spot.shape, spot.prefix, spot.numbers)
        node, last = self.nodes[fact.node], spot.numbers[0]
        who = (node, spot.shape, spot.prefix)
        block = self.book.block(spot.block)
        missing = fact.error.kind == "missing"
        if block.old:
            index = block.index()
            if last in (index.missing if missing else index.fails).get(who, ()):
                self._look_again(block, (node, *seg[:2], last), handled=fact.handled)
                return
        self.worked.add(fact.node)
        error = pack_error(fact.error)
        flags = HANDLED if fact.handled else 0
        kind = MISS if missing else FAIL
        inputs = self.dropping.references(fact.given) if not missing else []
        if fact.node not in self.plan.source.targets or spot.shape:
            inputs = [where for where in inputs if where[0] is not None]  # what None stands for is a source task
        self._add(spot.block, (kind, node, seg, error, fact.attempt, fact.members, inputs, flags))
        self._last_failure = (block, block.pending, len(block.pending) - 1)
        if fact.space.aggregate and fact.space.parent is None:
            self._window_ended(fact.node, fact.index)

    def _look_again(self, block: Block, task: tuple[int, int, tuple[int, ...], int], *, handled: bool) -> None:
        """A failure is known from another version of the graph: who takes it up may have changed."""
        found = block.failures(before=self.book.version).get(task)
        if found is not None:
            entries, at = found
            *rest, flags = entries[at]
            entries[at] = (*rest, HANDLED if handled else 0)
            self._last_failure = (block, entries, at)
            self._looked_at = (block, entries, at, flags)

    def _looked(self) -> None:
        """It is known who took it up."""
        if self._looked_at is not None:
            block, entries, at, flags = self._looked_at
            self._looked_at = None
            if entries[at][-1] != flags:
                block.failures_changed()
                self.book.touch(block)

    def _lost(self, fact: do.Lost) -> None:
        """Nothing took the last failure up."""
        del fact
        if self._last_failure is not None:
            _, entries, at = self._last_failure
            *rest, flags = entries[at]
            entries[at] = (*rest, flags | LOST)

    def _aggregate_lost(self, fact: do.AggregateLost) -> None:
        self._lost(fact)  # type: ignore[arg-type]
        if self._last_failure is None:
            return
        block, _, _ = self._last_failure
        if self._looked_at is not None and self._looked_at[-1] & LOST:
            return  # that is known
        ranges = sorted({n for _, indices in fact.members for n in self.places.numbering.numbers(indices)})
        self._add(block.number, (ALOST, self.nodes[fact.node], pack_error(fact.error), ranges_of(ranges)))

    def _tried(self, fact: do.Tried) -> None:
        spot = next(self.places.locate([(fact.space, (fact.index,))]))
        seg = seg_of(spot.shape, spot.prefix, spot.numbers)
        self._add(spot.block, (TRIED, self.nodes[fact.node], seg, fact.attempt, fact.crashes))

    # -- the rest -------------------------------------------------------------------------------------

    def _ended(self, fact: do.TasksEnded) -> None:
        """Duplicates. Those that the journal has told of are used up when the answer that told of them is settled."""
        if fact.status != "duplicate" or fact.again:
            return
        self.dropping.used(fact.inputs)
        for block, segs, low, high in _by_block(self.places.locate(fact.segments)):
            self._add(block, (END, self.nodes[fact.node], segs, [], {"u": list(range(high - low))}))

    def _leased(self, fact: do.Leased) -> None:
        if fact.node in self.here:
            for block, segs, _, _ in _by_block(self.places.locate(fact.segments)):
                self._add(block, (LEASED, self.run, self.nodes[fact.node], segs))

    def _roots_ended(self, fact: do.RootsEnded) -> None:
        numbers = self.places.numbering.numbers(fact.indices)
        for spot_low, spot_high, number in _blocks_of(numbers):
            block = self.book.block(number)
            part = numbers[spot_low:spot_high]
            block.live -= len(part)
            ranges = [(part.start, part.stop)] if isinstance(part, range) else ranges_of(part)
            roots = block.bits(ranges)
            self.reused += (block.before & roots).bit_count()
            if block.ended & roots or self.unkept_roots:
                fresh = (n for n in part if not block.ended >> (n - block.first) & 1 and n not in self.unkept_roots)
                ranges = ranges_of(fresh)
            if ranges:
                self._add(number, (ROOTS, ranges))
            if not block.live:
                self.ended(block)

    def _not_kept(self, node: int, segments: list[Segment]) -> None:
        """Values that cannot be pickled: what made them is done again when the run is resumed."""
        number = self.nodes[node]
        for spot in self.places.locate(segments):
            for last in spot.numbers:
                self.unkept.add((number, spot.shape, spot.prefix, last))
                self.unkept_roots.add(spot.prefix[0] if spot.prefix else last)

    def _add(self, number: int, entry: tuple[Any, ...]) -> None:
        block = self.book.add(number, entry)
        if block.before and entry[0] in (END, SPLIT, FAIL) and number >= 0:
            segs = (entry[2],) if entry[0] == FAIL else entry[2]
            block.before &= ~roots_of(segs, block.first)


def _by_block(spots: Iterator[Spot]) -> list[tuple[int, list[Seg], int, int]]:
    """Neighbouring spots of one block together: block, segs, from position, to position."""
    found: list[tuple[int, list[Seg], int, int]] = []
    for block, shape, prefix, numbers, low, high in spots:
        seg = seg_of(shape, prefix, numbers)
        if found and found[-1][0] == block:
            _, segs, first, _ = found[-1]
            segs.append(seg)
            found[-1] = (block, segs, first, high)
        else:
            found.append((block, [seg], low, high))
    return found


def _placed(positions: Sequence[int] | None, place: dict[int, int] | None) -> Sequence[int] | None:
    return positions if place is None or positions is None else [place[p] for p in positions]


def _odd_part(odd: dict[str, Any] | None, low: int, high: int) -> dict[str, Any] | None:
    if odd is None:
        return None
    part: dict[str, Any] = {}
    if "a" in odd:
        part["a"] = odd["a"]
    if drops := [p - low for p in odd.get("d", ()) if low <= p < high]:
        part["d"] = drops
    if copies := {p - low: n for p, n in odd.get("c", {}).items() if low <= p < high}:
        part["c"] = copies
    for name in "mk":
        if name in odd:
            part[name] = odd[name][low:high]
    return part or None


def _children_of(produced: Produced, data: Any, place: dict[int, int], low: int, high: int) -> Iterator[Out]:
    """Children whose parents lie at ``low`` to ``high``: as outs, each of neighbouring values."""
    runs: list[tuple[int, int, int]] = []
    start = offset = 0
    for position, first, count in produced.children or ():
        at = place[position]
        if low <= at < high:
            if not runs:
                start = offset
            runs.append((at - low, first, count))
        elif runs:
            yield (produced.port, start, sum(n for _, _, n in runs), data, runs)
            runs = []
        offset += count
    if runs:
        yield (produced.port, start, sum(n for _, _, n in runs), data, runs)


def _seal(payload: Any) -> tuple[Sealed, list[int]]:
    """A payload as bytes, and which of its values cannot be."""
    if isinstance(payload, Values):
        sealed, bad = seal(payload.values, prove=True)
        return sealed, [position for position, _ in bad]
    assert isinstance(payload, Sealed)
    return payload, []


def _without(entry: tuple[Produced, Any, Sequence[int] | None], bad: set[int], done: Sequence[int]) -> Any:
    """An output without the tasks at ``bad``, sealed anew."""
    produced, sealed, _ = entry
    at = produced.positions if produced.positions is not None else list(done)
    kept = [p for p in at if p not in bad]
    if sealed is None:
        return produced, None, kept
    values = [v for v, p in zip(open_values(produced.payload), at, strict=True) if p not in bad]
    again, refused = seal(values, prove=True)
    assert not refused
    return produced, again, kept


def _blocks_of(numbers: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    low = 0
    count = len(numbers)
    while low < count:
        block = numbers[low] >> BLOCK_BITS
        high = low + 1
        if isinstance(numbers, range):
            high = min(count, low + ((block + 1) << BLOCK_BITS) - numbers[low])
        else:
            while high < count and numbers[high] >> BLOCK_BITS == block:
                high += 1
        yield low, high, block
        low = high
