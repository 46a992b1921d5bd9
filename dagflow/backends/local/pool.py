"""The driver's side of worker processes: the hub. Forks by the zygote, sends jobs, reads answers, notices deaths.

One non-blocking socketpair a worker; the ring's thread reads headers and forwards payloads unopened. A death
is seen by the closed socket and by the zygote's report, whichever comes first; what the worker had sent before
is read to the end, then the page that it shared tells which task it was at.
"""

from __future__ import annotations

import array
import marshal
import mmap
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dagflow.backends.local import zygote
from dagflow.backends.local.messages import Unsendable, pack_job, unpack_answer
from dagflow.backends.local.segments import Segments
from dagflow.backends.local.wire import READ_MOST, Reader, WireError, Writer, pack
from dagflow.core.events import Answer, Running, WorkerLost, WorkerUp
from dagflow.errors import BackendError, PayloadError
from dagflow.work.codec import LARGE, dumps
from dagflow.work.execute import UNKNOWN
from dagflow.work.outcome import capture

if TYPE_CHECKING:
    from dagflow.backends.mailbox import Mailbox
    from dagflow.core.commands import Job
    from dagflow.work.program import Program

PAGE_BYTES: Final = 4096
SOCKET_BYTES: Final = 1 << 20
REPORT_SECONDS: Final = 1.0
"""How long the zygote's report of a death is waited for after the socket has closed."""
CLOSE_SECONDS: Final = 5.0
_MALLOC = {
    # glibc gives every freed block of 128 KiB and more back to the kernel and faults it in again; with large
    # values that costs more than all else. Raised thresholds keep such blocks.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(1 << 20),
}


class _Worker:
    """One worker process, seen from the driver."""

    def __init__(self, number: int, node: int, sock: socket.socket, page: mmap.mmap) -> None:
        self.number, self.node = number, node
        self.sock = sock
        self.page = page
        self.reader = Reader()
        self.writer = Writer(sock)
        self.pid: int | None = None
        self.up = False
        self.stopping = False
        self.writable = False
        self.closed_at: float | None = None
        self.exit: int | None = None
        self.refused = ""
        self.kill_wanted = False

    def mark(self) -> tuple[int, int, int]:
        """Token, position and time (ns) of the task it is at."""
        token, position, since = struct.unpack_from("<qqq", self.page)
        return token, position, since


class Pool:
    """Worker processes of one run."""

    def __init__(self, mailbox: Mailbox, programs: Sequence[Program]) -> None:
        self.mailbox = mailbox
        self.programs = programs
        self.sealed: dict[int, bytes | PayloadError] = {}
        self.workers: dict[int, _Worker] = {}
        self.by_pid: dict[int, _Worker] = {}
        self.leaving: dict[int, _Worker] = {}
        self.ended: dict[int, int] = {}
        self.buffer = bytearray(READ_MOST)
        self.segments = Segments()
        self.control_in = bytearray()
        self.control, self.process = self._start_zygote()
        mailbox.selector.register(self.control, selectors.EVENT_READ, self._from_zygote)
        mailbox.deadlines.append(self._next_deadline)

    def _start_zygote(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        # Packets: a request and the descriptors that come with it must not run into the next one.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        start = "from dagflow.backends.local.zygote import main"
        code = f"import sys; sys.path[:0] = {_home()!r}; {start}; main({theirs.fileno()})"
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**_MALLOC, **os.environ},
            )
        except OSError as error:
            ours.close()
            raise BackendError(f"cannot start worker processes: {error}") from error
        finally:
            theirs.close()
        # The zygote boots while the programs are sealed here, and imports once what its workers all need.
        sealed = [self._program(node) for node in range(len(self.programs))]
        preload = ["cloudpickle"] if any(isinstance(p, bytes) and b"cloudpickle" in p for p in sealed) else []
        if any(program.mode == "async" for program in self.programs):
            preload.append("asyncio")
        ours.sendmsg([marshal.dumps(("setup", list(sys.path), _directory(), preload))])
        return ours, process

    # -- commands ---------------------------------------------------------------------------------------

    def start(self, number: int, node: int) -> None:
        """Fork a worker for a node; it is up when it has loaded the node's program."""
        program = self._program(node)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        ours.setblocking(False)
        page_fd = os.memfd_create("dagflow", os.MFD_CLOEXEC)
        os.ftruncate(page_fd, PAGE_BYTES)
        worker = _Worker(number, node, ours, mmap.mmap(page_fd, PAGE_BYTES))
        try:
            rights = array.array("i", [theirs.fileno(), page_fd])
            self.control.sendmsg(
                [marshal.dumps(("fork", number))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights.tobytes())]
            )
        except OSError as error:
            ours.close()
            self.mailbox.post(WorkerLost(number, f"could not be forked: {error}", started=False))
            return
        finally:
            theirs.close()
            os.close(page_fd)
        self.workers[number] = worker
        self.mailbox.selector.register(ours, selectors.EVENT_READ, lambda mask: self._ready(worker, mask))
        if isinstance(program, bytes):
            self._send(worker, pack(0, ("program", number), [program]))
        else:
            # Its function cannot travel: every task fails with the reason; the process is not needed.
            self.mailbox.post(WorkerUp(number))

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
        for segment in load.segments:
            fd = self.segments.deliver(number, segment)
            if fd is not None:
                self._send(worker, pack(0, ("segments", [segment], []), []), [fd])
        self._send(worker, pack(token, message, load.blobs))

    def grant(self, number: int, token: int, count: int, cut: int) -> None:
        """Let a split go on."""
        worker = self.workers.get(number)
        if worker is not None:
            self._send(worker, pack(token, ("grant", count, cut), []))

    def probe(self, number: int) -> None:
        """Say which task a worker is at."""
        worker = self.workers.get(number)
        if worker is not None:
            token, position, since = worker.mark()
            self.mailbox.post(Running(number, token, position, since / 1e9))

    def stop(self, number: int, *, kill: bool) -> None:
        """Let a worker end, or kill it; nothing more is heard of it."""
        worker = self.workers.pop(number, None)
        if worker is None:
            return
        worker.stopping = True
        self.leaving[number] = worker
        if kill:
            self._kill(worker)
        else:
            self._send(worker, pack(0, ("stop",), []))

    def close(self, *, kill: bool) -> None:
        """End all workers, then the zygote, and wait until they are gone."""
        for number in list(self.workers):
            self.stop(number, kill=kill)
        deadline = monotonic() + CLOSE_SECONDS
        killed = False
        while any(w.exit is None for w in self.leaving.values()):
            left = deadline - monotonic()
            if left <= 0:
                if killed:
                    break
                for worker in self.leaving.values():
                    self._kill(worker)
                killed, deadline = True, monotonic() + CLOSE_SECONDS
                continue
            for key, mask in self.mailbox.selector.select(min(left, 0.5)):
                key.data(mask)
        for worker in self.leaving.values():
            self._forget(worker)
        self.segments.close()
        self.mailbox.selector.unregister(self.control)
        self.mailbox.deadlines.remove(self._next_deadline)
        self.control.close()
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

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
        worker.writer.put(buffers, fds)
        self._flush(worker)

    def _flush(self, worker: _Worker) -> None:
        try:
            done = worker.writer.flush()
        except OSError:
            return  # it is gone; the read side says so
        if done == worker.writable:
            worker.writable = not done
            mask = selectors.EVENT_READ | (0 if done else selectors.EVENT_WRITE)
            try:
                self.mailbox.selector.modify(worker.sock, mask, lambda m: self._ready(worker, m))
            except KeyError:
                pass  # closed meanwhile

    # -- reading ----------------------------------------------------------------------------------------

    def _ready(self, worker: _Worker, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(worker)
        if mask & selectors.EVENT_READ:
            self._read(worker)

    def _read(self, worker: _Worker) -> bool:
        """Take in what a worker has sent; False when nothing more can come."""
        try:
            size = worker.sock.recv_into(self.buffer)
        except BlockingIOError:
            return True
        except OSError:
            size = 0
        if not size:
            self._closed(worker)
            return False
        with memoryview(self.buffer) as view:
            worker.reader.feed(view[:size])
        try:
            frames = worker.reader.frames()
        except (WireError, ValueError, EOFError, TypeError):
            self._kill(worker)
            return True
        for token, message, blobs in frames:
            self._heard(worker, token, message, blobs)
        return True

    def _heard(self, worker: _Worker, token: int, message: Any, blobs: list[bytes]) -> None:
        if worker.stopping:
            return
        if message[0] == "answer":
            try:
                self.mailbox.post(unpack_answer(worker.number, token, message, blobs, self.segments))
            except ValueError:  # it wrote where it must not
                self._kill(worker)
                return
            self._supply(worker, message, blobs)
        elif message[0] == "let go":
            self.segments.let_go(worker.number, message[1])
        elif message[0] == "up":
            worker.up = True
            mode = self.programs[worker.node].mode
            self.mailbox.post(WorkerUp(worker.number, killable=mode in ("serial", "process")))
        elif message[0] == "refused":
            worker.refused = f"cannot load its function: {message[1]}\n{message[2]}"

    def _supply(self, worker: _Worker, message: Any, blobs: list[bytes]) -> None:
        """Give a worker that sends large payloads segments to write the next ones into."""
        sizes = [where[1] for where in (output[1] for output in message[2]) if not isinstance(where, int)]
        sizes += [len(blob) for blob in blobs if len(blob) >= LARGE]
        if not sizes:
            return
        self.segments.wants(worker.number, len(sizes))
        spares, new, fds = self.segments.supply(worker.number, max(sizes))
        if spares:
            self._send(worker, pack(0, ("segments", new, spares), []), fds)

    # -- deaths -----------------------------------------------------------------------------------------

    def _from_zygote(self, mask: int) -> None:
        del mask
        try:
            data = self.control.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._zygote_gone()
            return
        self.control_in += data
        for message in zygote.parse(self.control_in):
            if message[0] == "forked":
                self._forked(message[1], message[2])
            else:
                self._ended(message[1], message[2])

    def _forked(self, number: Any, pid: Any) -> None:
        worker = self.workers.get(number) or self.leaving.get(number)
        if worker is None:
            return
        worker.pid = pid
        self.by_pid[pid] = worker
        if worker.kill_wanted:
            self._kill(worker)

    def _ended(self, pid: Any, code: Any) -> None:
        worker = self.by_pid.pop(pid, None)
        if worker is None:
            return
        worker.exit = code
        if worker.closed_at is None:
            # Its socket may live on in a process that it started: read what is there, then it is over.
            while worker.closed_at is None and self._has_more(worker) and self._read(worker):
                pass
            self._closed(worker)
        self._report(worker)

    def _has_more(self, worker: _Worker) -> bool:
        try:
            return bool(worker.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _closed(self, worker: _Worker) -> None:
        if worker.closed_at is not None:
            return
        worker.closed_at = monotonic()
        self.segments.lost(worker.number)
        try:
            self.mailbox.selector.unregister(worker.sock)
        except (KeyError, ValueError):
            pass
        worker.sock.close()
        self._report(worker)

    def _report(self, worker: _Worker) -> None:
        """Tell the scheduler of a death, once how it ended is known (or will not be known)."""
        if worker.stopping or worker.number not in self.workers:
            return
        late = worker.closed_at is not None and monotonic() - worker.closed_at >= REPORT_SECONDS
        if worker.exit is None and not late:
            return
        del self.workers[worker.number]
        token, position, _ = worker.mark()
        running = (token, position) if token >= 0 and position != UNKNOWN else None
        self.leaving[worker.number] = worker
        worker.stopping = True
        self.mailbox.post(
            WorkerLost(worker.number, _cause(worker.exit), running, started=worker.up, output=worker.refused)
        )

    def _next_deadline(self) -> float | None:
        """When a death must be reported at the latest."""
        for worker in list(self.workers.values()):
            self._report_late(worker)
        times = [w.closed_at + REPORT_SECONDS for w in self.workers.values() if w.closed_at is not None]
        return min(times, default=None)

    def _report_late(self, worker: _Worker) -> None:
        if worker.closed_at is not None and monotonic() - worker.closed_at >= REPORT_SECONDS:
            self._report(worker)

    def _zygote_gone(self) -> None:
        """The zygote died: its workers were killed with it; no more can be started by it."""
        try:
            self.mailbox.selector.unregister(self.control)
        except (KeyError, ValueError):
            return
        self.control.close()
        self.process.wait()
        for worker in [*self.workers.values(), *self.leaving.values()]:
            if worker.exit is None:
                worker.exit = -signal.SIGKILL
            self.by_pid.clear()
        self.control, self.process = self._start_zygote()
        self.control_in.clear()
        self.mailbox.selector.register(self.control, selectors.EVENT_READ, self._from_zygote)
        for worker in list(self.workers.values()):
            self._closed(worker)
            self._report(worker)

    def _kill(self, worker: _Worker) -> None:
        worker.kill_wanted = True  # and done as soon as its number is known
        if worker.pid is not None and worker.exit is None:
            try:
                os.kill(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _forget(self, worker: _Worker) -> None:
        if worker.closed_at is None:
            try:
                self.mailbox.selector.unregister(worker.sock)
            except (KeyError, ValueError):
                pass
            worker.sock.close()
            worker.closed_at = monotonic()
        worker.page.close()


def _cause(code: int | None) -> str:
    if code is None:
        return "ended in an unknown way"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"


def _home() -> list[str]:
    """Where the zygote finds dagflow."""
    return [os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))]


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"
