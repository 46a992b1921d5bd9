"""Which values are sure to be readable again.

Most values are builtins, or instances of classes that leave their pickling to Python: nothing of the user's runs
when they are read, so nothing can fail. Only where other code takes part (``__reduce__``, ``__setstate__``,
``__getattr__`` and the like) must a worker read back what it has just sealed. Which is which, the pickler itself
notes on its way, once for each class.
"""

from __future__ import annotations

import copyreg
import io
import operator
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from typing import Any
else:
    import _pickle as pickle  # what `pickle` itself uses, without what else it imports

PROTOCOL = 5
_TRUSTED = frozenset(
    (
        *("array.array", "collections.Counter", "collections.OrderedDict", "collections.deque"),
        *("datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone"),
        *("decimal.Decimal", "fractions.Fraction", "ipaddress.IPv4Address", "ipaddress.IPv6Address"),
        *("pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib._local.PosixPath", "pathlib._local.PurePosixPath"),
        *("uuid.UUID", "zoneinfo.ZoneInfo"),
        *(
            "builtins.bytearray",
            "builtins.complex",
            "builtins.range",
            "builtins.slice",
            "builtins.builtin_function_or_method",
        ),
    )
)
"""Types, by module and name, whose own pickles are known to be readable."""
_CODE = ("__reduce__", "__reduce_ex__", "__getattribute__", "__setattr__", "__new__")
_HOOKS = ("__setstate__", "__getstate__", "__getnewargs__", "__getnewargs_ex__", "__getattr__")


_by_itself = operator.methodcaller("__reduce_ex__", PROTOCOL)


class _Classes(dict[type, "Callable[[Any], Any]"]):
    """The pickler's table of reducers: classes that are harmless are in it, others are counted when met."""

    doubts = 0

    def __init__(self) -> None:
        super().__init__()
        self.doubtful: dict[type, Callable[[Any], Any]] = {}

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        reducer = self.doubtful.get(kind)
        if reducer is None:
            reducer = copyreg.dispatch_table.get(kind, _by_itself)
            if issubclass(kind, type):  # a class with a metaclass travels by its name
                raise KeyError(kind)
            if _trusted(kind) or (reducer is _by_itself and _harmless(kind)):
                self[kind] = reducer
                return reducer
            self.doubtful[kind] = reducer
        self.doubts += 1  # another thread's doubts count too: that costs a reading too many, never one too few
        return reducer


_classes = _Classes()


def _trusted(kind: type) -> bool:
    module = kind.__module__
    if module in ("numpy", "numpy.dtypes") and not kind.__flags__ & _HEAP_TYPE:
        return True  # arrays, their scalars and dtypes
    return f"{module}.{kind.__qualname__}" in _TRUSTED


def _harmless(kind: type) -> bool:
    """Whether no code of a user's runs when an instance is read."""
    if any(base is not object and not base.__flags__ & _HEAP_TYPE for base in kind.__mro__):
        return False  # a class of a builtin's kind: its items are put in by its own methods
    if type(kind) is not type or any(getattr(kind, name) is not getattr(object, name) for name in _CODE):
        return False
    return all(getattr(kind, name, None) is getattr(object, name, None) for name in _HOOKS)


_HEAP_TYPE = 1 << 9
"""The flag of classes that were made by a ``class`` statement."""


def pickled(value: Any, apart: Callable[[pickle.PickleBuffer], bool] | None = None) -> tuple[bytes, bool]:
    """The pickle of a value, and whether it is sure to be readable again; ``apart``: as ``buffer_callback`` there."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, PROTOCOL, buffer_callback=apart)
    pickler.dispatch_table = _classes
    before = _classes.doubts
    pickler.dump(value)
    return buffer.getvalue(), _classes.doubts == before
