"""Recalling: what a journal knows is taken in like an answer, and what it does not know is done."""

from __future__ import annotations

from core_made import (
    Box,
    Play,
    children,
    done,
    error,
    fail,
    fold,
    inputs,
    keys,
    kinds,
    merge,
    part,
    route,
    split,
    states,
    task,
    wide,
)

from dagflow import Graph, par
from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.ids import count_of, tasks_of
from dagflow.core.inbox import JOURNAL
from dagflow.core.payload import ErrorRecord
from dagflow.core.recalling import PATIENCE_SECONDS


class Again(Play):
    """A run that goes on with what a journal knows."""

    def __init__(self, graph, *, seen=(), fired=(), merged=(), **options):
        super().__init__(graph, **options)
        number = self.plan.node_named
        self.tell(
            ev.Remembered(
                True,
                {number(n).index: known for n, known in dict(seen).items()},
                {number(n).index: count for n, count in dict(fired).items()},
                {number(n).index for n in merged},
            )
        )

    def asked(self, name):
        """What the journal is being asked about the tasks of a node, oldest first."""
        number = self.plan.node_named(name).index
        return [c for c in self.resumed(do.Recall) if c.node == number]

    def ask(self, name):
        """The oldest of that."""
        asked = self.asked(name)
        assert asked, f"nothing of {name!r} is asked: {self.core.story()}"
        return asked[0]

    def forgotten(self, *names):
        """The journal knows nothing of what it is asked at these nodes."""
        for name in names:
            while asked := self.asked(name):
                self.tell(recalled(asked[0]))
        return self.out


def numbers(ask):
    """Which tasks are asked about."""
    return [space.root_index(index) for space, index in tasks_of(ask.segments)]


def recalled(ask, known=(), *, ended=(), fails=(), dropped=(), duplicates=(), tries=(), retried=0, **more):
    """What a journal says: the results of ``known`` positions; it does not know those that are not named.

    ``fails``: positions with the number of attempts that failed. ``ended``: positions without a result.
    """
    known, fails, tries = dict(known), dict(fails), dict(tries)
    outputs = [ev.Produced(0, Box(*known.values()), list(known))] if known else []
    named = {*known, *ended, *fails, *dropped, *duplicates}
    answer = ev.Answer(
        JOURNAL,
        ask.token,
        outputs=outputs,
        ended=[*known, *ended],
        failures=[(p, ErrorRecord("raised", "ValueError", "broke", attempts=n), False) for p, n in fails.items()],
        dropped=list(dropped),
        returned=[p for p in range(count_of(ask.segments)) if p not in named],
        **more,
    )
    return ev.Recalled(answer, list(duplicates), tries, retried)


def offspring(ask, *values, start=0, position=0, last=True, returned=(), **more):
    """Children that a journal knows of the task at ``position``; it has ended if nothing else is said of it."""
    gone = {*returned, *more.get("dropped", ()), *(p for p, _, _ in more.get("failures", ()))}
    ended = [p for p in range(count_of(ask.segments)) if p not in gone] if last else []
    outputs = [ev.Produced(0, Box(*values), children=[(position, start, len(values))])] if values else []
    return ev.Recalled(ev.Answer(JOURNAL, ask.token, last, outputs, ended, returned=list(returned), **more))


class TestAsking:
    def test_what_is_known_is_not_leased_to_a_worker(self):
        play = Again(Graph(wide("a")))
        play.play("x", "y", "z")
        ask = play.ask("a")
        assert (ask.kind, numbers(ask), ask.groups, play.jobs("a")) == ("run", [0, 1, 2], [], [])
        play.tell(recalled(ask, {0: "X", 2: "Z"}))
        assert (play.outputs, play.ended, inputs(play.job("a"))) == (["X", "Z"], [0, 2], ["y"])
        play.work("a")
        assert (play.outputs, play.ended, play.finish) == (["X", "Z", "y"], [0, 2, 1], "done")
        assert play.counts("a") == {"received": 3, "succeeded": 3}
        assert [fact.again for fact in play.heard(do.TasksEnded, "a")] == [True, False]

    def test_what_is_known_may_be_all(self):
        play = Again(Graph(wide("a")))
        play.play("x", "y")
        play.tell(recalled(play.ask("a"), {0: "X", 1: "Y"}, retried=3))
        assert (play.outputs, play.ended, play.finish, play.heard(do.NodeClosed)) == (
            ["X", "Y"],
            [0, 1],
            "done",
            [do.NodeClosed(0)],
        )
        assert play.counts("a") == {"received": 2, "succeeded": 2, "retried": 3}

    def test_what_is_not_known_goes_on_in_its_order(self):
        play = Again(Graph(wide("a")))
        play.tell(ev.PauseAsked(True))
        play.give("p", "q", "r")
        play.give("s", "t")
        assert play.asked("a") == []
        play.tell(ev.PauseAsked(False))
        ask = play.ask("a")
        assert numbers(ask) == [0, 1, 2, 3, 4], "several payloads are asked about at once"
        play.tell(recalled(ask, {1: "Q"}))
        assert inputs(play.job("a")) == ["p", "r", "s", "t"]
        assert len(play.job("a").job.pieces) == 3

    def test_what_is_known_is_asked_about_at_the_next_node(self):
        a, b = wide("a"), wide("b")
        play = Again(a >> b)
        play.play("x", "y")
        play.tell(recalled(play.ask("a"), {0: "X"}))
        assert numbers(play.ask("b")) == [0]
        play.work("a")
        assert [numbers(ask) for ask in play.asked("b")] == [[0], [1]]
        play.tell(recalled(play.ask("b"), {0: "XX"}))
        play.forgotten("b")
        play.work("b")
        assert (play.outputs, play.finish) == (["XX", "y"], "done")

    def test_not_before_what_is_known_has_somewhere_to_go(self):
        a, b = wide("a"), task("b")
        play = Again(a >> b, up=False)
        room = play.node("b").capacity
        play.give(*range(room))
        play.tell(recalled(play.ask("a"), {n: n for n in range(room)}))
        play.forgotten("b")
        play.give("x")
        assert (play.asked("a"), play.node("b").queued) == ([], room)
        play.up = True
        play.tell()
        play.tell(done(play.job("b")))
        assert numbers(play.ask("a")) == [room]

    def test_an_answer_that_comes_twice_counts_once(self):
        play = Again(Graph(wide("a")))
        play.give("x")
        answer = recalled(play.ask("a"), {0: "X"})
        play.tell(answer, answer)
        assert (play.outputs, play.counts("a")) == (["X"], {"received": 1, "succeeded": 1})

    def test_when_the_journal_knows_no_more_nothing_is_asked(self):
        play = Again(Graph(wide("a")))
        play.tell(ev.PauseAsked(True))
        play.give("x", "y")
        play.tell(ev.Remembered(False), ev.PauseAsked(False))
        assert (play.asked("a"), inputs(play.job("a"))) == ([], ["x", "y"])
        play.give("z")
        play.work("a")
        assert (play.outputs, play.asked("a")) == (["x", "y", "z"], [])

    def test_a_run_that_does_one_at_a_time_still_reads_and_asks_many(self):
        play = Again(Graph(task("a")), one_by_one=True)
        play.give("x")
        (pull,) = play.resumed(do.Pull)
        assert pull.count > 1
        play.give("y", "z")
        play.forgotten("a")
        assert inputs(play.job("a")) == ["x"]
        play.work("a")
        assert play.outputs == ["x", "y", "z"]

    def test_what_a_router_said_is_taken_again(self):
        play = Again(route() >> {"p": wide("p"), "q": wide("q")})
        play.play("x", "y")
        ask = play.ask("r")
        answer = recalled(ask, ended=[0, 1])
        answer.answer.outputs = [ev.Produced(0, Box("x", "y"), [0, 1]), ev.Produced(1, Box("x"), [0])]
        answer.answer.copies = {0: 2}
        play.tell(answer)
        assert (numbers(play.ask("p")), numbers(play.ask("q")), play.jobs("r")) == ([0, 1], [0], [])
        play.forgotten("p", "q")
        play.work("p", "q")
        assert (sorted(play.ended), play.finish) == ([0, 1], "done")


class TestHowTasksEnded:
    def test_failures_are_not_tried_again(self):
        play = Again(Graph(wide("a", retries=9)))
        play.play("x", "y")
        play.tell(recalled(play.ask("a"), {1: "Y"}, fails={0: 4}))
        (fact,) = play.heard(do.TaskFailed)
        assert (fact.attempt, fact.retry_in, fact.again, fact.error.attempts) == (4, None, True, 4)
        assert (play.lost, play.ended, play.finish) == ([(0, "broke")], [1, 0], "done")
        assert play.counts("a") == {"received": 2, "succeeded": 1, "failed": 1}

    def test_failures_are_missed_where_they_were(self):
        play = Again(split() >> wide("a") >> merge())
        play.play("x")
        play.tell(offspring(play.ask("s"), "x0", "x1"))
        play.tell(recalled(play.ask("a"), {0: "x0"}, fails={1: 1}))
        assert (play.asked("m"), play.jobs("m"), play.finish) == ([], [], "done")
        assert play.lost[0][1].startswith("1 member failed: ValueError: broke at node 'a'")

    def test_dropped_ones_and_duplicates(self):
        play = Again(Graph(wide("a", deduplicate=True)))
        play.play("p", "q", "p2", "r")
        ask = play.ask("a")
        assert ask.kind == "key"
        play.tell(recalled(ask, {0: "P"}, dropped=[1], duplicates=[2]))
        assert [(f.status, f.again) for f in play.heard(do.TasksEnded, "a")] == [
            ("succeeded", True),
            ("dropped", True),
            ("duplicate", True),
        ]
        assert (play.outputs, play.ended, play.job("a").job.kind) == (["P"], [0, 1, 2], "key")
        play.tell(keys(play.job("a"), "r"))
        play.work("a")
        assert (play.outputs, play.finish) == (["P", "r"], "done")
        assert play.counts("a") == {"received": 4, "succeeded": 2, "dropped": 2, "duplicates": 1}

    def test_keys_that_were_seen_are_not_run_again(self):
        a, b = wide("a", deduplicate=True), wide("b")
        play = Again(a >> b, seen={"a": {b"p"}, "b": {b"p"}})
        play.play("p2", "q")
        play.forgotten("a")
        play.tell(keys(play.job("a"), "p", "q"))
        assert inputs(play.job("a")) == ["q"]
        play.work("a")
        play.forgotten("b")
        assert inputs(play.job("b")) == ["q"], "a node that deduplicates no longer forgets what it had seen"

    def test_a_failed_key_is_not_seen(self):
        play = Again(Graph(wide("a", deduplicate=True)))
        play.play("p")
        play.tell(recalled(play.ask("a"), fails={0: 1}))
        assert (play.lost, play.finish) == ([(0, "broke")], "done")


class TestSplits:
    def test_known_children_are_not_made_again(self):
        play = Again(split() >> wide("a") >> merge())
        play.play("x")
        play.tell(offspring(play.ask("s"), "x0", "x1"))
        assert (play.jobs("s"), play.counts("s")) == ([], {"received": 1, "succeeded": 1})
        play.tell(recalled(play.ask("a"), {0: "X0", 1: "X1"}))
        assert [group.members for group in play.ask("m").groups] == [2]
        play.tell(recalled(play.ask("m"), {0: "X"}))
        assert (play.outputs, play.ended, play.finish, play.resumed(do.Deliver)) == (["X"], [0], "done", [])

    def test_a_half_known_split_goes_on_after_its_last_child(self):
        play = Again(split(execution_mode="thread", worker_limit=4) >> wide("a") >> merge())
        play.play("x", "y", "z")
        ask = play.ask("s")
        play.tell(offspring(ask, "y0", "y1", position=1, last=False))
        assert [(c.worker, c.token) for c in kinds(play.out, do.Grant)] == [(JOURNAL, ask.token)]
        play.tell(offspring(ask, "y2", position=1, start=2, returned=[0, 1, 2]))
        again = []
        while jobs := play.jobs("s"):
            again.append((inputs(jobs[0]), jobs[0].job.skip))
            play.tell(children(jobs[0], "more", start=jobs[0].job.skip.get(0, 0)))
        assert again == [(["x"], {}), (["y"], {0: 3}), (["z"], {})]
        play.forgotten("a")
        play.work("a")
        play.forgotten("m")
        play.work("m")
        assert sorted(play.outputs) == [("more",), ("more",), ("y0", "y1", "y2", "more")]
        assert play.finish == "done"

    def test_no_more_children_are_asked_for_than_there_is_room_for(self):
        play = Again(split() >> task("a") >> merge())
        play.play("x")
        room = play.node("a").capacity
        ask = play.ask("s")
        play.tell(ev.PauseAsked(True))
        play.tell(offspring(ask, *range(room), last=False))
        play.tell(ev.PauseAsked(False))
        assert kinds(play.out, do.Grant) == []
        play.forgotten("a")
        assert kinds(play.out, do.Grant) == []
        play.tell(done(play.job("a")))
        assert [(grant.worker, grant.token, grant.count) for grant in kinds(play.out, do.Grant)] == [
            (JOURNAL, ask.token, 1)
        ]

    def test_a_split_that_failed_after_some_children(self):
        play = Again(split() >> wide("a") >> merge())
        play.play("x")
        play.tell(offspring(play.ask("s"), "x0", failures=[(0, error("broke off"), True)]))
        play.forgotten("a")
        play.work("a")
        assert play.lost[0][1].startswith("1 member failed: ValueError: broke off at node 's'")
        assert (play.counts("s"), play.finish) == ({"received": 1, "failed": 1}, "done")

    def test_a_split_that_was_dropped_or_a_duplicate(self):
        play = Again(split(execution_mode="thread", worker_limit=4, deduplicate=True) >> wide("a") >> merge())
        play.play("x", "x2", "y")
        ask = play.ask("s")
        answer = offspring(ask, "x0", dropped=[2])
        answer.answer.ended, answer.duplicates = [0], [1]
        play.tell(answer)
        assert play.counts("s") == {"received": 3, "succeeded": 1, "dropped": 2, "duplicates": 1}
        assert play.ended == [2, 1]
        play.forgotten("a")
        play.work("a")
        play.forgotten("m")
        play.work("m")
        assert (play.outputs, play.finish) == ([("x0",)], "done")


class TestMerges:
    def test_of_several_that_are_complete_the_known_ones_are_not_merged_again(self):
        play = Again(split(execution_mode="thread", worker_limit=4) >> merge())
        play.play("x", "y")
        answer = offspring(play.ask("s"), "x0", "y0", "y1")
        answer.answer.outputs[0].children = [(0, 0, 1), (1, 0, 2)]
        play.tell(answer)
        ask = play.ask("m")
        assert ask.kind == "merge"
        assert [group.members for group in ask.groups] == [1, 2]
        play.tell(recalled(ask, {0: "X"}))
        assert inputs(play.job("m")) == [["y0", "y1"]]
        play.work("m")
        assert (play.outputs, play.finish) == (["X", ("y0", "y1")], "done")
        assert play.counts("m") == {"received": 3, "succeeded": 3}

    def test_a_merge_that_failed_or_was_dropped(self):
        play = Again(split(execution_mode="thread", worker_limit=4) >> merge(max_retries=5))
        play.play("x", "y")
        answer = offspring(play.ask("s"), "x0", "y0", "y1")
        answer.answer.outputs[0].children = [(0, 0, 1), (1, 0, 2)]
        play.tell(answer)
        play.tell(recalled(play.ask("m"), fails={0: 6}, dropped=[1]))
        (fact,) = play.heard(do.TaskFailed, "m")
        assert (fact.attempt, fact.again, play.lost) == (6, True, [(0, "broke")])
        assert (play.counts("m"), play.finish) == ({"received": 3, "failed": 1, "dropped": 2}, "done")

    def test_the_merge_of_the_run(self):
        play = Again(Graph(merge("m", "run")), merged=["m"])
        play.play("x", "y")
        play.tell(recalled(play.ask("m"), {0: "xy"}))
        assert (play.outputs, play.finish) == (["xy"], "done")
        assert play.counts("m") == {"received": 2, "succeeded": 2}


def folding(*values, **options):
    """One task was split into ``values``, which have come to ``a``; the journal knows none of them."""
    play = Again(split() >> wide("a") >> fold(**options))
    play.play("x")
    play.tell(offspring(play.ask("s"), *values))
    play.forgotten("a")
    return play


class TestFolds:
    def test_one_that_is_not_known_is_asked_about_once(self):
        play = folding("p", "q", "r")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        ask = play.ask("f")
        assert (ask.kind, ask.groups[0].final) == ("merge", False)
        play.tell(part(job, {1: "q"}))
        play.tell(recalled(ask))
        assert inputs(play.job("f")) == [["p", "q"]], "what came meanwhile joins the step"
        play.tell(part(job, {2: "r"}, last=True))
        play.tell(states(play.job("f"), "PQ"))
        assert (play.asked("f"), inputs(play.job("f")), play.job("f").job.groups[0].final) == ([], [["r"]], True)
        play.work("f")
        assert (play.counts("f"), play.finish) == ({"received": 3, "succeeded": 3}, "done")

    def test_one_that_is_known_before_its_last_member_has_come(self):
        play = folding("p", "q", "r")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(part(job, {1: "q"}))
        play.tell(recalled(play.ask("f"), ended=[0]))
        assert (play.asked("f"), play.outputs, play.counts("f")) == ([], [], {"received": 2})
        play.tell(part(job, {2: "r"}, last=True))
        ask = play.ask("f")
        assert (ask.groups[0].final, ask.groups[0].pieces) == (True, [])
        play.tell(recalled(ask, {0: "PQR"}))
        assert (play.outputs, play.jobs("f"), play.finish) == (["PQR"], [], "done")
        assert play.counts("f") == {"received": 3, "succeeded": 3}

    def test_or_when_that_has_come(self):
        play = folding("p")
        play.work("a")
        assert play.ask("f").groups[0].final
        play.tell(recalled(play.ask("f"), {0: "P"}))
        assert (play.outputs, play.finish) == (["P"], "done")

    def test_or_while_it_is_asked(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        ask = play.ask("f")
        play.tell(part(job, {1: "q"}, last=True))
        play.tell(recalled(ask, ended=[0]))
        play.tell(recalled(play.ask("f"), {0: "PQ"}))
        assert (play.outputs, play.counts("f"), play.finish) == (["PQ"], {"received": 2, "succeeded": 2}, "done")

    def test_one_that_failed(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(recalled(play.ask("f"), fails={0: 3}))
        assert (play.lost, play.asked("f")) == ([], [])
        play.tell(part(job, {1: "q"}, last=True))
        (fact,) = play.heard(do.TaskFailed, "f")
        assert (fact.attempt, fact.members, play.lost, play.finish) == (3, 2, [(0, "broke")], "done")
        assert play.counts("f") == {"received": 2, "failed": 2}

    def test_one_that_misses_members_while_it_is_asked(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        ask = play.ask("f")
        play.tell(part(job, {}, fails=[1], last=True))
        assert play.lost == []
        play.tell(recalled(ask))
        assert (play.jobs("f"), play.finish, len(play.lost)) == ([], "done", 1)
        assert play.counts("f") == {"received": 1, "failed": 1}

    def test_or_before_it_could_be(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(ev.PauseAsked(True))
        play.tell(part(job, {0: "p"}))
        assert len(play.node("f").unasked) == 1
        play.tell(part(job, {}, fails=[1], last=True))
        assert (play.node("f").queued, len(play.lost)) == (0, 1)
        play.tell(ev.PauseAsked(False))
        assert (play.asked("f"), play.finish) == ([], "done")

    def test_several_of_one_scope_are_known_each_by_itself(self):
        play = Again(split() >> par(fold("f"), fold("g")))
        play.play("x")
        play.tell(offspring(play.ask("s"), "p", "q"))
        play.tell(recalled(play.ask("f"), {0: "F"}))
        assert (play.outputs, play.ended) == (["F"], [])
        play.forgotten("g")
        assert inputs(play.job("g")) == [["p", "q"]]
        play.tell(done(play.job("g"), "G"))
        assert (play.outputs, play.ended, play.finish) == (["F", "G"], [0], "done")

    def test_that_of_the_run_keeps_its_members_until_its_end_is_known(self):
        for holds in (True, False):
            play = Again(fold("m", "run") >> task("b"), merged=["m"])
            play.give("x", "y")
            play.give("z")
            assert (play.asked("m"), play.jobs("m"), play.node("m").merge.held) == ([], [], 3)
            play.end()
            ask = play.ask("m")
            assert (ask.groups[0].final, ask.groups[0].members, play.node("m").merge.held) == (True, 3, 0)
            play.tell(recalled(ask, {0: "xyz"} if holds else {}))
            if not holds:
                assert inputs(play.job("m")) == [["x", "y", "z"]]
                play.tell(done(play.job("m"), "xyz"))
            play.forgotten("b")
            play.work("b")
            assert (play.outputs, play.finish) == (["xyz"], "done")
            assert play.counts("m") == {"received": 3, "succeeded": 3}

    def test_of_a_run_of_one_task_of_each_of_several(self):
        play = Again(split() >> wide("a") >> fold("m", "run"), merged=["m"])
        play.play("x")
        play.tell(offspring(play.ask("s"), "p", "q"))
        play.forgotten("a")
        play.tell(part(play.job("a"), {1: "q"}))
        play.tell(part(play.job("a"), {0: "p"}, last=True))
        play.tell(recalled(play.ask("m"), {0: "pq"}))
        assert (play.outputs, play.finish) == (["pq"], "done")


class TestWindows:
    def test_members_of_known_windows_are_not_held_again(self):
        play = Again(Graph(merge("w", size=2)), fired={"w": 1})
        play.give("p", "q", "r")
        ask = play.ask("w")
        assert (ask.kind, numbers(ask)) == ("member", [0, 1, 2])
        play.tell(recalled(ask, ended=[0, 2]))
        assert (play.ended, play.node("w").merge.held, play.jobs("w")) == ([0, 2, 1], 1, [])
        play.give("s")
        play.forgotten("w")
        assert inputs(play.job("w")) == [["q", "s"]]

    def test_a_window_whose_members_have_all_come_is_merged_again(self):
        play = Again(merge("w", size=2) >> task("b"), fired={"w": 1})
        play.give("p", "q")
        ask = play.ask("w")
        play.tell(recalled(ask, ended=[0, 1]), ev.WindowFilled(0, 0, 2, [(play.core.lineages.root, range(2))]))
        ask = play.ask("w")
        assert (ask.kind, ask.groups[0].members, ask.groups[0].pieces) == ("merge", 2, [])
        play.tell(recalled(ask, {0: "pq"}))
        play.forgotten("b")
        assert inputs(play.job("b")) == ["pq"]
        play.tell(fail(play.job("b")))
        (lost,) = play.heard(do.AggregateLost)
        assert [index for _, index in tasks_of(lost.members)] == [0, 1], "it is known what it was made of"
        play.end()
        assert (play.counts("w"), play.finish) == ({"received": 2, "succeeded": 2}, "done")

    def test_a_known_window_that_failed(self):
        play = Again(Graph(merge("w", size=2)), fired={"w": 1})
        play.play("p", "q")
        play.tell(recalled(play.ask("w"), ended=[0, 1]), ev.WindowFilled(0, 0, 2, [(play.core.lineages.root, [0, 1])]))
        play.tell(recalled(play.ask("w"), fails={0: 1}))
        assert (play.counts("w"), play.finish) == ({"received": 2, "failed": 2}, "done")

    def test_a_known_window_that_has_to_be_merged_again_has_its_members(self):
        play = Again(Graph(merge("w", size=2)), fired={"w": 2}, recording=True)
        play.give("p", "q", "r", "s")
        ask = play.ask("w")
        root = play.core.lineages.root
        event = recalled(ask, ended=[0, 1, 2, 3])
        event.unmerged = {0: [0, 2]}
        filled = ev.WindowFilled(0, 0, 2, [(root, [0, 2])]), ev.WindowFilled(0, 1, 2, [(root, [1, 3])])
        play.tell(event, *filled)
        (settled,) = kinds(play.out, do.Settled)
        assert settled.ended == [1, 3], "the others are needed until they have been merged"
        play.tell(recalled(play.ask("w"), {1: "qs"}))
        assert inputs(play.job("w")) == [["p", "r"]]
        play.tell(done(play.job("w"), "pr"))
        play.end()
        assert (play.outputs, play.finish) == (["qs", "pr"], "done")
        assert play.counts("w") == {"received": 4, "succeeded": 4}

    def test_a_known_window_that_has_to_be_folded_again_has_its_members(self):
        play = Again(Graph(fold("w", size=2)), fired={"w": 1})
        play.play("p", "q")
        event = recalled(play.ask("w"), ended=[0, 1])
        event.unmerged = {0: [0, 1]}
        play.tell(event, ev.WindowFilled(0, 0, 2, [(play.core.lineages.root, [0, 1])]))
        play.forgotten("w")
        assert inputs(play.job("w")) == [["p", "q"]]
        play.tell(done(play.job("w"), "pq"))
        assert (play.outputs, play.finish, play.node("w").merge.folding) == (["pq"], "done", 0)
        assert play.counts("w") == {"received": 2, "succeeded": 2}

    def test_new_windows_have_numbers_after_those_that_are_known(self):
        play = Again(Graph(merge("w", size=1)), fired={"w": 7})
        play.give("p")
        play.forgotten("w")
        (lease,) = play.core.leases.values()
        assert [(space.aggregate, index) for space, index in tasks_of(lease.segments)] == [(True, 7)]

    def test_a_node_that_is_no_merger_any_more(self):
        play = Again(Graph(wide("a")), fired={"a": 7}, merged=["a"])
        play.play("x")
        play.forgotten("a")
        play.work("a")
        assert (play.outputs, play.finish) == (["x"], "done")

    def test_folds_of_windows(self):
        play = Again(Graph(fold("w", size=2)), fired={"w": 1})
        play.give("p", "q", "r")
        play.tell(recalled(play.ask("w"), ended=[1]))
        ask = play.ask("w")
        assert (ask.kind, ask.groups[0].members, ask.groups[0].final) == ("merge", 2, True)
        play.tell(recalled(ask))
        assert inputs(play.job("w")) == [["p", "r"]]

    def test_members_that_wait_when_the_journal_knows_no_more(self):
        play = Again(Graph(merge("w", size=2)))
        play.tell(ev.PauseAsked(True))
        play.give("p", "q")
        play.tell(ev.Remembered(False), ev.PauseAsked(False))
        assert (play.asked("w"), inputs(play.job("w"))) == ([], [["p", "q"]])


class TestWhatCameBefore:
    """Of tasks that have not ended a journal may know attempts that failed, and workers that died."""

    def test_attempts_are_carried_on(self):
        play = Again(Graph(wide("a", retries=2)))
        play.play("x", "y", "z")
        play.tell(recalled(play.ask("a"), tries={1: ev.Tries(attempt=2)}))
        jobs = play.jobs("a")
        assert [(inputs(job), job.job.attempt) for job in jobs] == [(["x"], 0), (["y"], 2), (["z"], 0)]
        play.tell(fail(jobs[1], retry=True))
        assert play.lost == [(1, "broken y")], "that was the last that it had"
        assert play.heard(do.TaskFailed)[0].attempt == 3

    def test_one_that_killed_workers_runs_in_one_of_its_own_but_not_for_ever(self):
        play = Again(Graph(task("a")), killable=True)
        play.play("x", "y")
        play.tell(recalled(play.ask("a"), {1: "Y"}, tries={0: ev.Tries(crashes=2)}))
        job = play.job("a")
        assert play.core.workers[job.worker].alone
        play.tell(ev.WorkerLost(job.worker, "was killed", (job.token, 0)))
        ((number, text),) = play.lost
        assert (number, "3 times" in text, play.finish) == (0, True, "done")

    def test_a_split_goes_on_and_knows_its_attempts(self):
        play = Again(split(max_retries=5) >> wide("a") >> merge())
        play.play("x")
        answer = offspring(play.ask("s"), "x0", returned=[0])
        answer.tries = {0: ev.Tries(attempt=1)}
        play.tell(answer)
        assert (play.job("s").job.skip, play.job("s").job.attempt) == ({0: 1}, 1)

    def test_a_fold_does_too(self):
        play = folding("p", max_retries=2, retry_delay=1.0)
        play.work("a")
        play.tell(recalled(play.ask("f"), tries={0: ev.Tries(attempt=2)}))
        assert (inputs(play.job("f")), play.job("f").job.attempt) == ([["p"]], 2)
        play.tell(fail(play.job("f"), retry=True))
        assert (play.lost, play.finish) == ([(0, "broken ['p']")], "done")


SUSPECT = ev.Tries(suspect=True)


def suspecting(*values, graph=None, **options):
    """A run in which the first task was running when the driver died, and nothing is known of the others."""
    play = Again(Graph(task("a")) if graph is None else graph, **options)
    play.give(*values)
    play.tell(recalled(play.ask(play.plan.nodes[0].name), tries={0: SUSPECT}))
    return play


class TestSuspects:
    """A task that was running when the driver died may have killed it: it runs last, and alone."""

    def test_it_runs_when_nothing_else_is_left_to_do(self):
        play = suspecting("x", "y", "z")
        play.end()
        order = []
        while jobs := play.jobs("a"):
            order += inputs(jobs[0])
            assert order[-1] != "x" or len(jobs) == 1
            play.tell(done(jobs[0]))
        assert (order, play.finish) == (["y", "z", "x"], "done")
        assert play.counts("a") == {"received": 3, "succeeded": 3}

    def test_in_a_worker_that_has_done_nothing_before(self):
        play = suspecting("x", "y")
        play.end()
        first = play.job("a")
        play.tell(done(first))
        assert play.job("a").worker != first.worker

    def test_several_run_one_after_the_other(self):
        play = Again(Graph(wide("a")))
        play.play("x", "y")
        play.tell(recalled(play.ask("a"), tries={0: SUSPECT, 1: SUSPECT}))
        for value in "xy":
            assert [inputs(job) for job in play.jobs("a")] == [[value]]
            play.tell(done(play.job("a")))
        assert play.finish == "done"

    def test_not_while_a_task_waits_for_its_next_attempt(self):
        play = suspecting("x", "y", graph=Graph(task("a", retries=1, retry_delay=1.0)))
        play.end()
        play.tell(fail(play.job("a"), retry=True))
        assert play.jobs("a") == []
        assert play.core.next_deadline() <= 1.0
        play.tell(wait=1.0)
        assert inputs(play.job("a")) == ["y"]
        play.tell(done(play.job("a")))
        assert inputs(play.job("a")) == ["x"]

    def test_while_the_source_may_give_more_it_waits_a_while(self):
        play = suspecting("x")
        due = play.core.next_deadline()
        assert (play.jobs("a"), due) == ([], play.core.quiet_since + PATIENCE_SECONDS)
        assert play.core.stuck() is None
        play.tell(ev.TimePassed(), wait=PATIENCE_SECONDS / 2)
        assert play.jobs("a") == []
        play.tell(ev.TimePassed(), wait=PATIENCE_SECONDS / 2)
        assert inputs(play.job("a")) == ["x"]
        play.tell(done(play.job("a")))
        assert play.ended == [0]

    def test_nothing_more_is_read_while_it_runs(self):
        play = suspecting("x", graph=Graph(wide("a")))
        play.tell(ev.TimePassed(), wait=PATIENCE_SECONDS)
        play.tell(ev.Pulled(Box(), 0))
        assert (inputs(play.job("a")), play.resumed(do.Pull)) == (["x"], [])
        play.tell(done(play.job("a")))
        assert play.resumed(do.Pull) != []

    def test_it_waits_when_the_source_cannot_be_read(self):
        play = suspecting("x", graph=Graph(wide("a")), sink_room=1)
        play.give("y")
        play.forgotten("a")
        play.work("a")
        play.tell(ev.Pulled(Box(), 0))
        assert (play.core.pulling, play.outputs) == (0, ["y"])
        play.tell(ev.TimePassed(), wait=PATIENCE_SECONDS)
        assert play.jobs("a") == [], "the user is to take what is there first"
        play.tell(ev.Consumed(1))
        play.tell(ev.TimePassed(), wait=PATIENCE_SECONDS)
        assert inputs(play.job("a")) == ["x"]

    def test_what_comes_of_it_goes_on(self):
        a, b = wide("a"), wide("b")
        play = suspecting("x", graph=a >> b)
        play.end()
        play.work("a")
        play.forgotten("b")
        play.work("b")
        assert (play.outputs, play.finish) == (["x"], "done")

    def test_other_nodes_begin_nothing_while_it_runs(self):
        b = task("b")
        play = Again(par(task("a"), b >> merge("w", size=9)))
        play.give("x")
        play.forgotten("b")
        play.tell(recalled(play.ask("a"), tries={0: SUSPECT}))
        play.work("b")
        play.forgotten("w")
        play.end()
        assert (inputs(play.job("a")), play.jobs("w")) == (["x"], [])
        play.work("a")
        play.forgotten("w")
        play.work("w")
        assert (sorted(map(str, play.outputs)), play.finish) == (["('x',)", "x"], "done")

    def test_a_split_is_not_held_up_by_children_that_nobody_takes(self):
        play = suspecting("x", graph=split() >> task("a") >> merge())
        play.end()
        job = play.job("s")
        room = play.node("a").capacity
        play.tell(ev.PauseAsked(True))
        play.tell(children(job, *range(room), last=False))
        play.tell(ev.PauseAsked(False))
        play.forgotten("a")
        assert play.jobs("a") != [], "they must be taken, or it would wait for ever"
        while not kinds(play.out, do.Grant):
            play.tell(done(play.job("a")))
        play.tell(children(job, start=room))
        play.work("a")
        play.forgotten("m")
        play.work("m")
        assert play.finish == "done"

    def test_a_fold_is_asked_about_once(self):
        play = folding("p", "q")
        job = play.job("a")
        play.tell(part(job, {0: "p"}))
        play.tell(recalled(play.ask("f"), tries={0: SUSPECT}))
        assert play.jobs("f") == []
        play.tell(part(job, {1: "q"}, last=True))
        assert inputs(play.job("f")) == [["p"]]
        play.tell(states(play.job("f"), "P"))
        assert (play.asked("f"), inputs(play.job("f"))) == ([], [["q"]])
        play.tell(done(play.job("f"), "PQ"))
        assert (play.outputs, play.finish) == (["PQ"], "done")

    def test_a_merge(self):
        play = Again(split() >> merge())
        play.play("x")
        play.tell(offspring(play.ask("s"), "x0", "x1"))
        play.tell(recalled(play.ask("m"), tries={0: SUSPECT}))
        assert inputs(play.job("m")) == [["x0", "x1"]]
        assert play.core.workers[play.job("m").worker].alone
        play.work("m")
        assert (play.outputs, play.finish) == ([("x0", "x1")], "done")

    def test_one_that_deduplicates(self):
        play = suspecting("p", "p2", graph=Graph(wide("a", deduplicate=True)))
        play.end()
        play.tell(keys(play.job("a"), "p"))
        play.tell(done(play.job("a")))
        play.tell(keys(play.job("a"), "p"))
        assert (play.outputs, play.counts("a")["duplicates"], play.finish) == (["p2"], 1, "done")


class TestStops:
    def test_what_the_journal_still_knows_is_heard_and_nothing_is_begun(self):
        play = Again(Graph(wide("a")))
        play.give("x", "y")
        ask = play.ask("a")
        play.tell(ev.StopAsked())
        assert play.finish is None
        play.tell(recalled(ask, {0: "X"}))
        assert (play.outputs, play.jobs("a"), play.finish) == (["X"], [], "stopped")
        assert play.counts("a") == {"received": 1, "succeeded": 1}

    def test_what_was_not_asked_yet_is_given_up(self):
        play = Again(Graph(wide("a")))
        play.tell(ev.PauseAsked(True))
        play.give("x")
        play.tell(ev.StopAsked())
        assert (play.asked("a"), play.node("a").queued, play.finish) == ([], 0, "stopped")

    def test_what_may_have_killed_the_driver_is_given_up(self):
        play = suspecting("x", "y")
        play.tell(ev.StopAsked())
        play.work("a")
        assert (play.outputs, play.finish, play.core.next_deadline()) == (["y"], "stopped", None)

    def test_at_once(self):
        play = Again(Graph(wide("a")))
        play.give("x")
        ask = play.ask("a")
        play.tell(ev.StopAsked(kill=True))
        assert play.finish == "stopped"
        assert play.tell(recalled(ask, {0: "X"})) == []

    def test_a_known_split_that_waits_for_room_may_go_on(self):
        play = Again(split() >> task("a") >> merge())
        play.give("x")
        ask = play.ask("s")
        play.tell(ev.PauseAsked(True))
        play.tell(offspring(ask, "x0", last=False))
        play.tell(ev.StopAsked())
        assert [(grant.worker, grant.token) for grant in kinds(play.out, do.Grant)] == [(JOURNAL, ask.token)]
        play.tell(offspring(ask, start=1))
        assert play.finish == "stopped"

    def test_a_window_that_is_filled_then_is_not_merged(self):
        play = Again(Graph(merge("w", size=2)), fired={"w": 1})
        play.give("p", "q")
        ask = play.ask("w")
        play.tell(ev.StopAsked())
        play.tell(recalled(ask, ended=[0, 1]), ev.WindowFilled(0, 0, 2, [(play.core.lineages.root, range(2))]))
        assert (play.asked("w"), play.finish) == ([], "stopped")


class TestRecording:
    """What a journal is told, besides the facts."""

    def test_what_is_begun_and_how_it_ends(self):
        play = Play(Graph(wide("a")), recording=True)
        play.give("x", "y")
        (leased,) = kinds(play.out, do.Leased)
        assert (leased.node, list(tasks_of(leased.segments))) == (0, [(play.core.lineages.root, n) for n in (0, 1)])
        answer = fail(play.job("a"), 1)
        play.tell(answer)
        (settled,) = kinds(play.out, do.Settled)
        assert (settled.answer is answer, list(settled.ended), settled.lease.token) == (True, [0], answer.token)
        (fact,) = play.heard(do.TaskFailed)
        assert [payload.values[low:high] for payload, low, high in fact.given] == [("y",)]

    def test_what_is_told_again(self):
        play = Again(Graph(wide("a")), recording=True)
        play.give("x")
        answer = recalled(play.ask("a"), {0: "X"})
        play.tell(answer)
        (settled,) = kinds(play.out, do.Settled)
        assert (settled.answer is answer.answer, list(settled.ended)) == (True, [0])

    def test_attempts_and_crashes(self):
        play = Play(Graph(task("a", retries=1)), recording=True, killable=True)
        play.give("x")
        play.tell(fail(play.job("a"), retry=True))
        play.tell(wait=10.0)
        job = play.job("a")
        failed = [(f.index, f.attempt) for f in play.heard(do.TaskFailed)]
        out = play.tell(ev.WorkerLost(job.worker, "was killed", (job.token, 0)))
        assert failed == [(0, 1)]
        assert [(note.index, note.attempt, note.crashes) for note in kinds(out, do.Tried)] == [(0, 1, 1)]

    def test_a_failed_attempt_by_itself(self):
        play = Play(Graph(task("a", retries=1)), recording=True)
        play.give("x")
        out = play.tell(fail(play.job("a"), retry=True))
        assert [(note.node, note.index, note.attempt, note.crashes) for note in kinds(out, do.Tried)] == [(0, 0, 1, 0)]

    def test_the_members_of_windows(self):
        play = Play(merge("w", size=2) >> merge("m", "run"), recording=True)
        out = play.give("x", "y", "z")
        (fired,) = kinds(out, do.Fired)
        assert (fired.node, fired.index, [index for _, index in tasks_of(fired.members)]) == (0, 0, [0, 1])
        play.work("w")
        (fired,) = kinds(play.end(), do.Fired)
        assert (fired.index, [index for _, index in tasks_of(fired.members)]) == (1, [2])
        play.work("w")
        assert (kinds(play.out, do.Fired), len(play.jobs("m"))) == ([], 1), "the whole run is no window"
