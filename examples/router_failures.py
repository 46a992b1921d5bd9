"""A flaky service, bad input, and things nobody wants: retries, a branch for failures, a branch that drops.

Without dagflow each of these is a try, a loop with a sleep, and a list that somebody has to remember to look at.
"""

from __future__ import annotations

from collections import Counter

from dagflow import DROP, Failure, Router, TaskManager

calls: Counter[int] = Counter()


def kind(order: int) -> str:
    return "spam" if order % 5 == 0 else "order"


def charge(order: int) -> str:
    calls[order] += 1
    if order == 3:
        raise ValueError("card refused")
    if order % 2 and calls[order] < 3:
        raise ConnectionError("service busy")  # retried: it is in retry_exceptions
    return f"order {order} charged at attempt {calls[order]}"


def tell(failure: Failure) -> str:
    return f"order {failure.task} failed: {failure.error} (attempts: {failure.attempts})"


pay = TaskManager(charge, "thread", 4, retry_delay=0.01)
graph = (Router(kind) >> {"order": pay, "spam": DROP}) | (pay.failures >> TaskManager(tell))
result = graph.run(range(8), backend="thread")
for outcome in result.outcomes:
    print(outcome.task, outcome.status, *outcome.values)
