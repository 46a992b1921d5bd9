"""The story: the state of a run in words; which node waits for what, which scopes miss how many tasks."""

from __future__ import annotations

from core_made import Play, children, done, fail, fold, merge, part, split, task, tasks, wide

from dagflow import Graph, par
from dagflow.core.story import SCOPES_MOST


def told(play):
    return play.core.story().split("; ")


def scopes(play):
    return [line for line in told(play) if line.startswith("a scope")]


class TestNodes:
    def test_it_says_which_node_waits_for_what(self):
        play = Play(split() >> wide("a") >> merge("w", size=5))
        play.give("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(part(play.job("a"), {0: "x0"}))
        assert told(play) == [
            "source open, 1 admitted, 1 not ended, 0 outputs not taken",
            "'s' is open: 0 queued, 0 leased, 0 waiting for a retry, 1 workers",
            "'a' is open: 0 queued, 1 leased, 0 waiting for a retry, 1 workers",
            "'w' is open: 0 queued, 0 leased, 0 waiting for a retry, 1 workers, holds 1 members",
        ]

    def test_a_node_that_waits_for_a_retry(self):
        play = Play(Graph(task("a", retries=1)))
        play.play("x")
        play.tell(fail(play.job("a"), retry=True))
        assert told(play)[1] == "'a' is draining: 0 queued, 0 leased, 1 waiting for a retry, 1 workers"

    def test_a_node_that_is_held_back(self):
        play = Play(Graph(task("a")), sink_room=1)
        play.give("x")
        play.work("a")
        assert told(play)[0].endswith("1 outputs not taken")
        assert told(play)[1].endswith("1 workers, held back by a full channel after it")


class TestScopes:
    def test_what_a_splitters_scope_waits_for(self):
        play = Play(split() >> wide("a") >> merge())
        play.give("x", "y")
        play.tell(children(play.job("s"), "x0", "x1", "x2"))
        play.tell(part(play.job("a"), {1: "x1"}))
        assert scopes(play) == [
            "a scope of 's' (source task 0) waits for 2 more tasks before 'm' can merge it, where 1 member arrived"
        ]

    def test_those_that_wait_for_a_retry_are_waited_for(self):
        play = Play(split() >> wide("a", retries=1) >> merge())
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(fail(play.job("a"), 1, retry=True))
        assert scopes(play) == [
            "a scope of 's' (source task 0) waits for 1 more task before 'm' can merge it, where 1 member arrived"
        ]

    def test_a_split_that_is_running_is_waited_for_itself(self):
        play = Play(split() >> merge())
        play.give("x")
        play.tell(children(play.job("s"), "x0", "x1", last=False))
        assert scopes(play) == [
            "a scope of 's' (source task 0) waits for 1 more task before 'm' can merge it, where 2 members arrived"
        ]

    def test_a_branching_of_a_node_and_of_the_source(self):
        a, b, c = tasks("a b c")
        play = Play(a >> [b, c] >> merge())
        play.give("x")
        play.work("a", "b")
        assert scopes(play) == [
            "a scope of 'a' (source task 0) waits for 1 more task before 'm' can merge it, where 1 member arrived"
        ]
        play = Play(par(b, c) >> merge())
        play.give("x")
        play.work("c")
        assert scopes(play)[0].startswith("a scope of the source (source task 0) waits for 1 more task before 'm'")

    def test_what_a_source_task_waits_for(self):
        play = Play(split() >> wide("a") >> merge("m", "task"))
        play.give("x", "y")
        play.tell(children(play.job("s"), "x0", "x1", "x2"))
        play.tell(part(play.job("a"), {1: "x1"}))
        assert scopes(play) == [
            "a scope of the source (source task 0) waits for 2 more tasks before 'm' can merge it, where 1 member arrived"
        ]

    def test_scopes_in_scopes(self):
        play = Play(split("s1") >> split("s2") >> wide("a") >> merge("m2") >> merge("m1"))
        play.play("x")
        play.tell(children(play.job("s1"), "x0"))
        play.tell(children(play.job("s2"), "x00", "x01"))
        assert sorted(line.split(" can merge")[0] for line in scopes(play)) == [
            "a scope of 's1' (source task 0) waits for 1 more task before 'm1'",
            "a scope of 's2' (source task 0) waits for 2 more tasks before 'm2'",
        ]

    def test_a_fold_has_taken_its_members_in(self):
        play = Play(split() >> wide("a") >> fold())
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1", "x2"))
        play.tell(part(play.job("a"), {0: "x0", 2: "x2"}))
        assert scopes(play)[0].endswith("waits for 1 more task before 'f' can merge it, where 2 members arrived")

    def test_only_some_of_many_are_named(self):
        play = Play(wide("a", width=10) >> [wide("b", width=10), wide("c", width=10)] >> merge())
        play.play(*range(SCOPES_MOST + 3))
        play.work("a", "b")
        assert len(scopes(play)) == SCOPES_MOST
        assert told(play)[-1] == "and 3 more scopes are open"

    def test_those_that_are_complete_are_not(self):
        play = Play(split() >> wide("a") >> merge())
        play.give("x")
        play.tell(children(play.job("s"), "x0"))
        play.tell(done(play.job("a")))
        assert scopes(play) == []
