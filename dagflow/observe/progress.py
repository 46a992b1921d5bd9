"""Progress bars on stderr, by tqdm: text in terminals, widgets in notebooks, nothing anywhere else."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from dagflow.aside import ASIDE
from dagflow.observe.text import clean

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.graph.plan import Plan
    from dagflow.protocols import NodeSnapshot, Snapshot

BARS_MOST: Final = 12
"""More nodes than this get one bar together, and the busiest of them a bar each."""
BUSIEST: Final = 8

_COLUMNS, _ROWS = 80, 24
_NAME_MOST: Final = 40
# No remaining time: the total of every node but the first grows while the run goes on.
_FORMAT: Final = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"


class Progress:
    """An observer that shows a bar per node: tasks ended of tasks received, their rate, failures, retries.

    ``names``: what to write before the bars, by node name (default: the node's name). ``only``: the nodes
    to show (default: all). Nothing is written where stderr is no terminal; a notebook gets widgets, or,
    without ipywidgets, one line for all nodes, since its output cannot go back up to an earlier line.
    While bars of text are there, lines that others write go above them (`dagflow.aside`).
    """

    wants_facts = False

    def __init__(self, names: dict[str, str] | None = None, only: set[str] | None = None) -> None:
        self._names = names or {}
        self._only = only
        self._nodes: list[int] = []
        self._bars: list[Any] = []
        self._total: Any = None
        self._aside = False

    def opened(self, plan: Plan) -> None:
        """Draw the bars, still empty."""
        self._nodes = [n.index for n in plan.nodes if self._only is None or n.name in self._only]
        self._bars, self._total = [], None
        notebook = in_notebook()
        if not self._nodes or sys.stderr is None or not (notebook or sys.stderr.isatty()):
            return
        make = _bar_class()
        widgets = notebook and _draws_widgets(make)
        single = notebook and not widgets
        if not widgets:
            stream = sys.stderr
            ASIDE.begin(stream, lambda: make.external_write_mode(file=stream), make.get_lock(), _drawing)
            self._aside = True
        try:
            if single or len(self._nodes) > BARS_MOST:
                self._total = _new_bar(make, clean(plan.name or "all nodes", _NAME_MOST), notebook)
            if not single:
                shown = self._nodes if self._total is None else self._nodes[:BUSIEST]
                for i in shown:
                    self._bars.append(_new_bar(make, self._label(plan.nodes[i].name), notebook))
        except BaseException:
            self._leave()
            raise

    def _label(self, name: str) -> str:
        return clean(self._names.get(name, name), _NAME_MOST)

    def facts(self, facts: Sequence[Fact]) -> None:
        """Not wanted: snapshots say enough."""

    def tick(self, snapshot: Snapshot) -> None:
        """Redraw."""
        if not self._bars and self._total is None:
            return
        try:
            self._draw(snapshot)
        except Exception:
            self._leave()  # who raises is not told of the end
            raise

    def _draw(self, snapshot: Snapshot) -> None:
        nodes = [snapshot.nodes[i] for i in self._nodes]
        if self._total is not None:
            _show(self._total, nodes)
            # By the time spent so far: what is busy just now changes faster than one can read.
            first = sorted(range(len(nodes)), key=lambda i: (-nodes[i].seconds, -nodes[i].received, i))
            nodes = [nodes[i] for i in sorted(first[: len(self._bars)])]
        for bar, node in zip(self._bars, nodes, strict=True):
            bar.set_description_str(self._label(node.name) + ": ", refresh=False)
            _show(bar, [node])

    def closed(self, snapshot: Snapshot) -> None:
        """Show the final numbers and leave the bars on the screen."""
        try:
            self.tick(snapshot)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Leave the bars to the screen as they are."""
        bars = self._bars if self._total is None else [self._total, *self._bars]
        self._bars, self._total = [], None
        try:
            # Off, and each drawn where the next line goes: the bars of other runs go on below them.
            with _bar_class().external_write_mode(file=bars[0].fp) if bars else nullcontext():
                for bar in bars:
                    bar.close()
        finally:
            if self._aside:
                self._aside = False
                ASIDE.end()


def _show(bar: Any, nodes: list[NodeSnapshot]) -> None:
    """Give a bar the sums of nodes."""
    bar.n = sum(n.succeeded + n.failed + n.dropped for n in nodes)
    bar.total = sum(n.received for n in nodes)
    widget = getattr(bar, "container", None)
    if widget is not None and bar.total:
        # tqdm sets a widget's end when it makes it, and here it grows; "info" is its style for no end known.
        gauge = widget.children[1]
        gauge.max, gauge.bar_style = bar.total, ""
    failed, retried = sum(n.failed for n in nodes), sum(n.retried for n in nodes)
    notes = [f"failed {failed}"] * (failed > 0) + [f"retried {retried}"] * (retried > 0)
    bar.set_postfix_str(", ".join(notes), refresh=False)
    bar.refresh()


def _new_bar(make: Any, label: str, notebook: bool) -> Any:
    # disable=None: silent where the stream is no terminal; a notebook's stream is none, and yet shows text.
    options: dict[str, Any] = {"disable": False if notebook else None, "bar_format": _FORMAT}
    options |= {"dynamic_ncols": True} if notebook else _screen()
    return make(total=0, desc=label, unit="task", smoothing=0, leave=True, file=sys.stderr, **options)


def _screen() -> dict[str, Any]:
    """A terminal that does not know its size says 0 x 0, where bars would have no room at all."""
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        columns = rows = 0
    if columns > 0 and rows > 0:
        return {"dynamic_ncols": True}
    return {"ncols": columns - 1 if columns > 1 else _COLUMNS, "nrows": rows or _ROWS}


@cache
def _bar_class() -> Any:
    """tqdm's class for where we are, without its helpers.

    tqdm would start a thread that redraws slow bars (the ring's ticks do), and make a lock shared between
    processes (nobody but this process draws). Both would stay behind after the run.
    """
    with warnings.catch_warnings():
        # In a notebook without ipywidgets tqdm warns, and draws text.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    kind: Any = type("Bar", (tqdm,), {"monitor_interval": 0})
    if not hasattr(tqdm, "_lock"):
        kind.set_lock(threading.RLock())
    return kind


def _drawing() -> bool:
    """Whether this thread holds the lock of our bars, or of the user's own, which tqdm's classes keep each for itself.

    What tqdm makes itself is a pair of a lock of threads and one of processes.
    """
    locks = [vars(kind)["_lock"] for kind in _bar_class().__mro__ if "_lock" in vars(kind)]
    return any(getattr(lock, "th_lock", lock)._is_owned() for lock in locks)


def _draws_widgets(bar_class: Any) -> bool:
    return any(base.__module__ == "tqdm.notebook" for base in bar_class.__mro__)


def in_notebook() -> bool:
    """Whether we run in a Jupyter kernel. Looks at what is loaded; imports nothing."""
    ipython = sys.modules.get("IPython")
    if "ipykernel.zmqshell" not in sys.modules or ipython is None:
        return False
    shell = ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
