"""Pictures as files and as what a notebook shows."""

from __future__ import annotations

import base64
import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dagflow.draw import dot, mermaid, svg, text, xdot
from dagflow.draw.model import Picture
from dagflow.draw.words import xml
from dagflow.errors import BackendError

_TEXTS: Final[dict[str, Callable[[Picture], str]]] = {
    ".svg": svg.render,
    ".dot": dot.render,
    ".gv": dot.render,
    ".mmd": mermaid.render,
    ".txt": lambda picture: text.render(picture) + "\n",
}
_PROGRAM: Final = (".png", ".pdf")


def write(picture: Picture, path: Path) -> Path:
    """Write ``picture`` to ``path`` in the language its suffix names; gives the path back."""
    suffix = path.suffix.lower()
    if suffix in _TEXTS:
        content = _TEXTS[suffix](picture).encode("utf-8")
    elif suffix in _PROGRAM:
        content = _by_graphviz(xdot.render(picture), suffix[1:], path)
    else:
        known = " ".join((".svg", *_PROGRAM, ".dot", ".gv", ".mmd", ".txt"))
        raise ValueError(f"cannot draw to {str(path)!r}: the suffix {path.suffix!r} is none of {known}")
    _replace(path, content)
    return path


def bundle(picture: Picture) -> dict[str, str]:
    """MIME type -> content, for a notebook."""
    drawn = svg.render(picture)
    return {"image/svg+xml": drawn, "text/html": image(picture, drawn), "text/plain": text.render(picture)}


def image(picture: Picture, drawn: str) -> str:
    """HTML that shows the SVG ``drawn`` as an image, which pages that trust nobody show too."""
    data = base64.b64encode(drawn.encode("utf-8")).decode("ascii")
    return f'<img alt="{xml(picture.title)}" src="data:image/svg+xml;base64,{data}">'


def _replace(path: Path, content: bytes) -> None:
    """Write beside ``path``, then put it there in one step: nobody ever reads half a picture."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        target.write_bytes(content)  # a pipe or a device cannot be put in place of another
        return
    beside = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        beside.write_bytes(content)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _by_graphviz(source: str, form: str, path: Path) -> bytes:
    if shutil.which("dot"):
        return _by_program(source, form)
    try:
        pygraphviz: Any = importlib.import_module("pygraphviz")
    except ImportError:
        raise BackendError(
            f"cannot draw {str(path)!r}: {form.upper()} needs Graphviz. Install its program `dot` (the "
            f"package graphviz of the system), or pygraphviz, which brings it along "
            f"(pip install 'dagflow[viz]'); or draw to {str(path.with_suffix('.svg'))!r}, which needs neither"
        ) from None
    drawn: bytes = pygraphviz.AGraph(string=source).draw(format=form, prog="neato")
    return drawn


def _by_program(source: str, form: str) -> bytes:
    import graphviz

    try:
        # quiet: what `dot` has to say about fonts is no news to the user; if it fails, the error says it.
        drawn: bytes = graphviz.pipe("neato", form, source.encode("utf-8"), quiet=True)
    except (graphviz.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", None) or b""
        why = said.decode("utf-8", "replace").strip()[:500] or str(error)
        raise BackendError(f"the program `dot` could not draw this graph as {form}: {why}") from error
    return drawn
