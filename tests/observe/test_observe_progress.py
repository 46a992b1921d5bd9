from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest
from observe_made import NOTHING, failed, node_snapshot, plan_of, screen, snapshot_of

from dagflow.observe.failures import FailureLog
from dagflow.observe.progress import Progress


def run(progress, plan, *snapshots):
    progress.opened(plan)
    for snapshot in snapshots[:-1]:
        progress.tick(snapshot)
    progress.closed(snapshots[-1])


def test_a_bar_for_each_node(on_terminal):
    terminal = on_terminal()
    run(
        Progress({"fetch": "Fetching pages"}),
        plan_of("fetch", "parse"),
        snapshot_of(node_snapshot("fetch", 2, 1), node_snapshot("parse", 1)),
        snapshot_of(node_snapshot("fetch", 10, 6, 3, 1, retried=4), node_snapshot("parse", 6, 6)),
    )
    fetch, parse = screen(terminal.finish())
    assert fetch.startswith("Fetching pages: 100%") and "10/10" in fetch
    assert "failed 3, retried 4" in fetch and "task" in fetch
    assert parse.startswith("parse: 100%") and "6/6" in parse
    assert "failed" not in parse


def test_the_last_refresh_shows_the_final_numbers_of_a_stopped_run(on_terminal):
    terminal = on_terminal()
    run(Progress(), plan_of("a"), snapshot_of(node_snapshot("a", 8, 2)), snapshot_of(node_snapshot("a", 8, 3)))
    (line,) = screen(terminal.finish())
    assert "3/8" in line


def test_only_some_nodes(on_terminal):
    terminal = on_terminal()
    nodes = [node_snapshot(n, 5, i) for i, n in enumerate("abc")]
    run(Progress(only={"b"}), plan_of(*"abc"), snapshot_of(*nodes))
    (line,) = screen(terminal.finish())
    assert line.startswith("b: ") and "1/5" in line


def test_only_none_of_these(on_terminal):
    terminal = on_terminal()
    run(Progress(only={"x"}), plan_of("a"), snapshot_of(node_snapshot("a")))
    assert terminal.finish() == ""


def test_many_nodes_share_a_bar_and_the_busiest_have_their_own(on_terminal):
    terminal = on_terminal()
    names = [f"n{i:02}" for i in range(30)]
    nodes = [node_snapshot(n, 10, 10, seconds=float(i)) for i, n in enumerate(names)]
    run(Progress(), plan_of(*names, name="pages"), nothing_of(names), snapshot_of(*nodes))
    total, *others = screen(terminal.finish())
    assert total.startswith("pages: 100%") and "300/300" in total
    assert [line[:3] for line in others] == names[-8:]


def nothing_of(names):
    return snapshot_of(*[node_snapshot(n) for n in names])


def test_twelve_nodes_have_a_bar_each(on_terminal):
    terminal = on_terminal()
    names = [f"n{i:02}" for i in range(12)]
    run(Progress(), plan_of(*names), snapshot_of(*[node_snapshot(n, 1, 1) for n in names]))
    assert [line[:3] for line in screen(terminal.finish())] == names


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (40, 0), (0, 60)])
def test_a_terminal_without_a_size(on_terminal, rows, columns):
    made = on_terminal(rows, columns)
    run(Progress(), plan_of("a", "b"), snapshot_of(node_snapshot("a", 4, 4), node_snapshot("b", 4, 2)))
    a, b = screen(made.finish())
    assert "4/4" in a and "2/4" in b
    assert "█" in a or "#" in a


def test_silent_where_stderr_is_no_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    run(Progress(), plan_of("a"), snapshot_of(node_snapshot("a", 4, 4)), snapshot_of(node_snapshot("a", 4, 4)))
    assert stream.getvalue() == ""


def test_silent_without_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    run(Progress(), plan_of("a"), snapshot_of(node_snapshot("a", 4, 4)))


def test_names_cannot_steer_the_terminal(on_terminal):
    terminal = on_terminal()
    run(Progress({"a": "x\x1b[2J\ny"}), plan_of("a"), snapshot_of(node_snapshot("a", 1, 1)))
    text = terminal.finish()
    assert "\x1b[2J" not in text and "x\\x1b[2J\\ny" in text


def test_stdout_is_the_users(on_terminal, capsys):
    on_terminal()
    run(Progress(), plan_of("a"), snapshot_of(node_snapshot("a", 1, 1)))
    assert capsys.readouterr().out == ""


def test_leaves_no_bar_and_no_thread_behind(on_terminal):
    on_terminal()
    from tqdm import tqdm

    threads = threading.active_count()
    progress = Progress()
    progress.opened(plan_of("a", "b"))
    assert threading.active_count() == threads
    with pytest.raises(IndexError):
        progress.closed(NOTHING)  # wrong numbers: the bars are closed all the same
    assert not list(getattr(tqdm, "_instances", []))


def test_one_progress_for_several_runs(on_terminal):
    terminal = on_terminal()
    progress = Progress()
    for received in (3, 4):
        run(progress, plan_of("a"), snapshot_of(node_snapshot("a", received, received)))
    first, second = screen(terminal.finish())
    assert "3/3" in first and "4/4" in second


def test_failures_are_told_above_the_bars(on_terminal):
    terminal = on_terminal()
    from loguru import logger

    number = logger.add(terminal.stream, format="{message}", colorize=False)
    try:
        progress, log, plan = Progress(), FailureLog(), plan_of("a", "b")
        now = snapshot_of(node_snapshot("a", 4, 4), node_snapshot("b", 4, 4))
        for observer in (progress, log):
            observer.opened(plan)
        progress.tick(now)
        log.facts([failed(3, "bad page")])
        for observer in (progress, log):
            observer.closed(now)
    finally:
        logger.remove(number)
    lines = screen(terminal.finish())
    assert len(lines) == 3
    assert "bad page" in lines[0] and lines[0].endswith("bad page")
    assert lines[1].startswith("a: 100%") and lines[2].startswith("b: 100%")


NOTEBOOK = """
import sys, types, warnings
warnings.simplefilter("error")
class ZMQInteractiveShell: pass
ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: ZMQInteractiveShell()
sys.modules["IPython"] = ipython
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
sys.modules["ipywidgets"] = None
sys.path.insert(0, "tests/observe")
from observe_made import node_snapshot, plan_of, snapshot_of
from dagflow.observe.progress import Progress
progress = Progress()
progress.opened(plan_of("a", "b"))
progress.closed(snapshot_of(node_snapshot("a", 2, 2), node_snapshot("b", 2, 1, 1)))
"""


def test_a_notebook_without_widgets_gets_one_line_of_text(pytestconfig):
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, cwd=pytestconfig.rootpath, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    (line,) = screen(done.stderr.decode())
    assert line.startswith("all nodes: 100%") and "4/4" in line and "failed 1" in line
    assert b"\x1b[A" not in done.stderr
