"""What the tests of dagflow.core share: a scheduler that is told, event by event, what happens around it.

Nothing runs here: no function of a node is called, no worker exists. A test says what workers answer, in the
order it wants, and looks at the commands and facts that come of it.
"""

from __future__ import annotations

from dagflow import Merger, Router, Splitter, TaskManager
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.invariants import check
from dagflow.core.payload import ErrorRecord, FailurePayload
from dagflow.core.scheduler import Scheduler

# -- nodes -------------------------------------------------------------------------------------------------------


def never(value):
    """The function of every node here: the core does not call it."""
    raise NotImplementedError


def task(name, mode="serial", width=None, retries=0, **options):
    return TaskManager(never, mode, width, retries, name=name, **options)


def tasks(names):
    return [task(name) for name in names.split()]


def wide(name, width=4, **options):
    """A node whose one worker works on several tasks at once, so that leases of several tasks are made at once."""
    return task(name, "thread", width, **options)


def split(name="s", **options):
    options.setdefault("max_retries", 0)
    return Splitter(never, name=name, **options)


def route(name="r", default=None, **options):
    options.setdefault("max_retries", 0)
    return Router(never, default, name=name, **options)


def merge(name="m", of=None, **options):
    options.setdefault("max_retries", 0)
    return Merger(never, of, name=name, **options)


def fold(name="f", of=None, **options):
    return merge(name, of, fold=(max, 0), **options)


# -- payloads and answers ----------------------------------------------------------------------------------------


class Box:
    """A payload: values that nobody here opens. A branch of it is a box of the same values, marked with its number."""

    def __init__(self, *values, size=None, number=0):
        self.values, self.count, self.number = values, len(values), number
        self.size = 8 * self.count if size is None else size

    def branch(self, number):
        return Box(*self.values, size=self.size, number=number)

    def __repr__(self):
        return f"Box{self.values}"


def opened(pieces):
    """The values that pieces of payloads stand for; of a failed task ``("failure", what it was, its error)``."""
    found = []
    for payload, low, high in pieces:
        if isinstance(payload, FailurePayload):
            for item in payload.items[low:high]:
                values = opened(item.pieces)
                what = values if item.merged else values[0] if values else None
                found.append(("failure", what, item.error.message))
        else:
            found.extend(payload.values[low:high])
    return found


def inputs(job):
    """What a job is about: its values, or for each merge the list of its members."""
    if job.job.groups:
        return [opened(group.pieces) for group in job.job.groups]
    return opened(job.job.pieces)


def error(text="broken"):
    return ErrorRecord("raised", "ValueError", text)


def done(job, *results, **more):
    """The answer that all tasks of a job have succeeded, with ``results`` (the inputs themselves if not given)."""
    values = results or [tuple(v) if isinstance(v, list) else v for v in inputs(job)]
    return ev.Answer(job.worker, job.token, outputs=[ev.Produced(0, Box(*values))], **more)


def part(job, results, *, last=False, fails=(), retry=False, dropped=(), **more):
    """The answer for some tasks of a job: ``results`` by position; ``fails`` and ``dropped`` are positions."""
    outputs = [ev.Produced(0, Box(*results.values()), list(results))] if results else []
    failures = [(p, error(f"broken {inputs(job)[p]}"), retry) for p in fails]
    return ev.Answer(
        job.worker, job.token, last, outputs, list(results), failures=failures, dropped=list(dropped), **more
    )


def fail(job, position=0, *, retry=False):
    """The answer that the task at ``position`` has failed and all others of the job have succeeded."""
    rest = {p: v for p, v in enumerate(inputs(job)) if p != position}
    return part(job, rest, last=True, fails=[position], retry=retry)


def children(job, *values, start=0, position=0, last=True, ended=None, **more):
    """Children of the task at ``position`` of a Splitter's job, numbered from ``start``.

    ``ended``: the positions that have given all their children; if not given, all with the ``last`` answer.
    """
    if ended is None:
        ended = range(job.job.count) if last else ()
    produced = ev.Produced(0, Box(*values), children=[(position, start, len(values))])
    return ev.Answer(job.worker, job.token, last, [produced] if values else [], list(ended), **more)


def routed(job, ports, *, last=True, **more):
    """What a Router says: ``ports`` gives the positions of the tasks that go on by each port."""
    values = inputs(job)
    outputs = [ev.Produced(port, Box(*(values[p] for p in at)), list(at)) for port, at in ports.items()]
    given = [p for at in ports.values() for p in at]
    copies = {p: given.count(p) for p in set(given) if given.count(p) > 1}
    return ev.Answer(job.worker, job.token, last, outputs, copies=copies, **more)


def states(job, *values):
    """What a Merger says of a step of a fold: what has been accumulated, for each group."""
    return ev.Answer(job.worker, job.token, states={p: Box(v) for p, v in enumerate(values)})


def keys(job, *given, fails=(), **more):
    """The deduplication keys of the tasks of a job; ``fails``: positions whose key cannot be made."""
    failures = [(p, error("no key"), False) for p in fails]
    encoded = [None if key is None else key.encode() for key in given]
    return ev.Answer(job.worker, job.token, keys=encoded, failures=failures, **more)


# -- the play ----------------------------------------------------------------------------------------------------


class Play:
    """A scheduler among the events of a test. Everything is checked after every event (`check`).

    ``up``: workers come up as soon as they are asked for, ``killable`` or not. ``out`` is what the scheduler said last, ``facts`` all
    the facts so far.
    """

    def __init__(self, graph, *, up=True, killable=False, **options):
        self.plan = graph.check()
        self.core = Scheduler(self.plan, **options)
        self.up, self.killable = up, killable
        self.now = 0.0
        self.facts = []
        self.out = []
        self.finish = None  # how the run has ended
        self.tell()

    def tell(self, *events, wait=0.0):
        """Let things happen, ``wait`` seconds later; gives what the scheduler says to them."""
        self.now += wait
        self.out = self._handle(list(events))
        while self.up and (new := self.resumed(do.StartWorker)):
            self.out += self._handle([ev.WorkerUp(c.worker, self.killable) for c in new])
        return self.out

    def _handle(self, events):
        out = self.core.handle(events, self.now)
        check(self.core)
        self.facts += [fact for fact in out if isinstance(fact, do.Fact)]
        self.finish = next((c.reason for c in out if isinstance(c, do.Finish)), self.finish)
        return out

    def give(self, *values, size=None, **more):
        """The source gives tasks."""
        return self.tell(ev.Pulled(Box(*values, size=size), len(values)), **more)

    def end(self, error=None):
        """The source ends."""
        return self.tell(ev.SourceEnded(error))

    def play(self, *values):
        """The source gives tasks and ends."""
        self.give(*values)
        return self.end()

    def resumed(self, kind):
        """The outstanding commands of a kind."""
        return [c for c in self.core.resume() if isinstance(c, kind)]

    def jobs(self, name):
        """What is leased at a node, oldest first."""
        number = self.plan.node_named(name).index
        return [c for c in self.resumed(do.Deliver) if self.core.leases[c.token].node == number]

    def job(self, name):
        """The oldest lease at a node."""
        jobs = self.jobs(name)
        assert jobs, f"nothing is leased at {name!r}: {self.core.story()}"
        return jobs[0]

    def work(self, *names):
        """Let nodes succeed with what is given to them, one after the other, as long as there is something."""
        for name in names:
            while jobs := self.jobs(name):
                self.tell(done(jobs[0]))
        return self.out

    def node(self, name):
        return self.core.nodes[self.plan.node_named(name).index]

    def counts(self, name):
        """The counts of a node, without those that are nought."""
        counts = self.node(name).counts
        return {k: getattr(counts, k) for k in counts.__slots__ if getattr(counts, k)}

    def heard(self, kind, name=None):
        """All facts of a kind so far (of one node)."""
        number = None if name is None else self.plan.node_named(name).index
        return [f for f in self.facts if isinstance(f, kind) and (name is None or f.node == number)]

    @property
    def outputs(self):
        """All values that have left the graph, in the order they did."""
        return [v for f in self.heard(do.Output) for v in f.payload.values[f.low : f.low + f.count]]

    @property
    def ended(self):
        """The source tasks that have ended, in the order they did."""
        return [i for f in self.heard(do.RootsEnded) for i in f.indices]

    @property
    def lost(self):
        """The source tasks that were lost, with the text of their error."""
        return [(f.space.root_index(f.index), f.error.message) for f in self.heard(do.Lost)]


def kinds(out, *wanted):
    """The commands and facts of these kinds."""
    return [c for c in out if isinstance(c, wanted)]
