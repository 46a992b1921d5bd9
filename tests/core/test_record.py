"""Records behave as dataclasses with slots do."""

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagflow.core.fits import FITS
from dagflow.core.record import field, record, replace


@record
class Point:
    """A place."""

    x: int
    y: int = 2
    tags: list = field(default_factory=list)

    @property
    def sum(self):
        return self.x + self.y


@record(frozen=True)
class Fixed:
    name: str
    number: int = 0


def test_fields_by_position_and_by_name():
    point = Point(1, tags=["a"])
    assert (point.x, point.y, point.tags, point.sum) == (1, 2, ["a"], 3)
    point.x = 5
    assert point.sum == 7
    assert Point(1).tags is not Point(1).tags
    assert Point.__doc__ == "A place."


def test_missing_and_unknown_fields_are_refused():
    with pytest.raises(TypeError, match="Point.__init__.. missing 1 required positional argument: 'x'"):
        Point()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Point(1, z=3)
    with pytest.raises(AttributeError):
        Point(1).z = 3


@given(
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from(["x", "y", "tags", "z"]), st.integers()),
    st.booleans(),
)
def test_the_arguments_are_taken_as_by_a_dataclass(args, kwargs, frozen):
    """The same fields, or the same error."""

    def kind(decorate, make):
        class Kind:
            x: int
            y: int = 2
            tags: list = make(default_factory=list)

        Kind.__qualname__ = "Kind"
        return decorate(Kind)

    def outcome(of):
        try:
            made = of(*args, **kwargs)
        except TypeError as error:
            return str(error)
        return made.x, made.y, made.tags

    ours = kind(record(frozen=frozen), field)
    assert outcome(ours) == outcome(kind(dataclasses.dataclass(slots=True, frozen=frozen), dataclasses.field))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("count", range(len(FITS)))
def test_any_number_of_fields(count, frozen):
    names = [f"field_{i}" for i in range(count)]
    kind = record(frozen=frozen)(type("Kind", (), {"__annotations__": dict.fromkeys(names, int)}))
    made = kind(*range(count))
    assert [getattr(made, name) for name in names] == list(range(count))
    assert kind(**dict(zip(names, range(count), strict=True))) == made


def test_more_fields_than_there_are_fits_for():
    names = [f"field_{i}" for i in range(len(FITS))]
    with pytest.raises(TypeError, match=f"Kind has {len(FITS)} fields; a record has {len(FITS) - 1} at most"):
        record(type("Kind", (), {"__annotations__": dict.fromkeys(names, int)}))


def test_equality_repr_and_matching():
    assert Point(1) == Point(1, 2, [])
    assert Point(1) != Point(2)
    assert Point(1) != (1, 2, [])
    assert repr(Point(1, 3)) == "Point(x=1, y=3, tags=[])"
    match Point(1, 9):
        case Point(a, b):
            assert (a, b) == (1, 9)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1))


def test_frozen_records_cannot_be_changed_and_can_be_keys():
    fixed = Fixed("a", 1)
    with pytest.raises(AttributeError, match="Fixed cannot be changed: its 'name'"):
        fixed.name = "b"
    with pytest.raises(AttributeError):
        del fixed.number
    assert {Fixed("a", 1): 1}[fixed] == 1
    assert replace(fixed, number=2) == Fixed("a", 2)


@pytest.mark.parametrize("value", [Point(1, 2, ["x"]), Fixed("a", 7)])
def test_records_are_copied_and_travel(value):
    assert copy.deepcopy(value) == value
    assert copy.copy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
