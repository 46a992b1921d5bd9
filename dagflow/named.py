"""Names: what ``MODULE:NAME`` and ``FILE.py:NAME`` stand for on the command line.

The user's code runs here, when its module is imported and when a function is called for what it returns; whatever
it raises is told as theirs, in one line with its place.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dagflow.graph.algebra import Graph


class UsageError(Exception):
    """What the user asked for cannot be meant; the message is the one line that they read."""


def graph_named(name: str) -> Graph:
    """The graph that ``name`` stands for: a graph, a node, or a function that returns one."""
    from dagflow.errors import GraphError
    from dagflow.graph.algebra import Graph
    from dagflow.graph.node import Node

    found = _named(name)
    if callable(found) and not isinstance(found, (Graph, Node)):
        found = _users(found, f"{name} was called for its graph and")
    try:
        return found if isinstance(found, Graph) else Graph(found)
    except GraphError:
        raise UsageError(f"{name} is no graph but a {type(found).__name__}: name a graph made with >>") from None


def tasks_named(given: str) -> Any:
    """The tasks that ``given`` stands for: ``-``, a file (a JSON value a line each), or an iterable by name."""
    if given == "-":
        return _lines(sys.stdin, "standard input")
    if os.path.exists(given):
        return _file(given)
    if ":" not in given:
        raise UsageError(f"there is no file {given}")
    found = _named(given)
    if callable(found):
        found = _users(found, f"{given} was called for its tasks and")
    if isinstance(found, (list, tuple, range)) or hasattr(found, "__aiter__"):
        return found
    if not hasattr(found, "__iter__"):
        raise UsageError(f"{given} is no iterable of tasks but a {type(found).__name__}")
    return _read(found, given)


def _read(tasks: Iterable[Any], name: str) -> Iterator[Any]:
    reader = iter(tasks)
    while True:
        try:
            task = next(reader)
        except StopIteration:
            return
        except Exception as error:
            raise UsageError(f"{name} gives no more tasks: it {_raised(error)}") from error
        yield task


def _file(path: str) -> Iterator[Any]:
    with open(path, encoding="utf-8") as lines:
        yield from _lines(lines, path)


def _lines(lines: Iterable[str], where: str) -> Iterator[Any]:
    number = 1
    try:
        for line in lines:
            if line.strip():
                yield json.loads(line)
            number += 1
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{where}, line {number}: not a JSON value: {error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}, at line {number} or soon after: not UTF-8: {error}") from None


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
            from difflib import get_close_matches

            close = get_close_matches(part, [known for known in dir(found) if not known.startswith("_")], 1)
            raise UsageError(f"{module_name} has no {attribute!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        found = getattr(found, part)
    return found


def _imported(name: str) -> Any:
    from importlib import import_module

    try:
        return _users(lambda: import_module(name), f"the module {name}")
    except ModuleNotFoundError as error:
        raise UsageError(f"there is no module {error.name!r}") from None


def _from_file(path: str) -> Any:
    """A script as a module, importable by workers under its own name."""
    if not os.path.isfile(path):
        raise UsageError(f"there is no file {path}")
    real = os.path.realpath(path)
    folder, name = os.path.split(real)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    module = _imported(name.removesuffix(".py"))
    if os.path.realpath(getattr(module, "__file__", None) or "") != real:
        raise UsageError(f"{path} bears the name of another module ({module.__name__}): rename it")
    return module


def _users(code: Callable[[], Any], what: str) -> Any:
    """Call code of the user's; what it raises is told in one line, with its place."""
    from dagflow.errors import DagflowError

    try:
        return code()
    except (DagflowError, ModuleNotFoundError, UsageError):
        raise
    except SystemExit as error:
        raise UsageError(f"{what} ended with exit code {error.code}") from None
    except Exception as error:
        raise UsageError(f"{what} {_raised(error)}") from error


def _raised(error: BaseException) -> str:
    """What was raised, and where in the user's code."""
    import traceback

    if isinstance(error, SyntaxError) and error.filename:
        return f"raised SyntaxError: {error.msg} ({os.path.basename(error.filename)}, line {error.lineno})"
    here = os.path.dirname(os.path.abspath(__file__))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((here, "<frozen"))]
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"raised {error_text(error)}{place}"


def error_text(error: BaseException) -> str:
    """The type and message of an error; never raises, whatever the error's class does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        from dagflow.observe.text import describe

        return describe(error)
