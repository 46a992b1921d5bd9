"""Envelopes: sealed batches are cut, and single tasks taken out of them, without their values being touched."""

from __future__ import annotations

from core_made import Box, error
from hypothesis import given
from hypothesis import strategies as st

from dagflow.core.envelope import Envelope, Lease
from dagflow.core.ids import ROOT, Space, tasks_of
from dagflow.core.payload import FailedTask, FailurePayload, Group

SPACE = Space(None, ROOT, None, 0)


def batch(count, *, low=0, **more):
    """An envelope of ``count`` tasks, numbered from 100, whose values are those of a larger payload from ``low``."""
    payload = Box(*(f"v{i}" for i in range(low + count)), size=10 * (low + count))
    return Envelope("run", [(SPACE, range(100, 100 + count))], count, payload, low, **more)


def values(envelope):
    return list(envelope.payload.values[envelope.low : envelope.low + envelope.count])


def numbers(envelope):
    return [index for _, index in tasks_of(envelope.segments)]


class TestSplitting:
    @given(st.integers(1, 8), st.data())
    def test_both_parts_together_are_the_whole(self, count, data):
        cut = data.draw(st.integers(0, count))
        envelope, whole = batch(count, low=2), batch(count, low=2)
        first = envelope.split(cut)
        assert (first.count, envelope.count) == (cut, count - cut)
        assert values(first) + values(envelope) == values(whole)
        assert numbers(first) + numbers(envelope) == numbers(whole)
        assert first.payload is envelope.payload

    def test_keys_are_cut_with_their_tasks(self):
        envelope = batch(3, keys=[b"a", b"b", b"c"])
        first = envelope.split(1)
        assert (first.keys, envelope.keys) == ([b"a"], [b"b", b"c"])

    def test_groups_of_merges_are_cut_with_their_tasks(self):
        groups = [Group([]), Group([])]
        envelope = Envelope("merge", [(SPACE, [3, 5])], 2, groups=groups)
        first = envelope.split(1)
        assert (first.groups, envelope.groups) == (groups[:1], groups[1:])
        assert (numbers(first), numbers(envelope)) == ([3], [5])

    def test_attempts_and_crashes_belong_to_both_parts(self):
        envelope = batch(2, attempt=2, crashes=1)
        first = envelope.split(1)
        assert (first.attempt, first.crashes, envelope.attempt, envelope.crashes) == (2, 1, 2, 1)


class TestOne:
    def test_a_single_task_takes_everything_that_is_its_own(self):
        children = Space(SPACE, 0, 101, 0)
        envelope = batch(3, low=4, keys=[b"a", b"b", b"c"], attempt=1, crashes=2, accepted=5, child_space=children)
        one = envelope.only(1)
        assert (values(one), numbers(one), one.keys) == (["v5"], [101], [b"b"])
        assert (one.attempt, one.crashes, one.accepted, one.child_space) == (1, 2, 5, children)
        assert envelope.count == 3

    def test_a_single_merge_takes_its_group(self):
        groups = [Group([]), Group([])]
        assert Envelope("merge", [(SPACE, [3, 5])], 2, groups=groups).only(1).groups == groups[1:]

    def test_neighbours_may_stay_together(self):
        part = batch(5, low=2, trial=7).part(1, 4)
        assert (values(part), numbers(part), part.count) == (["v3", "v4", "v5"], [101, 102, 103], 3)
        assert part.trial == 0, "who is taken out is tried anew, or not at all"


class TestSize:
    def test_it_is_its_share_of_its_payload(self):
        assert batch(2, low=2).size == 20

    def test_merges_take_nothing_more(self):
        assert Envelope("merge", [(SPACE, [1])], 1, groups=[Group([])]).size == 0

    def test_a_group_has_as_many_members_as_its_pieces(self):
        assert Group([(Box("a", "b", "c"), 1, 3), (Box("d"), 0, 1)]).members == 3


class TestLease:
    @given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    def test_positions_count_through_all_envelopes(self, counts):
        envelopes = [batch(count) for count in counts]
        lease = Lease(1, 0, 1, envelopes, [], sum(counts), sum(counts))
        found = [lease.find(position) for position in range(sum(counts))]
        assert found == [(envelope, at) for envelope in envelopes for at in range(envelope.count)]


def test_a_payload_of_failed_tasks_is_the_same_for_every_branch():
    """Workers make values of their own of it, so there is nothing to copy."""
    payload = FailurePayload([FailedTask([(Box("a"), 0, 1)], error())], 1, 0)
    assert payload.branch(0) is payload.branch(1) is payload
