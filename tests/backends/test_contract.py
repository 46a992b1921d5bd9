"""The same contract on every backend, and the same meaning in every execution mode."""

import pytest

from dagflow.testing.contracts import BackendContract
from dagflow.testing.semantics import Semantics

pytestmark = pytest.mark.timeout(25)


class TestSerial(BackendContract):
    backend = "serial"
    travels = False
    in_callers_thread = True
    concurrent = False


class TestThread(BackendContract):
    backend = "thread"
    travels = False


class TestProcess(BackendContract):
    backend = "process"


class TestThreadsInThreads(Semantics):
    backend, mode = "thread", "thread"


class TestLoopsInThreads(Semantics):
    backend, mode = "thread", "async"


class TestProcessesInThreads(Semantics):
    backend, mode = "thread", "process"


class TestThreadsInProcesses(Semantics):
    backend, mode = "process", "thread"


class TestLoopsInProcesses(Semantics):
    backend, mode = "process", "async"


class TestProcessesInProcesses(Semantics):
    backend, mode = "process", "process"
