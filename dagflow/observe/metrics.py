"""Metrics of runs in Prometheus' text format: as a text, in a file, or at an endpoint on this machine.

    from dagflow.observe.endpoint import MetricsServer

    with MetricsServer() as metrics:
        print(metrics.url, metrics.token)
        graph.run(tasks, logger=metrics)

The format is the text exposition format 0.0.4: ``# HELP`` and ``# TYPE`` once for each name, then a sample a line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dagflow.observe.text import NAME_MOST, clean

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.graph.plan import Plan
    from dagflow.protocols import NodeSnapshot, Snapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
WRITE_SECONDS: Final = 1.0
"""A file of metrics is written no more often than this."""
STATES: Final = ("running", "paused", "stopping", "finished")

Labels = Mapping[str, str]
Samples = Iterable[tuple[dict[str, str], float]]


def prometheus_text(snapshot: Snapshot, labels: Labels | None = None) -> str:
    """How a run stands, as Prometheus reads it. ``labels`` stand on every sample, such as ``{"job": "nightly"}``."""
    return text_of([(snapshot, labels or {})])


def text_of(runs: Sequence[tuple[Snapshot, Labels]]) -> str:
    """The same of several runs, which their labels tell apart."""
    lines: list[str] = []
    for name, kind, meaning, samples in _RUN:
        found = [(labels | part, value) for run, labels in _merged(runs) for part, value in samples(run)]
        _write(lines, name, kind, meaning, found)
    for name, kind, meaning, of_node in _NODE:
        found = [
            (labels | {"node": clean(node.name, NAME_MOST), "kind": node.kind} | part, value)
            for run, labels in _merged(runs)
            for node in run.nodes
            for part, value in of_node(node)
        ]
        _write(lines, name, kind, meaning, found)
    return "".join(line + "\n" for line in lines)


def _merged(runs: Sequence[tuple[Snapshot, Labels]]) -> list[tuple[Snapshot, dict[str, str]]]:
    return [(snapshot, dict(labels)) for snapshot, labels in runs]


def _write(lines: list[str], name: str, kind: str, meaning: str, samples: Samples) -> None:
    lines.append(f"# HELP {name} {meaning}")
    lines.append(f"# TYPE {name} {kind}")
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")


def _escaped(text: str) -> str:
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _one(value: Callable[[Any], float]) -> Callable[[Any], Samples]:
    return lambda what: [({}, value(what))]


def _state(run: Snapshot) -> Samples:
    return [({"state": state}, int(run.state == state)) for state in STATES]


def _waits(run: Snapshot) -> Samples:
    load = run.load
    what = ("starting", "source", "consumer", "retries", "in_flight", "paused")
    return [({"for": name}, getattr(load, name)) for name in what]


def _ends(node: NodeSnapshot) -> Samples:
    return [({"status": status}, getattr(node, status)) for status in ("succeeded", "failed", "dropped")]


_RUN: Final[list[tuple[str, str, str, Callable[[Snapshot], Samples]]]] = [
    ("dagflow_run_seconds", "gauge", "Seconds since the run began.", _one(lambda r: r.elapsed)),
    ("dagflow_run_state", "gauge", "1 for the state that the run is in.", _state),
    ("dagflow_source_tasks_total", "counter", "Source tasks taken in.", _one(lambda r: r.admitted)),
    ("dagflow_source_tasks_ended_total", "counter", "Source tasks that have ended.", _one(lambda r: r.ended)),
    ("dagflow_worker_crashes_total", "counter", "Workers that died.", _one(lambda r: r.crashes)),
    ("dagflow_late_answers_total", "counter", "Answers that came too late.", _one(lambda r: r.late_answers)),
    ("dagflow_run_waited_seconds_total", "counter", "Seconds in which the run waited, by for what.", _waits),
    (
        "dagflow_driver_cpu_seconds_total",
        "counter",
        "Processor seconds of the driver, used or lacked.",
        _one(lambda r: r.load.driver),
    ),
]
_NODE: Final[list[tuple[str, str, str, Callable[[NodeSnapshot], Samples]]]] = [
    ("dagflow_node_received_total", "counter", "Tasks that came to the node.", _one(lambda n: n.received)),
    ("dagflow_node_tasks_total", "counter", "Tasks that ended at the node, by how.", _ends),
    ("dagflow_node_retries_total", "counter", "Attempts after the first.", _one(lambda n: n.retried)),
    ("dagflow_node_duplicates_total", "counter", "Tasks dropped as duplicates.", _one(lambda n: n.duplicates)),
    ("dagflow_node_queued", "gauge", "Tasks in the node's queue.", _one(lambda n: n.queued)),
    ("dagflow_node_queue_capacity", "gauge", "Tasks that fit in there.", _one(lambda n: n.capacity)),
    ("dagflow_node_leased", "gauge", "Tasks that its workers have.", _one(lambda n: n.leased)),
    ("dagflow_node_waiting", "gauge", "Tasks that wait for their next attempt.", _one(lambda n: n.waiting)),
    ("dagflow_node_held", "gauge", "Members that a Merger keeps.", _one(lambda n: n.held)),
    ("dagflow_node_workers", "gauge", "Workers of the node.", _one(lambda n: n.workers)),
    ("dagflow_node_width", "gauge", "Tasks that it can work on at once.", _one(lambda n: n.width)),
    ("dagflow_node_busy_seconds_total", "counter", "Seconds in the node's function.", _one(lambda n: n.seconds)),
    ("dagflow_node_cpu_seconds_total", "counter", "Processor seconds of its processes.", _one(lambda n: n.cpu)),
]


class MetricsFile:
    """An observer that keeps a file up to date, about once a second: for node_exporter's textfile collector.

    Whoever reads it finds all of it or what stood there before.
    """

    wants_facts = False

    def __init__(self, path: str | os.PathLike[str], labels: Labels | None = None) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.labels = dict(labels or {})
        self._due = 0.0

    def opened(self, plan: Plan) -> None:
        """A run begins."""
        self._due = 0.0

    def facts(self, facts: Sequence[Fact]) -> None:
        """Not wanted: snapshots say enough."""

    def tick(self, snapshot: Snapshot) -> None:
        """Write, if it is time to."""
        if monotonic() >= self._due:
            self._write(snapshot)
            self._due = monotonic() + WRITE_SECONDS

    def closed(self, snapshot: Snapshot) -> None:
        """Write how the run ended."""
        self._write(snapshot)

    def _write(self, snapshot: Snapshot) -> None:
        part = f"{self.path}.{os.getpid()}.part"
        try:
            with open(part, "w", encoding="utf-8") as file:
                file.write(prometheus_text(snapshot, self.labels))
            os.replace(part, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
