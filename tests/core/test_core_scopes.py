"""Scopes: who waits for whom, by counting; members in lineage order whatever the order they came in."""

from __future__ import annotations

import pytest
from core_made import (
    Box,
    Play,
    children,
    done,
    fail,
    inputs,
    kinds,
    merge,
    part,
    route,
    routed,
    split,
    task,
    tasks,
    wide,
)
from hypothesis import example, given
from hypothesis import strategies as st

from dagflow import DROP, Graph, par
from dagflow.core import commands as do
from dagflow.core.ids import ROOT, Space
from dagflow.core.scopes import Account, Family, order_members

# -- members in order --------------------------------------------------------------------------------------------

TASK = 5  # the task whose scope it is
BASE = Space(None, ROOT, None, 0)
BRANCHES = [Space(BASE, 1, None, branch) for branch in range(3)]
NESTED = [Space(BRANCHES[0], 2, None, branch) for branch in range(2)]
CHILDREN = [Space(BRANCHES[1], 3, TASK, 0), Space(NESTED[1], 4, TASK, 0)]
COPIES = [Space(CHILDREN[0], -2, None, branch) for branch in range(2)]


def runs_of(space, indices, cuts, name):
    """``indices`` of a space as runs that arrived one after the other, in payloads that hold other values too."""
    found, start = [], 0
    for end in [*cuts, len(indices)]:
        if part := indices[start:end]:
            values = ["other", *(f"{name}{i}" for i in part), "other"]
            found.append((space, part, Box(*values), 1))
        start = max(start, end)
    return found


@st.composite
def members(draw):
    """The members of one scope: single tasks of branches, children in any order and in any parts."""
    runs = []
    for number, space in enumerate([*BRANCHES, *NESTED]):
        if draw(st.booleans()):
            runs.append((space, TASK, Box("other", f"{number}"), 1))
    for number, space in enumerate([*CHILDREN, *COPIES]):
        indices = draw(st.one_of(st.lists(st.integers(0, 9), unique=True, max_size=6), st.integers(0, 9).map(range)))
        cuts = sorted(draw(st.sets(st.integers(1, 5), max_size=2)))
        runs += [run for run in runs_of(space, indices, cuts, f"{number}.") if list(run[1]) == sorted(run[1])]
    return draw(st.permutations(runs))


def one_by_one(runs):
    """The members as ``(lineage, value)``, one by one."""
    found = []
    for space, ids, payload, low in runs:
        for offset, index in enumerate([ids] if isinstance(ids, int) else ids):
            found.append((space.lineage(index), payload.values[low + offset]))
    return found


def ordered(runs):
    return [v for payload, low, high in order_members(runs) for v in payload.values[low:high]]


class TestOrder:
    @given(members())
    @example([])
    @example([(CHILDREN[0], [3], Box("b"), 0), (CHILDREN[0], range(2), Box("a", "a"), 0)])
    @example([(CHILDREN[0], [0, 4], Box("a", "c"), 0), (CHILDREN[0], [2], Box("b"), 0)])
    @example([(BRANCHES[2], TASK, Box("c"), 0), (BRANCHES[0], TASK, Box("a"), 0)])
    @example([(BRANCHES[2], TASK, Box("c"), 0), (CHILDREN[0], range(2), Box("b", "b"), 0)])
    def test_members_are_sorted_by_lineage(self, runs):
        assert ordered(runs) == [value for _, value in sorted(one_by_one(runs))]

    def test_a_run_that_is_in_order_stays_one_piece(self):
        payload = Box(*range(1000))
        assert order_members([(CHILDREN[0], range(1000), payload, 0)]) == [(payload, 0, 1000)]
        late = (CHILDREN[0], range(1000, 1003), Box("x", "y", "z"), 0)
        assert order_members([late, (CHILDREN[0], range(1000), payload, 0)]) == [(payload, 0, 1000), (late[2], 0, 3)]


class TestCounts:
    """`Family` against a plain dict of counts."""

    @given(
        st.integers(0, 2),
        st.lists(
            st.tuples(
                st.booleans(),
                st.one_of(st.none(), st.integers(0, 3)),
                st.lists(st.integers(0, 3), unique=True, min_size=1),
            )
        ),
    )
    def test_a_scope_is_complete_when_as_many_have_ended_as_were_counted(self, default, steps):
        family, naive = Family(0, BASE, default), dict.fromkeys(range(4), default)
        for adds, fixed, indices in steps:
            scopes = indices if fixed is None else [fixed] * len(indices)
            if adds:
                family.add(fixed, indices)
                for scope in scopes:
                    naive[scope] += 1
            elif all(naive[s] >= scopes.count(s) for s in scopes):
                complete = family.end(fixed, indices)
                for scope in scopes:
                    naive[scope] -= 1
                gone = [s for s in dict.fromkeys(scopes) if naive[s] == 0]
                assert list(complete) == gone
                naive |= dict.fromkeys(gone, default)

    def test_untouched_scopes_need_no_entry(self):
        family = Family(0, BASE, 1)
        assert family.end(None, range(1000)) == range(1000)
        assert family.live == {}

    @pytest.mark.parametrize("fixed", [None, 3])
    def test_below_zero_is_a_bug(self, fixed):
        with pytest.raises(AssertionError, match="scope 3 of frame 7 counted below zero"):
            Family(7, BASE, 0).end(fixed, [3])

    def test_an_account_names_the_scopes_its_tasks_count_in(self):
        family = Family(0, BASE, 1)
        assert Account(family, None).scopes(range(3)) == range(3)
        assert Account(family, 9).scopes(range(3)) == (9,)


# -- by events ---------------------------------------------------------------------------------------------------


def merged(play, name="m"):
    """What a Merger has been given so far, each merge a list; all of it succeeds."""
    found = []
    while play.jobs(name):
        found += inputs(play.job(name))
        play.tell(done(play.job(name), *["/".join(map(str, m)) for m in inputs(play.job(name))]))
    return found


class TestSplits:
    def test_members_are_merged_once_when_all_have_arrived_in_the_order_of_the_children(self):
        play = Play(split() >> wide("a") >> merge())
        play.give("x")
        play.tell(children(play.job("s"), "x0", "x1", "x2"))
        job = play.job("a")
        play.tell(part(job, {2: "c"}))
        play.tell(part(job, {0: "a"}))
        assert play.jobs("m") == []
        play.tell(part(job, {1: "b"}, last=True))
        assert merged(play) == [["a", "b", "c"]]
        play.end()
        assert (play.outputs, play.ended, play.finish) == (["a/b/c"], [0], "done")
        assert play.counts("m") == {"received": 3, "succeeded": 3}

    def test_scopes_do_not_wait_for_each_other(self):
        play = Play(split() >> wide("a") >> merge())
        play.give("x", "y")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(children(play.job("s"), "y0"))
        first, second = play.jobs("a")
        play.tell(done(second))
        assert merged(play) == [["y0"]]
        assert play.ended == [1]
        play.tell(done(first))
        assert merged(play) == [["x0", "x1"]]

    def test_an_empty_split_merges_nothing(self):
        play = Play(split() >> task("a") >> merge())
        play.give("x")
        play.tell(children(play.job("s")))
        assert merged(play) == [[]]
        assert play.counts("m") == {}

    def test_dropped_members_are_simply_absent(self):
        play = Play(split() >> wide("a") >> merge())
        play.give("x")
        play.tell(children(play.job("s"), "x0", "x1", "x2"))
        play.tell(part(play.job("a"), {0: "x0", 2: "x2"}, dropped=[1], last=True))
        assert merged(play) == [["x0", "x2"]]

    def test_nested_scopes_close_from_the_inside(self):
        play = Play(split("s1") >> split("s2") >> wide("a") >> merge("m2") >> merge("m1"))
        play.play("x")
        play.tell(children(play.job("s1"), "x0", "x1"))
        play.tell(children(play.job("s2"), "x00", "x01"))
        play.tell(children(play.job("s2"), "x10"))
        play.work("a")
        assert merged(play, "m2") == [["x00", "x01"], ["x10"]]
        assert merged(play, "m1") == [["x00/x01", "x10"]]
        assert play.finish == "done"

    def test_an_outer_scope_takes_in_all_inside_it(self):
        outer = split("s1")
        play = Play(outer >> split("s2") >> wide("a") >> merge("m", outer))
        play.play("x")
        play.tell(children(play.job("s1"), "x0", "x1"))
        play.tell(children(play.job("s2"), "x00", "x01"))
        play.work("a")
        assert play.jobs("m") == []
        play.tell(children(play.job("s2"), "x10"))
        play.work("a")
        assert merged(play) == [["x00", "x01", "x10"]]


class TestBranchings:
    def test_branches_are_merged_in_the_order_written(self):
        a, b, c = tasks("a b c")
        play = Play(a >> [b, c] >> merge())
        play.give("x")
        play.work("a")
        play.tell(done(play.job("c"), "C"))
        assert play.jobs("m") == []
        play.tell(done(play.job("b"), "B"))
        assert merged(play) == [["B", "C"]]
        assert play.ended == [0]

    def test_each_branch_gets_a_payload_of_its_own(self):
        a, b, c = tasks("a b c")
        play = Play(a >> [b, c])
        play.give("x")
        play.work("a")
        assert [play.job(n).job.pieces[0][0].number for n in ("b", "c")] == [0, 1]

    def test_a_branch_that_never_comes_back_holds_nobody_up(self):
        s, a, log = split(), task("a"), task("log")
        play = Play((s >> a >> merge("m", s)) | (s >> log))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.work("a")
        assert merged(play) == [["x0", "x1"]]
        assert play.ended == []
        play.work("log")
        assert (play.ended, play.finish) == ([0], "done")

    def test_two_of_three_branches_come_back(self):
        a, b, c, log = tasks("a b c log")
        play = Play((a >> [b, c] >> merge()) | (a >> log))
        play.play("x")
        play.work("a", "c", "b")
        assert merged(play) == [["x", "x"]]
        assert play.finish is None
        play.work("log")
        assert (sorted(play.outputs), play.finish) == (["x", "x/x"], "done")

    def test_several_entries_are_a_branching_of_the_source(self):
        a, b = tasks("a b")
        play = Play(par(a, b) >> merge())
        play.give("x", "y")
        play.work("b")
        assert play.jobs("m") == []
        play.work("a")
        assert merged(play) == [["x", "x"], ["y", "y"]]

    def test_several_entries_that_nobody_merges_end_their_task_together(self):
        play = Play(par(*tasks("a b")))
        play.give("x")
        play.work("a")
        assert (play.outputs, play.ended) == (["x"], [])
        play.work("b")
        assert (play.outputs, play.ended) == (["x", "x"], [0])

    def test_a_branching_inside_a_scope(self):
        a, b, c = tasks("a b c")
        play = Play(split() >> a >> [b, c] >> merge("m2") >> merge("m1"))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.work("a", "b", "c")
        assert merged(play, "m2") == [["x0", "x0"], ["x1", "x1"]]
        assert merged(play, "m1") == [["x0/x0", "x1/x1"]]
        assert play.finish == "done"

    def test_branches_of_several_spaces_at_once(self):
        """Children of two tasks in one payload are broadcast together."""
        s, b, c = split(execution_mode="thread", worker_limit=2), wide("b"), wide("c")
        play = Play(s >> [b, c] >> merge("m", s))
        play.play("x", "y")
        job = play.job("s")
        answer = children(job, "x0", "x1")
        answer.outputs[0].payload = Box("x0", "x1", "y0")
        answer.outputs[0].children.append((1, 0, 1))
        play.tell(answer)
        play.work("b", "c")
        assert merged(play) == [["x0", "x0", "x1", "x1"], ["y0", "y0"]]
        assert play.finish == "done"

    def test_a_branching_of_which_one_branch_is_merged_may_be_named(self):
        a, b, log = tasks("a b log")
        play = Play((a >> b >> merge("m", a)) | (a >> log))
        play.play("x")
        play.work("a", "b")
        assert merged(play) == [["x"]]
        play.work("log")
        assert play.finish == "done"

    def test_a_branching_that_has_left_the_scope_around_which_its_failures_have_not(self):
        s, a, x = split(), wide("a"), task("x")
        m = merge("m", s)
        play = Play((s >> a >> [wide("b"), wide("c")] >> merge("n", a)) | (a.failures >> x >> m))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(fail(play.job("a"), 1))
        play.work("b", "c", "x")
        assert merged(play, "n") == [["x0", "x0"]]
        assert merged(play) == [[("failure", "x1", "broken x1")]]
        assert play.finish == "done"


class TestOneTask:
    def test_everything_from_one_source_task(self):
        play = Play(split() >> [wide("a"), wide("b")] >> merge("m", "task"))
        play.play("x", "y")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.work("a", "b")
        assert merged(play) == [["x0", "x0", "x1", "x1"]]
        play.tell(children(play.job("s")))
        assert merged(play) == [[]]
        assert (play.ended, play.finish) == ([0, 1], "done")

    def test_entries_that_lead_to_it_or_not(self):
        a, b, log = tasks("a b log")
        play = Play((par(a, b) >> merge("m", "task")) | log)
        play.play("x")
        play.work("a", "b")
        assert merged(play) == [["x", "x"]]
        assert play.finish is None
        play.work("log")
        assert play.finish == "done"

    def test_a_failed_one_is_missing(self):
        play = Play(task("a") >> task("b") >> merge("m", "task"))
        play.play("x")
        play.work("a")
        play.tell(fail(play.job("b")))
        ((_, text),) = play.lost
        assert text.startswith("1 member failed: ValueError: broken x at node 'b'")
        assert play.finish == "done"


class TestLeaving:
    """A task that moves to where no Merger waits for it has left its scope."""

    def test_by_a_label_of_a_router(self):
        play = Play(split() >> route() >> {"in": task("a") >> merge(), "out": task("b")})
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(routed(play.job("r"), {0: [0]}))
        play.tell(routed(play.job("r"), {1: [0]}))
        play.work("a")
        assert merged(play) == [["x0"]]
        assert play.ended == []
        play.work("b")
        assert (sorted(play.outputs), play.finish) == (["x0", "x1"], "done")

    def test_into_a_window(self):
        s = split()
        play = Play((s >> task("a") >> merge("m", s)) | (s >> merge("w", size=2)))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.work("a")
        assert merged(play, "m") == [["x0", "x1"]]
        assert merged(play, "w") == [["x0", "x1"]]
        assert play.finish == "done"


class TestSeveralMergers:
    """Mergers on the branches of a Router close the same scope: each fires once, when all is complete."""

    graph = staticmethod(lambda: split() >> route() >> {"x": merge("mx"), "y": merge("my")})

    def test_each_merges_what_came_to_it(self):
        play = Play(self.graph())
        play.play("t")
        play.tell(children(play.job("s"), "t0", "t1", "t2"))
        for label in (0, 1, 0):
            assert play.jobs("mx") == play.jobs("my") == []
            play.tell(routed(play.job("r"), {label: [0]}))
        assert merged(play, "mx") == [["t0", "t2"]]
        assert merged(play, "my") == [["t1"]]
        assert (play.outputs, play.ended, play.finish) == (["t0/t2", "t1"], [0], "done")

    def test_a_missing_member_fails_the_task_of_both(self):
        play = Play(self.graph())
        play.play("t")
        play.tell(children(play.job("s"), "t0", "t1"))
        play.tell(fail(play.job("r")))
        play.tell(routed(play.job("r"), {0: [0]}))
        assert [text[:15] for _, text in play.lost] == ["1 member failed"] * 2
        assert play.finish == "done"

    def test_inside_another_scope(self):
        """The task that was split goes on twice, into the scope around."""
        play = Play(split("s1") >> split("s2") >> route() >> {"x": merge("mx"), "y": merge("my")} >> merge("m"))
        play.play("t")
        play.tell(children(play.job("s1"), "t0"))
        play.tell(children(play.job("s2"), "t00", "t01"))
        play.tell(routed(play.job("r"), {1: [0]}))
        play.tell(routed(play.job("r"), {0: [0]}))
        assert merged(play, "mx") == [["t01"]]
        assert merged(play, "my") == [["t00"]]
        assert merged(play, "m") == [["t01", "t00"]]
        assert play.finish == "done"

    def test_one_of_them_leaves_the_scope_around(self):
        play = Play(split("s1") >> split("s2") >> route() >> {"x": merge("mx") >> merge("m"), "y": merge("my")})
        play.play("t")
        play.tell(children(play.job("s1"), "t0"))
        play.tell(children(play.job("s2"), "t00", "t01"))
        play.tell(routed(play.job("r"), {1: [0]}))
        play.tell(routed(play.job("r"), {0: [0]}))
        assert merged(play, "mx") == [["t01"]]
        assert merged(play, "m") == [["t01"]]
        assert merged(play, "my") == [["t00"]]
        assert (sorted(play.outputs), play.finish) == (["t00", "t01"], "done")


class TestFailures:
    """A failed member leaves a tombstone, unless a failures branch takes it up."""

    def failing(self, **options):
        play = Play(split() >> wide("a") >> merge("m", **options))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1", "x2"))
        return play

    def test_it_fails_the_merged_task(self):
        play = self.failing()
        play.tell(fail(play.job("a"), 1))
        (lost,) = play.heard(do.Lost)
        assert (lost.node, lost.index, lost.error.kind, lost.error.type) == (2, 0, "missing", "MissingMembers")
        assert lost.error.message == (
            "1 member failed: ValueError: broken x1 at node 'a'; on_missing=\"skip\" merges what is there"
        )
        assert [cause.message for cause in lost.error.causes] == ["broken x1"]
        assert (play.counts("m"), play.finish) == ({"received": 2, "failed": 2}, "done")

    def test_several_are_counted_and_all_are_causes(self):
        play = self.failing()
        play.tell(part(play.job("a"), {}, fails=[0, 1, 2], last=True))
        (lost,) = play.heard(do.Lost)
        assert lost.error.message.startswith("3 members failed: ValueError: broken x0 at node 'a' and 2 more;")
        assert [cause.message for cause in lost.error.causes] == ["broken x0", "broken x1", "broken x2"]

    def test_or_is_skipped(self):
        play = self.failing(on_missing="skip")
        play.tell(fail(play.job("a"), 1))
        assert merged(play) == [["x0", "x2"]]
        assert (play.lost, play.finish) == ([], "done")

    def test_taken_up_it_arrives_as_a_member(self):
        a, rescue, m = wide("a"), task("rescue"), merge()
        play = Play((split() >> a >> m) | (a.failures >> rescue >> m))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(fail(play.job("a"), 0))
        assert inputs(play.job("rescue")) == [("failure", "x0", "broken x0")]
        play.tell(done(play.job("rescue"), "rescued"))
        assert merged(play) == [["rescued", "x1"]]
        assert play.finish == "done"

    def test_taken_up_outside_it_is_simply_absent(self):
        a, told = wide("a"), task("told")
        play = Play((split() >> a >> merge()) | (a.failures >> told))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(fail(play.job("a"), 0))
        assert merged(play) == [["x1"]]
        play.work("told")
        assert play.finish == "done"

    def test_failures_sent_to_several_nodes_are_a_branching(self):
        a, b, c = tasks("a b c")
        play = Play(a.failures >> [b, c] >> merge())
        play.play("x")
        play.tell(fail(play.job("a")))
        play.tell(done(play.job("c"), "C"))
        play.tell(done(play.job("b"), "B"))
        assert merged(play) == [["B", "C"]]
        assert play.finish == "done"

    def test_a_merge_that_failed_is_a_missing_member_of_the_scope_around(self):
        play = Play(split("s1") >> split("s2") >> merge("m2") >> merge("m1"))
        play.play("x")
        play.tell(children(play.job("s1"), "x0"))
        play.tell(children(play.job("s2"), "x00"))
        play.tell(fail(play.job("m2")))
        ((_, text),) = play.lost
        assert text.startswith("1 member failed: ValueError: broken ['x00'] at node 'm2'")
        assert play.finish == "done"

    def test_what_a_merger_sends_on_failures_is_in_the_scope_around(self):
        m2, rescue = merge("m2"), task("rescue")
        m1 = merge("m1")
        play = Play((split("s1") >> split("s2") >> m2 >> m1) | (m2.failures >> rescue >> m1))
        play.play("x")
        play.tell(children(play.job("s1"), "x0", "x1"))
        play.tell(children(play.job("s2"), "x00"))
        play.tell(children(play.job("s2"), "x10"))
        play.tell(fail(play.job("m2")))
        play.tell(done(play.job("rescue"), "rescued"))
        assert merged(play, "m2") == [["x10"]]
        assert merged(play, "m1") == [["rescued", "x10"]]
        assert play.finish == "done"

    def test_what_a_merger_sends_on_failures_needs_no_scope(self):
        m, told = merge(), task("told")
        play = Play((split() >> wide("a") >> m) | (m.failures >> told))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(fail(play.job("a"), 1))
        ((_, _, text),) = inputs(play.job("told"))
        assert text.startswith("1 member failed")
        play.tell(done(play.job("told"), "told"))
        assert (play.outputs, play.lost, play.finish) == (["told"], [], "done")

    def test_a_member_that_drops_its_merge(self):
        play = Play(split() >> merge() >> task("b"))
        play.play("x")
        play.tell(children(play.job("s"), "x0", "x1"))
        play.tell(part(play.job("m"), {}, dropped=[0], last=True))
        assert [f.status for f in play.heard(do.TasksEnded, "m")] == ["dropped"]
        assert (play.counts("m"), play.ended, play.finish) == ({"received": 2, "dropped": 2}, [0], "done")


class TestSpread:
    """A Merger whose function takes each branch as an argument of its own needs all of them."""

    @staticmethod
    def spread():
        a = task("a")
        return a >> [wide("b"), wide("c")] >> merge_two()

    def test_all_are_there(self):
        play = Play(self.spread())
        play.play("x")
        play.work("a", "b", "c")
        assert merged(play) == [["x", "x"]]

    def test_one_was_dropped(self):
        play = Play(self.spread())
        play.play("x")
        play.work("a", "b")
        play.tell(part(play.job("c"), {}, dropped=[0], last=True))
        ((_, text),) = play.lost
        assert text.startswith("its function takes exactly 2 arguments, one a branch, but 1 members arrived")
        assert (play.counts("m"), play.finish) == ({"received": 1, "failed": 1}, "done")

    def test_one_has_failed(self):
        play = Play(self.spread())
        play.play("x")
        play.work("a", "b")
        play.tell(fail(play.job("c")))
        assert play.lost[0][1].startswith("1 member failed")


def merge_two():
    from dagflow import Merger

    def two(left, right):
        raise NotImplementedError

    return Merger(two, name="m", max_retries=0)


def test_a_graph_without_scopes_ends_its_tasks_by_counting_too():
    play = Play(split() >> wide("a"))
    play.give("x")
    play.tell(children(play.job("s"), "x0", "x1", last=False))
    play.work("a")
    assert play.ended == []
    play.tell(children(play.job("s")))
    assert (play.outputs, play.ended) == (["x0", "x1"], [0])


def test_a_dropped_task_ends():
    play = Play(Graph(task("a")))
    play.play("x")
    play.tell(part(play.job("a"), {}, dropped=[0], last=True))
    (ended,) = kinds(play.out, do.TasksEnded)
    assert (ended.status, ended.count, play.ended, play.finish) == ("dropped", 1, [0], "done")


def test_a_branch_of_a_router_may_drop():
    play = Play(route() >> {"x": task("a"), "y": DROP})
    play.play("t")
    play.tell(routed(play.job("r"), {1: [0]}))
    (ended,) = kinds(play.out, do.TasksEnded)
    assert (ended.status, play.counts("r"), play.finish) == ("dropped", {"received": 1, "dropped": 1}, "done")
