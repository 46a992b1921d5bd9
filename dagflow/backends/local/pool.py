"""The driver's side of worker processes: the hub. Forks by the zygote, sends jobs, reads answers, notices deaths.

One non-blocking socketpair a worker; the ring's thread reads headers and forwards payloads unopened. A death
is seen by the closed socket and by the zygote's report, whichever comes first; what the worker had sent before
is read to the end, then the page that it shared tells which task it was at.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dagflow.backends.local.echo import echoes
from dagflow.backends.local.helper import CLOSE_SECONDS, Helper
from dagflow.backends.local.messages import Unsendable, pack_job, unpack_answer
from dagflow.backends.local.pages import Page, Pages
from dagflow.backends.local.segments import Segments
from dagflow.backends.local.wire import Reader, Writer, pack
from dagflow.backends.local.words import Words
from dagflow.backends.mailbox import READ, WRITE
from dagflow.core.events import ANYWHERE, Running, WorkerLost, WorkerUp
from dagflow.core.job import Answer
from dagflow.errors import BackendError, PayloadError
from dagflow.work.codec import LARGE, dumps
from dagflow.work.logs import told
from dagflow.work.outcome import capture
from dagflow.work.page import ANSWERED, POSITION, SINCE, SUSPENDED, TOKEN, UNKNOWN

if TYPE_CHECKING:
    from dagflow.backends.mailbox import Mailbox
    from dagflow.core.job import Job
    from dagflow.work.program import Program

SOCKET_BYTES: Final = 1 << 20
REPORT_SECONDS: Final = 1.0
"""How long the zygote's report of a death is waited for after the socket has closed."""
SHARED: Final = ("numpy",)
"""Modules that take long to load, as long as all else that starting takes, and may be loaded before forking: one
zygote loads them once, where it is known that all its workers would each do so."""
INSIDE_MOST: Final = 8
SHOW_SECONDS: Final = 0.25
"""How often what a worker writes while it loads its function is passed on."""


class _Worker:
    """One worker process, seen from the driver."""

    def __init__(self, number: int, node: int, sock: socket.socket, page: Page, words: Words) -> None:
        self.number, self.node = number, node
        self.sock = sock
        self.page, self.words = page, words
        self.reader = Reader()
        self.writer = Writer(sock)
        self.pid: int | None = None
        self.up = False
        self.jobs = self.open = 0  # how many it was given in all, and has not answered yet
        self.stopping = False
        self.writable = False
        self.closed_at: float | None = None
        self.exit: int | None = None
        self.refused = ""
        self.kill_wanted = False
        self.gone = False

    def running(self) -> tuple[int, int] | None:
        """Token and position of the task it is at, as `WorkerLost` tells it."""
        marked = self.page.read()
        return None if marked[TOKEN] < 0 else (marked[TOKEN], _position(marked))


class Pool:
    """Worker processes of one run."""

    def __init__(self, mailbox: Mailbox, programs: Sequence[Program], helper: Helper | None = None) -> None:
        self.mailbox = mailbox
        self.programs = programs
        self.sealed: dict[int, bytes | PayloadError] = {}
        self.workers: dict[int, _Worker] = {}
        self.by_pid: dict[int, _Worker] = {}
        self.leaving: dict[int, _Worker] = {}
        self.starting: dict[int, _Worker] = {}  # those of `workers` that are not up yet
        self.dying: dict[int, _Worker] = {}  # those of `workers` whose socket is closed
        self.pages = Pages()
        self.segments = Segments()
        self.echoes = echoes(mailbox)
        self.logs, self.log_modules, left = told()
        for what in left:
            from loguru import logger

            logger.warning("what functions log in worker processes goes without {}", what)
        self.next_show = 0.0
        self.helper: Helper | None = None
        self._start_zygote(helper)
        mailbox.deadlines.append(self._next_deadline)

    def _start_zygote(self, started: Helper | None = None) -> None:
        helper = self.helper = started or Helper.taken() or Helper()
        # The zygote boots while the programs are sealed here, and imports once what its workers all need.
        sealed = [self._program(node) for node in range(len(self.programs))]
        preload = list(self.log_modules)
        if any(isinstance(p, bytes) and b"cloudpickle" in p for p in (*sealed, *self.logs)):
            preload.append("cloudpickle")
        modes = {program.mode for program in self.programs}
        if "async" in modes:
            preload += ["asyncio", "dagflow.work.loop"]
        if "thread" in modes:
            preload.append("dagflow.work.threads")
        preload += self._needed(sealed)
        try:
            helper.set_up(preload, *(self.echoes[fd].theirs if fd in self.echoes else fd for fd in (1, 2)))
        except OSError:
            pass  # it has ended already, which is noticed when its socket is read
        self.mailbox.watch(helper.control.fileno(), self._from_zygote)

    def _needed(self, sealed: list[bytes | PayloadError]) -> list[str]:
        """Which of the modules that the zygote may load the functions are sure to need."""
        needed = []
        for name in SHARED:
            module = sys.modules.get(name)
            if module is not None and (
                any(isinstance(p, bytes) and name.encode() in p for p in sealed)
                or any(value is module for program in self.programs for value in _surroundings(program.func))
            ):
                needed.append(name)
        return needed

    # -- commands ---------------------------------------------------------------------------------------

    def expect(self, values: Sequence[object]) -> None:
        """Have the zygote load what workers will need to read such values."""
        found = {type(v).__module__ for v in _within(values[0])}
        needed = [name for name in SHARED if name in found]
        if needed and self.helper is not None:
            try:
                self.helper.ask(("load", needed))
            except OSError:
                pass  # it has ended, which is noticed when its socket is read

    def start(self, number: int, node: int) -> None:
        """Fork a worker for a node; it is up when it has loaded the node's program."""
        program = self._program(node)
        try:
            try:
                worker = self._fork(number, node)
            except OSError as error:
                if error.errno != errno.EMFILE or not _allow_more_descriptors():
                    raise
                worker = self._fork(number, node)
        except (OSError, BackendError) as error:
            self._unforked(number, error)
            return
        self.workers[number] = self.starting[number] = worker
        self.mailbox.watch(worker.sock.fileno(), partial(self._ready, worker))
        if isinstance(program, bytes):
            self._send(worker, pack(0, ("program", number), [program, *self.logs]))
        else:
            # Its function cannot travel: every task fails with the reason; the process is not needed.
            del self.starting[number]
            self.mailbox.post(WorkerUp(number))

    def _fork(self, number: int, node: int) -> _Worker:
        if self.helper is None:
            self._start_zygote()
        assert self.helper is not None
        ours, theirs = socket.socketpair()
        words = page = None
        try:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            ours.setblocking(False)
            words, page = Words(), self.pages.take()
            self.helper.ask(("fork", number, page.offset), [theirs.fileno(), page.fd, words.fd])
        except OSError:
            ours.close()
            if words is not None:
                words.close()
            if page is not None:
                self.pages.give_back(page)
            raise
        finally:
            theirs.close()
        return _Worker(number, node, ours, page, words)

    def deliver(self, number: int, token: int, job: Job) -> None:
        """Send a job; tasks whose values cannot travel fail here and now."""
        worker = self.workers.get(number)
        if worker is None or worker.closed_at is not None:
            return  # its death is on its way to the scheduler
        program = self._program(worker.node)
        if not isinstance(program, bytes):
            self._refuse(worker, token, [(p, program) for p in range(job.count)], job)
            return
        try:
            message, load = pack_job(job, self.segments.store)
        except Unsendable as unsendable:
            self._refuse(worker, token, unsendable.bad, job)
            return
        worker.jobs += 1
        worker.open += 1
        buffers = pack(token, message, load.blobs)
        fds: list[int] = []
        if load.segments or self.segments.may_want(number):
            new, spares, fds = self.segments.deliver(number, load.segments, worker.open)
            if new or spares:
                buffers = [*pack(0, ("segments", new, spares), []), *buffers]  # it is woken once for both
        self._send(worker, buffers, fds)

    def grant(self, number: int, token: int, count: int, cut: int) -> None:
        """Let a split go on."""
        worker = self.workers.get(number)
        if worker is not None:
            self._send(worker, pack(token, ("grant", count, cut), []))

    def give_back(self, number: int, token: int) -> None:
        """Ask a worker for what it has not begun; it sees that before each task, without being sent anything."""
        worker = self.workers.get(number)
        if worker is not None:
            worker.page.want_back(token)

    def probe(self, number: int) -> None:
        """Say which task a worker is at, after all that it has said itself."""
        worker = self.workers.get(number)
        if worker is None:
            return
        marked = worker.page.read()
        while self._has_more(worker) and self._read(worker):
            pass
        since = monotonic() if marked[SUSPENDED] else marked[SINCE] / 1e9
        idle = marked[ANSWERED] == worker.jobs
        self.mailbox.post(Running(number, marked[TOKEN], _position(marked), since, idle))

    def stop(self, number: int, *, kill: bool) -> None:
        """Let a worker end, or kill it; nothing more is heard of it."""
        worker = self.workers.get(number)
        if worker is None:
            return
        self._leave(worker)
        if kill:
            self._kill(worker)
        else:
            self._send(worker, pack(0, ("stop",), []))

    def close(self, *, kill: bool) -> None:
        """End all workers, then the zygote, and wait until they are gone."""
        spoken = set(self.echoes.values())
        for echo in spoken:
            echo.hurry()
        for number in list(self.workers):
            self.stop(number, kill=kill)
        deadline = monotonic() + CLOSE_SECONDS
        killed = False
        while self.leaving and self.helper is not None:
            left = deadline - monotonic()
            if left <= 0:
                if killed:
                    break
                for worker in self.leaving.values():
                    self._kill(worker)
                killed, deadline = True, monotonic() + CLOSE_SECONDS
                continue
            self.mailbox.look(min(left, 0.5))
            for echo in spoken:
                echo.deadline()
        clean = not self.leaving  # nothing of this run will be heard of from the zygote
        for worker in list(self.leaving.values()):
            self._forget(worker)
        for echo in spoken:
            echo.close()
        self.segments.close()
        self.mailbox.deadlines.remove(self._next_deadline)
        if self.helper is not None:
            self.mailbox.unwatch(self.helper.control.fileno())
            if clean:
                self.helper.leave()
            else:
                self.helper.end()
        self.pages.close()

    # -- sending ----------------------------------------------------------------------------------------

    def _program(self, node: int) -> bytes | PayloadError:
        sealed = self.sealed.get(node)
        if sealed is None:
            program = self.programs[node]
            try:
                sealed = dumps(program)
            except BaseException as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
                sealed = PayloadError(
                    f"the function of node {program.name!r} cannot travel to a worker process: "
                    f"{type(error).__name__}: {error}. Make what it needs inside the worker (a class is made once "
                    f'per worker), or run the graph with backend="thread"'
                )
            self.sealed[node] = sealed
        return sealed

    def _refuse(self, worker: _Worker, token: int, bad: list[tuple[int, PayloadError]], job: Job) -> None:
        """Fail the tasks whose values cannot travel, and give the others back."""
        errors = dict(bad)
        answer = Answer(worker.number, token, ended=[])
        answer.failures = [(p, capture(error, seal=True), False) for p, error in sorted(errors.items())]
        answer.returned = [p for p in range(job.count) if p not in errors]
        self.mailbox.post(answer)

    def _send(self, worker: _Worker, buffers: list[bytes], fds: list[int] | None = None) -> None:
        try:
            done = worker.writer.send(buffers, fds)
            if done == worker.writable:
                self._watch(worker, done)
        except OSError:
            pass  # it is gone; the read side says so

    def _flush(self, worker: _Worker) -> None:
        try:
            self._watch(worker, worker.writer.flush())
        except OSError:
            pass

    def _watch(self, worker: _Worker, done: bool) -> None:
        """Have the mailbox tell when more can be written, unless all is ``done``."""
        if done == worker.writable:
            worker.writable = not done
            if worker.closed_at is None:
                mask = READ | (0 if done else WRITE)
                self.mailbox.watch(worker.sock.fileno(), partial(self._ready, worker), mask)

    # -- reading ----------------------------------------------------------------------------------------

    def _ready(self, worker: _Worker, mask: int) -> None:
        if mask & ~READ:
            self._flush(worker)
        if mask & ~WRITE:
            self._read(worker)

    def _read(self, worker: _Worker) -> bool:
        """Take in what a worker has sent; False when nothing more can come."""
        try:
            data = worker.sock.recv(worker.reader.wanted())
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._closed(worker)
            return False
        try:
            for token, message, blobs in worker.reader.frames(data):
                self._heard(worker, token, message, blobs)
        except Exception:  # noqa: BLE001 - somebody else writes into its socket: whatever it says is worth nothing
            self._kill(worker)
        return True

    def _heard(self, worker: _Worker, token: int, message: Any, blobs: list[bytes]) -> None:
        if worker.stopping:
            return
        if message[0] == "answer":
            answer = unpack_answer(worker.number, token, message, blobs, self.segments)
            self.mailbox.post(answer)
            worker.open -= answer.last
            self._supply(worker, answer)
        elif message[0] == "let go":
            self.segments.let_go(worker.number, message[1])
        elif message[0] == "up":
            worker.up = True
            self.starting.pop(worker.number, None)
            worker.words.show()
            mode = self.programs[worker.node].mode
            self.mailbox.post(WorkerUp(worker.number, mode in ("serial", "process"), message[1]))
        elif message[0] == "refused":
            advice = ". Put it into a module that the workers can import" if "__main__" in message[1] else ""
            worker.refused = f"cannot load its function: {message[1]}{advice}\n{message[2]}"

    def _supply(self, worker: _Worker, answer: Answer) -> None:
        """See how large what a worker sends is. The next segments to write into come with its next job, if any do."""
        sizes = [produced.payload.size for produced in answer.outputs if produced.payload.size >= LARGE]
        if answer.states:
            sizes += [state.size for state in answer.states.values() if state.size >= LARGE]
        if sizes or self.segments.may_want(worker.number):
            self.segments.wants(worker.number, len(sizes), max(sizes, default=0))
        if sizes and not answer.last:
            new, spares, fds = self.segments.supply(worker.number, worker.open)
            if spares:
                self._send(worker, pack(0, ("segments", new, spares), []), fds)

    # -- deaths -----------------------------------------------------------------------------------------

    def _from_zygote(self, mask: int) -> None:
        del mask
        assert self.helper is not None
        report = self.helper.report()
        if report is None:
            self._zygote_gone(self.helper)
        elif report[0] == "forked":
            self._forked(report[1], report[2])
        elif report[0] == "ended":
            self._ended(report[1], report[2])
        else:
            self._unforked(report[1], report[2])

    def _forked(self, number: Any, pid: Any) -> None:
        worker = self.workers.get(number) or self.leaving.get(number)
        if worker is None:
            return
        worker.pid = pid
        self.by_pid[pid] = worker
        if worker.kill_wanted:
            self._kill(worker)

    def _unforked(self, number: Any, reason: Any) -> None:
        worker = self.workers.get(number) or self.leaving.get(number)
        if worker is None or not worker.stopping:
            few = isinstance(reason, OSError) and reason.errno == errno.EMFILE
            advice = "raise the limit of open files (ulimit -n), or lower worker_limit=" if few else ""
            self.mailbox.post(WorkerLost(number, f"could not be forked: {reason}", started=False, output=advice))
        if worker is not None:
            self._leave(worker)
            self._forget(worker)

    def _ended(self, pid: Any, code: Any) -> None:
        worker = self.by_pid.pop(pid, None)
        if worker is None:
            return
        worker.exit = code
        # Its socket may live on in a process that it started: read what is there, then it is over.
        while worker.closed_at is None and self._has_more(worker) and self._read(worker):
            pass
        self._closed(worker)

    def _has_more(self, worker: _Worker) -> bool:
        try:
            return worker.closed_at is None and bool(worker.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _closed(self, worker: _Worker) -> None:
        """Nothing more will be heard of a worker by its socket."""
        if worker.closed_at is None:
            worker.closed_at = monotonic()
            self.mailbox.unwatch(worker.sock.fileno())
            worker.sock.close()
        self._report(worker)

    def _report(self, worker: _Worker) -> None:
        """Tell the scheduler of a death, once how it ended is known (or will not be known)."""
        assert worker.closed_at is not None
        if not worker.stopping:
            if worker.exit is None and monotonic() - worker.closed_at < REPORT_SECONDS:
                self.dying[worker.number] = worker
                return
            self._leave(worker)
            words = worker.words.last(again=not worker.up)  # the reason may have been passed on just before
            if not worker.up:
                worker.words.show()
            output = "\n".join(part for part in (worker.refused, words) if part)
            self.mailbox.post(
                WorkerLost(worker.number, _cause(worker.exit), worker.running(), started=worker.up, output=output)
            )
            if worker.exit is None:
                self._kill(worker)  # it has closed its socket and lives
        if worker.exit is not None:
            self._forget(worker)

    def _leave(self, worker: _Worker) -> None:
        """Nothing more is told of a worker, which may not be gone yet."""
        worker.stopping = True
        for group in (self.workers, self.starting, self.dying):
            group.pop(worker.number, None)
        self.leaving[worker.number] = worker

    def _next_deadline(self) -> float | None:
        """When a death must be reported at the latest, or what starting workers say is to be passed on."""
        if not self.dying and not self.starting:
            return None
        now = monotonic()
        for worker in list(self.dying.values()):
            self._report(worker)
        times = [w.closed_at + REPORT_SECONDS for w in self.dying.values() if w.closed_at is not None]
        if self.starting:
            if self.next_show <= now:
                for worker in self.starting.values():
                    worker.words.show()
                self.next_show = now + SHOW_SECONDS
            times.append(self.next_show)
        return min(times, default=None)

    def _zygote_gone(self, helper: Helper) -> None:
        """The zygote died: its workers were killed with it; another is started when a worker is wanted."""
        self.mailbox.unwatch(helper.control.fileno())
        self.helper = None
        words = helper.end()
        self.by_pid.clear()
        for worker in [*self.workers.values(), *self.leaving.values()]:
            if worker.pid is None:
                self._unforked(worker.number, f"the process that forks workers has ended. {words}")
                continue
            try:
                os.killpg(worker.pid, signal.SIGKILL)  # what it had started is nobody's child now
            except (ProcessLookupError, PermissionError):
                pass
            worker.exit = -signal.SIGKILL
            while self._has_more(worker) and self._read(worker):
                pass
            self._closed(worker)

    def _kill(self, worker: _Worker) -> None:
        worker.kill_wanted = True  # and done as soon as its number is known
        if worker.pid is not None and worker.exit is None and self.helper is not None:
            # The zygote does it, which alone knows whether the number still means this process.
            try:
                self.helper.ask(("kill", worker.pid))
            except OSError:
                pass  # it is gone, and has taken its workers with it

    def _forget(self, worker: _Worker) -> None:
        """A worker is gone for good: give back what it held here."""
        if worker.gone:
            return
        worker.gone = True
        self.leaving.pop(worker.number, None)
        if worker.closed_at is None:
            worker.closed_at = monotonic()
            self.mailbox.unwatch(worker.sock.fileno())
            worker.sock.close()
        if worker.pid is not None:
            self.by_pid.pop(worker.pid, None)
        worker.words.close()
        self.pages.give_back(worker.page)
        self.segments.lost(worker.number)  # not before: with its socket closed, it may still be writing


def _surroundings(func: Any) -> list[Any]:
    """The values of the global names of the module that a function was written in."""
    home = getattr(func, "__module__", None)
    return list(vars(sys.modules[home]).values()) if isinstance(home, str) and home in sys.modules else []


def _within(value: Any) -> list[object]:
    """A value, or the first ones in it."""
    if type(value) in (tuple, list):
        return list(value[:INSIDE_MOST])
    if type(value) is dict:
        return list(islice(value.values(), INSIDE_MOST))
    return [value]


def _position(marked: Sequence[int]) -> int:
    return ANYWHERE if marked[POSITION] == UNKNOWN else marked[POSITION]


def _allow_more_descriptors() -> bool:
    """Raise this process's soft limit of open files, as far as it may; whether that was possible."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    more = 4 * soft if hard == resource.RLIM_INFINITY else min(4 * soft, hard)
    if more <= soft:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
    return True


def _cause(code: int | None) -> str:
    if code is None:
        return "ended in an unknown way"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (by the system if memory ran out, or by somebody)"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
