"""Nothing may be left behind: no process, shared memory, file, descriptor, thread, signal handler. Checked after each test."""

import gc
import os
import signal
import threading
import time
from pathlib import Path

import hypothesis
import psutil
import pytest
from processes import alive

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("dagflow", deadline=None)
hypothesis.settings.load_profile("dagflow")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What is started in the background, as a CI may be, ignores Ctrl-C, and so would every process that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the one that lists them
    return found


def shared_memory():
    try:
        return set(os.listdir("/dev/shm"))
    except OSError:
        return set()


def in_use_elsewhere(names):
    """Those of some names in /dev/shm that are mapped by processes which are none of ours."""
    ours = {os.getpid(), *(p.pid for p in psutil.Process().children(recursive=True))}
    used = set()
    for process in psutil.process_iter():
        if process.pid not in ours and names:
            try:
                maps = Path(f"/proc/{process.pid}/maps").read_text()
            except OSError:
                continue
            used |= {name for name in names if f"/dev/shm/{name}" in maps}
    return used


def children():
    return {p for p in psutil.Process().children(recursive=True) if alive(p)} | set(psutil.Process().children())


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory):
    """Keys of journals are made where they are thrown away, not among the user's."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    gc.collect()
    gc.freeze()  # what is there now is not looked at again: thousands of tests would each pay for all before them
    processes, files, memory, threads = children(), descriptors(), shared_memory(), set(threading.enumerate())
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    failed = getattr(request.node, "failed_call", False)
    _, alive = psutil.wait_procs(children() - processes, timeout=2)
    until = time.monotonic() + 2
    for thread in set(threading.enumerate()) - threads:
        thread.join(max(0.0, until - time.monotonic()))
    left = [t.name for t in set(threading.enumerate()) - threads if "dagflow" in t.name or "asyncio" in t.name]
    gc.collect()
    opened = {fd: target for fd, target in descriptors().items() if files.get(fd) != target}
    for process in alive:
        process.kill()
    if failed:
        return  # its own story says more than what it left behind
    assert not alive, f"processes left: {alive}"
    assert not left, f"threads left: {left}"
    assert not opened, f"descriptors left: {opened}"
    segments = shared_memory() - memory
    segments -= in_use_elsewhere(segments)
    segments &= shared_memory()
    assert not segments, f"shared memory left: {segments}"
    changed = {number for number in SIGNALS if signal.getsignal(number) != handlers[number]}
    assert not changed, f"signal handlers left: {changed}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed_call = outcome.get_result().failed
