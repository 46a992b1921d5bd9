"""The crash test: drivers are killed at random moments, on files and on Redis; and it finds out a journal that lies."""

from __future__ import annotations

import random

import pytest

from dagflow.errors import JournalError
from dagflow.testing import crash as crashing
from dagflow.testing.crash import Trial, crash, digest, executions, graph, recorded, told_by


def test_killed_drivers_on_files():
    """Each run ends as the undisturbed one did; nothing ran whose end was on record."""
    told = []
    runs = crash(3, 11, most_a_journal=2, tell=told.append)
    assert runs >= 3
    assert told[-1] == f"{int(told[-1].split()[0])} killed, {runs} runs ended"
    assert int(told[-1].split()[0]) >= 3


def test_killed_drivers_on_redis(redis_server):
    """The same, with the journals on a server."""
    assert crash(3, 12, redis_server.url, most_a_journal=2) >= 3
    with redis_server.client() as client:
        for key in client.keys("dagflow:{crash-*"):
            client.delete(key)


class Killed:
    """One journal whose driver was killed once, in mid-run, with some ends on record."""

    def __init__(self, folder, seed=3):
        self.where = str(folder / "j.db")
        self.trial = Trial(self.where, folder, random.Random(seed), 1.0)
        seconds = 0.6
        while not self.known():
            assert seconds < 20
            assert self.trial._drive("serial", seconds) is None
            seconds *= 1.3

    def known(self):
        return recorded(self.where)


@pytest.fixture
def killed(tmp_path):
    return Killed(tmp_path)


def test_what_is_on_record_is_what_ran(killed, tmp_path):
    """The two witnesses agree: whatever has ended at a node had run there."""
    known = killed.known()
    ran = set(executions(tmp_path / "log", 0))
    counted = {(node, id) for node, id in known if node not in ("window", "whole")}
    assert counted
    first = {item for item in counted if item[0] == "enter"}
    assert first <= ran
    expected = told_by(graph().run(range(crashing.TASKS), "serial"))
    ended = killed.trial.run(0)
    assert digest(ended) == digest(expected)


def test_a_journal_that_forgets_is_found_out(killed, monkeypatch):
    """What it said was on record runs again: the side log tells."""
    known = killed.known()

    def forgetful(where):
        import os

        for name in (where, where + "-wal"):
            if os.path.exists(name):
                os.unlink(name)
        return known

    monkeypatch.setattr(crashing, "recorded", forgetful)
    with pytest.raises(AssertionError, match="ran although its end was on record"):
        killed.trial.run(0)


def test_a_driver_that_tells_something_else_is_found_out(monkeypatch):
    """Another digest is no end as it should be."""
    drive = Trial._drive

    def lying(self, backend, kill_at):
        told = drive(self, backend, kill_at)
        return None if told is None else [line.replace("'done'", "'failed'", 1) for line in told]

    monkeypatch.setattr(Trial, "_drive", lying)
    with pytest.raises(AssertionError, match="seed 5, run 0, no death: .* instead of "):
        crash(1, 5)


def test_a_driver_that_breaks_is_found_out(killed, tmp_path):
    """An end with an error is no death by a signal."""
    (tmp_path / "j.db").write_bytes(b"no journal")
    with pytest.raises((AssertionError, JournalError), match="ended with|no journal of dagflow's"):
        killed.trial.run(0)
    with pytest.raises(AssertionError, match=r"a driver \(serial\) ended with 1"):
        killed.trial._drive("serial", None)


def test_a_driver_that_hangs_is_found_out(tmp_path, monkeypatch):
    """It is not waited for for ever, and it is ended."""
    monkeypatch.setattr(crashing, "DRIVER_SECONDS", 0.2)
    trial = Trial(str(tmp_path / "j.db"), tmp_path, random.Random(1), 1.0)
    with pytest.raises(AssertionError, match="did not end within"):
        trial._drive("process", None)
