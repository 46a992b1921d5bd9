"""Events: an answer made for some tasks of a lease, made to speak of their places in the whole of it."""

from __future__ import annotations

from core_made import Box, error
from hypothesis import given
from hypothesis import strategies as st

from dagflow.core.job import Answer, Produced


def test_everything_an_answer_says_by_position_is_renumbered():
    payload = Box("a", "b", "c")
    answer = Answer(
        1,
        7,
        outputs=[
            Produced(0, payload),
            Produced(1, payload, [2]),
            Produced(0, payload, children=[(0, 3, 2), (2, 0, 1)]),
        ],
        failures=[(1, error(), True)],
        dropped=[2],
        copies={0: 2},
        states={1: "state"},
    )
    answer.renumber([4, 5, 9])
    assert [p.positions for p in answer.outputs] == [[4, 5, 9], [9], None]
    assert answer.outputs[2].children == [(4, 3, 2), (9, 0, 1)]
    assert answer.failures == [(5, error(), True)]
    assert (answer.dropped, answer.copies, answer.states) == ([9], {4: 2}, {5: "state"})
    assert answer.ended == [4], "the rest: neither failed nor dropped"


def test_those_that_ended_may_be_named_and_states_may_be_missing():
    answer = Answer(1, 7, ended=[0, 2])
    answer.renumber([3, 4, 6])
    assert (answer.ended, answer.states) == ([3, 6], None)


@given(st.sets(st.integers(0, 30), min_size=1), st.data())
def test_every_task_of_it_ends_in_one_way_before_and_after(places, data):
    places = sorted(places)
    own = list(range(len(places)))
    fates = [data.draw(st.sampled_from(("ends", "fails", "drops"))) for _ in own]
    answer = Answer(
        1,
        7,
        failures=[(p, error(), False) for p in own if fates[p] == "fails"],
        dropped=[p for p in own if fates[p] == "drops"],
    )
    answer.renumber(places)
    found = dict.fromkeys(answer.ended, "ends") | dict.fromkeys(answer.dropped, "drops")
    found |= dict.fromkeys((p for p, _, _ in answer.failures), "fails")
    assert found == dict(zip(places, fates, strict=True))
