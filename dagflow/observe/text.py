"""What tasks say, made fit for a line: cut to a bound, and without characters that steer a screen or a log.

A value's ``repr`` and an error's message are written by strangers. Newlines would forge log lines, escape
sequences would drive terminals, direction marks would turn texts around, lone surrogates cannot be written.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any, Final

from dagflow.core.ids import Space

TASK_MOST: Final = 200
MESSAGE_MOST: Final = 500
NAME_MOST: Final = 100

_SHORT: Final = 64
_SCALARS: Final = frozenset((int, float, bool, complex, type(None)))
_CONTAINERS: Final = frozenset((list, tuple, dict, set, frozenset))


def clean(text: str, most: int = MESSAGE_MOST) -> str:
    """``text`` in one printable line of at most ``most`` characters; the others as ``\\n``, ``\\x1b``."""
    if len(text) <= most and text.isprintable():
        return text
    text = str.__getitem__(text, slice(most + 1))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def describe(value: Any, most: int = TASK_MOST) -> str:
    """The ``repr`` of a task's value, as `clean` makes it; never raises, whatever the value's class does."""
    try:
        return clean(_repr(value), most)
    except BaseException as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        try:
            return clean(f"<{type(value).__name__}, whose repr raises {type(error).__name__}>", most)
        except BaseException:  # noqa: BLE001 - even the class's name may be computed
            return "<a value without a repr>"


def _repr(value: Any) -> str:
    kind = type(value)
    if kind in _SCALARS:
        return repr(value)
    if kind is str or kind is bytes:
        # Cut first: the repr of a gigabyte takes a second gigabyte.
        return repr(value if len(value) <= TASK_MOST else value[: TASK_MOST + 1])
    if kind in _CONTAINERS and not _is_small(value):
        return _bounded.repr(value)
    return repr(value)


def _is_small(container: Any) -> bool:
    """Few members, and none of them can be large."""
    if len(container) > _SHORT:
        return False
    members = [*container, *container.values()] if type(container) is dict else container
    return all(type(m) in _SCALARS or (type(m) in (str, bytes) and len(m) <= TASK_MOST) for m in members)


class _Bounded(reprlib.Repr):
    """A repr that looks at the first members only, and leaves dicts and sets in their own order."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 8
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = _SHORT
        self.maxarray = self.maxdeque = _SHORT
        self.maxstring = self.maxother = self.maxlong = TASK_MOST

    def repr_str(self, x: str, level: int) -> str:
        del level
        return _repr(x)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}"
        one: Callable[[Any, int], str] = self.repr1
        pairs = [f"{one(k, level - 1)}: {one(v, level - 1)}" for k, v in list(x.items())[:_SHORT]]
        return "{" + ", ".join(pairs + ["..."] * (len(x) > _SHORT)) + "}"


_bounded = _Bounded()


def number_of(space: Space, index: int) -> str:
    """A task's number: its source task's, then child by child (``12.0.3``); the frames between are left out."""
    if space.parent is None:
        return f"aggregate {index}" if space.aggregate else str(index)
    lineage = space.lineage(index)
    number = ".".join(map(str, (lineage[0], *lineage[2::2])))
    return f"aggregate {number}" if space.aggregate else number
