"""Traces as values: what happened to one task, hop by hop, and to those that came from it.

A task that is split or broadcast has children with traces of their own; where they are merged, the task that opened
the scope goes on, so the merge stands among its own hops. What came of several source tasks (windows, ``of="run"``)
has a trace of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from dagflow.core.record import record
from dagflow.observe.text import MESSAGE_MOST, NAME_MOST, clean, describe

HopStatus = Literal["done", "failed", "dropped", "retried"]
CHILDREN_MOST: Final = 20
"""More children than this are not drawn, only counted."""


@record(frozen=True)
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
        return {name: getattr(self, name) for name in self.__match_args__}


class Trace:
    """What happened to one task. ``str()`` draws it, its hops and its children as a tree.

    ``trace_id``: of a source task as in the results; a child's begins with its parent's. ``status``: done, failed,
    dropped or cancelled (running, while the run goes on). ``hops``: its visits to nodes, each attempt one, in order.
    ``children``: what a split or a broadcast made of it, in lineage order; ``parent``: what it was made of.
    """

    __slots__ = ("_lost", "_place", "_task", "children", "hops", "parent", "status", "trace_id")

    def __init__(self, trace_id: str, task: Any = None, *, place: Any = None) -> None:
        self.trace_id = trace_id
        self.status = "cancelled"
        self.hops: list[Hop] = []
        self.children: list[Trace] = []
        self.parent: Trace | None = None
        self._task = task
        self._place = place
        self._lost = False

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
        import json  # which takes longer to load than the rest of this module

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
    """Work out ``status`` from the hops of the trace and of all that came from it, deepest first.

    Whether a failure was taken up (by a Merger that skips what is missing, or a ``failures`` branch) is known to those
    who heard the run decide; for a trace that was read from a file it follows from where the children were merged.
    """
    for each in reversed(list(trace.walk())):
        each._lost = each._lost or any(child._lost for child in each.children)
        each.status = "failed" if each._lost else _status(each)


def _status(trace: Trace) -> str:
    last = trace.hops[-1].status if trace.hops else None
    if last == "retried":
        return "cancelled"  # the next attempt never came
    # Children from before its last node were merged there, so that its own end speaks for them.
    first = next((at for at, hop in enumerate(trace.hops) if hop.node == trace.hops[-1].node), -1)
    open_ones = [child for after in placed(trace)[first + 1 :] for child in after]
    # Where several Mergers closed its scope it goes on as several, and beside its children if its split has failed
    # late; those say what became of the others too.
    going_on = [child for child in open_ones if child.trace_id.rpartition(".")[2].startswith(("m-", "x-"))]
    if not open_ones or (last in ("failed", "dropped") and not going_on):
        return last or "cancelled"
    statuses = {child.status for child in going_on or open_ones}
    return next((s for s in ("failed", "cancelled", "running", "done") if s in statuses), "dropped")


def placed(trace: Trace) -> list[list[Trace]]:
    """The children by how many hops of the trace came before them: after the hop that made them, before their merge."""
    found: list[list[Trace]] = [[] for _ in range(len(trace.hops) + 1)]
    for child in trace.children:
        came = _came(child)
        found[sum(1 for hop in trace.hops if hop.queued <= came)].append(child)
    return found


def _came(trace: Trace) -> float:
    """When it, or the first of what it was made into, came to a node."""
    if trace.hops:
        return trace.hops[0].queued
    return min(map(_came, trace.children), default=float("inf"))


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
    for at, children in enumerate(placed(trace)):
        if at:
            parts.append((_line(trace.hops[at - 1], wide), []))
        parts.extend((_title(child), _branches(child, wide)) for child in children[:CHILDREN_MOST])
        if len(children) > CHILDREN_MOST:
            parts.append((f"... and {len(children) - CHILDREN_MOST:,} more", []))
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
