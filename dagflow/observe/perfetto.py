"""Traces in the trace-event format: a track a worker, a span a source task, arrows along the families.

The format is that of Chrome's tracing, which Perfetto (https://ui.perfetto.dev) opens: times in microseconds; ``X`` is
a slice of a track, ``s`` and ``f`` the two ends of an arrow between slices, ``b`` and ``e`` a span of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from dagflow.observe.text import MESSAGE_MOST, clean, describe
from dagflow.observe.trace import Hop, Trace, placed

Event = dict[str, Any]
NOBODY: Final = 0
"""The process of the spans, and of hops that no worker was asked for."""


class _Slice(NamedTuple):
    """A hop, the trace that it stands in, and its track once that is known."""

    hop: Hop
    trace: Trace


def events_of(traces: Iterable[Trace]) -> tuple[float, Iterator[Event]]:
    """When the first task came (seconds since the epoch), and all events, in the order of time from there."""
    slices: list[_Slice] = []
    arrows: list[tuple[Hop, Hop]] = []
    spans: list[tuple[Trace, float, float]] = []
    for top in traces:
        family = list(top.walk())
        for trace in family:
            slices.extend(_Slice(hop, trace) for hop in trace.hops)
            arrows.extend(_arrows(trace))
        hops = [hop for trace in family for hop in trace.hops]
        if hops:
            spans.append((top, min(h.queued for h in hops), max(h.end for h in hops)))
    slices.sort(key=_start)
    first = min((began for _, began, _ in spans), default=0.0)
    return first, _events(slices, arrows, spans, first)


def _start(part: _Slice) -> float:
    return part.hop.start


def _events(
    slices: list[_Slice], arrows: list[tuple[Hop, Hop]], spans: list[tuple[Trace, float, float]], first: float
) -> Iterator[Event]:
    tracks = _Tracks(slices)
    where: dict[int, tuple[int, int]] = {}
    yield _about("process_name", NOBODY, 0, name="source tasks")
    for hop, trace in slices:
        pid, tid, fresh = tracks.of(hop)
        yield from fresh
        where[id(hop)] = pid, tid
        yield _slice(hop, trace, pid, tid, first)
    for number, (tail, head) in enumerate(arrows, 1):
        yield from _arrow(number, tail, head, where, first)
    for trace, began, ended in spans:
        # An id of the process's own, or the span would stand apart from it.
        both = {"cat": "task", "id2": {"local": trace.trace_id}, "pid": NOBODY, "tid": 0, "name": _name(trace)}
        yield {"ph": "b", "ts": _micro(began, first), **both, "args": {"status": trace.status}}
        yield {"ph": "e", "ts": _micro(ended, first), **both}


class _Tracks:
    """Tracks of workers. One that does several tasks at once has a track for each that runs beside others.

    A viewer shows a process as a group that is closed at first: one with a single worker has the name of that.
    """

    def __init__(self, slices: list[_Slice]) -> None:
        workers: dict[int, set[tuple[str, int]]] = {}
        for hop, _ in slices:
            if hop.worker is not None:
                workers.setdefault(hop.pid or NOBODY, set()).add((hop.node, hop.worker))
        self.names = {pid: _worker(*min(own)) if len(own) == 1 else "workers" for pid, own in workers.items()}
        self.ends: dict[tuple[int, int], list[float]] = {}
        self.tids: dict[tuple[int, int, int], int] = {}
        self.named = {NOBODY}

    def of(self, hop: Hop) -> tuple[int, int, list[Event]]:
        """Process and track of a hop, and the events that name them if they are new. Hops come by their start."""
        if hop.worker is None:
            return NOBODY, 0, []
        pid = hop.pid or NOBODY
        lanes = self.ends.setdefault((pid, hop.worker), [])
        lane = next((n for n, end in enumerate(lanes) if end <= hop.start), len(lanes))
        if lane < len(lanes):
            lanes[lane] = hop.end
            return pid, self.tids[pid, hop.worker, lane], []
        lanes.append(hop.end)
        tid = self.tids[pid, hop.worker, lane] = len(self.tids) + 1
        name = _worker(hop.node, hop.worker) + (f", {lane + 1}" if lane else "")
        fresh = [_about("thread_name", pid, tid, name=name)]
        if pid not in self.named:
            self.named.add(pid)
            fresh.insert(0, _about("process_name", pid, 0, name=self.names[pid]))
        return pid, tid, fresh


def _worker(node: str, worker: int) -> str:
    return clean(f"{node}, worker {worker}")


def _about(what: str, pid: int, tid: int, *, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _slice(hop: Hop, trace: Trace, pid: int, tid: int, first: float) -> Event:
    args = {
        "trace_id": trace.trace_id,
        "task": _name(trace),
        "status": hop.status,
        "attempt": hop.attempt,
        "waited_ms": round(hop.waited * 1e3, 3),
    }
    if hop.error:
        args["error"] = clean(hop.error, MESSAGE_MOST)
    about = {"name": hop.node, "cat": hop.status, "pid": pid, "tid": tid, "ts": _micro(hop.start, first), "args": args}
    if hop.worker is None:
        return {"ph": "i", "s": "t", **about}
    return {"ph": "X", "dur": round(_micro(hop.end, first) - _micro(hop.start, first), 3), **about}


def _arrow(number: int, tail: Hop, head: Hop, where: dict[int, tuple[int, int]], first: float) -> Iterator[Event]:
    """From one slice to another. The tail lies just inside its slice, where it binds to nothing else."""
    if tail.worker is None or head.worker is None or tail.end <= tail.start:
        return
    last = max(min(tail.end, head.start), tail.start)
    at = tail.start + 0.9 * (last - tail.start)
    for phase, hop, moment in (("s", tail, at), ("f", head, head.start)):
        pid, tid = where[id(hop)]
        event: Event = {"ph": phase, "id": number, "name": "task", "cat": "family", "pid": pid, "tid": tid}
        event["ts"] = _micro(moment, first)
        yield event | ({"bp": "e"} if phase == "f" else {})


def _arrows(trace: Trace) -> Iterator[tuple[Hop, Hop]]:
    """From each hop to the next, from the opener to the first hop of each child, from its last one to the merge."""
    hops = trace.hops
    groups = placed(trace)
    for at, children in enumerate(groups):
        before = hops[at - 1] if at else None
        following = next((h for h in hops[at:] if before is None or h.node != before.node), None)
        own = [child.hops for child in children if child.hops]
        if before is not None and at < len(hops) and not own:
            yield before, hops[at]
        for theirs in own:
            if before is not None:
                yield before, theirs[0]
            if following is not None:
                yield theirs[-1], following


def _name(trace: Trace) -> str:
    return trace.trace_id if trace.task is None else describe(trace.task)


def _micro(moment: float, first: float) -> float:
    return round((moment - first) * 1e6, 3)
