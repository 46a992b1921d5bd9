"""The bus: tells every observer of a run, and never lets one of them hurt it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dagflow.observe.text import NAME_MOST, clean

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.graph.plan import Plan
    from dagflow.protocols import Observer, Snapshot


class Bus:
    """Fans out what a run has to tell; itself an `Observer`. One bus serves one run.

    An observer that raises is reported once, as a warning in the user's log, and hears nothing more. One
    with a method ``for_run`` is asked for a listener of this run's own, so that it can serve several runs
    at once. One with a class attribute ``wants_facts = False`` gets no facts; where nobody wants any,
    `wants_facts` of the bus is False and the ring need not bring them.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._choose(observers)

    def _choose(self, observers: Iterable[Observer]) -> None:
        self._listening: tuple[Observer, ...] = tuple(observers)
        self._hearing = tuple(o for o in self._listening if getattr(o, "wants_facts", True))
        self.wants_facts = bool(self._hearing)

    def opened(self, plan: Plan) -> None:
        """The run begins."""
        listening: list[Observer] = []
        try:
            for observer in self._listening:
                try:
                    listener: Observer = observer.for_run() if hasattr(observer, "for_run") else observer
                    listener.opened(plan)
                    listening.append(listener)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever it raises, the run goes on
                    _report(observer, error)
        finally:
            self._choose(listening)

    def facts(self, facts: Sequence[Fact]) -> None:
        """What was decided, in order."""
        if facts:
            self._tell(self._hearing, "facts", facts)

    def tick(self, snapshot: Snapshot) -> None:
        """How the run stands."""
        self._tell(self._listening, "tick", snapshot)

    def closed(self, snapshot: Snapshot) -> None:
        """The run has ended."""
        self._tell(self._listening, "closed", snapshot)

    def _tell(self, observers: tuple[Observer, ...], what: Literal["facts", "tick", "closed"], news: Any) -> None:
        for observer in observers:
            try:
                getattr(observer, what)(news)
            except KeyboardInterrupt:
                # The user's Ctrl-C reaches whatever runs at that moment, and it is meant for the run.
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it raises, the run goes on
                self._choose(o for o in self._listening if o is not observer)
                _report(observer, error)


def _report(observer: object, error: BaseException) -> None:
    from loguru import logger

    try:
        name, kind = clean(type(observer).__qualname__, NAME_MOST), clean(type(error).__qualname__, NAME_MOST)
        logger.opt(exception=error).warning(f"observer {name} raised {kind} and hears no more of this run")
    except Exception:  # noqa: BLE001, S110 - a sink of the user's that raises must not hurt the run either
        pass
