"""Changed graphs: what counts as a change, what a refusal says, what is redone."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import subprocess
import sys
from itertools import count

import pytest
from journal_made import small_blocks

import dagflow as df
from dagflow.errors import JournalError, JournalMismatch
from dagflow.journal.memory import MemoryJournal

HEAD = """
import functools
from dagflow import DROP, Graph, Merger, Router, Splitter, TaskManager, par
"""
_numbers = count()


@pytest.fixture
def where(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def load(tmp_path):
    """The graph of a module of that source; always under the same name, as if the file had been edited."""

    def load(source, name="flow"):
        path = tmp_path / f"{name}{next(_numbers)}.py"
        path.write_text(HEAD + source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module.graph if isinstance(module.graph, df.Graph) else df.Graph(module.graph)

    yield load
    sys.modules.pop("flow", None)


def unread():
    raise AssertionError("a task was read")
    yield


def refused(graph, where, *says):
    """Nothing is read, nothing is run, the file is the same to the byte; one sentence says what differs."""
    before = hashlib.sha256(where.read_bytes()).digest()
    with pytest.raises(JournalMismatch) as caught:
        graph.run(unread(), "serial", journal=where)
    assert hashlib.sha256(where.read_bytes()).digest() == before
    assert [name for name in os.listdir(where.parent) if name.startswith(where.name)] == [where.name]
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"the journal {where} is of another graph: ")
    for said in says:
        assert said in text
    assert isinstance(caught.value, JournalError)


WORK = "graph = TaskManager(work, name='work')\n"
PLAIN = "def work(n):\n    return n + 1\n" + WORK

COUNTED = {
    "code": (PLAIN, PLAIN.replace("n + 1", "n - 1"), "the code of its function has changed"),
    "a constant in the code": (PLAIN, PLAIN.replace("n + 1", "n + 2"), "the code of its function has changed"),
    "1 and 1.0": (PLAIN, PLAIN.replace("n + 1", "n + 1.0"), "the code of its function has changed"),
    "1 and True": (PLAIN, PLAIN.replace("n + 1", "n + True"), "the code of its function has changed"),
    "a set in the code": (
        "def work(n):\n    return n in {1, 2, 'a'}\n" + WORK,
        "def work(n):\n    return n in {1, 2, 'b'}\n" + WORK,
        "the code of its function has changed",
    ),
    "what is raised when": (
        "def work(n):\n    try:\n        return 1 / n\n    except ValueError:\n        return 0\n" + WORK,
        "def work(n):\n    try:\n        return 1 / n\n    except TypeError:\n        return 0\n" + WORK,
        "the code of its function has changed",
    ),
    "a constant of the module": (
        "LIMIT = 5\ndef work(n):\n    return n + LIMIT\n" + WORK,
        "LIMIT = 6\ndef work(n):\n    return n + LIMIT\n" + WORK,
        "constant 'LIMIT' was 5 and is 6",
    ),
    "a tuple of constants": (
        "WORDS = ('a', ('b', 2))\ndef work(n):\n    return WORDS\n" + WORK,
        "WORDS = ('a', ('b', 3))\ndef work(n):\n    return WORDS\n" + WORK,
        "constant 'WORDS'",
    ),
    "a constant that a constant is made of": (
        "HALF = 5\nLIMIT = HALF * 2\ndef work(n):\n    return n + LIMIT\n" + WORK,
        "HALF = 6\nLIMIT = HALF * 2\ndef work(n):\n    return n + LIMIT\n" + WORK,
        "constant 'LIMIT' was 10 and is 12",
    ),
    "a frozenset": (
        "KNOWN = frozenset(('a', 'b'))\ndef work(n):\n    return n in KNOWN\n" + WORK,
        "KNOWN = frozenset(('a', 'c'))\ndef work(n):\n    return n in KNOWN\n" + WORK,
        "constant 'KNOWN'",
    ),
    "a pattern": (
        "import re\nNAME = re.compile('a+')\ndef work(n):\n    return NAME.match(str(n)) is None\n" + WORK,
        "import re\nNAME = re.compile('b+')\ndef work(n):\n    return NAME.match(str(n)) is None\n" + WORK,
        "constant 'NAME'",
    ),
    "a default": (
        "def work(n, by=2):\n    return n * by\n" + WORK,
        "def work(n, by=3):\n    return n * by\n" + WORK,
        "default of its function 'by' was 2 and is 3",
    ),
    "a keyword default": (
        "def work(n, *, by=2):\n    return n * by\n" + WORK,
        "def work(n, *, by=3):\n    return n * by\n" + WORK,
        "default of its function 'by' was 2 and is 3",
    ),
    "a closure value": (
        "def make(by):\n    return lambda n: n * by\nwork = make(2)\n" + WORK,
        "def make(by):\n    return lambda n: n * by\nwork = make(3)\n" + WORK,
        "closure value 'by' was 2 and is 3",
    ),
    "a function in a closure": (
        "def make(by):\n    return lambda n: by(n)\nwork = make(lambda n: n + 1)\n" + WORK,
        "def make(by):\n    return lambda n: by(n)\nwork = make(lambda n: n + 2)\n" + WORK,
        "closure value 'by'",
    ),
    "a helper": (
        "def help(n):\n    return n\ndef work(n):\n    return help(n)\n" + WORK,
        "def help(n):\n    return -n\ndef work(n):\n    return help(n)\n" + WORK,
        "the code of 'help'",
    ),
    "a helper's helper": (
        "def far(n):\n    return n\ndef help(n):\n    return far(n)\ndef work(n):\n    return help(n)\n" + WORK,
        "def far(n):\n    return -n\ndef help(n):\n    return far(n)\ndef work(n):\n    return help(n)\n" + WORK,
        "the code of 'far'",
    ),
    "a helper's constant": (
        "BY = 1\ndef help(n):\n    return n * BY\ndef work(n):\n    return help(n)\n" + WORK,
        "BY = 2\ndef help(n):\n    return n * BY\ndef work(n):\n    return help(n)\n" + WORK,
        "constant 'BY' was 1 and is 2",
    ),
    "a helper named in a function inside": (
        "def help(n):\n    return n\ndef work(n):\n    return [help(m) for m in range(n)]\n" + WORK,
        "def help(n):\n    return -n\ndef work(n):\n    return [help(m) for m in range(n)]\n" + WORK,
        "the code of 'help'",
    ),
    "helpers that call each other": (
        "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)\nwork = even\n" + WORK,
        "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n > 0 and even(n - 1)\nwork = even\n" + WORK,
        "the code of 'odd'",
    ),
    "a cached helper": (
        "@functools.cache\ndef help(n):\n    return n\ndef work(n):\n    return help(n)\n" + WORK,
        "@functools.cache\ndef help(n):\n    return -n\ndef work(n):\n    return help(n)\n" + WORK,
        "the code of 'help'",
    ),
    "a decorated function": (
        "def twice(f):\n    @functools.wraps(f)\n    def g(n):\n        return f(f(n))\n    return g\n"
        "@twice\ndef work(n):\n    return n + 1\n" + WORK,
        "def twice(f):\n    @functools.wraps(f)\n    def g(n):\n        return f(f(n))\n    return g\n"
        "@twice\ndef work(n):\n    return n + 2\n" + WORK,
        "the code of closure value 'f'",
    ),
    "a class that a function makes one of": (
        "class Point:\n    def size(self):\n        return 1\ndef work(n):\n    return Point().size()\n" + WORK,
        "class Point:\n    def size(self):\n        return 2\ndef work(n):\n    return Point().size()\n" + WORK,
        "the code of Point.size",
    ),
    "a lambda": (
        "graph = TaskManager(lambda n: n + 1, name='work')\n",
        "graph = TaskManager(lambda n: n + 2, name='work')\n",
        "the code of its function",
    ),
    "an argument of a partial": (
        "def work(by, n):\n    return by * n\ngraph = TaskManager(functools.partial(work, 2), name='work')\n",
        "def work(by, n):\n    return by * n\ngraph = TaskManager(functools.partial(work, 3), name='work')\n",
        "argument of its function 0 was 2 and is 3",
    ),
    "the function of a partial": (
        "def work(by, n):\n    return by * n\ngraph = TaskManager(functools.partial(work, by=2), name='work')\n",
        "def work(by, n):\n    return by + n\ngraph = TaskManager(functools.partial(work, by=2), name='work')\n",
        "the code of its function",
    ),
    "a method": (
        "class A:\n    def work(self, n):\n        return n\nwork = A().work\n" + WORK,
        "class A:\n    def work(self, n):\n        return -n\nwork = A().work\n" + WORK,
        "the code of its function",
    ),
    "a method that a method calls": (
        "class A:\n    def help(self, n):\n        return n\n    def work(self, n):\n        return self.help(n)\nwork = A().work\n" + WORK,
        "class A:\n    def help(self, n):\n        return -n\n    def work(self, n):\n        return self.help(n)\nwork = A().work\n" + WORK,
        "the code of A.help",
    ),
    "what a method inherits": (
        "class B:\n    def help(self, n):\n        return n\nclass A(B):\n    def work(self, n):\n        return self.help(n)\nwork = A().work\n" + WORK,
        "class B:\n    def help(self, n):\n        return -n\nclass A(B):\n    def work(self, n):\n        return self.help(n)\nwork = A().work\n" + WORK,
        "help",
    ),
    "a constant of a method's class": (
        "class A:\n    BY = 2\n    def work(self, n):\n        return n * self.BY\nwork = A().work\n" + WORK,
        "class A:\n    BY = 3\n    def work(self, n):\n        return n * self.BY\nwork = A().work\n" + WORK,
        "'BY' was 2 and is 3",
    ),
    "a class method": (
        "class A:\n    @classmethod\n    def work(cls, n):\n        return n\nwork = A.work\n" + WORK,
        "class A:\n    @classmethod\n    def work(cls, n):\n        return -n\nwork = A.work\n" + WORK,
        "the code of its function",
    ),
    "a class": (
        "class Work:\n    def __call__(self, n):\n        return n\ngraph = TaskManager(Work, name='work')\n",
        "class Work:\n    def __call__(self, n):\n        return -n\ngraph = TaskManager(Work, name='work')\n",
        "the code of Work.__call__",
    ),
    "how an object of a class is made": (
        "class Work:\n    def __init__(self):\n        self.by = 2\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "class Work:\n    def __init__(self):\n        self.by = 3\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "the code of Work.__init__",
    ),
    "a class's property": (
        "class Work:\n    @property\n    def by(self):\n        return 2\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "class Work:\n    @property\n    def by(self):\n        return 3\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "the code of Work.by",
    ),
    "a class's cached property": (
        "import functools\nclass Work:\n    @functools.cached_property\n    def by(self):\n        return 2\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "import functools\nclass Work:\n    @functools.cached_property\n    def by(self):\n        return 3\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "Work.by",
    ),
    "what a method's cached property calls": (
        "import functools\nclass A:\n    def by(self):\n        return 2\n    @functools.cached_property\n    def times(self):\n        return self.by()\n    def work(self, n):\n        return n * self.times\nwork = A().work\n" + WORK,
        "import functools\nclass A:\n    def by(self):\n        return 3\n    @functools.cached_property\n    def times(self):\n        return self.by()\n    def work(self, n):\n        return n * self.times\nwork = A().work\n" + WORK,
        "A.by",
    ),
    "an argument of a method of another's": (
        "import functools\nclass Work:\n    def by(self, m, n):\n        return m * n\n    __call__ = functools.partialmethod(by, 2)\ngraph = TaskManager(Work, name='work')\n",
        "import functools\nclass Work:\n    def by(self, m, n):\n        return m * n\n    __call__ = functools.partialmethod(by, 3)\ngraph = TaskManager(Work, name='work')\n",
        "argument of Work.__call__",
    ),
    "a method by the kind of its argument": (
        "import functools\nclass Work:\n    @functools.singledispatchmethod\n    def by(self, n):\n        return n\n    def __call__(self, n):\n        return self.by(n)\ngraph = TaskManager(Work, name='work')\n",
        "import functools\nclass Work:\n    @functools.singledispatchmethod\n    def by(self, n):\n        return -n\n    def __call__(self, n):\n        return self.by(n)\ngraph = TaskManager(Work, name='work')\n",
        "Work.by",
    ),
    "what a class's own kind of property does": (
        "class By:\n    def __get__(self, it, kind):\n        return 2\nclass Work:\n    by = By()\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "class By:\n    def __get__(self, it, kind):\n        return 3\nclass Work:\n    by = By()\n    def __call__(self, n):\n        return n * self.by\ngraph = TaskManager(Work, name='work')\n",
        "By.__get__",
    ),
    "what a class builds on": (
        "class Base:\n    def __call__(self, n):\n        return n\nclass Work(Base):\n    pass\ngraph = TaskManager(Work, name='work')\n",
        "class Base:\n    def __call__(self, n):\n        return -n\nclass Work(Base):\n    pass\ngraph = TaskManager(Work, name='work')\n",
        "the code of Base.__call__",
    ),
    "what a callable object holds": (
        "class Times:\n    def __init__(self, by):\n        self.by = by\n    def __call__(self, n):\n        return n * self.by\nwork = Times(2)\n" + WORK,
        "class Times:\n    def __init__(self, by):\n        self.by = by\n    def __call__(self, n):\n        return n * self.by\nwork = Times(3)\n" + WORK,
        "'by' was 2 and is 3",
    ),
    "a builtin": ("graph = TaskManager(abs, name='work')\n", "graph = TaskManager(hex, name='work')\n", "builtins.abs"),
    "get_args of a subclass": (
        "class Mine(TaskManager):\n    def get_args(self, task):\n        return (task,)\ngraph = Mine(abs, name='work')\n",
        "class Mine(TaskManager):\n    def get_args(self, task):\n        return (task + 1,)\ngraph = Mine(abs, name='work')\n",
        "the code of its get_args",
    ),
    "process_result of a subclass": (
        "class Mine(TaskManager):\n    def process_result(self, task, result):\n        return result\ngraph = Mine(abs, name='work')\n",
        "class Mine(TaskManager):\n    def process_result(self, task, result):\n        return task\ngraph = Mine(abs, name='work')\n",
        "the code of its process_result",
    ),
    "unpack": (
        "graph = TaskManager(max, name='work', unpack=False)\n",
        "graph = TaskManager(max, name='work', unpack=True)\n",
        "unpack was False and is True",
    ),
    "batch_size": (
        "def work(ns):\n    return ns\ngraph = TaskManager(work, name='work', batch_size=2)\n",
        "def work(ns):\n    return ns\ngraph = TaskManager(work, name='work', batch_size=3)\n",
        "batch_size was 2 and is 3",
    ),
    "deduplicate": (
        "graph = TaskManager(abs, name='work')\n",
        "graph = TaskManager(abs, name='work', deduplicate=True)\n",
        "deduplicate is new",
    ),
    "the key of deduplicate": (
        "graph = TaskManager(abs, name='work', deduplicate=lambda n: n % 2)\n",
        "graph = TaskManager(abs, name='work', deduplicate=lambda n: n % 3)\n",
        "the code of deduplicate",
    ),
    "on_missing": (
        "graph = TaskManager(abs) >> Merger(sum, of='task', name='work')\n",
        "graph = TaskManager(abs) >> Merger(sum, of='task', name='work', on_missing='skip')\n",
        "on_missing was 'fail' and is 'skip'",
    ),
    "of": (
        "graph = TaskManager(abs) >> Merger(sum, of='task', name='work')\n",
        "graph = TaskManager(abs) >> Merger(sum, of='run', name='work')\n",
        "of was 'task' and is 'run'",
    ),
    "of a node": (
        "a = Splitter(range, name='a')\nb = Splitter(range, name='b')\ngraph = a >> b >> Merger(sum, of=b, name='work')\n",
        "a = Splitter(range, name='a')\nb = Splitter(range, name='b')\ngraph = a >> b >> Merger(sum, of=a, name='work')\n",
        "of was 'b' and is 'a'",
    ),
    "size": (
        "graph = TaskManager(abs) >> Merger(sum, size=2, name='work')\n",
        "graph = TaskManager(abs) >> Merger(sum, size=3, name='work')\n",
        "size was 2 and is 3",
    ),
    "within": (
        "graph = TaskManager(abs) >> Merger(sum, size=2, within=5, name='work')\n",
        "graph = TaskManager(abs) >> Merger(sum, size=2, within=6, name='work')\n",
        "within was 5",
    ),
    "fold": (
        "graph = Splitter(range) >> Merger(fold=(lambda a, b: a + b, 0), name='work')\n",
        "graph = Splitter(range) >> Merger(fold=(lambda a, b: a - b, 0), name='work')\n",
        "the code of fold",
    ),
    "the start of a fold": (
        "graph = Splitter(range) >> Merger(fold=(lambda a, b: a + b, 0), name='work')\n",
        "graph = Splitter(range) >> Merger(fold=(lambda a, b: a + b, 1), name='work')\n",
        "the start of fold was 0 and is 1",
    ),
    "a list as the start of a fold": (
        "graph = Splitter(range) >> Merger(fold=(lambda a, b: a + [b], []), name='work')\n",
        "graph = Splitter(range) >> Merger(fold=(lambda a, b: a + [b], [1]), name='work')\n",
        "the start of fold",
    ),
    "a predicate of a table": (
        "graph = Router({'a': lambda n: n > 1, 'b': bool}, 'b', name='work') >> {'a': abs, 'b': hex}\n",
        "graph = Router({'a': lambda n: n > 2, 'b': bool}, 'b', name='work') >> {'a': abs, 'b': hex}\n",
        "the code of",
    ),
    "the order of a table": (
        "graph = Router({'a': bool, 'b': callable}, 'b', name='work') >> {'a': abs, 'b': hex}\n",
        "graph = Router({'b': callable, 'a': bool}, 'b', name='work') >> {'a': abs, 'b': hex}\n",
        "node 'work'",
    ),
    "the default of a router": (
        "graph = Router(str, 'a', name='work') >> {'a': abs, 'b': hex}\n",
        "graph = Router(str, 'b', name='work') >> {'a': abs, 'b': hex}\n",
        "default was 'a' and is 'b'",
    ),
    "no default any more": (
        "graph = Router(str, DROP, name='work') >> {'a': abs, 'b': hex}\n",
        "graph = Router(str, name='work') >> {'a': abs, 'b': hex}\n",
        "default was DROP and is None",
    ),
    "the kind": (
        "graph = TaskManager(range, name='work')\n",
        "graph = Splitter(range, name='work')\n",
        "kind was task and is split",
    ),
    "version": (
        "graph = TaskManager(abs, name='work', version='1')\n",
        "graph = TaskManager(abs, name='work', version='2')\n",
        "version was '1' and is '2'",
    ),
    "a version of a node without": (
        "graph = TaskManager(abs, name='work')\n",
        "graph = TaskManager(abs, name='work', version='1')\n",
        "version is new",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", COUNTED)
def test_what_decides_results_is_counted(what, where, load):
    """And named: the node, and what of it differs."""
    before, after, says = COUNTED[what]
    load(before).run([], "serial", journal=where)
    load(before).run([], "serial", journal=where)  # unchanged, it is taken
    refused(load(after), where, "node 'work': ", says)


SIMILAR = {
    "comments and formatting": (
        "def work(n):\n    return n + 1\n" + WORK,
        "# a comment\n\n\ndef work(\n    n,\n):\n    # more\n    return (\n        n + 1  # and here\n    )\n" + WORK,
    ),
    "docstrings": (
        "def work(n):\n    return n + 1\n" + WORK,
        "def work(n):\n    '''More by one.'''\n    return n + 1\n" + WORK,
    ),
    "docstrings of helpers and classes": (
        "class A:\n    def __call__(self, n):\n        return help(n)\ndef help(n):\n    'x'\n    return n\ngraph = TaskManager(A, name='work')\n",
        "class A:\n    'An A.'\n    def __call__(self, n):\n        'Called.'\n        return help(n)\ndef help(n):\n    'y'\n    return n\ngraph = TaskManager(A, name='work')\n",
    ),
    "annotations": (
        "def work(n):\n    m = n\n    return m\n" + WORK,
        "def work(n: int) -> int:\n    m: int = n\n    return m\n" + WORK,
    ),
    "names of locals": (
        "def work(n):\n    m = n + 1\n    return m\n" + WORK,
        "def work(number):\n    more = number + 1\n    return more\n" + WORK,
    ),
    "where it stands": (
        "def work(n):\n    return [help(m) for m in range(n)]\ndef help(n):\n    return n\n" + WORK,
        "def other():\n    return 7\n\n\ndef help(n):\n    return n\n\n\ndef work(n):\n    return [help(m) for m in range(n)]\n" + WORK,
    ),
    "helpers that it does not name": (
        "def other(n):\n    return n\nLIMIT = 1\ndef work(n):\n    return n\n" + WORK,
        "def other(n):\n    return -n\nLIMIT = 2\ndef work(n):\n    return n\n" + WORK,
    ),
    "a helper that has the name of an attribute": (
        "def real(n):\n    return n\ndef work(n):\n    return n.real\n" + WORK,
        "def real(n):\n    return -n\ndef work(n):\n    return n.real\n" + WORK,
    ),
    "state of the module": (
        "seen = []\ntotal = 0\ndef work(n):\n    global total\n    total += 1\n    seen.append(n)\n    return n\n" + WORK,
        "seen = [1]\ntotal = 7\ndef work(n):\n    global total\n    total += 1\n    seen.append(n)\n    return n\n" + WORK,
    ),
    "what the module worked out": (
        "import os\nME = os.getpid()\ndef work(n):\n    return ME\n" + WORK,
        "import os\nME = os.getpid() + 1\ndef work(n):\n    return ME\n" + WORK,
    ),
    "what a bound method's object holds": (
        "class A:\n    def __init__(self, n):\n        self.seen = n\n    def work(self, n):\n        self.seen += 1\n        return n\nwork = A(1).work\n" + WORK,
        "class A:\n    def __init__(self, n):\n        self.seen = n\n    def work(self, n):\n        self.seen += 1\n        return n\nwork = A(2).work\n" + WORK,
    ),
    "how many times it is tried, and how long": (
        "graph = TaskManager(abs, name='work')\n",
        """graph = TaskManager(abs, 'thread', 7, 9, name='work', retry_exceptions=(OSError,), retry_delay=1,
            retry_max_delay=3, timeout=50, rate_limit=1e6, show_progress=True, progress_desc='w')
""",
    ),
    "modes": (
        "graph = TaskManager(abs, 'process', 2, name='work')\n",
        "graph = TaskManager(abs, 'serial', name='work')\n",
    ),
    "code that a version speaks for": (
        "LIMIT = 1\ndef work(n):\n    return n + LIMIT\ngraph = TaskManager(work, name='work', version='1', deduplicate=lambda n: 1)\n",
        "LIMIT = 2\ndef work(n):\n    return n * LIMIT\ngraph = TaskManager(work, name='work', version='1', deduplicate=lambda n: 2)\n",
    ),
    "dicts written in another order": (
        "TABLE = {'a': 1, 'b': 2}\ndef work(n):\n    return TABLE[n]\n" + WORK,
        "TABLE = {'b': 2, 'a': 1}\ndef work(n):\n    return TABLE[n]\n" + WORK,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SIMILAR)
def test_what_does_not_decide_results_is_not_counted(what, where, load):
    """The journal is taken as it is, there and back."""
    before, after = SIMILAR[what]
    load(before).run([], "serial", journal=where)
    load(after).run([], "serial", journal=where)
    load(before).run([], "serial", journal=where)


def test_backends_and_arguments_of_the_run_are_not_counted(where):
    """What ran in one process is given again in many."""
    graph = df.Graph(df.TaskManager(abs, "process", 2, name="abs"))
    graph.run(range(5), "serial", journal=where)
    for options in ({"backend": "thread"}, {"backend": "process", "max_in_flight": 1}, {"durability": "power"}):
        assert graph.run(range(5), journal=where, **options).reused == 5


# -- edges and names ----------------------------------------------------------------------------------------

EDGES = {
    "an edge more": ("a >> [b, c]", "a >> [b, c] | (b >> c)", ["node 'b': its edges lead to c, not to nothing"]),
    "an edge less": ("a >> b >> c | (a >> c)", "a >> b >> c", ["node 'a': its edges lead to b, not to b, c"]),
    "branches in another order": ("a >> [b, c]", "a >> [c, b]", ["node 'a'", "c, b, not to b, c"]),
    "another way in": ("a >> b", "par(a, b)", ["the source: its edges lead to a, b, not to a", "node 'a'"]),
    "a node in between": ("a >> c", "a >> b >> c", ["node 'b': it is new", "node 'a': its edges lead to b, not to c"]),
    "a node gone": ("a >> b >> c", "a >> c", ["node 'b': it is gone"]),
    "another name": ("a >> b", "a >> TaskManager(hex, name='bb')", ["node 'bb': it is new", "node 'b': it is gone"]),
    "what takes up failures": ("a >> b", "a >> b | (a.failures >> c)", ["node 'c': it is new", "c (by failures)"]),
    "the label of a branch": (
        "Router(str, name='r') >> {'x': a, 'y': b}",
        "Router(str, name='r') >> {'x': a, 'z': b}",
        ["node 'r'", "b (by 'z')", "b (by 'y')"],
    ),
    "labels changed about": (
        "Router(str, name='r') >> {'x': a, 'y': b}",
        "Router(str, name='r') >> {'x': b, 'y': a}",
        ["node 'r'", "b (by 'x')"],
    ),
    "dropped on purpose": (
        "Router(str, name='r') >> {'x': a, 'y': b}",
        "Router(str, name='r') >> {'x': a, 'y': DROP}",
        ["node 'r'", "DROP (by 'y')", "node 'b': it is gone"],
    ),
}
NODES = "a, b, c = TaskManager(abs, name='a'), TaskManager(int, name='b'), TaskManager(float, name='c')\ngraph = Graph("


@pytest.mark.parametrize("what", EDGES)
def test_edges_names_and_nodes_are_counted(what, where, load):
    """All that differs is named, each at its node."""
    before, after, says = EDGES[what]
    load(f"{NODES}{before})\n").run([], "serial", journal=where)
    refused(load(f"{NODES}{after})\n"), where, *says)


def test_many_differences_are_counted_and_not_all_told(where):
    """One sentence, however much has changed."""
    graph = functools.reduce(lambda g, n: g >> n, [df.TaskManager(abs, name=f"n{at}") for at in range(20)])
    graph.run([], "serial", journal=where)
    other = functools.reduce(lambda g, n: g >> n, [df.TaskManager(hex, name=f"n{at}") for at in range(20)])
    refused(other, where, "node 'n0'", "and 14 more")


# -- in other processes -------------------------------------------------------------------------------------

FLOW = """
import enum, functools, re, sys
from decimal import Decimal
from pathlib import Path
import dagflow as df

class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"

KNOWN = frozenset(("alpha", "beta", "gamma", "delta", "epsilon"))
NESTED = (frozenset((("x", 1), ("y", 2), ("z", 3))), Colour.RED, re.compile("a|b"), Path("a/b"), 1.5, b"x", None)
TABLE = {"one": 1, "two": {3, 4}}

def helper(word, among=frozenset(("p", "q", "r", "s"))):
    return word in {"k", "l", "m", "n", "o"} or word in among or word in KNOWN

class Check:
    WORDS = frozenset(("u", "v", "w"))
    def __init__(self, by):
        self.by = by
    def __call__(self, word):
        return word in self.WORDS, NESTED[1], [len(TABLE) for _ in self.by]
    def plain(self, word):
        return self.help(word)
    def help(self, word):
        return word

def make(by):
    def inner(word):
        return Colour.BLUE, word in by, (lambda w: helper(w))(word)
    return inner

graph = (
    df.TaskManager(helper, name="helper", deduplicate=lambda w: (w, NESTED[2]))
    >> df.TaskManager(make(frozenset(("e", "f", "g"))), name="closure")
    >> df.TaskManager(make(frozenset((helper, make, Check, Colour, Path, print, ValueError))), name="set of code")
    >> df.TaskManager(Check(frozenset((("h", 1), ("i", 2)))), name="object")
    >> df.TaskManager(Check(()).plain, name="method")
    >> df.TaskManager(functools.partial(max, key=str), name="partial")
    >> df.Router({Colour.RED: lambda v: True, "b": callable}, "b", name="route")
    >> {Colour.RED: df.Splitter(lambda v: [v], name="split") >> df.Merger(fold=(lambda a, b: b, frozenset("abc")), name="fold"),
        "b": df.TaskManager(str, name="text")}
)
"""


def interpreter(tmp_path, code, seed, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments, *(["-c", code] if code else [])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_fingerprints_are_the_same_in_every_process(tmp_path):
    """Whatever the order of sets there; imported, as a script, as a command: the same file is the same graph."""
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "script.py").write_text(
        FLOW + "\nprint(graph.run(['k', 'x'], 'serial', journal='j.db').reused, file=sys.stderr)\n"
    )
    code = "import flow; print(flow.graph.run(['k', 'x'], 'serial', journal='j.db').reused)"
    assert interpreter(tmp_path, code, 0) == "0\n"
    for seed in (1, 2, 3):
        assert interpreter(tmp_path, code, seed) == "2\n"
    interpreter(tmp_path, None, 4, "script.py")  # which would be refused, with an exit code
    interpreter(tmp_path, None, 5, "-m", "dagflow", "run", "flow:graph", "--journal", "j.db", "--backend", "serial")


CELLS = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def cell(text):
    shell.run_cell(text, store_history=True).raise_error()
limit, tasks, padding = sys.argv[1:4]
cell("import dagflow as df")
for _ in range(int(padding)):
    cell("1")
cell("import time\\nSTARTED = time.time()")
cell(f"LIMIT = {limit}")
cell("%time 1")
cell("def helper(n):\\n    return n + LIMIT, STARTED > 0")
cell("def work(n):\\n    return helper(n)")
cell("graph = df.Graph(df.TaskManager(work, name='work'))")
cell(f"result = graph.run(range({tasks}), 'serial', journal='cells.db')")
print("reused", shell.user_ns["result"].reused)
"""


def test_functions_of_cells_are_known_again_whatever_cell_they_stand_in(tmp_path):
    """A kernel that was restarted goes on; constants of other cells count, what was worked out does not."""
    pytest.importorskip("IPython")

    def cells(*given):
        done = subprocess.run(
            [sys.executable, "-c", CELLS, *map(str, given)],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
            env={**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")},
        )  # fmt: skip
        return done.stdout + done.stderr

    assert "reused 0" in cells(1, 3, 0)
    assert "reused 3" in cells(1, 4, 2)
    assert "constant 'LIMIT' was 1 and is 2" in cells(2, 4, 0)


# -- compatible ---------------------------------------------------------------------------------------------


class Made:
    """A graph of named functions that note what they ran for."""

    def __init__(self, log):
        self.log = log
        self.changed = set()

    def task(self, name, **options):
        note, by = self.log, 10 if name in self.changed else 1

        def work(n):
            note(f"{name} {n}")
            return n + by

        return df.TaskManager(work, name=name, **options)

    def diamond(self):
        """a to b and c, which are merged; d follows c, e the merge."""
        c = self.task("c")
        merged = self.task("a") >> [self.task("b"), c] >> df.Merger(self.sum, name="m") >> self.task("e")
        return merged | (c >> self.task("d"))

    def sum(self, members):
        self.log(f"m {members}")
        return sum(members)


FOLLOWING = {"a": "abcdem", "b": "bme", "c": "cdem", "d": "d", "e": "e"}


@pytest.mark.parametrize(
    ("changed", "backend"), [*((name, "serial") for name in FOLLOWING), ("c", "thread"), ("c", "process")]
)
def test_the_changed_node_and_what_follows_is_redone_and_nothing_else(changed, backend, log):
    """Each once for every task; the report says what and why; and then it is done."""
    made, memory = Made(log), MemoryJournal()
    made.diamond().run(range(5), backend, journal=memory)
    made.changed.add(changed)
    graph = made.diamond()
    with pytest.raises(JournalMismatch, match=f"node '{changed}': closure value 'by' was 1 and is 10"):
        graph.run(range(5), backend, journal=memory)
    count = len(log)
    result = graph.run(range(5), backend, journal=memory, resume="compatible")
    ran = [line.split()[0] for line in log.since(count)]
    assert {name: ran.count(name) for name in set(ran)} == dict.fromkeys(FOLLOWING[changed], 5)
    assert any(note == f"redone: node '{changed}' (closure value 'by' was 1 and is 10)" for note in result.notes)
    follow = ", ".join(repr(name) for name in sorted(set(FOLLOWING[changed]) - {changed}))
    assert not follow or any(note == f"redone, as they follow: {follow}" for note in result.notes)
    assert f"redone: node '{changed}'" in result.summary()
    count = len(log)
    expected = graph.run(range(5), "serial")
    assert result.values == expected.values
    assert result.counts == expected.counts
    count = len(log)
    for resume in ("strict", "compatible"):
        again = graph.run(range(5), backend, journal=memory, resume=resume)
        assert (again.values, again.reused, len(log)) == (expected.values, 5, count)
        assert not any("redone" in note for note in again.notes)


def test_force_keeps_old_results(log):
    """New tasks are worked on with the new code; the summary says so; from then on it is the journal's graph."""
    made, memory = Made(log), MemoryJournal()
    made.diamond().run(range(3), "serial", journal=memory)
    old = made.diamond().run(range(3), "serial", journal=memory).values
    made.changed.add("c")
    count = len(log)
    result = made.diamond().run(range(4), "serial", journal=memory, resume="force")
    assert result.values[: len(old)] == old
    assert result.values[len(old) :] == made.diamond().run([3], "serial").values
    assert {line for line in log.since(count) if line.startswith("c ")} == {"c 4"}
    assert "old results are kept although the graph has changed (resume=\"force\"): 'c'" in result.summary()
    assert made.diamond().run(range(4), "serial", journal=memory).values == result.values


CHANGED_EDGES = {
    "one way less": ("(a | b) >> c", "a >> c"),
    "one way more": ("a >> c", "(a | b) >> c"),
    "a branch more": ("a >> b", "a >> [b, c]"),
    "a branch less": ("a >> [b, c]", "a >> b"),
    "the last one gone": ("a >> b >> c", "a >> b"),
    "all but the first gone": ("a >> b >> c", "a"),
    "the first one gone": ("a >> b >> c", "b >> c"),
    "one in between": ("a >> c", "a >> b >> c"),
    "one less in between": ("a >> b >> c", "a >> c"),
    "turned about": ("a >> b >> c", "c >> b >> a"),
    "a result in passing": ("a >> b", "a >> b | (a >> c)"),
    "a Merger of the run": ("a >> b", "a >> b >> Merger(sum, of='run', name='m')"),
    "a Merger of the run in passing": ("a >> b", "a >> b | (a >> Merger(sum, of='run', name='m'))"),
    "windows": ("a >> b", "a >> b | (a >> Merger(sum, size=3, name='m') >> c)"),
    "no windows any more": ("a >> b | (a >> Merger(sum, size=3, name='m') >> c)", "a >> b"),
    "into a scope": ("a >> s >> b >> Merger(sum, name='m')", "a >> s >> b >> c >> Merger(sum, name='m')"),
    "out of a scope": ("a >> s >> b >> Merger(sum, name='m') >> c", "a >> s >> b >> c"),
    "failures are taken up": ("f >> b", "f >> b | (f.failures >> g)"),
    "failures are not taken up any more": ("f >> b | (f.failures >> g)", "f >> b"),
    "a route more": ("r >> {'0': a, '1': b}", "r >> {'0': a, '1': b, '2': c}"),
    "a route less": ("r >> {'0': a, '1': b, '2': c}", "r >> {'0': a, '1': b}"),
    "a route that drops": ("r >> {'0': a, '1': b, '2': c}", "r >> {'0': a, '1': b, '2': df.DROP}"),
    "routes changed about": ("r >> {'0': a, '1': b, '2': c}", "r >> {'0': b, '1': a, '2': c}"),
    "another kind": ("a >> b", "a >> df.Splitter(lambda n: [n, n], name='b')"),
}


@pytest.mark.parametrize("kept", ["all", "little"])
@pytest.mark.parametrize("what", CHANGED_EDGES)
def test_a_graph_of_another_shape_gives_what_it_gives_without_a_journal(what, kept, where, monkeypatch):
    """Outcomes, counts, and what a reader tells; also where values between nodes were let go long ago."""
    if kept == "little":
        small_blocks(monkeypatch)

    def fails(n):
        if n % 3 == 0:
            raise LookupError(n)
        return n

    def graph(text):
        names = {
            "a": df.TaskManager(lambda n: n * 2, name="a"),
            "b": df.TaskManager(lambda n: n + 1, name="b"),
            "c": df.TaskManager(lambda n: -n, name="c"),
            "s": df.Splitter(lambda n: range(n % 4), name="s"),
            "f": df.TaskManager(fails, name="f"),
            "g": df.TaskManager(lambda failure: failure.task * 100, name="g"),
            "r": df.Router(lambda n: str(n % 3), name="r"),
        }
        return df.Graph(eval(text, {"df": df, "Merger": df.Merger, "sum": sum, **names}))

    before, after = CHANGED_EDGES[what]
    graph(before).run(range(12), "serial", journal=where)
    with pytest.raises(JournalMismatch):
        graph(after).run(range(12), "serial", journal=where)
    expected = graph(after).run(range(12), "serial")
    for _ in range(2):
        result = graph(after).run(range(12), "serial", journal=where, resume="compatible")
        assert told(result) == told(expected)
        assert result.values == expected.values
        assert result.counts == expected.counts
        with df.open_journal(where) as journal:
            assert told(journal) == told(expected)
            assert journal.values == expected.values
            assert journal.counts == expected.counts
            assert len(journal.failures) == sum(c.failed for c in expected.counts.values() if ".failures" not in after)
    back = graph(before).run(range(12), "serial")
    result = graph(before).run(range(12), "serial", journal=where, resume="compatible")
    assert told(result) == told(back)
    assert result.values == back.values
    assert graph(before).run(range(12), "serial", journal=where).reused == 12


@pytest.mark.parametrize("fold", [None, (lambda total, n: total + n, 0)], ids=["list", "fold"])
@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize("changed", ["a", "w", "b", "c"])
def test_what_follows_a_window_has_its_value(changed, size, fold, monkeypatch):
    """A window cannot be made again of its members once they are gone, so what was made of it stays."""
    if size == "small":
        small_blocks(monkeypatch, inline=0)

    def graph(factors):
        def times(name):
            factor = factors.get(name, 1)
            return lambda n: (sum(n) if isinstance(n, list) else n) * factor

        a, b, c = (df.TaskManager(times(name), name=name) for name in "abc")
        return df.Graph(a >> df.Merger(times("w"), size=2, fold=fold, name="w") >> b >> c)

    memory = MemoryJournal()
    graph({}).run(range(9), "serial", journal=memory)
    after = graph({changed: 3})
    result = after.run(range(9), "serial", journal=memory, resume="compatible")
    assert result.values == after.run(range(9), "serial").values == [3, 15, 27, 39, 24]
    assert after.run(range(9), "serial", journal=memory).reused == 9


def told(result):
    return [(o.task, o.status, o.values, repr(o.error)) for o in result.outcomes]
