"""Faces: a graph as DOT, Mermaid, plain text, SVG, or a file of one of these, PNG or PDF.

A graph becomes a `model.Picture` first (what there is to see), and each renderer reads nothing but that. So
whatever can be laid over a picture, such as the counts of a run, is added in one place: make the picture with
`dagflow.draw.model.picture(graph, overlay)` and give it to any of these functions in place of the graph.
The SVG is placed by `layout`, in pure Python; only PNG and PDF need a program.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagflow.draw.model import Picture
    from dagflow.graph.algebra import Graph

__all__ = ["draw", "mimebundle", "to_dot", "to_mermaid", "to_svg", "to_text"]


def to_dot(graph: Graph | Picture) -> str:
    """The graph in Graphviz's language."""
    from dagflow.draw.dot import render

    return render(_picture(graph))


def to_mermaid(graph: Graph | Picture) -> str:
    """The graph as a Mermaid flowchart."""
    from dagflow.draw.mermaid import render

    return render(_picture(graph))


def to_text(graph: Graph | Picture) -> str:
    """The graph as plain text; no newline at its end."""
    from dagflow.draw.text import render

    return render(_picture(graph))


def to_svg(graph: Graph | Picture) -> str:
    """The graph as SVG: needs no program, asks for nothing outside, runs no script."""
    from dagflow.draw.svg import render

    return render(_picture(graph))


def draw(graph: Graph | Picture, path: str | os.PathLike[str]) -> Path:
    """Draw to the file ``path``, by its suffix (.svg .png .pdf .dot .gv .mmd .txt); returns the path.

    Another suffix: `ValueError`. PNG and PDF without Graphviz: `dagflow.errors.BackendError`.
    """
    from dagflow.draw.render import write

    return write(_picture(graph), Path(path))


def mimebundle(graph: Graph | Picture) -> dict[str, str]:
    """What a notebook shows: SVG, HTML with that SVG as an image, and plain text.

    The HTML is what an untrusted notebook still shows, where bare SVG is taken out. There is no Mermaid in
    it because JupyterLab would prefer that to all the others.
    """
    from dagflow.draw.render import bundle

    return bundle(_picture(graph))


def _picture(graph: Graph | Picture) -> Picture:
    from dagflow.draw.model import Picture, picture

    return graph if isinstance(graph, Picture) else picture(graph)
