"""dagflow, driven as its README says: a graph, ``run`` for all results, ``stream`` for results as they come."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import tasks
from benchmarks.contender import Contender, Functions


def _chain(functions: Functions, mode: str = "serial") -> Any:
    import dagflow as df

    graph: Any = df.Graph(df.TaskManager(functions[0], mode))
    for function in functions[1:]:
        graph = graph >> df.TaskManager(function, mode)
    return graph


class Dagflow(Contender):
    name = "dagflow"
    kind = "dagflow"
    package = "dagflow"

    def prepare(self) -> None:
        import dagflow as df

        self.warm = ExitStack()
        # Building a first graph loads networkx: part of importing the user's own module, not of a run.
        _ = df.TaskManager(tasks.add) >> df.TaskManager(tasks.double)
        _.check()

    def close(self) -> None:
        self.warm.close()

    def warm_up(self) -> None:
        import dagflow as df

        self.warm.enter_context(df.keep_warm())

    def stream(self, functions: Functions, source: Iterable[Any]) -> Iterator[Any]:
        for out in _chain(functions).stream(source):
            if out.error is not None:
                raise out.error
            yield out.value

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        return _chain(functions).run(source).values

    def spread(self, function: Callable[[Any], Any], source: Sequence[Any], workers: int) -> Sequence[Any]:
        import dagflow as df

        return df.Graph(df.TaskManager(function, "process", worker_limit=workers)).run(source).values

    def gather(self, source: Sequence[int]) -> Sequence[int]:
        import dagflow as df

        graph = df.Splitter(tasks.split) >> df.TaskManager(tasks.square) >> df.Merger(sum)
        return graph.run(source).values

    def many(self, chains: int, functions: Functions, source: Sequence[int]) -> Sequence[Sequence[int]]:
        import dagflow as df

        names = [f"end{i}" for i in range(chains)]
        graph: Any = None
        for name in names:
            chain = _chain(functions[:-1]) >> df.TaskManager(functions[-1], name=name)
            graph = chain if graph is None else graph | chain
        found: dict[str, list[int]] = {name: [] for name in names}
        for out in graph.stream(source):
            if out.error is not None:
                raise out.error
            found[out.node].append(out.value)
        return list(found.values())

    def sleep_async(self, count: int, seconds: float, width: int) -> int:
        import dagflow as df

        graph = df.Graph(df.TaskManager(tasks.rest_async, "async", worker_limit=width))
        return len(graph.run([seconds] * count, "thread").values)

    def sleep_threads(self, count: int, seconds: float, width: int) -> int:
        import dagflow as df

        graph = df.Graph(df.TaskManager(tasks.rest, "thread", worker_limit=width))
        return len(graph.run([seconds] * count, "thread").values)

    def commands(self) -> dict[str, list[str]]:
        return {"import": ["-c", "import dagflow"], "help": ["-m", "dagflow", "--help"]}


class _Extra(Contender):
    """W1 with one thing switched on, where this dagflow has it."""

    kind = "dagflow"
    package = "dagflow"
    only = ("extras",)
    option = ""

    def prepare(self) -> None:
        Dagflow().prepare()
        self.folder = tempfile.TemporaryDirectory()

    def close(self) -> None:
        self.folder.cleanup()

    def value(self) -> Any:
        return True

    def extra(self) -> None:
        """Marks what can take part in the row of extras."""

    def collect(self, functions: Functions, source: Iterable[Any]) -> Sequence[Any]:
        graph = _chain(functions)
        options = {self.option: self.value()} if self.option else {}
        return graph.run(source, **options).values

    @classmethod
    def version(cls) -> str:
        import dagflow as df

        if cls.option and cls.option not in inspect.signature(df.Graph.run).parameters:
            raise ImportError(f"this version of dagflow has no {cls.option}=")
        return super().version()


class Plain(_Extra):
    name = "dagflow, nothing on"


class Progress(_Extra):
    name = "dagflow, progress"
    option = "show_progress"


class Logged(_Extra):
    name = "dagflow, log file"
    option = "logger"

    def value(self) -> Any:
        import dagflow as df

        return df.TaskLogger(folder=self.folder.name)


class Traced(_Extra):
    name = "dagflow, trace"
    option = "trace"


class TracedSome(_Extra):
    name = "dagflow, trace of 1 %"
    option = "trace"

    def value(self) -> Any:
        return 0.01


class Journalled(_Extra):
    name = "dagflow, journal"
    option = "journal"

    def value(self) -> Any:
        return os.path.join(self.folder.name, "journal.db")


class Unkept(Contender):
    """The chain of W1 with envelopes of a size that is set from outside, without a journal."""

    name = "dagflow, no journal"
    kind = "dagflow"
    package = "dagflow"

    def prepare(self) -> None:
        Dagflow().prepare()
        self.folder = tempfile.TemporaryDirectory()

    def close(self) -> None:
        self.folder.cleanup()

    def journal(self) -> str | None:
        """Where the journal is."""
        return None

    def keep(self, functions: Functions, source: Iterable[Any], envelope: int) -> tuple[Sequence[Any], int]:
        from dagflow.core import inbox

        inbox.ENVELOPE_TASKS = envelope  # type: ignore[misc]  # the scheduler aims at as many; it gets no more
        where = self.journal()
        values = _chain(functions).run(source, journal=where).values
        return values, os.path.getsize(where) if where is not None else 0


class Kept(Unkept):
    name = "dagflow, with journal"

    def journal(self) -> str | None:
        return os.path.join(self.folder.name, "journal.db")


CONTENDERS = (Dagflow, Plain, Progress, Logged, Traced, TracedSome, Journalled, Unkept, Kept)
