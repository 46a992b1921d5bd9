"""Metrics as Prometheus reads them: the text, the file, the endpoint."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from observe_made import node_snapshot, plan_of, snapshot_of

import dagflow as df
from dagflow import TaskManager
from dagflow.observe.endpoint import MetricsServer
from dagflow.observe.metrics import MetricsFile, prometheus_text

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)')


def parsed(text):
    """A strict reader of the text format: samples by name and labels, after their HELP and TYPE."""
    assert text.endswith("\n")
    kinds, helped, samples = {}, set(), {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped, "once for each name"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helped and kind in ("counter", "gauge")
            kinds[name] = kind
        else:
            match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
            assert match, line
            name, inside, value = match.groups()
            assert name in kinds and (kinds[name] == "gauge" or name.endswith("_total"))
            labels, at = {}, 0
            while at < len(inside or ""):
                part = LABEL.match(inside, at)
                assert part, line
                labels[part[1]] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), part[2])
                at = part.end()
            key = (name, tuple(sorted(labels.items())))
            assert key not in samples, "a sample stands once"
            samples[key] = float(value)
    return samples


def value(samples, name, **labels):
    (found,) = [v for (n, of), v in samples.items() if n == name and labels.items() <= dict(of).items()]
    return found


def test_the_text_of_a_run():
    fails = TaskManager(lambda x: 10 // x, name="divide")
    result = (fails >> TaskManager(str)).run([0, 1, 2], "serial")
    found = parsed(prometheus_text(result.snapshot, {"job": "nightly"}))
    assert value(found, "dagflow_source_tasks_total") == value(found, "dagflow_source_tasks_ended_total") == 3
    assert value(found, "dagflow_run_state", state="finished") == 1
    assert value(found, "dagflow_run_state", state="running") == 0
    assert value(found, "dagflow_node_tasks_total", node="divide", status="failed") == 1
    assert value(found, "dagflow_node_tasks_total", node="divide", status="succeeded") == 2
    assert value(found, "dagflow_node_received_total", node="str", kind="task", job="nightly") == 2
    assert value(found, "dagflow_node_busy_seconds_total", node="str") >= 0
    assert value(found, "dagflow_run_waited_seconds_total", **{"for": "source"}) == 0


def test_names_that_need_escaping():
    snapshot = snapshot_of(node_snapshot('a "b"\\c\nd\x1b[2J', 3, 3))
    found = parsed(prometheus_text(snapshot, {"x": 'y"\\\n'}))
    (name,) = {dict(labels)["node"] for (n, labels) in found if n == "dagflow_node_received_total"}
    assert name == 'a "b"\\c\\nd\\x1b[2J', "control characters stand escaped, the rest comes back as it was"
    assert value(found, "dagflow_run_seconds", x='y"\\\n') == 1.0


def test_a_live_run_has_typed_values():
    gate = threading.Event()
    with df.Graph(TaskManager(lambda x: gate.wait(20), name="wait")).open("thread") as run:
        for n in range(5):
            run.submit(n)
        while (node := run.snapshot().nodes[0]).leased + node.queued < 5:
            pass
        assert (node.width, node.workers, node.phase) == (1, 1, "open")
        assert node.capacity >= 64
        found = parsed(prometheus_text(run.snapshot()))
        assert value(found, "dagflow_node_leased", node="wait") >= 1
        assert value(found, "dagflow_run_state", state="running") == 1
        gate.set()


# -- the file ----------------------------------------------------------------------------------------------


def test_a_file_that_is_always_whole(tmp_path):
    path = tmp_path / "dagflow.prom"
    seen = []

    def look(x):
        if path.exists():
            seen.append(parsed(path.read_text()))
        return x

    df.Graph(TaskManager(look)).run(range(50), "serial", logger=MetricsFile(path, {"job": "a"}))
    assert seen, "it is there while the run goes on"
    assert value(parsed(path.read_text()), "dagflow_node_received_total", job="a") == 50
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_does_not_hurt_the_run(tmp_path, heard):
    result = df.Graph(TaskManager(str)).run([1], "serial", logger=MetricsFile(tmp_path / "nowhere" / "x.prom"))
    assert result.values == ["1"]
    assert [text for level, _, text in heard if level == "WARNING"] == [
        "observer MetricsFile raised FileNotFoundError and hears no more of this run"
    ]


def test_several_observers(tmp_path):
    paths = [tmp_path / name for name in ("a.prom", "b.prom")]
    df.Graph(TaskManager(str)).run([1], "serial", logger=[MetricsFile(p) for p in paths])
    assert all(value(parsed(p.read_text()), "dagflow_node_received_total") == 1 for p in paths)
    with pytest.raises(TypeError, match="observer, not int"):
        df.Graph(TaskManager(str)).run([1], "serial", logger=[3])


# -- the endpoint ------------------------------------------------------------------------------------------


@pytest.fixture
def metrics():
    with MetricsServer() as server:
        yield server


def ask(server, method="GET", path="/metrics", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_whoever_has_the_token_reads_it(metrics):
    graph = df.Graph(TaskManager(str), name="my graph")
    graph.run([1, 2], "serial", logger=metrics)
    graph.run([1], "serial", logger=metrics)
    status, text, headers = ask(metrics, Authorization=f"Bearer {metrics.token}")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = parsed(text)
    assert value(found, "dagflow_node_received_total", run="1", graph="my graph") == 2
    assert value(found, "dagflow_node_received_total", run="2") == 1
    assert metrics.url.endswith(f":{metrics.port}/metrics")


def test_runs_at_once_and_old_ones(metrics):
    threads = [
        threading.Thread(target=df.Graph(TaskManager(str)).run, args=(range(20), "thread"), kwargs={"logger": metrics})
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = parsed(metrics.text())
    runs = [dict(labels)["run"] for (name, labels) in found if name == "dagflow_run_seconds"]
    assert len(runs) == len(set(runs)) == 16, "the last ones"


@pytest.mark.parametrize(
    ("status", "how"),
    [
        (401, {}),
        (401, {"Authorization": "Bearer wrong"}),
        (401, {"Authorization": "Basic TOKEN"}),
        (401, {"Authorization": "TOKEN"}),
        (403, {"Authorization": "Bearer TOKEN", "Host": "evil.example"}),
        (403, {"Authorization": "Bearer TOKEN", "Host": "evil.example:80"}),
        (403, {"Authorization": "Bearer TOKEN", "Host": ""}),
        (404, {"Authorization": "Bearer TOKEN", "path": "/"}),
        (404, {"Authorization": "Bearer TOKEN", "path": "/../metrics"}),
        (501, {"Authorization": "Bearer TOKEN", "method": "POST"}),
        (501, {"Authorization": "Bearer TOKEN", "method": "TRACE"}),
    ],
)
def test_others_are_refused_and_learn_nothing(metrics, status, how, capfd):
    given = {k: v.replace("TOKEN", metrics.token) for k, v in how.items()}
    found, body, headers = ask(metrics, **given)
    assert found == status
    assert metrics.token not in body and "dagflow_" not in body and len(body) < 40
    assert headers["Server"] == "dagflow", "no version of anything"
    assert capfd.readouterr() == ("", "")


def test_torn_requests(metrics):
    for sent in (b"\x00\xff\r\n\r\n", b"GET /" + b"x" * 100_000 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", metrics.port), timeout=10) as connection:
            connection.sendall(sent)
            try:
                answer = connection.recv(10_000)
            except ConnectionResetError:
                continue  # it was told off before it had said all
            assert b"Traceback" not in answer and b"python" not in answer.lower()
    assert ask(metrics)[0] == 401, "and it goes on"


def test_it_listens_to_this_machine_only(metrics):
    connections = Path("/proc/self/net/tcp").read_text() + Path("/proc/self/net/tcp6").read_text()
    here = [line.split()[1] for line in connections.splitlines() if f":{metrics.port:04X} " in line]
    assert here and all(address.startswith("0100007F:") for address in here)


def test_a_port_that_is_taken(metrics):
    with pytest.raises(OSError):
        MetricsServer(metrics.port)


def test_an_empty_token_is_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        MetricsServer(token="")


def test_used_without_a_run_of_its_own(metrics):
    with pytest.raises(TypeError, match="for_run"):
        metrics.opened(plan_of("a"))


def test_nothing_of_it_is_loaded_unless_asked_for():
    code = "import sys, dagflow; dagflow.Graph; dagflow.RunResult; print([m for m in ('http.server', 'hmac') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
