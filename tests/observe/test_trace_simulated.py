"""Traces of random graphs under random schedules: whatever happens, they agree with the counts and the outcomes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from dagflow.core.envelope import Envelope
from dagflow.observe.columns import Columns
from dagflow.observe.sampling import Sample
from dagflow.observe.tracer import Tracer
from dagflow.observe.traces import Traces
from dagflow.testing.graphs import random_graph
from dagflow.testing.simulate import Simulation
from dagflow.work.program import Program

MODES = ("serial", "thread", "process", "async")


class Traced(Simulation):
    """A simulation whose facts a tracer hears."""

    def __init__(self, graph, tasks, choose, *, deaths=0, fraction=1.0, **options):
        self.tracer = Tracer(Sample(fraction), keep_sources=True, clock=lambda: self.now)
        self.now = 0.0
        self.tracer.opened(graph.check())
        super().__init__(graph, tasks, choose, deaths=deaths, **options)
        self.tracer.names = [node.name for node in self.world.plan.nodes]
        self.world.timed = self.tracer.sampled

    def tell(self, events):
        before = len(self.world.facts)
        super().tell(events)
        self.tracer.facts(self.world.facts[before:])

    def traces(self):
        return Traces(self.tracer, lambda: self.scheduler.admitted)


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(Program, "traced", True)


def made(seed):
    chance = random.Random(seed)
    graph = random_graph(chance.randrange, modes=MODES)
    return graph, [chance.randrange(1000) for _ in range(chance.randrange(12))], chance


def everything(traces):
    return [trace for top in traces for trace in top.walk()]


@pytest.mark.parametrize("block", range(6))
def test_hops_agree_with_counts_and_outcomes(block):
    for seed in range(block * 25, block * 25 + 25):
        graph, tasks, chance = made(seed)
        run = Traced(graph, tasks, chance.randrange, deaths=seed % 3)
        result = run.run()
        found = everything(run.traces())

        ended = Counter((hop.node, hop.status) for trace in found for hop in trace.hops)
        for node, snapshot in zip(run.world.plan.nodes, result.snapshot.nodes, strict=True):
            if node.merge is not None:
                continue  # counts its members, where a trace has one hop
            assert ended[node.name, "done"] == snapshot.succeeded, (seed, node.name)
            assert ended[node.name, "failed"] == snapshot.failed, (seed, node.name)
            assert ended[node.name, "dropped"] == snapshot.dropped, (seed, node.name)
            assert ended[node.name, "retried"] >= snapshot.retried, (seed, node.name)

        outcomes = result.outcomes
        tops = [trace for trace in run.traces() if "w" not in trace.trace_id]
        assert [trace.trace_id for trace in tops] == [outcome.trace_id for outcome in outcomes], seed
        values = [trace.task for trace in tops if trace.hops]
        assert values == [o.task for t, o in zip(tops, outcomes, strict=True) if t.hops], seed


@pytest.mark.parametrize("block", range(6))
def test_families_hang_together(block):
    for seed in range(block * 25, block * 25 + 25):
        graph, tasks, chance = made(seed)
        run = Traced(graph, tasks, chance.randrange, deaths=seed % 3)
        run.run()
        found = everything(run.traces())
        ids = [trace.trace_id for trace in found]
        assert len(ids) == len(set(ids)), seed
        for trace in found:
            for child in trace.children:
                assert child.parent is trace
                assert child.trace_id.rpartition(".")[0] == trace.trace_id
            attempts = {}
            for hop in trace.hops:
                last = attempts.get(hop.node)
                assert last is None or last.status == "retried", (seed, "a task comes to a node once, attempts aside")
                assert hop.attempt == (1 if last is None else last.attempt + 1), (seed, hop)
                assert hop.queued <= hop.start <= hop.end
                attempts[hop.node] = hop
            assert run.traces().of_id(trace.trace_id).hops == trace.hops
            assert str(trace).count("\n") >= len(trace.hops)


@pytest.mark.parametrize("block", range(4))
def test_how_a_task_ended_can_be_told_from_the_hops(block):
    """Windows and ``of="run"`` aside, whose members' fates are decided where nobody's trace goes."""
    told = 0
    for seed in range(block * 60, block * 60 + 60):
        graph, tasks, chance = made(seed)
        if any(n.merge is not None and n.merge.closing != "scope" for n in graph.check().nodes):
            continue
        run = Traced(graph, tasks, chance.randrange, deaths=seed % 2)
        outcomes = run.run().outcomes
        for trace, outcome in zip(run.traces(), outcomes, strict=True):
            last = {t.hops[-1].node for t in trace.walk() if t.hops}
            if outcome.status == "dropped" and last & splitters(run):
                continue  # beside what was dropped there was a split without children, which shows in no hop
            if outcome.status in ("failed", "dropped", "cancelled") or trace.status == "failed":
                assert trace.status == outcome.status, (seed, str(trace))
            told += 1
    assert told > 50


def splitters(run):
    return {node.name for node in run.world.plan.nodes if node.kind == "split"}


@pytest.mark.parametrize("fraction", [0.5, 0.2])
def test_a_sample_tells_of_its_tasks_what_the_whole_does(fraction):
    for seed in range(25):
        graph, _, chance = made(seed)
        tasks = [chance.randrange(1000) for _ in range(10)]
        orders = random.Random(seed), random.Random(seed)
        whole, part = (
            Traced(graph, tasks, orders[0].randrange),
            Traced(graph, tasks, orders[1].randrange, fraction=fraction),
        )
        whole.run()
        part.run()
        sample = Sample(fraction)
        for trace in part.traces():
            if "w" in trace.trace_id:
                continue
            assert sample.has(int(trace.trace_id, 16))
            same = whole.traces().of_id(trace.trace_id)
            assert shape(trace) == shape(same), (seed, trace.trace_id)
        tops = [t for t in part.traces() if "w" not in t.trace_id]
        assert len(tops) == len(sample.within(0, 10))


def shape(trace):
    hops = [(hop.node, hop.attempt, hop.status, hop.worker, hop.error) for hop in trace.hops]
    return trace.trace_id, trace.task, hops, [shape(child) for child in trace.children]


def test_an_envelope_keeps_when_it_came_when_it_is_cut():
    whole = Envelope("run", [(None, range(10))], 10, arrived=3.5)
    assert whole.split(4).arrived == whole.only(2).arrived == whole.arrived == 3.5


def test_columns_say_when_they_are_empty():
    assert Columns().of(3) == []
    assert Columns().aggregates() == []
