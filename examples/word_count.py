"""The most frequent words of two packages of Python's library: split into files, counted in processes, summed up.

With a process pool, results come back in any order and somebody has to remember which file belonged to which
package, and when the last one of a package is in. Here the Merger of each package's scope knows.
"""

from __future__ import annotations

import email
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dagflow import Merger, Splitter, TaskManager

PACKAGES = [str(Path(module.__file__).parent) for module in (email, json)]


def files(package: str) -> Iterator[str]:
    yield from sorted(str(path) for path in Path(package).glob("*.py"))


def read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def count(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z]{4,}", text.lower()))


def add_up(counts: list[Counter[str]]) -> Counter[str]:
    return sum(counts, Counter())


graph = (
    Splitter(files)
    >> TaskManager(read, "thread")
    >> TaskManager(count, "process", 2)
    >> Merger(add_up, name="words of the package")
)
result = graph.run(PACKAGES)
for package, words in result.get_final_result_dict().items():
    print(f"{Path(package).name}: {sum(words.values()) > 1000}, self is frequent: {words['self'] > 20}")
