"""The demo: a real graph over input that every machine has, the source files of Python's standard library.

::

    packages -> files ─< read -> kind ─┬ code ──> parse code ──┬─> package
                                       ├ tests ─> parse tests ─┘   (merges the files of each package)
                                       └ other ─> DROP
                         what does not parse ──────────────────> not Python

CPython keeps files among its tests that do not parse on purpose, so real failures happen. They go on over the
``failures`` branch; the package that they stand in counts what is left of it (``on_missing="skip"``).
"""

from __future__ import annotations

import ast
import json
import os
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from dagflow.errors import BackendError

if TYPE_CHECKING:
    from dagflow.graph.algebra import Graph
    from dagflow.work.outcome import Failure

MODULES = "(modules)"
"""The name under which the modules that stand in no package are counted."""

_FATES = ("received", "succeeded", "failed", "dropped", "retried", "duplicates")
_FOREIGN = frozenset(("__pycache__", "site-packages", "dist-packages"))
_COMPILED = (".pyc", ".so", ".pyd", ".dll", ".a")
_TESTS = frozenset(("test", "tests", "idle_test"))


class Package(NamedTuple):
    """A top-level package of the library, or, as `MODULES`, all single modules. The source tasks."""

    name: str
    folder: str


class File(NamedTuple):
    """A file of a package; ``path`` is relative to the library."""

    package: str
    library: str
    path: str


class Text(NamedTuple):
    """A file that has been read."""

    package: str
    path: str
    data: bytes


class Counts(NamedTuple):
    """What stands in one file, or, summed up, in a package."""

    package: str
    files: int
    lines: int
    functions: int
    classes: int
    imports: int


class Broken(NamedTuple):
    """A file that failed: where, which, and why."""

    node: str
    path: str
    cause: str


# -- the functions of the nodes: plain Python, nothing in them knows of dagflow ---------------------------


def packages(library: str) -> list[Package]:
    """The top-level packages of the library, and the pseudo-package of its single modules."""
    found = [
        Package(entry.name, entry.path)
        for entry in sorted(os.scandir(library), key=lambda entry: entry.name)
        if entry.is_dir() and entry.name.isidentifier() and entry.name not in _FOREIGN
    ]
    return [*found, Package(MODULES, library)]


def files_of(package: Package) -> Iterator[File]:
    """The files of a package, in a fixed order."""
    library = package.folder if package.name == MODULES else os.path.dirname(package.folder)
    for folder, folders, names in os.walk(package.folder):
        single = package.name == MODULES
        folders[:] = [] if single else sorted(name for name in folders if name not in _FOREIGN)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.endswith(_COMPILED) and os.path.isfile(path):
                yield File(package.name, library, os.path.relpath(path, library))


def read(file: File) -> Text:
    """Read a file: waits for the disk, so threads do it."""
    with open(os.path.join(file.library, file.path), "rb") as stream:
        return Text(file.package, file.path, stream.read())


def kind(text: Text) -> Literal["code", "tests", "other"]:
    """Which branch a file takes. The labels are in the annotation, so a missing branch is found when building."""
    if not text.path.endswith(".py") or not text.data.strip():
        return "other"
    return "tests" if _TESTS.intersection(text.path.split(os.sep)) else "code"


def parse(text: Text) -> Counts:
    """Parse a file and count: computes, so processes do it. `SyntaxError` for what is not Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old files have escapes that new Pythons warn of
        tree = ast.parse(text.data, text.path)
    functions = classes = imports = 0
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        functions += isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        classes += isinstance(node, ast.ClassDef)
        imports += isinstance(node, (ast.Import, ast.ImportFrom))
        # Definitions and imports are statements, and statements stand in these fields only: expressions,
        # by far the most of a tree, are never visited.
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):
                todo.extend(inner)
    return Counts(text.package, 1, len(text.data.splitlines()), functions, classes, imports)


def add_up(files: list[Counts]) -> Any:
    """The counts of a package from those of its files; a package without Python in it is dropped."""
    if not files:
        from dagflow.graph.marks import DROP

        return DROP
    return Counts(files[0].package, *(sum(column) for column in zip(*(file[1:] for file in files), strict=True)))


def broken(failure: Failure) -> Broken:
    """What there is to tell about a file that failed; its text stays behind."""
    return Broken(failure.node, failure.task.path, f"{type(failure.error).__name__}: {failure.error}")


# -- the graph, and what is shown --------------------------------------------------------------------------


def build() -> Graph:
    """The demo's graph."""
    from dagflow import DROP, Merger, Router, Splitter, TaskManager

    code = TaskManager(parse, execution_mode="process", name="parse code")
    tests = TaskManager(parse, execution_mode="process", name="parse tests")
    not_python = TaskManager(broken, name="not Python")
    return (
        Splitter(files_of, name="files")
        >> TaskManager(read, execution_mode="thread", name="read")
        >> Router(kind, name="kind")
        >> {"code": code, "tests": tests, "other": DROP}
        >> Merger(add_up, on_missing="skip", name="package")
        | (code.failures >> not_python)
        | (tests.failures >> not_python)
    )


def table(found: Sequence[Counts], most: int) -> str:
    """The ``most`` largest packages by lines, and the sum of all."""
    largest = sorted(found, key=lambda counts: (-counts.lines, counts.package))
    total = Counts(
        f"all {len(found)}", *(sum(column) for column in zip(*(counts[1:] for counts in found), strict=True))
    )
    rows = [(counts[0], *(f"{n:,}" for n in counts[1:])) for counts in (*largest[:most], total)]
    rows.insert(0, Counts._fields)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return "\n".join(lines)


def failures(found: Sequence[Broken]) -> str:
    """The files that failed, with node, task and cause; empty where all went well."""
    from dagflow.observe.text import clean

    lines = [f"  {clean(f.node)}: {clean(f.path)}\n      {clean(f.cause)}" for f in found]
    return "\n".join([f"{len(found)} failed, at node: task, cause", *lines]) if found else ""


def main(backend: str, most: int, picture: str | None, out: TextIO, *, as_json: bool = False) -> int:
    """Run the demo over the library of the running Python; 0 if no package failed.

    Args:
        backend: as of `Graph.run`.
        most: how many packages the table shows.
        picture: where to draw the graph with the counts of the run (by suffix), or None.
        out: where the report goes.
        as_json: say it as one JSON object, for programs.
    """
    library = sysconfig.get_path("stdlib")
    if not os.path.isdir(library):
        raise BackendError(f"this Python keeps its standard library in no folder: there is no {library}")
    result = build().run(packages(library), backend, show_progress=True)
    counted = [value for value in result.values if isinstance(value, Counts)]
    refused = [value for value in result.values if isinstance(value, Broken)]
    if as_json:
        report = {
            "packages": [counts._asdict() for counts in counted],
            "failures": [failure._asdict() for failure in refused],
            "counts": {
                name: {what: getattr(counts, what) for what in _FATES} for name, counts in result.counts.items()
            },
            "picture": picture,
        }
        out.write(json.dumps(report) + "\n")
    else:
        title = f"The largest packages of {library}, counted with dagflow:"
        shown = [title, table(counted, most), failures(refused), result.summary()]
        out.write("\n\n".join(part for part in shown if part) + "\n")
    if picture is not None:
        result.draw(picture)
        if not as_json:
            out.write(f"\nThe run is drawn in {picture}\n")
    return 1 if any(outcome.status == "failed" for outcome in result.outcomes) else 0
