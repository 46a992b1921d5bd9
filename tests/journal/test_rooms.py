"""The contract suite on the three rooms of journals."""

from __future__ import annotations

from itertools import count

import pytest

from dagflow.journal.memory import MemoryJournal
from dagflow.testing.journals import JournalContract

_names = count()


class TestMemory(JournalContract):
    def make(self, tmp_path):
        return MemoryJournal()


class TestSqlite(JournalContract):
    def make(self, tmp_path):
        return tmp_path / "journal.db"


class TestRedis(JournalContract):
    @pytest.fixture(autouse=True)
    def server(self, redis_server):
        self.url = redis_server.url

    def make(self, tmp_path):
        return f"{self.url}?journal=contract-{next(_names)}"
