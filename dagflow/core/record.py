"""Records: classes with named fields, as `dataclasses` makes them with ``slots=True``, without what that costs.

Importing `dataclasses` (and with it `inspect`, `ast`, `re`) takes 11 ms and each class half a millisecond; the forty
records of a run would be half of what starting the first worker takes. A type checker sees `dataclasses` itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

OFTEN: Final = 30
"""The ``__init__`` of a kind of which more records are made is compiled, which takes as long as to make so many without
it. In a short run nearly none is."""


class _Factory:
    """A default that is made anew for each record."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def _field(*, default_factory: Callable[[], Any]) -> Any:
    """A field whose default is what ``default_factory()`` gives."""
    return _Factory(default_factory)


def _record(cls: Any = None, /, *, frozen: bool = False) -> Any:
    """The class with slots for its annotated names, an ``__init__`` that takes them, equality and a repr."""
    return (lambda it: _made(it, frozen)) if cls is None else _made(cls, frozen)


def _replace(it: Any, /, **changes: Any) -> Any:
    """A record like ``it`` but for ``changes``."""
    return it.__class__(**{name: getattr(it, name) for name in it.__match_args__} | changes)


def _made(cls: Any, frozen: bool) -> Any:
    given = dict(cls.__dict__)
    names = tuple(given.get("__annotations__", ()))
    defaults = {name: given.pop(name) for name in names if name in given}
    for name in ("__dict__", "__weakref__"):
        given.pop(name, None)
    methods: dict[str, Any] = {"__eq__": _equal, "__repr__": _text, "__reduce__": _reduced}
    methods |= {"__setattr__": _refuse, "__delattr__": _refuse, "__hash__": _hashed} if frozen else {"__hash__": None}
    for name, method in methods.items():
        given.setdefault(name, method)

    left = OFTEN

    def first(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0 and _filled(self, names, defaults, args, kwargs):
            return
        made.__init__ = init = _init(names, defaults, frozen)
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        init(self, *args, **kwargs)

    given |= {"__slots__": names, "__match_args__": names, "__init__": first}
    made: Any = type(cls)(cls.__name__, cls.__bases__, given)
    return made


def _filled(
    it: Any, names: tuple[str, ...], defaults: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    """Set the fields one by one. False if the arguments are not right, which `_init` says in Python's words."""
    if len(args) > len(names):
        return False
    named = 0
    for name, value in zip(names, args, strict=False):
        _set(it, name, value)
    for name in names[len(args) :]:
        if name in kwargs:
            value = kwargs[name]
            named += 1
        elif name in defaults:
            default = defaults[name]
            value = default.make() if isinstance(default, _Factory) else default
        else:
            return False
        _set(it, name, value)
    return named == len(kwargs)


def _init(names: tuple[str, ...], defaults: dict[str, Any], frozen: bool) -> Any:
    """The ``__init__``, as if written by hand: it runs for every envelope."""
    scope: dict[str, Any] = {"_set": _set, "_nothing": _NOTHING}
    takes, does = [], []
    for name in names:
        value = name
        if name in defaults:
            default = defaults[name]
            if isinstance(default, _Factory):
                scope[f"_make_{name}"] = default.make
                takes.append(f"{name}=_nothing")
                value = f"_make_{name}() if {name} is _nothing else {name}"
            else:
                scope[f"_default_{name}"] = default
                takes.append(f"{name}=_default_{name}")
        else:
            takes.append(name)
        does.append(f" _set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
    source = f"def __init__(self, {', '.join(takes)}):\n" + "\n".join(does or [" pass"])
    exec(source, scope)  # noqa: S102 - made of the names of fields alone
    return scope["__init__"]


_NOTHING = object()
_set = object.__setattr__


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__match_args__])


def _equal(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hashed(self: Any) -> int:
    return hash(_values(self))


def _text(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{self.__class__.__qualname__}({fields})"


def _reduced(self: Any) -> tuple[Any, ...]:
    return self.__class__, _values(self)


def _refuse(self: Any, name: str, *value: object) -> None:
    raise AttributeError(f"{self.__class__.__qualname__} cannot be changed: its {name!r} is what it is")


if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    record, field, replace = _record, _field, _replace

__all__ = ["field", "record", "replace"]
