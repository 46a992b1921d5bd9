"""The wiring: the only place that knows backends, observers and the ring by name.

``run`` turns the ring in the calling thread; ``stream``, ``open_run`` and their async twins in a thread of
their own, so that the run goes on while the user's code is busy.
"""

from __future__ import annotations

import asyncio
import re
import signal
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagflow.core import events as ev
from dagflow.core.scheduler import Scheduler
from dagflow.errors import BackendError, RunCancelled, RunFailed
from dagflow.observe.bus import Bus
from dagflow.observe.log import FailureLog
from dagflow.result import Collector, RunResult, TaskDict
from dagflow.run import Ring
from dagflow.sink import Sink, StreamItem
from dagflow.source import Submissions, TaskSource, source_of
from dagflow.work.outcome import open_error
from dagflow.work.program import Program

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.core.ids import Segment
    from dagflow.graph.algebra import Graph
    from dagflow.graph.node import Node
    from dagflow.protocols import Backend, Observer, Snapshot

SINK_ROOM = 16384
"""Outputs of a stream that may wait for the user before the run is held back."""
_UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


def run(
    graph: Graph,
    tasks: Iterable[Any] | AsyncIterable[Any] | None,
    backend: str = "process",
    *,
    ordered: bool = True,
    fail_fast: bool = False,
    show_progress: bool = False,
    max_in_flight: int | None = None,
    max_bytes: int | str = "1GB",
    logger: Any = None,
) -> RunResult:
    """Run ``tasks`` through ``graph`` to the end.

    Args:
        tasks: any iterable or async iterable, also endless; read lazily, as far as there is room.
        backend: ``"process"`` (each node in worker processes of its own), ``"thread"`` (in this process, each
            node by its execution mode), ``"serial"`` (in this thread, one task at a time, deterministic).
        ordered: results are in source order anyway; kept for symmetry with `stream`.
        fail_fast: the first finally failed task ends the run with `RunFailed`.
        show_progress: a bar per node on stderr.
        max_in_flight: tasks queued and running at once; default: as many as keep the workers busy.
        max_bytes: what their values may take, a number of bytes or a text such as ``"500MB"``.
        logger: a `TaskLogger`, or any observer; None writes no file.

    Raises:
        GraphError: the graph is wrong. RunFailed: see ``fail_fast``. BackendError: workers cannot start.
        KeyboardInterrupt: after Ctrl-C, when the running tasks have ended (at once if pressed twice).
        Whatever the source raised, after all that it had given before has ended.
    """
    del ordered
    live = _Live(graph, backend, _given(tasks), fail_fast, show_progress, max_in_flight, max_bytes, logger)
    with _Interrupts(live):
        live.turn_to_end()
    return live.result()


def stream(
    graph: Graph,
    tasks: Iterable[Any] | AsyncIterable[Any] | None,
    backend: str = "process",
    *,
    ordered: bool = False,
    fail_fast: bool = False,
    show_progress: bool = False,
    max_in_flight: int | None = None,
    max_bytes: int | str = "1GB",
    logger: Any = None,
) -> Iterator[StreamItem]:
    """Run ``tasks`` and give each output as it comes, and each final failure with its ``error`` set.

    The graph is checked here; the run starts with the first ``next()``. Closing or abandoning the iterator
    stops the run. ``ordered``: in source order. Other arguments, and what is raised: see `run`.
    """
    live = _Live(
        graph, backend, _given(tasks), fail_fast, show_progress, max_in_flight, max_bytes, logger,
        sink_room=SINK_ROOM, ordered=ordered,
    )  # fmt: skip
    return _outputs(live)


def _outputs(live: _Live) -> Iterator[StreamItem]:
    live.start()
    assert live.sink is not None
    try:
        while True:
            items, more = live.sink.get()
            if not items and not more:
                break
            yield from items
            live.ask(ev.Consumed(len(items)))
        live.join()
    finally:
        live.stop(kill=True)
        live.join(raises=False)
    live.raise_if_broken()


async def arun(
    graph: Graph, tasks: Iterable[Any] | AsyncIterable[Any] | None, backend: str = "process", **options: Any
) -> RunResult:
    """`run` for use inside a running event loop, which stays free meanwhile. Cancelling it cancels the run."""
    options.pop("ordered", None)
    source, feeding = _source_in_loop(tasks)
    live = _Live(graph, backend, source, **_defaults(options))
    live.start()
    feeder = asyncio.ensure_future(feeding) if feeding is not None else None
    try:
        await _joined(live)
    except asyncio.CancelledError:
        live.stop(kill=True)
        await _joined(live)
        raise
    finally:
        await _end_feeder(feeder)
    return live.result()


async def astream(
    graph: Graph, tasks: Iterable[Any] | AsyncIterable[Any] | None, backend: str = "process", **options: Any
) -> AsyncIterator[StreamItem]:
    """`stream` for use inside a running event loop."""
    ordered = options.pop("ordered", False)
    source, feeding = _source_in_loop(tasks)
    live = _Live(graph, backend, source, **_defaults(options), sink_room=SINK_ROOM, ordered=ordered)
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    assert live.sink is not None
    live.sink.listener = lambda: _call_soon(loop, there.set)
    live.start()
    feeder = asyncio.ensure_future(feeding) if feeding is not None else None
    try:
        more = True
        while more:
            there.clear()
            items, more = live.sink.get(wait=False)
            for item in items:
                yield item
            if items:
                live.ask(ev.Consumed(len(items)))
            elif more:
                await there.wait()
    finally:
        live.stop(kill=True)
        await _joined(live)
        await _end_feeder(feeder)
    live.raise_if_broken()


def open_run(graph: Graph, backend: str = "process", **options: Any) -> Run:
    """A live run: ``with graph.open() as run: run.submit(task)``. Options as of `run`."""
    options.pop("ordered", None)
    return Run(graph, backend, _defaults(options))


class Run:
    """A live run that tasks are submitted to. Leaving its ``with`` block closes and waits; an exception cancels."""

    def __init__(self, graph: Graph, backend: str, options: dict[str, Any]) -> None:
        self._submissions = Submissions()
        self._live = _Live(graph, backend, self._submissions, **options)
        self._live.start()

    def submit(self, task: Any) -> None:
        """Give the run one more task; waits while too many are not yet taken in."""
        if not self._submissions.put(task):
            self._live.raise_if_broken()
            raise RunCancelled("the run takes no more tasks: it was closed or cancelled, or has ended")

    def snapshot(self) -> Snapshot:
        """States and counts as they are now."""
        return self._live.ring.snapshot()

    def pause(self) -> None:
        """Begin nothing more until `resume`; running tasks go on."""
        self._live.ask(ev.PauseAsked(True))

    def resume(self) -> None:
        """Go on after `pause`."""
        self._live.ask(ev.PauseAsked(False))

    def cancel(self) -> None:
        """Stop at once: running tasks are not waited for. What has not ended is cancelled."""
        self._live.stop(kill=True)

    def close(self) -> None:
        """No more tasks will be submitted."""
        self._submissions.end()

    def wait(self, timeout: float | None = None) -> RunResult:
        """Wait for the end (`close` or `cancel` comes first) and return the result.

        Raises `TimeoutError` after ``timeout`` seconds; the run goes on.
        """
        if not self._live.join(timeout, raises=False):
            raise TimeoutError(f"the run has not ended after {timeout} s")
        return self._live.result()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None:
            self.cancel()
        self.close()
        self._live.join(raises=False)
        if kind is None:
            self._live.raise_if_broken()


# -- a TaskManager alone --------------------------------------------------------------------------------


def start(node: Node, tasks: Iterable[Any] | AsyncIterable[Any]) -> RunResult:
    """Run a single node, in this process: `TaskManager.start`."""
    from dagflow.graph.algebra import Graph

    result = run(Graph(node), tasks, "thread", **alone_options(node))
    if result.get_error_dict():
        node.handle_error()
    return result


async def start_async(node: Node, tasks: Iterable[Any] | AsyncIterable[Any]) -> RunResult:
    """`TaskManager.start_async`."""
    from dagflow.graph.algebra import Graph

    result = await arun(Graph(node), tasks, "thread", **alone_options(node))
    if result.get_error_dict():
        node.handle_error()
    return result


def alone_options(node: Node) -> dict[str, Any]:
    """The options of a run that are given on the node, as in the seed: progress, and a log file by default."""
    return {"logger": default_logger(node.logger)}


def default_logger(logger: Any) -> Any:
    """The log of ``start()`` and TaskTree: a `TaskLogger` in ``logs/`` unless another, or None, is given."""
    from dagflow.graph.node import DEFAULT_LOGGER
    from dagflow.observe.log import TaskLogger

    return TaskLogger() if logger == DEFAULT_LOGGER else logger


def success_dict(result: RunResult | None) -> Mapping[Any, Any]:
    """``{task: result}`` of a finished start; empty before the first."""
    return result.get_final_result_dict() if result is not None else TaskDict([])


def error_dict(result: RunResult | None) -> Mapping[Any, BaseException]:
    """``{task: exception}`` of a finished start; empty before the first."""
    return result.get_error_dict() if result is not None else TaskDict([])


# -- one run, wired -------------------------------------------------------------------------------------


class _Live:
    """A run with all its parts joined; turned in this thread (`turn_to_end`) or in one of its own (`start`)."""

    def __init__(
        self,
        graph: Graph,
        backend: str,
        source: TaskSource,
        fail_fast: bool,
        show_progress: bool,
        max_in_flight: int | None,
        max_bytes: int | str,
        logger: Any,
        *,
        sink_room: int | None = None,
        ordered: bool = False,
    ) -> None:
        plan = graph.check()
        self.graph, self.plan = graph, plan
        by_name = {name: node for node, name in graph.names.items()}
        programs = [Program.of(by_name[node.name], node) for node in plan.nodes]
        if max_in_flight is not None and (isinstance(max_in_flight, bool) or max_in_flight < 1):
            raise ValueError(f"max_in_flight must be a whole number of at least 1, not {max_in_flight!r}")
        scheduler = Scheduler(
            plan,
            max_in_flight=max_in_flight,
            max_bytes=_bytes(max_bytes),
            sink_room=sink_room,
            sink_holds=ordered,
            fail_fast=fail_fast,
            one_by_one=backend == "serial",
        )
        self.collector = Collector(plan)
        self.sink = Sink(plan, self.collector.source, ordered=ordered) if sink_room is not None else None
        self.ring = Ring(
            plan,
            programs,
            _backend(backend),
            source,
            scheduler,
            observers=Bus(_observers(graph, show_progress, logger)),
            keep=self.collector.source.add,
            facts=self._facts,
        )
        self.error: BaseException | None = None
        self.interrupted = False
        self.thread: threading.Thread | None = None
        self.over = False
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def when_over(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when the run has ended (at once if it has)."""
        with self._lock:
            if not self.over:
                self._listeners.append(listener)
                return
        listener()

    def _facts(self, facts: Sequence[Fact]) -> None:
        if self.sink is not None:
            self.sink.take(facts)
        else:
            self.collector.take(facts)

    def turn_to_end(self) -> None:
        """Run, keeping what is raised for `raise_if_broken`."""
        try:
            self.ring.run()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for this run
            self.error = error
        finally:
            if self.sink is not None:
                self.sink.end()
            with self._lock:
                self.over = True
                listeners = list(self._listeners)
            for listener in listeners:
                listener()

    def start(self) -> None:
        """Turn the ring in a thread of its own."""
        self.thread = threading.Thread(target=self.turn_to_end, name="dagflow run", daemon=True)
        self.thread.start()

    def join(self, timeout: float | None = None, *, raises: bool = True) -> bool:
        """Wait for the end; whether it has come."""
        assert self.thread is not None
        self.thread.join(timeout)
        if raises:
            self.raise_if_broken()
        return not self.thread.is_alive()

    def ask(self, event: ev.Event) -> None:
        """Tell the ring something."""
        self.ring.ask(event)

    def stop(self, *, kill: bool) -> None:
        """Stop the run."""
        self.ring.ask(ev.StopAsked(kill))

    def raise_if_broken(self) -> None:
        """Raise what ended the run badly, if anything did."""
        scheduler = self.ring.scheduler
        if self.error is not None:
            raise self.error
        if scheduler.failure is not None:
            raise scheduler.failure
        if scheduler.first_lost is not None:
            cause = open_error(scheduler.first_lost.error)
            node = self.plan.nodes[scheduler.first_lost.node].name
            raise RunFailed(f"a task failed at node {node!r} and fail_fast=True: {cause!r}") from cause
        if scheduler.source_error is not None:
            scheduler.source_error.add_note(
                f"dagflow: raised by the iterable of tasks, after {scheduler.admitted} tasks, which have all ended"
            )
            raise scheduler.source_error
        if self.interrupted:
            raise KeyboardInterrupt

    def result(self) -> RunResult:
        """The result; raises what ended the run badly, with the result so far as its ``result`` attribute."""
        scheduler = self.ring.scheduler
        counts = {node.plan.name: node.counts for node in scheduler.nodes}
        result = RunResult(self.collector, counts, self.ring.snapshot(), self._held_members())
        try:
            self.raise_if_broken()
        except BaseException as error:
            error.__dict__["result"] = result
            raise
        return result

    def _held_members(self) -> list[Segment]:
        """Source tasks whose window had not fired when the run was stopped: they have no end either."""
        scheduler = self.ring.scheduler
        if self.ring.reason == "done":
            return []
        open_windows = [s for node in scheduler.nodes if node.merge is not None for s in node.merge.roots]
        return [*open_windows, *(s for members in scheduler.aggregates.values() for s in members)]


class _Interrupts:
    """Ctrl-C during a `run` in the main thread: once, the running tasks end and the run stops; twice, at once.

    The handler only sets a flag and wakes the ring, so that no decision is torn in the middle.
    """

    def __init__(self, live: _Live) -> None:
        self.live = live
        self.before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._pressed)

    def __exit__(self, *exc: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def _pressed(self, number: int, frame: Any) -> None:
        del number, frame
        again = self.live.interrupted
        self.live.interrupted = True
        self.live.stop(kill=again)
        if again and self.live.ring.backend.shares_memory:
            raise KeyboardInterrupt  # a function of the user's is running in this very thread


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    known = {
        "fail_fast": False,
        "show_progress": False,
        "max_in_flight": None,
        "max_bytes": "1GB",
        "logger": None,
    }
    unknown = options.keys() - known.keys()
    if unknown:
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return {**known, **options}


def _given(tasks: Iterable[Any] | AsyncIterable[Any] | None) -> TaskSource:
    if tasks is None:
        raise ValueError("tasks=None needs a journal that knows the tasks; give an iterable of tasks")
    return source_of(tasks)


def _source_in_loop(tasks: Any) -> tuple[TaskSource, Any]:
    """A source for use beside a running loop: an async iterable is read in that loop, where it was made."""
    if not hasattr(tasks, "__aiter__"):
        return _given(tasks), None
    submissions = Submissions(room=256)
    return submissions, _feed(submissions, tasks)


async def _feed(submissions: Submissions, tasks: AsyncIterable[Any]) -> None:
    try:
        async for task in tasks:
            if not submissions.offer(task) and not await asyncio.to_thread(submissions.put, task):
                break
    except Exception as error:  # noqa: BLE001 - whatever the user's iterable raises ends the source
        submissions.error = error
    finally:
        submissions.end()


async def _end_feeder(feeder: asyncio.Future[Any] | None) -> None:
    if feeder is not None:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)


async def _joined(live: _Live) -> None:
    """Wait for the end without a thread of the loop's pool: many runs in one loop would use those up."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    live.when_over(lambda: _call_soon(loop, over.set))
    await over.wait()
    live.join(raises=False)


def _call_soon(loop: asyncio.AbstractEventLoop, function: Any) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        pass  # the loop has ended


def _backend(name: str) -> Backend:
    if name == "process":
        from dagflow.backends.local import ProcessBackend

        return ProcessBackend()
    if name == "thread":
        from dagflow.backends.thread import ThreadBackend

        return ThreadBackend()
    if name == "serial":
        from dagflow.backends.serial import SerialBackend

        return SerialBackend()
    if name in ("ray", "dask"):
        raise BackendError(f'backend {name!r} is not part of this version; use "process", "thread" or "serial"')
    raise ValueError(f'backend must be "process", "thread" or "serial", not {name!r}')


def _observers(graph: Graph, show_progress: bool, logger: Any) -> list[Observer]:
    observers: list[Observer] = [FailureLog()]
    shown = {graph.names[n] for n in graph.nodes if n.show_progress}
    if show_progress or shown:
        from dagflow.observe.progress import Progress

        texts = {graph.names[n]: n.progress_desc or graph.names[n] for n in graph.nodes}
        observers.append(Progress(texts, None if show_progress else shown))
    if logger is not None:
        for method in ("opened", "facts", "tick", "closed"):
            if not callable(getattr(logger, method, None)):
                raise TypeError(f"logger must be a TaskLogger or an observer, not {type(logger).__name__}")
        observers.append(logger)
    return observers


def _bytes(given: int | str) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise ValueError(f'max_bytes must be a number of bytes or a text such as "1GB", not {given!r}')
    if isinstance(given, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B|)\s*", given.upper())
        if match is None or match[2] not in _UNITS:
            raise ValueError(f'max_bytes must be a number of bytes or a text such as "1GB", not {given!r}')
        given = int(float(match[1]) * _UNITS[match[2]])
    if given < 1:
        raise ValueError(f"max_bytes must be at least 1, not {given}")
    return given
