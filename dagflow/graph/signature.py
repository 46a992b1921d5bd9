"""What a callable's signature says about how it wants to be called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from dagflow.graph.marks import makes_instances

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def required_positional(func: Callable[..., Any]) -> int:
    """How many positional arguments ``func`` cannot be called without (0 where nothing is known).

    For a class with ``__call__`` it is that of its instances which counts, since an instance is what is called
    with each task.
    """
    return sum(1 for p in positional(func) if p.default is inspect.Parameter.empty)


def positional(func: Callable[..., Any]) -> list[inspect.Parameter]:
    """The positional parameters of ``func``, in order (none where nothing is known)."""
    return [p for p in _parameters(func) or () if p.kind in _POSITIONAL]


def takes_exactly(func: Callable[..., Any], count: int) -> bool:
    """Whether ``func`` takes exactly ``count`` positional arguments: that many required, no more possible."""
    parameters = _parameters(func)
    if parameters is None or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return False
    return len(positional(func)) == count == required_positional(func)


def _parameters(func: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of what is called with each task; None for builtins without a signature."""
    target: Any = func
    skip = 0
    if makes_instances(func):
        target = getattr(func, "__call__", None)  # noqa: B004 - the method itself is wanted, not a test
        bound = isinstance(inspect.getattr_static(func, "__call__"), (staticmethod, classmethod))
        skip = 0 if bound else 1
    elif not inspect.isclass(func) and not inspect.isroutine(func) and not isinstance(func, functools.partial):
        target = getattr(func, "__call__", func)  # noqa: B004 - of an object: `inspect.signature` takes a static __call__ for a method
    try:
        return list(inspect.signature(target).parameters.values())[skip:]
    except (TypeError, ValueError):
        return None


def is_async(func: Callable[..., Any]) -> bool:
    """Whether calling ``func`` (or an instance of it, for a class with ``__call__``) gives a coroutine."""
    target: Any = func
    while isinstance(target, functools.partial):
        target = target.func
    if inspect.isclass(target):
        target = getattr(target, "__call__", None) if makes_instances(target) else None  # noqa: B004
    if inspect.iscoroutinefunction(target):
        return True
    return not inspect.isroutine(target) and inspect.iscoroutinefunction(getattr(target, "__call__", None))  # noqa: B004


def callable_name(func: Callable[..., Any]) -> str:
    """A short name for a callable: its own name, that of what it wraps, or that of its type."""
    while isinstance(func, functools.partial):
        func = func.func
    name = getattr(func, "__name__", None)
    if not isinstance(name, str) or not name:
        name = type(func).__name__
    return "lambda" if name == "<lambda>" else name
