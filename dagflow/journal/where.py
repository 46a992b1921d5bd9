"""Where a journal is: a path is a SQLite file, ``redis://`` a Redis server; or an object that is a journal."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from dagflow.errors import JournalError

if TYPE_CHECKING:
    from dagflow.protocols import Journal

_DOOR = ("open", "note", "rows", "blob", "write", "size", "close")


def journal_at(where: Any) -> Journal:
    """The journal that a user means; not opened yet."""
    if isinstance(where, (str, os.PathLike)):
        text = os.fspath(where)
        if not isinstance(text, str):
            text = os.fsdecode(text)
        if not text:
            raise JournalError("journal= names no place: give a path, or redis://host:port/0")
        scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", text)
        if scheme is None:
            from dagflow.journal.sqlite import SqliteJournal

            return SqliteJournal(text)
        if scheme[1].lower() in ("redis", "rediss", "unix"):
            from dagflow.journal.redis import RedisJournal

            return RedisJournal(text)
        raise JournalError(
            f"a journal cannot be kept at {scheme[0]}...: give a path (a SQLite file), or redis://host:port/0"
        )
    if all(callable(getattr(where, name, None)) for name in _DOOR):
        journal: Journal = where
        return journal
    raise TypeError(f"journal must be a path, a redis:// address or a journal, not {type(where).__name__}")
