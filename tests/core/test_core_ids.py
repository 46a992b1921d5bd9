"""Spaces and segments: what tasks are called, many at a time, against naive versions one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dagflow.core.ids import ROOT, Space, count_of, slice_segments, take, tasks_of

SPACES = [Space(None, ROOT, None, 0) for _ in range(3)]
INDICES = st.one_of(
    st.builds(
        lambda start, count, step: range(start, start + count * step, step), *[st.integers(0, 9)] * 2, st.integers(1, 3)
    ),
    st.lists(st.integers(0, 99), max_size=6),
    st.lists(st.integers(0, 99), max_size=6).map(tuple),
)
SEGMENTS = st.lists(st.tuples(st.sampled_from(SPACES), INDICES), max_size=4)
ONE = [(SPACES[0], range(10, 20))]
TWO = [(SPACES[0], range(10, 13)), (SPACES[1], [7, 5])]


def flat(segments):
    return [(space, index) for space, indices in segments for index in indices]


class TestSegments:
    @given(SEGMENTS)
    def test_counting_and_walking(self, segments):
        assert list(tasks_of(segments)) == flat(segments)
        assert count_of(segments) == len(flat(segments))

    @given(SEGMENTS, st.integers(0, 30), st.integers(0, 30))
    def test_a_slice_is_what_a_list_would_give(self, segments, low, high):
        assert flat(slice_segments(segments, low, high)) == flat(segments)[low:high]

    def test_a_slice_cuts_only_the_segments_it_touches(self):
        three = [*TWO, (SPACES[2], [4])]
        assert slice_segments(ONE, 2, 5) == [(SPACES[0], range(12, 15))]
        assert slice_segments(three, 1, 4) == [(SPACES[0], range(11, 13)), (SPACES[1], [7])]
        assert slice_segments(three, 3, 5) == [(SPACES[1], [7, 5])]
        assert slice_segments(three, 4, 99) == [(SPACES[1], [5]), (SPACES[2], [4])]

    @given(SEGMENTS, st.data())
    def test_taking_is_picking_one_by_one(self, segments, data):
        every = flat(segments)
        positions = sorted(data.draw(st.sets(st.integers(0, len(every) - 1)))) if every else []
        assert flat(take(segments, positions)) == [every[p] for p in positions]

    def test_taking_neighbours_of_a_range_gives_a_range(self):
        """So a batch that lost none in the middle stays one segment, however many tasks it holds."""
        assert take(ONE, [2, 3, 4]) == [(SPACES[0], range(12, 15))]
        assert take(ONE, [2, 4]) == [(SPACES[0], [12, 14])]
        assert take(ONE, []) == take(TWO, []) == [], "of no tasks there is no segment"
        assert take([(SPACES[0], range(0, 20, 2))], [2, 3]) == [(SPACES[0], [4, 6])]

    def test_taking_of_several_segments(self):
        assert take(TWO, [0, 2]) == [(SPACES[0], [10, 12])]
        assert take(TWO, [4]) == [(SPACES[1], [5])]
        assert take(TWO, [1, 3]) == [(SPACES[0], range(11, 12)), (SPACES[1], [7])]
        assert take(TWO, [1, 2, 3, 4]) == [(SPACES[0], range(11, 13)), (SPACES[1], [7, 5])]
        assert take([], []) == []


class TestSpaces:
    """A task is a number in a space; parents lead back to the source task it came from."""

    root = Space(None, ROOT, None, 0)
    branch = Space(root, 4, None, 1)  # every task of the root, on the second branch of a broadcast
    children = Space(branch, 6, 30, 0)  # the children of task 30 on that branch
    copies = Space(children, -2, None, 2)

    def test_the_source_task_is_at_the_end_of_the_parents(self):
        assert self.root.root_index(7) == 7
        assert self.branch.root_index(7) == 7
        assert self.children.root_index(2) == 30
        assert self.copies.root_index(2) == 30

    def test_many_tasks_have_many_source_tasks_or_all_the_same(self):
        assert self.branch.root_indices(range(3, 6)) == range(3, 6)
        assert self.children.root_indices(range(3, 6)) == (30,)
        assert self.copies.root_indices([0]) == (30,)

    def test_lineage_is_read_from_the_root_frame_by_frame(self):
        assert self.root.lineage(7) == (7,)
        assert self.branch.lineage(7) == (7, 4, 1)
        assert self.children.lineage(2) == (30, 4, 1, 6, 2)
        assert self.copies.lineage(2) == (30, 4, 1, 6, 2, -2, 2)

    @given(
        st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 9)), st.integers(0, 3)), max_size=5),
        st.integers(0, 9),
    )
    def test_lineage_and_root_agree(self, steps, index):
        """Lineage begins with the source task, and has two numbers for each step on the way."""
        space = Space(None, ROOT, None, 0)
        for frame, fixed, branch in steps:
            space = Space(space, frame, fixed, branch)
        assert len(space.lineage(index)) == 1 + 2 * len(steps)
        assert space.lineage(index)[0] == space.root_index(index)
        assert space.root_index(index) in space.root_indices([index])

    def test_children_stand_between_their_parents_neighbours(self):
        """Lineage orders values as they were written: the children of a task where the task was."""
        first, second = Space(self.root, 1, 0, 0), Space(self.root, 1, 1, 0)
        tasks = [(first, 0), (first, 1), (second, 0), (second, 2)]
        assert sorted(tasks, key=lambda t: t[0].lineage(t[1])) == tasks

    def test_a_task_is_told_by_its_parents(self):
        assert self.branch.told(7) == "task 7"
        assert self.copies.told(2) == "child 2 of task 30"
        assert Space(self.copies, 7, 2, 0).told(5) == "child 5 of child 2 of task 30"

    def test_a_space_says_where_it_comes_from(self):
        aggregate = Space(None, ROOT, None, 0)
        aggregate.aggregate = True
        assert repr(self.root) == "root"
        assert repr(self.copies) == "root/1[30]*/2"
        assert repr(Space(aggregate, 1, None, 0)) == "aggregate/0"
        assert Space(aggregate, 1, None, 0).told(3) == "aggregate 3"

    def test_what_comes_of_an_aggregate_is_one(self):
        aggregate = Space(None, ROOT, None, 0)
        aggregate.aggregate = True
        assert Space(aggregate, 1, 0, 0).aggregate
        assert not self.copies.aggregate
