"""The command ``dagflow``: demo, run, draw, trace, explain, and (in `dagflow.cli_journal`) runs, show, dead, retry.

stdout is for results; all that is said about them goes to stderr. Exit codes: 0 all done, 1 some tasks failed,
2 wrong use (one line says what), 3 the world (workers, journals, files), 70 a bug of dagflow's, 130 interrupted.

What a command needs is imported when it is called, so that ``dagflow --help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from dagflow.errors import JournalError
from dagflow.named import UsageError, error_text, graph_named, tasks_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagflow.graph.algebra import Graph
    from dagflow.result import RunResult

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
WORLD: Final = 3
BUG: Final = 70
INTERRUPTED: Final = 130
BACKENDS: Final = ("process", "thread", "serial")
_MANY: Final = 100_000
_DESCRIBED_MOST: Final = 100_000


class _Parser(argparse.ArgumentParser):
    """Says in one line what was wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command in ``arguments`` (default: the process's); gives the exit code."""
    _open_closed()
    try:
        code = _guarded(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has read enough (`| head`). The interpreter flushes once more at its end,
        # and must find something that takes what is left.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return DONE


def _open_closed() -> None:
    """A stream that was closed before we began (``>&-``) takes anything and keeps nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends


def _guarded(arguments: Sequence[str] | None) -> int:
    try:
        parsed = _parser().parse_args(arguments)
    except SystemExit as end:  # --help, --version, or wrong use, which argparse has told already
        return end.code if isinstance(end.code, int) else WRONG_USE
    try:
        return int(parsed.command(parsed))
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except UsageError as error:
        return _say(str(error), WRONG_USE)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _say(f"{type(error).__name__}: {error}", WORLD)
    except Exception as error:  # noqa: BLE001 - sorted by whose doing it was
        return _end_badly(error)


def _end_badly(error: Exception) -> int:
    from dagflow.errors import BackendError, GraphError

    if isinstance(error, GraphError):
        return _say(f"the graph is wrong: {error}", WRONG_USE)
    if isinstance(error, (BackendError, JournalError)):
        return _say(str(error), WORLD)
    import traceback

    traceback.print_exception(error)
    return _say("this is a bug of dagflow's, not yours: please report it with the lines above", BUG)


def _say(text: str, code: int) -> int:
    from dagflow.observe.text import clean

    print(f"dagflow: {clean(text)}", file=sys.stderr)
    return code


# -- the words of the command line -----------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    from dagflow import __version__

    parser = _Parser(
        prog="dagflow",
        description="Run, draw and look at graphs of plain Python functions.",
        epilog="exit codes: 0 all done, 1 some tasks failed, 2 wrong use, 3 the world, 70 our bug, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"dagflow {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = _command(commands, "demo", "run a real graph over Python's standard library", "dagflow demo -o graph.svg")
    demo.add_argument("--backend", choices=BACKENDS, default="process", help="who works (default: process)")
    demo.add_argument("--packages", type=int, default=12, metavar="N", help="show the N largest (default: 12)")
    demo.add_argument("-o", "--output", default="dagflow-demo.svg", metavar="F", help="where to draw the run")
    demo.add_argument("--json", action="store_true", help="say it in JSON: packages, failures, counts")
    demo.set_defaults(command=_demo)

    run = _command(
        commands,
        "run",
        "run a graph over tasks: a JSON value a line in, a line a task out",
        "dagflow run flow.py:graph --input tasks.jsonl --out results.jsonl",
    )
    run.add_argument("graph", metavar="MODULE:GRAPH", help="a graph, a node, or a function that returns one")
    run.add_argument(
        "--input", metavar="FILE|-|MODULE:ITERABLE", help="where the tasks come from (default: those the journal knows)"
    )
    run.add_argument("--out", default="-", metavar="F", help="where the results go (default: stdout)")
    run.add_argument("--backend", choices=BACKENDS, default="process", help="who works (default: process)")
    run.add_argument("--journal", metavar="W", help="where what ended is kept: a path, or redis://host:port/0")
    run.add_argument("--retry-failed", action="store_true", help="drive the journal's dead letters again")
    run.add_argument("--progress", action="store_true", help="a bar per node on stderr")
    run.add_argument("--draw", metavar="F", help="draw the graph with the counts of the run laid over, by suffix")
    run.add_argument("--trace", metavar="F", help="write what happened to each task: .jsonl, or .json for Perfetto")
    run.add_argument("--json", action="store_true", help="the summary on stderr as one JSON object")
    run.set_defaults(command=_run)

    draw = _command(commands, "draw", "draw a graph", "dagflow draw flow.py:graph -o flow.svg")
    draw.add_argument("graph", metavar="MODULE:GRAPH", help="a graph, a node, or a function that returns one")
    draw.add_argument("-o", "--output", metavar="F", help="by suffix: .svg .png .pdf .dot .mmd .txt (default: Mermaid)")
    draw.add_argument("--json", action="store_true", help="nodes, edges and scopes as one JSON object on stdout")
    draw.set_defaults(command=_draw)

    trace = _command(
        commands,
        "trace",
        "show what happened to tasks, from a file that 'dagflow run --trace' or export_trace() wrote",
        "dagflow trace run.jsonl 42",
    )
    trace.add_argument("file", metavar="FILE.jsonl", help="the exported traces")
    trace.add_argument("what", metavar="TASK|ID", nargs="?", help="a task, or its trace id (default: the first tasks)")
    trace.add_argument("--failed", action="store_true", help="only tasks that failed, or some of what came of them")
    trace.add_argument("--json", action="store_true", help="a JSON object a line for each of them")
    trace.set_defaults(command=_trace)

    explain = _command(
        commands,
        "explain",
        "say what limits a run: one that has written its traces, or one that is made now",
        "dagflow explain flow.py:graph --input tasks.jsonl",
    )
    explain.add_argument("run", metavar="FILE.jsonl|MODULE:GRAPH", help="exported traces, or a graph to run")
    explain.add_argument("--input", metavar="FILE|-|MODULE:ITERABLE", help="where the graph's tasks come from")
    explain.add_argument("--backend", choices=BACKENDS, default="process", help="who works (default: process)")
    explain.add_argument("--json", action="store_true", help="one JSON object")
    explain.set_defaults(command=_explain)

    from dagflow.cli_journal import add_commands

    add_commands(lambda *words: _command(commands, *words), BACKENDS, _run_and_report, _json)
    return parser


def _command(commands: Any, name: str, does: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=does, description=does[0].upper() + does[1:] + ".", epilog=f"example: {example}"
    )
    return parser


# -- the commands ------------------------------------------------------------------------------------------


def _demo(given: argparse.Namespace) -> int:
    from dagflow import demo

    if given.packages < 1:
        raise UsageError(f"--packages must be at least 1, not {given.packages}")
    _known_picture(given.output)
    return demo.main(given.backend, given.packages, given.output, sys.stdout, as_json=given.json)


def _draw(given: argparse.Namespace) -> int:
    if given.output is not None:
        _known_picture(given.output)
    graph = graph_named(given.graph)
    if given.json:
        from dagflow.draw.model import as_dict, picture

        sys.stdout.write(_json(as_dict(picture(graph)), sys.stdout) + "\n")
    elif given.output is None:
        sys.stdout.write(graph.to_mermaid().rstrip("\n") + "\n")
    if given.output is None:
        return DONE
    return _say(f"drawn: {graph.draw(given.output)}", DONE)


def _known_picture(path: str) -> None:
    known = (".svg", ".png", ".pdf", ".dot", ".gv", ".mmd", ".txt")
    if not path.lower().endswith(known):
        raise UsageError(f"cannot tell from {path!r} what to draw: end it in {' '.join(known)}")


def _run(given: argparse.Namespace) -> int:
    if given.draw is not None:
        _known_picture(given.draw)
    if given.journal is None:
        if given.input is None:
            raise UsageError("--input says where the tasks come from; only a --journal knows some by itself")
        if given.retry_failed:
            raise UsageError("--retry-failed needs the --journal that knows what failed")
    if given.trace is not None:
        from dagflow.observe.export import check_place, known_suffix

        if not known_suffix(given.trace):
            raise UsageError(f"cannot tell from {given.trace!r} what to write: end it in .jsonl or .json (Perfetto)")
        check_place(given.trace)
    graph = graph_named(given.graph)
    tasks = None if given.input is None else tasks_named(given.input)
    return _run_and_report(graph, tasks, given, journal=given.journal, retry_failed=given.retry_failed)


def _run_and_report(graph: Graph, tasks: Any, given: argparse.Namespace, **options: Any) -> int:
    """Run, and tell what became of it: a line a task, and the summary; the exit code."""
    out = sys.stdout if given.out == "-" else open(given.out, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    try:
        try:
            traced = given.trace is not None
            result: RunResult = graph.run(tasks, given.backend, show_progress=given.progress, trace=traced, **options)
        except BaseException as error:
            # Interrupted, or the input broke: what had ended by then has ended all the same.
            so_far = getattr(error, "result", None)
            if so_far is not None and not isinstance(error, JournalError):
                _report(so_far, out, given)
            raise
        return _report(result, out, given)
    finally:
        if out is not sys.stdout:
            out.close()


def _report(result: RunResult, out: Any, given: argparse.Namespace) -> int:
    """A line a task to ``out``, the summary to stderr; the exit code."""
    for outcome in result.outcomes:
        error = None if outcome.error is None else error_text(outcome.error)
        line = {
            "task": outcome.task,
            "status": outcome.status,
            "values": outcome.values,
            "error": error,
            "trace_id": outcome.trace_id,
        }
        out.write(_json(line, out) + "\n")
    out.flush()
    print(_json(_summary(result), sys.stderr) if given.json else result.summary(), file=sys.stderr)
    if given.draw is not None:
        result.draw(given.draw)
    if given.trace is not None:
        result.export_trace(given.trace)
    return FAILED if result.get_error_dict() else DONE


TRACES_SHOWN: Final = 20
"""So many tasks are shown where none is asked for."""


def _trace(given: argparse.Namespace) -> int:
    from dagflow.observe.reading import traces_in

    try:
        found = traces_in(given.file, given.what)
    except FileNotFoundError:
        raise UsageError(f"there is no file {given.file}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    if given.what is not None and not found:
        raise UsageError(f"{given.file} tells of no task {given.what}, and of no trace id that reads so")
    if given.failed:
        found = [trace for trace in found if any(member.status == "failed" for member in trace.walk())]
    shown = found if given.json or given.what is not None else found[:TRACES_SHOWN]
    for trace in shown:
        _print(trace.to_json() if given.json else str(trace))
    if len(shown) < len(found):
        _say(f"{len(found) - len(shown):,} more tasks are in {given.file}: name one, or use --failed or --json", DONE)
    return DONE


def _explain(given: argparse.Namespace) -> int:
    if given.run.endswith(".jsonl") or (":" not in given.run and os.path.exists(given.run)):
        return _explain_file(given)
    if given.input is None:
        raise UsageError(f"{given.run} is to be run: say with --input where its tasks come from")
    result: RunResult = graph_named(given.run).run(tasks_named(given.input), given.backend)
    _print(_json(_summary(result), sys.stdout) if given.json else result.explain())
    return FAILED if result.get_error_dict() else DONE


def _explain_file(given: argparse.Namespace) -> int:
    from dagflow.observe.reading import case_in
    from dagflow.observe.verdict import verdict

    try:
        case, part = case_in(given.run)
    except FileNotFoundError:
        raise UsageError(f"there is no file {given.run}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    text = verdict(case)
    if part < 0.95:
        text += f"\nThis is told from traces of {part:.1%} of the source tasks."
    _print(_json({"explain": text}, sys.stdout) if given.json else text)
    return DONE


def _print(text: str) -> None:
    """A text to stdout; lines of trees are drawn in ASCII where it knows no others."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = text.translate(str.maketrans("├└│─", "|`|-"))
        text = text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)
    print(text)


def _summary(result: RunResult) -> dict[str, Any]:
    busy = result.busy()
    nodes = {
        node.name: {
            "received": node.received,
            "succeeded": node.succeeded,
            "failed": node.failed,
            "dropped": node.dropped,
            "retried": node.retried,
            "duplicates": node.duplicates,
            "seconds": node.seconds,
            "busy": share,
        }
        for node, share in zip(result.snapshot.nodes, busy.shares, strict=True)
    }
    return {
        "tasks": len(result),
        "statuses": result.statuses(),
        "seconds": result.snapshot.elapsed,
        "bottleneck": None if busy.limits is None else result.snapshot.nodes[busy.limits].name,
        "explain": result.explain(),
        "nodes": nodes,
    }


def _json(value: Any, out: TextIO) -> str:
    """One line of JSON; what JSON has no word for is given as its ``repr``."""
    try:
        text = json.dumps(value, default=_described, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, NaN, or a value that holds itself
        if isinstance(value, dict):
            value = {key: _plain(part) for key, part in value.items()}
        text = json.dumps(value if isinstance(value, dict) else _plain(value), ensure_ascii=False)
    try:
        text.encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text))
    return text


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=_described, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return [_plain(part) for part in value] if type(value) is list and len(value) < _MANY else _described(value)


def _described(value: Any) -> str:
    from dagflow.observe.text import describe

    return describe(value, _DESCRIBED_MOST)
