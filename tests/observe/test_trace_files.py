"""Exported traces: hops as JSON Lines, a trace that Perfetto opens, spans for OpenTelemetry."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import dagflow as df
from dagflow import Merger, Splitter, TaskManager
from dagflow.errors import BackendError
from dagflow.observe.export import FIELDS, families_of, lines_of
from dagflow.observe.otel import export_spans


@pytest.fixture(autouse=True)
def _quiet():
    from loguru import logger

    logger.disable("dagflow")
    yield
    logger.enable("dagflow")


def letters(text):
    return list(text)


def up(text):
    if text == "b":
        raise ValueError("no b\x1b[31m" + "!" * 5000)
    return text.upper()


def result_of(backend="thread", tasks=("abc", "d", ""), **options):
    node = TaskManager(up, execution_mode="thread", worker_limit=3, name="up")
    graph = Splitter(letters) >> node >> Merger("".join, on_missing="skip", name="join")
    return graph.run(tasks, backend, trace=True, **options)


def read(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def events_in(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))["traceEvents"]


# -- JSON Lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["serial", "thread", "process"])
def test_a_hop_a_line(tmp_path, backend):
    result = result_of(backend)
    path = result.export_trace(tmp_path / "x.jsonl")
    assert path == str(tmp_path / "x.jsonl")
    lines = read(path)
    hops = [(trace, hop) for top in result.traces for trace in top.walk() for hop in trace.hops]
    assert len(lines) == len(hops) == 3 * 2 + 4
    for line, (trace, hop) in zip(lines, hops, strict=True):
        assert tuple(line) == FIELDS
        assert line["trace_id"] == trace.trace_id and line["task"] == trace.task
        assert line["parent"] == (None if trace.parent is None else trace.parent.trace_id)
        assert [line[name] for name in ("node", "attempt", "status", "queued", "start", "end", "worker", "pid")] == [
            hop.node, hop.attempt, hop.status, hop.queued, hop.start, hop.end, hop.worker, hop.pid,
        ]  # fmt: skip
    (error,) = [line["error"] for line in lines if line["error"]]
    assert error.startswith("ValueError: no b\\x1b[31m!!!") and len(error) <= 500, "cut, and escaped"


def test_tasks_that_json_has_no_word_for(tmp_path):
    tasks = [1, 2.5, None, True, "a\x1bb", "x" * 1000, (1, 2), float("nan"), 1 << 70, b"raw", object]
    result = df.Graph(TaskManager(str)).run(tasks, "serial", trace=True)
    found = [line["task"] for line in read(result.export_trace(tmp_path / "x.jsonl"))]
    assert found[:4] == [1, 2.5, None, True]
    assert found[4] == "'a\\x1bb'" and len(found[5]) <= 200
    assert found[6:10] == ["(1, 2)", "nan", str(1 << 70), "b'raw'"]


def test_what_was_written_can_be_read_again(tmp_path):
    result = result_of()
    families = families_of(lines_of(result.export_trace(tmp_path / "x.jsonl")))
    assert [str(top) for top in families] == [str(top) for top in result.traces]


def test_parents_without_a_hop_of_their_own_are_known_by_their_children(tmp_path):
    result = df.par(TaskManager(up, name="l"), TaskManager(up, name="r")).run(["a"], "serial", trace=True)
    (top,) = families_of(lines_of(result.export_trace(tmp_path / "x.jsonl")))
    assert top.trace_id == "0" and [c.path for c in top.children] == [["l"], ["r"]] and top.status == "done"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1: not a JSON value"),
        ("3\n", "line 1: not a hop"),
        ('{"trace_id": "0"}\n', "line 1: not a hop"),
        ('{"trace_id": "0", "node": "a", "status": "odd", "attempt": 1, "queued": 0, "start": 0, "end": 0}', "line 1"),
    ],
)
def test_files_that_are_none(tmp_path, text, says):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(ValueError, match=says):
        families_of(lines_of(str(tmp_path / "x.jsonl")))


def test_another_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.jsonl .* \.json"):
        result_of().export_trace(tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError):
        result_of().export_trace(tmp_path / "nowhere" / "x.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.jsonl"
    path.write_text("old")
    monkeypatch.setattr("dagflow.observe.export.json_value", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        result_of().export_trace(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# -- Perfetto ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["serial", "thread", "process"])
def test_the_trace_event_format(tmp_path, backend):
    result = result_of(backend, ["abcdef", "xyz"] * 20)
    events = events_in(result.export_trace(tmp_path / "x.json"))
    slices = [e for e in events if e["ph"] == "X"]
    hops = [hop for top in result.traces for trace in top.walk() for hop in trace.hops]
    assert len(slices) == len(hops)
    named = {(e["pid"], e["tid"]) for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in slices} <= named, "each track has a name"
    tracks = {}
    for e in slices:
        assert e["ts"] >= 0 and e["dur"] >= 0 and e["args"]["trace_id"]
        tracks.setdefault((e["pid"], e["tid"]), []).append((e["ts"], e["ts"] + e["dur"]))
    for spans in tracks.values():
        ordered = sorted(spans)
        assert all(a[1] <= b[0] + 0.0015 for a, b in zip(ordered, ordered[1:], strict=False)), "no overlap in a track"
    workers = {hop.worker for hop in hops}
    assert len(tracks) >= len(workers)

    arrows = {}
    for e in events:
        if e["ph"] in "sf":
            arrows.setdefault(e["id"], {})[e["ph"]] = e
    assert arrows
    for both in arrows.values():
        assert set(both) == {"s", "f"} and both["f"]["bp"] == "e"
        assert both["s"]["ts"] <= both["f"]["ts"]
        for e in both.values():
            inside = [low <= e["ts"] <= high + 1e-6 for low, high in tracks[e["pid"], e["tid"]]]
            assert any(inside), "each end lies in a slice"
    spans = [e for e in events if e["ph"] in "be"]
    assert len(spans) == 2 * 40 and {e["id2"]["local"] for e in spans} == {f"{n:x}" for n in range(40)}


def test_arrows_go_along_the_family(tmp_path):
    result = result_of("serial", ["ac"])
    events = events_in(result.export_trace(tmp_path / "x.json"))
    at = {(e["pid"], e["tid"], e["ts"]): e for e in events if e["ph"] == "X"}
    slices = sorted(at.values(), key=lambda e: e["ts"])

    def slice_of(end):
        return next(
            (s["name"], s["args"]["trace_id"])
            for s in slices
            if (s["pid"], s["tid"]) == (end["pid"], end["tid"]) and s["ts"] <= end["ts"] <= s["ts"] + s["dur"] + 1e-6
        )

    arrows = {}
    for e in events:
        if e["ph"] in "sf":
            arrows.setdefault(e["id"], {})[e["ph"]] = slice_of(e)
    a, c = (child.trace_id for child in result.traces[0].children)
    assert sorted((x["s"], x["f"]) for x in arrows.values()) == sorted(
        [
            (("letters", "0"), ("up", a)),
            (("letters", "0"), ("up", c)),
            (("up", a), ("join", "0")),
            (("up", c), ("join", "0")),
        ]
    )


def test_hops_that_no_worker_was_asked_for_are_moments(tmp_path):
    result = df.Graph(TaskManager(str, deduplicate=True)).run([1, 1], "serial", trace=True)
    events = events_in(result.export_trace(tmp_path / "x.json"))
    (moment,) = [e for e in events if e["ph"] == "i"]
    assert moment["cat"] == "dropped"


def test_no_tasks(tmp_path):
    result = df.Graph(TaskManager(str)).run([], "serial", trace=True)
    assert read(result.export_trace(tmp_path / "x.jsonl")) == []
    assert events_in(result.export_trace(tmp_path / "x.json"))


# -- OpenTelemetry -----------------------------------------------------------------------------------------


def spans_of(result):
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = export_spans(result.traces, provider)
    found = exporter.get_finished_spans()
    provider.shutdown()
    assert len(found) == made
    return found


def test_spans_with_links():
    result = result_of("serial", ["abc", "d"])
    spans = spans_of(result)
    tasks = [s for s in spans if s.name == "task"]
    hops = [s for s in spans if s.name != "task"]
    assert len(tasks) == 2 + 4 and len(hops) == 2 * 2 + 4
    assert len({s.context.trace_id for s in spans}) == 2, "a trace of OpenTelemetry's a source task"
    by_id = {s.context.span_id: s for s in spans}

    first = next(s for s in tasks if s.attributes["dagflow.trace_id"] == "0")
    assert first.parent is None and first.attributes["dagflow.task"] == "'abc'"
    children = [s for s in tasks if s.parent is not None and s.parent.span_id == first.context.span_id]
    assert [s.attributes["dagflow.task"] for s in children] == ["'a'", "'b'", "'c'"]
    opener = next(s for s in hops if s.name == "letters" and s.parent.span_id == first.context.span_id)
    assert all(by_id[s.links[0].context.span_id] is opener for s in children), "each links to what made it"

    join = next(s for s in hops if s.name == "join" and s.parent.span_id == first.context.span_id)
    merged = [by_id[link.context.span_id] for link in join.links]
    assert [by_id[s.parent.span_id] for s in merged] == children, "the merge links to what it merged"

    trace = result.trace("abc")
    assert abs(join.start_time / 1e9 - trace.hops[1].start) < 1e-6
    assert abs(join.end_time / 1e9 - trace.hops[1].end) < 1e-6
    assert first.start_time <= min(s.start_time for s in spans if s.context.trace_id == first.context.trace_id)
    failed = next(s for s in hops if s.attributes["dagflow.status"] == "failed")
    assert failed.status.status_code.name == "ERROR" and failed.status.description.startswith("ValueError: no b")


def test_retries_are_spans_of_their_own():
    def fails(x):
        raise ConnectionError("no")

    result = df.Graph(TaskManager(fails, max_retries=2, retry_delay=0.001)).run([1], "serial", trace=True)
    spans = spans_of(result)
    assert [s.attributes.get("dagflow.attempt") for s in spans] == [1, 2, 3, None]
    assert spans[-1].status.status_code.name == "ERROR"


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    for name in ("opentelemetry", "opentelemetry.trace"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=r'pip install "dagflow\[otel\]"'):
        export_spans(result_of("serial").traces)
