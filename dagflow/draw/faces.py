"""Faces: the methods by which something that has a picture shows it."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagflow import draw

if TYPE_CHECKING:
    from dagflow.draw.model import Picture


class Pictured:
    """Something with a picture: a run that is over, or one that goes on, laid over its graph."""

    @abstractmethod
    def _picture(self) -> Picture:
        """What there is to see now."""

    def to_dot(self) -> str:
        """The graph in Graphviz's language, with the counts of the run laid over."""
        return draw.to_dot(self._picture())

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart, with the counts of the run laid over."""
        return draw.to_mermaid(self._picture())

    def to_text(self) -> str:
        """The graph as plain text, with the counts of the run laid over; no newline at its end."""
        return draw.to_text(self._picture())

    def to_svg(self) -> str:
        """The graph as SVG, with the counts of the run laid over; needs no program."""
        return draw.to_svg(self._picture())

    def draw(self, path: str | os.PathLike[str]) -> Path:
        """Draw to ``path``, by its suffix (.svg .png .pdf .dot .gv .mmd .txt); returns the path.

        On nodes stand what became of their tasks and how busy they were (the colour, too); on edges, how many
        tasks went along. The node that limits the run is marked.
        """
        return draw.draw(self._picture(), path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return draw.mimebundle(self._picture())
