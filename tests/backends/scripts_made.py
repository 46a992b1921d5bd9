"""Scripts, run as users run theirs: what they define is in ``__main__``, which worker processes do not run."""

import subprocess
import sys
import textwrap

HEAD = """
    import functools, operator, sys, threading
    from weakref import WeakKeyDictionary
    from loguru import logger
    from dagflow import Graph, TaskManager
    logger.disable("dagflow")

    def results(func, tasks=(1, 2)):
        result = Graph(TaskManager(func, name="n")).run(tasks, "process")
        for outcome in result.outcomes:
            print(outcome.error or outcome.values[0])

    if __name__ != "__main__":
        raise SystemExit("a worker runs the script")
"""


def script(source):
    """The lines that a script prints which consists of HEAD and this."""
    source = textwrap.dedent(HEAD) + textwrap.dedent(source)
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]
