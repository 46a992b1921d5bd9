"""A headless Chromium to look at pages with; whoever imports this is skipped where there is none."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip(
        "chromium and chromedriver are not installed (Debian: chromium, chromium-driver)", allow_module_level=True
    )
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra test)")

SECONDS = 60


def browser(folder: Path) -> Any:
    """A browser that keeps what it keeps in ``folder``; ``quit()`` ends it."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1400,1100"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={folder}")
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    made.set_script_timeout(SECONDS)
    made.set_page_load_timeout(SECONDS)
    return made


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
