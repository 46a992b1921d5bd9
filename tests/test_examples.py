"""Each example runs by itself, ends by itself, and prints what it is there to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

SHOWN = {
    "class_worker": ["240 60"],
    "diamond": [
        "1 done ['6 words, 4 different ones']",
        "2 done ['12 words, 4 different ones']",
        "0 failed 1 member failed: ValueError: an empty text has no vocabulary",
    ],
    "fold_million": ["True memory grew by less than 64 MiB: True"],
    "nested_split": ["anna [700, 6000]", "bert []", "cleo [0]"],
    "router_failures": [
        "0 dropped",
        "1 done order 1 charged at attempt 3",
        "3 done order 3 failed: card refused (attempts: 1)",
        "4 done order 4 charged at attempt 1",
    ],
    "tasktree": ["{1: 4, 2: 6, 3: 8, 4: 10}"],
    "windows": ["window 1: 0.2", "window 4: 1.7"],
}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_example(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    for shown in SHOWN[name]:
        assert any(line.startswith(shown) for line in lines), done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_run() -> None:
    assert sorted(SHOWN) == sorted(path.stem for path in EXAMPLES.glob("*.py"))
