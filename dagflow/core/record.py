"""Records: classes with named fields, as `dataclasses` makes them with ``slots=True``, without what that costs.

Importing `dataclasses` (and with it `inspect`, `ast`, `re`) takes 11 ms and each class half a millisecond, mostly to
compile its ``__init__``; the forty records of a run would be half of what starting the first worker takes. Here that is
compiled already, once for each number of fields (see `dagflow.core.fits`), and is given the names of the fields.
A type checker sees `dataclasses` itself.
"""

from __future__ import annotations

from dagflow.core.fits import FITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


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

    given |= {"__slots__": names, "__match_args__": names, "__init__": _init(cls.__qualname__, names, defaults, frozen)}
    made: Any = type(cls)(cls.__name__, cls.__bases__, given)
    return made


def _init(kind: str, names: tuple[str, ...], defaults: dict[str, Any], frozen: bool) -> Any:
    """The ``__init__``, as fast as if written by hand: it runs for every envelope."""
    if len(names) >= len(FITS):
        raise TypeError(f"{kind} has {len(names)} fields; a record has {len(FITS) - 1} at most (see dagflow.core.fits)")
    fit: Any = FITS[len(names)]
    code = fit.__code__.replace(
        co_name="__init__", co_qualname=f"{kind}.__init__", co_names=names, co_varnames=("self", *names)
    )
    anew = {name: value.make for name, value in defaults.items() if isinstance(value, _Factory)}
    values = tuple([_NOTHING if isinstance(value, _Factory) else value for value in defaults.values()])
    plain = type(fit)(code, {}, "__init__", values)
    if frozen:
        return _for_frozen(plain, names, anew)
    return _with_new(plain, names, anew) if anew else plain


def _with_new(plain: Any, names: tuple[str, ...], anew: dict[str, Callable[[], Any]]) -> Any:
    """An ``__init__`` that makes what it is not given."""
    most = 1 + max(names.index(name) for name in anew)

    def init(self: Any, /, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        if len(args) < most:
            for name, make in anew.items():
                if getattr(self, name) is _NOTHING:
                    setattr(self, name, make())

    return init


def _for_frozen(plain: Any, names: tuple[str, ...], anew: dict[str, Callable[[], Any]]) -> Any:
    """An ``__init__`` for records that refuse to be set."""
    draft: Any = _with_new(plain, names, anew) if anew else plain

    def init(self: Any, /, *args: Any, **kwargs: Any) -> None:
        it = _Draft()
        draft(it, *args, **kwargs)
        for name in names:
            _set(self, name, getattr(it, name))

    return init


class _Draft:
    """Takes the fields of a record that cannot be changed."""


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
