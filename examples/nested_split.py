"""Orders hold parcels, parcels hold items: a split inside a split, merged parcel by parcel and order by order.

Joins over nested fan-outs are where counters kept by hand go wrong. Here each Merger closes the scope that its
Splitter opened, as soon as that scope is complete; an order without parcels merges an empty list.
"""

from __future__ import annotations

from dagflow import Merger, Splitter, TaskManager

ORDERS = {"anna": {"small": [3, 4], "large": [10, 20, 30]}, "bert": {}, "cleo": {"small": []}}


def parcels(customer: str) -> list[list[int]]:
    return list(ORDERS[customer].values())


def items(parcel: list[int]) -> list[int]:
    return parcel


def weigh(item: int) -> int:
    return item * 100


orders = Splitter(parcels, name="parcels")
graph = (
    orders
    >> Splitter(items, name="items")
    >> TaskManager(weigh, "process", 2)
    >> Merger(sum, name="parcel weight")
    >> Merger(list, of=orders, name="order")
)
for customer, weights in graph.run(list(ORDERS)).get_final_result_dict().items():
    print(customer, weights)
