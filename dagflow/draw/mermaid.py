"""A picture as a Mermaid flowchart."""

from __future__ import annotations

from typing import Final

from dagflow.draw.colours import ALARM, COLOURS, heat
from dagflow.draw.layers import DEEP, depth
from dagflow.draw.model import LIMITING, Kind, Picture, PictureEdge, PictureNode
from dagflow.draw.words import mermaid

_SHAPES: Final[dict[Kind, tuple[str, str]]] = {
    "task": ("(", ")"),
    "split": ("[/", "\\]"),
    "route": ("{", "}"),
    "merge": ("[\\", "/]"),
    "drop": ("((", "))"),
}


def render(picture: Picture) -> str:
    """The Mermaid source, ending in a newline."""
    lines = ["flowchart TD" if depth(picture) > DEEP else "flowchart LR"]
    lines += [_node(node) for node in picture.nodes]
    lines += _subgraphs(picture, None, "    ")
    lines += [_edge(edge) for edge in picture.edges]
    lines += _classes(picture)
    return "\n".join([*lines, ""])


def _node(node: PictureNode) -> str:
    before, after = _SHAPES[node.kind]
    words = (*node.words, LIMITING) if node.limiting else node.words
    label = "<br/>".join(mermaid(line) for line in (node.name, *words) if line)
    return f'    {node.id}{before}"{label}"{after}'


def _edge(edge: PictureEdge) -> str:
    label = f'|"{mermaid(edge.text)}"|' if edge.text else ""
    return f"    {edge.source} {'-.->' if edge.dashed else '-->'}{label} {edge.target}"


def _subgraphs(picture: Picture, parent: int | None, indent: str) -> list[str]:
    lines: list[str] = []
    for place, box in enumerate(picture.boxes):
        if box.parent != parent:
            continue
        lines.append(f'{indent}subgraph scope{place}[" "]')
        lines += [f"{indent}    {member}" for member in box.own(picture.boxes)]
        lines += [*_subgraphs(picture, place, indent + "    "), f"{indent}end"]
    return lines


def _classes(picture: Picture) -> list[str]:
    lines = []
    for kind, (fill, line, text) in COLOURS.items():
        ids = [node.id for node in picture.nodes if node.kind == kind]
        if ids:
            lines.append(f"    classDef {kind} fill:{fill},stroke:{line},color:{text}")
            lines.append(f"    class {','.join(ids)} {kind}")
    for node in picture.nodes:
        if node.share is not None:
            wide = f",stroke:{ALARM},stroke-width:3px" if node.limiting else ""
            lines.append(f"    style {node.id} fill:{heat(node.share)}{wide}")
    return lines
