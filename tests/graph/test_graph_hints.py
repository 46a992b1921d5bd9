"""Annotations that clearly contradict each other are warned of, naming both sides; nothing else ever is."""

# ruff: noqa: UP007, UP045 - how people still write their unions

import functools
import typing
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagflow import DROP, Graph, GraphWarning, Merger, Router, Splitter, TaskManager
from dagflow.graph.hints import contradicts

T = TypeVar("T")
UserId = NewType("UserId", int)


class Base: ...


class Derived(Base): ...


class Other: ...


class Box(Generic[T]): ...


class Named(Protocol):
    name: str


class Row(TypedDict):
    name: str


CONTRADICT = [
    (int, str),
    (None, int),
    (str, UserId),
    (Base, Other),
    (Union[int, str], bytes),
    (int | None, str),
    (int, Union[str, bytes]),
    (list[int], list[str]),
    (dict[str, int], dict[str, str]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, int], tuple[int, int, int]),
    (tuple[int, ...], tuple[str, ...]),
    (Literal["a"], int),
    (int, Literal["a", "b"]),
    (Literal["a"], Literal["b"]),
    (Literal[1], Literal[True]),
    (Row, int),
    (dict, list),
    (Box[int], Box[str]),
    (Annotated[int, "metres"], str),
]
FIT = [
    (int, float),
    (bool, int),
    (bytearray, bytes),
    (int, Any),
    (Any, int),
    (object, int),
    (int, object),
    (T, int),
    (int, T),
    (Base, Derived),
    (Derived, Base),
    (int, Optional[int]),
    (Optional[int], int),
    (int | type(DROP), int),
    (UserId, int),
    (Literal["a"], Literal["a", "b"]),
    (Literal["a"], str),
    (str, Literal["a"]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, int], tuple),
    (tuple[int, int], Sequence[str]),
    (list[int], Sequence[str]),
    (list[int], list),
    (Iterable[int], list[int]),
    (str, Iterable[str]),
    (Base, Named),
    (Callable[[], int], int),
    (Row, dict[str, int]),
    ("unresolved", int),
]


class TestTypes:
    @pytest.mark.parametrize(("gives", "takes"), CONTRADICT)
    def test_what_contradicts(self, gives, takes):
        assert contradicts(gives, takes)

    @pytest.mark.parametrize(("gives", "takes"), FIT)
    def test_what_may_fit(self, gives, takes):
        assert not contradicts(gives, takes)

    SAMPLES = [0, True, 1.5, "a", b"a", None, [1], ["a"], [], (1, "a"), (), {"a": 1}, Derived(), Other(), {1}]
    TYPES = [int, float, str, bytes, type(None), list, list[int], tuple, tuple[int, ...], dict, Base, Derived, set]

    @given(st.sampled_from(SAMPLES), st.lists(st.sampled_from(TYPES), min_size=1, max_size=3), st.booleans())
    def test_a_type_never_contradicts_what_its_own_values_are(self, value, types, more):
        """A value that is of both types is a proof that they do not contradict each other."""
        takes = Union[tuple(types)]
        gives = Union[type(value), str] if more else type(value)
        plain = tuple(typing.get_origin(t) or t for t in types)
        if isinstance(value, plain):
            assert not contradicts(gives, takes)


def to_int(x: str) -> int: ...
def to_text(x: int) -> str: ...
def anything(x): ...
def words(text: str) -> list[str]: ...
def each(text: str) -> Iterator[int]: ...
def joined(parts: list[str]) -> str: ...
def summed(total: int, x: int) -> int: ...
def two(left: int, right: str) -> str: ...
def pair(x: int) -> tuple[int, int]: ...
def unresolved(x: "Nowhere") -> "Nowhere": ...  # noqa: F821
def ints(xs: list[int]) -> list[int]: ...
def defaulted(x: int = 0) -> int: ...
async def later(x: int) -> str: ...
async def stream(x: int) -> AsyncIterator[str]:
    yield ""


def promise(x: int) -> Awaitable[str]: ...
def promised_list(x: int) -> Awaitable[list[str]]: ...
def mixed(x: int) -> tuple[int, str]: ...


class Model:
    def __call__(self, x: int) -> int: ...


class Loose(TaskManager):
    def get_args(self, task):
        return (task,)

    def process_result(self, task, result):
        return result


def warned(graph):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Graph(graph).check()
    assert all(w.category is GraphWarning for w in caught)
    return [str(w.message) for w in caught]


class TestJoints:
    def test_both_sides_are_named(self):
        assert warned(TaskManager(to_int) >> TaskManager(to_int, name="again")) == [
            "'to_int' gives int, but 'again' takes str: to_int >> again looks wrong"
        ]

    @pytest.mark.parametrize(
        "graph",
        [
            TaskManager(to_int) >> to_text >> to_int,
            TaskManager(anything) >> to_int >> anything >> to_int,
            TaskManager(unresolved) >> to_int >> unresolved,
            TaskManager(int) >> TaskManager(to_text),
            TaskManager(len) >> TaskManager(str) >> TaskManager(to_int),
            Splitter(words) >> TaskManager(to_int) >> Merger(anything),
            Splitter(words) >> Merger(joined) >> TaskManager(to_int),
            Splitter(mixed) >> TaskManager(to_int),
            Splitter(mixed) >> TaskManager(Other),
            TaskManager(to_int) >> TaskManager(print),
            Splitter() >> TaskManager(to_int),
            TaskManager(pair) >> TaskManager(summed),
            TaskManager(later, "async") >> TaskManager(to_int),
            TaskManager(promise, "async") >> TaskManager(to_int),
            Splitter(stream, "async") >> TaskManager(to_int),
            Splitter(promised_list, "async") >> TaskManager(to_int),
            TaskManager(Model) >> TaskManager(Model(), name="model") >> TaskManager(to_text),
            TaskManager(ints, batch_size=2) >> TaskManager(to_text),
            Loose(to_text) >> Loose(to_text, name="again"),
            TaskManager(to_text) >> [TaskManager(to_int), TaskManager(words)] >> Merger(anything),
            TaskManager(to_int) >> [TaskManager(defaulted), TaskManager(to_text)] >> Merger(two),
            TaskManager(functools.partial(summed, 1), name="add") >> TaskManager(to_text),
            (node := TaskManager(to_int)) >> to_text | node.failures >> words,
        ],
    )
    def test_what_fits_is_not_warned_of(self, graph):
        assert warned(graph) == []

    @pytest.mark.parametrize(
        ("graph", "text"),
        [
            (Splitter(each) >> TaskManager(to_int), "'each' gives int, but 'to_int' takes str"),
            (Splitter(words) >> TaskManager(to_text), "'words' gives str, but 'to_text' takes int"),
            (Splitter(each) >> Merger(joined), "'each' gives int, but 'joined' takes str"),
            (Splitter(words) >> Merger(fold=(summed, 0)), "'words' gives str, but 'merge' takes int"),
            (Splitter(each) >> Merger(fold=(summed, 0)) >> to_int, "'merge' gives int, but 'to_int' takes str"),
            (TaskManager(to_int) >> TaskManager(summed), "'to_int' gives int, but 'summed' takes tuple[int, int]"),
            (TaskManager(later, "async") >> TaskManager(to_text), "'later' gives str"),
            (TaskManager(promise, "async") >> TaskManager(to_text), "'promise' gives str"),
            (Splitter(stream, "async") >> TaskManager(to_text), "'stream' gives str"),
            (Splitter(promised_list, "async") >> TaskManager(to_text), "'promised_list' gives str"),
            (TaskManager(Model) >> TaskManager(to_int), "'Model' gives int"),
            (TaskManager(to_text) >> TaskManager(Model), "'to_text' gives str, but 'Model' takes int"),
            (TaskManager(ints, batch_size=2) >> TaskManager(to_int), "'ints' gives int"),
            (TaskManager(to_text) >> TaskManager(ints, batch_size=2), "'to_text' gives str, but 'ints' takes int"),
            (TaskManager(to_text) >> TaskManager(defaulted), "'to_text' gives str, but 'defaulted' takes int"),
            (TaskManager(int) >> TaskManager(to_int), "'int' gives int, but 'to_int' takes str"),
            (TaskManager[int, str](anything) >> TaskManager(to_text), "'anything' gives str"),
            (TaskManager(to_text) >> TaskManager[int, str](anything), "'anything' takes int"),
            (
                TaskManager(to_int) >> [TaskManager(to_text), TaskManager(anything)] >> Merger(two),
                "'to_text' gives str, but 'two' takes int",
            ),
        ],
    )
    def test_what_does_not_fit_is(self, graph, text):
        assert [text in w for w in warned(graph)] == [True]

    def test_tasks_pass_a_router_unchanged(self):
        route = Router(anything, name="route")
        assert warned(TaskManager(to_int) >> route >> {"a": TaskManager(to_int, name="wrong"), "b": to_text}) == [
            "'to_int' gives int, but 'wrong' takes str: to_int >> wrong looks wrong"
        ]
        second = Router(words, name="second")
        assert warned(TaskManager(to_int) >> Router(anything, name="first") >> {"a": second >> {"b": to_text}}) == [
            "'to_int' gives int, but 'second' takes str: to_int >> second looks wrong"
        ]

    def test_arguments_whose_branches_are_not_known_say_nothing(self):
        """Separate arguments are told to their branches only where each branch is a single node of one branching."""
        longer = TaskManager(to_int) >> [TaskManager(to_text) >> to_int, TaskManager(defaulted)] >> Merger(two)
        entries = Graph([TaskManager(to_text), TaskManager(defaulted)]) >> Merger(two)
        named = (opener := TaskManager(to_int)) >> [to_text, defaulted] >> Merger(two, of=opener)
        assert warned(longer) == warned(entries) == warned(named) == []

    def test_a_run_warns_where_the_user_wrote_it(self):
        graph = TaskManager(str, name="text") >> TaskManager(to_text)
        with pytest.warns(GraphWarning, match="'text' gives str, but 'to_text' takes int") as caught:
            graph.run([], "serial")
        assert caught[0].filename == __file__
