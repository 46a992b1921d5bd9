"""Which source tasks are traced: all of them, or a fraction, which is the same tasks in each run."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Final

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX: Final = 0xBF58476D1CE4E5B9
_BITS: Final = (1 << 64) - 1


class Sample:
    """A fraction of the numbers 0, 1, 2, ...: one out of every ``1 / fraction``, mixed within its stretch.

    So a tenth of a thousand tasks is a hundred of them, no rhythm of the source is met with, which they are depends
    on nothing but the fraction, and those within a range are found without looking at the others.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction
        self.whole = fraction >= 1
        self._stretch = 1 / fraction

    def has(self, number: int) -> bool:
        """Whether ``number`` is in it."""
        return self.whole or bool(self.within(number, number + 1))

    def within(self, low: int, high: int) -> Sequence[int]:
        """The numbers of it from ``low`` to ``high`` (without), rising."""
        if self.whole:
            return range(low, high)
        found = []
        stretch = self._stretch
        # One stretch more on both sides, since products are rounded.
        for at in range(max(0, int(low / stretch) - 1), int(high / stretch) + 2):
            begin, end = ceil(at * stretch), ceil((at + 1) * stretch)
            if begin < high and end > low:
                number = begin + (_mixed(at) * (end - begin) >> 64)
                if low <= number < high:
                    found.append(number)
        return found


def _mixed(number: int) -> int:
    """64 bits that look like chance."""
    bits = (number + 1) * _GOLDEN & _BITS
    bits = (bits ^ bits >> 30) * _MIX & _BITS
    return bits ^ bits >> 31


def sample_of(trace: Any) -> Sample | None:
    """What a run's ``trace=`` argument asks for; None: nothing. Raises `ValueError` for what it cannot mean."""
    if trace is False or trace is None:
        return None
    if trace is True:
        return Sample(1.0)
    if isinstance(trace, (int, float)) and 0 <= trace <= 1:
        return Sample(float(trace)) if trace else None
    raise ValueError(f"trace must be True, False, or a fraction of the source tasks between 0 and 1, not {trace!r}")
