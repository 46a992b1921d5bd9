"""Where and when it was measured, and whether the machine was quiet."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

QUIET = 0.3
"""More load than this, in processes a core over the last minute, makes figures doubtful."""


def describe() -> dict[str, Any]:
    """The machine, the date, the versions."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory GiB": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "dagflow": _version("dagflow"),
    }


def text(machine: dict[str, Any]) -> str:
    """The same in a line."""
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory GiB']} GiB, "
        f"{machine['system']}, {machine['python']}, dagflow {machine['dagflow']}"
    )


def load() -> float:
    """The load average of the last minute, per core."""
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
