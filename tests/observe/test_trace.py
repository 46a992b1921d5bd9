"""Traces as a user asks for them, on each backend and in each mode."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time

import pytest

import dagflow as df
from dagflow import DROP, Merger, Router, Splitter, TaskManager
from dagflow.observe.columns import Columns

BACKENDS = ("serial", "thread", "process")
MODES = ("serial", "thread", "process", "async")


@pytest.fixture(autouse=True)
def _quiet():
    from loguru import logger

    logger.disable("dagflow")
    yield
    logger.enable("dagflow")


def double(x):
    return 2 * x


async def adouble(x):
    await asyncio.sleep(0)
    return 2 * x


def letters(text):
    return list(text)


def not_b(text):
    if text == "b":
        raise ValueError("no b, please")
    return text.upper()


def nodes(trace):
    return [(hop.node, hop.attempt, hop.status) for hop in trace.hops]


# -- one task ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chain(backend):
    before = time.time()
    result = (TaskManager(double) >> TaskManager(double, name="again")).run([5, 7, 5], backend, trace=True)
    after = time.time()
    trace = result.trace(7)
    assert (trace.trace_id, trace.task, trace.status, trace.path) == ("1", 7, "done", ["double", "again"])
    assert nodes(trace) == [("double", 1, "done"), ("again", 1, "done")]
    assert trace.parent is None and trace.children == [] and list(trace.walk()) == [trace]
    moments = [before] + [m for hop in trace.hops for m in (hop.queued, hop.start, hop.end)] + [after]
    assert moments == sorted(moments), "each hop is queued, starts and ends, all within the run"
    for hop in trace.hops:
        assert hop.worker is not None and hop.error is None
        assert hop.ran >= 0 and hop.waited >= 0
        assert (hop.pid == os.getpid()) is (backend != "process")
    assert result.trace(5).trace_id == "0", "the first of equals"
    assert [t.trace_id for t in result.traces] == ["0", "1", "2"] and len(result.traces) == 3
    assert result.traces[-1].trace_id == "2" and [t.task for t in result.traces[:2]] == [5, 7]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_mode(backend, mode):
    node = TaskManager(adouble if mode == "async" else double, execution_mode=mode, worker_limit=3, name="n")
    result = node.__rshift__(TaskManager(double, name="m")).run(range(200), backend, trace=True)
    assert result.values == [4 * n for n in range(200)]
    for number in range(200):
        trace = result.trace(number)
        assert nodes(trace) == [("n", 1, "done"), ("m", 1, "done")]
        first, second = trace.hops
        assert first.queued <= first.start <= first.end <= second.end


@pytest.mark.parametrize("backend", BACKENDS)
def test_how_long_a_task_ran_and_waited(backend):
    """A gate holds the first task; the second waits for it in the queue."""
    result = TaskManager(time.sleep, name="nap").__rshift__(double_none).run([0.05, 0.0], backend, trace=True)
    first, second = result.trace(0.05).hops[0], result.trace(0.0).hops[0]
    assert 0.05 <= first.ran < 5
    assert second.start >= first.end
    assert second.waited >= 0.05


def double_none(x):
    return x


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_retries(backend, mode):
    def fails(x):
        raise ConnectionError(f"no {x}")

    async def afails(x):
        raise ConnectionError(f"no {x}")

    function = afails if mode == "async" else fails
    node = TaskManager(function, execution_mode=mode, max_retries=2, retry_delay=0.001, name="n")
    result = df.Graph(node).run(["a", "b"], backend, trace=True)
    trace = result.trace("b")
    assert trace.status == "failed"
    assert nodes(trace) == [("n", 1, "retried"), ("n", 2, "retried"), ("n", 3, "failed")]
    assert {hop.error for hop in trace.hops} == {"ConnectionError: no b"}
    assert trace.hops[1].queued >= trace.hops[0].end, "it came again when its wait was over"
    assert trace.path == ["n"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropped_and_duplicate(backend):
    graph = TaskManager(lambda x: DROP if x == 2 else x, name="sieve") >> TaskManager(double, deduplicate=True)
    result = graph.run([1, 2, 1, 3], backend, trace=True)
    first, dropped, duplicate, other = result.traces
    assert (dropped.status, nodes(dropped)) == ("dropped", [("sieve", 1, "dropped")])
    assert (duplicate.status, nodes(duplicate)) == ("dropped", [("sieve", 1, "done"), ("double", 1, "dropped")])
    assert duplicate.hops[1].worker is None and duplicate.hops[1].pid is None, "no worker was asked"
    assert [first.status, other.status] == ["done", "done"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["serial", "async"])
def test_batches_run_together(backend, mode):
    async def adoubles(tasks):
        return [2 * t for t in tasks]

    node = TaskManager(
        adoubles if mode == "async" else lambda tasks: [2 * t for t in tasks],
        execution_mode=mode, batch_size=4, name="b",
    )  # fmt: skip
    result = df.Graph(node).run(range(8), backend, trace=True)
    hops = [trace.hops[0] for trace in result.traces]
    assert result.values == [2 * n for n in range(8)]
    spans = [(hop.start, hop.end) for hop in hops]
    assert backend == "serial" or len(set(spans)) < 8, "those of one list have one time; there they come one by one"
    assert all(start <= end for start, end in spans)


def test_a_task_that_takes_too_long():
    result = df.Graph(TaskManager(time.sleep, timeout=0.2, max_retries=0, name="nap")).run(
        [0, 30, 0], "process", trace=True
    )
    (hop,) = result.trace(30).hops
    assert hop.status == "failed" and hop.error.startswith("TaskTimeout: ")
    assert 0.15 <= hop.ran < 20 and hop.pid not in (None, os.getpid())
    assert [t.status for t in result.traces] == ["done", "failed", "done"]


@pytest.mark.parametrize("mode", ["serial", "process"])
def test_a_worker_that_dies(tmp_path, mode):
    flag = str(tmp_path / "once")

    def dies_once(x):
        if x == 5 and not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), 9)
        return x

    node = TaskManager(dies_once, execution_mode=mode, worker_limit=1 if mode == "serial" else 2, name="n")
    result = (node >> TaskManager(double, name="m")).run(range(10), "process", trace=True)
    trace = result.trace(5)
    assert trace.status == "done"
    assert nodes(trace) == [("n", 1, "retried"), ("n", 2, "done"), ("m", 1, "done")]
    died, again = trace.hops[:2]
    assert died.error.startswith("WorkerDied: ") and "SIGKILL" in died.error
    assert died.pid and again.pid and died.pid != again.pid and died.worker != again.worker
    assert died.start <= died.end <= again.queued <= again.start
    others = [t for t in result.traces if t.task != 5]
    assert all([h.status for h in t.hops] == ["done", "done"] for t in others), "its neighbours were not blamed"


def test_a_task_that_kills_every_worker():
    node = TaskManager(lambda x: os.kill(os.getpid(), 9) if x == 1 else x, name="n")
    result = df.Graph(node).run(range(3), "process", trace=True)
    trace = result.trace(1)
    assert trace.status == "failed"
    assert nodes(trace) == [("n", 1, "retried"), ("n", 2, "retried"), ("n", 3, "failed")]
    assert len({hop.pid for hop in trace.hops}) == 3


def test_a_value_that_cannot_travel():
    result = (TaskManager(lambda x: threading.Lock() if x else x, name="a") >> double).run(
        [0, 1], "process", trace=True
    )
    (hop,) = result.trace(1).hops
    assert hop.status == "failed" and hop.error.startswith("PayloadError: ")


# -- families ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_split_and_its_merge(backend):
    graph = Splitter(letters) >> TaskManager(not_b, name="up") >> Merger("".join, on_missing="skip", name="join")
    result = graph.run(["abc", "", "d"], backend, trace=True)
    trace = result.trace("abc")
    assert trace.status == "done" and trace.path == ["letters", "join"], "the merged task is its parent going on"
    assert [child.task for child in trace.children] == ["a", "b", "c"]
    assert [child.status for child in trace.children] == ["done", "failed", "done"]
    assert all(child.parent is trace and child.path == ["up"] for child in trace.children)
    ids = [t.trace_id for t in trace.walk()]
    assert len(set(ids)) == 4 and all(each.startswith("0.") for each in ids[1:])
    assert result.trace(trace.children[1].trace_id).task == "b"
    assert trace.children[1].hops[0].error == "ValueError: no b, please"
    assert nodes(result.trace("")) == [("letters", 1, "done"), ("join", 1, "done")]
    made, merged = trace.hops
    assert merged.queued >= max(child.hops[0].end for child in trace.children)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broadcast_and_its_merge(backend):
    def both(a, b):
        return a + b

    graph = TaskManager(double) >> [TaskManager(double, name="l"), TaskManager(double, name="r")] >> Merger(both)
    trace = graph.run([3], backend, trace=True).trace(3)
    assert trace.path == ["double", "both"]
    assert [(child.path, child.task) for child in trace.children] == [(["l"], 6), (["r"], 6)]
    assert len({t.trace_id for t in trace.walk()}) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_source_that_feeds_two_nodes(backend):
    graph = df.par(TaskManager(double, name="l"), TaskManager(double, name="r"))
    result = graph.run([3, 4], backend, trace=True)
    trace = result.trace(4)
    assert trace.hops == [] and trace.task == 4 and trace.status == "done"
    assert [(child.path, child.task) for child in trace.children] == [(["l"], 4), (["r"], 4)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_routes(backend):
    def where(x):
        return ["even", "odd"] if x == 0 else "even" if x % 2 == 0 else "odd"

    graph = Router(where) >> {"even": TaskManager(double, name="e"), "odd": TaskManager(double, name="o")}
    result = graph.run([0, 1, 2], backend, trace=True)
    both, odd, even = result.traces
    assert both.path == ["where"]
    assert [child.path for child in both.children] == [["e"], ["o"]]
    assert odd.path == ["where", "o"] and even.path == ["where", "e"] and not odd.children, "one label: itself goes on"


@pytest.mark.parametrize("backend", BACKENDS)
def test_failures_that_are_taken_up(backend):
    risky = TaskManager(not_b, name="risky")
    graph = df.Graph(risky) | (risky.failures >> TaskManager(lambda failure: failure.task, name="rescue"))
    result = graph.run(["a", "b"], backend, trace=True)
    trace = result.trace("b")
    assert trace.status == "done", "its failure was taken up"
    assert nodes(trace) == [("risky", 1, "failed"), ("rescue", 1, "done")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_merge_that_misses_a_member(backend):
    graph = Splitter(letters) >> TaskManager(not_b, name="up") >> Merger("".join, name="join")
    trace = graph.run(["abc"], backend, trace=True).trace("abc")
    assert trace.status == "failed"
    hop = trace.hops[-1]
    assert (hop.node, hop.status, hop.worker) == ("join", "failed", None), "no worker was asked"
    assert hop.error.startswith("MissingMembers: 1 member failed: ValueError: no b, please")


@pytest.mark.parametrize("backend", BACKENDS)
def test_folds(backend):
    graph = Splitter(range, name="split") >> double >> Merger(str, fold=(lambda a, b: a + b, 0), name="sum")
    trace = graph.run([4], backend, trace=True).trace(4)
    assert trace.path == ["split", "sum"] and trace.status == "done"
    assert len(trace.children) == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_comes_from_several_tasks_has_a_trace_of_its_own(backend):
    graph = TaskManager(double) >> Merger(sum, size=2, name="pairs") >> TaskManager(double, name="after")
    result = graph.run([1, 2, 3], backend, trace=True)
    *sources, first, second = result.traces
    assert [t.path for t in sources] == [["double"]] * 3 and [t.status for t in sources] == ["done"] * 3
    assert [t.path for t in (first, second)] == [["pairs", "after"]] * 2
    assert first.task is None and first.parent is None
    assert result.trace(second.trace_id).hops == second.hops
    whole = (TaskManager(double) >> Merger(sum, of="run", name="all")).run([1, 2], backend, trace=0.000001)
    (only,) = whole.traces
    assert only.path == ["all"], "however small the fraction, the merge of the whole run is one"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_slow_generator_is_timed_for_itself(backend):
    """Its children flow on while it still runs; its time ends with its last child all the same."""

    def slowly(n):
        for i in range(3):
            time.sleep(0.03)
            yield n + i

    trace = (Splitter(slowly) >> double).run([10, 20], backend, trace=True).trace(10)
    (hop,) = trace.hops
    assert hop.ran >= 0.09
    assert len(trace.children) == 3
    if backend != "serial":
        assert trace.children[0].hops[0].queued < hop.end


# -- asking ------------------------------------------------------------------------------------------------


def test_a_run_that_was_not_traced_says_what_to_write():
    result = df.Graph(double).run([1], "serial")
    for ask in (lambda: result.trace(1), lambda: result.traces, lambda: result.export_trace("x.jsonl")):
        with pytest.raises(ValueError, match="trace=True"):
            ask()


def test_a_task_that_was_not_traced_says_what_to_write():
    result = df.Graph(double).run(range(100), "serial", trace=0.1)
    traced = {trace.task for trace in result.traces}
    assert len(traced) == 10
    for number in range(100):
        if number in traced:
            assert result.trace(number).task == number
        else:
            with pytest.raises(KeyError, match=r"trace=0.1 .* trace=True"):
                result.trace(number)
    with pytest.raises(KeyError, match="not a source task of this run"):
        result.trace(1000)
    with pytest.raises(KeyError, match="no task of this run has the trace id 'zz'"):
        result.trace("zz")
    with pytest.raises(KeyError, match="no task of this run"):
        result.trace("ffff")


def test_a_fraction_is_the_same_tasks_in_each_run():
    graph = TaskManager(double, execution_mode="thread") >> double
    picked = [[t.trace_id for t in graph.run(range(500), b, trace=0.05).traces] for b in ("serial", "thread")]
    assert picked[0] == picked[1] and len(picked[0]) == 25


def test_outcomes_and_their_ids():
    result = (Splitter(letters) >> double).run(["ab", "c"], "serial", trace=True)
    for outcome in result.outcomes:
        assert result.trace(outcome).trace_id == result.trace(outcome.trace_id).trace_id == outcome.trace_id
        assert result.trace(outcome).task == outcome.task


def test_a_text_that_is_a_task_is_not_taken_for_an_id():
    result = df.Graph(double).run(["1", "0"], "serial", trace=True)
    assert result.trace("1").trace_id == "0" and result.trace("0").trace_id == "1"


@pytest.mark.parametrize("trace", [-0.1, 1.5, "yes", float("nan"), [1]])
def test_what_trace_cannot_mean(trace):
    with pytest.raises(ValueError, match="trace must be True, False, or a fraction"):
        df.Graph(double).run([1], "serial", trace=trace)


@pytest.mark.parametrize("trace", [False, 0, 0.0])
def test_no_trace(trace):
    with pytest.raises(ValueError):
        _ = df.Graph(double).run([1], "serial", trace=trace).traces


def test_json_and_text():
    graph = Splitter(letters) >> TaskManager(not_b, name="up\x1b[2J") >> Merger("".join, on_missing="skip", name="join")
    trace = graph.run(["ab\x1b[31m"], "serial", trace=True).traces[0]
    found = json.loads(trace.to_json())
    assert found["status"] == "done" and found["path"] == ["letters", "join"]
    assert [child["trace_id"] for child in found["children"]] == [child.trace_id for child in trace.children]
    assert set(found["hops"][0]) == {
        "node", "attempt", "status", "queued", "start", "end", "worker", "pid", "error",
    }  # fmt: skip
    text = str(trace)
    assert "\x1b" not in text, "control characters are escaped"
    lines = text.splitlines()
    assert lines[0].startswith("[0] 'ab") and lines[0].endswith("done")
    assert lines[1].startswith("├─ letters") and lines[-1].startswith("└─ join")
    assert any("ValueError: no b, please" in line and "failed" in line for line in lines)
    assert len(lines) == 1 + 2 + 2 * len(trace.children)
    assert repr(trace).startswith("Trace('0', ") and "\n" not in repr(trace)


def test_many_children_are_counted_not_drawn():
    trace = (Splitter(range, name="split") >> double).run([500], "serial", trace=True).trace(500)
    assert len(trace.children) == 500
    assert "... and 480 more" in str(trace) and str(trace).count("\n") < 50


def test_large_values_of_children_are_not_kept(monkeypatch):
    monkeypatch.setattr("dagflow.observe.columns.VALUES_BYTES", 10_000)
    graph = Splitter(lambda n: [bytes([i]) * 1000 for i in range(n)], name="split") >> TaskManager(len)
    for backend in ("serial", "process"):
        trace = graph.run([50], backend, trace=True).trace(50)
        kept = [child.task for child in trace.children]
        assert kept.count(None) >= 20 and trace.task == 50, backend


def test_old_traces_give_way_to_new_ones(monkeypatch):
    monkeypatch.setattr("dagflow.observe.columns.CHUNK_BYTES", 2000)
    monkeypatch.setattr(Columns.__init__, "__defaults__", (8000,))
    result = df.Graph(double).run(range(3000), "serial", trace=True)
    assert 0 < len(result.traces) < 1000
    assert result.trace(2999).status == "done"
    with pytest.raises(KeyError, match="no longer kept"):
        result.trace(0)


def test_the_tracer_hears_of_a_run_that_was_cut_short():
    def stop(x):
        if x == 3:
            raise SystemExit("enough")
        return x

    with pytest.raises(df.RunFailed) as caught:
        df.Graph(TaskManager(stop)).run(range(10), "serial", trace=True, fail_fast=True)
    result = caught.value.result
    assert [result.trace(n).status for n in (0, 3, 9)] == [result.outcomes[n].status for n in (0, 3, 9)]
    assert result.trace(3).hops[-1].error == "SystemExit: enough"


# -- other ways to run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ordered", [True, False])
def test_streams(backend, ordered):
    stream = (Splitter(letters) >> TaskManager(not_b, name="up")).stream(
        ["ab", "c"], backend, trace=True, ordered=ordered
    )
    items = list(stream)
    assert {item.trace_id for item in items} == {"0", "1"}
    for item in items:
        trace = stream.trace(item)
        assert trace.trace_id == item.trace_id and trace.task == item.task
    assert [trace.status for trace in stream.traces] == ["failed", "done"]
    assert stream.trace("c").trace_id == "1", "found by its value, which the tracer kept"
    assert "limits the run" in stream.explain()
    assert stream.snapshot().state == "finished"


def test_a_stream_says_how_its_tasks_stand():
    gate = threading.Event()
    stream = (
        TaskManager(lambda x: x if x == 0 else gate.wait(20), name="n")
        .__rshift__(double_none)
        .stream([0, 1], "thread", trace=True)
    )
    assert next(stream).task == 0
    assert stream.trace("0").status == "done"
    assert stream.trace("1").status == "running"
    gate.set()
    stream.close()
    assert stream.trace("1").status in ("done", "cancelled")


def test_a_stream_that_nobody_begins_leaves_nothing_behind():
    for make in (df.Graph(double).stream, df.Graph(double).astream):
        make([1], trace=True)
    stream = df.Graph(double).stream([1])
    stream.close()
    assert list(stream) == []


async def _all(stream):
    return [item async for item in stream]


def test_async_ways():
    graph = df.Graph(TaskManager(adouble, execution_mode="async"))

    async def main():
        result = await graph.arun(range(5), "thread", trace=True)
        stream = graph.astream(range(5), "thread", trace=True)
        items = await _all(stream)
        await stream.aclose()
        return result, stream, items

    result, stream, items = asyncio.run(main())
    assert result.trace(4).path == ["adouble"]
    assert stream.trace(items[0]).path == ["adouble"] and len(stream.traces) == 5


def test_a_live_run():
    with df.Graph(double).open("thread", trace=True) as run:
        run.submit(3)
        run.close()
        result = run.wait()
        assert run.trace("0").hops == result.trace(3).hops
        assert "limits the run" in run.explain()
    assert result.trace(3).status == "done"
