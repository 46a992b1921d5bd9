"""A worker process: reads jobs, runs them, answers. Imports nothing above `dagflow.work`."""

from __future__ import annotations

import atexit
import faulthandler
import mmap
import os
import select
import sys
from _thread import allocate_lock  # what `threading.Lock` is, without what else it imports
from collections import deque

from dagflow.backends.local.mapping import Mappings
from dagflow.backends.local.messages import pack_answer, unpack_job
from dagflow.backends.local.wire import Reader, Writer, pack
from dagflow.core.job import Answer
from dagflow.work.codec import loads
from dagflow.work.execute import Runner
from dagflow.work.page import ANSWERED, PAGE_BYTES, TOKEN
from dagflow.work.program import Program
from dagflow.work.sequential import Sequential
from dagflow.work.usage import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from typing import Any

    from dagflow.work.loop import Loop
    from dagflow.work.threads import Threads
else:  # the same functions, without the enums and selectors that come with them
    import _signal as signal
    import _socket as socket

DRIVER_GONE = 1
"""The exit code of a worker that finds nobody at the other end: what it has started shall go too."""
RIGHTS_BYTES = socket.CMSG_SPACE(64 * 4)
"""Room for the descriptors that come with one frame."""
OOM_SCORE = b"500"
"""The system, when memory runs out, shall kill a worker rather than the driver."""


def work(socket_fd: int, page_fd: int, page_at: int, words_fd: int, stderr_fd: int) -> int:
    """One worker's life; returns its exit code.

    What it writes to stderr until it is up goes into its ``words``, then to ``stderr_fd``, the user's own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    _own_streams(words_fd)
    _offer_itself()
    line = _Line(socket.socket(fileno=socket_fd), page_fd, page_at)
    inbox = _Inbox(line)
    first = inbox.next()
    if first is None:
        return DRIVER_GONE
    _, message, blobs = first
    try:
        program = _loaded(*blobs)
        host = _host(message[1], program, line, inbox)
    except BaseException as error:  # noqa: BLE001 - importing a user's module may raise anything
        import traceback

        text = traceback.format_exc(limit=-5)
        line.send(pack(0, ("refused", f"{type(error).__name__}: {error}", text), []))
        return 1
    os.dup2(stderr_fd, 2)
    line.usage = Usage()  # what it took to get here is no task's
    line.send(pack(0, ("up", os.getpid()), []))
    try:
        asked = host.serve(inbox)
    except BaseException:
        line.still_own()
        raise
    line.still_own()
    if not asked:
        return DRIVER_GONE
    host.close()
    _run_exit_functions()
    return 0


def _loaded(program: bytes, *logs: bytes) -> Program:
    """The program; its modules find the logs set up as they are in the driver, where anything is."""
    if logs:
        from dagflow.work.logs import set_up

        set_up(logs, loaded=False)
    found: Program = loads(program)
    if logs:
        set_up(logs, loaded=True)
    return found


def _own_streams(words_fd: int) -> None:
    """Nothing to read from stdin; whole lines to stdout and stderr, so that those of several workers do not mix."""
    try:
        os.dup2(words_fd, 2)
        faulthandler.enable(words_fd)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for stream in (sys.stdout, sys.stderr):
            reconfigure: Any = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(line_buffering=True, write_through=False)
    except OSError:
        pass


def _offer_itself() -> None:
    """Be killed before the driver is, when the system runs out of memory."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(fd, OOM_SCORE)
        finally:
            os.close(fd)
    except OSError:
        pass


def _run_exit_functions() -> None:
    """What the user's modules registered with `atexit`, as at the end of any process: temporary files, children."""
    try:
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001, S110 - the tasks have ended; there is nobody to tell
        pass


class _Line:
    """The worker's two ways to tell the driver something: frames into the socket, marks into the shared page.

    Neither is there any more in a process that a function forks: such a child must not answer for its parent, and
    ends when it comes back from the function that forked it.
    """

    def __init__(self, sock: socket.socket, page_fd: int, page_at: int) -> None:
        self.sock = sock
        self.writer = Writer(sock)
        self.pid = os.getpid()
        self.page = mmap.mmap(page_fd, PAGE_BYTES, offset=page_at)
        os.close(page_fd)
        self.mark = memoryview(self.page).cast("q")
        self.lock = allocate_lock()
        self.usage = Usage()
        self.open = 0
        self.mappings = Mappings()
        os.register_at_fork(after_in_child=self.cut)

    def cut(self) -> None:
        """Called in a child that a function has forked."""
        self.sock.close()
        self.mark.release()

    def still_own(self) -> None:
        """End here if this is not the worker but a child of it."""
        if os.getpid() != self.pid:
            os._exit(0)

    def send(self, buffers: list[bytes]) -> None:
        """Send a frame."""
        self.still_own()
        with self.lock:
            self.put(buffers)

    def put(self, buffers: list[bytes]) -> None:
        """Send a frame: as `send`, but no other thread is at it, and this process is known to be the worker."""
        ended = self.mappings.let_go()
        if ended:
            buffers = [*pack(0, ("let go", ended), []), *buffers]
        try:
            if not self.writer.send(buffers):
                self.writer.flush()
        except OSError:
            os._exit(DRIVER_GONE)

    def given(self) -> None:
        """Threads or an event loop have been given a job: no single task can be marked, but that there is one can."""
        with self.lock:
            self.open += 1
            self.mark[TOKEN] = -1

    def answered(self, answer: Answer) -> None:
        """Send an answer of `given` jobs."""
        self.still_own()  # before the lock, which a child may find taken for ever
        with self.lock:
            answer.cpu, answer.stalled = self.usage.since()
        message, blobs = pack_answer(answer)
        with self.lock:
            self.put(pack(answer.token, message, blobs))
            if answer.last:
                self.mark[ANSWERED] += 1
                self.open -= 1
                if not self.open:
                    self.mark[TOKEN] = 0


def _host(worker: int, program: Program, line: _Line, inbox: _Inbox) -> _Alone | _Shared:
    store = line.mappings.store
    if program.mode in ("serial", "process"):
        line.mappings.more = inbox.look  # one thread reads and works
        runner = Runner(program, seal=True, mark=line.mark, store=store, spare=line.mappings.spare)
        return _Alone(worker, runner, line)
    runner = Runner(program, seal=True, store=store)
    if program.mode == "async":
        from dagflow.work.loop import Loop

        return _Shared(Loop(worker, program, line.answered, runner=runner), line)
    from dagflow.work.threads import Threads

    return _Shared(Threads(worker, program, line.answered, runner=runner), line)


class _Inbox:
    """Frames from the driver. Those that bring memory segments are dealt with here."""

    def __init__(self, line: _Line) -> None:
        self.sock = line.sock
        self.poll = select.poll()
        self.poll.register(self.sock, select.POLLIN)
        self.mappings = line.mappings
        self.reader = Reader()
        self.frames: deque[Any] = deque()
        self.fds: list[int] = []
        self.ended = False

    def next(self) -> Any:
        """The next frame; None at the end."""
        while not self.frames:
            if self.ended:
                return None
            # A process that sleeps in `recvmsg` is also woken when what it has sent is read, for nothing.
            self.poll.poll()
            self._read(0)
        return self.frames.popleft()

    def look(self) -> None:
        """Take in what is there already."""
        self._read(socket.MSG_DONTWAIT)

    def _read(self, flags: int) -> None:
        try:
            data, rights, _, _ = self.sock.recvmsg(self.reader.wanted(), RIGHTS_BYTES, flags | socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionError:
            data, rights = b"", []
        if not data:
            self.ended = True
            return
        for _, _, fds in rights:
            self.fds.extend(memoryview(fds).cast("i"))
        for frame in self.reader.frames(data):
            message = frame[1]
            if message[0] == "segments":
                _, new, spares = message
                self.mappings.learn(new, self.fds[: len(new)])
                del self.fds[: len(new)]
                self.mappings.spares.extend(spares)
            else:
                self.frames.append(frame)


class _Alone:
    """One task at a time, in the worker's main thread."""

    def __init__(self, worker: int, runner: Runner, line: _Line) -> None:
        self.jobs = Sequential(worker, runner, self._post)
        self.line = line

    def _post(self, answer: Answer) -> None:
        answer.cpu, answer.stalled = self.line.usage.since()
        message, blobs = pack_answer(answer)
        self.line.put(pack(answer.token, message, blobs))
        if answer.last:
            self.line.mark[ANSWERED] += 1

    def serve(self, inbox: _Inbox) -> bool:
        """Jobs until the driver says stop (True), or is gone."""
        jobs = self.jobs
        while True:
            if jobs.ready():
                jobs.turn()
                if jobs.running is None:
                    self.line.mark[TOKEN] = 0  # whatever kills it now is nobody's doing
                continue
            frame = inbox.next()
            if frame is None:
                return False
            token, message, blobs = frame
            if message[0] == "job":
                jobs.deliver(token, unpack_job(message, blobs, self.line.mappings))
            elif message[0] == "grant":
                jobs.grant(token, message[1], message[2])
            else:
                return True

    def close(self) -> None:
        """Close the function's instances."""
        self.jobs.runner.close()


def _end_with_a_traceback() -> None:
    sys.excepthook(*sys.exc_info())
    os._exit(70)


class _Shared:
    """Threads or an event loop; the main thread only reads."""

    def __init__(self, executor: Threads | Loop, line: _Line) -> None:
        self.executor = executor
        executor.fatal = _end_with_a_traceback
        self.line = line

    def serve(self, inbox: _Inbox) -> bool:
        """Jobs until the driver says stop (True), or is gone."""
        while (frame := inbox.next()) is not None:
            token, message, blobs = frame
            if message[0] == "job":
                self.line.given()
                self.executor.deliver(token, unpack_job(message, blobs, self.line.mappings))
            elif message[0] == "grant":
                self.executor.grant(token, message[1], message[2])
            else:
                return True
        return False

    def close(self) -> None:
        """End the threads or the loop, and close the function's instances."""
        self.executor.close()
