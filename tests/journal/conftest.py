"""What tests of journals share: servers of their own, and a side log of executions."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loguru import logger

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from journal_made import SideLog  # noqa: E402


@pytest.fixture(autouse=True)
def quiet():
    """So many tasks fail here on purpose."""
    logger.disable("dagflow")
    yield
    logger.enable("dagflow")


@pytest.fixture
def log(tmp_path):
    return SideLog(tmp_path / "side.log")


class RedisServer:
    """A server of our own on a free loopback port."""

    def __init__(self, folder, *options):
        self.folder, self.options = folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        command = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--save",
            "",
        ]
        self.process = subprocess.Popen([*command, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 0.2) as line:
                    line.sendall(b"PING\r\n")
                    if line.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
        raise AssertionError("redis-server does not answer")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def client(self):
        import redis

        return redis.Redis(port=self.port, protocol=2)


needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server here")
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "yes")
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path):
    """Starts servers with the options that a test asks for; ends them."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server here")
    servers = []

    def start(*options):
        folder = tmp_path / f"redis{len(servers)}"
        folder.mkdir()
        servers.append(RedisServer(folder, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def drive(tmp_path):
    """Runs a script in a process of its own, with a hard time-out; gives (exit code, stdout, stderr)."""

    def run(code, *arguments, timeout=60, check=True):
        path = tmp_path / f"script{len(list(tmp_path.glob('script*.py')))}.py"
        path.write_text(code)
        done = subprocess.run(
            [sys.executable, str(path), *map(str, arguments)], capture_output=True, text=True, timeout=timeout
        )
        if check:
            assert done.returncode == 0, done.stderr[-3000:]
        return done.returncode, done.stdout, done.stderr

    return run
