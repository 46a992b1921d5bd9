"""What a graph or a node shows of the floors above: running, streaming, drawing; each face leads to what it names."""

from __future__ import annotations

import asyncio

import pytest
from graph_made import merge, task

from dagflow import Graph, Merger, Splitter, TaskManager


def double(value):
    return value * 2


def picky(value):
    if value == 3:
        raise ValueError(f"not {value}")
    return value * 2


def alone(**options):
    return TaskManager(picky, name="picky", logger=None, **options)


GRAPH = task("first", double) >> task("second", str)


class TestRunning:
    def test_run(self):
        result = GRAPH.run([1, 2, 3], "serial")
        assert result.values == ["2", "4", "6"]
        assert [o.task for o in result.outcomes] == [1, 2, 3]

    def test_stream(self):
        assert [(out.task, out.value) for out in GRAPH.stream([1, 2], "serial", ordered=True)] == [(1, "2"), (2, "4")]

    def test_inside_a_running_loop(self):
        async def both():
            result = await GRAPH.arun([1, 2], "serial")
            return result.values, [out.value async for out in GRAPH.astream([3], "serial")]

        assert asyncio.run(both()) == (["2", "4"], ["6"])

    def test_a_live_run(self):
        with GRAPH.open("serial") as run:
            run.submit(5)
            run.close()
            assert run.wait(30).values == ["10"]


class TestAlone:
    """A TaskManager by itself: `start`, then the two mappings."""

    def test_start(self):
        with alone() as manager:
            manager.start([1, 3, 2])
            assert dict(manager.get_success_dict()) == {1: 2, 2: 4}
            errors = manager.get_error_dict()
            assert list(errors) == [3]
            assert isinstance(errors[3], ValueError)

    def test_a_second_start_starts_afresh(self):
        manager = alone()
        manager.start([1, 3])
        manager.start([2])
        assert (dict(manager.get_success_dict()), dict(manager.get_error_dict())) == ({2: 4}, {})

    def test_inside_a_running_loop(self):
        manager = alone()
        asyncio.run(manager.start_async([1, 3]))
        assert (dict(manager.get_success_dict()), list(manager.get_error_dict())) == ({1: 2}, [3])

    def test_before_any_start_there_is_nothing(self):
        assert (dict(alone().get_success_dict()), dict(alone().get_error_dict())) == ({}, {})


class TestWithoutFunction:
    def test_a_splitter_takes_the_task_itself_for_its_children(self):
        graph = Splitter() >> task("a", double)
        assert [graph.names[n] for n in graph] == ["split", "a"]
        assert graph.run([[1, 2], []], "serial").values == [2, 4]

    def test_a_fold_alone_gives_what_it_has_accumulated(self):
        graph = Splitter() >> Merger(fold=(max, 0))
        assert [graph.names[n] for n in graph] == ["split", "merge"]
        assert graph.run([[1, 3, 2], []], "serial").values == [3, 0]


class TestPictures:
    @pytest.mark.parametrize("face", ["to_dot", "to_mermaid", "to_text", "to_svg"])
    def test_each_language_names_the_nodes(self, face):
        text = getattr(GRAPH, face)()
        assert isinstance(text, str)
        assert "first" in text
        assert "second" in text

    def test_draw_goes_by_the_suffix_and_gives_the_path(self, tmp_path):
        path = tmp_path / "graph.dot"
        assert GRAPH.draw(path) == path
        assert path.read_text() == GRAPH.to_dot()

    def test_notebooks_get_a_picture_and_a_text(self):
        bundle = GRAPH._repr_mimebundle_()
        assert "first" in bundle["image/svg+xml"]
        assert {"image/svg+xml", "text/html", "text/plain"} <= set(bundle)

    def test_a_merger_that_cannot_close_is_refused_when_it_is_run(self):
        with pytest.raises(ValueError, match="'m' has no scope to close"):
            Graph(merge()).run([1], "serial")
