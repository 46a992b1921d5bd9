"""Reducers: how to take apart what cloudpickle cannot, or sends by name though it only exists in ``__main__``.

A worker gets a cache or a thread-local of its own, which begins empty, as a thread's would. Not a lock or an event:
who uses one counts on its being shared, and is told that it is not. loguru's ``logger`` is the worker's own, which is
set up as the driver's is (`dagflow.work.logs`).
"""

from __future__ import annotations

import functools
import io
import sys
import threading
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dagflow.work.logs import LATER
from dagflow.work.proof import PROTOCOL

if TYPE_CHECKING:
    from pickle import PickleBuffer, Pickler
else:  # a pickler too, but it says nothing of its types
    from cloudpickle import Pickler

_OF_SLOTS = ("__slots__", "__slotnames__")
_MADE_AGAIN = frozenset(("__wrapped__", "cache_parameters", *functools.WRAPPER_ASSIGNMENTS))


def dumps(value: Any, apart: Callable[[PickleBuffer], bool] | None = None) -> bytes:
    """What ``cloudpickle.dumps`` gives, of more; ``apart`` says which buffers are not to be in it."""
    for module, (name, reducer) in LATER.items():
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None:
            _REDUCERS[kind] = reducer
    with io.BytesIO() as file:
        _Pickler(file, PROTOCOL, buffer_callback=apart).dump(value)
        return file.getvalue()


def _cache(cache: Any) -> str | tuple[Any, ...]:
    """A function with ``functools.lru_cache``: by name as pickle does it, if another process finds it by that."""
    if _importable(cache):
        name: str = cache.__reduce__()
        return name
    own = {name: value for name, value in vars(cache).items() if name not in _MADE_AGAIN}
    return _cached, (cache.__wrapped__, cache.cache_parameters()), own or None


def _cached(func: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(func)


def _importable(cache: Any) -> bool:
    if cache.__module__ == "__main__":
        return False
    found: Any = sys.modules.get(cache.__module__)
    for name in getattr(cache, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is cache


def _property(cached: functools.cached_property[Any]) -> tuple[Any, ...]:
    """Has a lock before Python 3.12."""
    return _named, (cached.func, cached.attrname)


def _named(func: Callable[[Any], Any], name: str | None) -> functools.cached_property[Any]:
    cached = functools.cached_property(func)
    cached.attrname = name
    return cached


def _local(local: threading.local) -> tuple[Any, ...]:
    return type(local), ()


def _weak_keys(table: WeakKeyDictionary[Any, Any]) -> tuple[Any, ...]:
    """``functools.singledispatch`` keeps one."""
    return WeakKeyDictionary, (dict(table),)


_REDUCERS: dict[type, Callable[[Any], Any]] = {
    type(functools.lru_cache(_local)): _cache,
    functools.cached_property: _property,
    threading.local: _local,
    WeakKeyDictionary: _weak_keys,
}


class _Pickler(Pickler):
    def reducer_override(self, thing: Any) -> Any:
        """As cloudpickle has it, but that a class keeps its slots: else its instances would not fit where it is whole.

        It is made first and filled later, so what it has slots for must be told when it is made.
        """
        if not isinstance(thing, (type, FunctionType)):  # for others cloudpickle does nothing here
            reducer = _REDUCERS.get(type(thing))
            return NotImplemented if reducer is None else reducer(thing)
        reduced = super().reducer_override(thing)
        if not isinstance(thing, type) or issubclass(thing, tuple):
            return reduced  # a tuple has no room for slots, and `typing.NamedTuple` will not be told of none
        match reduced:
            case (make, (kind, name, bases, dict(namespace), *others), (dict(state), slots), *rest) if (
                "__slots__" in state
            ):
                namespace = {**namespace, "__slots__": state["__slots__"]}
                state = {name: value for name, value in state.items() if name not in _OF_SLOTS}
                return make, (kind, name, bases, namespace, *others), (state, slots), *rest
        return reduced
