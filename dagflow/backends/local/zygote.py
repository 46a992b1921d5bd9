"""The zygote: one minimal, single-threaded process that forks workers on request and reports how they ended.

Forking a small process takes a millisecond; starting an interpreter takes fourteen. It never runs a user's
code, so it always notices at once when the driver is gone; workers ask the kernel to be killed with it, which
also reaches one that is stuck in C code. Run as ``python -c``, with the control socket's number.
"""

from __future__ import annotations

import array
import gc
import importlib
import marshal
import os
import select
import signal
import socket
import struct
import sys

from dagflow.backends.local.worker import work

_MESSAGE = struct.Struct("<I")
PR_SET_PDEATHSIG = 1


def main(control_fd: int) -> None:
    """Serve fork requests until the driver closes the control socket."""
    control = socket.socket(fileno=control_fd)
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    prctl = _prctl()
    gc.freeze()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == wake_read:
                _drain(wake_read)
                _reap(control)
            elif not _fork(control, prctl, (wake_read, wake_write)):
                os._exit(0)


def _prctl() -> object:
    """``prctl`` of the C library, or None where there is none (not Linux)."""
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass


def _reap(control: socket.socket) -> None:
    """Tell the driver which workers have ended, and how."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        send(control, ("ended", pid, os.waitstatus_to_exitcode(status)))


def _fork(control: socket.socket, prctl: object, pipes: tuple[int, int]) -> bool:
    """Take one request in and fork; False when the driver is gone."""
    fds = array.array("i")
    try:
        data, ancillary, _, _ = control.recvmsg(65536, socket.CMSG_SPACE(2 * fds.itemsize))
    except ConnectionError:
        return False
    if not data:
        return False
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    request = marshal.loads(data)  # noqa: S302 - the driver's own builtins, over an inherited socket
    if request[0] == "setup":
        _, sys.path[:], directory, preload = request
        for module in preload:
            importlib.import_module(module)
        try:
            os.chdir(directory)
        except OSError:
            pass  # the driver's directory is gone; workers then have none either
        return True
    worker_socket, page = fds
    pid = os.fork()
    if pid == 0:
        _become_worker(control, prctl, pipes, worker_socket, page)
    os.close(worker_socket)
    os.close(page)
    send(control, ("forked", int(request[1]), pid))
    return True


def _become_worker(
    control: socket.socket, prctl: object, pipes: tuple[int, int], worker_socket: int, page: int
) -> None:
    code = 70
    try:
        parent = os.getppid()
        if callable(prctl):
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)  # the zygote died in between
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        for fd in pipes:
            os.close(fd)
        gc.unfreeze()
        code = work(worker_socket, page)
    except BaseException:  # noqa: BLE001 - a forked child must end here, whatever happens
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        os._exit(code)


def send(control: socket.socket, message: tuple[str, int, int]) -> None:
    """Send one small message; a driver that is gone is noticed by the next read."""
    data = marshal.dumps(message)
    try:
        control.sendall(_MESSAGE.pack(len(data)) + data)
    except OSError:
        pass


def parse(buffer: bytearray) -> list[tuple[object, ...]]:
    """Take the whole messages out of ``buffer``."""
    found = []
    while len(buffer) >= _MESSAGE.size:
        (length,) = _MESSAGE.unpack_from(buffer)
        if len(buffer) < _MESSAGE.size + length:
            break
        found.append(marshal.loads(bytes(buffer[_MESSAGE.size : _MESSAGE.size + length])))  # noqa: S302
        del buffer[: _MESSAGE.size + length]
    return found
