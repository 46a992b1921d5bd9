"""Nothing may be left behind: no process, no shared memory, no file descriptor, no thread. Checked after each test."""

import gc
import os
import threading
import time

import psutil
import pytest
from loguru import logger


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


def children():
    return {p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE} | set(
        psutil.Process().children(recursive=False)
    )


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    logger.disable("dagflow")
    gc.collect()
    processes, files, memory, threads = children(), descriptors(), shared_memory(), set(threading.enumerate())
    yield
    logger.enable("dagflow")
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
    assert shared_memory() <= memory, f"shared memory left: {shared_memory() - memory}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed_call = outcome.get_result().failed
