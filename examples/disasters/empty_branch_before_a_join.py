"""The story: a step finds nothing to do for some input, and the join behind it counts to a number that never comes.

Elsewhere a group of nothing has no last member to trigger the callback, or an empty group is an error of its own.
Here an empty split is a complete scope: it merges the empty list, and so does one whose children were all dropped.
"""

from __future__ import annotations

from dagflow import DROP, Merger, Splitter, TaskManager

DRAWERS = {"socks": ["red", "blue"], "empty": [], "junk": ["broken", "broken"]}


def contents(drawer: str) -> list[str]:
    return DRAWERS[drawer]


def keep(thing: str) -> object:
    return DROP if thing == "broken" else thing


graph = Splitter(contents) >> TaskManager(keep) >> Merger(sorted, name="kept")

for outcome in graph.run(list(DRAWERS)).outcomes:
    print(outcome.task, outcome.status, outcome.values)
