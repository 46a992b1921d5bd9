"""What a process has had of the processors: looked up so rarely that looking costs next to nothing."""

import pytest

from dagflow.work import usage
from dagflow.work.usage import LOOK_SHARE, OwnUsage, Usage


class Machine:
    """A clock, and threads that stand in line; each look at one takes ``costs`` seconds."""

    def __init__(self):
        self.now, self.costs, self.looks, self.in_line = 100.0, 0.0, 0, 0.0

    def monotonic(self):
        return self.now

    def look(self, path):
        self.looks += 1
        self.now += self.costs
        return self.in_line


@pytest.fixture
def machine(monkeypatch):
    found = Machine()
    monkeypatch.setattr(usage, "monotonic", found.monotonic)
    monkeypatch.setattr(usage, "_in_line", found.look)
    monkeypatch.setattr(usage, "process_time", lambda: 0.0)
    monkeypatch.setattr(usage, "thread_time", lambda: 0.0)
    return found


def test_all_time_in_line_is_told_once(machine):
    used = Usage()
    told = 0.0
    for _ in range(100):
        machine.now += 0.005
        machine.in_line += 0.001
        told += sum(used.since())
    told += sum(used.since(last=True))
    assert told == pytest.approx(0.1)
    assert machine.looks <= 0.5 / usage.LOOK_SECONDS + 3


@pytest.mark.parametrize("make", [Usage, lambda: Usage(threads=True), OwnUsage], ids=["main", "threads", "own"])
def test_looking_takes_no_more_than_its_share(machine, make):
    """Beside threads that never rest each file that is read waits for the interpreter's lock, 5 ms and more."""
    machine.costs = 0.005
    used = make()
    start, before = machine.now, machine.looks
    ask = used.so_far if isinstance(used, OwnUsage) else used.since
    for _ in range(10_000):
        machine.now += 0.001
        ask()
    spent = (machine.looks - before) * machine.costs
    assert 0 < spent <= 2 * LOOK_SHARE * (machine.now - start)


def test_the_last_look_is_taken_whatever_it_costs(machine):
    machine.costs = 0.005
    used, own = Usage(), OwnUsage()
    used.since()
    machine.in_line += 3.0
    assert used.since()[1] == 0.0
    assert used.since(last=True)[1] == pytest.approx(3.0)
    assert own.so_far(last=True) == pytest.approx(3.0)
