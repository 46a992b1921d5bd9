"""`keep_warm`: many runs, one process that forks their workers; and nothing of one run is left in the next."""

import os
import select
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.timeout(60)

HEAD = """
    import os, signal, sys, threading
    import psutil
    import dagflow as df
    graph = df.Graph(df.TaskManager(lambda x: x + 1, name="more"))
    def helpers():
        return [child.pid for child in psutil.Process().children()]
    def said(function, backend="process"):
        return df.Graph(df.TaskManager(function)).run([0], backend).values[0]
"""


def in_fresh_process(code):
    """What a fresh interpreter prints."""
    source = textwrap.dedent(HEAD) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def ends(pid, seconds):
    """Whether a process ends within so many seconds; one that nobody has waited for yet has ended too."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def test_runs_share_one_process_which_ends_with_the_block():
    code = """
        with df.keep_warm():
            seen = {tuple(helpers())}
            for n in range(3):
                assert graph.run([n]).values == [n + 1]
                assert sorted(out.value for out in graph.stream([n, n])) == [n + 1, n + 1]
                seen.add(tuple(helpers()))
            with graph.open() as run:
                run.submit(1)
            seen.add(tuple(helpers()))
        print(len(seen), len(seen.pop()), helpers())
        print(graph.run([1]).values, helpers())
    """
    assert in_fresh_process(code) == ["1 1 []", "[2] []"]


def test_the_last_of_several_blocks_ends_it():
    code = """
        with df.keep_warm():
            first = helpers()
            with df.keep_warm():
                graph.run([1])
            print(helpers() == first)
        print(helpers())
    """
    assert in_fresh_process(code) == ["True", "[]"]


def test_nodes_of_processes_in_a_run_of_threads_use_it_too():
    code = """
        both = df.TaskManager(lambda x: x + 1) >> df.TaskManager(lambda x: os.getppid(), "process", worker_limit=1)
        with df.keep_warm():
            print(both.run([1], "thread").values == both.run([1], "thread").values == helpers())
    """
    assert in_fresh_process(code) == ["True"]


def test_workers_see_what_has_changed_between_the_runs(tmp_path):
    code = f"""
        look = lambda _: (os.environ.get("ONE"), os.environ.get("TWO"), os.getcwd(), sys.path[0])
        os.environ["ONE"] = "1"
        with df.keep_warm():
            os.environ["TWO"] = "2"
            print(said(look)[:2])
            del os.environ["ONE"]
            os.environ["TWO"] = "é"
            os.chdir({str(tmp_path)!r})
            sys.path.insert(0, {str(tmp_path / "new")!r})
            print(said(look) == (None, "é", {str(tmp_path)!r}, {str(tmp_path / "new")!r}))
    """
    assert in_fresh_process(code) == ["('1', '2')", "True"]


def test_modules_that_are_new_and_modules_that_have_changed(tmp_path):
    code = f"""
        import pathlib
        home = pathlib.Path({str(tmp_path)!r})
        sys.path.insert(0, str(home))
        def answer(_):
            import late
            return late.ANSWER
        with df.keep_warm():
            graph.run([1])
            (home / "late.py").write_text("ANSWER = 1")
            print(said(answer))
            (home / "late.py").write_text("ANSWER = 22")
            print(said(answer))
    """
    assert in_fresh_process(code) == ["1", "22"]


def test_output_goes_where_the_driver_has_it_now(tmp_path):
    code = f"""
        def speak(_):
            print("to stdout"); print("to stderr", file=sys.stderr)
        with df.keep_warm():
            said(speak)
            for fd, name in ((1, "out"), (2, "err")):
                kept = os.dup(fd)
                file = os.open({str(tmp_path)!r} + "/" + name, os.O_WRONLY | os.O_CREAT)
                os.dup2(file, fd)
                os.close(file)
                said(speak)
                os.dup2(kept, fd)
                os.close(kept)
            said(speak)
    """
    assert in_fresh_process(code) == ["to stdout"] * 3  # before, while stderr was elsewhere, after
    assert (tmp_path / "out").read_text() == "to stdout\n"
    assert (tmp_path / "err").read_text() == "to stderr\n"


def test_one_that_dies_meanwhile_is_replaced():
    code = """
        with df.keep_warm():
            for _ in range(2):
                old = psutil.Process().children()[0]
                old.kill()
                assert graph.run([1]).values == [2]
                assert helpers() != [old.pid], "a dead one was used"
            print(len(helpers()))
        print(helpers())
    """
    assert in_fresh_process(code) == ["1", "[]"]


def test_runs_that_end_badly_leave_nothing_to_the_next(tmp_path):
    code = f"""
        def die(x):
            if x: os.kill(os.getpid(), signal.SIGKILL)
        at_it = {str(tmp_path / "at it")!r}
        os.mkfifo(at_it)
        def stay(x):
            open(at_it, "w").close()
            signal.pause()
        with df.keep_warm():
            first = helpers()
            assert df.Graph(df.TaskManager(die)).run([0, 1]).counts["die"].failed == 1
            with df.Graph(df.TaskManager(stay)).open() as run:
                run.submit(1)
                open(at_it).close()
                run.cancel()
            stream = graph.stream(range(10**9))
            next(stream)
            stream.close()
            print(graph.run([1]).values, helpers() == first, len(psutil.Process().children(recursive=True)))
    """
    assert in_fresh_process(code) == ["[2] True 1"]


def test_runs_at_the_same_time_have_one_each():
    code = """
        gate = threading.Barrier(3)
        def source():
            gate.wait(30)
            yield 1
        with df.keep_warm():
            runs = [threading.Thread(target=lambda: found.append(graph.run(source()).values)) for _ in range(2)]
            found = []
            for run in runs: run.start()
            gate.wait(30)
            for run in runs: run.join()
            print(found, len(helpers()))
        print(helpers())
    """
    assert in_fresh_process(code) == ["[[2], [2]] 2", "[]"]


def test_a_process_that_was_forked_from_this_one_has_its_own():
    code = """
        with df.keep_warm():
            graph.run([1])
            pid = os.fork()
            if not pid:
                assert graph.run([1]).values == [2]
                assert len(helpers()) == 1
                os._exit(0)
            print(os.waitpid(pid, 0)[1], graph.run([2]).values, len(helpers()))
    """
    assert in_fresh_process(code) == ["0 [3] 1"]


def test_it_goes_when_the_driver_is_killed():
    code = """
        block = df.keep_warm()
        block.__enter__()
        graph.run([1])
        print(*helpers(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    source = textwrap.dedent(HEAD) + textwrap.dedent(code)
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as driver:
        [pid] = [int(pid) for pid in driver.stdout.readline().split()]
        assert ends(pid, 30)
        assert driver.wait(30) == -9
