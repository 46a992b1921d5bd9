"""Hints: what the annotations of two joined functions say of each other. Only clear mismatches count.

What leaves a node and what the next one takes are read off annotations (or off ``TaskManager[In, Out]``); whatever
is not annotated, abstract, a type variable or cannot be resolved says nothing. A value of a union may be any of its
members, so a union mismatches only if each of its members does.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from dagflow.errors import GraphWarning
from dagflow.graph.algebra import FAILURES, Edge, Graph
from dagflow.graph.marks import DROP, makes_instances
from dagflow.graph.merger import Merger
from dagflow.graph.node import Node
from dagflow.graph.router import Router
from dagflow.graph.signature import positional, required_positional

UNKNOWN: Final = Any
_PROMOTIONS: Final = {(int, float), (int, complex), (float, complex), (bytearray, bytes), (memoryview, bytes)}
_AWAITABLE: Final = (collections.abc.Awaitable, collections.abc.Coroutine)
_ITERABLE: Final = (
    collections.abc.Iterable,
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.Sequence,
    collections.abc.Collection,
    list,
    set,
    frozenset,
    tuple,
)


@dataclass(frozen=True)
class Mismatch:
    """What ``left`` gives is not what ``right`` takes."""

    left: Node
    gives: Any
    right: Node
    takes: Any


def mismatches(graph: Graph) -> list[Mismatch]:
    """The joints of ``graph`` whose annotations clearly contradict each other."""
    found = []
    for edge in graph.edges:
        if edge.target is None or edge.port is FAILURES:
            continue
        takes = taken_by(edge.target, graph, edge)
        for left in _givers(graph, edge.source, set()):
            if contradicts(gives := given_by(left), takes):
                found.append(Mismatch(left, gives, edge.target, takes))
    return found


def _givers(graph: Graph, node: Node, seen: set[int]) -> Iterator[Node]:
    """The nodes that made what ``node`` sends on: itself, or those before a Router, which passes tasks through."""
    if not isinstance(node, Router):
        yield node
        return
    seen.add(id(node))
    for edge in graph.edges:
        if edge.target is node and edge.port is not FAILURES and id(edge.source) not in seen:
            yield from _givers(graph, edge.source, seen)


def given_by(node: Node) -> Any:
    """The type of the values that ``node`` sends on; `UNKNOWN` where nothing says so."""
    declared = _declared(node)
    if declared is not None:
        return declared[1]
    if node.overrides("process_result"):
        return UNKNOWN
    func = node.func
    if isinstance(node, Merger) and node.fold is not None and node.folds_only:
        func = node.fold[0]
    result = _returned(func)
    if node.kind == "split" or (node.kind == "task" and node.batch_size is not None):
        return _element(result)
    return result


def taken_by(node: Node, graph: Graph, edge: Edge) -> Any:
    """The type that ``node`` wants of what comes over ``edge``; `UNKNOWN` where nothing says so."""
    declared = _declared(node)
    if declared is not None:
        return declared[0]
    if node.overrides("get_args"):
        return UNKNOWN
    if isinstance(node, Merger):
        return _member_of(node, graph, edge)
    wanted = _parameters(node.func)
    if node.unpacks():
        exact = len(wanted) == required_positional(node.func) >= 2
        return tuple[tuple(wanted)] if exact else UNKNOWN  # type: ignore[misc]
    if not wanted:
        return UNKNOWN
    return _element(wanted[0]) if node.batch_size is not None else wanted[0]


def _member_of(merger: Merger, graph: Graph, edge: Edge) -> Any:
    if merger.fold is not None:
        wanted = _parameters(merger.fold[0])
        return wanted[1] if len(wanted) >= 2 else UNKNOWN
    wanted = _parameters(merger.func)
    if len(wanted) == 1:
        return _element(wanted[0])
    into = [e for e in graph.edges if e.target is merger]
    if len(wanted) == len(into) and merger.of is None and all(e.port is edge.port for e in into):
        # One argument a branch, where each branch is a single node: its place is that of the edge.
        return wanted[into.index(edge)] if _one_branching(graph, into) else UNKNOWN
    return UNKNOWN


def _one_branching(graph: Graph, into: list[Edge]) -> bool:
    """Whether the edges come from nodes that one node sends its tasks to, in this order."""
    before = [[e.source for e in graph.edges if e.target is edge.source] for edge in into]
    openers = {id(sources[0]) for sources in before if len(sources) == 1}
    if len(openers) != 1 or any(len(sources) != 1 for sources in before):
        return False
    order = [e.target for e in graph.edges if e.source is before[0][0]]
    return [e.source for e in into] == order


# -- annotations ----------------------------------------------------------------------------------------


def _declared(node: Node) -> tuple[Any, Any] | None:
    """What ``TaskManager[In, Out](...)`` says."""
    arguments = typing.get_args(getattr(node, "__orig_class__", None))
    return (arguments[0], arguments[1]) if len(arguments) == 2 else None


def _target(func: Callable[..., Any]) -> Any:
    """What is called with a task, and where its annotations stand."""
    while isinstance(func, functools.partial):
        func = func.func
    if makes_instances(func) or not (inspect.isroutine(func) or inspect.isclass(func)):
        return getattr(func, "__call__", None)  # noqa: B004 - the method itself is wanted, not a test
    return func


def _hints(func: Callable[..., Any]) -> dict[str, Any]:
    target = _target(func)
    try:
        return typing.get_type_hints(target) if target is not None and not inspect.isclass(target) else {}
    except Exception:  # noqa: BLE001 - annotations may name anything; what cannot be resolved says nothing
        return {}


def _returned(func: Callable[..., Any]) -> Any:
    if inspect.isclass(func) and not makes_instances(func):
        return func  # called as a plain function, a class gives its instances
    result = _hints(func).get("return", UNKNOWN)
    if typing.get_origin(result) in _AWAITABLE:
        result = typing.get_args(result)[-1]
    return result


def _parameters(func: Callable[..., Any]) -> list[Any]:
    """The types of the positional arguments that ``func`` takes."""
    hints = _hints(func)
    return [hints.get(p.name, UNKNOWN) for p in positional(func)]


def _element(kind: Any) -> Any:
    """The type of what an iterable type holds."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin not in _ITERABLE or not arguments:
        return UNKNOWN
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return typing.Union[tuple(arguments)]  # noqa: UP007 - of as many as there are
    return arguments[0]


# -- contradiction --------------------------------------------------------------------------------------


def contradicts(gives: Any, takes: Any) -> bool:
    """Whether no value of type ``gives`` can be one of type ``takes``, as far as can be told for sure."""
    gives, takes = _plain(gives), _plain(takes)
    if _is_union(gives):
        return all(contradicts(g, takes) for g in typing.get_args(gives) if g is not type(DROP))
    if _is_union(takes):
        return all(contradicts(gives, t) for t in typing.get_args(takes))
    if typing.get_origin(gives) is typing.Literal and typing.get_origin(takes) is typing.Literal:
        known = {(type(v), v) for v in typing.get_args(takes)}
        return not any((type(v), v) in known for v in typing.get_args(gives))
    if typing.get_origin(gives) is typing.Literal:
        return all(contradicts(type(v), takes) for v in typing.get_args(gives))
    if typing.get_origin(takes) is typing.Literal:
        return all(contradicts(gives, type(v)) for v in typing.get_args(takes))
    left, right = _class(gives), _class(takes)
    if left is None or right is None or (left, right) in _PROMOTIONS:
        return False
    if not (issubclass(left, right) or issubclass(right, left)):
        return True
    return _arguments_contradict(left, typing.get_args(gives), right, typing.get_args(takes))


def _arguments_contradict(left: type, gives: tuple[Any, ...], right: type, takes: tuple[Any, ...]) -> bool:
    if not gives or not takes:
        return False
    if left is tuple and right is tuple:
        return _tuples_contradict(gives, takes)
    return left is right and any(map(contradicts, gives, takes))


def _tuples_contradict(gives: tuple[Any, ...], takes: tuple[Any, ...]) -> bool:
    if gives[-1] is Ellipsis or takes[-1] is Ellipsis:
        if gives[-1] is Ellipsis and takes[-1] is Ellipsis:
            return contradicts(gives[0], takes[0])
        return False
    return len(gives) != len(takes) or any(map(contradicts, gives, takes))


def _plain(kind: Any) -> Any:
    """A type without what does not change its values: ``Annotated``, ``NewType``."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        else:
            return type(None) if kind is None else kind


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _class(kind: Any) -> type | None:
    """The class whose instances a type's values are; None where that says nothing for sure."""
    origin = typing.get_origin(kind) or kind
    if typing.is_typeddict(origin):
        return dict
    if not isinstance(origin, type) or origin is object or origin is Any:
        return None
    # Abstract classes and protocols: a class may well fit them without saying so.
    if inspect.isabstract(origin) or getattr(origin, "_is_protocol", False) or origin.__module__ == "collections.abc":
        return None
    return origin


def warn_of_mismatches(graph: Graph) -> None:
    """Warn of each mismatch, naming both sides, at the line of the user's that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dagflow."):
        level, frame = level + 1, frame.f_back
    for mismatch in mismatches(graph):
        warnings.warn(_told(mismatch, graph.names), GraphWarning, stacklevel=level)


def _told(mismatch: Mismatch, names: collections.abc.Mapping[Node, str]) -> str:
    left, right = names[mismatch.left], names[mismatch.right]
    return (
        f"{left!r} gives {_shown(mismatch.gives)}, but {right!r} takes {_shown(mismatch.takes)}: "
        f"{left} >> {right} looks wrong"
    )


def _shown(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")
