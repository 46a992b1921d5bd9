"""A run as a table: what became of each node's tasks. Texts are escaped; the look is the page's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from dagflow.busy import Busy, waiting_and_running
from dagflow.draw.colours import ALARM, heat
from dagflow.draw.model import LIMITING
from dagflow.draw.words import cut, visible, xml

if TYPE_CHECKING:
    from dagflow.protocols import NodeSnapshot, Snapshot

_NAME_MOST: Final = 60
_TEXT_MOST: Final = 200
_STATES: Final = {"open": "open", "draining": "ending", "flushing": "ending", "closed": "ended"}


def nodes_table(snapshot: Snapshot, busy: Busy) -> str:
    """A row a node, as HTML: what became of its tasks; while the run goes on, what it has to do."""
    over = snapshot.state == "finished"
    head = ["node", "received", "done", "failed", "dropped", "retried"]
    head += ["seconds", "tasks/s", "busy"] if over else ["waiting", "running", "busy", "state"]
    rows = []
    for number, node in enumerate(snapshot.nodes):
        cells = [
            _name(node.name, limits=number == busy.limits),
            f"{node.received:,}",
            f"{node.succeeded:,}",
            f'<b style="color:{ALARM}">{node.failed:,}</b>' if node.failed else "0",
            f"{node.dropped:,}",
            f"{node.retried:,}",
        ]
        share = _busy(busy.shares[number])
        rows.append([*cells, *(_spent(node, share) if over else _at_hand(node, share, snapshot))])
    return table(head, rows)


def _name(name: str, *, limits: bool) -> str:
    mark = f' <b style="color:{ALARM}">{LIMITING}</b>' if limits else ""
    return xml(cut(visible(name), _NAME_MOST)) + mark


def _busy(share: float) -> str:
    return f'<span style="background:{heat(share)};color:#222;padding:0 .4em">{share:.0%}</span>'


def _spent(node: NodeSnapshot, busy: str) -> list[str]:
    rate = f"{node.received / node.seconds:,.0f}" if node.seconds > 0 and node.received else "-"
    return [f"{node.seconds:.3f}", rate, busy]


def _at_hand(node: NodeSnapshot, busy: str, snapshot: Snapshot) -> list[str]:
    held = snapshot.state in ("paused", "stopping") and node.phase != "closed"
    state = snapshot.state if held else _STATES[node.phase]
    waiting, running = waiting_and_running(node)
    return [f"{waiting:,}", f"{running:,}", busy, state]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table: the first column is text, the others are numbers. Cells are HTML already."""
    lines = ['<table class="dagflow-table"><thead><tr>']
    lines += [f'<th style="text-align:{"right" if place else "left"}">{name}</th>' for place, name in enumerate(head)]
    lines.append("</tr></thead><tbody>")
    for row in rows:
        cells = [f'<td style="text-align:{"right" if place else "left"}">{cell}</td>' for place, cell in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def failures_list(failures: Iterable[tuple[str, str]], more: int) -> str:
    """Failed tasks and their errors, given as texts, and how many there are besides; empty if there are none."""
    items = [
        f"<li><code>{xml(cut(visible(task), _TEXT_MOST))}</code>: {xml(cut(visible(error), _TEXT_MOST))}</li>"
        for task, error in failures
    ]
    if more > 0:
        items.append(f"<li>and {more:,} more</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def paragraphs(lines: Iterable[str]) -> str:
    """Lines of text as HTML."""
    return "".join(f"<p>{xml(line)}</p>" for line in lines if line.strip())


class Summary(str):
    """A text that a notebook shows as a table; everywhere else a plain `str`."""

    __slots__ = ("_html",)
    _html: str

    @classmethod
    def of(cls, text: str, html: str) -> Summary:
        """The text, and the HTML that stands for it."""
        made = cls(text)
        made._html = html
        return made

    def _repr_html_(self) -> str:
        return self._html

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))
