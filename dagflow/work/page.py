"""The page that a worker process shares with the driver: what it is doing, readable after it has died.

64-bit numbers, written by the worker only. Who reads them sees no torn number, but maybe two of different moments.
"""

from __future__ import annotations

from typing import Final

PAGE_BYTES: Final = 4096

TOKEN: Final = 0
"""The lease it is at; 0: none; -1: many at once, which is not marked."""
POSITION: Final = 1
"""The task of the lease that it is at, or `UNKNOWN`."""
SINCE: Final = 2
"""Since when (`monotonic_ns`), where the node has a timeout."""
SUSPENDED: Final = 3
"""Since when a running split has been waiting for room; 0: it is not."""
TAKEN: Final = 4
"""How many jobs it has read from its socket."""
ANSWERED: Final = 5
"""Of how many jobs it has sent the last answer."""

UNKNOWN: Final = (1 << 63) - 1
"""The position while values are read or sealed: which of them kills the worker is not known."""
