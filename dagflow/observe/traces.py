"""Traces of a run: a sequence that makes them when asked, and finds them by task or id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

from dagflow.observe.text import describe
from dagflow.observe.trace import Trace
from dagflow.observe.tracer import root_of

if TYPE_CHECKING:
    from dagflow.observe.tracer import Tracer

NOT_TRACED = "this run was not traced: give it trace=True (or a fraction of the source tasks, such as trace=0.01)"


class Traces(Sequence[Trace]):
    """One trace a traced source task, in source order; then those of windows and of the whole run.

    ``count``: how many source tasks the run was given; ``task`` and ``status`` of one by its number (None: not known
    better than the tracer does).
    """

    def __init__(
        self,
        tracer: Tracer,
        count: Callable[[], int],
        task: Callable[[int], Any] = lambda _: None,
        status: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self._tracer, self._count, self._task, self._status = tracer, count, task, status

    def _numbers(self) -> list[tuple[int, bool]]:
        columns = self._tracer.columns
        sources = self._tracer.sample.within(columns.forgotten, self._count())
        return [(n, False) for n in sources] + [(n, True) for n in columns.aggregates()]

    def __len__(self) -> int:
        columns = self._tracer.columns
        return len(self._tracer.sample.within(columns.forgotten, self._count())) + len(columns.aggregates())

    @overload
    def __getitem__(self, at: int) -> Trace: ...
    @overload
    def __getitem__(self, at: slice) -> list[Trace]: ...
    def __getitem__(self, at: int | slice) -> Trace | list[Trace]:
        found = self._numbers()[at]
        return [self._made(*number) for number in found] if isinstance(found, list) else self._made(*found)

    def __iter__(self) -> Any:
        return (self._made(*number) for number in self._numbers())

    def __repr__(self) -> str:
        return f"<{len(self)} traces>"

    def _made(self, number: int, aggregate: bool) -> Trace:
        if aggregate:
            return self._tracer.family(number, aggregate=True)
        return self._tracer.family(number, task=self._task(number), status=self._status(number))

    def of_number(self, number: int) -> Trace:
        """The trace of source task ``number``; `KeyError` where it was not traced."""
        sample, columns = self._tracer.sample, self._tracer.columns
        if not sample.has(number):
            text = f"source task {number:x} is not among those that trace={sample.fraction:g} traces"
            raise KeyError(f"{text}: run with trace=True to trace all of them")
        if number < columns.forgotten:
            text = f"the trace of source task {number:x} is no longer kept: those of the run took more than"
            raise KeyError(f"{text} {columns.most >> 20} MB; trace a fraction, such as trace=0.01, not trace=True")
        return self._made(number, False)

    def of_id(self, trace_id: str) -> Trace:
        """The trace with that id, of a source task or of one that came from it; `KeyError` where there is none."""
        root = root_of(trace_id)
        if root is not None:
            number, aggregate = root
            if aggregate:
                family = self._made(number, True)
            elif number < self._count():
                family = self.of_number(number)
            else:
                family = Trace("")
            for trace in family.walk():
                if trace.trace_id == trace_id and (trace.hops or not aggregate):
                    return trace
        raise KeyError(f"no task of this run has the trace id {trace_id!r}")

    def find(self, what: Any, numbers: Iterable[int]) -> Trace:
        """The trace of the first of the source tasks ``numbers``, or, where there are none, with the id ``what``."""
        for number in numbers:
            return self.of_number(number)
        if isinstance(what, str):
            return self.of_id(what)
        asked = "True" if self._tracer.sample.whole else f"{self._tracer.sample.fraction:g}"
        raise KeyError(f"{describe(what)} is not a source task of this run (which has trace={asked})")
