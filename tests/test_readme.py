"""The README is true: its code runs, and prints what the comments beside it say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(block: str) -> list[str]:
    """What the comments behind ``print(...)`` say is printed."""
    return [m.group(1).strip() for m in re.finditer(r"^print\(.*\)\s+# (?!or )(.*)$", block, re.MULTILINE)]


def test_the_diamond_prints_what_it_says() -> None:
    assert said(BLOCKS[0]) == run(BLOCKS[0]).splitlines()
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 10


def test_the_pieces_and_the_ways_to_run_print_what_they_say() -> None:
    lines = run(BLOCKS[1] + BLOCKS[2]).splitlines()
    assert said(BLOCKS[1]) == lines[:1]
    assert sorted(lines[-3:-1]) == ["10 120 None", "5 20 None"]


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    """CI calls what the README tells people to call."""
    command = ".venv/bin/python -m pytest"
    assert f"    {command}\n" in TEXT
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == command


@pytest.mark.parametrize("path", re.findall(r"\]\(([a-z_/]+)\)", TEXT))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
