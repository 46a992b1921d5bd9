"""The life of a node: a table, and how the nodes of a run close in topological order."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from core_made import Play, done, kinds, merge, split, task, tasks

from dagflow import Graph
from dagflow.core import commands as do
from dagflow.core.lifecycle import TRANSITIONS, Phase, Step, advance
from dagflow.errors import InvariantBroken


class TestTable:
    def test_a_life_goes_from_open_to_closed(self):
        phase = "open"
        for step in ("upstreams_ended", "drained", "flushed"):
            phase = advance(phase, step, "a")
        assert phase == "closed"

    @pytest.mark.parametrize(
        ("phase", "step"), sorted(set(itertools.product(get_args(Phase), get_args(Step))) - set(TRANSITIONS))
    )
    def test_no_other_step_can_be_taken(self, phase, step):
        with pytest.raises(InvariantBroken, match=f"node 'a' is '{phase}' and cannot take the step '{step}'"):
            advance(phase, step, "a")


class TestClosing:
    def test_a_node_closes_when_its_upstreams_have_and_nothing_for_it_is_left(self):
        a, b = tasks("a b")
        play = Play(a >> b)
        play.play("x")
        assert (play.node("a").phase, play.node("b").phase) == ("draining", "open")
        play.tell(done(play.job("a")))
        assert (play.node("a").phase, play.node("b").phase) == ("closed", "draining")
        play.tell(done(play.job("b")))
        assert [f.node for f in play.heard(do.NodeClosed)] == [0, 1]
        assert play.finish == "done"

    def test_its_workers_are_let_go(self):
        a, b = tasks("a b")
        play = Play(a >> b)
        play.play("x")
        worker = play.job("a").worker
        play.tell(done(play.job("a")))
        assert kinds(play.out, do.StopWorker) == [do.StopWorker(worker)]

    def test_nothing_closes_while_the_source_is_open(self):
        play = Play(Graph(task("a")))
        play.give("x")
        play.tell(done(play.job("a")))
        assert play.node("a").phase == "open"
        assert play.end()[-1] == do.Finish("done")

    def test_a_run_of_nothing_ends_at_once(self):
        play = Play(split() >> task("a") >> merge())
        play.end()
        assert play.finish == "done"
        assert len(play.heard(do.NodeClosed)) == 3
        assert kinds(play.out, do.StartWorker) == []

    def test_when_the_run_has_ended_nothing_more_is_decided(self):
        play = Play(Graph(task("a")))
        play.play()
        assert play.give("x") == []
        assert play.core.finished
