"""The story: two branches of different length lead into one node, and the short one has finished long before.

Elsewhere the node takes the end of the first branch for the end of everything, or closes a pair with two values of
the fast branch. Here a node with several upstreams gets the outputs of each once, as they come, and a Merger pairs
what belongs together however far apart it arrives: each task's views in the order in which they were written.
"""

from __future__ import annotations

from dagflow import Merger, TaskManager


def start(number: int) -> int:
    return number


def quick(number: int) -> str:
    return f"quick {number}"


def first(number: int) -> int:
    return number * 10


def second(number: int) -> int:
    return number + 1


def third(number: int) -> str:
    return f"slow {number}"


def both(left: str, right: str) -> str:
    return f"{left} & {right}"


opener = TaskManager(start)
long_way = TaskManager(first) >> TaskManager(second, "thread", 4) >> TaskManager(third, "process")
graph = opener >> [TaskManager(quick), long_way] >> Merger(both, name="both")

result = graph.run(range(1000))
print(result[7])
print(result.values == [f"quick {n} & slow {n * 10 + 1}" for n in range(1000)])
