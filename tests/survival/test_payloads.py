"""Values that do not travel: a failure of their task, which names the type and the part, and nobody else's."""

from __future__ import annotations

import datetime
import decimal
import pickle
import threading

import payload_work as work
import pytest
from survival_made import failed, fates, holds

from dagflow import Graph, Merger, PayloadError, Splitter, TaskManager, WorkerDied
from dagflow.work.codec import read_values, seal
from dagflow.work.proof import pickled
from dagflow.work.values import Sealed

pytestmark = pytest.mark.timeout(60)

GOOD = 200
BAD = 77
KINDS = {"raise": "ValueError: trouble", "exit": "SystemExit: trouble", "die": "exit code 7", "crash": "SIGSEGV"}


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("moment", ["argument read", "run", "result pickled", "result read"])
@pytest.mark.parametrize("mode", ["process", "thread"])
def test_one_troublesome_value_among_good_ones(mode, moment, how):
    """Whatever happens, and wherever: the one task fails, for the right reason, and the driver is not touched."""
    task = {
        "argument read": work.Troublesome("read", how),
        "run": ("do", how),
        "result pickled": ("make", "pickled", how),
        "result read": ("make", "read", how),
    }[moment]
    tasks = list(range(GOOD))
    tasks[BAD] = task
    result = Graph(TaskManager(work.make, mode, 2)).run(tasks)
    holds(result)
    assert [i for i, o in enumerate(result.outcomes) if o.status != "done"] == [BAD]
    assert [v for i, v in enumerate(result.values)] == [x for x in range(GOOD) if x != BAD]
    error = result.outcomes[BAD].error
    if moment == "run" and how in ("raise", "exit"):
        assert type(error).__name__ == KINDS[how].split(":")[0]
        return
    assert isinstance(error, WorkerDied if how in ("die", "crash") else PayloadError)
    assert KINDS[how] in str(error)
    if isinstance(error, PayloadError):
        where = (
            "the value (type" if moment == "argument read" else "the value['made'][0] (type payload_work.Troublesome)"
        )
        assert where in str(error)


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_an_argument_that_cannot_be_pickled(how):
    tasks = list(range(GOOD))
    tasks[BAD] = {"deep": (1, [work.Troublesome("pickled", how)])}
    result = Graph(TaskManager(work.make, "process", 2)).run(tasks)
    holds(result)
    assert [i for i, o in enumerate(result.outcomes) if o.status != "done"] == [BAD]
    error = result.outcomes[BAD].error
    assert isinstance(error, PayloadError)
    assert "the value['deep'][1][0] (type payload_work.Troublesome) cannot be pickled" in str(error)


def test_children_members_and_folds_that_do_not_travel():
    """A child fails its split, a merged value its merge, a fold's total its fold."""

    def children(x):
        yield x
        yield work.Loud(3) if x == 5 else x

    split = (Splitter(children, max_retries=0) >> Merger(list)).run(range(10))
    holds(split)
    assert fates(split) == [(x, "done", [[x, x]]) if x != 5 else (x, "failed", []) for x in range(10)]
    assert "cannot be read again: ValueError: three cannot be read" in str(split.outcomes[5].error)
    merged = (Splitter(lambda x: [x]) >> Merger(lambda m: work.Loud(m[0]))).run(range(10))
    holds(merged)
    assert failed(merged) == [3]
    folded = (Splitter(lambda x: [x, x]) >> Merger(fold=(lambda a, m: work.Loud(m), 0))).run(range(10))
    holds(folded)
    assert failed(folded) == [3]


def test_a_class_that_exists_in_the_worker_only():
    """Its values pass on from worker to worker unread; who cannot read them fails those, and reads the others."""
    made = Graph(TaskManager(work.of_a_module_of_its_own, "process", 2)).run(range(40))
    holds(made)
    assert fates(made) == [(x, "done", [x]) if x % 10 != 3 else (x, "failed", []) for x in range(40)]
    assert made.values == [x for x in range(40) if x % 10 != 3]
    error = made.outcomes[13].error
    assert isinstance(error, PayloadError)
    assert "the value (type only_in_the_worker.Thing) cannot be read here: ModuleNotFoundError" in str(error)
    assert made.get_error_dict().keys() == {3, 13, 23, 33}
    assert made[4] == 4
    with pytest.raises(PayloadError):
        made[13]
    following = (TaskManager(work.of_a_module_of_its_own) >> TaskManager(lambda x: -x, name="next")).run(range(40))
    holds(following)
    assert failed(following) == [3, 13, 23, 33]
    assert following.values == [-x for x in range(40) if x % 10 != 3]
    assert (following.counts["next"].succeeded, following.counts["next"].failed) == (36, 4)
    merged = (Splitter(lambda x: [x, 1]) >> work.of_a_module_of_its_own >> Merger(sum)).run(range(5))
    holds(merged)
    assert fates(merged) == [(x, "done", [x + 1]) if x != 3 else (x, "failed", []) for x in range(5)]
    assert isinstance(merged.outcomes[3].error, PayloadError)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_gives_what_cannot_be_read_as_an_error(ordered):
    items = list(Graph(lambda x: work.Elsewhere(x) if x % 5 == 3 else x).stream(range(30), ordered=ordered))
    items.sort(key=lambda item: item.task)
    assert [item.task for item in items] == list(range(30))
    assert [item.value for item in items] == [None if x % 5 == 3 else x for x in range(30)]
    assert [type(item.error) for item in items] == [PayloadError if x % 5 == 3 else type(None) for x in range(30)]


def test_a_value_that_belongs_to_no_task_and_cannot_be_read():
    """It is said where it is asked for; the tasks' own outcomes are the same as ever."""
    result = (TaskManager(lambda x: x) >> Merger(lambda m: work.Elsewhere(len(m)), of="run")).run(range(5))
    with pytest.raises(PayloadError, match="not in this process"):
        _ = result.values


@pytest.mark.parametrize("make", [work.cyclic, lambda: work.deep(400), lambda: work.deep(100_000)])
def test_strange_shapes(make):
    """Cycles travel; what is nested too deep to be pickled is its task's failure."""
    result = Graph(lambda x: make() if x == 1 else x).run(range(3))
    holds(result)
    assert [o.status for o in result.outcomes][::2] == ["done", "done"]
    if make is work.cyclic:
        [value] = result.outcomes[1].values
        assert value[1]["me"] is value
    elif result.outcomes[1].status != "done":
        assert isinstance(result.outcomes[1].error, PayloadError)
        assert "recursion" in str(result.outcomes[1].error)


def test_a_function_that_cannot_travel():
    lock = threading.Lock()
    result = (TaskManager(lambda x: x) >> TaskManager(lambda x: (lock, x)[1], name="locked")).run(range(5))
    holds(result)
    assert {type(o.error) for o in result.outcomes} == {PayloadError}
    assert "the function of node 'locked' cannot travel" in str(result.outcomes[0].error)
    assert "lock" in str(result.outcomes[0].error)


EXCEPTIONS = {
    "two": work.TwoArguments,
    "lock": work.HoldsLock,
    "reduce": work.BadReduce,
    "text": work.BadText,
    "everything": None,
    "new": None,
    "args": None,
    "state": None,
    "oserror": PermissionError,
    "local": "Local",
    "cycle": ValueError,
    "group": ExceptionGroup,
    "long": ValueError,
    "deep": ValueError,
    "dies": None,
}


@pytest.mark.parametrize("kind", EXCEPTIONS)
@pytest.mark.parametrize("backend", ["process", "thread", "serial"])
def test_exceptions_of_every_kind(kind, backend):
    """Each fails its own task, as itself where it can; the others are done."""
    result = Graph(lambda x: work.raiser(kind) if x == 1 else x).run(range(3), backend)
    holds(result)
    assert [o.status for o in result.outcomes] == ["done", "failed", "done"]
    error, wanted = result.outcomes[1].error, EXCEPTIONS[kind]
    assert isinstance(error, BaseException)
    if isinstance(wanted, str):
        assert type(error).__name__ == wanted
    elif wanted is not None:
        assert type(error) is wanted
    if backend != "process":
        return
    notes = "\n".join(getattr(error, "__notes__", ()))
    if kind == "two":
        assert (error.code, error.place, str(error)) == (7, "home", "7 at home")
    if kind == "lock":
        assert error.kept == 5
        assert "left behind in the worker: .lock (lock)" in notes
    if kind == "oserror":
        assert (error.errno, error.filename) == (13, "/root/x")
    if kind == "group":
        assert [type(e).__name__ for e in error.exceptions] == ["TwoArguments", "ExceptionGroup"]
    if kind in ("everything", "new", "args", "state", "dies"):
        assert isinstance(error, Exception)
    assert "raiser" in notes or kind in ("everything", "dies"), "the worker's traceback is missing"


def test_an_exception_is_a_value_too():
    """One that is returned, not raised: it travels if pickle can, and else fails its task."""
    result = Graph(lambda x: work.TwoArguments(x, "b") if x == 1 else ValueError(x)).run(range(3))
    holds(result)
    assert [o.status for o in result.outcomes] == ["done", "failed", "done"]
    assert [type(v) for v in result.values] == [ValueError, ValueError]
    assert "TwoArguments" in str(result.outcomes[1].error)


# -- what is proved, and at what cost -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sure"),
    [
        ([1, "a", 1.5, None, True, b"x", {"k": {1, 2}}, (1, [2])], True),
        ([datetime.date.today(), decimal.Decimal(1), datetime.timedelta(1)], True),
        ([work.Quiet(1), work.Quiet([work.Quiet(2)])], True),
        ([len, work.Quiet, work.make], True),
        ([work.Loud(1)], False),
        ([work.Asking(1)], False),
        ([work.Quiet({"in": work.Loud(1)})], False),
        ([work.TwoArguments(1, 2)], False),
        ([type("Items", (list,), {"__module__": "payload_work"})], True),
    ],
)
def test_only_what_runs_code_of_the_users_is_read_back(value, sure):
    try:
        data, found = pickled(value)
    except pickle.PicklingError:
        pytest.skip("a class without a home")
    assert found is sure
    if sure:
        assert type(pickle.loads(data)) is list


def test_a_class_with_a_careless_getattr_is_found_out():
    """It pickles, and can never be read: whoever made it fails, not whoever is given it."""
    result = (TaskManager(lambda x: work.Asking(x) if x == 2 else x, name="maker") >> (lambda x: x)).run(range(4))
    assert failed(result) == [2]
    assert result.counts["maker"].failed == 1
    assert "cannot be read again: RecursionError" in str(result.outcomes[2].error)


def test_what_lies_beside_an_unreadable_value_is_read():
    values = [1, work.Loud(2), {"k": [work.Loud(3)]}, (work.Quiet(4), work.Loud(3)), {work.Quiet: 5}]
    sealed, refused = seal(values, prove=False)
    assert refused == []
    found, bad = read_values(sealed)
    assert [found[0], found[1], found[4]] == [1, work.Loud(2), {work.Quiet: 5}]
    assert {at: str(error).split(" cannot")[0] for at, error in bad.items()} == {
        2: "the value['k'][0] (type payload_work.Loud)",
        3: "the value[1] (type payload_work.Loud)",
    }
    found, bad = read_values(sealed, 3, 5)
    assert (found[1], list(bad)) == ({work.Quiet: 5}, [0])


def test_damaged_bytes_are_an_error_for_each_value():
    sealed, _ = seal(["a", "b", "c"], prove=False)
    found, bad = read_values(Sealed(sealed.data[:-3], 3), 0, 2)
    assert (found, sorted(bad)) == ([None, None], [0, 1])
