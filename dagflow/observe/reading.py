"""Exported traces, read again: families as trees, and what limited the run that they are of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dagflow.observe.case import Case, Seen
from dagflow.observe.export import families_of, lines_of
from dagflow.observe.trace import Trace


def traces_in(path: str, what: str | None = None) -> list[Trace]:
    """The traces in an exported ``.jsonl``: all, or those of the tasks that ``what`` names, by value or trace id.

    A task's value comes before an id that reads the same. Only what is asked for is kept in memory. `ValueError`
    where the file is none.
    """
    if what is None:
        return families_of(lines_of(path))
    ids = _named(path, what)
    tops = {trace_id.partition(".")[0] for trace_id in ids}
    families = families_of(line for line in lines_of(path) if line["trace_id"].partition(".")[0] in tops)
    return [trace for top in families for trace in top.walk() if trace.trace_id in ids]


def _named(path: str, what: str) -> set[str]:
    """The trace ids of the tasks that ``what`` names: source tasks by value, others by value, or one by its id."""
    sources: set[str] = set()
    others: set[str] = set()
    for line in lines_of(path):
        task = line.get("task")
        if what in (task, json.dumps(task, ensure_ascii=False)):
            (sources if line["parent"] is None else others).add(line["trace_id"])
    return sources or others or {what}


def case_in(path: str) -> tuple[Case, float]:
    """What an exported ``.jsonl`` tells of its run, and which part of the source tasks it seems to be of.

    Source tasks are numbered, so those that are not there can be counted.
    """
    seen, numbers = Seen(), set()
    for line in _hops(path):
        seen.add(line["node"], line["worker"], line["queued"], line["start"], line["end"])
        number = line["trace_id"].partition(".")[0]
        if "w" not in number:
            numbers.add(int(number, 16))
    part = len(numbers) / (max(numbers) + 1) if numbers else 1.0
    return seen.case(part), part


def _hops(path: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines_of(path), 1):
        try:
            int(line["trace_id"].partition(".")[0].rpartition("w")[2], 16)
        except ValueError:
            raise ValueError(f"{path}, hop {number}: {line['trace_id']!r} is no trace id") from None
        yield line
