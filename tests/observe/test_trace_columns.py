"""The columns give back what was put in, whoever asks for it and however it was put together."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagflow.core.ids import Space
from dagflow.observe import columns as module
from dagflow.observe.columns import BUCKET, DONE, FAILED, Columns


def spaces():
    """A root, a branch of it, children of its task 5 and of the branch's task 700, and aggregates."""
    root = Space(None, -1, None, 0)
    branch = Space(root, 2, None, 1)
    aggregate = Space(None, -1, None, 0)
    aggregate.aggregate = True
    return [root, branch, Space(root, 3, 5, 0), Space(branch, 4, 700, 0), aggregate, Space(aggregate, 3, 9, 0)]


SPACES = spaces()
indices = st.one_of(
    st.builds(lambda start, count: range(start, start + count), st.integers(0, 900), st.integers(1, 40)),
    st.lists(st.integers(0, 900), min_size=1, max_size=12, unique=True),
    st.lists(st.integers(0, 900), min_size=1, max_size=12, unique=True).map(sorted),
)
rows = st.lists(
    st.tuples(st.integers(0, 5), indices, st.booleans(), st.booleans(), st.integers(1, 4), st.integers(0, 9)),
    max_size=25,
)


@settings(deadline=None)
@given(rows=rows, roots=st.lists(st.integers(0, 900), min_size=1, max_size=5))
def test_what_is_put_in_comes_out_in_order(rows, roots):
    columns = Columns()
    expected = []
    for number, (which, ids, paired, failed, attempt, worker) in enumerate(rows):
        space, error = SPACES[which], f"error {number}" if failed else None
        starts = [float(number * 1000 + n) for n in range(len(ids))]
        ends = [s + 1 for s in starts]
        first = array("d", starts if paired else [*starts, ends[-1]])
        head = (number % 7, FAILED if failed else DONE, attempt, worker)
        place = (object(), range(10, 10 + len(ids))) if number % 2 else None
        columns.add(head, space, ids, number / 10, first, array("d", ends) if paired else None, error, place)
        for n, index in enumerate(ids):
            where = None if place is None else (place[0], 10 + n)
            entry = (*head, number / 10, starts[n], ends[n], error, where)
            expected.append((space.aggregate, space.lineage(index), entry))
    asked = {*roots, *(lineage[0] for _, lineage, _ in expected)}
    for root in asked:
        for aggregate in (False, True):
            found = columns.of(root, aggregate=aggregate)
            assert found == [(k, e) for a, k, e in expected if a is aggregate and k[0] == root]
    assert columns.aggregates() == sorted({k[0] for a, k, _ in expected if a})


def test_reading_goes_on_while_it_grows():
    columns, root = Columns(), SPACES[0]
    for n in range(5):
        columns.add((0, DONE, 1, 1), root, [n], 0.0, array("d", [1.0, 2.0]), None)
        assert len(columns.of(n)) == 1 and columns.of(n + 1) == []


def test_long_rows_are_looked_up_without_being_opened_whole():
    columns, root = Columns(), SPACES[0]
    columns.add((0, DONE, 1, 1), root, range(10 * BUCKET), 0.0, array("d", map(float, range(10 * BUCKET + 1))), None)
    ((lineage, entry),) = columns.of(7 * BUCKET + 3)
    assert lineage == (7 * BUCKET + 3,) and (entry.start, entry.end) == (7 * BUCKET + 3, 7 * BUCKET + 4)


def test_tasks_that_travel_together_take_little_room():
    columns, root = Columns(), SPACES[0]
    ticks = array("d", [0.0]) * 4097
    for n in range(250):
        columns.add((0, DONE, 1, 1), root, range(n * 4096, (n + 1) * 4096), 0.0, ticks, None)
    assert sum(chunk.bytes() for chunk in columns.chunks) < 8.1 * 250 * 4096


@pytest.mark.parametrize("alone", [False, True])
def test_the_oldest_are_forgotten_when_there_are_too_many(monkeypatch, alone):
    monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    columns, root = Columns(most=20_000), SPACES[0]
    for n in range(2000):
        ids = [n] if alone else range(n * 10, n * 10 + 10)
        columns.add((0, DONE, 1, 1), root, ids, 0.0, array("d", [0.0]) * (len(ids) + 1), None)
    assert sum(chunk.bytes() for chunk in columns.chunks) < 30_000
    last = 1999 if alone else 19_999
    assert 0 < columns.forgotten < last
    assert len(columns.of(last)) == 1
    assert all(columns.of(n) for n in range(columns.forgotten, last)), "what is not forgotten is whole"


def test_values_have_a_bound_of_their_own(monkeypatch):
    class Payload:
        size = 40

    monkeypatch.setattr(module, "VALUES_BYTES", 100)
    columns = Columns()
    one = Payload()
    assert columns.values_fit(one) and columns.values_fit(one), "the same one counts once"
    assert columns.values_fit(Payload())
    assert not columns.values_fit(Payload())
