"""A picture in Graphviz's language."""

from __future__ import annotations

from typing import Final

from dagflow.draw.colours import ALARM, LINE, colours_of
from dagflow.draw.layers import DEEP, depth
from dagflow.draw.model import LIMITING, Kind, Picture, PictureEdge, PictureNode
from dagflow.draw.words import dot

_HEAD: Final = (
    '  bgcolor="transparent"; nodesep=0.3; ranksep=0.5;',
    '  node [fontname="monospace", fontsize=11, style="filled", penwidth=1.2, margin="0.14,0.08"];',
    f'  edge [color="{LINE}", fontcolor="{LINE}", fontname="monospace", fontsize=9];',
)
_RIGHTWARDS: Final = "  rankdir=LR; edge [arrowsize=0.7, tailport=e, headport=w];"
_DOWNWARDS: Final = "  rankdir=TB; edge [arrowsize=0.7, tailport=s, headport=n];"
# A splitter widens the way of the tasks, a merger narrows it: trapezia, turned to the side where the way goes there.
_SHAPES: Final[dict[Kind, str]] = {
    "task": 'shape=box, style="rounded,filled"',
    "split": 'shape=trapezium, orientation={turned}, margin="0.02,0.06"',
    "route": 'shape=diamond, margin="0.02,0.02"',
    "merge": 'shape=invtrapezium, orientation={turned}, margin="0.02,0.06"',
    "drop": 'shape=octagon, fontsize=8, margin="0.03,0.02", width=0.3, height=0.2',
}


def render(picture: Picture) -> str:
    """The DOT source, ending in a newline."""
    downwards = depth(picture) > DEEP
    lines = [f'digraph "{dot(picture.name or "dagflow")}" {{', *_HEAD, _DOWNWARDS if downwards else _RIGHTWARDS]
    if picture.caption:
        lines.append(f'  label="{dot(picture.caption)}"; labelloc=b; fontname="monospace"; fontsize=9;')
        lines.append(f'  fontcolor="{LINE}";')
    lines += [_node(node, 0 if downwards else 90) for node in picture.nodes]
    lines += _clusters(picture, None, "  ")
    lines += [_edge(edge) for edge in picture.edges]
    return "\n".join([*lines, "}", ""])


def _node(node: PictureNode, turned: int) -> str:
    words = (*node.words, LIMITING) if node.limiting else node.words
    label = "\\n".join(dot(line) for line in (node.name, *words) if line)
    fill, line, text = colours_of(node)
    colours = f'fillcolor="{fill}", color="{ALARM if node.limiting else line}", fontcolor="{text}"'
    wide = ", penwidth=3" if node.limiting else ""
    shape = _SHAPES[node.kind].format(turned=turned)
    return f'  {node.id} [label="{label}", {shape}, {colours}{wide}];'


def _edge(edge: PictureEdge) -> str:
    options = [f'label="{dot(edge.text)}"'] if edge.text else []
    options += ['style="dashed"'] if edge.dashed else []
    return f"  {edge.source} -> {edge.target}" + (f" [{', '.join(options)}];" if options else ";")


def _clusters(picture: Picture, parent: int | None, indent: str) -> list[str]:
    lines: list[str] = []
    for place, box in enumerate(picture.boxes):
        if box.parent != parent:
            continue
        lines.append(f"{indent}subgraph cluster_{place} {{")
        lines.append(f'{indent}  label=""; style="rounded,filled"; color="{LINE}60"; fillcolor="{LINE}14";')
        lines += [f"{indent}  {member};" for member in box.own(picture.boxes)]
        lines += _clusters(picture, place, indent + "  ")
        lines.append(f"{indent}}}")
    return lines
