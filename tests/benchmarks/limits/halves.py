"""W5 and W6 by hand: each of two forked processes takes every other task; no dispatch at all."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from typing import Any

from benchmarks.contender import Contender
from benchmarks.limits.wires import dump, forked, received, write_all


class Halves(Contender):
    name = "halves by hand"
    kind = "limit"

    def spread(self, function: Any, source: Sequence[Any], workers: int) -> Sequence[Any]:
        pipes = [os.pipe() for _ in range(workers)]
        pids = []
        for at, (_, write) in enumerate(pipes):
            part = source[at::workers]
            close = [fd for pipe in pipes for fd in pipe if fd != write]
            pids.append(forked(lambda p=part, w=write: write_all(w, dump([function(x) for x in p])), close))
        found: list[Any] = []
        for read, write in pipes:
            os.close(write)
        for pid, (read, _) in zip(pids, pipes, strict=True):
            for frame in received(read):
                found += pickle.loads(memoryview(frame)[8:])
            os.close(read)
            os.waitpid(pid, 0)
        return found


CONTENDERS = (Halves,)
