"""Plans, facts and snapshots made by hand."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import threading
from typing import Any

import pyte

from dagflow.core.commands import TaskFailed, TasksEnded
from dagflow.core.ids import Space
from dagflow.core.payload import ErrorRecord
from dagflow.graph.plan import NodePlan, Plan, PortPlan
from dagflow.protocols import NodeSnapshot, Snapshot
from dagflow.work.codec import seal
from dagflow.work.values import Values

OUT = PortPlan(0, None, (), exit=True)
ROOT = Space(None, -1, None, 0)


def node_plan(index: int, name: str, *, taken_up: bool = False) -> NodePlan:
    return NodePlan(
        index, name, "task_manager", "process", 1, 2, 0.1, 1.0, True, None, None, None, False, (OUT,),
        OUT if taken_up else None, None, -1, -1, frozenset(),
    )  # fmt: skip


def plan_of(*names: str, taken_up: tuple[str, ...] = (), name: str | None = None) -> Plan:
    nodes = tuple(node_plan(i, n, taken_up=n in taken_up) for i, n in enumerate(names))
    return Plan(name, nodes, (), OUT, 0, True)


def ended(values: list[Any], *, node: int = 0, status: Any = "succeeded", start: int = 0, live: bool = False):
    payload: Any = Values(values) if live else seal(values, prove=False)[0]
    segments = [(ROOT, range(start, start + len(values)))]
    return TasksEnded(node, status, segments, len(values), 0.5, [(payload, 0, len(values))])


def failed(
    index: int = 0,
    message: str = "no",
    *,
    node: int = 0,
    kind: str = "ValueError",
    value: Any = "task",
    attempt: int = 1,
    retry_in: float | None = None,
    space: Space = ROOT,
) -> TaskFailed:
    piece = (Values([value]), 0, 1)
    return TaskFailed(node, space, index, ErrorRecord("raised", kind, message), attempt, retry_in, piece)


def node_snapshot(name: str, received: int = 0, ok: int = 0, bad: int = 0, dropped: int = 0, **more: Any):
    fields = {
        "name": name, "kind": "task_manager", "phase": "open", "queued": 0, "leased": 0, "waiting": 0,
        "held": 0, "workers": 1, "received": received, "succeeded": ok, "failed": bad, "dropped": dropped,
        "retried": 0, "duplicates": 0, "seconds": 0.0,
    }  # fmt: skip
    return NodeSnapshot(**{**fields, **more})


def snapshot_of(*nodes: NodeSnapshot, crashes: int = 0) -> Snapshot:
    return Snapshot(nodes, 0, 0, False, "running", 1.0, 0, crashes)


NOTHING = snapshot_of()


class Recorder:
    """An observer that remembers what it heard, and raises where it is told to."""

    def __init__(self, raises_in: str = "", error: BaseException | None = None) -> None:
        self.heard: list[str] = []
        self.raises_in = raises_in
        self.error = error or RuntimeError("observer's own")

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        if what == self.raises_in:
            raise self.error

    def opened(self, plan: Any) -> None:
        self._hear("opened")

    def facts(self, facts: Any) -> None:
        self._hear("facts")

    def tick(self, snapshot: Any) -> None:
        self._hear("tick")

    def closed(self, snapshot: Any) -> None:
        self._hear("closed")


def screen(text: str, rows: int = 40, columns: int = 100) -> list[str]:
    """The lines that a terminal shows after ``text``, and those that have left it at the top; not the empty ones."""
    seen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.5)
    seen.set_mode(pyte.modes.LNM)  # as a terminal's driver does, from which some tests' text has not come
    pyte.Stream(seen).feed(text)
    above = ["".join(row[i].data for i in range(columns)) for row in seen.history.top]
    return [line.rstrip() for line in [*above, *seen.display] if line.strip()]


class Terminal:
    """A pseudo terminal to be written to; `finish` gives what was written."""

    def __init__(self, rows: int = 40, columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.stream = open(slave, "w", encoding="utf-8")  # noqa: SIM115 - closed by `finish`
        self._read: list[bytes] = []
        self._thread = threading.Thread(target=self._reader)
        self._thread.start()

    def _reader(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                return
            if not data:
                return
            self._read.append(data)

    def finish(self) -> str:
        self.stream.close()
        self._thread.join()
        os.close(self._master)
        return b"".join(self._read).decode()
