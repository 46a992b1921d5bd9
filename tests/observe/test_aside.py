"""What others write while bars stand on a terminal, looked at as a terminal shows it."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import threading
from typing import Any

import pytest
from loguru import logger
from observe_made import Terminal, failed, node_snapshot, plan_of, screen, snapshot_of

from dagflow.observe.failures import FailureLog
from dagflow.observe.progress import Progress

TWO = snapshot_of(node_snapshot("a", 4, 4), node_snapshot("b", 4, 3, 1))


def bars(lines: list[str]) -> list[str]:
    """The labels of the bars among lines, which must be whole."""
    found = [line for line in lines if "%|" in line]
    assert all(line.endswith("]") for line in found), lines
    return [line.split(":")[0] for line in found]


# -- scripts -----------------------------------------------------------------------------------------------


def on_a_terminal(script: str, *, rows: int = 40, columns: int = 160) -> tuple[list[str], int]:
    """What the terminal shows in the end that a script ran in, with stdout and stderr on it, and its exit code."""
    text, code = written_by(script, Terminal(rows, columns))
    return screen(text, rows, columns), code


def written_by(script: str, terminal: Terminal, stdout: Any = None) -> tuple[str, int]:
    """What a script wrote to a terminal, with the marks that move its cursor, and its exit code."""
    slave = terminal.stream.fileno()
    done = subprocess.run(
        [sys.executable, "-c", script], stdin=slave, stdout=stdout or slave, stderr=slave, timeout=60, check=False,
        env={**os.environ, "TERM": "xterm", "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    return terminal.finish(), done.returncode


CHATTY = """
import logging, sys, threading
from loguru import logger           # its first sink holds this stderr
from dagflow import TaskManager
logging.basicConfig(format="logging %(message)s", level=logging.INFO)

def half(x):
    logger.info("loguru {}", x)
    logging.info(x)
    print("print", x)
    print("err", x, file=sys.stderr)
    return 10 // x

stop = threading.Event()
def chatter():
    n = 0
    while not stop.wait(0.01):
        sys.stdout.write(f"thread {n} of the driver\\n")
        n += 1
thread = threading.Thread(target=chatter)
thread.start()
before = vars(sys.stderr).copy(), vars(sys.stdout).copy()
graph = TaskManager(half, execution_mode="thread", worker_limit=4) >> TaskManager(str, name="text")
try:
    for out in graph.stream(range(30), "BACKEND", show_progress=True):
        sys.stdout.write(f"out {out.value or out.error}\\n")
    END
finally:
    stop.set()
    thread.join()
    assert (vars(sys.stderr), vars(sys.stdout)) == before
print("after")
"""


@pytest.mark.parametrize("rows", [40, 12])
@pytest.mark.parametrize("backend", ["thread", "serial"])
def test_every_line_is_whole_and_each_bar_is_there_once(backend, rows):
    lines, code = on_a_terminal(CHATTY.replace("BACKEND", backend).replace("END", ""), rows=rows)
    assert code == 0, lines
    for n in range(30):
        assert f"logging {n}" in lines and f"print {n}" in lines and f"err {n}" in lines, lines
        assert sum(line.endswith(f" - loguru {n}") for line in lines) == 1
    assert sum("failed after 1 attempt: ZeroDivisionError" in line for line in lines) == 1
    assert len([line for line in lines if line.startswith("out ")]) == 30
    said = [line for line in lines if line.startswith("thread")]
    assert said == [f"thread {n} of the driver" for n in range(len(said))]
    assert bars(lines) == ["half", "text"]
    assert [line for line in lines if line.startswith("half")][0].count("30/30") == 1
    assert lines[-1] == "after"


def test_bars_and_streams_are_left_in_order_by_an_exception():
    lines, code = on_a_terminal(CHATTY.replace("BACKEND", "thread").replace("END", "raise SystemExit('a bad end')"))
    assert code == 1
    assert bars(lines) == ["half", "text"]
    assert lines[-1] == "a bad end"


PRINTING = """
import os, sys
import dagflow
class Say:
    def __init__(self):
        print("say: loading", file=sys.stderr)
    def __call__(self, x):
        print("print", x)
        print("err", x, file=sys.stderr)
        os.write(1, b"raw %d\\n" % x)
        sys.stdout.write("in par")
        sys.stdout.write(f"ts {x}\\n")
        return os.isatty(1), os.isatty(2)
graph = dagflow.Graph(dagflow.TaskManager(Say, "process", 3, name="say")) >> dagflow.TaskManager(repr, name="text")
with dagflow.keep_warm():
    for bars in BARS:
        result = graph.run(range(30), BACKEND, show_progress=bars)
        print("tty", set(result.values))
"""
WHOLE = ("print {}", "err {}", "raw {}", "in parts {}")


@pytest.mark.parametrize("backend", ["process", "thread"])
@pytest.mark.parametrize("rows", [40, 12])
def test_what_workers_write_goes_above_the_bars(backend, rows):
    script = PRINTING.replace("BACKEND", repr(backend)).replace("BARS", "[True]")
    lines, code = on_a_terminal(script, rows=rows)
    assert code == 0, lines
    said = [line for line in lines if "%|" not in line]
    loading = said.count("say: loading")
    assert 1 <= loading <= 3
    expected = [form.format(x) for form in WHOLE for x in range(30)]
    assert sorted(said) == sorted([*expected, *["say: loading"] * loading, "tty {'(False, False)'}"])
    assert bars(lines) == ["say", "text"]
    assert lines[-1].startswith("tty")


MUCH = """
import dagflow
def say(x):
    for n in range(30_000):
        print("line", n, "." * 60)
dagflow.Graph(dagflow.TaskManager(say, name="say")).run([1], show_progress=True)
"""


def test_a_worker_that_writes_more_than_a_pipe_holds():
    text, code = written_by(MUCH, Terminal(40, 160))
    assert code == 0, text[-2000:]
    assert re.findall(r"line (\d+) \.{60}\r?\n", text) == [str(n) for n in range(30_000)]


def test_without_bars_the_terminal_is_the_workers_own():
    """Also where the same zygote has forked workers that wrote above bars."""
    script = PRINTING.replace("BACKEND", "'process'").replace("BARS", "[False, True, False]")
    lines, code = on_a_terminal(script)
    assert code == 0, lines
    own, piped = "tty {'(True, True)'}", "tty {'(False, False)'}"
    assert [line for line in lines if line.startswith("tty")] == [own, piped, own]
    assert all(lines.count(form.format(x)) == 3 for form in WHOLE for x in range(30))


def test_a_file_in_stdouts_place_is_the_workers_own(tmp_path):
    script = PRINTING.replace("BACKEND", "'process'").replace("BARS", "[True]")
    with open(tmp_path / "out", "wb") as out:
        text, code = written_by(script, Terminal(40, 160), out)
    shown = screen(text, 40, 160)
    assert code == 0, shown
    printed = (tmp_path / "out").read_text().splitlines()
    assert sorted(printed) == sorted(
        [*(form.format(x) for form in WHOLE if "err" not in form for x in range(30)), "tty {'(False, False)'}"]
    )
    assert len([line for line in shown if line.startswith("err")]) == 30
    assert bars(shown) == ["say", "text"]


OWN_BARS = """
from tqdm import tqdm
import dagflow
def work(x):
    for n in tqdm(range(2), desc="inside", leave=False, mininterval=0):
        print("and", x, n)
    tqdm.write(f"told {x}")
graph = dagflow.Graph(dagflow.TaskManager(work, name="node"))
BEFORE
for n in tqdm(range(2), desc="outside", mininterval=0):
    graph.run(range(3), "serial", show_progress=True)
"""


@pytest.mark.parametrize("before", ["", "graph.run([7], 'serial', show_progress=True)"])
def test_bars_of_the_users_own(before):
    """Around a run and inside it; whether tqdm's own lock was there before ours or not."""
    lines, code = on_a_terminal(OWN_BARS.replace("BEFORE", before))
    assert code == 0, lines
    said = [line for x in range(3) for line in (f"and {x} 0", f"and {x} 1", f"told {x}")]
    first = ["and 7 0", "and 7 1", "told 7"] if before else []
    assert [line for line in lines if "%|" not in line] == first + 2 * said
    assert sorted(bars(lines)) == ["node"] * (3 if before else 2) + ["outside"]


QUIET = """
import sys
from dagflow import TaskManager
def work(x):
    assert "write" not in vars(sys.stderr) and "write" not in vars(sys.stdout)
    print(x, end=" ", flush=True)
    return x
graph = TaskManager(work, show_progress=True) >> str
graph.run([0, 1, 2], "serial", show_progress=True).raise_if_failed()
"""


def test_nothing_is_changed_where_stderr_is_no_terminal(tmp_path):
    terminal = Terminal()
    with open(tmp_path / "err", "wb") as err:
        done = subprocess.run(
            [sys.executable, "-c", QUIET], stdout=terminal.stream.fileno(), stderr=err, timeout=60, check=False
        )
    assert terminal.finish() == "0 1 2 "
    assert (tmp_path / "err").read_bytes() == b"" and done.returncode == 0


def test_a_file_in_stdouts_place_gets_what_is_printed_as_it_is(tmp_path):
    script = QUIET.replace('"write" not in vars(sys.stderr) and ', "")
    terminal = Terminal()
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=out, stderr=terminal.stream.fileno(), timeout=60, check=False
        )
    assert done.returncode == 0
    assert (tmp_path / "out").read_bytes() == b"0 1 2 "
    assert bars(screen(terminal.finish())) == ["work", "str"]


# -- streams -----------------------------------------------------------------------------------------------


def follow(progress, plan, snapshot, meanwhile):
    progress.opened(plan)
    progress.tick(snapshot)
    meanwhile()
    progress.tick(snapshot)
    progress.closed(snapshot)


def test_sinks_that_were_given_the_stream_long_before(on_terminal):
    terminal = on_terminal()
    sink = logger.add(terminal.stream, format="{message}", colorize=False)
    handler = logging.StreamHandler(terminal.stream)

    def meanwhile():
        logger.info("from loguru")
        handler.emit(logging.makeLogRecord({"msg": "from logging"}))
        print("from", "print", file=sys.stderr)
        sys.stderr.write("in")
        sys.stderr.flush()
        sys.stderr.write(" pieces\nand the")
        sys.stderr.write(" rest\n")
        sys.stderr.writelines(["many ", "of\n", "them\n"])

    try:
        follow(Progress(), plan_of("a", "b"), TWO, meanwhile)
    finally:
        logger.remove(sink)
    lines = screen(terminal.finish())
    said = ["from loguru", "from logging", "from print", "in pieces", "and the rest", "many of", "them"]
    assert lines[:-2] == said
    assert bars(lines) == ["a", "b"]
    assert "failed 1" in lines[-1]


def test_a_stream_that_hands_on_to_another(on_terminal, monkeypatch):
    """Who holds the inner one, and who writes to the outer one, both write above the bars."""
    terminal = on_terminal()

    class Tee:
        def write(self, text):
            return terminal.stream.write(text)

        def __getattr__(self, name):
            return getattr(terminal.stream, name)

    tee = Tee()
    monkeypatch.setattr(sys, "__stderr__", terminal.stream)
    monkeypatch.setattr(sys, "stderr", tee)

    def meanwhile():
        print("outer", file=tee)
        print("inner", file=terminal.stream)

    follow(Progress(), plan_of("a", "b"), TWO, meanwhile)
    assert "write" not in vars(terminal.stream) and "write" not in vars(tee)
    lines = screen(terminal.finish())
    assert lines[:2] == ["outer", "inner"] and bars(lines[2:]) == ["a", "b"]


def test_the_stream_is_as_it_was_before(on_terminal):
    terminal = on_terminal()
    before = dict(vars(terminal.stream))
    progress = Progress()
    progress.opened(plan_of("a"))
    kept = sys.stderr.write
    assert "write" in vars(terminal.stream)
    sys.stderr.write("left ")
    sys.stderr.write("over")
    with pytest.raises(TypeError):
        sys.stderr.write(b"no text")
    progress.closed(snapshot_of(node_snapshot("a", 1, 1)))
    assert dict(vars(terminal.stream)) == before
    kept(", and kept")
    assert screen(terminal.finish())[-1] == "left over, and kept"


def test_a_line_written_in_its_place_again_and_again(on_terminal):
    terminal = on_terminal()

    def meanwhile():
        for n in range(5):
            sys.stderr.write(f"\rby hand {n}")
        sys.stderr.write("\n")

    follow(Progress(), plan_of("a"), snapshot_of(node_snapshot("a", 1, 1)), meanwhile)
    lines = screen(terminal.finish())
    assert lines[0] == "by hand 4" and bars(lines[1:]) == ["a"]


def test_bars_of_two_runs_at_once(on_terminal):
    terminal = on_terminal()
    one, two = Progress(), Progress()
    one.opened(plan_of("a"))
    two.opened(plan_of("b"))
    print("between", file=sys.stderr)
    one.closed(snapshot_of(node_snapshot("a", 1, 1)))
    print("after", file=sys.stderr)
    two.closed(snapshot_of(node_snapshot("b", 1, 1)))
    assert "write" not in vars(terminal.stream)
    lines = screen(terminal.finish())
    assert lines[0] == "between" and bars(lines) == ["a", "b"] and "after" in lines


def test_whoever_put_something_before_the_stream_meanwhile_keeps_it(on_terminal):
    terminal = on_terminal()
    progress = Progress()
    progress.opened(plan_of("a"))
    theirs = terminal.stream.write = lambda text: len(text)
    progress.closed(snapshot_of(node_snapshot("a", 1, 1)))
    assert terminal.stream.write is theirs
    del terminal.stream.write
    terminal.finish()


def test_an_observer_that_fails_leaves_the_streams_in_order(on_terminal, monkeypatch):
    """It hears nothing more, also not of the end."""
    terminal = on_terminal()
    progress = Progress()
    progress.opened(plan_of("a"))
    with pytest.raises(IndexError):
        progress.tick(snapshot_of())
    assert "write" not in vars(terminal.stream)
    monkeypatch.setattr("dagflow.observe.progress._new_bar", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Progress().opened(plan_of("a"))
    assert "write" not in vars(terminal.stream)


def test_a_terminal_that_is_gone(on_terminal, monkeypatch):
    """Writing fails as it ever does, and the run's end does not."""
    terminal = on_terminal()
    gone = OSError(5, "Input/output error")

    class Dead(io.TextIOWrapper):
        dead = False

        def write(self, text):
            if self.dead:
                raise gone
            return super().write(text)

    stream = Dead(terminal.stream.buffer, "utf-8", line_buffering=True)
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress()
    progress.opened(plan_of("a"))
    stream.dead = True
    with pytest.raises(OSError) as raised:
        print("x", file=sys.stderr)
    assert raised.value is gone
    sys.stderr.write("left over")
    progress.closed(snapshot_of(node_snapshot("a", 1, 1)))
    assert "write" not in vars(stream)
    stream.detach()


def test_logs_of_many_threads_wait_for_nobody_for_ever(on_terminal):
    """A thread that logs holds the log's lock and wants the bars'; the run that reports a failure wants both too."""
    terminal = on_terminal()
    sink = logger.add(terminal.stream, format="{message}", colorize=False)
    progress, log, plan = Progress(), FailureLog(), plan_of("a", "b")
    log.most = 10**6
    progress.opened(plan)
    log.opened(plan)

    def chatter(who):
        for n in range(100):
            logger.info(f"line {n} of {who}")
            print("printed", n, "of", who, file=sys.stderr)

    threads = [threading.Thread(target=chatter, args=(who,), daemon=True) for who in range(4)]
    try:
        for thread in threads:
            thread.start()
        for n in range(100):
            log.facts([failed(n)])
            progress.tick(TWO)
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        progress.closed(TWO)
        logger.remove(sink)
    lines = screen(terminal.finish())
    for who in range(4):
        assert [line for line in lines if line.endswith(f"of {who}")] == [
            line for n in range(100) for line in (f"line {n} of {who}", f"printed {n} of {who}")
        ]
    assert sum("failed after" in line for line in lines) == 100
    assert bars(lines) == ["a", "b"]
