"""Results: what became of each source task, in source order; opened where it is read, not before.

`Collector` takes the facts of a run in as they come; `RunResult` is what the user reads.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from dagflow.core.commands import AggregateLost, Fact, Lost, Output, RootsEnded, TasksEnded
from dagflow.core.ids import Indices, Segment, take, tasks_of
from dagflow.core.payload import ErrorRecord
from dagflow.draw.faces import Pictured
from dagflow.errors import PayloadError
from dagflow.observe.text import describe
from dagflow.work.canonical import content_key
from dagflow.work.codec import read_values
from dagflow.work.outcome import open_error

if TYPE_CHECKING:
    import os

    from dagflow.busy import Busy
    from dagflow.core.inbox import Counts
    from dagflow.draw.model import Picture
    from dagflow.graph.algebra import Graph
    from dagflow.graph.plan import Plan
    from dagflow.observe.case import Case
    from dagflow.observe.trace import Trace
    from dagflow.observe.tracer import Tracer
    from dagflow.observe.traces import Traces
    from dagflow.protocols import Snapshot

_ERRORS_SHOWN: Final = 5
Status = Literal["done", "failed", "dropped", "cancelled"]


class Outcome:
    """What became of one source task. ``values``: what left the graph for it, in lineage order."""

    __slots__ = ("error", "status", "task", "trace_id", "values")

    def __init__(
        self, task: Any, status: Status, values: list[Any], error: BaseException | None, trace_id: str
    ) -> None:
        self.task = task
        self.status: Status = status
        self.values = values
        self.error = error
        self.trace_id = trace_id

    def __repr__(self) -> str:
        what = f"error={self.error!r}" if self.error is not None else f"values={self.values!r}"
        return f"Outcome(task={self.task!r}, status={self.status!r}, {what})"


class TaskDict(Mapping[Any, Any]):
    """A mapping keyed by tasks, also unhashable ones, in the order given. Of equal tasks the first counts.

    Keys are told apart by content and type, so ``1``, ``1.0`` and ``True`` are three keys.
    """

    def __init__(self, items: Sequence[tuple[Any, Any]]) -> None:
        self._places: dict[Any, int] = {}
        self._items: list[tuple[Any, Any]] = []
        for task, value in items:
            key = task_key(task)
            if key not in self._places:
                self._places[key] = len(self._items)
                self._items.append((task, value))

    def __getitem__(self, task: Any) -> Any:
        try:
            return self._items[self._places[task_key(task)]][1]
        except KeyError:
            raise KeyError(task) from None

    def __iter__(self) -> Iterator[Any]:
        return (task for task, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, task: object) -> bool:
        return task_key(task) in self._places

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        missing = object()
        return len(self) == len(other) and all(self.get(k, missing) == v for k, v in other.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{k!r}: {v!r}" for k, v in self._items) + "}"


_PLAIN = frozenset((int, str, float, bool, bytes, type(None)))


def task_key(task: Any) -> Any:
    """What tasks are looked up by: type and content; identity for what has no content to compare."""
    if type(task) in _PLAIN:
        return (type(task), task)
    try:
        return content_key(task)
    except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return id(task)


class Source:
    """The source tasks of a run, kept in the chunks that they were read in."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.chunks: list[Sequence[Any]] = []
        self.count = 0

    def add(self, values: Sequence[Any]) -> None:
        """Keep one more chunk."""
        self.starts.append(self.count)
        self.chunks.append(values)
        self.count += len(values)

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.chunks)

    def __getitem__(self, index: int) -> Any:
        at = bisect_right(self.starts, index) - 1
        return self.chunks[at][index - self.starts[at]]

    def forget_before(self, index: int) -> None:
        """Forget the chunks whose tasks all lie before ``index``."""
        at = bisect_right(self.starts, index) - 1
        if at > 64:
            del self.starts[:at], self.chunks[:at]


class Collector:
    """Takes in the facts of a run that the result is made of."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.source = Source()
        self.outputs: list[Output] = []
        self.lost: dict[int, list[tuple[tuple[int, ...], ErrorRecord]]] = {}
        self.aggregate_lost: list[AggregateLost] = []
        self.dropped: set[int] = set()
        self.ended: list[Sequence[int]] = []

    def take(self, facts: Sequence[Fact]) -> None:
        """Take in facts, in order."""
        for fact in facts:
            match fact:
                case Output():
                    self.outputs.append(fact)
                case RootsEnded():
                    self.ended.append(fact.indices)
                case Lost():
                    key = fact.space.lineage(fact.index)
                    self.lost.setdefault(key[0], []).append((key, fact.error))
                case AggregateLost():
                    self.aggregate_lost.append(fact)
                case TasksEnded(status="dropped" | "duplicate"):
                    for space, indices in fact.segments:
                        if not space.aggregate:
                            self.dropped.update(space.root_indices(indices))


class _Fates:
    """How each source task ended, known without opening a value."""

    def __init__(self, collector: Collector, held: Sequence[Segment]) -> None:
        self._outputs, self._dropped = collector.outputs, collector.dropped
        self._failed = set(collector.lost).union(i for f in collector.aggregate_lost for _, s in f.members for i in s)
        self._cancelled = {i for _, indices in held for i in indices}
        count = collector.source.count
        whole = sum(map(len, collector.ended)) == count
        self._ended: Any = range(count) if whole else {i for part in collector.ended for i in part}
        self._reached: set[int] | None = None

    def of(self, index: int) -> Status:
        """The status of source task ``index``."""
        if index in self._failed:
            return "failed"
        if index not in self._ended or index in self._cancelled:
            return "cancelled"
        return "dropped" if index in self._dropped and not self._gave_output(index) else "done"

    def _gave_output(self, index: int) -> bool:
        if self._reached is None:
            segments = [segment for output in self._outputs for segment in output.segments]
            self._reached = {i for space, part in segments if not space.aggregate for i in space.root_indices(part)}
        return index in self._reached


class RunResult(Pictured):
    """The outcome of a run: one `Outcome` a source task, in source order; values, errors, counts, summary.

    Its pictures (`to_svg`, `draw` and the like) are the graph's with the counts of the run laid over.

    >>> result = Graph(TaskManager(lambda n: 12 // n, name="divide")).run([3, 0], backend="serial")
    >>> result[3], result.statuses()
    (4, {'done': 1, 'failed': 1})
    >>> result.get_error_dict()
    {0: ZeroDivisionError('integer division or modulo by zero')}
    """

    def __init__(
        self,
        graph: Graph,
        collector: Collector,
        counts: Mapping[str, Counts],
        snapshot: Snapshot,
        held: Sequence[Segment],
        case: Callable[[], Case],
        tracer: Tracer | None = None,
    ) -> None:
        self.graph = graph
        self._collector = collector
        self._plan = collector.plan
        self.counts = counts
        """By node name: received, succeeded, failed, dropped, retried, duplicates."""
        self.snapshot = snapshot
        self._fates = _Fates(collector, held)
        self._tracer = tracer
        self.reused = 0
        """Source tasks that a journal knew the end of, given again without anything being done for them."""
        self.notes: tuple[str, ...] = ()
        """What there is to say of the journal: what is redone and why, what was damaged."""
        self._case = case
        self._outcomes: list[Outcome] | None = None
        self._places: dict[Any, int] | None = None
        self._errors: dict[int, BaseException] = {}
        self._unreadable: dict[int, tuple[tuple[int, ...], PayloadError]] = {}

    # -- outcomes -----------------------------------------------------------------------------------------

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """One outcome a source task, in source order."""
        if self._outcomes is None:
            self._outcomes = self._make_outcomes()
        return self._outcomes

    def _make_outcomes(self) -> list[Outcome]:
        values, _ = self._by_root()
        errors = {**{index: error for index, (_, error) in self._unreadable.items()}, **self._first_errors()}
        source = self._collector.source
        return [
            Outcome(
                task,
                "failed" if index in errors else self._fates.of(index),
                values.get(index, []),
                errors.get(index),
                f"{index:x}",
            )
            for index, task in enumerate(source)
        ]

    def _by_root(self) -> tuple[dict[int, list[Any]], list[Any]]:
        """Values by source task in lineage order, and the values that belong to no source task.

        A value that cannot be read here is left out, and is its source task's error.
        """
        plain: dict[int, list[Any]] = {}
        keyed: dict[int, list[tuple[tuple[int, ...], Any]]] = {}
        nobody: list[tuple[tuple[int, ...], Any]] = []
        for output in self._collector.outputs:
            values, segments = self._read(output)
            at = 0
            for space, indices in segments:
                part = values[at : at + len(indices)]
                at += len(indices)
                if space.parent is None and not space.aggregate:
                    for index, value in zip(indices, part, strict=True):
                        if index in plain or index in keyed:
                            keyed.setdefault(index, []).append(((index,), value))
                        else:
                            plain[index] = [value]
                else:
                    for index, value in zip(indices, part, strict=True):
                        key = space.lineage(index)
                        if space.aggregate:
                            nobody.append((key, value))
                        else:
                            keyed.setdefault(key[0], []).append((key, value))
        for root, found in keyed.items():
            if root in plain:
                found.append(((root,), plain[root][0]))
            found.sort(key=_key)
            plain[root] = [value for _, value in found]
        nobody.sort(key=_key)
        return plain, [value for _, value in nobody]

    def _read(self, output: Output) -> tuple[list[Any], list[Segment]]:
        """The values of an output, and whose they are."""
        values, bad = read_values(output.payload, output.low, output.low + output.count)
        if not bad:
            return values, output.segments
        for position, error in sorted(bad.items()):
            space, index = next(iter(tasks_of(take(output.segments, [position]))))
            error.add_note(f"dagflow: it left the graph at node {self._plan.nodes[output.node].name!r}")
            if space.aggregate:
                raise error  # it came from many source tasks, and is the error of none of them
            found = (space.lineage(index), error)
            root = found[0][0]
            self._unreadable[root] = min(self._unreadable.get(root, found), found, key=_key)
        kept = [p for p in range(output.count) if p not in bad]
        return [values[p] for p in kept], take(output.segments, kept)

    def _first_errors(self) -> dict[int, BaseException]:
        if not self._errors:
            for index, lost in self._collector.lost.items():
                self._errors[index] = open_error(min(lost, key=_key)[1])
            for fact in self._collector.aggregate_lost:
                error = open_error(fact.error)
                for _, indices in fact.members:
                    for index in indices:
                        self._errors.setdefault(index, error)
        return self._errors

    @property
    def values(self) -> list[Any]:
        """All outputs, flat: in source order, then lineage order; those that belong to no source task last."""
        plain = self._plain_values()
        if plain is not None:
            return plain
        by_root, nobody = self._by_root()
        return [value for index in sorted(by_root) for value in by_root[index]] + nobody

    def _plain_values(self) -> list[Any] | None:
        """`values` where each is that of a source task of its own: the common case, in bulk."""
        parts: list[tuple[Indices, list[Any]]] = []
        for output in self._collector.outputs:
            values, bad = read_values(output.payload, output.low, output.low + output.count)
            if bad:
                return None
            at = 0
            for space, indices in output.segments:
                if space.parent is not None or space.aggregate:
                    return None
                parts.append((indices, values[at : at + len(indices)]))
                at += len(indices)
        parts = [part for part in parts if part[1]]
        parts.sort(key=_start)
        neighbours = all(isinstance(indices, range) for indices, _ in parts) and all(
            a[-1] < b[0] for (a, _), (b, _) in itertools.pairwise(parts)
        )
        if neighbours:
            return list(itertools.chain.from_iterable(values for _, values in parts))
        found: dict[int, Any] = {}
        for indices, values in parts:
            found.update(zip(indices, values, strict=True))
        if len(found) < sum(len(indices) for indices, _ in parts):
            return None  # a task has several
        return [found[index] for index in sorted(found)]

    # -- by task --------------------------------------------------------------------------------------

    def __getitem__(self, task: Any) -> Any:
        """The final result of a source task (the first of equals): a value, or a list where there may be several.

        Raises the task's own error if it failed, `KeyError` if it is not a source task or has no result.
        """
        found = self._number_of(task)
        if found is None:
            raise KeyError(task)
        outcome = self.outcomes[found]
        if outcome.error is not None:
            raise outcome.error
        if not self._has_final(outcome):
            raise KeyError(f"{task!r} was {outcome.status} and gave no output")
        return self._final(outcome)

    def _number_of(self, task: Any) -> int | None:
        """The number of the first source task that equals ``task``."""
        if self._places is None:
            self._places = {}
            for place, known in enumerate(self._collector.source):
                self._places.setdefault(task_key(known), place)
        return self._places.get(task_key(task))

    def _has_final(self, outcome: Outcome) -> bool:
        return outcome.status == "done" and (bool(outcome.values) or not self._plan.single)

    def _final(self, outcome: Outcome) -> Any:
        return outcome.values[0] if self._plan.single and len(outcome.values) == 1 else outcome.values

    def get_final_result_dict(self) -> TaskDict:
        """``{task: final result}`` of the tasks that are done: a value where the graph gives at most one, or a list."""
        return TaskDict([(o.task, self._final(o)) for o in self.outcomes if self._has_final(o)])

    def get_error_dict(self) -> TaskDict:
        """``{task: exception}`` for the tasks that failed."""
        return TaskDict([(o.task, o.error) for o in self.outcomes if o.error is not None])

    def raise_if_failed(self) -> None:
        """Raise an `ExceptionGroup` of the errors of all failed tasks, if there are any."""
        errors = list({id(o.error): o.error for o in self.outcomes if o.error is not None}.values())
        if errors:
            failed = sum(1 for o in self.outcomes if o.error is not None)
            text = f"{failed} of {len(self.outcomes)} tasks failed"
            raise BaseExceptionGroup(text, errors)

    # -- traces -------------------------------------------------------------------------------------------

    @property
    def traces(self) -> Traces:
        """One `Trace` a traced source task, in source order, then those of windows and of the whole run.

        Made when they are asked for. `ValueError` where the run was not traced.
        """
        from dagflow.observe.traces import NOT_TRACED, Traces

        if self._tracer is None:
            raise ValueError(NOT_TRACED)
        source = self._collector.source
        return Traces(self._tracer, lambda: source.count, source.__getitem__, self._fates.of)

    def trace(self, what: Any) -> Trace:
        """What happened to one task: ``what`` is a source task (the first of equals), an outcome, or a trace id.

        `ValueError` where the run was not traced, `KeyError` where this task was not, or is unknown.
        """
        traces = self.traces
        if isinstance(what, Outcome):
            return traces.of_id(what.trace_id)
        number = self._number_of(what)
        return traces.find(what, () if number is None else (number,))

    def export_trace(self, path: str | os.PathLike[str]) -> str:
        """Write the traces to ``path`` and return it: ``.jsonl`` has a hop a line, ``.json`` opens in Perfetto.

        `ValueError` for another suffix, and where the run was not traced.
        """
        from dagflow.observe.export import export

        return export(self.traces, path)

    # -- for people -----------------------------------------------------------------------------------

    def statuses(self) -> dict[Status, int]:
        """How many source tasks ended how."""
        found: Counter[Status] = Counter(o.status for o in self.outcomes)
        return dict(found)

    def busy(self) -> Busy:
        """How busy each node was, in the order of ``snapshot.nodes``, and which of them limits the run, if one does."""
        from dagflow.observe.verdict import busy

        return busy(self._case())

    def explain(self) -> str:
        """The verdict: its first line says what limits the run and why, the next what more workers would bring."""
        from dagflow.observe.verdict import verdict

        return verdict(self._case())

    def summary(self) -> str:
        """A table: what each node received and what became of it, seconds of work, tasks a second; the verdict."""
        from dagflow.draw.table import Summary, nodes_table, paragraphs

        text = summary_of(self)
        below = text.splitlines()[len(self.snapshot.nodes) + 1 :]
        return Summary.of(text, nodes_table(self.snapshot, self.busy()) + paragraphs(below))

    def _picture(self) -> Picture:
        from dagflow.draw.model import picture
        from dagflow.draw.overlay import overlay_of

        return picture(self.graph, overlay_of(self._plan, self.snapshot, self.busy(), self.statuses()))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from dagflow.draw.table import failures_list, nodes_table

        bundle = super()._repr_mimebundle_()
        errors = [(o.task, o.error) for o in self.outcomes if o.error is not None]
        told = [(describe(task), describe(error)) for task, error in errors[:_ERRORS_SHOWN]]
        bundle["text/html"] += nodes_table(self.snapshot, self.busy()) + failures_list(told, len(errors) - len(told))
        bundle["text/plain"] += f"\n\n{self.summary()}"
        return bundle

    def __len__(self) -> int:
        return self._collector.source.count

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __repr__(self) -> str:
        failed = len(self._first_errors())
        tail = f", {failed} failed" if failed else ""
        return f"RunResult({len(self)} tasks{tail}, {self.snapshot.elapsed:.2f} s)"


def summary_of(result: RunResult) -> str:
    """The text of `RunResult.summary`."""
    head = ("node", "received", "succeeded", "failed", "dropped", "retried", "seconds", "tasks/s")
    rows = [head]
    for node in result.snapshot.nodes:
        rate = f"{node.received / node.seconds:,.0f}" if node.seconds > 0 and node.received else "-"
        dropped = f"{node.dropped:,}" + (f" ({node.duplicates:,} dup.)" if node.duplicates else "")
        rows.append(
            (
                node.name,
                f"{node.received:,}",
                f"{node.succeeded:,}",
                f"{node.failed:,}",
                dropped,
                f"{node.retried:,}",
                f"{node.seconds:.3f}",
                rate,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    ends = ", ".join(f"{n:,} {status}" for status, n in sorted(result.statuses().items()))
    total = f"{len(result):,} source tasks in {result.snapshot.elapsed:.2f} s: {ends or 'none'}"
    return "\n".join([*lines, total, *result.notes, result.explain()])


def _start(part: tuple[Indices, list[Any]]) -> int:
    return part[0][0]


def _key(item: tuple[tuple[int, ...], Any]) -> tuple[int, ...]:
    return item[0]


__all__ = ["Collector", "Outcome", "RunResult", "Source", "TaskDict", "summary_of", "task_key"]
