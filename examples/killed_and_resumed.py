"""A run whose process is killed by `kill -9` in the midst of its work, and goes on from there when it is started again.

By hand: a table of what is done, written at the right moment, read at the start, and a bug for each way to stop.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagflow as df

LIBRARY = Path(json.__file__).parent.parent
PACKAGES = ["json", "email", "html", "logging", "asyncio"]
FIRST = sys.argv[1:2] == ["run"]
FOLDER = Path(sys.argv[2] if FIRST else tempfile.mkdtemp())
"""Where the journal is, and a note of each call of `words`, so that we can count them afterwards."""


def files(package: str) -> Iterator[str]:
    yield from sorted(str(path) for path in (LIBRARY / package).glob("*.py"))


def words(path: str) -> int:
    with (FOLDER / "calls").open("a") as notes:
        notes.write(f"{path}\n")
    time.sleep(0.02)
    return len(Path(path).read_text(encoding="utf-8").split())


graph = df.Splitter(files) >> df.TaskManager(words, "thread", 4) >> df.Merger(sum, name="words of the package")


def go_on() -> df.RunResult:
    """The call is the same at the first start and at the second one."""
    return graph.run(PACKAGES, "thread", journal=FOLDER / "words.db")


def called() -> list[str]:
    notes = FOLDER / "calls"
    return notes.read_text().splitlines() if notes.exists() else []


if FIRST:
    go_on()
    sys.exit()

atexit.register(shutil.rmtree, FOLDER)
first = subprocess.Popen([sys.executable, __file__, "run", str(FOLDER)])
while len(called()) < 40 and first.poll() is None:
    time.sleep(0.01)
os.kill(first.pid, signal.SIGKILL)
print("the first process ended by signal", -first.wait())

with df.open_journal(FOLDER / "words.db") as journal:
    print("the journal says of its run:", journal.runs[-1].state)
    print("packages that had ended:", len(journal.outcomes), "of", len(PACKAGES))
before = called()
result = go_on()
print("packages that have ended now:", result.statuses(), "given again:", result.reused)

everything = [path for package in PACKAGES for path in files(package)]
again = len(called()) - len(everything)
print("each file was read:", set(called()) == set(everything))
print("read before the kill:", len(before) >= 40, "read again, since nobody knows how far it was:", again <= 8)
print("the same as in one go:", result.values == graph.run(PACKAGES, "thread").values)
