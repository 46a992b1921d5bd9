"""The command ``dagflow``: demo, run, draw.

stdout is for results; all that is said about them goes to stderr. Exit codes: 0 all done, 1 some tasks
failed, 2 wrong use (one line says what), 3 the world (workers, files), 70 a bug of dagflow's, 130 interrupted.

What a command needs is imported when it is called, so that ``dagflow --help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dagflow.graph.algebra import Graph
    from dagflow.result import RunResult

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
WORLD: Final = 3
BUG: Final = 70
INTERRUPTED: Final = 130
BACKENDS: Final = ("process", "thread", "serial")


class UsageError(Exception):
    """What the user asked for cannot be meant; the message is the one line that they read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command in ``arguments`` (default: the process's); gives the exit code."""
    try:
        code = _guarded(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has read enough (`| head`). The interpreter flushes once more at its end,
        # and must find something that takes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


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
    if isinstance(error, BackendError):
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

    parser = argparse.ArgumentParser(
        prog="dagflow",
        description="Run, draw and look at graphs of plain Python functions.",
        epilog="exit codes: 0 all done, 1 some tasks failed, 2 wrong use, 3 the world, 70 our bug, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"dagflow {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = _command(commands, "demo", "run a real graph over Python's standard library", "dagflow demo -o graph.svg")
    demo.add_argument("--backend", choices=BACKENDS, default="process", help="who works (default: process)")
    demo.add_argument("--packages", type=int, default=12, metavar="N", help="show the N largest (default: 12)")
    demo.add_argument("-o", "--output", default="dagflow-demo.svg", metavar="F", help="where to draw the graph")
    demo.set_defaults(command=_demo)

    run = _command(
        commands,
        "run",
        "run a graph over tasks: a JSON value a line in, a line a task out",
        "dagflow run flow.py:graph --input tasks.jsonl --out results.jsonl",
    )
    run.add_argument("graph", metavar="MODULE:GRAPH", help="a graph, a node, or a function that returns one")
    run.add_argument("--input", required=True, metavar="FILE|-|MODULE:ITERABLE", help="where the tasks come from")
    run.add_argument("--out", default="-", metavar="F", help="where the results go (default: stdout)")
    run.add_argument("--backend", choices=BACKENDS, default="process", help="who works (default: process)")
    run.add_argument("--progress", action="store_true", help="a bar per node on stderr")
    run.set_defaults(command=_run)

    draw = _command(commands, "draw", "draw a graph", "dagflow draw flow.py:graph -o flow.svg")
    draw.add_argument("graph", metavar="MODULE:GRAPH", help="a graph, a node, or a function that returns one")
    draw.add_argument("-o", "--output", metavar="F", help="by suffix: .svg .png .pdf .dot .mmd .txt (default: Mermaid)")
    draw.set_defaults(command=_draw)
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
    return demo.main(given.backend, given.packages, given.output, sys.stdout)


def _draw(given: argparse.Namespace) -> int:
    graph = _graph(given.graph)
    if given.output is None:
        sys.stdout.write(graph.to_mermaid().rstrip("\n") + "\n")
        return DONE
    _known_picture(given.output)
    return _say(f"drawn: {graph.draw(given.output)}", DONE)


def _known_picture(path: str) -> None:
    known = (".svg", ".png", ".pdf", ".dot", ".gv", ".mmd", ".txt")
    if not path.lower().endswith(known):
        raise UsageError(f"cannot tell from {path!r} what to draw: end it in {' '.join(known)}")


def _run(given: argparse.Namespace) -> int:
    graph = _graph(given.graph)
    tasks = _tasks(given.input)
    out = sys.stdout if given.out == "-" else open(given.out, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    try:
        try:
            result: RunResult = graph.run(tasks, given.backend, show_progress=given.progress)
        except BaseException as error:
            # Interrupted, or the input broke: what had ended by then has ended all the same.
            so_far = getattr(error, "result", None)
            if so_far is not None:
                _report(so_far, out)
            raise
        return _report(result, out)
    finally:
        if out is not sys.stdout:
            out.close()


def _report(result: RunResult, out: Any) -> int:
    """A line a task to ``out``, the summary to stderr; the exit code."""
    for outcome in result.outcomes:
        error = None if outcome.error is None else f"{type(outcome.error).__name__}: {outcome.error}"
        line = {
            "task": outcome.task,
            "status": outcome.status,
            "values": outcome.values,
            "error": error,
            "trace_id": outcome.trace_id,
        }
        out.write(json.dumps(line, default=repr, ensure_ascii=False) + "\n")
    out.flush()
    print(result.summary(), file=sys.stderr)
    return FAILED if result.get_error_dict() else DONE


# -- what names stand for ----------------------------------------------------------------------------------


def _graph(name: str) -> Graph:
    from dagflow.errors import GraphError
    from dagflow.graph.algebra import Graph
    from dagflow.graph.node import Node

    found = _named(name)
    if callable(found) and not isinstance(found, (Graph, Node)):
        found = found()
    try:
        return found if isinstance(found, Graph) else Graph(found)
    except GraphError:
        raise UsageError(f"{name} is no graph but a {type(found).__name__}: name a graph made with >>") from None


def _tasks(given: str) -> Iterable[Any]:
    if given == "-":
        return _lines(sys.stdin, "standard input")
    if os.path.exists(given):
        return _file(given)
    if ":" in given:
        found = _named(given)
        return found() if callable(found) else found  # type: ignore[no-any-return]
    raise UsageError(f"there is no file {given}")


def _file(path: str) -> Iterator[Any]:
    with open(path, encoding="utf-8") as lines:
        yield from _lines(lines, path)


def _lines(lines: Iterable[str], where: str) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise UsageError(f"{where}, line {number}: not a JSON value: {error}") from None


def _named(name: str) -> Any:
    """What ``MODULE:NAME`` or ``FILE.py:NAME`` stands for."""
    module_name, colon, attribute = name.rpartition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{name!r} names nothing: write MODULE:NAME or FILE.py:NAME")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _from_file(module_name) if module_name.endswith(".py") else _imported(module_name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{module_name} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _imported(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"there is no module {error.name!r}") from None


def _from_file(path: str) -> Any:
    """A script as a module, importable by workers under its own name."""
    if not os.path.isfile(path):
        raise UsageError(f"there is no file {path}")
    folder, name = os.path.split(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return _imported(name.removesuffix(".py"))
