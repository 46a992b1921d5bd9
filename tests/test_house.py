"""The architecture as tests: floors, forbidden imports, public names, what an import loads, leftover marks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dagflow

HOME = Path(dagflow.__file__).parent
HEAVY = ("networkx", "loguru", "tqdm", "graphviz", "hypothesis", "numpy", "ray", "dask", "redis", "fastapi")


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout))


def test_the_floors_hold() -> None:
    """The import-linter contracts of pyproject.toml: floors import downwards only, the core is pure."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=HOME.parent, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_import_dagflow_loads_nothing_heavy() -> None:
    """Public names are loaded when first used."""
    assert not loaded_by("import dagflow") & set(HEAVY)


def test_a_worker_process_loads_nothing_heavy() -> None:
    """What a worker imports before it gets its program: no graph theory, no logging, no bars, no event loop."""
    loaded = loaded_by("import dagflow.backends.local.zygote, dagflow.backends.local.worker")
    assert not loaded & {*HEAVY, "asyncio", "cloudpickle", "multiprocessing", "dagflow.api", "dagflow.run"}
    assert not any(name.startswith(("dagflow.observe", "dagflow.draw")) for name in loaded)
    # Each of these takes longer to load than all of dagflow's own modules that a worker needs.
    slow = {"typing", "dataclasses", "inspect", "re", "enum", "socket", "signal", "pickle", "contextlib", "ctypes"}
    assert not (loaded & slow) - loaded_by("pass")


def test_the_driver_loads_nothing_that_only_workers_need() -> None:
    """Both start at the same time, on processors that they share."""
    loaded = loaded_by("import dagflow.api, dagflow.backends.local.pool")
    assert not loaded & {"dagflow.backends.local.worker", "dagflow.backends.local.zygote", "dagflow.work.execute"}


@pytest.mark.parametrize("name", [n for n in dagflow.__all__ if not n.startswith("_")])
def test_public_names_exist(name: str) -> None:
    """Each public name can be imported, has a docstring, and is spelled as where it lives."""
    thing = getattr(dagflow, name)
    assert name == "DROP" or thing.__name__ == name
    assert thing.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelled public name says so as Python does."""
    with pytest.raises(AttributeError, match="no attribute 'TaskManger'"):
        _ = dagflow.TaskManger
    assert "TaskManager" in dir(dagflow)


def test_no_leftovers_in_the_sources() -> None:
    """No reminders, no sleeping to wait."""
    leftover = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b|\btime\.sleep\(|^\s*breakpoint\(", re.M)
    found = []
    for path in HOME.rglob("*.py"):
        if path.parent.name == "testing":
            continue  # its tasks may be slow on purpose
        text = path.read_text(encoding="utf-8")
        found += [f"{path.name}: {m.group(0)}" for m in leftover.finditer(text)]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    """Each file opens with a docstring: the noun it owns."""
    bare = [p.name for p in HOME.rglob("*.py") if not p.read_text(encoding="utf-8").startswith('"""')]
    assert bare == []
