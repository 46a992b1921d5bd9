"""Each text is looked at in two ways, and the two views are joined again.

By hand that is two pools, two dicts of futures and a loop that waits for both; and a text whose one view failed
waits for ever, or is lost. Here a Merger fires once per text, when both views have arrived or cannot.
"""

from __future__ import annotations

from dagflow import Merger, TaskManager


def load(number: int) -> str:
    return "to be or not to be " * number


def count(text: str) -> int:
    return len(text.split())


def vocabulary(text: str) -> list[str]:
    if not text:
        raise ValueError("an empty text has no vocabulary")
    return sorted(set(text.split()))


def report(words: int, known: list[str]) -> str:
    return f"{words} words, {len(known)} different ones"


graph = TaskManager(load, "thread") >> [TaskManager(count), TaskManager(vocabulary)] >> Merger(report)
result = graph.run([1, 2, 0])
for outcome in result.outcomes:
    print(outcome.task, outcome.status, outcome.values or outcome.error)
