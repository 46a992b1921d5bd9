"""A heavy module (numpy) is loaded once, before forking, where workers would each load it; and nowhere else."""

import os
import sys

import heavy
import heavy_work
import loading_work
import pytest

import dagflow as df
from dagflow.backends.local import helper, pool

pytestmark = pytest.mark.timeout(60)
PAST = "glibc.cpu.x86_non_temporal_threshold=524288"


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    monkeypatch.setattr(pool, "SHARED", ("heavy",))


@pytest.mark.parametrize("task", [heavy.Value(), ("name", heavy.Value()), [heavy.Value()], {"x": heavy.Value()}])
def test_where_the_first_task_is_of_it_or_holds_some(task):
    graph = df.Graph(df.TaskManager(loading_work.loaded))
    assert graph.run([task]).values == ["the zygote"]
    assert [out.value for out in graph.stream(iter([task]))] == ["the zygote"]


def test_where_a_function_lives_beside_it():
    assert df.Graph(df.TaskManager(heavy_work.loaded_too)).run([1, 2]).values == ["the zygote"] * 2


def test_where_a_function_that_travels_by_value_uses_it():
    def loaded(value):
        return loading_work.loaded(heavy.Value())

    assert df.Graph(df.TaskManager(loaded)).run([1]).values == ["the zygote"]


def test_nowhere_else():
    graph = df.Graph(df.TaskManager(loading_work.loaded))
    assert graph.run([1, "heavy"]).values == ["nobody"] * 2
    assert graph.run([1, heavy.Value()]).values[1] in ("nobody", "the worker"), "the first task says what to expect"


def test_in_worker_processes_of_the_thread_backend_too():
    node = df.TaskManager(loading_work.loaded, "process")
    assert df.Graph(node).run([heavy.Value()], backend="thread").values == ["the zygote"]
    assert df.Graph(df.TaskManager(lambda v: v.word)).run([heavy.Value()], backend="thread").values == ["heavy"]


def test_what_cannot_be_loaded_is_the_workers_to_complain_of(monkeypatch, tmp_path):
    (tmp_path / "sulking.py").write_text("class Value: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import sulking

    (tmp_path / "sulking.py").write_text("raise RuntimeError('not here, not today')\n")
    monkeypatch.setattr(pool, "SHARED", ("sulking",))
    result = df.Graph(df.TaskManager(loading_work.loaded)).run([sulking.Value()])
    assert result.counts["loaded"].failed == 1
    assert "not here, not today" in str(result.outcomes[0].error)


def test_workers_draw_different_random_numbers_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("from numpy import random\n")
    (tmp_path / "numpy" / "random.py").write_text(
        "from random import Random, SystemRandom\n_own = Random(1)\nrandom = _own.random\n"
        "def seed(): _own.seed(SystemRandom().random())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "numpy"}
    import numpy

    monkeypatch.setattr(pool, "SHARED", ("numpy",))
    monkeypatch.setattr(loading_work, "numpy", numpy, raising=False)
    try:
        result = df.Graph(df.TaskManager(loading_work.number, "process", worker_limit=2)).run(range(40))
    finally:
        del sys.modules["numpy"], sys.modules["numpy.random"]
        sys.modules.update(real)
    assert len({pid for _, pid in result.values}) == 2
    assert len({number for number, _ in result.values}) == 40


def test_what_is_set_for_workers_is_set_unless_the_user_has_set_it(monkeypatch):
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    graph = df.Graph(df.TaskManager(lambda name: os.environ.get(name)))
    assert graph.run(["MALLOC_TOP_PAD_", "OPENBLAS_THREAD_TIMEOUT"]).values == ["4096", "16"]
    assert "OPENBLAS_THREAD_TIMEOUT" not in os.environ


@pytest.mark.parametrize(
    ("cache", "own", "found"),
    [
        ("8192K\n", None, PAST),
        ("36608K\n", None, None),
        ("8192K\n", "own", "own"),
        ("?", None, None),
        (None, None, None),
    ],
)
def test_copies_go_past_a_small_cache_unless_the_user_says_otherwise(cache, own, found, monkeypatch, tmp_path):
    where = tmp_path / "size"
    if cache is not None:
        where.write_text(cache)
    monkeypatch.setattr(helper, "_LAST_CACHE", str(where))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    assert df.Graph(df.TaskManager(lambda name: os.environ.get(name))).run(["GLIBC_TUNABLES"]).values == [found]
