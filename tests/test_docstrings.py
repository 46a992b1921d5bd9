"""Docstrings are true: what is written there as code runs, and what is shown as its answer is what it gives."""

from __future__ import annotations

import ast
import doctest
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

import dagflow

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(dagflow.__path__, "dagflow.")
    if not module.name.endswith("__main__")
)
ASSUMED: dict[str, Any] = {
    # What the shortest examples take for granted: a user's functions and tasks.
    "fetch": lambda url: f"<{url}> ",
    "parse": str.split,
    "clean": str.strip,
    "urls": ["a", "b"],
}


def public() -> dict[str, Any]:
    return {name: getattr(dagflow, name) for name in dagflow.__all__} | ASSUMED


def docstrings() -> Iterator[tuple[str, str]]:
    for name in ["dagflow", *MODULES]:
        tree = ast.parse(Path(inspect.getfile(import_module(name))).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text:
                    yield f"{name}.{getattr(node, 'name', '')}".rstrip("."), text


def code_blocks() -> list[Any]:
    """What stands indented below a line that ends in ``::`` and is Python (diagrams stand there, too)."""
    found = []
    for where, text in docstrings():
        for block in re.findall(r"::\n\n((?:(?:    .*)?\n?)+)", text):
            code = textwrap.dedent(block).strip("\n")
            try:
                parsed = ast.parse(code)
            except SyntaxError:
                continue
            if parsed.body:
                found.append(pytest.param(code, id=where))
    return found


BLOCKS = code_blocks()
EXAMPLES = [
    pytest.param(test, id=where)
    for where, text in docstrings()
    for test in [doctest.DocTestParser().get_doctest(text, {}, where, None, 0)]
    if test.examples
]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of their own, and without the log of tasks that fail on purpose."""
    monkeypatch.chdir(tmp_path)
    logger.disable("dagflow")
    yield
    logger.enable("dagflow")


@pytest.mark.parametrize("code", BLOCKS)
def test_code_blocks_run(code: str) -> None:
    exec(compile(code, "<docstring>", "exec"), public())


@pytest.mark.parametrize("test", EXAMPLES)
def test_examples_give_what_they_show(test: doctest.DocTest) -> None:
    test.globs.update(public())
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=told.append, clear_globs=False)
    assert runner.failures == 0, "".join(told)


def test_there_are_some_of_each_kind() -> None:
    """Public classes show how they are used; and the search for code has not come to nothing."""
    assert len(BLOCKS) >= 3
    shown = {str(param.id).rpartition(".")[2] for param in [*BLOCKS, *EXAMPLES]}
    assert {"Graph", "TaskManager", "Splitter", "Router", "Merger", "TaskTree", "RunResult", "dagflow"} <= shown
