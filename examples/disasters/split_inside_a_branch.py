"""The story: one branch of a broadcast fans out, the other does not, and one join waits for both.

Elsewhere the join has to be told how many results to expect, and no number is right: the first child completes it,
or the last one never does. Here it closes the scope of the node that sent the task both ways: all that came from
it, whatever it became on the way. The children come in their order, branch by branch.
"""

from __future__ import annotations

from dagflow import Merger, Splitter, TaskManager


def read(text: str) -> str:
    return text


def title(text: str) -> str:
    return text.split()[0].upper()


def words(text: str) -> list[str]:
    return text.split()[1:]


def backwards(word: str) -> str:
    return word[::-1]


opener = TaskManager(read)
graph = (
    opener >> [TaskManager(title), Splitter(words) >> TaskManager(backwards)] >> Merger(list, of=opener, name="page")
)

for outcome in graph.run(["one two three", "alone", "four five"]).outcomes:
    print(outcome.task, "->", *outcome.values)
