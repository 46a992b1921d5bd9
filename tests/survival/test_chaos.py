"""A killer among the workers, and the same outcomes as in peace."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from dagflow import Graph
from dagflow.testing import chaos

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


def test_rounds_of_chaos():
    """Twenty signals a second, in as many rounds as it takes until they have killed; how long a round is, and so how
    many signals it gets, is the machine's matter. CI also runs a minute of the command, and ten are run by hand."""
    tally, rounds = chaos.Tally(), 0
    while tally.deaths < 5 or sum(tally.sent.values()) < 20:
        chaos.one_round(7, rounds, tally, tasks=300, mean=0.05)
        assert tally.differences == []
        rounds += 1
    assert (tally.rounds, tally.tasks) == (rounds, 300 * rounds)
    assert tally.executions > 3_000 * rounds
    text = tally.told()
    assert f"{rounds} rounds, {300 * rounds:,} tasks" in text
    assert "differences from the serial run: 0" in text


def test_the_graph_has_every_kind_of_node():
    plan = chaos.chaos_graph().check()
    assert {node.kind for node in plan.nodes} == {"task", "split", "route", "merge"}
    assert {node.mode for node in plan.nodes} == {"serial", "thread", "process", "async"}
    assert {node.merge.closing for node in plan.nodes if node.merge} >= {"scope", "window"}
    assert any(node.batch_size for node in plan.nodes)
    assert any(node.deduplicate for node in plan.nodes)
    assert any(node.failures for node in plan.nodes)


def test_a_difference_is_found():
    """A comparison that can find nothing would always be content."""
    graph = Graph(lambda x: x)
    there, here = chaos.told(graph.run([1, 2, 3], "serial")), chaos.told(graph.run([1, 2, 3], "serial"))
    assert chaos.differences(there, here) == []
    here["outcomes"][2] = ("done", [7], None)
    here["counts"]["lambda"] = (3, 2, 1, 0, 0)
    del here["outcomes"][3]
    found = chaos.differences(there, here)
    assert len(found) == 3
    assert found[0].startswith("counts 'lambda': (3, 3, 0, 0, 0), in peace (3, 2, 1, 0, 0)")


def test_the_killer_hurts_nobody_else():
    """A number that is not the child of who it is thought to be gets no signal."""
    killer = chaos.Killer(random.Random(1))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert killer._signal(child.pid, os.getppid(), "SIGKILL") is None
        assert not killer.sent
        assert child.poll() is None
        killer._signal(child.pid, os.getpid(), "SIGKILL")
        assert child.wait(5) == -9
        assert killer.sent == {"SIGKILL": 1}
    finally:
        child.kill()
        child.wait()
        child.stdin.close()


def test_the_command(capsys):
    """It says what it did, and its exit code what came of it."""
    assert chaos.main(["--minutes", "0.01", "--seed", "5", "--tasks", "40"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("chaos for 0.01 minutes, seed 5\n")
    assert "differences from the serial run: 0" in said


def test_the_command_fails_where_there_are_differences(monkeypatch, capsys):
    def differing(seed, number, tally, **options):
        tally.rounds += 1
        tally.differences.append(f"seed {seed}, round {number}: outcomes 3: done, in peace failed")

    monkeypatch.setattr(chaos, "one_round", differing)
    assert chaos.main(["--minutes", "0.0001", "--seed", "5"]) == 1
    assert "seed 5, round 0: outcomes 3: done, in peace failed" in capsys.readouterr().out
