"""Random graphs with windows and duplicates, and what must come of them, in whatever order tasks meet.

Which members share a window is nobody's promise. So every value here is a list of numbers, and every node does the
same to a number whatever list it is in: the numbers that come out follow from the tasks alone.
"""

from __future__ import annotations

import random

from dagflow.graph.algebra import Graph, par
from dagflow.graph.merger import Merger
from dagflow.graph.router import Router
from dagflow.graph.splitter import Splitter
from dagflow.graph.task_manager import TaskManager
from dagflow.testing.graphs import Broken

MODES = ("serial", "thread", "process", "async")


class Each:
    """Something done to each number of a list: ``numbers(n)`` says what becomes of one."""

    def __init__(self, salt):
        self.salt = salt
        self.__name__ = f"{type(self).__name__.lower()}{salt}"

    def numbers(self, n):
        return [(n * 3 + self.salt) % 1009]

    def __call__(self, values):
        return [m for n in values for m in self.numbers(n)]


class AsyncEach(Each):
    async def __call__(self, values):
        return super().__call__(values)


class Lists(Each):
    def __call__(self, tasks):
        return [super(Lists, self).__call__(values) for values in tasks]


class Picky(Each):
    """Fails for some lists; which ones, depends on who shares a window."""

    def __call__(self, values):
        if (sum(values) + len(values)) % 3 == 0:
            raise Broken(f"{values}")
        return super().__call__(values)


class Instead(Each):
    """Does for a failed list what its node should have done."""

    def __call__(self, failure):
        return super().__call__(failure.task)


class Split(Each):
    """Up to three children, each with all numbers or with some."""

    def __init__(self, salt, width, sieve):
        super().__init__(salt)
        self.width, self.sieve = width, sieve

    def child(self, n, number):
        return [] if self.sieve and (n + number) % self.sieve == 0 else [(n * 5 + number * 11 + self.salt) % 1009]

    def numbers(self, n):
        return [m for number in range(self.width) for m in self.child(n, number)]

    def __call__(self, values):
        for number in range(self.width):
            yield [m for n in values for m in self.child(n, number)]


class Join(Each):
    """All numbers of all members."""

    def __call__(self, members):
        return super().__call__([n for member in members for n in member])


def extend(found, member):
    return found + member


class Halves(Each):
    """One branch or the other; which one, depends on who shares a window."""

    def __call__(self, values):
        return f"to{(len(values) + self.salt) % 2}"


class Both(Each):
    def __call__(self, values):
        return ["to0", "to1"]


def few(n):
    return n % 37


def listed(n):
    return [n]


def after(first, *others):
    """What ``first`` and then all of ``others``, beside each other, make of a number."""
    return lambda n: [m for k in first.numbers(n) for other in others for m in other.numbers(k)]


class Part:
    """A piece of a graph, and what it makes of a number."""

    def __init__(self, graph, numbers):
        self.graph, self.numbers = Graph(graph), numbers

    def __rshift__(self, other):
        return Part(self.graph >> other.graph, after(self, other))


class NumbersMaker:
    def __init__(self, choose, most_nodes):
        self.choose, self.left, self.salt = choose, most_nodes, 0

    def next_salt(self):
        self.salt += 1
        return self.salt

    def mode(self, *without):
        return self.choose([m for m in MODES if m not in without])

    def step(self):
        mode = self.mode()
        if self.choose(range(6)) == 0:
            lists = Lists(self.next_salt())
            return Part(TaskManager(lists, mode, 2, 0, batch_size=self.choose((1, 2, 3))), lists.numbers)
        each = (AsyncEach if mode == "async" else Each)(self.next_salt())
        return Part(TaskManager(each, mode, 2, 0), each.numbers)

    def splitter(self):
        split = Split(self.next_salt(), self.choose(range(4)), self.choose((0, 0, 3)))
        return Splitter(split, self.mode(), 2, 0), split.numbers

    def merger(self, **options):
        options |= {"execution_mode": self.mode("async"), "worker_limit": 2}
        if self.choose(range(3)) == 0:
            each = Each(self.next_salt())
            return Part(Merger(each, fold=(extend, []), name=f"fold{self.next_salt()}", **options), each.numbers)
        join = Join(self.next_salt())
        return Part(Merger(join, **options), join.numbers)

    def window(self, depth=0):
        size, within = {"size": self.choose(range(1, 5))}, {"within": 0.5 + self.choose(range(6))}
        return self.merger(**self.choose((size, within, size | within)))

    # -- parts

    def chain(self, depth):
        made = self.part(depth)
        for _ in range(self.choose(range(3))):
            if self.left > 0:
                made = made >> self.part(depth)
        return made

    def part(self, depth):
        self.left -= 1
        kinds = [lambda _: self.step(), self.window]
        if depth > 0 and self.left > 0:
            kinds += [self.window, self.split_merge, self.open_split, self.broadcast, self.broadcast_merge,
                      self.beside_a_scope, self.halves, self.both, self.rescued]  # fmt: skip
        return self.choose(kinds)(depth - 1)

    def scoped(self, depth):
        """Without windows, which take their members out of every scope."""
        made = self.step()
        if self.choose((True, False)):
            made = made >> self.step()
        return made >> self.split_merge(depth - 1) if depth > 0 and self.choose((True, False)) else made

    def split_merge(self, depth):
        splitter, numbers = self.splitter()
        return Part(splitter, numbers) >> self.scoped(depth) >> self.merger(of=splitter)

    def open_split(self, depth):
        return Part(*self.splitter()) >> self.chain(depth)

    def broadcast(self, depth):
        first, left, right = self.step(), self.chain(depth), self.step()
        return Part(first.graph >> par(left.graph, right.graph), after(first, left, right))

    def broadcast_merge(self, depth):
        first, left, right = self.step(), self.scoped(depth), self.step()
        merger = self.merger(of=next(iter(first.graph.nodes)))
        return Part(first.graph >> par(left.graph, right.graph), after(first, left, right)) >> merger

    def beside_a_scope(self, depth):
        """A window takes children whose siblings are merged by their scope."""
        splitter, numbers = self.splitter()
        first, inside, window = Part(splitter, numbers), self.scoped(depth), self.window()
        main = inside >> self.merger(of=splitter)
        return Part((splitter >> main.graph) | (splitter >> window.graph), after(first, main, window))

    def halves(self, depth):
        """Two branches that do the same, each with a window of its own."""
        each, join = Each(self.next_salt()), Join(self.next_salt())
        branches = {
            f"to{i}": TaskManager(each, mode, 2, 0, name=f"{each.__name__} {i}")
            >> Merger(join, size=2 + i, name=f"{join.__name__} {i}")
            for i, mode in enumerate(("serial", "thread"))
        }
        return Part(Router(Halves(self.next_salt())) >> branches, after(each, join))

    def both(self, depth):
        left, right = self.chain(depth), self.window()
        graph = Router(Both(self.next_salt())) >> {"to0": left.graph, "to1": right.graph}
        return Part(graph, lambda n: left.numbers(n) + right.numbers(n))

    def rescued(self, depth):
        """Lists that fail go to a branch that does the same to them."""
        picky = Picky(self.next_salt())
        node = TaskManager(picky, self.mode("async"), 2, 0)
        rest = node.failures >> TaskManager(Instead(picky.salt), "serial", 2, 0)
        return Part(Graph(node) | rest, picky.numbers)


def made(seed):
    """A graph, its tasks, and what must come of them: to be called, as functions may be changed meanwhile."""
    chance = random.Random(seed)
    maker = NumbersMaker(chance.choice, 8)
    part = maker.chain(2)
    if chance.randrange(5) == 0:
        part = part >> maker.merger(of="run")
    once = chance.randrange(2) == 0
    first = TaskManager(few) >> TaskManager(listed, chance.choice(MODES[:3]), 2, 0, deduplicate=once)
    tasks = [chance.randrange(1000) for _ in range(chance.randrange(30))]

    def expected():
        kept = map(few, tasks)
        return sorted(m for n in (dict.fromkeys(kept) if once else kept) for m in part.numbers(n))

    return first >> part.graph, tasks, expected


def numbers(result):
    """What has come of them."""
    assert {o.status for o in result.outcomes} <= {"done", "dropped"}
    return sorted(n for values in result.values for n in values)


def change(graph, chance):
    """Have one function, and those that do the same elsewhere, do something else."""
    funcs = [node.func for node in graph.nodes if isinstance(node.func, Each)]
    salt = chance.choice(funcs).salt
    for func in {func for func in funcs if func.salt == salt}:
        func.salt += 500
