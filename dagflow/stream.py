"""Streams: the outputs of a run as they come, and how the run stands meanwhile."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from dagflow.draw.faces import Pictured
from dagflow.result import task_key
from dagflow.sink import StreamItem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from dagflow.busy import Busy
    from dagflow.draw.model import Picture
    from dagflow.observe.case import Case
    from dagflow.observe.trace import Trace
    from dagflow.observe.traces import Traces
    from dagflow.protocols import Snapshot


class Live(Protocol):
    """What a stream knows of the run behind it.

    ``abandon``: it will never be begun. ``forgotten``: nobody holds the stream any more.
    """

    def case(self) -> Case: ...
    def picture(self) -> Picture: ...
    def snapshot(self) -> Snapshot: ...
    def traces(self) -> Traces: ...
    def abandon(self) -> None: ...

    forgotten: bool


class Watched(Pictured):
    """What can be asked of a run that gives its outputs as they come.

    Its pictures (`to_svg`, `draw` and the like) are the graph's with the counts of now laid over.
    """

    _live: Live

    def snapshot(self) -> Snapshot:
        """States and counts as they are now."""
        return self._live.snapshot()

    def _picture(self) -> Picture:
        return self._live.picture()

    def explain(self) -> str:
        """The verdict on the run so far, as `RunResult.explain` gives it."""
        from dagflow.observe.verdict import verdict

        return verdict(self._live.case())

    def busy(self) -> Busy:
        """How busy the nodes have been so far, as `RunResult.busy`."""
        from dagflow.observe.verdict import busy

        return busy(self._live.case())

    @property
    def traces(self) -> Traces:
        """What is known so far of the traced source tasks, as `RunResult.traces`."""
        return self._live.traces()

    def trace(self, what: Any) -> Trace:
        """What has happened to one task so far: ``what`` is an output, a trace id, or a source task.

        A stream does not remember its tasks, so one that is asked for by value is looked for in all traces.
        """
        traces = self.traces
        if isinstance(what, StreamItem):
            return traces.of_id(what.trace_id)
        key = task_key(what)
        found = (int(t.trace_id, 16) for t in traces if "w" not in t.trace_id and task_key(t.task) == key)
        return traces.find(what, found)

    def export_trace(self, path: str | os.PathLike[str]) -> str:
        """Write what is known so far of all traced tasks, as `RunResult.export_trace`."""
        from dagflow.observe.export import export

        return export(self.traces, path)


class Stream(Watched, Iterator[StreamItem]):
    """The outputs of `Graph.stream`, one by one. Closing or abandoning it stops the run."""

    def __init__(self, live: Live, outputs: Generator[StreamItem, None, None]) -> None:
        self._live, self._outputs = live, outputs
        self._begun = False

    def __next__(self) -> StreamItem:
        self._begun = True
        return next(self._outputs)

    def close(self) -> None:
        """Stop the run, if it has not ended."""
        self._outputs.close()
        if not self._begun:
            self._begun = True
            self._live.abandon()

    def __del__(self) -> None:
        self._live.forgotten = True
        if not self._begun:
            self.close()


class AsyncStream(Watched, AsyncIterator[StreamItem]):
    """The outputs of `Graph.astream`, one by one. Closing it stops the run."""

    def __init__(self, live: Live, outputs: AsyncGenerator[StreamItem, None]) -> None:
        self._live, self._outputs = live, outputs
        self._begun = False

    async def __anext__(self) -> StreamItem:
        self._begun = True
        return await anext(self._outputs)

    async def aclose(self) -> None:
        """Stop the run, if it has not ended."""
        await self._outputs.aclose()
        self.__del__()

    def __del__(self) -> None:
        if not self._begun:
            self._begun = True
            self._live.abandon()
