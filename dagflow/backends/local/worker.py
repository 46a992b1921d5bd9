"""A worker process: reads jobs, runs them, answers. Imports nothing above `dagflow.work`."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import threading
from array import array
from collections import deque
from typing import Any

from dagflow.backends.local.mapping import Mappings
from dagflow.backends.local.messages import pack_answer, unpack_job
from dagflow.backends.local.wire import READ_MOST, Reader, pack, send_blocking
from dagflow.core.events import Answer
from dagflow.work.codec import loads
from dagflow.work.execute import Runner
from dagflow.work.executors import Loop, Sequential, Threads
from dagflow.work.program import Program

PAGE_BYTES = 4096
RIGHTS_BYTES = socket.CMSG_SPACE(64 * 4)
"""Room for the descriptors that come with one frame."""


def work(socket_fd: int, page_fd: int) -> int:
    """One worker's life; returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    _own_streams()
    sock = socket.socket(fileno=socket_fd)
    page = mmap.mmap(page_fd, PAGE_BYTES)
    os.close(page_fd)
    inbox = _Inbox(sock)
    first = inbox.next()
    if first is None:
        return 0
    _, message, blobs = first
    lock = threading.Lock()
    mappings = inbox.mappings

    def post(answer: Answer) -> None:
        packed, parts = pack_answer(answer)
        buffers = pack(answer.token, packed, parts)
        with lock:
            ended = mappings.let_go()
            if ended:
                buffers = [*pack(0, ("let go", ended), []), *buffers]
            send_blocking(sock, buffers)

    worker = message[1]
    try:
        program: Program = loads(blobs[0])
        host = _host(worker, program, post, page, inbox)
    except BaseException as error:  # noqa: BLE001 - importing a user's module may raise anything
        import traceback

        text = traceback.format_exc(limit=-5)
        send_blocking(sock, pack(0, ("refused", f"{type(error).__name__}: {error}", text), []))
        return 1
    send_blocking(sock, pack(0, ("up",), []))
    try:
        host.serve(inbox)
    except ConnectionError:
        return 0  # the driver is gone
    return 0


def _own_streams() -> None:
    """Nothing to read from stdin; whole lines to stdout, so that those of several workers do not mix."""
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    except OSError:
        pass


def _host(worker: int, program: Program, post: Any, page: mmap.mmap, inbox: _Inbox) -> _Alone | _Shared:
    store = inbox.mappings.store
    if program.mode in ("serial", "process"):
        mark = memoryview(page).cast("q")
        inbox.mappings.more = inbox.look  # this thread both reads and works
        return _Alone(worker, Runner(program, seal=True, mark=mark, store=store), post, mark)
    mark = memoryview(page).cast("q")
    mark[1], mark[0] = -1, -1  # many at once: which task is running is not marked
    runner = Runner(program, seal=True, store=store)
    if program.mode == "async":
        return _Shared(Loop(worker, program, post, runner=runner))
    return _Shared(Threads(worker, program, post, runner=runner))


class _Inbox:
    """Frames from the driver. Those that bring memory segments are dealt with here."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = Reader()
        self.frames: deque[Any] = deque()
        self.fds: list[int] = []
        self.buffer = bytearray(READ_MOST)
        self.mappings = Mappings()
        self.ended = False

    def next(self) -> Any:
        """The next frame; None at the end."""
        while not self.frames:
            if self.ended:
                return None
            self._read(0)
        return self.frames.popleft()

    def look(self) -> None:
        """Take in what is there already."""
        self._read(socket.MSG_DONTWAIT)

    def _read(self, flags: int) -> None:
        try:
            size, rights, _, _ = self.sock.recvmsg_into([self.buffer], RIGHTS_BYTES, flags | socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        if not size:
            self.ended = True
            return
        for _, _, data in rights:
            self.fds.extend(array("i", data))
        with memoryview(self.buffer) as view:
            self.reader.feed(view[:size])
        for frame in self.reader.frames():
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

    def __init__(self, worker: int, runner: Runner, post: Any, mark: memoryview) -> None:
        self.jobs = Sequential(worker, runner, post)
        self.mark = mark
        self.mappings = Mappings()

    def serve(self, inbox: _Inbox) -> None:
        """Jobs until the driver says stop, or is gone."""
        jobs = self.jobs
        self.mappings = inbox.mappings
        while True:
            if jobs.ready():
                jobs.turn()
                if jobs.running is None:
                    self.mark[0] = 0
                elif jobs.credit <= 0 and not self._take(inbox.next()):
                    break
                continue
            if not self._take(inbox.next()):
                break
        jobs.runner.close()

    def _take(self, frame: Any) -> bool:
        if frame is None:
            return False
        token, message, blobs = frame
        if message[0] == "job":
            self.jobs.deliver(token, unpack_job(message, blobs, self.mappings))
        elif message[0] == "grant":
            self.jobs.grant(token, message[1], message[2])
        return bool(message[0] != "stop")


class _Shared:
    """Threads or an event loop; the main thread only reads."""

    def __init__(self, executor: Threads | Loop) -> None:
        self.executor = executor

    def serve(self, inbox: _Inbox) -> None:
        """Jobs until the driver says stop, or is gone."""
        while (frame := inbox.next()) is not None:
            token, message, blobs = frame
            if message[0] == "job":
                self.executor.deliver(token, unpack_job(message, blobs, inbox.mappings))
            elif message[0] == "grant":
                self.executor.grant(token, message[1], message[2])
            else:
                break
        self.executor.close()
