"""``python -m dagflow`` is the command ``dagflow``."""

from __future__ import annotations

import sys

from dagflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
