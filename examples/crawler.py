"""A site crawled two clicks deep: a hundred requests wait at once in one event loop, and no page is asked for twice.

By hand that is a set of the pages seen, a semaphore, a queue, a count of what is still out, and a decision about what
to do with a page that fails. Here each is an option of a node or an arrow in the picture.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dagflow import Failure, Merger, Splitter, TaskManager


class Site(BaseHTTPRequestHandler):
    """A front page that links to twenty sections; each links to some of fifty articles, and one to nowhere."""

    def do_GET(self) -> None:
        number = int("0" + re.sub(r"\D", "", self.path))
        links = {
            "/": [f"/section/{n}" for n in range(20)],
            "/section": [f"/article/{(number * 7 + n) % 50}" for n in range(5)] + ["/nowhere"] * (number == 3),
            "/article": [],
        }.get(re.sub(r"/?\d+", "", self.path))
        body = " ".join(f'<a href="{link}">' for link in links or ()).encode()
        self.send_response(404 if links is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


async def fetch(address: tuple[int, str]) -> tuple[int, str]:
    port, path = address
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    if b" 200 " not in head:
        raise LookupError(f"{path}: {head.splitlines()[0].decode()}")
    return port, body.decode()


def links(page: tuple[int, str]) -> Iterator[tuple[int, str]]:
    port, body = page
    yield from ((port, link) for link in re.findall(r'href="([^"]+)"', body))


def note(failure: Failure) -> str:
    return f"broken link {failure.error}"


options = {"execution_mode": "async", "worker_limit": 100, "deduplicate": True, "unpack": False}
sections = TaskManager(fetch, name="sections", **options)
articles = TaskManager(fetch, name="articles", **options)
graph = (
    TaskManager(fetch, "async", unpack=False, name="front page")
    >> Splitter(links, name="its links")
    >> sections
    >> Splitter(links, name="their links")
    >> articles
    >> Merger(len, of="run", name="articles read")
) | (articles.failures >> TaskManager(note, name="broken links"))

with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        result = graph.run([(server.server_port, "/")])
    finally:
        server.shutdown()
print(*result.values, sep="\n")
print("asked for once though linked to often:", result.counts["articles"].duplicates, "times")
