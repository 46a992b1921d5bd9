"""The first run of a process: its worker processes are on their way while the driver loads what it needs itself.

A zygote takes some 20 ms from nothing to its first fork, the modules of a run as long to be loaded: side by side on
two processors they take half of that. Later runs find the modules loaded, and start their zygote when they begin.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def wiring(backend: str) -> Iterator[Any]:
    """`dagflow.api`, for a run on ``backend``. What was started for the run and not taken by it ends with the block."""
    if "dagflow.api" in sys.modules:
        yield import_module("dagflow.api")
        return
    helper = None
    try:
        with _without_collector():
            if backend == "process":
                from dagflow.backends.local.helper import Helper

                helper = Helper.ahead()
            api = import_module("dagflow.api")
        yield api
    finally:
        if helper is not None:
            helper.give_up()


@contextmanager
def keep_warm() -> Iterator[None]:
    """Keep the process that forks workers from run to run, within a ``with`` block: each starts in some 8 ms, not 30.

    For many short runs one after the other, as a service or a test suite has them::

        from dagflow import Graph, TaskManager, keep_warm

        graph = Graph(TaskManager(abs))
        with keep_warm():
            for numbers in ([-1, 2], [-3]):
                print(graph.run(numbers).values)

    Without it nothing is left after a run; with it, one small process, which ends with the block (of several blocks
    in one another, or in several threads, with the last) or with this process, however that ends. Each run still has
    workers of its own, which load the user's modules anew; they get this process's environment variables, working
    directory and ``sys.path`` as they are when the run begins.
    """
    from dagflow.backends.local.helper import kept

    with kept():
        yield


@contextmanager
def _without_collector() -> Iterator[None]:
    # Beside what networkx has brought, the garbage collector looks through everything again and again, and finds
    # nothing: half of the time that loading takes.
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
