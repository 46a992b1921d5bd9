"""The zygote: one minimal, single-threaded process that forks workers on request and reports how they ended.

Forking a small process takes a millisecond; starting an interpreter takes fourteen. It never runs a user's
code, so it always notices at once when the driver is gone. Each worker leads a process group of its own, which
keeps Ctrl-C away from it; a worker that is killed, or dies of a crash, takes the processes that it started with
it. Workers ask the kernel to be killed with the zygote, which also reaches one that is stuck in C code.
Run by `interpreter`, which gives it the socket to the driver and the user's stderr.
"""

from __future__ import annotations

import gc
import marshal
import os
import select
import sys

from dagflow.backends.local.worker import work

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
    from typing import Any
else:  # the same functions, without the enums and selectors that come with them
    import _signal as signal
    import _socket as socket

PR_SET_PDEATHSIG = 1
REQUEST_MOST = 1 << 20
FD_BYTES = 4


class Zygote:
    """The process itself: its socket to the driver, and the workers that it has forked and not yet buried."""

    def __init__(self, control_fd: int, stderr_fd: int, driver: int) -> None:
        self.control = socket.socket(fileno=control_fd)
        self.stderr = stderr_fd
        os.set_inheritable(control_fd, False)
        os.set_inheritable(stderr_fd, False)
        self.wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.driver = _watched(driver)
        self.prctl = _prctl()
        self.workers: set[int] = set()

    def serve(self) -> None:
        """Serve requests until the driver closes the socket, or is gone."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a background group may write to its terminal all the same
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake[1], warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake[0], select.POLLIN)
        if self.driver >= 0:
            # The socket says it too, unless a process that the driver forked has a copy of its end.
            poll.register(self.driver, select.POLLIN)
        gc.freeze()
        gc.enable()
        while True:
            for fd, _ in poll.poll():
                if fd == self.wake[0]:
                    _drain(fd)
                    self.bury()
                elif fd == self.driver or not self.request():
                    for pid in self.workers:
                        kill(pid)
                    os._exit(0)

    def bury(self) -> None:
        """Tell the driver which workers have ended, and how."""
        while True:
            try:
                # Looked at before it is taken away: as long as the dead leader is there, its group is its own.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            if found.si_status:
                kill(pid)
            _, status = os.waitpid(pid, 0)
            self.workers.discard(pid)
            send(self.control, ("ended", pid, os.waitstatus_to_exitcode(status)))

    def request(self) -> bool:
        """Take one request in and carry it out; False when the driver is gone."""
        fds: list[int] = []
        try:
            data, ancillary, _, _ = self.control.recvmsg(REQUEST_MOST, socket.CMSG_SPACE(3 * FD_BYTES))
        except ConnectionError:
            return False
        if not data:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.extend(memoryview(payload[: len(payload) - len(payload) % FD_BYTES]).cast("i"))
        request = marshal.loads(data)  # noqa: S302 - the driver's own builtins, over an inherited socket
        if request[0] == "setup":
            _, sys.path[:], sys.argv[:], directory, changed, preload = request
            self.set_up(changed, fds)
            load(preload)
            try:
                os.chdir(directory)
            except OSError:
                pass  # the driver's directory is gone; workers then have none either
        elif request[0] == "load":
            load(request[1])
        elif request[0] == "kill":
            if request[1] in self.workers:
                kill(request[1])
        else:
            self.fork(int(request[1]), int(request[2]), *fds)
        return True

    def set_up(self, changed: dict[str, str | None], outputs: list[int]) -> None:
        """Take over what may have changed in the driver since this started: environment variables, stdout, stderr."""
        for name, value in changed.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for fd, own in zip(outputs, (1, self.stderr), strict=True):
            os.dup2(fd, own, inheritable=own == 1)
            os.close(fd)
        sys.path_importer_cache.clear()  # there may be modules by now that were not there when it was filled

    def fork(self, number: int, offset: int, worker_socket: int, page: int, words: int) -> None:
        """Fork a worker."""
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes
            send(self.control, ("refused", number, str(error)))
            pid = -1
        if pid == 0:
            self.become_worker(worker_socket, page, offset, words)
        for fd in (worker_socket, page, words):
            os.close(fd)
        if pid > 0:
            try:
                os.setpgid(pid, pid)
            except OSError:
                pass  # it has done so itself, or is gone
            self.workers.add(pid)
            send(self.control, ("forked", number, pid))

    def become_worker(self, worker_socket: int, page: int, offset: int, words: int) -> None:
        """What a forked child does, to its end."""
        code = 70
        try:
            parent = os.getppid()
            if self.prctl is not None:
                self.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(0)  # the zygote died in between
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.control.close()
            for fd in (*self.wake, self.driver):
                if fd >= 0:
                    os.close(fd)
            _other_random_numbers()
            code = work(worker_socket, page, offset, words, self.stderr)
        except BaseException:  # noqa: BLE001 - a forked child must end here, whatever happens
            sys.excepthook(*sys.exc_info())
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError, AttributeError):
                    pass
            os._exit(code)


def main(control_fd: int, stderr_fd: int, driver: int) -> None:
    """Serve the driver to its end."""
    Zygote(control_fd, stderr_fd, driver).serve()


def load(modules: list[str]) -> None:
    """Import once what all workers will need. What cannot be imported is theirs to complain of."""
    gc.disable()  # it is there to stay
    for module in modules:
        try:
            __import__(module)
        except Exception:  # noqa: BLE001, S110 - a module may raise anything
            pass
    gc.freeze()
    gc.enable()


def _other_random_numbers() -> None:
    """numpy's old generator was seeded when it was loaded: each worker needs a seed of its own."""
    random: Any = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def kill(pid: int) -> None:
    """Kill a worker, and the processes that it started in its group. It must not have been waited for yet."""
    for call in (os.killpg, os.kill):
        try:
            call(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it has left its group, or is dead


def _watched(driver: int) -> int:
    """A descriptor that becomes readable when the driver ends; -1 where the system has none."""
    try:
        fd = os.pidfd_open(driver)
    except (AttributeError, OSError):
        return -1
    if os.getppid() != driver:
        os._exit(0)  # it was gone before, and its number may be somebody else's
    return fd


def _prctl() -> Callable[[int, int], object] | None:
    """``prctl`` of the C library, or None where there is none (not Linux)."""
    try:
        # What `ctypes` is made of: `ctypes` itself takes longer to import than forking takes.
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
    except (ImportError, OSError, AttributeError):
        return None
    return lambda *numbers: _ctypes.call_cdeclfunction(address, numbers)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass


def send(control: socket.socket, report: tuple[str, int, int | str]) -> None:
    """Send a report; a driver that is gone is noticed by the next read."""
    try:
        control.send(marshal.dumps(report))
    except OSError:
        pass
