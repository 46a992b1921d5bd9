"""Each example runs by itself, ends by itself, and prints what it is there to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

SHOWN = {
    "class_worker": ["240 60"],
    "crawler": [
        "broken link /nowhere: HTTP/1.0 404 Not Found",
        "48",
        "asked for once though linked to often: 52 times",
    ],
    "diamond": [
        "1 done ['6 words, 4 different ones']",
        "2 done ['12 words, 4 different ones']",
        "0 failed 1 member failed: ValueError: an empty text has no vocabulary",
    ],
    "disasters/empty_branch_before_a_join": [
        "socks done [['blue', 'red']]",
        "empty done [[]]",
        "junk done [[]]",
    ],
    "disasters/failed_child_in_a_nested_chord": [
        "anna done 183",
        "bert failed",
        "cleo done 16",
        "MissingMembers, because:",
        "ZeroDivisionError: integer division or modulo by zero",
    ],
    "disasters/label_without_a_branch": [
        "refused: router 'by_colour': no branch for 'amber'",
        "skipped: [['red: stop', 'green: go']]",
        "failed: label 'blue' has no branch; known: 'red', 'green'",
    ],
    "disasters/retry_after_the_end": ["total: 200", "tries of page 4: 4", "retried: 3 succeeded: 5"],
    "disasters/split_inside_a_branch": [
        "one two three -> ['ONE', 'owt', 'eerht']",
        "alone -> ['ALONE']",
        "four five -> ['FOUR', 'evif']",
    ],
    "disasters/uneven_branches_into_one_node": ["quick 7 & slow 71", "True"],
    "fold_million": ["True memory grew by less than 64 MiB: True"],
    "killed_and_resumed": [
        "the first process ended by signal 9",
        "the journal says of its run: interrupted",
        "packages that have ended now: {'done': 5} given again: ",
        "each file was read: True",
        "read before the kill: True read again, since nobody knows how far it was: True",
        "the same as in one go: True",
    ],
    "nested_split": ["anna [700, 6000]", "bert []", "cleo [0]"],
    "router_failures": [
        "0 dropped",
        "1 done order 1 charged at attempt 3",
        "3 done order 3 failed: card refused (attempts: 1)",
        "4 done order 4 charged at attempt 1",
    ],
    "tasktree": ["{1: 4, 2: 6, 3: 8, 4: 10}"],
    "word_count": ["email: True, self is frequent: True", "json: True, self is frequent: True"],
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
    assert sorted(SHOWN) == sorted(str(p.relative_to(EXAMPLES).with_suffix("")) for p in EXAMPLES.rglob("*.py"))
