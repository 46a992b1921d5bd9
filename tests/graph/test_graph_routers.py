"""Routers: which labels are known, and that branches and known labels fit."""

from __future__ import annotations

import enum
from typing import Any, Literal

import pytest
from graph_made import edges, same, task

from dagflow import DROP, GraphError, Router


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


def literal(value) -> Literal["x", "y"]:
    raise NotImplementedError


def enumerated(value) -> Size:
    raise NotImplementedError


def listed(value) -> list[Literal["x", "y"]]:
    raise NotImplementedError


def tupled(value) -> tuple[Literal["x", "y"], ...]:
    raise NotImplementedError


def sized(value) -> set[Size]:
    raise NotImplementedError


def pair(value) -> tuple[Literal["x"], Literal["y"]]:
    raise NotImplementedError


def bare(value) -> list:
    raise NotImplementedError


def text(value) -> str:
    raise NotImplementedError


def anything(value) -> Any:
    raise NotImplementedError


def unresolvable(value) -> Nowhere:  # noqa: F821
    raise NotImplementedError


def dropping(value) -> Literal["x", DROP]:
    raise NotImplementedError


class Decide:
    def __call__(self, value) -> Literal["x", "y"]:
        raise NotImplementedError

    def method(self, value) -> Literal["x", "y"]:
        raise NotImplementedError


TABLE = {"x": str.isalpha, "y": str.isdigit}
KNOWING = [literal, listed, tupled, TABLE, Decide, Decide(), Decide().method]


def branches(*labels):
    return {label: task(f"to {label}") for label in labels}


class TestKnownLabels:
    @pytest.mark.parametrize("func", KNOWING)
    def test_literals_and_tables_say_their_labels(self, func):
        assert Router(func).known_labels() == ("x", "y")

    @pytest.mark.parametrize("func", [enumerated, sized])
    def test_an_enum_says_its_members(self, func):
        assert Router(func).known_labels() == (Size.SMALL, Size.LARGE)

    def test_drop_needs_no_branch(self):
        assert Router(dropping).known_labels() == ("x",)

    def test_a_table_can_be_read(self):
        """Its rows in their order; a function has none."""
        assert Router({"x": bool, "y": callable}).table == (("x", bool), ("y", callable))
        assert Router(str).table is None

    @pytest.mark.parametrize("func", [same, pair, bare, text, anything, unresolvable, len, str, lambda value: value])
    def test_nothing_is_known_of_the_rest(self, func):
        assert Router(func).known_labels() is None
        assert edges(Router(func, name="r") >> branches("whatever")) == {"r[whatever]>to whatever"}

    @pytest.mark.parametrize(
        ("func", "several"),
        [(listed, True), (tupled, True), (sized, True), (bare, True), (literal, False), (same, False), (text, False)],
    )
    def test_lists_of_labels_are_told_by_the_annotation(self, func, several):
        assert Router(func).may_give_several() is several


class TestBranches:
    @pytest.mark.parametrize("func", KNOWING)
    def test_each_known_label_needs_a_branch(self, func):
        router = Router(func, name="r")
        with pytest.raises(GraphError, match=r"'r': no branch for 'y'; add \{'y': node\} or \{'y': DROP\}.*default="):
            router >> branches("x")
        assert len(router >> branches("x", "y")) == 3
        assert len(router >> {**branches("x"), "y": DROP}) == 2

    @pytest.mark.parametrize("func", KNOWING)
    def test_a_branch_that_can_never_be_taken_is_refused(self, func):
        with pytest.raises(GraphError, match="'r': branch 'z' can never be taken; its labels are 'x', 'y'"):
            Router(func, name="r") >> branches("x", "y", "z")

    def test_members_of_an_enum_are_the_labels_not_their_values(self):
        router = Router(enumerated, name="r")
        assert len(router >> branches(*Size)) == 3
        with pytest.raises(GraphError, match=r"no branch for <Size.SMALL: 1>, <Size.LARGE: 2>"):
            router >> branches(1, 2)

    def test_labels_of_another_type_are_other_labels(self):
        def number(value) -> Literal[1, 0]:
            raise NotImplementedError

        with pytest.raises(GraphError, match="no branch for 1, 0"):
            Router(number) >> branches(True, False)


class TestDefault:
    def test_a_default_takes_the_known_labels_without_branch(self):
        assert len(Router(literal, "x") >> branches("x")) == 2
        assert len(Router(literal, DROP) >> branches("x")) == 2

    def test_a_default_may_be_a_label_of_its_own(self):
        assert edges(Router(literal, "rest", name="r") >> branches("x", "rest")) == {"r[x]>to x", "r[rest]>to rest"}
        assert len(Router(same, "rest") >> branches("x", "rest")) == 3

    @pytest.mark.parametrize("func", [literal, same])
    def test_a_default_has_a_branch(self, func):
        with pytest.raises(GraphError, match=r"'r': its default 'z' is not among the branches \['x', 'y'\]"):
            Router(func, "z", name="r") >> branches("x", "y")

    def test_a_default_does_not_excuse_a_branch_that_cannot_be_taken(self):
        with pytest.raises(GraphError, match="branch 'z' can never be taken"):
            Router(literal, "x") >> branches("x", "z")

    def test_a_dropping_default_is_a_port_that_no_label_leads_to(self):
        plan = (Router(same, DROP, name="r") >> branches("x")).check().node_named("r")
        assert [(p.label, p.drop, p.exit) for p in plan.ports] == [("x", False, False), (DROP, True, False)]
        assert plan.ports[-1].index not in {p.index for p in plan.ports[:-1]}


class TestTable:
    def test_the_first_predicate_that_holds_gives_the_label(self):
        route = Router({"x": str.isalnum, "y": str.isdigit}).func
        assert (route("abc"), route("12")) == ("x", "x")
        assert Router(TABLE).func("12") == "y"

    def test_where_none_holds_the_label_says_so_and_has_no_branch(self):
        label = Router(TABLE).func("?")
        assert label not in TABLE
        assert repr(label) == "no label (no predicate held)"

    def test_the_mark_of_no_label_stays_itself_on_its_way(self):
        import copy
        import pickle

        label = Router(TABLE).func("?")
        assert pickle.loads(pickle.dumps(label)) is copy.deepcopy(label) is label

    def test_the_table_is_read_once(self):
        table = dict(TABLE)
        router = Router(table)
        table.clear()
        assert router.known_labels() == ("x", "y")
