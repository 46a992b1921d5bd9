"""The same contract on every backend."""

import pytest

from dagflow.testing.contracts import BackendContract

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
