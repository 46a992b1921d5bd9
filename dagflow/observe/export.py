"""Traces as files: JSON Lines, a hop a line, and the trace-event format that Perfetto and Chrome open."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, Any, Final

from dagflow.observe.perfetto import events_of
from dagflow.observe.trace import Hop, Trace, json_value, settle

FIELDS: Final = ("trace_id", "parent", "task", *Hop.__match_args__)
"""What a line says: whose hop it is, whose child that is, and the fields of the hop."""


def export(traces: Iterable[Trace], path: str | os.PathLike[str]) -> str:
    """Write traces to ``path``, by its suffix; returns the path. Nothing stands there until all is written."""
    name = os.fspath(path)
    write = _writer(name)
    part = f"{name}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            write(traces, file)
        os.replace(part, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    return name


def known_suffix(path: str) -> bool:
    """Whether `export` knows what to write to ``path``."""
    return path.lower().endswith((".jsonl", ".json"))


def check_place(path: str) -> None:
    """Raise `OSError` if nothing can be written there: better now than after the run."""
    part = f"{path}.part"
    with open(part, "w", encoding="utf-8"):
        pass
    os.unlink(part)


def _writer(path: str) -> Callable[[Iterable[Trace], IO[str]], None]:
    if not known_suffix(path):
        raise ValueError(
            f"cannot tell from {path!r} what to write: end it in .jsonl (a hop a line) or .json (Perfetto)"
        )
    return _write_lines if path.lower().endswith(".jsonl") else _write_events


def _write_lines(traces: Iterable[Trace], file: IO[str]) -> None:
    for family in traces:
        for trace in family.walk():
            whose = {
                "trace_id": trace.trace_id,
                "parent": None if trace.parent is None else trace.parent.trace_id,
                "task": json_value(trace.task),
            }
            for hop in trace.hops:
                file.write(json.dumps(whose | hop.as_dict(), ensure_ascii=False) + "\n")


def _write_events(traces: Iterable[Trace], file: IO[str]) -> None:
    start, events = events_of(traces)
    about = {"producer": "dagflow", "start": start}
    file.write(f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(about)}, "traceEvents": [')
    comma = "\n"
    for event in events:
        file.write(comma + json.dumps(event, ensure_ascii=False))
        comma = ",\n"
    file.write("\n]}\n")


# -- reading -----------------------------------------------------------------------------------------------


def lines_of(path: str) -> Iterator[dict[str, Any]]:
    """The lines of an exported ``.jsonl``; `ValueError` names the first that is none."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not a JSON value: {error}") from None
            if not isinstance(line, dict) or not _is_hop(line):
                raise ValueError(f"{path}, line {number}: not a hop as export_trace() writes it")
            yield line


def _is_hop(line: dict[str, Any]) -> bool:
    texts = all(isinstance(line.get(name), str) for name in ("trace_id", "node", "status"))
    numbers = all(
        isinstance(line.get(name), (int, float)) and not isinstance(line.get(name), bool)
        for name in ("attempt", "queued", "start", "end")
    )
    known = line.get("status") in ("done", "failed", "dropped", "retried")
    others = isinstance(line.get("parent"), (str, type(None))) and isinstance(line.get("error"), (str, type(None)))
    return texts and numbers and known and others


def families_of(lines: Iterable[dict[str, Any]]) -> list[Trace]:
    """The traces that lines tell of, with what came from them below them, in the order of the lines."""
    made: dict[str, Trace] = {}
    tops: list[Trace] = []

    def member(trace_id: str, parent: str | None, task: Any = None) -> Trace:
        trace = made.get(trace_id)
        if trace is None:
            trace = made[trace_id] = Trace(trace_id, task)
            if parent is None:
                tops.append(trace)
            else:
                above = parent.rpartition(".")[0] or None
                trace.parent = member(parent, above)
                trace.parent.children.append(trace)
        return trace

    for line in lines:
        trace = member(line["trace_id"], line["parent"], line.get("task"))
        if trace._task is None:
            trace._task = line.get("task")
        trace.hops.append(Hop(**{name: line.get(name) for name in Hop.__match_args__}))  # type: ignore[arg-type]
    for top in tops:
        settle(top)
    return tops
