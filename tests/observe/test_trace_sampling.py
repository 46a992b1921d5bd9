from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagflow.observe.sampling import Sample, sample_of

fractions = st.floats(1e-6, 1.0, exclude_min=True)


@given(fraction=fractions, low=st.integers(0, 10**7), width=st.integers(0, 300))
def test_a_number_is_in_it_or_not_however_it_is_asked(fraction, low, width):
    sample = Sample(fraction)
    within = list(sample.within(low, low + width))
    assert within == sorted(set(within))
    assert within == [n for n in range(low, low + width) if sample.has(n)]


@given(fraction=fractions, count=st.integers(1, 20_000))
def test_it_is_as_large_as_it_should_be(fraction, count):
    assert abs(len(Sample(fraction).within(0, count)) - count * fraction) <= 1


@given(fraction=st.floats(0.001, 0.5), cut=st.lists(st.integers(0, 5000), max_size=8))
def test_ranges_can_be_asked_in_any_pieces(fraction, cut):
    sample = Sample(fraction)
    ends = [0, *sorted(cut), 5000]
    pieces = [n for low, high in zip(ends, ends[1:], strict=False) for n in sample.within(low, high)]
    assert pieces == list(sample.within(0, 5000))


def test_it_keeps_no_rhythm():
    """Each remainder by ten is met with, so a source that has a rhythm is not sampled at one beat of it."""
    found = [n % 10 for n in Sample(0.1).within(0, 10_000)]
    assert all(60 < found.count(beat) < 140 for beat in range(10))


def test_it_is_the_same_in_each_run_and_on_each_machine():
    assert list(Sample(0.01).within(0, 1000)) == [43, 116, 294, 308, 411, 518, 684, 790, 844, 997]
    assert list(Sample(1.0).within(3, 6)) == [3, 4, 5]


@pytest.mark.parametrize(("trace", "fraction"), [(True, 1.0), (1, 1.0), (1.0, 1.0), (0.25, 0.25)])
def test_what_a_run_is_told(trace, fraction):
    assert sample_of(trace).fraction == fraction


@pytest.mark.parametrize("trace", [False, None, 0, 0.0])
def test_nothing_is_traced(trace):
    assert sample_of(trace) is None
