"""A fresh interpreter finds the descriptors that it is given, under the numbers that were said, and nothing else."""

import os
import subprocess
import sys
import tempfile
from itertools import permutations

import psutil
import pytest

from dagflow import Graph, TaskManager
from dagflow.backends.local.interpreter import FIRST, Interpreter

pytestmark = pytest.mark.timeout(60)
SECONDS = 20

SAY = f"""
import os, sys
for number in ({FIRST}, {FIRST + 1}, 1, 2):
    os.write(number, b"under %d" % number)
assert sys.stdin.read() == ""
"""


@pytest.mark.parametrize("order", list(permutations(range(FIRST - 2, FIRST + 2))))
def test_descriptors_of_any_numbers_find_their_places(order, tmp_path):
    """Also where one has the number that another is to get: in a process whose own have just these."""
    code = f"""
import fcntl, os, sys
from dagflow.backends.local.interpreter import Interpreter
wanted = {list(order)}
files = [os.open(f"{tmp_path}/{{i}}", os.O_RDWR | os.O_CREAT) for i in range(4)]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in files]
for fd, number in zip(high, wanted):
    os.dup2(fd, number, inheritable=False)
child = Interpreter({SAY!r}, wanted[:2], wanted[2], wanted[3], dict(os.environ))
sys.exit(0 if child.wait({SECONDS}) and child.code == 0 else 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS + 20)
    assert [(tmp_path / str(i)).read_text() for i in range(4)] == [
        f"under {FIRST}",
        f"under {FIRST + 1}",
        "under 1",
        "under 2",
    ]


def test_its_exit_code_and_its_death_are_seen():
    with tempfile.TemporaryFile() as file:
        ended = Interpreter("import sys; sys.exit(7)", [file.fileno()], 1, 2, dict(os.environ))
        assert ended.wait(SECONDS)
        assert ended.code == 7
        reader, writer = os.pipe()
        waiting = Interpreter(f"import os; os.read({FIRST}, 1)", [reader], 1, 2, dict(os.environ))
        assert not waiting.wait(0.0)
        assert not waiting.has_ended()
        waiting.kill()
        assert waiting.wait(SECONDS)
        assert waiting.code == -9
        waiting.kill()
        os.close(reader)
        os.close(writer)


def test_it_is_waited_for_also_where_the_system_has_no_descriptor_for_that(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    ended = Interpreter("import sys; sys.exit(7)", [], 1, 2, dict(os.environ))
    assert ended.wait(SECONDS)
    assert ended.code == 7
    reader, writer = os.pipe()
    waiting = Interpreter(f"import os; os.read({FIRST}, 1)", [reader], 1, 2, dict(os.environ))
    assert not waiting.wait(0.0)
    waiting.kill()
    assert waiting.wait(SECONDS)
    os.close(reader)
    os.close(writer)


def test_one_that_somebody_else_has_waited_for_has_ended():
    ended = Interpreter("pass", [], 1, 2, dict(os.environ))
    os.waitpid(ended.pid, 0)
    assert ended.has_ended()
    ended.kill()


def test_what_the_driver_leaves_open_for_its_children_is_not_open_in_workers():
    reader, writer = os.pipe()
    try:
        os.set_inheritable(reader, True)
        os.set_inheritable(writer, True)
        pipe = os.fstat(reader).st_ino
        found = Graph(TaskManager(_open_files, "process")).run([None]).values[0]
    finally:
        os.close(reader)
        os.close(writer)
    assert found
    assert pipe not in found


def _open_files(_):
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.fstat(int(name)).st_ino)
        except OSError:
            pass  # that of the list itself
    return found


SCRIPT = """
import sys
from dagflow import Graph, TaskManager
first = open(sys.argv[1], "w")  # gets the number of a stream that is closed
def say(task):
    print("said", task, flush=True)
    print("said", task, file=sys.stderr)
    return task + 1
if __name__ == "__main__":
    with (Graph(TaskManager(say)) >> TaskManager(say, name="again")).open() as run:
        for task in range(5):
            run.submit(task)
    first.write(repr((run.wait().values, run.snapshot().crashes)))
"""


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_driver_whose_standard_streams_are_closed(closed, tmp_path):
    """Prints go nowhere: not into a socket of the run that has a number of theirs, nor into a file of the user's."""
    script, file = tmp_path / "script.py", tmp_path / "file"
    script.write_text(SCRIPT)
    subprocess.run(["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, script, file], timeout=SECONDS)
    assert file.read_text() == repr(([2, 3, 4, 5, 6], 0))


STAYING = """
import os, signal, sys
from dagflow import Graph, TaskManager
def stay(task):
    with open(sys.argv[1], "w") as told:
        told.write(f"{os.getppid()} {os.getpid()}")
    print("stays", flush=True)
    signal.pause()
if __name__ == "__main__":
    Graph(TaskManager(stay)).run(range(5))
"""


@pytest.mark.parametrize("closed", ["", "<&- >&-", "<&- >&- 2>&-"])
def test_nobody_outlives_such_a_driver(closed, tmp_path):
    """The zygote once had the driver's end of its own socket as its stdout, and never saw it closed."""
    script, told = tmp_path / "script.py", tmp_path / "told"
    script.write_text(STAYING)
    os.mkfifo(told)
    driver = subprocess.Popen(["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, script, told])
    try:
        others = [psutil.Process(int(pid)) for pid in told.read_text().split()]
        assert len(others) == 2
    finally:
        driver.kill()
        driver.wait()
    assert psutil.wait_procs(others, timeout=SECONDS)[1] == []
