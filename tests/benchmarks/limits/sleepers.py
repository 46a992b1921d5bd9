"""W7 by hand: coroutines, and threads, that pull from one iterator."""

from __future__ import annotations

import asyncio
import threading

from benchmarks import tasks
from benchmarks.contender import Contender


class Sleepers(Contender):
    name = "sleepers by hand"
    kind = "limit"

    def sleep_async(self, count: int, seconds: float, width: int) -> int:
        async def main() -> int:
            source = iter([seconds] * count)
            done: list[float] = []

            async def pull() -> None:
                for value in source:
                    done.append(await tasks.rest_async(value))

            await asyncio.gather(*(pull() for _ in range(width)))
            return len(done)

        return asyncio.run(main())

    def sleep_threads(self, count: int, seconds: float, width: int) -> int:
        source = iter([seconds] * count)
        done: list[float] = []

        def pull() -> None:
            for value in source:
                done.append(tasks.rest(value))

        threads = [threading.Thread(target=pull) for _ in range(width)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(done)


CONTENDERS = (Sleepers,)
