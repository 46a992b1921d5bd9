"""The commands that are about journals: ``dagflow runs``, ``show``, ``dead``, ``retry``."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from dagflow.named import UsageError, error_text, graph_named
from dagflow.observe.text import clean, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dagflow.reading import FailureRecord, JournalReader

_SHOWN_MOST = 200


def add_commands(
    command: Callable[..., argparse.ArgumentParser],
    backends: tuple[str, ...],
    run: Callable[..., int],
    as_json: Callable[[Any, TextIO], str],
) -> None:
    """Add the commands to a parser. ``command(name, does, example)`` makes one, ``run`` runs a graph and reports."""
    runs = command("runs", "list the runs on a journal", "dagflow runs crawl.db")
    _where(runs)
    runs.set_defaults(command=_runs, as_json=as_json)

    show = command(
        "show", "show what a journal holds: runs, nodes, what failed, what it takes", "dagflow show crawl.db"
    )
    _where(show)
    show.set_defaults(command=_show, as_json=as_json)

    dead = command("dead", "list the dead letters: tasks that failed finally", "dagflow dead crawl.db --node parse")
    _where(dead)
    dead.add_argument("--node", metavar="N", help="only those that failed at this node")
    dead.add_argument("--error", metavar="TYPE", help="only those that failed with this type of exception")
    dead.set_defaults(command=_dead, as_json=as_json)

    retry = command(
        "retry", "drive the dead letters again, with the code as it is now", "dagflow retry crawl.db flow:graph"
    )
    retry.add_argument("where", metavar="WHERE", help="a path, or redis://host:port/0")
    retry.add_argument("graph", metavar="MODULE:GRAPH", help="a graph, a node, or a function that returns one")
    retry.add_argument("--out", default="-", metavar="F", help="where the results go (default: stdout)")
    retry.add_argument("--backend", choices=backends, default="process", help="who works (default: process)")
    retry.add_argument("--progress", action="store_true", help="a bar per node on stderr")
    retry.add_argument("--json", action="store_true", help="the summary on stderr as one JSON object")
    retry.set_defaults(command=_retry, draw=None, trace=None, run=run)


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("where", metavar="WHERE", help="a path, or redis://host:port/0")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")


def _runs(given: argparse.Namespace) -> int:
    from dagflow.reading import open_journal

    with open_journal(given.where) as journal:
        runs = [_run_dict(run) for run in journal.runs]
    if given.json:
        return _print_json(runs, given)
    rows: list[tuple[str, ...]] = [("run", "state", "started", "ended")]
    rows += [(str(r["number"]), r["state"], _time(r["started"]), _time(r["ended"])) for r in runs]
    return _print(_table(rows))


def _show(given: argparse.Namespace) -> int:
    from dagflow.reading import open_journal

    with open_journal(given.where) as journal:
        told = _told(journal)
    if given.json:
        return _print_json(told, given)
    last = told["runs"][-1] if told["runs"] else None
    state = f"last run {last['number']} {last['state']}, {_time(last['started'])}" if last else "no run yet"
    tasks = ", ".join(f"{n:,} {status}" for status, n in sorted(told["statuses"].items())) or "none ended"
    rows: list[tuple[str, ...]] = [("node", "received", "succeeded", "failed", "dropped", "retried")]
    rows += [
        (clean(name), *(f"{counts[key]:,}" for key in ("received", "succeeded", "failed", "dropped", "retried")))
        for name, counts in told["nodes"].items()
    ]
    kept = told["kept"]
    size = f"{kept['file']:,} bytes: {kept['sources']:,} of source tasks, {kept['results']:,} of results"
    return _print(
        [
            f"{clean(str(given.where))}: {state}",
            *_table(rows),
            f"{told['tasks']:,} source tasks: {tasks}, {told['unfinished']:,} unfinished",
            _dead_letters(told["dead"]),
            f"{size}, {kept['between']:,} between nodes",
        ]
    )


def _told(journal: JournalReader) -> dict[str, Any]:
    statuses: dict[str, int] = {}
    for outcome in journal.outcomes:
        statuses[outcome.status] = statuses.get(outcome.status, 0) + 1
    names = ("received", "succeeded", "failed", "dropped", "retried", "duplicates")
    kept = journal.kept
    return {
        "runs": [_run_dict(run) for run in journal.runs],
        "tasks": kept.tasks,
        "statuses": statuses,
        "unfinished": len(journal.unfinished),
        "dead": len(journal.failures),
        "nodes": {node: {name: getattr(c, name) for name in names} for node, c in journal.counts.items()},
        "kept": {name: getattr(kept, name) for name in ("sources", "results", "between", "records", "file")},
    }


def _run_dict(run: Any) -> dict[str, Any]:
    return {"number": run.number, "state": run.state, "started": run.started, "ended": run.ended}


def _dead(given: argparse.Namespace) -> int:
    from dagflow.reading import open_journal

    with open_journal(given.where) as journal:
        known = list(journal.counts)
        if given.node is not None and given.node not in known:
            raise UsageError(f"there is no node {given.node!r}; there are {', '.join(known) or 'none'}")
        found = [f for f in journal.failures if _chosen(f, given)]
    if given.json:
        return _print_json([_failure_dict(f) for f in found], given)
    lines = []
    for failure in found:
        tries = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
        lines.append(f"{clean(failure.node)} after {tries}: {clean(error_text(failure.error))[:_SHOWN_MOST]}")
        lines.append(
            f"    task {describe(failure.task, _SHOWN_MOST)}, of source task {describe(failure.source, _SHOWN_MOST)}"
        )
    lines.append(_dead_letters(len(found)))
    return _print(lines)


def _dead_letters(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def _chosen(failure: FailureRecord, given: argparse.Namespace) -> bool:
    kinds = {kind.__name__ for kind in type(failure.error).__mro__}
    return (given.node is None or failure.node == given.node) and (given.error is None or given.error in kinds)


def _failure_dict(failure: FailureRecord) -> dict[str, Any]:
    return {
        "node": failure.node,
        "source": failure.source,
        "task": failure.task,
        "attempts": failure.attempts,
        "error": error_text(failure.error),
        "type": type(failure.error).__name__,
        "traceback": "\n".join(getattr(failure.error, "__notes__", ())),
    }


def _retry(given: argparse.Namespace) -> int:
    graph = graph_named(given.graph)
    return int(given.run(graph, None, given, journal=given.where, retry_failed=True))


# -- printing ----------------------------------------------------------------------------------------------


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        print(line)
    return 0


def _print_json(value: Any, given: argparse.Namespace) -> int:
    print(given.as_json(value, sys.stdout))
    return 0


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if at == 0 or len(rows[0]) == 4 else cell.rjust(w)
            for at, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
