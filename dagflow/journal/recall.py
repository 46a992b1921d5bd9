"""Recall: what a journal knows of tasks that are asked about, as a worker would have answered it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import take
from dagflow.core.inbox import JOURNAL
from dagflow.core.payload import ErrorRecord, FailurePayload, Group
from dagflow.errors import JournalError
from dagflow.journal.index import Children, Index, Known, Who
from dagflow.journal.places import AGGREGATE_BITS
from dagflow.work.outcome import capture, unpack_error
from dagflow.work.values import Sealed

if TYPE_CHECKING:
    from dagflow.core.job import Job
    from dagflow.graph.plan import NodePlan, Plan
    from dagflow.journal.book import Book
    from dagflow.journal.dropping import Dropping, Uses
    from dagflow.journal.entries import Out
    from dagflow.journal.places import Places, Spot

OUTPUTS_MOST: Final = 64
"""So many payloads of children are given before the core is asked whether there is room for more."""


class Stored(Sealed):
    """Values that lie in the journal: read only if a worker needs them."""

    __slots__ = ("kept",)

    def __init__(self, kept: Any, count: int, size: int) -> None:
        super().__init__(b"", count)
        self.kept = kept
        self.size = size

    def fill(self, data: bytes) -> None:
        """Take in the values, now that somebody needs them."""
        self._data = data


class _Answering:
    """An answer being put together from many entries.

    ``early``: positions of folds whose last member has not come: what came of them is known, but not told yet.
    """

    def __init__(self, token: int, groups: Sequence[Group] = ()) -> None:
        self.answer = ev.Answer(JOURNAL, token, ended=[])
        self.early = {at for at, group in enumerate(groups) if not group.final}
        self.event = ev.Recalled(self.answer)
        self.values: dict[tuple[int, int], tuple[Known, list[tuple[int, int]]]] = {}


class Recaller:
    """Answers `Recall`s. ``nodes``: the journal's numbers of the plan's nodes; ``runs``: those that ended uncleanly."""

    def __init__(
        self,
        book: Book,
        plan: Plan,
        places: Places,
        dropping: Dropping,
        nodes: list[int],
        runs: set[int],
    ) -> None:
        self.book, self.plan, self.places, self.dropping = book, plan, places, dropping
        self.nodes, self.runs = nodes, runs
        self.lost_inputs: set[int] = set()
        """Source tasks of which the journal has lost the value."""
        self.run_holds: Callable[[int], bool] = lambda node: False
        self.windows: dict[tuple[int, int], list[Any]] = {}
        self.news: list[ev.Event] = []
        self.on_the_way: set[int] = set()
        self._going_on: dict[int, Iterator[ev.Recalled]] = {}
        self._uses: dict[int, Uses] = {}
        self._suspects: dict[int, set[tuple[int, int, tuple[int, ...], int]]] = {}

    # -- answering ------------------------------------------------------------------------------------

    def recall(self, asked: do.Recall) -> list[ev.Event]:
        """The answer to a question, and what follows from it."""
        node = self.plan.nodes[asked.node]
        if node.kind == "split":
            self._going_on[asked.token] = self._split(asked, node)
            return self.go_on(asked.token)
        answering = _Answering(asked.token, asked.groups)
        if asked.kind == "member":
            self._members(asked, answering)
        elif asked.kind == "merge" and node.merge is not None and node.merge.closing == "run":
            self._of_run(asked, node, answering)
        else:
            self._ends(asked, node, answering)
        self._give_values(node, answering)
        news, self.news = self.news, []
        return [answering.event, *news]

    def go_on(self, token: int) -> list[ev.Event]:
        """There is room for more children of a split."""
        going = self._going_on.get(token)
        if going is None:
            return []
        event = next(going)
        if event.answer.last:
            del self._going_on[token]
        return [event]

    def _ends(self, asked: do.Recall, node: NodePlan, answering: _Answering) -> None:
        answer = answering.answer
        assert answer.ended is not None
        number = self.nodes[node.index]
        entry = node.index in self.plan.source.targets
        for spot in self.places.locate(asked.segments):
            index = self._index(spot.block)
            if index is None:
                answer.returned.extend(range(spot.low, spot.high))
                continue
            who = (number, spot.shape, spot.prefix)
            if entry and self.lost_inputs:
                spot = self._refuse_lost(spot, answering)
            self._spot(index, who, spot, answering)
        answer.returned.sort()
        answer.ended.sort()

    def _spot(self, index: Index, who: Who, spot: Spot, answering: _Answering) -> None:
        """What is known of the tasks of one spot."""
        answer = answering.answer
        ends, fails = index.ends.get(who), index.fails.get(who)
        numbers = spot.numbers
        found: set[int] = set()
        if ends is not None:
            for low, high in _runs(numbers):
                for first, last, known, position in ends.meeting(numbers[low], numbers[high - 1] + 1):
                    at = spot.low + low + first - numbers[low]
                    self._known(known, range(at, at + last - first), position, answering)
                    found.update(range(at, at + last - first))
        if len(found) == len(numbers):
            return
        for at, number in enumerate(numbers, spot.low):
            if at in found:
                continue
            if fails is not None and number in fails:
                if at in answering.early:
                    assert answer.ended is not None
                    answer.ended.append(at)
                    continue
                error, attempts = fails[number]
                answer.failures.append((at, _final(unpack_error(error), attempts), False))
            else:
                answer.returned.append(at)
                self._tries(index, who, number, at, spot.block, answering)

    def _known(self, known: Known, positions: range, start: int, answering: _Answering) -> None:
        """Tasks at ``positions`` of the question are those at ``start`` and on of an entry."""
        ended = answering.answer.ended
        assert ended is not None
        if answering.early:
            ended.extend(p for p in positions if p in answering.early)
            for at, position in enumerate(positions, start):
                if position not in answering.early:
                    self._known_one(known, position, at, answering)
            return
        answering.event.retried += known.retried * len(positions)
        if known.simple:
            ended.extend(positions)
            low = known.outs[0][1] + start
            answering.values.setdefault((id(known), 0), (known, []))[1].extend(
                zip(positions, range(low, low + len(positions)), strict=True)
            )
            return
        for at, position in enumerate(positions, start):
            self._known_one(known, position, at, answering)

    def _known_one(self, known: Known, position: int, at: int, answering: _Answering) -> None:
        answer = answering.answer
        assert answer.ended is not None
        if at in known.duplicates:
            answering.event.duplicates.append(position)
            return
        if at in known.drops:
            answer.dropped.append(position)
            return
        answer.ended.append(position)
        if at in known.copies:
            answer.copies[position] = known.copies[at]
        for out, offset in known.values(at):
            answering.values.setdefault((id(known), out), (known, []))[1].append((position, offset))

    def _tries(self, index: Index, who: Who, number: int, at: int, block: int, answering: _Answering) -> None:
        tried = index.tried.get(who, {}).get(number)
        suspect = (*who, number) in self._suspects_of(block)
        if tried is not None or suspect:
            attempt, crashes = tried or (0, 0)
            answering.event.tries[at] = ev.Tries(attempt, crashes, suspect)

    def _suspects_of(self, block: int) -> set[tuple[int, int, tuple[int, ...], int]]:
        found = self._suspects.get(block)
        if found is None:
            index = self._index(block)
            found = index.suspects(self.runs) if index is not None and self.runs else set()
            self._suspects[block] = found
        return found

    def _index(self, number: int) -> Index | None:
        """What was known of a block before this run."""
        block = self.book.block(number)
        return block.index() if block.old else None

    def forget(self, number: int) -> None:
        """A block has left the memory."""
        self._suspects.pop(number, None)

    def _refuse_lost(self, spot: Spot, answering: _Answering) -> Spot:
        """Source tasks of which the value is lost can only fail."""
        kept = []
        for at, number in enumerate(spot.numbers, spot.low):
            root = spot.prefix[0] if spot.prefix else number
            if root in self.lost_inputs:
                text = (
                    f"what the journal {self.book.where} has of source task {root} is damaged; give it again to redo it"
                )
                record = capture(JournalError(text), seal=True)
                answering.answer.failures.append((at, record, False))
            else:
                kept.append(at)
        if len(kept) == len(spot.numbers):
            return spot
        answering.answer.returned.extend(kept)
        return spot._replace(numbers=(), high=spot.low)

    # -- values ---------------------------------------------------------------------------------------

    def _give_values(self, node: NodePlan, answering: _Answering) -> None:
        """The payloads of what has ended, each for as many neighbouring values as go together."""
        for (_, at), (known, pairs) in answering.values.items():
            out = known.outs[at]
            payload = self._payload(node, out)
            for low, high in _steps(pairs):
                positions = [position for position, _ in pairs[low:high]]
                answering.answer.outputs.append(ev.Produced(out[0], payload, positions, low=pairs[low][1]))

    def _payload(self, node: NodePlan, out: Out) -> Sealed:
        port, low, count, data, _ = out
        if data is None:
            return Stored(None, low + count, 0)
        if isinstance(data, bytes):
            here = Sealed(data, low + count)
            self.dropping.made(node.index, port, here, data)
            return here
        number, size, values = data
        if node.ports[port].exit:
            return Sealed(self._bytes(data), values)
        payload = Stored(data, values, size)
        uses = self._uses.get(number)
        made = self.dropping.made(node.index, port, payload, data, uses)
        if made is not None and uses is None:
            self._uses[number] = made
        return payload

    def _bytes(self, data: Any) -> bytes:
        found = self.book.data(data)
        if found is None:
            raise JournalError(
                f"the journal {self.book.where} is damaged: values that it should hold are gone; restore it from a copy"
            )
        return found

    def fill(self, job: Job) -> None:
        """Read the values that a worker is going to need."""
        for payload, _, _ in job.pieces:
            self._fill(payload)
        for group in job.groups:
            for payload, _, _ in group.pieces:
                self._fill(payload)

    def _fill(self, payload: Any) -> None:
        if isinstance(payload, Stored):
            if not payload.data:
                payload.fill(self._bytes(payload.kept))
        elif isinstance(payload, FailurePayload):
            for failed in payload.items:
                for inner, _, _ in failed.pieces:
                    self._fill(inner)

    # -- splits ---------------------------------------------------------------------------------------

    def _split(self, asked: do.Recall, node: NodePlan) -> Iterator[ev.Recalled]:
        """Children of each task, in their order, as many at a time as there is room for."""
        number = self.nodes[node.index]
        answering = _Answering(asked.token)
        batch = _Batch(self, node, answering.answer)
        for spot in self.places.locate(asked.segments):
            index = self._index(spot.block)
            who = (number, spot.shape, spot.prefix)
            for at, last in enumerate(spot.numbers, spot.low):
                answer = answering.answer
                if self.lost_inputs and node.index in self.plan.source.targets and last in self.lost_inputs:
                    self._refuse_lost(spot._replace(numbers=(last,), low=at, high=at + 1), answering)
                    continue
                known = index.splits.get(who, {}).get(last) if index is not None else None
                fails = index.fails.get(who, {}) if index is not None else {}
                ends = index.ends.get(who) if index is not None else None
                if known is not None:
                    known.runs.sort(key=_start)
                    for start, count, out, offset in known.runs:
                        batch.add(at, start, count, out, offset)
                        if batch.full():
                            batch.flush()
                            answer.last = False
                            yield answering.event
                            answering = _Answering(asked.token)
                            batch.answer = answer = answering.answer
                self._split_end(known, fails.get(last), ends, at, last, answering)
                if at in answer.returned and index is not None:
                    self._tries(index, who, last, at, spot.block, answering)
        batch.flush()
        yield answering.event

    def _split_end(
        self, known: Children | None, failed: Any, ends: Any, at: int, last: int, answering: _Answering
    ) -> None:
        answer = answering.answer
        assert answer.ended is not None
        if failed is not None:
            answer.failures.append((at, _final(unpack_error(failed[0]), failed[1]), False))
        elif known is not None and known.dropped:
            answer.dropped.append(at)
        elif known is not None and known.ended:
            answer.ended.append(at)
        elif ends is not None and any(True for _ in ends.meeting(last, last + 1)):
            answering.event.duplicates.append(at)
        else:
            answer.returned.append(at)

    # -- merges ---------------------------------------------------------------------------------------

    def _of_run(self, asked: do.Recall, node: NodePlan, answering: _Answering) -> None:
        """The merge of the whole run holds if nothing before it was done in this run, and nothing has come or gone."""
        if not self.run_holds(node.index):
            answering.answer.returned.extend(range(len(asked.segments)))
            return
        self._ends(asked, node, answering)

    def _members(self, asked: do.Recall, answering: _Answering) -> None:
        """Which tasks are members of windows that have been merged; and which windows that makes complete."""
        answer = answering.answer
        assert answer.ended is not None
        number = self.nodes[asked.node]
        for spot in self.places.locate(asked.segments):
            index = self._index(spot.block)
            windows = index.windows.get((number, spot.shape, spot.prefix)) if index is not None else None
            found: set[int] = set()
            if windows is not None:
                for low, high in _runs(spot.numbers):
                    for first, last, entry, _ in windows.meeting(spot.numbers[low], spot.numbers[high - 1] + 1):
                        at = spot.low + low + first - spot.numbers[low]
                        positions = list(range(at, at + last - first))
                        found.update(positions)
                        if not self._merged_well(asked.node, entry[2]):
                            answering.event.unmerged.setdefault(entry[2], []).extend(positions)
                        self._arrived(asked, entry, positions)
            for at in range(spot.low, spot.high):
                (answer.ended if at in found else answer.returned).append(at)

    def _merged_well(self, node: int, window: int) -> bool:
        """Whether it is known what the merge of a window gave."""
        block, shape = self.places.aggregate(self.plan.nodes[node].name, window)
        index = self._index(block)
        ends = index.ends.get((self.nodes[node], shape, ())) if index is not None else None
        return ends is not None and any(True for _ in ends.meeting(window, window + 1))

    def _arrived(self, asked: do.Recall, entry: Any, positions: list[int]) -> None:
        """Members of a known window have come; when all have, it is merged again."""
        _, _, window, _, total = entry
        found = self.windows.setdefault((asked.node, window), [total, []])
        found[0] -= len(positions)
        for space, indices in take(asked.segments, positions):
            roots = space.root_indices(indices)
            found[1].append((_root_of(space), roots))
        if not found[0]:
            del self.windows[asked.node, window]
            self.news.append(ev.WindowFilled(asked.node, window, total, found[1]))
            self.on_the_way.add(asked.node << AGGREGATE_BITS | window)


class _Batch:
    """Children gathered into as few payloads as they lie in."""

    def __init__(self, recaller: Recaller, node: NodePlan, answer: ev.Answer) -> None:
        self.recaller, self.node, self.answer = recaller, node, answer
        self.out: Out | None = None
        self.low = self.next = 0
        self.runs: list[tuple[int, int, int]] = []

    def add(self, position: int, start: int, count: int, out: Out, offset: int) -> None:
        """Children ``start`` and on of the task at ``position``: values ``offset`` and on of an out."""
        if self.out is not out or offset != self.next:
            self.flush()
            self.out, self.low = out, offset
        self.runs.append((position, start, count))
        self.next = offset + count

    def full(self) -> bool:
        """Whether the core should be asked before more is given."""
        return len(self.answer.outputs) >= OUTPUTS_MOST

    def flush(self) -> None:
        """Put what was gathered into the answer."""
        if self.out is not None and self.runs:
            payload = self.recaller._payload(self.node, self.out)
            self.answer.outputs.append(ev.Produced(self.out[0], payload, None, self.runs, low=self.low))
        self.out, self.runs = None, []


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Places of neighbouring numbers."""
    if isinstance(numbers, range):
        if len(numbers):
            yield 0, len(numbers)
        return
    low = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield low, at
            low = at


def _steps(pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Places of neighbouring values whose positions rise."""
    low = 0
    for at in range(1, len(pairs) + 1):
        if at == len(pairs) or pairs[at][1] != pairs[at - 1][1] + 1 or pairs[at][0] <= pairs[at - 1][0]:
            yield low, at
            low = at


def _start(run: tuple[int, int, Any, int]) -> int:
    return run[0]


def _root_of(space: Any) -> Any:
    while space.parent is not None:
        space = space.parent
    return space


def _final(error: ErrorRecord, attempts: int) -> ErrorRecord:
    return ErrorRecord(
        error.kind, error.type, error.message, error.traceback, error.sealed, error.causes, error.node, attempts
    )
