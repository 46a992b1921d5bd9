"""The numbers in the page that a worker process shares with the driver: what it is doing, readable after its death.

64-bit numbers, each written by one side only, nearly all by the worker. Who reads them sees no torn number, but maybe
two of different moments.
"""

from __future__ import annotations

from mmap import PAGESIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


TOKEN: Final = 0
"""The lease it is at; 0: none; -1: many at once, which is not marked."""
POSITION: Final = 1
"""The task of the lease that it is at, or `UNKNOWN`."""
SINCE: Final = 2
"""Since when (`monotonic_ns`)."""
ANSWERED: Final = 3
"""Of how many jobs it has sent the last answer."""
SUSPENDED: Final = 4
"""Since when a running split has been waiting for room (`monotonic_ns`); 0: it is not."""
BACK: Final = 5
"""Written by the driver: of leases up to this one it wants back what has not begun."""
NUMBERS: Final = 6
"""How many there are."""
PAGE_BYTES: Final = PAGESIZE
"""What they have to themselves, so that it can be mapped."""

UNKNOWN: Final = (1 << 63) - 1
"""The position while values are read or sealed: which of them kills the worker is not known."""
