"""README and gallery are true: their code runs and prints what is said, their links and pictures lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
PAGES = ["README.md", "examples/README.md"]


def run(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(block: str) -> list[str]:
    """What the comments behind ``print(...)`` say is printed."""
    return [m.group(1).strip() for m in re.finditer(r"^print\(.*\)\s+# ([\[{0-9].*)$", block, re.MULTILINE)]


def test_the_diamond_prints_what_it_says() -> None:
    assert said(BLOCKS[0]) == run(BLOCKS[0], ROOT).splitlines()
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 10


def test_every_block_runs_after_those_before_it_and_prints_what_it_says(tmp_path: Path) -> None:
    """The first block by itself, since it reads this folder; the others as one session."""
    mark = "-- end of a block --"
    session = f"\nprint({mark!r})\n".join(BLOCKS[1:])
    printed = run(session, tmp_path).split(mark + "\n")
    assert len(printed) == len(BLOCKS) - 1
    for block, lines in zip(BLOCKS[1:], printed, strict=True):
        told = lines.splitlines()
        assert [line for line in told if line in said(block)] == said(block)
    assert {"5 20 None", "10 120 None"} <= set("".join(printed).splitlines())
    assert (tmp_path / "run.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    """CI calls what the README tells people to call."""
    command = ".venv/bin/python -m pytest -n auto"
    assert f"    {command}\n" in TEXT
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == command


def links() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        found += [(page, link) for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    return found


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links to them: small letters, hyphens for blanks, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), links())
def test_links_lead_somewhere(page: str, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = (ROOT / page).parent / name if name else ROOT / page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


def test_every_example_is_in_the_gallery() -> None:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "examples").rglob("*.py"):
        name = path.relative_to(ROOT / "examples").as_posix()
        assert f"({name})" in text
        assert f"(images/{name.removesuffix('.py').replace('/', '-')}.svg)" in text
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(../notebooks/{path.name})" in text
