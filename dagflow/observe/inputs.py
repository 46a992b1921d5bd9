"""Opens the inputs of tasks for the log: sealed values once, not once per fact that mentions them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from dagflow.core.payload import Piece
from dagflow.observe.text import describe
from dagflow.work.codec import open_values
from dagflow.work.values import Values

_BYTES_MOST: Final = 64 << 20
_UNREADABLE: Final = "<a value that cannot be read here>"


class Inputs:
    """Values of pieces, as texts.

    A thousand tasks sealed together may end in a thousand facts. The payloads opened last are kept, by
    identity and up to a bound of bytes, so that each is opened once.
    """

    def __init__(self) -> None:
        self._opened: OrderedDict[int, tuple[Any, list[Any] | None]] = OrderedDict()
        self._bytes = 0

    def texts(self, pieces: Sequence[Piece], positions: list[int] | None, count: int) -> list[str]:
        """``count`` texts: of the values at ``positions`` of all pieces (None: of each); "" where none is."""
        found: list[str] = []
        if positions is None:
            for piece in pieces:
                found.extend(self._describe(piece, None))
        else:
            start = at = 0
            for piece in pieces:
                end = start + piece[2] - piece[1]
                begin = at
                while at < len(positions) and positions[at] < end:
                    at += 1
                if at > begin:
                    found.extend(self._describe(piece, [p - start for p in positions[begin:at]]))
                start = end
        return found if len(found) == count else (found + [""] * count)[:count]

    def text(self, piece: Piece | None) -> str:
        """The one value of ``piece``; where it is a group's, the values."""
        if piece is None:
            return ""
        values = self._values(piece, partly=True)
        if values is None:
            return _UNREADABLE
        return describe(values[0] if len(values) == 1 else values)

    def _describe(self, piece: Piece, positions: list[int] | None) -> list[str]:
        values = self._values(piece, partly=positions is not None)
        if values is None:
            return [_UNREADABLE] * (piece[2] - piece[1] if positions is None else len(positions))
        return [describe(v) for v in (values if positions is None else (values[p] for p in positions))]

    def _values(self, piece: Piece, *, partly: bool) -> list[Any] | None:
        payload, low, high = piece
        if isinstance(payload, Values):
            return open_values(payload, low, high)
        kept = self._opened.get(id(payload))
        if kept is None:
            values = _open(payload)
            if partly or high - low < payload.count:
                self._keep(payload, values)
        else:
            self._opened.move_to_end(id(payload))
            values = kept[1]
        return values if values is None or (low == 0 and high == len(values)) else values[low:high]

    def _keep(self, payload: Any, values: list[Any] | None) -> None:
        # The payload is kept with its values: an identity is its own only as long as the object lives.
        self._opened[id(payload)] = payload, values
        self._bytes += payload.size
        while self._bytes > _BYTES_MOST and len(self._opened) > 1:
            _, (old, _) = self._opened.popitem(last=False)
            self._bytes -= old.size


def _open(payload: Any) -> list[Any] | None:
    try:
        return open_values(payload)
    except BaseException:  # noqa: BLE001 - reading a value runs code of its class
        return None
