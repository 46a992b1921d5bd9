"""One job: a node's function over the values of an envelope. The hot loop lives here, flat on purpose.

A `Runner` gives `Answer`s: one for most jobs, several while a Splitter still runs. It never raises for what a
user's function does; every exception is cut out of its batch and recorded for its task alone.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice, repeat
from operator import is_
from time import monotonic, monotonic_ns

from dagflow.core.job import Answer, Produced
from dagflow.core.payload import ErrorRecord
from dagflow.errors import PayloadError, TaskTimeout, UnroutedError
from dagflow.graph.marks import DROP, makes_instances
from dagflow.work.codec import Unreadable, open_values, read_values, seal
from dagflow.work.outcome import capture, safe_repr
from dagflow.work.page import BACK, POSITION, SINCE, SUSPENDED, TOKEN, UNKNOWN
from dagflow.work.values import copied, live

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from weakref import ref

    from dagflow.core.job import Job
    from dagflow.work.clock import Clock
    from dagflow.work.codec import Store
    from dagflow.work.draft import Draft, Room
    from dagflow.work.program import Program
else:
    from _weakref import ref  # the same, without what else comes with it

Failures = list[tuple[int, BaseException]]
FLUSH_SECONDS = 0.005
"""Children are sent on at the latest so long after the first of them, so that a slow generator streams."""
HEAVY = 512 * 1024
"""Results of so many bytes each are sealed one by one: to do so costs about as much as copying 200 KiB."""


class Runner:
    """A node's function, ready to be called. One per worker; in thread mode the threads share it.

    ``seal``: values leave this process, large ones by way of ``store`` where there is one, or one by one into a
    ``spare`` (for about so many bytes), in a runner that no threads share. ``mark``: the
    `dagflow.work.page` (a memoryview of 64-bit numbers) that says which task is running, readable after this process
    has died.
    ``interrupts``: this is the user's own thread, where Ctrl-C is theirs and not a task's failure.
    """

    def __init__(
        self,
        program: Program,
        *,
        seal: bool,
        mark: memoryview | None = None,
        interrupts: bool = False,
        store: Store | None = None,
        spare: Callable[[int], Room | None] | None = None,
    ) -> None:
        self.program = program
        self.seals = seal
        self.store = store
        self.spare = spare if program.kind == "task" and program.batch_size is None else None
        self.draft: Draft | None = None
        self.mark = mark
        self.interrupts = interrupts
        self.labels = {(type(label), label): at for at, label in enumerate(program.ports)}
        self.traced = program.traced
        self.gives_back = mark is not None and program.gives_back
        self.instances: list[Any] = []
        self.at_work: list[Any] = []
        _runners.add(ref(self, _runners.discard))
        self.cuts: dict[int, int] = {}  # of running splits: how many children go into one payload, as last granted
        self.func: Callable[..., Any] = program.func
        self.plain = self.call = self.caller()

    # -- calling the function ---------------------------------------------------------------------------

    def caller(self) -> Callable[[Any], Any]:
        """How one task is run. Makes an instance first where the function is a class."""
        program = self.program
        func: Any = program.func
        if makes_instances(func):
            func = func()
            self.instances.append(func)
        self.func = func
        node = program.node
        if node is not None and program.batch_size is None:
            return _with_overrides(func, node)
        if program.unpack:
            return lambda task: func(*task) if isinstance(task, tuple) else func(task)
        call: Callable[[Any], Any] = func
        return call

    def close(self) -> None:
        """Call ``close()`` of the instances that were made; what it raises is the instance's own affair."""
        for instance in self.instances:
            closing = getattr(instance, "close", None)
            if callable(closing):
                try:
                    closing()
                except Exception:  # noqa: BLE001, S110 - the tasks have ended; there is nobody to tell
                    pass
        self.instances.clear()

    def pack(self, values: list[Any], port: int = -1) -> tuple[Any, list[tuple[int, PayloadError]]]:
        """Values on their way out by ``port``: sealed, or live with a copy for each further node."""
        if self.seals:
            return seal(values, self.store, prove=True) if self.draft is None else self.draft.sealed(values)
        return live(values, self.program.fan[port] if port >= 0 else 1), []

    def failed(self, error: BaseException, position: int) -> tuple[int, ErrorRecord, bool]:
        """The record of a task's exception, and whether it may be retried."""
        return position, capture(error, seal=self.seals), issubclass(type(error), self.program.retry_types)

    # -- jobs ---------------------------------------------------------------------------------------------

    def run(self, worker: int, token: int, job: Job) -> Iterator[Answer]:
        """The answers to a job; the last one has ``last`` set."""
        start = monotonic()
        traced = self.traced and job.timed != []
        if self.mark is not None:
            if self.gives_back and self.mark[BACK] >= token and job.kind == "run":
                return iter((Answer(worker, token, ended=[], returned=list(range(job.count))),))
            self._mark_all(self.mark)
            self.mark[TOKEN] = token
        if job.kind == "merge":
            answer = self._merge(worker, token, job)
        else:
            try:
                values = load(job)
            except Exception as error:  # noqa: BLE001 - a user's __setstate__ may raise anything
                return iter((self.unreadable(worker, token, job, error),))
            self.at_work = values
            if job.kind == "key":
                answer = self._keys(worker, token, values)
            elif self.program.kind == "split":
                return self._split(worker, token, job, values)
            else:
                clock = new_clock() if traced else None
                if self.spare is not None and job.weight >= HEAVY and job.count > 1:
                    self._begin_draft(job, self.spare)
                out, failures = self.each(values, clock, job.timed)
                whole = len(out) == len(values)
                answer = self.answer(worker, token, values, out, failures, whole=whole)
                if self.draft is not None:
                    self._end_draft(self.draft)
                if not whole:
                    answer.returned = list(range(len(out), len(values)))
                if clock is not None and clock.starts:
                    answer.times = clock.times(None if whole else range(len(out)))
        self.at_work = []  # they are not kept until the next job comes
        answer.seconds = monotonic() - start
        if traced and answer.times is None:
            answer.times = new_clock().span(start, job.count)
        return iter((answer,))

    def _begin_draft(self, job: Job, spare: Callable[[int], Room | None]) -> None:
        """From now on put each result, as they are likely to be large, where the payload of all will be."""
        from dagflow.work.draft import Draft, Heap

        draft, plain = Draft(spare(job.count * job.weight) or Heap()), self.plain
        self.draft = draft
        self.call = lambda task: draft.put(plain(task))

    def _end_draft(self, draft: Draft) -> None:
        draft.close()
        self.draft = None
        self.call = self.plain

    def unreadable(self, worker: int, token: int, job: Job, error: BaseException) -> Answer:
        """Values that cannot be read here fail; those that came with them are given back, to be read without them."""
        answer = Answer(worker, token, ended=[])
        if isinstance(error, Unreadable):
            bad = error.bad
        else:
            bad = dict.fromkeys(range(job.count), PayloadError(f"cannot be read: {type(error).__name__}: {error}"))
        answer.failures = [self.failed(e, p) for p, e in sorted(bad.items())]
        answer.returned = [p for p in range(job.count) if p not in bad]
        answer.times = new_clock().span(monotonic(), job.count) if self.traced else None
        return answer

    def each(
        self, values: list[Any], clock: Clock | None = None, timed: Sequence[int] | None = None
    ) -> tuple[list[Any], Failures]:
        """Call the function for each value: results in order (None for a failed one), and the failures.

        Fewer results than values where the driver wants back what has not begun. ``clock`` is told when tasks begin and
        end: those at the positions ``timed`` (None: all), where others need no clock of their own.
        """
        if self.program.batch_size is not None:
            return self._batches(values, clock)
        if self.program.timeout is not None and (self.mark is None or clock is not None):
            return self._watched(values, clock)
        if clock is not None:
            return self._timed(values, clock) if timed is None else self._sampled(values, clock, timed)
        out: list[Any] = []
        failures: Failures = []
        self._untimed(iter(values), values, len(values), out, failures)
        if self.mark is not None:
            self._mark_all(self.mark)
        return out, failures

    def _untimed(self, rest: Iterator[Any], values: list[Any], until: int, out: list[Any], failures: Failures) -> bool:
        """`each` for the next tasks, those of ``values`` that ``rest`` still gives, up to ``until``.

        Whether there is a task after them, and it is not known to be wanted back.
        """
        call, mark = self.call, self.mark
        while len(out) < min(until, len(values)):  # which a child that the function forks finds empty
            at = len(out)
            part = rest if until == len(values) else islice(rest, until - at)
            try:
                if mark is None:
                    out.extend(map(call, part))
                else:
                    self._marked(mark, at, out, part)
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                failures.append((len(out), error))
                out.append(None)
            else:
                if mark is not None:
                    break  # all of them, or the rest is wanted back
                if len(out) < min(until, len(values)):  # a StopIteration, which `map` takes for the end of its input
                    failures.append((len(out), StopIteration("raised by the function")))
                    out.append(None)
        return until <= len(out) < len(values)

    def _marked(self, mark: memoryview, at: int, out: list[Any], rest: Any) -> None:
        """`each`, with the position of the running task in the shared page: some 25 ns a task.

        A clock reading for each task is worth its price only where time-outs need it.
        """
        call = self.call
        if self.program.timeout is not None:
            for offset, value in enumerate(rest, at):
                if self._wanted_back():
                    return
                self._mark_one(mark, offset)
                out.append(call(value))
        elif self.gives_back:
            token = mark[TOKEN]
            for mark[POSITION], value in enumerate(rest, at):
                if mark[BACK] >= token:
                    return
                out.append(call(value))
        else:
            for mark[POSITION], value in enumerate(rest, at):
                out.append(call(value))

    def _wanted_back(self) -> bool:
        """Whether the driver wants back what has not begun."""
        return self.gives_back and self.mark is not None and self.mark[BACK] >= self.mark[TOKEN]

    def _watched(self, values: list[Any], clock: Clock | None) -> tuple[list[Any], Failures]:
        """`each` with a look at the clock for each task: where nobody can interrupt it, it has failed, if late."""
        out: list[Any] = []
        failures: Failures = []
        for position, value in enumerate(values):
            if self._wanted_back():
                break
            if self.mark is not None:
                self._mark_one(self.mark, position)
            if clock is not None:
                clock.tick()
            start = monotonic()
            result: Any = None
            try:
                result = self.call(value)
                self.check_time(monotonic() - start)
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                failures.append((position, error))
                result = None
            out.append(result)
        if clock is not None:
            clock.tick()
        if self.mark is not None:
            self._mark_all(self.mark)
        return out, failures

    def _timed(self, values: list[Any], clock: Clock) -> tuple[list[Any], Failures]:
        """`each` with the time of every task: some 40 ns a task more than without."""
        out: list[Any] = []
        failures: Failures = []
        call, add, tick, now = self.call, out.append, clock.starts.append, monotonic
        mark: Any = self.mark if self.mark is not None else {}
        shared = self.gives_back
        for position, value in enumerate(values):
            if shared and self._wanted_back():
                break
            mark[POSITION] = position
            tick(now())
            try:
                add(call(value))
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                failures.append((position, error))
                add(None)
        clock.tick()
        if self.mark is not None:
            self._mark_all(self.mark)
        return out, failures

    def _sampled(self, values: list[Any], clock: Clock, timed: Sequence[int]) -> tuple[list[Any], Failures]:
        """`each` with the time of the tasks at the positions ``timed`` alone: what is not traced costs nothing."""
        out: list[Any] = []
        failures: Failures = []
        rest = iter(values)
        for position in timed:
            if not self._untimed(rest, values, position, out, failures) or self._wanted_back():
                break
            value = next(rest)
            if self.mark is not None:
                self.mark[POSITION] = position
            clock.begin()
            try:
                out.append(self.call(value))
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                failures.append((position, error))
                out.append(None)
            clock.end()
        else:
            self._untimed(rest, values, len(values), out, failures)
        clock.positions = timed[: len(clock.starts)]
        if self.mark is not None:
            self._mark_all(self.mark)
        return out, failures

    def check_time(self, seconds: float) -> None:
        """Raise `TaskTimeout` if the node's timeout is less; not where a task that runs too long is killed."""
        timeout = self.program.timeout
        if timeout is not None and seconds > timeout and self.mark is None:
            raise timed_out(timeout)

    def suspend(self) -> None:
        """From now on the running split waits for room, which its timeout does not count."""
        if self.mark is not None:
            self.mark[SUSPENDED] = monotonic_ns()

    def resume(self) -> None:
        """The running split goes on."""
        if self.mark is not None:
            self.mark[SINCE] += monotonic_ns() - self.mark[SUSPENDED]
            self.mark[SUSPENDED] = 0

    def _batches(self, values: list[Any], clock: Clock | None = None) -> tuple[list[Any], Failures]:
        """`each` for a function of lists: an exception, or a wrong number of results, fails the whole list."""
        size = self.program.batch_size
        assert size is not None
        out: list[Any] = []
        failures: Failures = []
        for at in range(0, len(values), size):
            part = values[at : at + size]
            if not part or self._wanted_back():
                break  # for the first, see `_no_more_tasks`
            start = monotonic()
            if self.mark is not None:
                self._mark_one(self.mark, at)
            try:
                results = self.batch_results(part, self.func(part))
                self.check_time(monotonic() - start)
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                failures.extend((at + i, error) for i in range(len(part)))
                results = [None] * len(part)
            out.extend(results)
            if clock is not None:
                clock.add(start, monotonic(), len(part))
        return out, failures

    def batch_results(self, tasks: list[Any], results: Any) -> list[Any]:
        """The results of a function of lists, checked to be as many as the tasks."""
        found = list(results)
        if len(found) != len(tasks):
            raise ValueError(f"the function returned {len(found)} results for {len(tasks)} tasks")
        node = self.program.node
        return found if node is None else [node.process_result(t, r) for t, r in zip(tasks, found, strict=True)]

    # -- answers --------------------------------------------------------------------------------------

    def answer(
        self,
        worker: int,
        token: int,
        values: Sequence[Any],
        out: list[Any],
        failures: Failures,
        *,
        whole: bool = True,
    ) -> Answer:
        """The answer for results ``out`` of ``values``; ``whole``: of all tasks of the lease, in order."""
        answer = Answer(worker, token)
        bad = {p for p, _ in failures} if failures else set()
        if self.program.kind == "route":
            self._route(answer, values, out, failures, bad)
        else:
            if any(map(is_, out, repeat(DROP))):  # nearly never, and looked for in C
                answer.dropped = [p for p, result in enumerate(out) if result is DROP]
                bad.update(answer.dropped)
            self._produce(answer, 0, out, None if whole and not bad else _others(len(out), bad))
        if failures:
            answer.failures.extend([self.failed(error, p) for p, error in failures])
        if answer.failures:
            gone = {p for p, _, _ in answer.failures}
            answer.dropped = [p for p in answer.dropped if p not in gone]
        return answer

    def _produce(self, answer: Answer, port: int, out: Sequence[Any], positions: list[int] | None) -> None:
        chosen = list(out) if positions is None else [out[p] for p in positions]
        if not chosen:
            return
        payload, bad = self.pack(chosen, port)
        if bad:
            positions = list(range(len(out))) if positions is None else positions
            for at, error in bad:
                answer.failures.append(self.failed(error, positions[at]))
            skip = {at for at, _ in bad}
            positions = [p for at, p in enumerate(positions) if at not in skip]
        if payload.count:
            answer.outputs.append(Produced(port, payload, positions))

    def _route(self, answer: Answer, values: Sequence[Any], out: list[Any], failures: Failures, bad: set[int]) -> None:
        """Labels to ports; the task goes on unchanged, by several labels as copies of its own."""
        chosen: list[list[int]] = [[] for _ in self.program.ports]
        for position, labels in enumerate(out):
            if position in bad:
                continue
            try:
                ports = self._ports(labels)
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                failures.append((position, error))
                bad.add(position)
                continue
            if not ports:
                answer.dropped.append(position)
                continue
            for port in ports:
                chosen[port].append(position)
            if len(ports) > 1:
                answer.copies[position] = len(ports)
        given: set[int] = set()
        for port, positions in enumerate(chosen):
            if not positions:
                continue
            again = [] if self.seals else [p for p in positions if p in given]
            tasks = list(values)
            for p in again:
                tasks[p] = copied(values[p])
            given.update(answer.copies.keys() & set(positions))
            self._produce(answer, port, tasks, positions)

    def _ports(self, labels: Any) -> list[int]:
        """The ports of a label, or of a list of labels that is not itself a label."""
        several = isinstance(labels, (list, tuple, set, frozenset)) and (
            type(labels),
            labels,
        ) not in _Known(self.labels)
        found = {self._port(label) for label in (labels if several else (labels,))}
        return sorted(port for port in found if port is not None)

    def _port(self, label: Any) -> int | None:
        """The port of a label; None drops."""
        if label is DROP:
            return None
        try:
            port = self.labels.get((type(label), label))
        except TypeError:
            port = None  # an unhashable label
        if port is not None:
            return port
        default = self.program.default
        if default is not None:
            return None if default is DROP else self.labels[type(default), default]
        known = [p for p in self.program.ports if p is not DROP]
        labels = ", ".join(map(repr, known))
        raise UnroutedError(
            f"label {safe_repr(label)} has no branch; known: {labels}. Add a branch, or a default=",
            label=label,
            known=known,
        )

    def _keys(self, worker: int, token: int, values: list[Any]) -> Answer:
        """The deduplication keys of the values."""
        from dagflow.work.canonical import content_key

        answer = Answer(worker, token, keys=[])
        assert answer.keys is not None
        of = self.program.key
        for position, value in enumerate(values):
            if self.mark is not None:
                self._mark_one(self.mark, position)
            try:
                answer.keys.append(content_key(value if of is None else of(value)))
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                answer.keys.append(None)
                answer.failures.append((position, self.failed(error, position)[1], False))
        return answer

    # -- splits ---------------------------------------------------------------------------------------

    def _split(self, worker: int, token: int, job: Job, values: list[Any]) -> Generator[Answer, None, None]:
        """Children of each value, on their way while the function still runs."""
        batch = Children(self, worker, token, job)
        for position, value in enumerate(values):
            if self.mark is not None:
                self._mark_one(self.mark, position)
            yield from self.split_one(batch, position, job.skip.get(position, 0), value)
        last = batch.last()
        self.cuts.pop(token, None)
        self.at_work = []
        yield last  # after which nobody may turn this any more

    def split_one(self, batch: Children, position: int, skip: int, value: Any) -> Generator[Answer, None, None]:
        """The children of one value, without the first ``skip``; its end goes into ``batch``."""
        batch.begin(position, skip)
        try:
            result = self.call(value)
            if result is DROP:
                batch.drop()
                return
            yield from batch.take(children_of(result))
            batch.check_time()
        except BaseException as error:
            if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                raise
            if batch.sending:
                raise  # nobody turns this split any more: not the function's doing
            yield from batch.fail(error)
        else:
            batch.end()

    def _mark_one(self, mark: memoryview, position: int) -> None:
        # The time first: whoever reads in between sees a task that has just begun, never one that is late.
        mark[SINCE], mark[POSITION] = monotonic_ns(), position

    def _mark_all(self, mark: memoryview) -> None:
        """From here on values are read or sealed: which of them kills the worker is not known."""
        mark[SINCE], mark[POSITION] = monotonic_ns(), UNKNOWN

    # -- merges ---------------------------------------------------------------------------------------

    def _merge(self, worker: int, token: int, job: Job) -> Answer:
        """Merge each group of the job."""
        opened: dict[int, Any] = {}
        out: list[Any] = []
        failures: Failures = []
        clock = new_clock() if self.traced else None
        self.at_work = job.groups
        for position, group in enumerate(job.groups):
            if self.mark is not None:
                self._mark_one(self.mark, position)
            start = monotonic()
            result: Any = None
            try:
                result = self.merge_group(group, opened)
                self.check_time(monotonic() - start)
            except BaseException as error:
                if self.interrupts and issubclass(type(error), KeyboardInterrupt):
                    raise
                failures.append((position, error))
            out.append(result)
            if clock is not None:
                clock.add(start, monotonic())
        answer = self.merge_answer(worker, token, job.groups, out, failures)
        answer.times = clock.times() if clock is not None else None
        return answer

    def merge_group(self, group: Any, opened: dict[int, Any]) -> Any:
        """The merged value of a group (or, for a step of a fold, its next state); payloads are ``opened`` once."""
        members = self.members(group.pieces, opened)
        return self.merge_one(members) if self.program.fold is None else self._fold(group, members)

    def merge_answer(
        self, worker: int, token: int, groups: Sequence[Any], out: list[Any], failures: Failures, *, whole: bool = True
    ) -> Answer:
        """The answer for the results ``out`` of ``groups``; ``whole``: of all groups of the lease, in order."""
        answer = Answer(worker, token)
        bad = {p for p, _ in failures}
        states: dict[int, Any] = {}
        for position, group in enumerate(groups):
            if not group.final and position not in bad:
                state, unsealed = self.pack([out[position]])
                if unsealed:
                    failures.append((position, unsealed[0][1]))
                else:
                    states[position] = state
        bad.update(states, (p for p, _ in failures))
        answer.dropped = [p for p, result in enumerate(out) if result is DROP and p not in bad]
        bad.update(answer.dropped)
        self._produce(answer, 0, out, None if whole and not bad else _others(len(out), bad))
        answer.failures.extend(self.failed(error, p) for p, error in failures)
        answer.states = states or None
        return answer

    def members(self, pieces: Sequence[Any], opened: dict[int, Any]) -> list[Any]:
        """The values of a group's members, in order."""
        members: list[Any] = []
        for payload, low, high in pieces:
            if id(payload) not in opened:
                opened[id(payload)] = read_values(payload)
            values, bad = opened[id(payload)]
            for position in bad:
                if low <= position < high:
                    raise PayloadError(f"a member: {bad[position]}")
            members.extend(values[low:high])
        return members

    def merge_one(self, members: list[Any]) -> Any:
        """What the Merger's function makes of the members (a coroutine, where that is async)."""
        result = self.func(*members) if self.program.spread is not None else self.func(members)
        return self._processed(members, result)

    def _fold(self, group: Any, members: list[Any]) -> Any:
        fold = self.program.fold
        assert fold is not None
        # A copy, or a step that failed half-way and is tried again would find its own traces in a live state.
        state = copied(self.program.initial if group.state is None else open_values(group.state)[0])
        for member in members:
            state = fold(state, member)
        return self._processed(state, self.func(state)) if group.final else state

    def _processed(self, task: Any, result: Any) -> Any:
        node = self.program.node
        return result if node is None else node.process_result(task, result)


class Children:
    """Children on their way out: gathered into payloads of up to `cut` values, numbered per task."""

    def __init__(self, runner: Runner, worker: int, token: int, job: Job) -> None:
        self.runner, self.worker, self.token = runner, worker, token
        runner.cuts.setdefault(token, max(1, min(job.cuts.values(), default=1024)))
        self.position = self.number = self.skip = 0
        self.sending = False
        self.values: list[Any] = []
        self.runs: list[tuple[int, int, int]] = []
        self.clock = new_clock() if runner.traced else None
        self.timed: list[int] = []
        self.answer = Answer(worker, token, last=False, ended=[])
        self.since = self.resumed = monotonic()
        self.spent = self.untold = 0.0

    def cut(self) -> int:
        """How many children go into one payload; a grant may change it while the split runs."""
        return self.runner.cuts.get(self.token, 1)

    def begin(self, position: int, skip: int) -> None:
        """Start the task at ``position``, whose first ``skip`` children were accepted before."""
        self.position, self.number, self.skip = position, skip, skip
        now = monotonic()
        self.untold += now - self.resumed
        self.spent, self.resumed = 0.0, now
        if self.clock is not None:
            self.clock.began = now

    def check_time(self) -> None:
        """Raise `TaskTimeout` where nobody else can: if the current task has worked too long, waits not counted."""
        self.runner.check_time(self.spent + monotonic() - self.resumed)

    def take(self, children: Any) -> Generator[Answer, None, None]:
        """Send the children on, in payloads."""
        if type(children) in (list, tuple, range):  # a class of the user's may say anything of its length
            at = self.skip
            while at < len(children):
                part = children[at : at + self.cut() - len(self.values)]
                self.add(part)
                at += len(part)
                if len(self.values) >= self.cut():
                    self.check_time()
                    yield from self.flush()
            return
        source = iter(children)
        deque(islice(source, self.skip), maxlen=0)
        for child in source:
            self.add((child,))
            if self.due():
                self.check_time()
                yield from self.flush()

    def due(self) -> bool:
        """Whether what there is should be sent now."""
        return len(self.values) >= self.cut() or monotonic() - self.since > FLUSH_SECONDS

    def add(self, children: Sequence[Any]) -> None:
        """Take in neighbouring children of the current task."""
        if not self.values:
            self.since = monotonic()
        self.values.extend(children)
        if self.runs and self.runs[-1][0] == self.position:
            position, start, number = self.runs[-1]
            self.runs[-1] = (position, start, number + len(children))
        else:
            self.runs.append((self.position, self.number, len(children)))
        self.number += len(children)

    def flush(self) -> Generator[Answer, None, None]:
        """Send what there is. Raises the error of the current task, if a child of it cannot travel."""
        error = self._pack()
        self._tell_times()
        answer, self.answer = self.answer, Answer(self.worker, self.token, last=False, ended=[])
        answer.seconds = self._work()
        self.sending = True
        self.runner.suspend()
        yield answer
        self.runner.resume()
        self.sending = False
        self.resumed = monotonic()
        if error is not None:
            raise error

    def _pack(self) -> PayloadError | None:
        if not self.values:
            return None
        values, runs = self.values, self.runs
        self.values, self.runs = [], []
        values, runs = _without_drops(values, runs)
        payload, bad = self.runner.pack(values, 0)
        error = None
        if bad:
            values, runs, error = self._without_bad(values, runs, dict(bad))
            payload, _ = self.runner.pack(values, 0)
        if runs:
            self.answer.outputs.append(Produced(0, payload, None, runs))
        return error

    def _without_bad(
        self, values: list[Any], runs: list[tuple[int, int, int]], bad: dict[int, PayloadError]
    ) -> tuple[list[Any], list[tuple[int, int, int]], PayloadError | None]:
        """A child that cannot travel fails its parent, whose children before it go on, and none after it.

        Gives the children that go on, and the error of the current task, which may still be running.
        """
        kept: list[Any] = []
        kept_runs: list[tuple[int, int, int]] = []
        failed: dict[int, PayloadError] = {}
        at = 0
        for position, start, number in runs:
            first = next((n for n in range(number) if at + n in bad), number)
            if first < number and position not in failed:
                failed[position] = bad[at + first]
            elif position in failed:
                first = 0
            if first:
                kept.extend(values[at : at + first])
                kept_runs.append((position, start, first))
            at += number
        assert self.answer.ended is not None
        for position in [p for p in failed if p in self.answer.ended]:
            self.answer.ended.remove(position)
            self.answer.failures.append(self.runner.failed(failed.pop(position), position))
        return kept, kept_runs, failed.get(self.position)

    def end(self) -> None:
        """The current task has given all its children."""
        assert self.answer.ended is not None
        self.answer.ended.append(self.position)
        self._stop_clock()

    def drop(self) -> None:
        """The current task was dropped."""
        self.answer.dropped.append(self.position)
        self._stop_clock()

    def fail(self, error: BaseException) -> Generator[Answer, None, None]:
        """The current task failed; the children it gave before go on first."""
        if self.values:
            try:
                yield from self.flush()
            except PayloadError as unsealed:
                error = unsealed
        self.answer.failures.append(self.runner.failed(error, self.position))
        self._stop_clock()

    def abandon(self, position: int, error: BaseException, began: float) -> None:
        """The task at ``position``, which another thread works at since ``began``, has failed."""
        self.position, self.untold = position, monotonic() - began
        if self.clock is not None:
            self.clock.began = began
        self.answer.failures.append(self.runner.failed(error, position))
        self._stop_clock()

    def _stop_clock(self) -> None:
        if self.clock is not None:
            self.clock.end()
            self.timed.append(self.position)

    def _tell_times(self) -> None:
        if self.clock is not None and self.timed:
            self.answer.times = self.clock.times(self.timed)
            began = self.clock.began  # of the task that is still running
            self.clock, self.timed = new_clock(), []
            self.clock.began = began

    def last(self) -> Answer:
        """The last answer: by now each task has ended, or failed."""
        self._pack()
        self._tell_times()
        self.answer.last = True
        self.answer.seconds = self._work()
        return self.answer

    def _work(self) -> float:
        """Seconds of work since the last answer."""
        now = monotonic()
        self.spent += now - self.resumed
        seconds, self.untold = self.untold + now - self.resumed, 0.0
        self.resumed = now
        return seconds


def _without_drops(values: list[Any], runs: list[tuple[int, int, int]]) -> tuple[list[Any], list[tuple[int, int, int]]]:
    """Children that are `DROP` are simply absent; the others keep their numbers."""
    if not any(v is DROP for v in values):
        return values, runs
    kept: list[Any] = []
    kept_runs: list[tuple[int, int, int]] = []
    at = 0
    for position, start, number in runs:
        for offset in range(number):
            value = values[at]
            at += 1
            if value is not DROP:
                kept.append(value)
                kept_runs.append((position, start + offset, 1))
    return kept, kept_runs


class _Known:
    """Membership test that takes unhashable labels."""

    def __init__(self, labels: dict[Any, int]) -> None:
        self.labels = labels

    def __contains__(self, key: Any) -> bool:
        try:
            return key in self.labels
        except TypeError:
            return False


_runners: set[ref[Runner]] = set()


def _no_more_tasks() -> None:
    """In a child that a function has forked: should it come back, there is nothing left to do for it."""
    for known in list(_runners):
        runner = known()
        if runner is not None:
            runner.at_work.clear()


os.register_at_fork(after_in_child=_no_more_tasks)


def new_clock() -> Clock:
    """A clock, for a traced run: the others need not load it."""
    from dagflow.work.clock import Clock

    return Clock()


def load(job: Job) -> list[Any]:
    """The values of a job's pieces. Raises `Unreadable`."""
    if len(job.pieces) == 1:
        payload, low, high = job.pieces[0]
        return open_values(payload, low, high)
    values: list[Any] = []
    bad: dict[int, PayloadError] = {}
    for payload, low, high in job.pieces:
        found, errors = read_values(payload, low, high)
        bad.update((len(values) + at, error) for at, error in errors.items())
        values.extend(found)
    if bad:
        raise Unreadable(bad)
    return values


def children_of(result: Any) -> Any:
    """The iterable that a Splitter's function gave, or a `TypeError` that says what it gave instead."""
    if isinstance(result, (str, bytes)) or (not hasattr(result, "__iter__") and not hasattr(result, "__getitem__")):
        raise TypeError(
            f"a Splitter's function must return an iterable of children, not {type(result).__name__}; "
            f"return [value] for a single child"
        )
    return result


def timed_out(seconds: float) -> TaskTimeout:
    """The error of a task that ran too long."""
    return TaskTimeout(f"ran longer than the timeout of {seconds:g} s")


def _with_overrides(func: Callable[..., Any], node: Any) -> Callable[[Any], Any]:
    def call(task: Any) -> Any:
        args = node.get_args(task)
        if not isinstance(args, tuple):
            raise TypeError(f"get_args must return a tuple of arguments, not {type(args).__name__}")
        return node.process_result(task, func(*args))

    return call


def _others(number: int, bad: set[int]) -> list[int]:
    return [p for p in range(number) if p not in bad]
