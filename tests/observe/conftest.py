from __future__ import annotations

import os
import sys

import pytest
from loguru import logger as _loguru  # noqa: F401 - before any test puts another stderr in place
from observe_made import Terminal


@pytest.fixture
def heard():
    """Records that reach a sink of the user's, as ``(level, name, text)``."""
    from loguru import logger

    records: list[tuple[str, str, str]] = []

    def sink(message):
        record = message.record
        records.append((record["level"].name, record["name"], record["message"]))

    number = logger.add(sink, level=0)
    yield records
    logger.enable("dagflow")
    logger.remove(number)


@pytest.fixture
def on_terminal(monkeypatch):
    """Makes stderr a terminal, from the call on: pytest itself sets stderr between a test's phases."""
    made: list[Terminal] = []

    def make(*size: int) -> Terminal:
        made.append(Terminal(*size))
        monkeypatch.setattr(sys, "stderr", made[-1].stream)
        return made[-1]

    yield make
    for terminal in made:
        if not terminal.stream.closed:
            terminal.finish()


@pytest.fixture(autouse=True)
def _no_threads_left():
    import threading
    import time

    before = set(threading.enumerate())
    files = len(os.listdir("/proc/self/fd"))
    yield
    until = time.monotonic() + 5
    for thread in set(threading.enumerate()) - before:  # one that has just given its last answer needs a moment
        thread.join(max(0.0, until - time.monotonic()))
    left = [t for t in threading.enumerate() if t not in before]
    assert not left, left
    assert len(os.listdir("/proc/self/fd")) <= files + 1  # pytest's capture may open one
