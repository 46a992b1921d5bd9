"""The story: a group of jobs inside a group of jobs, a callback at the end of each, and one job that raises.

Elsewhere the inner callback never runs, so the outer one waits for it for ever; or it runs without the missing
result and nobody notices. Here the failure is a member that will never arrive: the inner merge fails at once with
its cause inside, the outer one too, and the orders beside it end as if nothing had happened.
"""

from __future__ import annotations

from dagflow import Merger, MissingMembers, Splitter, TaskManager

ORDERS = {"anna": [[1, 2], [3]], "bert": [[4, 0], [5]], "cleo": [[6]]}


def parcels(customer: str) -> list[list[int]]:
    return ORDERS[customer]


def items(parcel: list[int]) -> list[int]:
    return parcel


def price(item: int) -> int:
    return 100 // item


orders = Splitter(parcels, name="parcels")
inside = orders >> Splitter(items, name="items") >> TaskManager(price) >> Merger(sum, name="parcel")
graph = inside >> Merger(sum, of=orders, name="order")

result = graph.run(list(ORDERS))
for outcome in result.outcomes:
    print(outcome.task, outcome.status, *outcome.values)
error = result.outcomes[1].error
while isinstance(error, MissingMembers):
    print(f"{type(error).__name__}, because:")
    error = error.causes[0]
print(f"{type(error).__name__}: {error}")
