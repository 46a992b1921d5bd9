"""``python -m tests.benchmarks``, or ``python tests/benchmarks``, from a clone."""

import sys
from pathlib import Path

# The children, and what they pickle, know this package as ``benchmarks``, wherever it was started from.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
