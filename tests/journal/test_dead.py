"""Dead letters: only they run again, from where they failed, with the code as it is now; all else is as it was."""

from __future__ import annotations

import pytest
from journal_made import small_blocks

import dagflow as df
from dagflow.errors import JournalMismatch, MissingMembers
from dagflow.journal.memory import MemoryJournal

BACKENDS = ("serial", "thread", "process")
Merger, Splitter, TaskManager, Router = df.Merger, df.Splitter, df.TaskManager, df.Router


@pytest.fixture
def where(tmp_path):
    return tmp_path / "journal.db"


class Silent:
    """Takes the place of a log."""

    def __call__(self, text):
        pass


class Flow:
    """Graphs whose functions note what they run for; what is in ``broken`` fails for multiples of three."""

    def __init__(self, log, *broken, error=LookupError):
        self.log, self.broken, self.error = log, broken, error

    def task(self, name, mode="serial", **options):
        log, error = self.log, self.error

        def whole(n):
            log(f"{name} {n}")
            return n

        def partly(n):
            log(f"{name} {n}")
            if n % 3 == 0:
                raise error(f"no {n}")
            return n

        func = partly if name in self.broken else whole
        return TaskManager(func, mode, name=name, max_retries=0, **options)

    def children(self, name, count=3, **options):
        log, breaks = self.log, name in self.broken

        def split(n):
            log(f"{name} {n}")
            for child in range(count):
                if breaks and n % 3 == 0 and child == 2:
                    raise LookupError(f"no third of {n}")
                yield n * 10 + child

        return Splitter(split, name=name, max_retries=0, **options)

    def sum(self, name, **options):
        log, breaks = self.log, name in self.broken

        def merge(members):
            log(f"{name} {sum(members)}")
            if breaks and sum(members) % 3 == 0:
                raise LookupError(f"no sum {sum(members)}")
            return sum(members)

        return Merger(merge, name=name, max_retries=0, **options)


def told(result):
    return [(o.task, o.status, o.values, type(o.error), str(o.error)) for o in result.outcomes]


def driven(make, broken, where, log, backend, ran, tasks=tuple(range(5)), given=True, **options):
    """Run with what is broken, then with it mended and its dead letters driven again: as if it had never been.

    ``make(flow)``: the graph; ``ran``: what ran in the second run.
    """
    expected = make(Flow(Silent())).run(tasks, "serial")
    first = make(Flow(log, *broken)).run(tasks, backend, journal=where)
    assert [(o.status, o.values) for o in first.outcomes] != [(o.status, o.values) for o in expected.outcomes] or (
        first.values != expected.values
    )
    with df.open_journal(where) as journal:
        dead = journal.failures
    assert {failure.node for failure in dead} <= set(broken)
    assert dead
    count = len(log)
    mended = make(Flow(log))
    result = mended.run(tasks if given else None, backend, journal=where, retry_failed=True, **options)
    assert sorted(log.since(count)) == sorted(ran)
    assert told(result) == told(expected)
    assert result.values == expected.values
    assert any(note.startswith("dead letters driven again: ") for note in result.notes)
    with df.open_journal(where) as journal:
        assert journal.failures == []
        assert told(journal) == told(expected)
        assert journal.values == expected.values
        assert journal.counts == expected.counts
        assert journal.unfinished == []
    count = len(log)
    again = mended.run(tasks, "serial", journal=where)
    assert (told(again), again.reused, again.counts) == (told(expected), len(tasks), expected.counts)
    assert len(log) == count
    return dead


# -- where they can lie -------------------------------------------------------------------------------------


def chain(flow):
    return flow.task("a") >> flow.task("b", "thread") >> flow.task("c")


def nested(flow):
    return (
        flow.task("a")
        >> flow.children("outer", 2)
        >> flow.children("inner", 2)
        >> flow.task("work", "thread")
        >> flow.sum("small")
        >> flow.sum("large")
        >> flow.task("z")
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("given", [True, False])
def test_only_they_run_and_what_follows_them(backend, given, where, log):
    """From the node that failed them; whether the tasks are given again or the journal gives them."""
    dead = driven(chain, ["b"], where, log, backend, ["b 0", "c 0", "b 3", "c 3"], given=given)
    assert [(f.source, f.task, f.node, f.attempts, str(f.error)) for f in dead] == [
        (0, 0, "b", 1, "no 0"),
        (3, 3, "b", 1, "no 3"),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_scopes_around_them_close_again(backend, where, log):
    """With members from before and from now, at each depth; other scopes of the same source task stay closed."""
    failing = [100 * t + 10 * o + i for t in range(3) for o in range(2) for i in range(2)]
    failing = [n for n in failing if n % 3 == 0]
    ran = [f"work {n}" for n in failing]
    inner = sorted({n // 10 for n in failing})
    ran += [f"small {20 * n + 1}" for n in inner]
    outer = sorted({n // 10 for n in inner})
    ran += [f"{name} {sum(100 * t + 10 * o + i for o in range(2) for i in range(2))}" for t in outer for name in ("large", "z")]  # fmt: skip
    dead = driven(nested, ["work"], where, log, backend, ran, tasks=tuple(range(3)))
    assert [f.task for f in dead] == failing


def test_in_small_blocks_too(where, log, monkeypatch):
    """Where nothing is kept that need not be."""
    small_blocks(monkeypatch)
    driven(chain, ["b"], where, log, "serial", [f"{n} {t}" for t in range(0, 20, 3) for n in "bc"], tasks=range(20))


@pytest.mark.parametrize("on_missing", ["fail", "skip"])
@pytest.mark.parametrize("backend", ["serial", "process"])
def test_merges_that_went_without_them_are_made_again(on_missing, backend, where, log):
    """Those that could not be, and those that were made of what was there; a failed merge is no dead letter itself."""

    def make(flow):
        return flow.children("split") >> flow.task("work") >> flow.sum("sum", on_missing=on_missing) >> flow.task("z")

    ran = ["work 0", "sum 3", "z 3", "work 12", "sum 33", "z 33"]
    driven(make, ["work"], where, log, backend, ran, tasks=(0, 1))


def test_missing_members_name_their_cause_and_are_no_dead_letters(where, log):
    """One dead letter a member, none for the merge; the outcome has both."""
    graph = nested(Flow(log, "work"))
    result = graph.run([0, 1], "serial", journal=where)
    assert all(isinstance(o.error, MissingMembers) for o in result.outcomes)
    with df.open_journal(where) as journal:
        assert [f.node for f in journal.failures] == ["work"] * len(journal.failures)
        assert {o.status for o in journal.outcomes} == {"failed"}
        assert [str(o.error) for o in journal.outcomes] == [str(o.error) for o in result.outcomes]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mergers_own_failure(backend, where, log):
    """Its members are known, and not worked on again."""
    ran = ["sum 3", "z 3", "sum 33", "z 33", "sum 63", "z 63"]

    def make(flow):
        return flow.children("split") >> flow.task("work") >> flow.sum("sum") >> flow.task("z")

    dead = driven(make, ["sum"], where, log, backend, ran, tasks=(0, 1, 2))
    assert [(f.source, f.task, f.node) for f in dead] == [
        (0, [0, 1, 2], "sum"),
        (1, [10, 11, 12], "sum"),
        (2, [20, 21, 22], "sum"),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fold_of_which_a_step_failed(backend, where, log):
    """It is combined anew, from members that are on record."""

    def make(flow):
        breaks = "fold" in flow.broken

        def add(total, n):
            flow.log(f"fold {n}")
            if breaks and n == 11:
                raise LookupError("no 11")
            return total + n

        fold = Merger(fold=(add, 0), name="fold", max_retries=0)
        return flow.children("split") >> flow.task("work") >> fold >> flow.task("z")

    expected = make(Flow(Silent())).run([0, 1, 2], "serial")
    make(Flow(log, "fold")).run([0, 1, 2], backend, journal=where)
    with df.open_journal(where) as journal:
        assert [(f.source, f.node) for f in journal.failures] == [(1, "fold")]
    count = len(log)
    result = make(Flow(log)).run([0, 1, 2], backend, journal=where, retry_failed=True)
    assert told(result) == told(expected)
    assert sorted(log.since(count)) == ["fold 10", "fold 11", "fold 12", "z 33"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_splitters_that_failed_half_way_go_on(backend, where, log):
    """What came of the children before is not worked on again; nor are they made twice."""

    def make(flow):
        return flow.children("split", 4) >> flow.task("work") >> flow.sum("sum") >> flow.task("z")

    ran = [f"{w} {t * 10 + c}" for t in (0, 3) for w, c in (("work", 2), ("work", 3))]
    ran += ["split 0", "split 3", "sum 6", "z 6", "sum 126", "z 126"]
    dead = driven(make, ["split"], where, log, backend, ran)
    assert [(f.source, f.task, f.node) for f in dead] == [(0, 0, "split"), (3, 3, "split")]


def test_splitters_without_a_merger(where, log):
    """Their children were results already, and stay so, once."""

    def make(flow):
        return flow.children("split", 4) >> flow.task("work")

    ran = ["split 0", "work 2", "work 3", "split 3", "work 32", "work 33"]
    driven(make, ["split"], where, log, "serial", ran)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("on_missing", ["fail", "skip"])
def test_the_merge_of_the_run_is_made_again(backend, on_missing, where, log):
    """With all of them; what follows it too."""

    def make(flow):
        return flow.task("a") >> flow.task("b") >> flow.sum("run", of="run", on_missing=on_missing) >> flow.task("z")

    driven(make, ["b"], where, log, backend, ["b 0", "b 3", "run 10", "z 10"])


@pytest.mark.parametrize("backend", ["serial", "process"])
def test_the_merge_of_the_run_that_failed_itself(backend, where, log):
    """It alone runs, with the members that are on record."""

    def make(flow):
        return flow.task("a") >> flow.sum("run", of="run") >> flow.task("z")

    dead = driven(make, ["run"], where, log, backend, ["run 3", "z 3"], tasks=(0, 1, 2))
    assert [(f.source, f.task, f.node) for f in dead] == [(None, [0, 1, 2], "run")]


@pytest.mark.parametrize("backend", ["serial", "process"])
def test_a_window_that_failed(backend, where, log):
    """The same members are merged again, and no others."""

    def make(flow):
        return flow.task("a") >> flow.sum("window", size=2) >> flow.task("z")

    expected = make(Flow(Silent())).run(range(8), "serial")  # windows 1, 5, 9, 13
    make(Flow(log, "window")).run(range(8), backend, journal=where)
    with df.open_journal(where) as journal:
        assert [(f.source, f.task, f.node) for f in journal.failures] == [(None, [4, 5], "window")]
        assert [o.status for o in journal.outcomes] == ["done"] * 4 + ["failed"] * 2 + ["done"] * 2
    count = len(log)
    for tasks in (range(8), None):
        result = make(Flow(log)).run(tasks, backend, journal=where, retry_failed=True)
        assert sorted(result.values) == sorted(expected.values)
        assert {o.status for o in result.outcomes} == {"done"}
        assert sorted(log.since(count)) == ["window 9", "z 9"]
    with df.open_journal(where) as journal:
        assert journal.failures == []
        assert sorted(journal.values) == sorted(expected.values)


def test_members_that_failed_before_their_window(where, log):
    """They come into windows of their own; those before stay as they were."""

    def make(flow):
        return flow.task("a") >> flow.sum("window", size=2) >> flow.task("z")

    first = make(Flow(log, "a")).run(range(8), "serial", journal=where)  # 1 + 2, 4 + 5, 7
    assert sorted(first.values) == [3, 7, 9]
    count = len(log)
    result = make(Flow(log)).run(range(8), "serial", journal=where, retry_failed=True)
    assert sum(result.values) == sum(range(8))
    assert {line for line in log.since(count) if line.startswith("a")} == {"a 0", "a 3", "a 6"}
    assert sorted(result.values)[-2:] == [7, 9] or {3, 7, 9} <= set(result.values)
    assert {o.status for o in result.outcomes} == {"done"}


def test_several_nodes_and_branches_at_once(where, log):
    """Each from where it failed; a source task with two of them is done when both are."""

    def make(flow):
        return flow.task("a") >> [flow.task("b"), flow.task("c")] >> flow.sum("pair", of="task") >> flow.task("z")

    ran = [f"{node} {n}" for n in (0, 3) for node in "bc"] + ["pair 0", "z 0", "pair 6", "z 6"]
    dead = driven(make, ["b", "c"], where, log, "serial", ran)
    assert sorted((f.task, f.node) for f in dead) == [(0, "b"), (0, "c"), (3, "b"), (3, "c")]


def test_tasks_that_failed_behind_a_router(where, log):
    """The way that they went is known."""

    def make(flow):
        route = Router(lambda n: ["x", "y"] if n % 2 else "x", name="route")
        return route >> {"x": flow.task("x"), "y": flow.task("y")} >> flow.task("z")

    driven(make, ["y"], where, log, "serial", ["y 3", "z 3"])


# -- what is no dead letter ---------------------------------------------------------------------------------


def test_failures_that_were_taken_up_are_no_dead_letters(where, log):
    """They stay as they are."""

    def make(flow):
        b = flow.task("b")
        rescue = TaskManager(lambda failure: failure.task + 100, name="rescue")
        return flow.task("a") >> b >> flow.task("c") | (b.failures >> rescue)

    first = make(Flow(log, "b")).run(range(5), "serial", journal=where)
    with df.open_journal(where) as journal:
        assert journal.failures == []
    count = len(log)
    again = make(Flow(log, "b")).run(range(5), "serial", journal=where, retry_failed=True)
    assert told(again) == told(first)
    assert len(log) == count


def test_with_nothing_dead_it_is_a_run_like_any(where, log):
    """A new journal, one without failures; what is new is worked on."""
    graph = chain(Flow(log))
    assert graph.run(range(3), "serial", journal=where, retry_failed=True).values == [0, 1, 2]
    count = len(log)
    result = graph.run(range(4), "serial", journal=where, retry_failed=True)
    assert log.since(count) == ["a 3", "b 3", "c 3"]
    assert result.reused == 3
    assert not any("dead letters" in note for note in result.notes)


# -- again and again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_fails_again_is_dead_again(backend, where, log):
    """With its new error; and is driven again as often as one likes, till it is done."""
    tasks = range(4)
    nested(Flow(log, "work")).run(tasks, backend, journal=where)
    with df.open_journal(where) as journal:
        before = [(f.source, f.task) for f in journal.failures]
        kept = journal.kept.file
    for error in (KeyError, OverflowError):
        count = len(log)
        result = nested(Flow(log, "work", error=error)).run(tasks, backend, journal=where, retry_failed=True)
        assert sorted(log.since(count)) == sorted(f"work {task}" for _, task in before)
        assert all(isinstance(o.error, MissingMembers) for o in result.outcomes if o.error is not None)
        with df.open_journal(where) as journal:
            assert [(f.source, f.task) for f in journal.failures] == before
            assert {type(f.error) for f in journal.failures} == {error}
            assert {f.attempts for f in journal.failures} == {1}
            assert told(journal) == told(result)
            assert journal.kept.file < 3 * kept
    result = nested(Flow(log)).run(None, backend, journal=where, retry_failed=True)
    assert told(result) == told(nested(Flow(Silent())).run(tasks, "serial"))


def test_what_is_left_is_dead_still(where, log):
    """Some are mended, some are not; those that are not are the only ones next time."""

    def make(broken):
        def work(n):
            log(f"work {n}")
            if n in broken:
                raise ValueError(n)
            return n

        return TaskManager(abs, name="abs") >> TaskManager(work, name="work", max_retries=0)

    make({1, 2, 3}).run(range(5), "serial", journal=where)
    for broken in ({2, 3}, {3}, set()):
        count = len(log)
        result = make(broken).run(range(5), "serial", journal=where, retry_failed=True)
        assert log.since(count) == [f"work {n}" for n in sorted({*broken, len({1, 2, 3}) - len(broken)})]
        with df.open_journal(where) as journal:
            assert [f.task for f in journal.failures] == sorted(broken)
    assert result.values == list(range(5))


def test_one_that_fails_elsewhere_next_time(where, log):
    """It was at b, it is at c now: there it lies."""
    chain(Flow(log, "b")).run(range(4), "serial", journal=where)
    with pytest.raises(JournalMismatch, match="node 'c'"):
        chain(Flow(log, "c")).run(range(4), "serial", journal=where, retry_failed=True)
    result = chain(Flow(log, "c")).run(range(4), "serial", journal=where, retry_failed=True, resume="force")
    assert [o.status for o in result.outcomes] == ["failed", "done", "done", "failed"]
    with df.open_journal(where) as journal:
        assert [(f.node, f.task) for f in journal.failures] == [("c", 0), ("c", 3)]
    assert chain(Flow(log)).run(range(4), "serial", journal=where, retry_failed=True).values == [0, 1, 2, 3]


def test_dead_letters_whose_source_does_not_come_are_not_forgotten(where, log):
    """What is not given stays unfinished, and is worked on when it comes."""
    chain(Flow(log, "b")).run(range(5), "serial", journal=where)
    result = chain(Flow(log)).run([0, 1], "serial", journal=where, retry_failed=True)
    assert result.values == [0, 1]
    with df.open_journal(where) as journal:
        assert [f.task for f in journal.failures] + journal.unfinished == [3]
        assert len(journal.outcomes) + len(journal.unfinished) == 5
    assert chain(Flow(log)).run(None, "serial", journal=where, retry_failed=True).values == [0, 1, 2, 3, 4]


# -- what may change ----------------------------------------------------------------------------------------


def variant(log, *, a=abs, words="x", by=(1, 2, 3, 4, 5), broken=True, **options):
    one, two, three, four, five = by

    def b(n):
        log(f"b {n}")
        if broken and n == 1:
            raise LookupError(words)
        return n + 0 * (one + two + three + four + five), words

    return TaskManager(a, name="a") >> TaskManager(b, name="b", max_retries=0, **options)


def test_code_may_change_where_they_failed_and_nowhere_else(log):
    """Functions, constants (whatever is in them), closures there; no option, no other node, no edge."""
    journal = MemoryJournal()
    variant(log).run(range(3), "serial", journal=journal)
    count = len(log)
    for graph, says in (
        (variant(log, a=int, broken=False), "node 'a': its function"),
        (variant(log, broken=False, deduplicate=True), "node 'b': "),
        (variant(log, broken=False, by=(6, 7, 8, 9, 0), words="y", unpack=True), "node 'b': "),
        (variant(log, broken=False) >> TaskManager(str, name="c"), "node 'c': it is new"),
    ):
        with pytest.raises(JournalMismatch, match=says):
            graph.run(range(3), "serial", journal=journal, retry_failed=True)
    assert len(log) == count
    with df.open_journal(journal) as reader:
        assert [f.node for f in reader.failures] == ["b"]
    graph = variant(log, broken=False, by=(6, 7, 8, 9, 0), words="; and; so; on")
    result = graph.run(range(3), "serial", journal=journal, retry_failed=True)
    assert log.since(count) == ["b 1"]
    assert result.values == [(0, "x"), (1, "; and; so; on"), (2, "x")]
    with pytest.raises(JournalMismatch):  # what is not dead any more is no reason any more
        variant(log, words="z").run(range(3), "serial", journal=journal, retry_failed=True)


def test_compatible_redoes_what_changed_elsewhere(log):
    """And drives the dead letters, at once."""
    journal = MemoryJournal()
    variant(log).run(range(3), "serial", journal=journal)
    count = len(log)
    graph = variant(log, a=int, broken=False)
    result = graph.run(range(3), "serial", journal=journal, retry_failed=True, resume="compatible")
    assert [o.status for o in result.outcomes] == ["done"] * 3
    assert log.since(count) == ["b 0", "b 1", "b 2"]  # it follows what changed
