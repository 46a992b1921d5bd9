"""The wiring: the only place that knows backends, observers and the ring by name.

``run`` turns the ring in the calling thread; ``stream``, ``open_run`` and their async twins in a thread of
their own, so that the run goes on while the user's code is busy.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from functools import partial
from typing import TYPE_CHECKING, Any

from dagflow.core import events as ev
from dagflow.core.scheduler import Scheduler
from dagflow.errors import BackendError, RunCancelled, RunFailed
from dagflow.observe.bus import Bus
from dagflow.observe.failures import FailureLog
from dagflow.observe.sampling import sample_of
from dagflow.result import Collector, RunResult, TaskDict
from dagflow.run import Ring
from dagflow.sink import Sink, StreamItem
from dagflow.source import Submissions, TaskSource, source_of
from dagflow.stopping import Interrupts, stop_at_exit
from dagflow.stream import AsyncStream, Stream, Watched
from dagflow.work.outcome import open_error
from dagflow.work.program import Program

if TYPE_CHECKING:
    import asyncio

    from dagflow.busy import Busy
    from dagflow.core.commands import Fact
    from dagflow.core.ids import Segment
    from dagflow.draw.model import Picture
    from dagflow.graph.algebra import Graph
    from dagflow.graph.node import Node
    from dagflow.graph.plan import Plan
    from dagflow.journal.keeper import Keeper
    from dagflow.observe.case import Case
    from dagflow.observe.sampling import Sample
    from dagflow.observe.tracer import Tracer
    from dagflow.observe.traces import Traces
    from dagflow.protocols import Backend, Journal, Observer, Snapshot

SINK_ROOM = 16384
"""Outputs of a stream that may wait for the user before the run is held back."""
BEAT_SECONDS = 0.2
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
    trace: bool | float = False,
    max_in_flight: int | None = None,
    max_bytes: int | str = "1GB",
    logger: Any = None,
    journal: Any = None,
    durability: str = "process",
    resume: str = "strict",
    retry_failed: bool = False,
) -> RunResult:
    """Run ``tasks`` through ``graph`` to the end.

    Args:
        tasks: any iterable or async iterable, also endless; read lazily, as far as there is room.
        backend: ``"process"`` (each node in worker processes of its own), ``"thread"`` (in this process, each
            node by its execution mode), ``"serial"`` (in this thread, one task at a time, deterministic).
        ordered: results are in source order anyway; kept for symmetry with `stream`.
        fail_fast: the first finally failed task ends the run with `RunFailed`.
        show_progress: a bar per node on stderr.
        trace: remember what happened to each task (`RunResult.trace`), or to a fraction of them, always the same.
        max_in_flight: tasks queued and running at once; default: as many as keep the workers busy.
        max_bytes: what their values may take, a number of bytes or a text such as ``"500MB"``.
        logger: a `TaskLogger`, or any observer (`dagflow.observe.metrics`), or a list of them; None writes no file.
        journal: where what has ended is kept: a path (a SQLite file), or ``redis://host:port/0``. The same call
            again goes on from there, whatever stopped the one before: what had ended is given again and not
            executed again. ``tasks`` may then be None: those that the journal knows.
        durability: ``"process"``: what is on record survives the death of every process; ``"power"``: and of
            the machine.
        resume: what to do about a changed graph: ``"strict"`` refuses, ``"compatible"`` redoes what changed and
            what follows, ``"force"`` keeps the old results.
        retry_failed: drive the dead letters again, from the nodes that failed them, with the code as it is now.

    Raises:
        JournalError: the journal cannot be used. JournalMismatch: it is of another graph.
        GraphError: the graph is wrong. RunFailed: see ``fail_fast``. BackendError: workers cannot start.
        KeyboardInterrupt: after Ctrl-C, when the running tasks have ended (at once if pressed twice).
        Whatever the source raised, after all that it had given before has ended.
    """
    del ordered
    kept = _Kept(journal, durability, resume, retry_failed)
    live = _Live(
        graph, backend, _given(tasks, kept), fail_fast, show_progress, max_in_flight, max_bytes, logger,
        trace=trace, kept=kept,
    )  # fmt: skip
    _show_live(live, show_progress, blocks=True)
    with Interrupts(live, here=live.ring.backend.shares_memory):
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
    trace: bool | float = False,
    max_in_flight: int | None = None,
    max_bytes: int | str = "1GB",
    logger: Any = None,
    journal: Any = None,
    durability: str = "process",
    resume: str = "strict",
    retry_failed: bool = False,
) -> Stream:
    """Run ``tasks`` and give each output as it comes, and each final failure with its ``error`` set.

    The graph is checked here; the run starts with the first ``next()``. Closing or abandoning the iterator
    stops the run. ``ordered``: in source order. Other arguments, and what is raised: see `run`. The iterator can be
    asked how the run stands (`Stream.snapshot`, `Stream.explain`, `Stream.trace`).
    """
    kept = _Kept(journal, durability, resume, retry_failed)
    live = _Live(
        graph, backend, _given(tasks, kept), fail_fast, show_progress, max_in_flight, max_bytes, logger,
        trace=trace, sink_room=SINK_ROOM, ordered=ordered, kept=kept,
    )  # fmt: skip
    return Stream(live, _outputs(live, show_progress))


def _outputs(live: _Live, show_progress: bool) -> Generator[StreamItem, None, None]:
    _show_live(live, show_progress, blocks=True)
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
    import asyncio

    options.pop("ordered", None)
    options = _defaults(options)
    source, feed = _source_in_loop(tasks, options["kept"])
    live = _Live(graph, backend, source, **options)
    _show_live(live, options["show_progress"])
    live.start()
    helpers = _helpers(feed)
    try:
        await _joined(live)
    except asyncio.CancelledError:
        live.stop(kill=True)
        await _joined(live)
        raise
    finally:
        await _end_helpers(helpers)
    return live.result()


def astream(
    graph: Graph, tasks: Iterable[Any] | AsyncIterable[Any] | None, backend: str = "process", **options: Any
) -> AsyncStream:
    """`stream` for use inside a running event loop."""
    ordered = options.pop("ordered", False)
    options = _defaults(options)
    source, feed = _source_in_loop(tasks, options["kept"])
    live = _Live(graph, backend, source, **options, sink_room=SINK_ROOM, ordered=ordered)
    return AsyncStream(live, _outputs_in_loop(live, feed, options["show_progress"]))


async def _outputs_in_loop(
    live: _Live, feed: Callable[[], Coroutine[Any, Any, None]] | None, show_progress: bool
) -> AsyncGenerator[StreamItem, None]:
    import asyncio

    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    assert live.sink is not None
    live.sink.listener = lambda: _call_soon(loop, there.set)
    _show_live(live, show_progress)
    live.start()
    helpers = _helpers(feed)
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
        await _end_helpers(helpers)
    live.raise_if_broken()


def open_run(graph: Graph, backend: str = "process", **options: Any) -> Run:
    """A live run: ``with graph.open() as run: run.submit(task)``. Options as of `run`."""
    options.pop("ordered", None)
    return Run(graph, backend, _defaults(options))


class Run(Watched):
    """A live run that tasks are submitted to. Leaving its ``with`` block closes and waits; an exception cancels."""

    _live: _Live

    def __init__(self, graph: Graph, backend: str, options: dict[str, Any]) -> None:
        self._submissions = Submissions()
        self._live = _Live(graph, backend, self._submissions, **options)
        weakref.finalize(self, _forget, self._live, self._submissions).atexit = False
        _show_live(self._live, options["show_progress"])
        self._live.start()
        self._live.ring.ready.wait()
        if self._live.ring.journal is not None and not self._live.ring.opened:
            self._live.join()

    def submit(self, task: Any) -> None:
        """Give the run one more task; waits while too many are not yet taken in."""
        if not self._submissions.put(task):
            self._live.raise_if_broken()
            raise RunCancelled("the run takes no more tasks: it was closed or cancelled, or has ended")

    def _ipython_display_(self) -> None:
        from dagflow.observe.progress import in_notebook

        if in_notebook():
            _show_live(self._live, True)
        else:
            print(self.to_text())  # noqa: T201 - what the user asked for by looking at it

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


def _forget(live: _Live, submissions: Submissions) -> None:
    """Nobody holds a live run any more: nothing can be submitted to it, nor its result be asked for."""
    submissions.end()
    live.stop(kill=True)


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


def _case(plan: Plan, snapshot: Snapshot, **how: Any) -> Case:
    from dagflow.observe.case import case_of

    return case_of(plan, snapshot, **how)


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
        trace: bool | float = False,
        sink_room: int | None = None,
        ordered: bool = False,
        kept: _Kept | None = None,
    ) -> None:
        plan = graph.check()
        self.graph, self.plan = graph, plan
        by_name = {name: node for node, name in graph.names.items()}
        programs = [Program.of(by_name[node.name], node) for node in plan.nodes]
        sample = sample_of(trace)
        self.tracer = _tracer(sample, keep_sources=sink_room is not None) if sample is not None else None
        for program in programs:
            program.traced = sample is not None
        observers = _observers(graph, show_progress, logger) + ([self.tracer] if self.tracer is not None else [])
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
            recording=kept is not None and kept.room is not None,
            at_hand=source.at_hand,
        )
        self.collector = Collector(plan)
        self.sink = Sink(plan, self.collector.source, ordered=ordered) if sink_room is not None else None
        works = _backend(backend)
        try:
            self.keeper = kept.keeper(graph, plan, works, backend, source) if kept is not None else None
        except BaseException:
            works.close(kill=True)  # which may have a process already
            raise
        self.ring = Ring(
            plan,
            programs,
            works,
            source,
            scheduler,
            observers=Bus(observers),
            keep=self.collector.source.add,
            facts=self._facts,
            journal=self.keeper,
            timed=self.tracer.sampled if self.tracer is not None else None,
        )
        self.error: BaseException | None = None
        self.interrupted = False
        self.forgotten = False
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
            self.ring.ready.set()
            if self.sink is not None:
                self.sink.end()
            with self._lock:
                self.over = True
                listeners = list(self._listeners)
            for listener in listeners:
                listener()

    def start(self) -> None:
        """Turn the ring in a thread of its own."""
        stop_at_exit(self)
        self.thread = threading.Thread(target=self.turn_to_end, name="dagflow run", daemon=True)
        self.thread.start()

    def join(self, timeout: float | None = None, *, raises: bool = True) -> bool:
        """Wait for the end; whether it has come."""
        assert self.thread is not None
        if self.forgotten and threading.current_thread().name.startswith("dagflow"):
            return False  # garbage is collected in any thread, also in one that the run waits for
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
        snapshot = self.ring.snapshot()
        result = RunResult(
            self.graph, self.collector, counts, snapshot, self._held_members(), self.case_at(snapshot), self.tracer
        )
        if self.keeper is not None:
            result.reused, result.notes = self.keeper.reused, self.keeper.report()
        try:
            self.raise_if_broken()
        except BaseException as error:
            error.__dict__["result"] = result
            raise
        return result

    def case(self) -> Case:
        """What a verdict on the run is made of, as it is now."""
        return self.case_at(self.snapshot())()

    def case_at(self, snapshot: Snapshot) -> Callable[[], Case]:
        """The same as ``snapshot`` has it; nothing is loaded or worked out for it before it is called."""
        scheduler = self.ring.scheduler
        return partial(
            _case,
            self.plan,
            snapshot,
            one_by_one=scheduler.one_by_one,
            in_process=self.ring.backend.shares_memory,
            most=scheduler.max_in_flight,
        )

    def snapshot(self) -> Snapshot:
        """States and counts as they are now."""
        return self.ring.snapshot()

    def now(self) -> tuple[Snapshot, Busy]:
        """States and counts as they are now, and how busy the nodes are."""
        from dagflow.observe.verdict import busy

        snapshot = self.snapshot()
        return snapshot, busy(self.case_at(snapshot)())

    def picture(self) -> Picture:
        """The graph with the run as it is now laid over."""
        from dagflow.draw.model import picture
        from dagflow.draw.overlay import overlay_of

        return picture(self.graph, overlay_of(self.plan, *self.now()))

    def traces(self) -> Traces:
        """The traces of the run as it is now; `ValueError` where it is not traced."""
        from dagflow.observe.traces import NOT_TRACED, Traces

        if self.tracer is None:
            raise ValueError(NOT_TRACED)
        task = self.collector.source.__getitem__ if self.sink is None else lambda _: None
        return Traces(self.tracer, lambda: self.ring.scheduler.admitted, task, self._status_of)

    def _status_of(self, number: int) -> str | None:
        """What is known better than a trace can tell: that a task of a stream has not ended yet."""
        if self.sink is None or self.sink.has_ended(number):
            return None
        return "cancelled" if self.over else "running"

    def abandon(self) -> None:
        """It was never begun and never will be."""
        self.ring.backend.close(kill=True)

    def _held_members(self) -> list[Segment]:
        """Source tasks whose window had not fired when the run was stopped: they have no end either."""
        scheduler = self.ring.scheduler
        if self.ring.reason == "done":
            return []
        open_windows = [s for node in scheduler.nodes if node.merge is not None for s in node.merge.roots]
        return [*open_windows, *(s for members in scheduler.aggregates.values() for s in members)]


def _tracer(sample: Sample, *, keep_sources: bool) -> Tracer:
    from dagflow.observe.tracer import Tracer  # which most runs do not need

    return Tracer(sample, keep_sources=keep_sources)


def _show_live(live: _Live, wanted: bool, *, blocks: bool = False) -> None:
    """Let a notebook follow the run until it is over; ``blocks``: the cell waits for that."""
    if not wanted:
        return
    from dagflow.observe.progress import in_notebook

    if in_notebook():
        from dagflow.notebook import LiveView

        view = LiveView(live.graph, live.plan, live.now, lambda kill: live.stop(kill=kill), blocks=blocks)
        view.show()
        live.when_over(view.finish)


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    known = {
        "fail_fast": False,
        "show_progress": False,
        "trace": False,
        "max_in_flight": None,
        "max_bytes": "1GB",
        "logger": None,
        "journal": None,
        "durability": "process",
        "resume": "strict",
        "retry_failed": False,
    }
    unknown = options.keys() - known.keys()
    if unknown:
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    found = {**known, **options}
    about = [found.pop(name) for name in ("journal", "durability", "resume", "retry_failed")]
    return {**found, "kept": _Kept(*about)}


class _Kept:
    """What a run was told about its journal."""

    def __init__(self, journal: Any, durability: str, resume: str, retry_failed: bool) -> None:
        if durability not in ("process", "power"):
            raise ValueError(f'durability must be "process" or "power", not {durability!r}')
        if resume not in ("strict", "compatible", "force"):
            raise ValueError(f'resume must be "strict", "compatible" or "force", not {resume!r}')
        if retry_failed and journal is None:
            raise ValueError("retry_failed=True needs the journal that knows what failed: give journal=")
        self.durability, self.resume, self.retry_failed = durability, resume, bool(retry_failed)
        self.room: Journal | None = None
        if journal is not None:
            from dagflow.journal.where import journal_at

            self.room = journal_at(journal)

    def keeper(self, graph: Graph, plan: Plan, works: Backend, backend: str, source: TaskSource) -> Keeper | None:
        """What keeps the run's journal, if it has one."""
        if self.room is None:
            return None
        from dagflow.journal.keeper import Keeper
        from dagflow.journal.source import Remembered
        from dagflow.journal.versions import Versions

        here = {n.index for n in plan.nodes if works.shares_memory and (backend == "serial" or n.mode != "process")}
        return Keeper(
            self.room,
            plan,
            Versions(graph, plan),
            durability=self.durability,
            resume=self.resume,
            retry_failed=self.retry_failed,
            here=here,
            remembered=source if isinstance(source, Remembered) else None,
        )


def _given(tasks: Iterable[Any] | AsyncIterable[Any] | None, kept: _Kept) -> TaskSource:
    if tasks is not None:
        return source_of(tasks)
    if kept.room is None:
        raise ValueError("tasks=None needs a journal that knows the tasks; give an iterable of tasks")
    from dagflow.journal.source import Remembered

    return Remembered()


def _source_in_loop(tasks: Any, kept: _Kept) -> tuple[TaskSource, Callable[[], Coroutine[Any, Any, None]] | None]:
    """A source for use beside a running loop: an async iterable is read in that loop, where it was made."""
    if not hasattr(tasks, "__aiter__"):
        return _given(tasks, kept), None
    submissions = Submissions(room=256)
    return submissions, lambda: _feed(submissions, tasks)


async def _feed(submissions: Submissions, tasks: AsyncIterable[Any]) -> None:
    import asyncio

    try:
        async for task in tasks:
            if not submissions.offer(task) and not await asyncio.to_thread(submissions.put, task):
                break
    except Exception as error:  # noqa: BLE001 - whatever the user's iterable raises ends the source
        submissions.error = error
    finally:
        submissions.end()


def _helpers(feed: Callable[[], Coroutine[Any, Any, None]] | None) -> list[asyncio.Future[Any]]:
    """What has to go on in the user's loop beside a run."""
    import asyncio

    from dagflow.observe.progress import in_notebook

    beats = _beats() if in_notebook() else None
    feeding = feed() if feed is not None else None
    return [asyncio.ensure_future(helper) for helper in (feeding, beats) if helper is not None]


async def _beats() -> None:
    """Wake the loop a few times a second: a Jupyter kernel heeds the interrupt of a cell that awaits when it wakes."""
    import asyncio

    while True:
        await asyncio.sleep(BEAT_SECONDS)


async def _end_helpers(helpers: list[asyncio.Future[Any]]) -> None:
    import asyncio

    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)


async def _joined(live: _Live) -> None:
    """Wait for the end without a thread of the loop's pool: many runs in one loop would use those up."""
    import asyncio

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
        from dagflow.observe.progress import Progress, in_notebook

        if not (show_progress and in_notebook()):  # else the live view shows all of them
            texts = {graph.names[n]: n.progress_desc or graph.names[n] for n in graph.nodes}
            observers.append(Progress(texts, None if show_progress else shown))
    for observer in logger if isinstance(logger, (list, tuple)) else [] if logger is None else [logger]:
        for method in ("opened", "facts", "tick", "closed"):
            if not callable(getattr(observer, method, None)):
                raise TypeError(f"logger must be a TaskLogger or an observer, not {type(observer).__name__}")
        observers.append(observer)
    return observers


def _bytes(given: int | str) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise ValueError(f'max_bytes must be a number of bytes or a text such as "1GB", not {given!r}')
    if isinstance(given, str):
        number = given.upper().strip().rstrip("KMGTIB")
        unit, (whole, point, part) = given.upper().strip()[len(number) :], number.strip().partition(".")
        if unit not in _UNITS or not whole.isdecimal() or (point and not part.isdecimal()):
            raise ValueError(f'max_bytes must be a number of bytes or a text such as "1GB", not {given!r}')
        given = int(float(number) * _UNITS[unit])
    if given < 1:
        raise ValueError(f"max_bytes must be at least 1, not {given}")
    return given
