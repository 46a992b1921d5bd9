"""Whether a tuple task becomes several arguments is decided by the function's signature alone."""

from __future__ import annotations

import functools
import operator
from pathlib import Path

import pytest
from graph_made import same

from dagflow import GraphError, TaskManager


def two(a, b):
    raise NotImplementedError


def defaulted(a, b=1):
    raise NotImplementedError


def any_number(*args):
    raise NotImplementedError


def keyword_only(a, *, b):
    raise NotImplementedError


def positional_only(a, b, /):
    raise NotImplementedError


def closure():
    seen = []

    def inner(a, b):
        return seen

    return inner


class Holder:
    def method(self, a, b):
        raise NotImplementedError

    def small(self, a):
        raise NotImplementedError

    @classmethod
    def of_class(cls, a, b):
        raise NotImplementedError

    @staticmethod
    def static(a, b):
        raise NotImplementedError

    async def slow(self, a):
        raise NotImplementedError


class CallsTwo:
    """Its instances are what is called."""

    def __call__(self, a, b):
        raise NotImplementedError


class CallsOne:
    def __init__(self, a=1, b=2):
        raise NotImplementedError

    def __call__(self, task):
        raise NotImplementedError


class Derived(CallsTwo):
    pass


class Point:
    """No ``__call__``: making one is the function."""

    def __init__(self, x, y):
        self.x, self.y = x, y


class Slow:
    async def __call__(self, task):
        raise NotImplementedError


UNPACKS = [
    two,
    lambda a, b: None,
    lambda a, b, c=1: None,
    positional_only,
    closure(),
    Holder().method,
    Holder.of_class,
    Holder.static,
    functools.partial(two),
    functools.partial(lambda a, b, c: None, 1),
    operator.add,
    CallsTwo(),
    CallsTwo,
    Derived,
    Point,
]
KEEPS_WHOLE = [
    same,
    lambda a: None,
    lambda: None,
    defaulted,
    any_number,
    keyword_only,
    Holder().small,
    functools.partial(two, 1),
    functools.partial(two, b=1),
    len,
    max,
    print,
    str,
    int,
    list,
    dict,
    Path,
    CallsOne,
    object.__new__(CallsOne),
    "-".join,
    operator.itemgetter(0),
]


class TestUnpacking:
    @pytest.mark.parametrize("func", UNPACKS)
    def test_two_or_more_required_positional_parameters_unpack_a_tuple(self, func):
        node = TaskManager(func)
        assert node.unpacks()
        assert node.get_args((1, 2)) == (1, 2)

    @pytest.mark.parametrize("func", KEEPS_WHOLE)
    def test_all_others_get_the_tuple_as_one_argument(self, func):
        node = TaskManager(func)
        assert not node.unpacks()
        assert node.get_args((1, 2)) == ((1, 2),)

    @pytest.mark.parametrize("task", [1, [1, 2], "ab", None, {1: 2}])
    def test_only_tuples_are_unpacked(self, task):
        assert TaskManager(two).get_args(task) == (task,)

    def test_the_data_decides_nothing(self):
        """A tuple of another length is unpacked all the same: the call then fails, for all to see."""
        assert TaskManager(two).get_args((1, 2, 3)) == (1, 2, 3)
        assert TaskManager(same).get_args(()) == ((),)

    def test_unpack_says_it_outright(self):
        assert TaskManager(two, unpack=False).get_args((1, 2)) == ((1, 2),)
        assert TaskManager(any_number, unpack=True).get_args((1, 2)) == (1, 2)
        assert TaskManager(same, unpack=True).get_args(7) == (7,)

    def test_a_batch_is_never_unpacked_by_the_signature(self):
        assert not TaskManager(two, batch_size=2).unpacks()
        assert TaskManager(two, batch_size=2, unpack=True).unpacks()

    def test_a_static_call_has_no_self(self):
        class Static:
            @staticmethod
            def __call__(a, b):
                raise NotImplementedError

        assert TaskManager(Static).unpacks()
        assert TaskManager(Static()).unpacks()


class TestAsyncCallables:
    @pytest.mark.parametrize(
        "func",
        [
            Holder().slow,
            functools.partial(Holder().slow),
            functools.partial(functools.partial(Holder().slow)),
            Slow(),
            Slow,
            Slow().__call__,
            functools.partial(Slow()),
        ],
    )
    def test_whatever_gives_a_coroutine_wants_the_async_mode(self, func):
        with pytest.raises(GraphError, match='execution_mode="async"'):
            TaskManager(func)
        assert TaskManager(func, "async").func is func

    @pytest.mark.parametrize("func", [two, CallsTwo, CallsTwo(), list, len, Point, functools.partial(two, 1)])
    def test_nothing_else_is_refused(self, func):
        assert TaskManager(func).execution_mode == "serial"


class TestNamesOfCallables:
    @pytest.mark.parametrize(
        ("func", "name"),
        [
            (two, "two"),
            (lambda a: a, "lambda"),
            (Holder().method, "method"),
            (functools.partial(functools.partial(two, 1), 2), "two"),
            (functools.partial(CallsTwo()), "CallsTwo"),
            (CallsTwo(), "CallsTwo"),
            (CallsTwo, "CallsTwo"),
            (len, "len"),
            (operator.itemgetter(0), "itemgetter"),
        ],
    )
    def test_a_callable_is_named_by_itself_by_what_it_wraps_or_by_its_type(self, func, name):
        assert TaskManager(func).name == name

    def test_a_name_that_is_no_text_does_not_count(self):
        odd = CallsTwo()
        odd.__name__ = 5
        assert TaskManager(odd).name == "CallsTwo"
