"""The face of a run in a notebook: a view that follows it, a few times a second, and a button that stops it.

The view is an ordinary output of the cell that is updated in place, so what it showed last is saved with the
notebook and seen without a kernel. It is refreshed by a thread of its own: a run that computes in the kernel's
own thread is not held up, and a function that takes long does not freeze it. The button is a widget and needs
ipywidgets (extra ``notebook``); without, interrupting the kernel stops a run that a cell waits for.

Nothing here imports IPython unless a notebook is what we run in.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dagflow.core.record import replace
from dagflow.draw import to_text
from dagflow.draw.layout import Layout, lay_out
from dagflow.draw.model import Laid, Overlay, picture
from dagflow.draw.overlay import overlay_of
from dagflow.draw.render import image
from dagflow.draw.svg import render
from dagflow.draw.table import nodes_table
from dagflow.draw.words import xml

if TYPE_CHECKING:
    from dagflow.busy import Busy
    from dagflow.graph.algebra import Graph
    from dagflow.graph.plan import Plan
    from dagflow.protocols import Snapshot

SECONDS: Final = 0.25
"""Between two refreshes."""
SHARE_MOST: Final = 0.1
"""How much of the time refreshing may take: the view of a large graph comes less often."""

_ROOM: Final = 99_999
"""Room is left for numbers up to this, and, when they have grown beyond, for ten times as many, and so on: so the
picture keeps still while the run goes on."""


class LiveView:
    """Follows a run from `show` to `finish`.

    Args:
        graph, plan: what runs.
        now: how the run stands, and how busy its nodes are; called from the view's thread.
        stop: stops the run; its argument says whether at once.
        blocks: whether the cell waits for the run, so that the kernel takes no other cell meanwhile.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        now: Callable[[], tuple[Snapshot, Busy]],
        stop: Callable[[bool], None],
        *,
        blocks: bool,
    ) -> None:
        self._graph, self._plan, self._now, self._stop = graph, plan, now, stop
        self._blocks = blocks
        self._layout: Layout | None = None
        self._room = _ROOM
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="dagflow view", daemon=True)
        self._output: Any = None
        self._button: StopButton | None = None

    def show(self) -> None:
        """Put the view under the cell that is being executed, and begin to follow. Call it in the cell's thread."""
        self._button = stop_button(self._stop, blocks=self._blocks)
        self._output = import_module("IPython.display").display(self.shown(), raw=True, display_id=True)
        self._thread.start()

    def finish(self) -> None:
        """The run is over: show how it ended, and return when that is done."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def shown(self, *, last: bool = False) -> dict[str, str]:
        """The view now, by MIME type. ``last``: as it shall be saved, with the picture as an image, which a page
        shows that trusts nobody."""
        now, busy = self._now()
        if last:
            now = replace(now, state="finished")
        drawn = picture(self._graph, overlay_of(self._plan, now, busy))
        if last:
            return {"text/html": image(drawn, render(drawn)) + nodes_table(now, busy), "text/plain": to_text(drawn)}
        hint = " (interrupt the kernel to stop)" if self._blocks and self._button is None else ""
        svg = render(dataclasses.replace(drawn, caption=""), self._still(now))
        svg = svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
        html = f"<p><b>{xml(drawn.caption)}</b>{hint}</p>{svg}{nodes_table(now, busy)}"
        return {"text/html": html, "text/plain": drawn.caption}

    def _still(self, now: Snapshot) -> Layout:
        """A layout with room for what the numbers will become."""
        most = max((count for node in now.nodes for count in (node.received, *node.sent)), default=0)
        if self._layout is None or most > self._room:
            while most > self._room:
                self._room = 10 * self._room + 9
            room = f"{self._room:,}"
            widest = Laid((f"{room} done, 100% busy", f"{room} waiting, 99 running"), f"{room} failed", 1.0)
            nodes = dict.fromkeys(self._graph.names.values(), widest)
            counts = dict.fromkeys(overlay_of(self._plan, *self._now()).counts, self._room)
            self._layout = lay_out(picture(self._graph, Overlay(nodes, counts)))
        return self._layout

    def _follow(self) -> None:
        wait = SECONDS
        while not self._over.wait(wait):
            began = monotonic()
            self._update(self.shown())
            wait = max(SECONDS, (monotonic() - began) / SHARE_MOST)
        if self._button is not None:
            self._button.close()
        self._update(self.shown(last=True))

    def _update(self, shown: dict[str, str]) -> None:
        with suppress(Exception):  # a kernel on its way out: the run matters, its view does not
            self._output.update(shown, raw=True)


class StopButton:
    """A widget that stops a run: pressed once, running tasks may end; pressed twice, at once."""

    place: Any = None
    """Where it stands in the notebook."""

    def __init__(self, widgets: Any, stop: Callable[[bool], None], *, blocks: bool) -> None:
        self._stop = stop
        tip = "Let the running tasks end, and stop"
        if blocks:
            tip += ". If nothing happens, interrupt the kernel: it may not hear of the button while the cell runs"
        self.widget = widgets.Button(description="Stop", icon="stop", button_style="warning", tooltip=tip)
        self.widget.on_click(self._pressed)
        self._pressed_once = False
        if blocks:
            _hear_while_blocked(self.widget)

    def _pressed(self, _: object) -> None:
        again, self._pressed_once = self._pressed_once, True
        self.widget.description, self.widget.button_style = "Stop at once", "danger"
        self._stop(again)

    def close(self) -> None:
        """Take it away: there is nothing left to stop. A saved notebook has no place for a button without a kernel."""
        with suppress(Exception):
            self.place.update({"text/html": "", "text/plain": ""}, raw=True)
            self.widget.close()


def stop_button(stop: Callable[[bool], None], *, blocks: bool) -> StopButton | None:
    """Show a button that calls ``stop``; None where ipywidgets is not installed."""
    if importlib.util.find_spec("ipywidgets") is None:
        return None
    button = StopButton(import_module("ipywidgets"), stop, blocks=blocks)
    button.place = import_module("IPython.display").display(button.widget, display_id=True)
    return button


def _hear_while_blocked(widget: Any) -> None:
    """Let messages of ``widget`` be taken by the kernel's helper thread that the page has sent them to.

    JupyterLab sends what widgets say to such a thread (a subshell), but the kernel hands it to the thread that
    the widget has last spoken from: to the one that is busy with the cell. Where a kernel works otherwise this
    changes nothing, and the button is heard when the cell has ended.
    """
    comm: Any = getattr(widget, "comm", None)
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, subshell: subshell
