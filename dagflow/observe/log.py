"""What a run writes down if the user wants it: every task, in a file.

It goes through loguru, by a logger of its own (see `dagflow.observe.logfile`): no sink of the user's is added, removed
or changed.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

from dagflow.core.commands import TaskFailed, TasksEnded
from dagflow.observe.failures import names_of, say
from dagflow.observe.inputs import Inputs
from dagflow.observe.logfile import LogFile
from dagflow.observe.records import LEVELS, TaskRecord, records_of, status_of

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.graph.plan import Plan
    from dagflow.protocols import Observer, Snapshot

_LINE: Final = "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <7} | {message}"
_BATCHES_MOST: Final = 64
"""Batches of facts that wait for the writer; a batch keeps its tasks' values alive."""
_FACTS_TOGETHER: Final = 500
_LINES_TOGETHER: Final = 2000


def _text(record: TaskRecord) -> str:
    where, task = f"{record.node} #{record.number}", record.task
    if record.status in ("failed", "retried"):
        wait = "" if record.retry_in is None else f", again in {record.retry_in:.2f} s"
        of = f" | task {task}" if task else ""
        error = f"{record.error_type}: {record.message}"
        return f"{where} {record.status} (attempt {record.attempt}{wait}): {error}{of}"
    return f"{where} {record.status}: {task}" if task else f"{where} {record.status}"


class TaskLogger:
    """An observer that writes a line for every success, failure, retry, drop and duplicate of tasks.

    ``folder``: where a file a day is written (``logs/dagflow_2026-11-24.log``). ``level``: the least that
    is written: drops and duplicates are ``"INFO"``, successes ``"SUCCESS"``, retries ``"WARNING"``,
    failures ``"ERROR"``. ``format``: loguru's format of a line (without colours), with ``{message}`` in it.
    ``rotation`` and ``retention`` as in loguru's ``logger.add``: by default a file is set aside at 50 MB,
    and ten are kept. Wrong options raise `ValueError` or `TypeError`.

    To change what a line says, override `format`; to change the place, `path`. Both are called in the
    logger's own thread or the run's, so they should not touch what other threads do.

    Values are read and written in a thread of each run; where it cannot keep up the run waits, so that no
    line is lost. In backends that pass live values a line shows the value as it is when the line is
    written. One logger may serve many runs, also at once (a `Bus` asks it for a listener per run by
    `for_run`).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] = "logs",
        *,
        level: str | int = "INFO",
        format: str | None = None,
        rotation: Any = "50 MB",
        retention: Any = 10,
    ) -> None:
        self.folder = os.fspath(folder)
        line = _LINE if format is None else format
        self._file = LogFile(level=level, line=line, rotation=rotation, retention=retention)
        self._only: _RunLog | None = None

    def path(self) -> str:
        """Where to write: a template of loguru's, in which ``{time:YYYY-MM-DD}`` is the day. To override."""
        folder = os.path.abspath(self.folder).replace("{", "{{").replace("}", "}}")
        return os.path.join(folder, "dagflow_{time:YYYY-MM-DD}.log")

    def format(self, record: TaskRecord) -> str:
        """What the line of one task says after time and level. To override; called once for every line."""
        return _text(record)

    def for_run(self) -> Observer:
        """A listener for one run."""
        return _RunLog(self._file, self.path, self.format)

    def opened(self, plan: Plan) -> None:
        """A run begins that has this logger to itself (a `Bus` uses `for_run` instead)."""
        if self._only is not None:
            raise RuntimeError("this TaskLogger already listens to a run; give each further run a for_run()")
        only = _RunLog(self._file, self.path, self.format)
        only.opened(plan)
        self._only = only

    def facts(self, facts: Sequence[Fact]) -> None:
        """Take down what was decided."""
        if self._only is not None:
            self._only.facts(facts)

    def tick(self, snapshot: Snapshot) -> None:
        """Nothing to do."""

    def closed(self, snapshot: Snapshot) -> None:
        """Write what is left, and close the file unless another run uses it."""
        only, self._only = self._only, None
        if only is not None:
            only.closed(snapshot)


class _RunLog:
    """One run's part of a TaskLogger: a queue of facts, and the thread that makes lines of them."""

    def __init__(self, file: LogFile, path: Callable[[], str], format_record: Callable[[TaskRecord], str]) -> None:
        self._file = file
        self._path = path
        self._format = format_record
        self._wanted = {status for status, level in LEVELS.items() if file.no(level) >= file.threshold}
        self._nodes: list[str] = []
        self._queue: queue.Queue[list[TasksEnded | TaskFailed] | None] = queue.Queue(_BATCHES_MOST)
        self._thread = threading.Thread(target=self._work, name="dagflow-log", daemon=True)
        self._reported = False

    # -- in the ring's thread --------------------------------------------------------------------------

    def opened(self, plan: Plan) -> None:
        """A run begins."""
        self._nodes = names_of(plan)
        self._file.open(self._path())
        self._thread.start()

    def facts(self, facts: Sequence[Fact]) -> None:
        """Hand the facts about tasks to the thread; waits where that is far behind."""
        wanted = self._wanted
        told = [f for f in facts if isinstance(f, (TasksEnded, TaskFailed)) and not f.again and status_of(f) in wanted]
        if told:
            self._put(told)

    def tick(self, snapshot: Snapshot) -> None:
        """Nothing to do."""

    def closed(self, snapshot: Snapshot) -> None:
        """Write what is left."""
        del snapshot
        self._put(None)
        self._thread.join()
        self._file.close()

    def _put(self, told: list[TasksEnded | TaskFailed] | None) -> None:
        while True:
            try:
                return self._queue.put(told, timeout=1.0)
            except queue.Full:
                # The thread outlives every error, but not the interpreter: do not wait for a dead one.
                if not self._thread.is_alive():
                    return None

    # -- in the writer's thread ------------------------------------------------------------------------

    def _work(self) -> None:
        inputs = Inputs()
        for facts in self._batches():
            try:
                self._write(self._records(facts, inputs))
            except BaseException as error:  # noqa: BLE001 - the run waits for this thread: it must go on
                self._trouble(error)

    def _records(self, facts: list[TasksEnded | TaskFailed], inputs: Inputs) -> Iterator[TaskRecord]:
        for fact in facts:
            try:
                yield from records_of(fact, self._nodes, inputs)
            except Exception as error:  # noqa: BLE001 - the other facts' lines are still wanted
                self._trouble(error)

    def _batches(self) -> Iterator[list[TasksEnded | TaskFailed]]:
        """What is queued, joined, until the run has closed."""
        ended = False
        while not ended:
            batch: list[TasksEnded | TaskFailed] = []
            told = self._queue.get()
            while told is not None:
                batch += told
                if len(batch) >= _FACTS_TOGETHER or self._queue.empty():
                    break
                told = self._queue.get()
            ended = told is None
            if batch:
                yield batch

    def _write(self, records: Iterator[TaskRecord]) -> None:
        for status, alike in groupby(records, key=lambda record: record.status):
            while lines := [self._line(record) for record in islice(alike, _LINES_TOGETHER)]:
                try:
                    self._file.write(LEVELS[status], lines)
                except Exception as error:  # noqa: BLE001 - a full disk: later lines may find room again
                    self._trouble(error)

    def _line(self, record: TaskRecord) -> str:
        try:
            return self._format(record)
        except Exception as error:  # noqa: BLE001 - an overridden format
            self._trouble(error)
            return _text(record)

    def _trouble(self, error: BaseException) -> None:
        """Tell the user, once a run, through the user's own log."""
        if self._reported:
            return
        self._reported = True
        # A sink of the user's that raises: nobody is left to tell.
        with suppress(Exception):
            say("ERROR", f"the task log cannot be written as it should: {type(error).__name__}", error)
