"""The command ``dagflow``: demo, run, draw.

stdout is for results; all that is said about them goes to stderr. Exit codes: 0 all done, 1 some tasks
failed, 2 wrong use (one line says what), 3 the world (workers, files), 70 a bug of dagflow's, 130 interrupted.

What a command needs is imported when it is called, so that ``dagflow --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dagflow.result import RunResult

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
WORLD: Final = 3
BUG: Final = 70
INTERRUPTED: Final = 130


class UsageError(Exception):
    """What the user asked for cannot be meant; the message is the one line that they read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command in ``arguments`` (default: the process's); gives the exit code."""
    try:
        return _guarded(arguments)
    except BrokenPipeError:
        # Whoever read our output has read enough (`| head`). The interpreter flushes once more at its end,
        # and must find something that takes what is left.
        _to_nowhere()
        return DONE


def _guarded(arguments: Sequence[str] | None) -> int:
    try:
        code = _carry_out(arguments)
        _stdout().flush()
        return code
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except UsageError as error:
        return _say(str(error), WRONG_USE)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _say(_line(error), WORLD)
    except Exception as error:  # noqa: BLE001 - sorted by whose doing it was
        return _end_badly(error)


def _carry_out(arguments: Sequence[str] | None) -> int:
    try:
        parsed = _parser().parse_args(arguments)
    except SystemExit as end:  # --help, --version, or wrong use, which argparse has told already
        return end.code if isinstance(end.code, int) else WRONG_USE
    command: Callable[[argparse.Namespace], int] = parsed.command
    return command(parsed)


def _end_badly(error: Exception) -> int:
    from dagflow.errors import BackendError, GraphError, RunError

    match error:
        case GraphError():
            return _say(f"the graph is wrong: {error}", WRONG_USE)
        case BackendError():
            return _say(str(error), WORLD)
        case RunError():
            return _say(_line(error), FAILED)
    import traceback

    traceback.print_exception(error)
    return _say("this is a bug of dagflow's: please report it with the lines above", BUG)


# -- the commands ------------------------------------------------------------------------------------------


def _demo(given: argparse.Namespace) -> int:
    from dagflow import demo

    return demo.main(given.backend, given.packages, None if given.no_svg else given.output, _stdout())


def _draw(given: argparse.Namespace) -> int:
    graph = _graph(given.graph)
    if given.output is None:
        _stdout().write(graph.to_mermaid().rstrip("\n") + "\n")
        return DONE
    try:
        path = graph.draw(given.output)
    except ValueError as error:  # a suffix that says no format
        raise UsageError(str(error)) from None
    _say(f"drawn: {path}")
    return DONE


def _run(given: argparse.Namespace) -> int:
    from dagflow.lines import Lines, tasks_of, writing

    _make_importable(os.getcwd())
    tasks = tasks_of(given.input, _named)
    graph = _graph(given.graph)
    with writing(given.out, _stdout) as out:
        lines = Lines(graph, out)
        try:
            result: RunResult = graph.run(tasks, given.backend, show_progress=given.progress)
        except BaseException as error:
            # Interrupted, or the input broke: what had ended by then has ended all the same.
            so_far = getattr(error, "result", None)
            if so_far is not None:
                _report(so_far, lines)
            raise
        return _report(result, lines)
