"""One contender, one workload, once: run in a fresh process by `benchmarks.measure`; writes what came of it."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from benchmarks.contender import contenders
from benchmarks.workloads import WORKLOADS


def main(name: str, workload: str, size: int, path: str) -> int:
    """Run it; the file at ``path`` gets the figures, or why there are none."""
    said: dict[str, Any] = {"right": False}
    contender = contenders()[name](workload)
    try:
        contender.prepare()
        said["figures"] = WORKLOADS[workload].drive(contender, size)
        said["right"] = True
        contender.close()
    except BaseException as error:
        said["error"] = f"{type(error).__name__}: {error}"[:300]
        said["traceback"] = traceback.format_exc()[-3000:]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(said, file)
    return 0 if said["right"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
