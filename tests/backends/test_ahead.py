"""The first run of a process starts its zygote before it loads the rest: whatever comes of the run, it ends with it."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.timeout(60)


def in_fresh_process(code):
    """What a fresh interpreter prints, in which no run has loaded anything yet."""
    head = """
        import gc, sys
        import psutil
        import dagflow as df
        graph = df.Graph(df.TaskManager(lambda x: x + 1, name="more"))
        def helpers():
            return len(psutil.Process().children())
        assert "dagflow.api" not in sys.modules
    """
    source = textwrap.dedent(head) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("collects", [True, False])
def test_the_first_run_uses_it_and_leaves_nothing(collects):
    code = f"""
        (gc.enable if {collects} else gc.disable)()
        print(*graph.run([1, 2]).values, helpers(), gc.isenabled())
    """
    assert in_fresh_process(code) == ["2", "3", "0", str(collects)]


@pytest.mark.parametrize("call", ["graph.run([1], max_bytes=-1)", "graph.stream(3)", "graph.open(durability='x')"])
def test_a_first_run_that_is_refused_leaves_nothing(call):
    code = f"""
        try:
            {call}
        except (ValueError, TypeError) as error:
            print(type(error).__name__.replace("Type", "Value"), helpers())
    """
    assert in_fresh_process(code) == ["ValueError", "0"]


def test_a_first_stream_that_is_never_begun_leaves_nothing():
    code = """
        stream = graph.stream([1, 2])
        stream.close()
        print(helpers())
        print(sorted(out.value for out in graph.stream([1, 2])), helpers())
    """
    assert in_fresh_process(code) == ["0", "[2,", "3]", "0"]


def test_a_journal_that_cannot_be_used_leaves_nothing(tmp_path):
    code = f"""
        try:
            graph.run([1], journal={str(tmp_path / "none" / "such.db")!r})
        except df.JournalError:
            print(helpers())
    """
    assert in_fresh_process(code) == ["0"]


def test_runs_in_this_process_start_none():
    code = """
        print(*graph.run([1, 2], backend="serial").values, helpers(), "subprocess" in sys.modules)
    """
    assert in_fresh_process(code)[:3] == ["2", "3", "0"]
