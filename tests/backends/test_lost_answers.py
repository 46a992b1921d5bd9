"""Stuck is an error: an answer that is lost on its way ends the run with a report, and never as a hang."""

import signal
import time

import pytest

from dagflow import Merger, Splitter, TaskManager
from dagflow.backends.mailbox import Mailbox
from dagflow.core import crew
from dagflow.core.job import Answer
from dagflow.errors import InvariantBroken

pytestmark = pytest.mark.timeout(25)
BACKENDS = ("serial", "thread", "process")


class Seen(list):
    """The last answers so far; ``then`` is called when one is swallowed."""

    def then(self):
        pass


@pytest.fixture()
def swallowing(monkeypatch):
    """The third lease that anybody has done is never answered."""
    monkeypatch.setattr(crew, "STALL_SECONDS", 0.3)
    seen, post = Seen(), Mailbox.post

    def lossy(self, event):
        if isinstance(event, Answer) and event.last:
            seen.append(event)
            if len(seen) == 3:
                seen.then()
                return
        post(self, event)

    monkeypatch.setattr(Mailbox, "post", lossy)
    return seen


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ("serial", "thread", "process"))
def test_a_lost_answer_is_reported(backend, mode, swallowing):
    graph = TaskManager(str, mode, 2, name="text") >> TaskManager(len, name="length")
    with pytest.raises(InvariantBroken) as caught:
        graph.run(range(50), backend)
    text = str(caught.value)
    assert "has nothing to do, but never answered lease" in text
    assert "'text' is " in text
    assert " leased" in text
    assert len(swallowing) >= 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_report_names_the_scopes_that_miss_members(backend, swallowing):
    graph = Splitter(range, name="numbers") >> TaskManager(abs, name="work") >> Merger(sum, name="total")
    with pytest.raises(
        InvariantBroken, match="a scope of 'numbers' .* waits for .* more tasks? before 'total' can merge"
    ):
        graph.run([3], backend, max_in_flight=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_was_stopped_reports_too(backend, swallowing):
    """Ctrl-C once waits for running tasks to end; what was lost never does."""
    swallowing.then = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(InvariantBroken, match="never answered lease"):
        (TaskManager(str) >> TaskManager(len)).run(range(50), backend)


def test_who_is_busy_is_not_suspected(monkeypatch):
    """A long task answers a probe by being at work, for as long as it takes."""
    monkeypatch.setattr(crew, "STALL_SECONDS", 0.02)
    for backend in BACKENDS:
        for mode in ("serial", "thread", "process"):
            graph = Splitter(_twice, mode, name="split") >> TaskManager(_take_a_while, mode, name="slow")
            result = graph.run([1], backend)
            assert result.values == [1, 1], (backend, mode)


def _twice(x):
    return [x, x]


def _take_a_while(x):
    time.sleep(0.15)
    return x
