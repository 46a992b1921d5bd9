from __future__ import annotations

import pytest
from observe_made import ROOT

from dagflow.core.ids import Space
from dagflow.observe.text import clean, describe, number_of


@pytest.mark.parametrize(
    ("dirty", "shown"),
    [
        ("plain text, ünïcödé", "plain text, ünïcödé"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("\u2028\x85\0", "\\u2028\\x85\\x00"),
        ("\ud800", "\\ud800"),
    ],
)
def test_clean(dirty, shown):
    assert clean(dirty) == shown


@pytest.mark.parametrize("text", ["x" * 1000, "\n" * 1000, "\U000e0001" * 1000, "x" * 50 + "\x1b" * 50])
def test_clean_is_bounded(text):
    cut = clean(text, 50)
    assert len(cut) == 50 and cut.endswith("...") and cut.isprintable()


class Hostile:
    def __init__(self, error):
        self.error = error

    def __repr__(self):
        raise self.error


class Nameless(type):
    @property
    def __name__(cls):
        raise ValueError("no name")

    def __repr__(cls):
        raise ValueError("no repr")


class Worse(metaclass=Nameless):
    def __repr__(self):
        raise ValueError


class Text(str):
    def __getitem__(self, at):
        raise ValueError

    def __len__(self):
        raise ValueError


class Odd:
    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), RecursionError()])
def test_a_repr_that_raises(error):
    assert type(error).__name__ in describe(Hostile(error))


@pytest.mark.parametrize("value", [Worse(), Odd(5), Odd(Text("x")), [Worse()], {"a": Odd(None)}])
def test_hostile_values(value):
    text = describe(value)
    assert text and len(text) <= 200 and text.isprintable()


def test_deep_and_long_values():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    around = []
    around.append(around)
    for value in (
        deep,
        around,
        "x" * 10**7,
        b"\0" * 10**7,
        list(range(10**6)),
        [["y" * 10**6] * 100],
        10**5000,
    ):
        text = describe(value)
        assert text and len(text) <= 200
    while deep:  # taken apart by hand: freeing it at once may recurse too deep
        deep = deep[0]


def test_small_values_as_they_are():
    for value in (
        "it's",
        1,
        2.5,
        None,
        b"x",
        [1, "a"],
        {"b": 1, "a": 2},
        (1,),
        (),
        {1},
        {"k": [1, {"x": None}]},
    ):
        assert describe(value) == repr(value)


def test_numbers():
    aggregate = Space(None, -1, None, 0)
    aggregate.aggregate = True
    assert number_of(ROOT, 12) == "12"
    assert number_of(Space(ROOT, 0, 12, 0), 3) == "12.3"
    assert number_of(aggregate, 2) == "aggregate 2"
