"""Payloads: a list of values, live in this process (`Values`) or pickled for another one (`Sealed`)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Any


class Values:
    """Live values. ``branches`` are copies for the 2nd, 3rd, ... node that gets them."""

    __slots__ = ("branches", "count", "size", "values")

    def __init__(self, values: Sequence[Any], branches: tuple[Values, ...] = ()) -> None:
        self.values = values
        self.count = len(values)
        self.size = estimated_size(values)
        self.branches = branches

    def branch(self, number: int) -> Values:
        """The values for branch ``number``: the first gets these, the others their copies."""
        return self if number == 0 or not self.branches else self.branches[number - 1]


class Sealed:
    """Pickled values: bytes that only a worker, or the reader of a result, opens."""

    __slots__ = ("count", "data", "size")

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self.count = count
        self.size = len(data)

    def branch(self, number: int) -> Sealed:
        """Itself: every reader makes its own objects of the bytes."""
        del number
        return self


def live(values: Sequence[Any], branches: int = 1) -> Values:
    """Live values for ``branches`` nodes, each with its own copy."""
    copies = tuple(Values([copied(v) for v in values]) for _ in range(branches - 1))
    return Values(values, copies)


def copied(value: Any) -> Any:
    """A deep copy; what cannot be copied (a lock, a connection) is shared."""
    if type(value) in _IMMUTABLE:
        return value
    try:
        return copy.deepcopy(value)
    except BaseException as error:  # a user's __deepcopy__ may raise anything; sharing is the contract
        if issubclass(type(error), KeyboardInterrupt):
            raise
        return value


_IMMUTABLE = frozenset((int, float, str, bytes, bool, type(None), complex, range))


def estimated_size(values: Sequence[Any]) -> int:
    """About how many bytes live values take, judged by the first and the last of them."""
    if not values:
        return 0
    sample = (values[0], values[-1]) if len(values) > 1 else (values[0],)
    return len(values) * sum(map(_size, sample)) // len(sample)


def _size(value: Any) -> int:
    # Only types whose size is known without calling code of the user's.
    kind = type(value)
    if kind in (str, bytes, bytearray, int, float, list, tuple, dict, set):
        return sys.getsizeof(value)
    nbytes = getattr(value, "nbytes", None) if kind.__module__ == "numpy" else None
    return nbytes if isinstance(nbytes, int) else 64
