"""What takes part: a class with the methods of the workloads that it can do; one that cannot leaves them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Functions = Sequence[Callable[[Any], Any]]


class Contender:
    """One way to run the workloads. Made in a fresh process; ``prepare`` is not timed, everything else is.

    ``only``: the workloads that it is for, where that is not all that it has a method for. ``workload``: the one it
    is made for, so that it can choose a batch size as its documentation advises. ``sizes``: how many tasks it gets of a workload, where the usual number would take it minutes.
    """

    name = ""
    kind = "peer"
    package = ""
    environment: dict[str, str] = {}
    sizes: dict[str, int] = {}
    only: tuple[str, ...] = ()

    def __init__(self, workload: str = "") -> None:
        self.workload = workload

    def prepare(self) -> None:
        """Import what is needed and start what runs for long (a cluster)."""

    def close(self) -> None:
        """End what `prepare` started."""

    # The workloads. Each is optional; `supports` says which are there.

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        """Each task through the functions, each of them in a process of its own; results as they come."""
        raise NotImplementedError

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        """As `stream`, but all results at the end."""
        return list(self.stream(functions, source))

    def warm_up(self) -> None:
        """W8: from now on keep from run to run what can be kept; nothing, unless it says otherwise."""

    def spread(self, function: Callable[[Any], Any], source: Sequence[Any], workers: int) -> Sequence[Any]:
        """One function in several processes; all results at the end."""
        raise NotImplementedError

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        """W3: split, square in a process of its own, sum the children of each task."""
        raise NotImplementedError

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        """W10: several chains at once, each over the whole source; the results of each."""
        raise NotImplementedError

    def sleep_async(self, count: int, seconds: float, width: int) -> int:
        """W7: ``count`` async sleeps, ``width`` at once; how many results came."""
        raise NotImplementedError

    def sleep_threads(self, count: int, seconds: float, width: int) -> int:
        """W7: the same in threads."""
        raise NotImplementedError

    def commands(self) -> dict[str, list[str]]:
        """Arguments of Python for importing it, and for its command line's help."""
        raise NotImplementedError

    def extra(self) -> None:
        """Only there in what takes part in the row of extras, which runs `collect`."""
        raise NotImplementedError

    def keep(self, functions: Functions, source: Iterable[Any], envelope: int) -> tuple[Sequence[Any], int]:
        """As `collect`, with ``envelope`` tasks at a time; the results, and how large the journal is."""
        raise NotImplementedError

    @classmethod
    def takes_part(cls, workload: str, method: str) -> bool:
        """Whether it can do a workload."""
        return cls.supports(method) and (not cls.only or workload in cls.only)

    @classmethod
    def supports(cls, method: str) -> bool:
        """Whether it has the method of its own."""
        own = getattr(cls, method) is not getattr(Contender, method)
        return own or (method == "collect" and cls.supports("stream"))

    @classmethod
    def version(cls) -> str:
        """Of its package; raises `ImportError` with a reason where it cannot take part."""
        if not cls.package:
            return ""
        try:
            found = version(cls.package)
        except PackageNotFoundError:
            raise ImportError(f"{cls.package} is not installed") from None
        return found


MODULES = (
    "dagflow_",
    "limits.loop",
    "limits.pipes",
    "limits.hub",
    "limits.segments",
    "limits.halves",
    "limits.sleepers",
    "peers.stdlib",
    "peers.mpipe_",
    "peers.pypeln_",
    "peers.joblib_",
    "peers.spdl_",
    "peers.celestialflow_",
    "peers.bytewax_",
    "peers.pipefunc_",
    "peers.dask_",
    "peers.ray_",
)


def contenders() -> dict[str, type[Contender]]:
    """All contenders by name, in the order of `MODULES`; none imports its package before `Contender.prepare`."""
    found: dict[str, type[Contender]] = {}
    for module in MODULES:
        for made in import_module(f"benchmarks.{module}").CONTENDERS:
            found[made.name] = made
    return found
