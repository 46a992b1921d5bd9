"""dagflow: a dataflow engine for plain Python functions.

Join functions with ``>>`` into a graph, run it over thousands or millions of tasks on this machine's
processes, threads and event loops::

    import dagflow as df

    graph = df.TaskManager(fetch, execution_mode="thread") >> df.Splitter(parse) >> clean
    result = graph.run(urls)
    print(result.values, result.summary())

Theory of operation
-------------------

A run is a ring of which only one part thinks::

            ┌──────────────────────────── mailbox ◄──────────────────────────┐
            ▼                                                                │
      collect ──► decide ──► record ──► act ──────────► workers ─────────────┘
      (events)    (core,     (journal,  (commands:
                   pure)      if any)    deliver, start, stop, pull)
                     └──► tell (facts: results, progress, log; one way, nothing comes back)

* `dagflow.graph` (floor 1): values. A graph is immutable; `compile` turns it into a plan of numbers.
* `dagflow.core` (floor 2): decides, per batch, without processes, clock, threads or randomness.
* `dagflow.work` (floor 2b): the loop that runs a node's function inside a worker, and how values are sealed.
* `dagflow.protocols` (floor 3): the doors between the ring and the world.
* `dagflow.backends`, `dagflow.journal`, `dagflow.observe` (floor 4): who works, what is kept, who listens.
* `dagflow.run` (floor 5): the ring. `dagflow.api` is the only place that knows every name.

Every source task ends in exactly one of done, failed, dropped, cancelled. A function may run more than once
for a task (after a crash, a time-out or a retry); what comes of it is counted once.

Public names are imported when first used, so that ``import dagflow`` is quick and a worker process loads only
what it needs.
"""

from __future__ import annotations

__version__ = "0.1.0"

_HOME = {
    "Graph": "dagflow.graph.algebra",
    "par": "dagflow.graph.algebra",
    "TaskManager": "dagflow.graph.task_manager",
    "Splitter": "dagflow.graph.splitter",
    "Router": "dagflow.graph.router",
    "Merger": "dagflow.graph.merger",
    "DROP": "dagflow.graph.marks",
    "Failure": "dagflow.work.outcome",
    "TaskTree": "dagflow.tree",
    "TaskLogger": "dagflow.observe.log",
    "RunResult": "dagflow.result",
    "Outcome": "dagflow.result",
    "Trace": "dagflow.observe.trace",
    "Hop": "dagflow.observe.trace",
    "Run": "dagflow.api",
    "open_journal": "dagflow.reading",
    "keep_warm": "dagflow.starting",
    "DagflowError": "dagflow.errors",
    "GraphError": "dagflow.errors",
    "GraphWarning": "dagflow.errors",
    "RunError": "dagflow.errors",
    "RunFailed": "dagflow.errors",
    "RunCancelled": "dagflow.errors",
    "TaskError": "dagflow.errors",
    "UnroutedError": "dagflow.errors",
    "MissingMembers": "dagflow.errors",
    "WorkerDied": "dagflow.errors",
    "TaskTimeout": "dagflow.errors",
    "PayloadError": "dagflow.errors",
    "JournalError": "dagflow.errors",
    "JournalMismatch": "dagflow.errors",
    "BackendError": "dagflow.errors",
    "InvariantBroken": "dagflow.errors",
}
__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dagflow' has no attribute {name!r}")
    from importlib import import_module  # not for worker processes, which need none of these

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dagflow.api import Run as Run
    from dagflow.errors import (
        BackendError as BackendError,
    )
    from dagflow.errors import (
        DagflowError as DagflowError,
    )
    from dagflow.errors import (
        GraphError as GraphError,
    )
    from dagflow.errors import (
        GraphWarning as GraphWarning,
    )
    from dagflow.errors import (
        InvariantBroken as InvariantBroken,
    )
    from dagflow.errors import (
        JournalError as JournalError,
    )
    from dagflow.errors import (
        JournalMismatch as JournalMismatch,
    )
    from dagflow.errors import (
        MissingMembers as MissingMembers,
    )
    from dagflow.errors import (
        PayloadError as PayloadError,
    )
    from dagflow.errors import (
        RunCancelled as RunCancelled,
    )
    from dagflow.errors import (
        RunError as RunError,
    )
    from dagflow.errors import (
        RunFailed as RunFailed,
    )
    from dagflow.errors import (
        TaskError as TaskError,
    )
    from dagflow.errors import (
        TaskTimeout as TaskTimeout,
    )
    from dagflow.errors import (
        UnroutedError as UnroutedError,
    )
    from dagflow.errors import (
        WorkerDied as WorkerDied,
    )
    from dagflow.graph.algebra import Graph as Graph
    from dagflow.graph.algebra import par as par
    from dagflow.graph.marks import DROP as DROP
    from dagflow.graph.merger import Merger as Merger
    from dagflow.graph.router import Router as Router
    from dagflow.graph.splitter import Splitter as Splitter
    from dagflow.graph.task_manager import TaskManager as TaskManager
    from dagflow.observe.log import TaskLogger as TaskLogger
    from dagflow.observe.trace import Hop as Hop
    from dagflow.observe.trace import Trace as Trace
    from dagflow.reading import open_journal as open_journal
    from dagflow.result import Outcome as Outcome
    from dagflow.result import RunResult as RunResult
    from dagflow.starting import keep_warm as keep_warm
    from dagflow.tree import TaskTree as TaskTree
    from dagflow.work.outcome import Failure as Failure
