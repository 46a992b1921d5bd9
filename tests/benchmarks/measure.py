"""Runs children in turns (A B C A B C ...), each in a fresh process with a time-out, and watches their memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contender import Contender
from benchmarks.workloads import Workload

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIME_OUT = 180.0
SAMPLE_SECONDS = 0.05
BASE_RUNS = 5
"""A run at the base size may be over between two samples: the peak of several is its peak."""

Said = dict[str, Any]


class Row:
    """One workload: what each contender's runs said."""

    def __init__(self, workload: Workload, names: list[str]) -> None:
        self.workload = workload
        self.runs: dict[str, list[Said]] = {name: [] for name in names}
        self.sizes: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        self.memory: dict[str, float] = {}
        self.load = 0.0

    def median(self, name: str, key: str) -> float | None:
        """The median of a figure over the runs whose answers were right."""
        found = [run["figures"][key] for run in self.runs[name] if run["right"] and key in run["figures"]]
        return statistics.median(found) if found else None

    def spread(self, name: str, key: str) -> tuple[float, float] | None:
        """The least and the most of them."""
        found = [run["figures"][key] for run in self.runs[name] if run["right"] and key in run["figures"]]
        return (min(found), max(found)) if found else None

    def right(self, name: str) -> bool:
        """Whether every run gave the right answer."""
        return bool(self.runs[name]) and all(run["right"] for run in self.runs[name])

    def trouble(self, name: str) -> str:
        """What went wrong, if anything did."""
        return next((run["error"] for run in self.runs[name] if not run["right"]), "")


def measure(
    workload: Workload,
    contenders: dict[str, type[Contender]],
    runs: int,
    *,
    quick: bool,
    say: Callable[[str], None],
) -> Row:
    """Measure one row."""
    row = Row(workload, list(contenders))
    full = workload.quick if quick else workload.size
    for name, made in contenders.items():
        row.sizes[name] = min(full, made.sizes.get(workload.name, full))
        row.kinds[name] = made.kind
    grows = bool(workload.base)
    for turn in range(1 if grows else runs):
        for name, made in contenders.items():
            if any(not run["right"] for run in row.runs[name]):
                continue  # what hung or failed once is not waited for again
            if grows:
                said = _growth(workload, made, name, row)
            else:
                said, _ = child(workload.name, made, row.sizes[name])
            row.runs[name].append(said)
            say(f"  {turn + 1}/{runs} {name}: {_short(workload, said)}")
    if workload.memory and not grows:
        for name, made in contenders.items():
            if row.right(name):
                _, peak = child(workload.name, made, row.sizes[name], watch=True)
                row.memory[name] = peak
    return row


def _growth(workload: Workload, made: type[Contender], name: str, row: Row) -> Said:
    """Peak memory at full size less that at the base size."""
    small = 0.0
    for _ in range(BASE_RUNS):
        said, peak = child(workload.name, made, min(workload.base, row.sizes[name] // 10), watch=True)
        small = max(small, peak)
    if said["right"]:
        said, big = child(workload.name, made, row.sizes[name], watch=True)
        row.memory[name] = big
        if said["right"]:
            said["figures"]["growth"] = big - small
    return said


def _short(workload: Workload, said: Said) -> str:
    if not said["right"]:
        return f"WRONG OR FAILED: {said['error']}"
    return ", ".join(f"{f.head} {said['figures'][f.key]:,.{f.decimals}f}" for f in workload.figures)


def child(workload: str, made: type[Contender], size: int, *, watch: bool = False) -> tuple[Said, float]:
    """One run in a fresh process: what it said, and (``watch``) the peak PSS of its tree of processes, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.json"
        environment = {**os.environ, **made.environment, "PYTHONPATH": str(HERE.parent)}
        # A clone has no compiled files, and its modules must not be compiled anew in each process of each run: those
        # of installed packages are not.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", made.name, workload, str(size), str(path)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        peak = 0.0
        try:
            if watch:
                for peak in _peaks(process):
                    pass
            _, errors = process.communicate(timeout=TIME_OUT)
        except subprocess.TimeoutExpired:
            return {"right": False, "error": f"no answer within {TIME_OUT:.0f} s"}, peak
        finally:
            _end(process)
        try:
            said: Said = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            tail = errors.decode(errors="replace").strip().splitlines()[-1:]
            said = {"right": False, "error": f"ended with {process.returncode}: {' '.join(tail)}"[:300]}
    return said, peak


def _peaks(process: subprocess.Popen[bytes]) -> Iterator[float]:
    """The most that the tree has taken so far, until it ends."""
    started, peak = time.monotonic(), 0.0
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        if time.monotonic() - started > TIME_OUT * 2:
            raise subprocess.TimeoutExpired(process.args, TIME_OUT)
        peak = max(peak, sum(map(_pss, [tree, *_children(tree)])))
        yield peak
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_SECONDS)


def _children(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return tree.children(recursive=True)
    except psutil.Error:
        return []


def _pss(process: psutil.Process) -> float:
    """The process's own memory and its share of what it has in common with others, in MiB."""
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child's session: nothing of one run may weigh on the next."""
    with contextlib.suppress(psutil.Error):
        left = psutil.Process(process.pid).children(recursive=True)
        for other in left:
            with contextlib.suppress(psutil.Error):
                other.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
