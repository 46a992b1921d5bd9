"""Traces as OpenTelemetry spans, through whatever provider the program has set up. Needs ``dagflow[otel]``.

Each source task is a trace of OpenTelemetry's: a span for the task, one for each hop below it, one for each task that
came from it, with its own hops below. A span of a child links to the hop that made it, the hop of a merge to the last
hops of what it merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from dagflow.errors import BackendError
from dagflow.observe.text import describe
from dagflow.observe.trace import Hop, Trace, placed

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

LINKS_MOST: Final = 128
"""As many links as the SDK keeps of a span by default."""


def export_spans(traces: Iterable[Trace], provider: TracerProvider | None = None) -> int:
    """Hand the spans of ``traces`` (such as ``result.traces``) to OpenTelemetry; returns how many.

    ``provider``: where to; default: the global one. `BackendError` where OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace as otel
    except ImportError as error:
        raise BackendError('OpenTelemetry is not installed: pip install "dagflow[otel]"') from error
    tracer = (provider or otel.get_tracer_provider()).get_tracer("dagflow")
    return sum(_Spans(tracer, otel).family(trace) for trace in traces)


class _Spans:
    """The spans of one family."""

    def __init__(self, tracer: Tracer, otel: Any) -> None:
        self.tracer, self.otel = tracer, otel
        self.made = 0

    def family(self, top: Trace) -> int:
        """All spans of a source task; how many there were."""
        self._task(top, None, None)
        return self.made

    def _task(self, trace: Trace, above: Span | None, opener: Span | None) -> Span | None:
        """The span of a task, its hops and its children; the span of its last hop."""
        hops = [hop for each in trace.walk() for hop in each.hops]
        if not hops:
            return None
        span = self._begin("task", min(h.queued for h in hops), above, [opener])
        about = {"trace_id": trace.trace_id, "task": describe(trace.task), "status": trace.status}
        span.set_attributes({f"dagflow.{name}": value for name, value in about.items()})
        last: Span | None = None
        merged: list[Span | None] = []
        for at, children in enumerate(placed(trace)):
            if at:
                last = self._hop(trace.hops[at - 1], span, merged)
                merged = []
            merged = merged + [self._task(child, span, last) for child in children]
        if trace.status == "failed":
            span.set_status(self.otel.Status(self.otel.StatusCode.ERROR))
        self._end(span, max(h.end for h in hops))
        return last or next((s for s in reversed(merged) if s is not None), None)

    def _hop(self, hop: Hop, above: Span, links: list[Span | None]) -> Span:
        span = self._begin(hop.node, hop.start, above, links)
        about: dict[str, Any] = {"node": hop.node, "attempt": hop.attempt, "status": hop.status, "waited": hop.waited}
        about |= {name: value for name, value in (("worker", hop.worker), ("pid", hop.pid)) if value is not None}
        span.set_attributes({f"dagflow.{name}": value for name, value in about.items()})
        if hop.error is not None:
            span.set_status(self.otel.Status(self.otel.StatusCode.ERROR, hop.error))
        self._end(span, hop.end)
        return span

    def _begin(self, name: str, moment: float, above: Span | None, links: list[Span | None]) -> Span:
        otel = self.otel
        context = otel.set_span_in_context(above if above is not None else otel.INVALID_SPAN)
        found = [otel.Link(span.get_span_context()) for span in links[:LINKS_MOST] if span is not None]
        self.made += 1
        span: Span = self.tracer.start_span(name, context=context, links=found, start_time=int(moment * 1e9))
        return span

    def _end(self, span: Span, moment: float) -> None:
        span.end(end_time=int(moment * 1e9))
