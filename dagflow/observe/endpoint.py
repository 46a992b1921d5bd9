"""An endpoint for Prometheus on this machine: how runs stand, for whoever has the token."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from dagflow.observe.metrics import CONTENT_TYPE, text_of
from dagflow.observe.text import NAME_MOST, clean

if TYPE_CHECKING:
    from dagflow.core.commands import Fact
    from dagflow.graph.plan import Plan
    from dagflow.protocols import Observer, Snapshot

RUNS_MOST: Final = 16
"""So many runs are told of, the last ones."""
READ_SECONDS: Final = 5.0
"""Whoever takes longer to ask is not answered."""
HOSTS: Final = ("127.0.0.1", "localhost")


class MetricsServer:
    """An observer that serves ``/metrics`` on the loopback interface, to be given as ``logger=`` to runs.

    Prometheus is told the token in its configuration (``authorization: {credentials: TOKEN}``). ``port``: 0 takes a
    free one; ``token``: a new one unless given. It serves, also between runs, until `close` or the end of its ``with``
    block. `OSError` where the port is taken.
    """

    def __init__(self, port: int = 0, token: str | None = None) -> None:
        self.token = secrets.token_urlsafe(32) if token is None else token
        if not self.token:
            raise ValueError("the token must not be empty: everybody on this machine would have it")
        self._lock = threading.Lock()
        self._runs: OrderedDict[int, tuple[Snapshot, dict[str, str]]] = OrderedDict()
        self._number = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="dagflow metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def text(self) -> str:
        """What it serves."""
        with self._lock:
            return text_of(list(self._runs.values()))

    # -- listening ------------------------------------------------------------------------------------

    def for_run(self) -> Observer:
        """A listener for one run."""
        with self._lock:
            self._number += 1
            return _Listener(self, self._number)

    def keep(self, number: int, snapshot: Snapshot, labels: dict[str, str]) -> None:
        """How run ``number`` stands."""
        with self._lock:
            self._runs[number] = snapshot, labels
            while len(self._runs) > RUNS_MOST:
                self._runs.popitem(last=False)

    def opened(self, plan: Plan) -> None:
        """Runs ask for a listener of their own, by `for_run`."""
        raise TypeError("a MetricsServer listens to each run by for_run()")

    def facts(self, facts: Sequence[Fact]) -> None:
        """See `opened`."""

    def tick(self, snapshot: Snapshot) -> None:
        """See `opened`."""

    def closed(self, snapshot: Snapshot) -> None:
        """See `opened`."""


class _Listener:
    """One run's share in a `MetricsServer`."""

    wants_facts = False

    def __init__(self, server: MetricsServer, number: int) -> None:
        self.server, self.number = server, number
        self.labels = {"run": str(number)}

    def opened(self, plan: Plan) -> None:
        """The run begins."""
        if plan.name:
            self.labels["graph"] = clean(plan.name, NAME_MOST)

    def facts(self, facts: Sequence[Fact]) -> None:
        """Not wanted: snapshots say enough."""

    def tick(self, snapshot: Snapshot) -> None:
        """How the run stands."""
        self.server.keep(self.number, snapshot, self.labels)

    def closed(self, snapshot: Snapshot) -> None:
        """How it ended."""
        self.server.keep(self.number, snapshot, self.labels)


def _handler(metrics: MetricsServer) -> type[BaseHTTPRequestHandler]:
    """A handler that answers for ``metrics``, and says nothing else about this program."""

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_SECONDS
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host") or ""
            if host not in HOSTS:
                self._say(403, "wrong host")  # a page elsewhere whose name was made to point here
            elif not self._knows_token():
                self._say(401, "no or wrong token", ("WWW-Authenticate", 'Bearer realm="dagflow"'))
            elif self.path.partition("?")[0] != "/metrics":
                self._say(404, "there is only /metrics")
            else:
                self._say(200, metrics.text(), ("Content-Type", CONTENT_TYPE))

        def _knows_token(self) -> bool:
            scheme, _, given = (self.headers.get("Authorization") or "").partition(" ")
            return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), metrics.token.encode())

        def _say(self, code: int, text: str, *headers: tuple[str, str]) -> None:
            body = text.encode() if text.endswith("\n") else text.encode() + b"\n"
            self.send_response(code)
            for name, value in headers or (("Content-Type", "text/plain; charset=utf-8"),):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """What the base class refuses (other methods, torn requests), without its page."""
            del message, explain
            self._say(code, "refused")

        def version_string(self) -> str:
            return "dagflow"

        def log_message(self, format: str, *args: Any) -> None:
            """stderr is the user's."""

    return Handler
