"""Traces as values: what happened to one task, hop by hop, and to those that came from it.

A task that is split or broadcast has children with traces of their own; where they are merged, the task that opened
the scope goes on, so the merge stands among its own hops. What came of several source tasks (windows, ``of="run"``)
has a trace of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from dagflow.observe.text import MESSAGE_MOST, NAME_MOST, clean, describe

HopStatus = Literal["done", "failed", "dropped", "retried"]
CHILDREN_MOST: Final = 20
"""More children than this are not drawn, only counted."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One attempt of a task at one node. Times are seconds since the epoch.

    ``queued``: when the task came to the node (or was due again); ``start``, ``end``: when its function ran.
    ``status``: ``"retried"`` where another attempt followed. ``worker``: its number in the run, ``pid`` its process;
    None where no worker was asked (a duplicate, a merge whose members failed). ``error``: type and message.
    """

    node: str
    attempt: int
    status: HopStatus
    queued: float
    start: float
    end: float
    worker: int | None = None
    pid: int | None = None
    error: str | None = None

    @property
    def waited(self) -> float:
        """Seconds in the node's queue."""
        return max(0.0, self.start - self.queued)

    @property
    def ran(self) -> float:
        """Seconds in the node's function."""
        return max(0.0, self.end - self.start)

    def as_dict(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Trace:
    """What happened to one task. ``str()`` draws it, its hops and its children as a tree.

    ``trace_id``: of a source task as in the results; a child's begins with its parent's. ``status``: done, failed,
    dropped or cancelled (running, while the run goes on). ``hops``: its visits to nodes, each attempt one, in order.
    ``children``: what a split or a broadcast made of it, in lineage order; ``parent``: what it was made of.
    """

    __slots__ = ("_place", "_task", "children", "hops", "parent", "status", "trace_id")

    def __init__(self, trace_id: str, task: Any = None, *, place: Any = None) -> None:
        self.trace_id = trace_id
        self.status = "cancelled"
        self.hops: list[Hop] = []
        self.children: list[Trace] = []
        self.parent: Trace | None = None
        self._task = task
        self._place = place

    @property
    def task(self) -> Any:
        """Its value: of a source task what the user gave, of a child what its first node got.

        None for what came of several source tasks, and for children whose values took too much room to be kept.
        """
        if self._place is not None:
            self._task, self._place = self._place(), None
        return self._task

    @property
    def path(self) -> list[str]:
        """The names of the nodes it came to, in order."""
        return list(dict.fromkeys(hop.node for hop in self.hops))

    def walk(self) -> Iterator[Trace]:
        """It, its children, and theirs, each before its own."""
        todo = [self]
        while todo:
            trace = todo.pop()
            yield trace
            todo.extend(reversed(trace.children))

    def to_json(self) -> str:
        """It and all that came from it, as a JSON text. Values that JSON has no word for stand as their ``repr``."""
        return json.dumps(self._as_dict(), ensure_ascii=False)

    def _as_dict(self) -> dict[str, Any]:
        return {
            "trace_id": self.trace_id,
            "task": json_value(self.task),
            "status": self.status,
            "path": self.path,
            "hops": [hop.as_dict() for hop in self.hops],
            "children": [child._as_dict() for child in self.children],
        }

    def __str__(self) -> str:
        return "\n".join(_tree(self))

    def __repr__(self) -> str:
        children = f", {len(self.children)} children" if self.children else ""
        return f"Trace({self.trace_id!r}, {describe(self.task)}, {self.status}, {len(self.hops)} hops{children})"


def json_value(value: Any) -> Any:
    """A value as JSON has it where it is a plain small one, else its ``repr``, cut and without control characters."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) < 1 << 53:
        return value
    if type(value) is float and abs(value) < float("inf"):
        return value
    if type(value) is str and len(value) <= MESSAGE_MOST and value.isprintable():
        return value
    return describe(value)


# -- how it ended -----------------------------------------------------------------------------------------


def settle(trace: Trace) -> None:
    """Work out ``status`` from the hops of the trace and of all that came from it, deepest first."""
    for each in reversed(list(trace.walk())):
        each.status = _status(each)


def _status(trace: Trace) -> str:
    last = trace.hops[-1].status if trace.hops else None
    if last == "retried":
        return "cancelled"  # the next attempt never came
    if last in ("failed", "dropped") or not trace.children:
        return last or "cancelled"
    if merge_at(trace) < len(trace.hops):
        return "done"  # its last node came after its children, and speaks for them too
    # Where several Mergers closed its scope it goes on as several; those say what became of the others too.
    going_on = [c for c in trace.children if c.trace_id.rpartition(".")[2].startswith("m-")]
    statuses = {child.status for child in going_on or trace.children}
    return next((s for s in ("failed", "cancelled", "running", "done") if s in statuses), "dropped")


def merge_at(trace: Trace) -> int:
    """The place of the first hop at a node that the task came to after its children: where they were merged.

    The number of hops where there is none.
    """
    came = min((child.hops[0].queued for child in trace.children if child.hops), default=None)
    seen: dict[str, float] = {}
    for at, hop in enumerate(trace.hops):
        if came is not None and seen.setdefault(hop.node, hop.queued) > came:
            return at
    return len(trace.hops)


# -- as a tree --------------------------------------------------------------------------------------------


def _tree(trace: Trace) -> list[str]:
    named = [hop.node for t in trace.walk() for hop in t.hops]
    wide = min(max((len(clean(n, NAME_MOST)) for n in named), default=0), 24)
    return [_title(trace), *_branches(trace, wide)]


def _title(trace: Trace) -> str:
    task = "" if trace.task is None else f"{describe(trace.task)}  "
    return f"[{clean(trace.trace_id, NAME_MOST)}] {task}{trace.status}"


def _branches(trace: Trace, wide: int) -> list[str]:
    """The lines below a trace's title: hops, and children where they came."""
    parts: list[tuple[str, list[str]]] = []
    children = [(_title(c), _branches(c, wide)) for c in trace.children[:CHILDREN_MOST]]
    if len(trace.children) > CHILDREN_MOST:
        children.append((f"... and {len(trace.children) - CHILDREN_MOST:,} more", []))
    at = merge_at(trace)
    for hop in trace.hops[:at]:
        parts.append((_line(hop, wide), []))
    parts.extend(children)
    for hop in trace.hops[at:]:
        parts.append((_line(hop, wide), []))
    lines: list[str] = []
    for number, (head, below) in enumerate(parts):
        last = number == len(parts) - 1
        lines.append(("└─ " if last else "├─ ") + head)
        lines.extend(("   " if last else "│  ") + line for line in below)
    return lines


def _line(hop: Hop, wide: int) -> str:
    tried = f" #{hop.attempt}" if hop.attempt > 1 or hop.status == "retried" else ""
    node = clean(hop.node, NAME_MOST).ljust(wide)
    text = f"{node}  {hop.status}{tried}  waited {seconds(hop.waited)}, ran {seconds(hop.ran)}"
    if hop.worker is not None:
        text += f"  worker {hop.worker} (pid {hop.pid})" if hop.pid else f"  worker {hop.worker}"
    return f"{text}  {clean(hop.error)}" if hop.error else text


def seconds(value: float) -> str:
    """A duration for people: ``1.2 s``, ``3.4 ms``, ``56 us``, ``78 ns``."""
    if value >= 100:
        return f"{value:.0f} s"
    if value >= 0.9995:
        return f"{value:.1f} s"
    if value >= 0.0009995:
        return f"{value * 1e3:.1f} ms"
    return f"{value * 1e6:.0f} us" if value >= 0.9995e-6 or not value else f"{value * 1e9:.0f} ns"
