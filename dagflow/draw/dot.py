"""A picture in Graphviz's language."""

from __future__ import annotations

from typing import Final

from dagflow.draw.colours import COLOURS, LINE
from dagflow.draw.model import Kind, Picture, PictureEdge, PictureNode
from dagflow.draw.words import dot

_HEAD: Final = (
    '  rankdir=LR; bgcolor="transparent"; nodesep=0.3; ranksep=0.5;',
    '  node [fontname="monospace", fontsize=11, style="filled", penwidth=1.2, margin="0.14,0.08"];',
    f'  edge [color="{LINE}", fontcolor="{LINE}", fontname="monospace", fontsize=9];',
    "  edge [arrowsize=0.7, tailport=e, headport=w];",
)
# A splitter widens the way of the tasks, a merger narrows it: trapezia turned to the side.
_SHAPES: Final[dict[Kind, str]] = {
    "task": 'shape=box, style="rounded,filled"',
    "split": 'shape=trapezium, orientation=90, margin="0.02,0.06"',
    "route": 'shape=diamond, margin="0.02,0.02"',
    "merge": 'shape=trapezium, orientation=270, margin="0.02,0.06"',
    "drop": 'shape=octagon, fontsize=8, margin="0.03,0.02", width=0.3, height=0.2',
}


def render(picture: Picture) -> str:
    """The DOT source, ending in a newline."""
    lines = [f'digraph "{dot(picture.name or "dagflow")}" {{', *_HEAD]
    lines += [_node(node) for node in picture.nodes]
    lines += _clusters(picture, None, "  ")
    lines += [_edge(edge) for edge in picture.edges]
    return "\n".join([*lines, "}", ""])


def _node(node: PictureNode) -> str:
    label = "\\n".join(dot(line) for line in (node.name, *node.lines, node.note or "") if line)
    fill, line, text = COLOURS[node.kind]
    colours = f'fillcolor="{fill}", color="{line}", fontcolor="{text}"'
    if node.share is not None and node.share > 0:
        # A gradient with a hard edge is DOT's only bar; a weight of 0 or 1 would not be a gradient.
        weight = min(0.999, max(0.001, node.share))
        colours = f'fillcolor="{line}80;{weight:.3f}:{fill}", color="{line}", fontcolor="{text}"'
    return f'  {node.id} [label="{label}", {_SHAPES[node.kind]}, {colours}];'


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
