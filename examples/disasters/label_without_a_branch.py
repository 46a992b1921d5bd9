"""The story: a router sends a task to a branch that nobody has built, and the task is never seen again.

Elsewhere it waits in a queue that nobody reads, and a join behind it waits with it. Here labels that can be known
are checked when the graph is built; one that only shows at run time fails its task, naming the label and the known
ones, and the join goes on without it if it was told to.
"""

from __future__ import annotations

from typing import Literal

from dagflow import GraphError, Merger, Router, Splitter


def by_colour(light: str) -> Literal["red", "amber", "green"]:
    return light  # type: ignore[return-value]


def by_name(light: str) -> str:
    return light


def stop(light: str) -> str:
    return f"{light}: stop"


def go(light: str) -> str:
    return f"{light}: go"


try:
    Router(by_colour) >> {"red": stop, "green": go}
except GraphError as error:
    print("refused:", error)

lights = Splitter(str.split, name="lights")
graph = lights >> Router(by_name) >> {"red": stop, "green": go} >> Merger(list, on_missing="skip", name="crossing")
strict = lights >> Router(by_name) >> {"red": stop, "green": go} >> Merger(list, name="crossing")

print("skipped:", graph.run(["red blue green"]).values)
failed = strict.run(["red blue green"]).outcomes[0]
print("failed:", failed.error.causes[0])  # type: ignore[union-attr]
