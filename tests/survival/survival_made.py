"""What the tests of survival share: a driver in a process of its own, and who is left of it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import textwrap
import time
import uuid
from pathlib import Path

import psutil
from processes import alive, command

PRELUDE = """
import faulthandler, os, signal, sys, threading, time
faulthandler.register(signal.SIGUSR1, all_threads=True)
import dagflow as df
from dagflow import DROP, Graph, Merger, Router, Splitter, TaskManager
from dagflow.testing.witnesses import Gate, Log
from loguru import logger
logger.disable("dagflow")
HERE = os.environ["DAGFLOW_TEST_PLACE"]
def say(*words):
    print(*words, flush=True)
"""


class Driver:
    """A script that runs in a process of its own, with a mark on it and on all that it starts.

    ``with Driver(tmp_path, script) as driver``: on leaving, nothing that carries the mark may be alive, and nothing
    may lie in its directory for temporary files.
    """

    def __init__(self, place: Path, script: str, *, terminal: int | None = None, limit: float = 30.0, **options):
        self.mark = f"DAGFLOW_TEST_MARK={uuid.uuid4().hex}"
        self.until = time.monotonic() + limit
        path = place / "driver.py"
        path.write_text(PRELUDE + textwrap.dedent(script))
        name, value = self.mark.split("=")
        self.temporary = place / "tmp"
        self.temporary.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            name: value,
            "DAGFLOW_TEST_PLACE": str(place),
            "PYTHONWARNINGS": "error",
            "TMPDIR": str(self.temporary),
        }
        self.errors = open(place / "stderr", "w+b")  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            env=environment,
            cwd=place,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=self.errors if terminal is None else terminal,
            start_new_session=True,
            **options,
        )
        self.pid = self.process.pid

    # -- what it says

    def line(self) -> str:
        """Its next line of output."""
        timer = _Timer(self, self.until - time.monotonic())
        with timer:
            return self.process.stdout.readline().decode().strip()

    def expect(self, text: str) -> None:
        """Read its output until a line begins with ``text``."""
        while True:
            line = self.line()
            if line.startswith(text):
                return
            assert line or self.process.poll() is None, f"ended before it said {text!r}: {self.stderr()}"

    def stderr(self) -> str:
        self.errors.flush()
        return Path(self.errors.name).read_text(errors="replace")

    def end(self) -> int:
        """Wait for its end; its exit status."""
        with _Timer(self, self.until - time.monotonic()):
            rest = self.process.stdout.read().decode() if self.process.stdout is not None else ""
            self.output = rest
            return self.process.wait()

    # -- who is left of it

    def alive(self) -> list[psutil.Process]:
        """All living processes that carry the mark: the driver's family, whoever its parent is by now."""
        found = []
        mark = self.mark.encode()
        for process in psutil.process_iter():
            try:
                marked = mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                if marked and alive(process):
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        """Its worker processes: the children of its zygotes."""
        found = []
        for helper in psutil.Process(self.pid).children():
            if "dagflow.backends.local.zygote" in command(helper):
                found += helper.children()
        return found

    def zygote(self) -> psutil.Process:
        [found] = [p for p in psutil.Process(self.pid).children() if "local.zygote" in command(p)]
        return found

    def gone_within(self, seconds: float) -> None:
        """Nobody may be alive so many seconds from now."""
        until = time.monotonic() + seconds
        while self.process.poll() is None or self.alive():
            assert time.monotonic() < until, f"{seconds} s later there are still {self.alive()}"
            time.sleep(0.02)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, kind, *exc) -> None:
        left = self.alive()
        for process in left:
            process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()
        if kind is None:
            assert not left, f"left alive: {left}"
            assert not os.listdir(self.temporary), "temporary files left"


class Terminal(Driver):
    """A driver in the foreground of a terminal of its own: what is typed there goes to its whole foreground group."""

    def __init__(self, place: Path, script: str, **options):
        self.master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        own = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # noqa: E731
        super().__init__(place, script, terminal=slave, preexec_fn=own, **options)
        os.close(slave)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def ctrl_c(self) -> None:
        self.type(b"\x03")

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, self.until - time.monotonic()))
        if not ready:
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(0.5)
            self.seen += os.read(self.master, 65536)
            raise AssertionError(f"took too long: {self.seen.decode(errors='replace')}")
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other end is closed
            data = b""
        self.seen += data
        return bool(data)

    def expect(self, text: str) -> None:
        while text.encode() not in self.seen:
            assert self._read(), f"ended before it said {text!r}: {self.seen.decode(errors='replace')}"

    def end(self) -> int:
        while self._read():
            pass
        self.output = self.seen.decode(errors="replace")
        return self.process.wait()

    def stderr(self) -> str:
        return self.seen.decode(errors="replace")

    def __exit__(self, kind, *exc) -> None:
        super().__exit__(kind, *exc)
        os.close(self.master)


class _Timer:
    """The hard limit: a driver that takes too long shows its stacks and is killed."""

    def __init__(self, driver: Driver, seconds: float) -> None:
        import threading

        self.driver = driver
        self.timer = threading.Timer(max(0.0, seconds), self.over)
        self.late = False

    def over(self) -> None:
        self.late = True
        try:
            os.kill(self.driver.pid, signal.SIGUSR1)
            time.sleep(0.5)
            os.kill(self.driver.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def __enter__(self):
        self.timer.start()

    def __exit__(self, *exc) -> None:
        self.timer.cancel()
        self.timer.join()
        assert not self.late, f"took too long; its stacks: {self.driver.stderr()}"


def fates(result) -> list[tuple]:
    return [(o.task, o.status, o.values) for o in result.outcomes]


def failed(result) -> list:
    return [o.task for o in result.outcomes if o.status != "done"]


def holds(result) -> None:
    """The books are in order, whatever happened."""
    for name, c in result.counts.items():
        assert c.received == c.succeeded + c.failed + c.dropped, (name, c)
    assert result.snapshot.ended == result.snapshot.admitted == len(result.outcomes)
