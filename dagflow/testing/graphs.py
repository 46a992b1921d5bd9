"""Random graphs of every node kind, nested, with functions that fail and drop: for simulators and properties.

``choose(n)`` gives a number below n; a seeded generator or a hypothesis strategy stands behind it, so the same
code makes long reproducible runs and short shrinkable examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagflow.graph.algebra import Graph, par
from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.node import Node
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager
from dagflow.work.outcome import Failure

Choose = Callable[[int], int]


class Broken(Exception):
    """What the functions here raise: an ordinary failure."""


def number(value: Any) -> int:
    """An integer that depends on all of a value."""
    if isinstance(value, int):
        return value % 1009
    if isinstance(value, Failure):
        return (number(value.task) * 3 + 1) % 1009
    if isinstance(value, (list, tuple)):
        total = len(value) + 7
        for part in value:
            total = (total * 31 + number(part)) % 1009
        return total
    return 5


class Step:
    """A deterministic function of one task: ``number * 3 + salt``, failing or dropping for some tasks."""

    def __init__(self, salt: int, fails: int, drops: int) -> None:
        self.salt, self.fails, self.drops = salt, fails, drops
        self.__name__ = f"step{salt}"

    def apply(self, value: Any) -> Any:
        """The result for a value."""
        n = number(value)
        if self.fails and (n + self.salt) % self.fails == 0:
            raise Broken(f"step {self.salt} cannot do {n}")
        if self.drops and (n + self.salt) % self.drops == 1:
            return DROP
        return (n * 3 + self.salt) % 1009

    def __call__(self, value: Any) -> Any:
        return self.apply(value)


class AsyncStep(Step):
    """A `Step` as a coroutine."""

    async def __call__(self, value: Any) -> Any:
        return self.apply(value)


class Lists(Step):
    """A `Step` over lists of tasks. It never fails: which tasks come together in a list is nobody's promise."""

    def __call__(self, tasks: list[Any]) -> list[Any]:
        return [self.apply(task) for task in tasks]


class Split(Step):
    """Children of a task: up to three, none for some tasks; some generators fail after their first child."""

    def __call__(self, value: Any) -> Any:
        n = number(value)
        if self.fails and n % self.fails == 0:
            return self.breaking(n)
        return [(n * 5 + child * 11 + self.salt) % 1009 for child in range((n + self.salt) % 4)]

    def breaking(self, n: int) -> Any:
        """One child, then an error."""
        yield (n + self.salt) % 1009
        raise Broken(f"split {self.salt} broke at {n}")


class Route(Step):
    """A label of ``labels``, or several; an unknown one for some tasks."""

    def __init__(self, salt: int, labels: int, several: bool, unknown: int) -> None:
        super().__init__(salt, 0, 0)
        self.labels, self.several, self.unknown = labels, several, unknown
        self.__name__ = f"route{salt}"

    def __call__(self, value: Any) -> Any:
        n = number(value) + self.salt
        if self.unknown and n % self.unknown == 0:
            return "nowhere"
        first = f"to{n % self.labels}"
        if self.several and n % 3 == 0:
            return [first, f"to{(n + 1) % self.labels}"]
        return [] if self.several and n % 7 == 0 else first


class Merge:
    """The merged value of a list of members; fails for some."""

    def __init__(self, salt: int, fails: int) -> None:
        self.salt, self.fails = salt, fails
        self.__name__ = f"merge{salt}"

    def __call__(self, members: Any) -> Any:
        n = number(members) + self.salt
        if self.fails and n % self.fails == 0:
            raise Broken(f"merge {self.salt} cannot do {n}")
        return n % 1009


class Add:
    """A fold that does not depend on the order of members."""

    def __call__(self, total: int, member: Any) -> int:
        return total + number(member)


class GraphMaker:
    """Makes a random graph; ``modes`` are the execution modes its nodes may have."""

    def __init__(self, choose: Choose, *, modes: tuple[str, ...] = ("serial",), most_nodes: int = 12) -> None:
        self.choose = choose
        self.modes = modes
        self.left = most_nodes
        self.salt = 0

    def graph(self) -> Graph:
        """The graph."""
        made = Graph(self.step()) >> self.chain(2) if self.choose(4) else self.chain(2)
        end = self.choose(10)
        if end == 0:
            for _ in range(1 + self.choose(2)):
                made = made >> Merger(self.merge(), of="run", on_missing=self.missing())
        elif end == 1:
            made = made >> self.merger(of="task")
            made = made >> self.step() if self.choose(2) else made
        return made

    def chain(self, depth: int) -> Graph:
        """Some parts, one after the other."""
        made = self.part(depth)
        for _ in range(self.choose(3)):
            if self.left <= 0:
                break
            made = made >> self.part(depth)
        return made

    def part(self, depth: int) -> Graph:
        """One random part."""
        self.left -= 1
        kinds = [self.plain, self.with_failures]
        if depth > 0 and self.left > 0:
            kinds += [
                self.split_merge, self.split_merge, self.broadcast_merge, self.routed, self.routed_merge,
                self.side_branch, self.open_split, self.broadcast, self.two_levels, self.task_merge,
                self.uneven, self.router_merge, self.rescued_merge, self.rescued_split,
            ]  # fmt: skip
        return kinds[self.choose(len(kinds))](depth - 1)

    # -- nodes ----------------------------------------------------------------------------------------

    def next_salt(self) -> int:
        """A number that tells the functions of a graph apart."""
        self.salt += 1
        return self.salt

    def mode(self) -> Any:
        """One of the execution modes."""
        return self.modes[self.choose(len(self.modes))]

    def fails(self) -> int:
        """How often a function fails: mostly never."""
        return (0, 0, 3, 5)[self.choose(4)]

    def missing(self) -> Any:
        """What a Merger does about failed members."""
        return ("fail", "skip")[self.choose(2)]

    def step(self) -> TaskManager[Any, Any]:
        """A plain node in one of the modes."""
        mode = self.mode()
        if self.choose(6) == 0:
            lists = Lists(self.next_salt(), 0, 0)
            return TaskManager(lists, mode, 2, 0, batch_size=1 + self.choose(3))
        kind = AsyncStep if mode == "async" else Step
        return TaskManager(kind(self.next_salt(), self.fails(), (0, 0, 0, 4)[self.choose(4)]), mode, 2, 0)

    def splitter(self) -> Splitter[Any, Any]:
        """A Splitter."""
        return Splitter(Split(self.next_salt(), (0, 0, 4)[self.choose(3)], 0), self.mode(), 2, 0)

    def merge(self) -> Merge:
        """A Merger's function."""
        return Merge(self.next_salt(), (0, 0, 0, 5)[self.choose(4)])

    def merger(self, of: Any = None) -> Merger:
        """A Merger, or a fold."""
        if self.choose(4) == 0:
            fold = (Add(), 0)
            name = f"fold{self.next_salt()}"
            return Merger(None, of, self.missing(), fold=fold, execution_mode=self.mode(), worker_limit=2, name=name)
        return Merger(self.merge(), of, self.missing(), execution_mode=self.mode(), worker_limit=2)

    # -- parts ----------------------------------------------------------------------------------------

    def plain(self, depth: int) -> Graph:
        """One node."""
        del depth
        return Graph(self.step())

    def with_failures(self, depth: int) -> Graph:
        """A node whose failures go elsewhere."""
        del depth
        node = self.step()
        handled = node.failures >> self.step()
        return (Graph(node) >> self.step()) | handled

    def split_merge(self, depth: int) -> Graph:
        """Children, worked on, merged."""
        return self.splitter() >> self.chain(depth) >> self.merger()

    def open_split(self, depth: int) -> Graph:
        """Children that nobody merges."""
        return self.splitter() >> self.chain(depth)

    def broadcast(self, depth: int) -> Graph:
        """Several branches that nobody merges."""
        return self.step() >> par(self.chain(depth), self.step())

    def broadcast_merge(self, depth: int) -> Graph:
        """Several branches, merged."""
        opener = self.step()
        return opener >> par(self.chain(depth), self.step()) >> self.merger(of=opener)

    def side_branch(self, depth: int) -> Graph:
        """A branch that leaves a scope for good."""
        splitter = self.splitter()
        inside = self.chain(depth)
        main = splitter >> inside >> self.merger(of=splitter)
        return main | (splitter >> self.step())

    def uneven(self, depth: int) -> Graph:
        """Branches of different depths, one of them split, into one Merger."""
        opener = self.step()
        left = self.splitter() >> self.chain(depth)
        return opener >> par(left, self.step()) >> self.merger(of=opener)

    def two_levels(self, depth: int) -> Graph:
        """A split inside a split; one Merger closes both, or each its own."""
        outer, inner = self.splitter(), self.splitter()
        inside = outer >> self.step() >> inner >> self.chain(depth)
        if self.choose(2):
            return inside >> self.merger(of=outer)
        return inside >> self.merger(of=inner) >> self.merger(of=outer)

    def router(self, labels: int, *, several: bool = True) -> Router:
        """A Router."""
        default = ("to0", DROP, None)[self.choose(3)]
        unknown = (0, 0, 6)[self.choose(3)]
        route = Route(self.next_salt(), labels, several and self.choose(3) == 0, unknown)
        return Router(route, default, self.mode(), 2, 0)

    def branches(self, depth: int, labels: int) -> dict[str, Any]:
        """A branch a label; the last one may be DROP."""
        made: dict[str, Any] = {f"to{i}": self.chain(depth) for i in range(labels)}
        if self.choose(3) == 0:
            made[f"to{labels - 1}"] = DROP
        return made

    def routed(self, depth: int) -> Graph:
        """A Router whose branches all go on."""
        labels = 2 + self.choose(2)
        return self.router(labels) >> self.branches(depth, labels)

    def routed_merge(self, depth: int) -> Graph:
        """A Router inside a scope: each branch leads to the Merger, or has its own."""
        splitter, router = self.splitter(), self.router(2)
        if self.choose(2):
            return splitter >> router >> self.branches(depth, 2) >> self.merger(of=splitter)
        mine, other = self.merger(of=splitter), self.merger(of=splitter)
        return splitter >> router >> {"to0": self.step() >> mine, "to1": self.step() >> other}

    def router_merge(self, depth: int) -> Graph:
        """What a Router sent on several branches, merged."""
        router = self.router(2)
        return router >> {"to0": self.chain(depth), "to1": self.step()} >> self.merger(of=router)

    def rescued_merge(self, depth: int) -> Graph:
        """Children, merged; merges that fail go elsewhere."""
        merger = Merger(self.merge(), None, self.missing())
        return (self.splitter() >> self.chain(depth) >> merger >> self.step()) | (merger.failures >> self.step())

    def rescued_split(self, depth: int) -> Graph:
        """Splits that fail go to a Merger of the scope around, where what is merged of their children does not go."""
        outer, inner = self.splitter(), self.splitter()
        main = outer >> inner >> self.chain(depth) >> self.merger(of=inner)
        return main | (inner.failures >> self.step() >> self.merger(of=outer))

    def task_merge(self, depth: int) -> Graph:
        """All that came from the task before, merged, whatever its path (a nested scope stands for the source)."""
        splitter: Node = self.splitter()
        return splitter >> par(self.chain(depth), self.step()) >> self.merger(of=splitter)


def random_graph(choose: Choose, *, modes: tuple[str, ...] = ("serial",), most_nodes: int = 12) -> Graph:
    """A random graph that passes its check."""
    return GraphMaker(choose, modes=modes, most_nodes=most_nodes).graph()
