"""Keeper: a journal as the ring uses it. It numbers what is read, records what is decided, and recalls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.journal.book import Book
from dagflow.journal.dropping import Dropping
from dagflow.journal.entries import END
from dagflow.journal.places import BLOCK_BITS, Numbering, Places
from dagflow.journal.recall import Recaller
from dagflow.journal.recording import Recorder
from dagflow.journal.retry import Retry, dead_nodes
from dagflow.journal.source import Remembered, Sources
from dagflow.journal.tidying import Tidier

if TYPE_CHECKING:
    from dagflow.core.job import Job
    from dagflow.graph.plan import Plan
    from dagflow.journal.block import Block
    from dagflow.journal.versions import Versions
    from dagflow.protocols import Journal


class Keeper:
    """One run's journal. `open` first, then `take`, `record`, `recall` as things happen, `close` at the end.

    ``here``: nodes whose functions run in the driver's own process. ``remembered``: the source, where that is the
    journal itself.
    """

    def __init__(
        self,
        room: Journal,
        plan: Plan,
        versions: Versions,
        *,
        durability: str = "process",
        resume: str = "strict",
        retry_failed: bool = False,
        here: set[int] | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        self.plan, self.versions = plan, versions
        self.durability, self.resume, self.retry_failed = durability, resume, retry_failed
        self.here = here or set()
        self.remembered = remembered
        self.book = Book(room)
        self.words: list[str] = []
        self._opened = self._over = self._broken = False

    def open(self) -> ev.Remembered:
        """Open the journal and see what it knows; `JournalError` and `JournalMismatch` come from here."""
        book = self.book
        book.open(durability=self.durability, make=self.remembered is None)
        try:
            return self._open()
        except BaseException:
            book.close()
            raise

    def _open(self) -> ev.Remembered:
        book, plan = self.book, self.plan
        dead = dead_nodes(book, book.all_blocks()) if self.retry_failed else Counter()
        self.nodes = self.versions.settle(book, self.resume, accepted=dead)
        book.forget_all()
        self.words.extend(self.versions.words)
        unclean = {run["number"] for run in book.runs if run["state"] == "running"}
        self.run = len(book.runs) + 1
        self.numbering = Numbering()
        self.places = Places(plan, self.numbering, book.shapes, book.mergers)
        self.dropping = Dropping(book, plan)
        self.recorder = Recorder(book, plan, self.places, self.dropping, self.nodes, self.here, self.run)
        self.recaller = Recaller(book, plan, self.places, self.dropping, self.nodes, unclean)
        self.recaller.run_holds = self._run_holds
        self.recaller.on_the_way = self.recorder.on_the_way
        self.sources = Sources(book, self.numbering)
        self.recaller.lost_inputs = self.sources.lost
        born = [book.graph["nodes"][node.name]["born"] for node in plan.nodes]
        self.tidier = Tidier(book, plan, self.nodes, born, self.dropping)
        self.recorder.ended = self.tidier.ended
        book.check = self._check
        if self.remembered is not None:
            self.remembered.connect(self.sources.known_values())
            self.sources.from_itself = True
        if dead:
            Retry(book, plan, self.nodes).forget(book.all_blocks())
            told = ", ".join(f"{count} at {name!r}" for name, count in sorted(dead.items()))
            self.words.append(f"dead letters driven again: {told}")
        self._before = self._above_run_mergers()
        self._merged = {node for node in self._before if self._has_merged(node)}
        self._recalling = book.known > 0 or bool(self._merged)  # a run of no tasks is merged, too
        for run in book.runs:
            if run["state"] == "running":
                run["state"] = "interrupted"
        book.runs.append({"number": self.run, "state": "running", "started": time.time(), "ended": None})
        book.note_runs()
        remembered = ev.Remembered(self._recalling)
        if self._recalling:
            remembered.seen = self._keys()
            for node in plan.nodes:
                if node.merge is not None and node.merge.closing == "window":
                    remembered.fired[node.index] = book.windows.get(node.name, 0)
            remembered.merged = self._merged
        self._opened = True
        book.commit()
        return remembered

    def _check(self, block: Block) -> None:
        self.tidier.check(block)

    def _keys(self) -> dict[int, set[bytes]]:
        """The deduplication keys of all that has ended, by node."""
        places = {self.nodes[n.index]: n.index for n in self.plan.nodes if n.deduplicate}
        found: dict[int, set[bytes]] = {}
        if not places:
            return found
        for number in self.book.all_blocks():
            for entry in self.book.block(number).entries():
                if entry[0] == END and entry[1] in places and entry[4] and "k" in entry[4]:
                    found.setdefault(places[entry[1]], set()).update(entry[4]["k"])
        return found

    # -- the merge of the whole run -------------------------------------------------------------------

    def _above_run_mergers(self) -> dict[int, set[int]]:
        """For each Merger of the whole run, the nodes that its members come through."""
        found: dict[int, set[int]] = {}
        above: list[set[int]] = [set() for _ in self.plan.nodes]
        for node in self.plan.nodes:
            for port in [*node.ports, *([node.failures] if node.failures is not None else [])]:
                for target in port.targets:
                    above[target] |= above[node.index] | {node.index}
        for node in self.plan.nodes:
            if node.merge is not None and node.merge.closing == "run":
                found[node.index] = above[node.index]
        return found

    def _has_merged(self, node: int) -> bool:
        name = self.plan.nodes[node].name
        if name not in self.book.mergers:
            return False
        index = self.book.block(self.places.aggregate_block(name, 0)).index()
        number = self.nodes[node]
        return any(who[0] == number for who in (*index.ends, *index.fails))

    def _run_holds(self, node: int) -> bool:
        if self.sources.all_known and not self.recorder.worked & self._before[node]:
            return True
        self.tidier.forget_aggregate(self.places.aggregate_block(self.plan.nodes[node].name, 0))
        return False

    # -- what the ring does ---------------------------------------------------------------------------

    def take(self, values: Sequence[Any]) -> int:
        """Number and keep source tasks that were read; how many of them the run may take."""
        taken = 0
        for first, count in self.sources.take(values):
            taken += count
            while count:
                number = first >> BLOCK_BITS
                here = min(count, ((number + 1) << BLOCK_BITS) - first)
                self.book.block(number).live += here
                first, count = first + here, count - here
        return taken

    @property
    def reused(self) -> int:
        """How many source tasks had ended before, and were given again without anything being done for them."""
        return self.recorder.reused if self._opened else 0

    def report(self) -> tuple[str, ...]:
        """What there is to say of the journal, a line each."""
        if not self._opened:
            return ()
        told = f"journal {self.book.where}: {self.reused:,} source tasks given again as they had ended"
        fresh = self.numbering.count - self.reused
        return (f"{told}, {fresh:,} worked on", *self.words, *self.book.damage)

    @property
    def refused(self) -> BaseException | None:
        """Why a source task could not be taken."""
        return self.sources.error

    def record(self, out: Sequence[do.Out]) -> list[ev.Event]:
        """Keep what was decided: when this returns it is on record. Gives what the core must hear of."""
        try:
            self.recorder.take(out)
            self.tidier.tidy()
            self.book.commit()
        except BaseException:
            self._broken = True  # part of this turn may be in memory and not on record: nothing is written any more
            raise
        if self._recalling and not self.sources.more_known and self._nothing_left():
            self._recalling = False
            return [ev.Remembered(False)]
        return []

    def _nothing_left(self) -> bool:
        """Whether nothing that is known is on its way any more."""
        if self.recaller.windows or self.recorder.on_the_way or self._merged:
            return False
        return self.tidier.known_living() == 0

    def recall(self, asked: do.Recall) -> list[ev.Event]:
        """What is known of tasks."""
        return self.recaller.recall(asked)

    def grant(self, token: int) -> list[ev.Event]:
        """There is room for more of a split's children."""
        return self.recaller.go_on(token)

    def hurry(self) -> None:
        """Wait for nothing any more; from any thread."""
        impatient = getattr(self.book.room, "hurry", None)
        if impatient is not None:
            impatient.set()

    def fill(self, job: Job) -> None:
        """Read the values that a worker is going to need."""
        self.recaller.fill(job)

    def close(self, reason: str | None, rest: Sequence[Any] = ()) -> None:
        """The run is over; ``rest``: tasks that were read and never begun."""
        if self._over or not self._opened:
            return
        self._over = True
        try:
            if self._broken:
                return
            if rest:
                self.take(rest)
            mine = self.book.runs[-1]
            mine["state"] = {"done": "finished", "stopped": "cancelled", "failed": "cancelled"}.get(
                reason or "", "interrupted"
            )
            mine["ended"] = time.time()
            self.book.note_runs()
            self.book.commit()
        finally:
            self.book.close()
