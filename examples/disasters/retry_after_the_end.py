"""The story: the source has ended, its end mark has travelled down the pipe, and then a task is tried again.

Elsewhere the stages behind it have shut down by then: the retried task is lost, or its stage waits for ever to hand
it on. Here no end mark travels. A node ends when its upstreams have ended and nothing for it is queued, running or
waiting for a retry, so the last task may be tried again as often as it is allowed to.
"""

from __future__ import annotations

from collections import Counter

from dagflow import Merger, TaskManager

calls: Counter[int] = Counter()


def fetch(page: int) -> int:
    calls[page] += 1
    if page == 4 and calls[page] <= 3:
        raise ConnectionError("try again later")
    return page * 10


def double(value: int) -> int:
    return value * 2


fetching = TaskManager(fetch, max_retries=3, retry_delay=0.05)
graph = fetching >> TaskManager(double) >> Merger(sum, of="run", name="total")

result = graph.run(range(5), backend="thread")
print("total:", *result.values)
print("tries of page 4:", calls[4])
print("retried:", result.counts["fetch"].retried, "succeeded:", result.counts["double"].succeeded)
