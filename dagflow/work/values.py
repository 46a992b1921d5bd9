"""Payloads: a list of values, live in this process (`Values`) or pickled for another one (`Sealed`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object


class Place(Protocol):
    """Memory outside this process's heap that sealed values lie in; its owner counts who still needs it.

    ``contents`` is the caller's to read and to write, and nobody else's: a copy, or a mapping that copies on writing.
    """

    size: int

    def contents(self) -> bytearray | memoryview: ...
    def copy(self) -> bytes: ...


class Values:
    """Live values. ``branches`` are copies for the 2nd, 3rd, ... node that gets them."""

    __slots__ = ("__weakref__", "branches", "count", "size", "values")

    def __init__(self, values: Sequence[Any], branches: tuple[Values, ...] = ()) -> None:
        self.values = values
        self.count = len(values)
        self.size = estimated_size(values)
        self.branches = branches

    def branch(self, number: int) -> Values:
        """The values for branch ``number``: the first gets these, the others their copies."""
        return self if number == 0 or not self.branches else self.branches[number - 1]


class Sealed:
    """Pickled values: bytes that only a worker, or the reader of a result, opens.

    Large ones lie in a ``place`` that processes share, so that only its number travels; ``detach`` fetches them
    from there for good.
    """

    __slots__ = ("__weakref__", "_data", "count", "place", "size")

    def __init__(self, data: bytes, count: int, place: Place | None = None) -> None:
        self._data = data
        self.count = count
        self.place = place
        self.size = len(data) if place is None else place.size

    @property
    def data(self) -> bytes:
        """The bytes, wherever they lie."""
        place = self.place  # which `detach` may take away meanwhile, in another thread
        return self._data if place is None else place.copy()

    def contents(self) -> bytes | bytearray | memoryview:
        """The bytes for `dagflow.work.codec.loads`, without a copy where that is safe."""
        place = self.place
        return self._data if place is None else place.contents()

    def detach(self) -> None:
        """Keep the bytes in this process, and let go of the place."""
        if self.place is not None:
            self._data = self.data
            self.place = None

    def branch(self, number: int) -> Sealed:
        """Itself: every reader makes its own objects of the bytes."""
        del number
        return self


def live(values: Sequence[Any], branches: int = 1) -> Values:
    """Live values for ``branches`` nodes, each with its own copy."""
    if branches == 1:
        return Values(values)
    return Values(values, tuple(Values([copied(v) for v in values]) for _ in range(branches - 1)))


def copied(value: Any) -> Any:
    """A deep copy; what cannot be copied (a lock, a connection) is shared."""
    if type(value) in _IMMUTABLE:
        return value
    import copy

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
