"""A journal in a SQLite file: nothing to install, survives the death of every process, and power loss if asked.

One connection, used by one thread at a time, with an exclusive lock: no second connection can exist, which keeps
other drivers out, needs no shared memory, and rules out the one way in which SQLite's write-ahead log has lost
writes (two connections at once, in versions before 3.51.3). A turn is a transaction. ``durability="process"``
leaves it in the kernel's hands, where it survives anything but the machine; ``"power"`` waits for the disk.

What is no journal of ours is refused by its first bytes, before SQLite sees it, so it is never changed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import stat
import struct
import threading
import time
from typing import Any, Final

from dagflow.errors import JournalError
from dagflow.journal.forks import leave_to_parent
from dagflow.protocols import Turn

APPLICATION: Final = 0x64616766
"""What marks a file as ours: "dagf"."""
LAYOUT: Final = 1
"""The layout of the tables."""
LOCK_SECONDS: Final = 2.0
"""How long a lock is waited for: a driver that was killed a moment ago may not be gone yet."""
PATIENCE_SECONDS: Final = 300.0
"""How long writing is tried again while the disk is full or broken."""
_TELL_SECONDS: Final = 10.0
_LOG_BYTES: Final = 64 << 20
_HEAD: Final = struct.Struct(">I")
_FLOCK: Final = struct.Struct("hhqqi")
_SHARED_BYTES: Final = (0x40000002, 510)
_FAR_AWAY: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.glusterfs")
)
_TABLES: Final = """
CREATE TABLE notes (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (block INTEGER, number INTEGER, body BLOB NOT NULL, PRIMARY KEY (block, number)) WITHOUT ROWID;
CREATE TABLE blobs (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
_open_here: set[str] = set()
"""Files that this process has open: opening one a second time would drop the first one's locks when closed."""


class SqliteJournal:
    """A journal in a file; see the module."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.where = os.fspath(path)
        self.path = os.path.realpath(self.where)
        self.folder: str | None = os.path.dirname(self.path)
        self.patience = PATIENCE_SECONDS
        self.hurry = threading.Event()
        """Set by whoever has no patience: nothing is tried again."""
        self._connection: sqlite3.Connection | None = None

    # -- opening --------------------------------------------------------------------------------------

    def open(self, *, durability: str, write: bool, make: bool) -> None:
        """Open the file, or make it."""
        if self.path in _open_here:
            raise JournalError(f"the journal {self.where} is in use by another run in this process")
        _open_here.add(self.path)
        try:
            if self._check_place(write):
                self._check_head()
            elif not make:
                raise JournalError(f"there is no journal at {self.where}")
            else:
                self._make()
            self._connection = self._connect(durability, write)
        except BaseException:
            _open_here.discard(self.path)
            raise
        leave_to_parent(self, "_connection")

    def _check_place(self, write: bool) -> bool:
        """Whether the file is there; `JournalError` where it cannot be used."""
        assert self.folder is not None
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        except OSError as error:
            raise JournalError(f"the journal {self.where} cannot be opened: {error.strerror}") from error
        if found is not None and not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no ordinary file"
            raise JournalError(f"the journal {self.where} cannot be opened: it is {kind}")
        if not os.path.isdir(self.folder):
            raise JournalError(f"the journal {self.where} cannot be made: there is no folder {self.folder}")
        kind = _file_system(self.folder)
        if kind in _FAR_AWAY:
            raise JournalError(
                f"the journal {self.where} lies on a network file system ({kind}), whose locks cannot be relied on; "
                f"use a local disk"
            )
        if found is None and os.path.exists(self.path + "-wal") and not os.path.exists(self.path):
            raise JournalError(
                f"the journal {self.where} cannot be made: beside it lies {os.path.basename(self.path)}-wal, the log "
                f"of a journal that is gone, which SQLite would take in; delete it, or put that journal back"
            )
        if write:
            for path in (self.folder, self.path) if found is not None else (self.folder,):
                if not _writable(path):
                    raise JournalError(f"the journal {self.where} cannot be written: {path} is read-only")
        return found is not None

    def _check_head(self) -> None:
        try:
            with open(self.path, "rb") as file:
                head = file.read(100)
        except OSError as error:
            raise JournalError(f"the journal {self.where} cannot be read: {error.strerror}") from error
        if not head:
            raise JournalError(f"{self.where} is an empty file, no journal; delete it to start one there")
        ours = len(head) == 100 and head.startswith(b"SQLite format 3\0")
        if not ours or _HEAD.unpack_from(head, 68)[0] != APPLICATION:
            raise JournalError(f"{self.where} is no journal of dagflow's; it was not touched")
        layout = _HEAD.unpack_from(head, 60)[0]
        if layout > LAYOUT:
            raise JournalError(
                f"the journal {self.where} was written by a later version of dagflow (layout {layout}, this one "
                f"reads up to {LAYOUT}); use that version"
            )

    def _make(self) -> None:
        """A new file, whole from the first moment: there is none, or it can be opened."""
        draft = f"{self.path}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            connection = sqlite3.connect(draft, isolation_level=None)
            try:
                connection.executescript(
                    f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"  # nobody sees it before it is whole on disk
                    f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={LAYOUT};"
                    f"BEGIN; {_TABLES} COMMIT;"
                )
            finally:
                connection.close()
            _sync(draft)
            try:
                os.link(draft, self.path)
            except FileExistsError:
                pass  # somebody else has made it: whoever gets the lock goes on
            _sync(os.path.dirname(self.path))
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"the journal {self.where} cannot be made: {_text(error)}") from error
        finally:
            try:
                os.unlink(draft)
            except FileNotFoundError:
                pass

    def _connect(self, durability: str, write: bool) -> sqlite3.Connection:
        quoted = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        still = not write and not (_writable(self.path) and _writable(os.path.dirname(self.path)))
        how = "mode=ro&immutable=1" if still and not os.path.exists(self.path + "-wal") else "mode=rw"
        connection = None
        try:
            connection = sqlite3.connect(
                f"file:{quoted}?{how}", uri=True, isolation_level=None, timeout=LOCK_SECONDS, check_same_thread=False
            )
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            if write:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
                connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("COMMIT")
            connection.execute("SELECT count(*) FROM notes").fetchone()
        except _TROUBLE as error:
            if connection is not None:
                connection.close()
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise JournalError(f"the journal {self.where} is in use by {self._holder()}") from error
            raise self._broken(error) from error
        return connection

    def _holder(self) -> str:
        """Who has it open."""
        try:
            with open(self.path, "rb+") as file:
                asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *_SHARED_BYTES, 0)
                answer = fcntl.fcntl(file, fcntl.F_GETLK, asked)
            _, _, _, _, pid = _FLOCK.unpack(answer)
        except OSError:
            pid = 0
        return f"another driver (process {pid})" if pid else "another driver"

    # -- reading --------------------------------------------------------------------------------------

    def _ask(self, question: str, *given: Any) -> list[Any]:
        try:
            return self._open_connection().execute(question, given).fetchall()
        except _TROUBLE as error:
            raise self._broken(error) from error

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError(f"the journal {self.where} is not open")
        return self._connection

    def _broken(self, error: Exception) -> JournalError:
        unreadable = not isinstance(error, sqlite3.Error)
        if unreadable or _code(error) & 0xFF in _DAMAGE or "no such" in str(error):
            what = "its schema cannot be read" if unreadable else str(error)
            return JournalError(
                f"the journal {self.where} is damaged ({what}); restore it from a copy, or delete it to start anew"
            )
        return JournalError(f"the journal {self.where} cannot be used: {error}")

    def note(self, name: str) -> bytes | None:
        """The note of that name."""
        found = self._ask("SELECT body FROM notes WHERE name = ?", name)
        return _bytes(found[0][0]) if found else None

    def rows(self, block: int) -> list[tuple[int, bytes]]:
        """The rows of a block; one whose number is damaged is none, which the block's balance shows."""
        return [
            (number, _bytes(body))
            for number, body in self._ask("SELECT number, body FROM rows WHERE block = ? ORDER BY number", block)
            if isinstance(number, int)
        ]

    def blob(self, number: int) -> bytes | None:
        """A blob."""
        found = self._ask("SELECT body FROM blobs WHERE number = ?", number)
        return _bytes(found[0][0]) if found else None

    def size(self) -> int:
        """How many bytes the file takes."""
        total = 0
        for path in (self.path, self.path + "-wal"):
            try:
                total += os.stat(path).st_size
            except FileNotFoundError:
                pass
        return total

    # -- writing --------------------------------------------------------------------------------------

    def write(self, turn: Turn) -> None:
        """Keep a turn; waits while there is no room, or the disk has trouble that may pass."""
        connection = self._open_connection()
        started: float | None = None
        while True:
            try:
                self._write(connection, turn)
                return
            except _TROUBLE as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                now = time.monotonic()
                started = now if started is None else started
                passing = _code(error) & 0xFF in _PASSING and _code(error) != sqlite3.SQLITE_IOERR_FSYNC
                if not passing or self.hurry.is_set() or now - started > self.patience:
                    raise self._broken(error) from error
                self._wait(error, now - started)

    def _write(self, connection: sqlite3.Connection, turn: Turn) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if turn.dropped_rows:
            connection.executemany("DELETE FROM rows WHERE block = ? AND number = ?", turn.dropped_rows)
        if turn.rows:
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", turn.rows)
        if turn.blobs:
            connection.executemany("INSERT INTO blobs VALUES (?, ?)", turn.blobs)
        if turn.emptied:
            connection.executemany("UPDATE blobs SET body = x'' WHERE number = ?", [(n,) for n in turn.emptied])
        if turn.dropped_blobs:
            connection.executemany("DELETE FROM blobs WHERE number = ?", [(n,) for n in turn.dropped_blobs])
        if turn.notes:
            connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", list(turn.notes.items()))
        connection.execute("COMMIT")

    def _wait(self, error: Exception, waited: float) -> None:
        """Say what is the matter, now and then, and wait a little."""
        if waited % _TELL_SECONDS < 0.25:
            from loguru import logger

            logger.warning(
                f"the journal {self.where} cannot be written ({error}); the run waits, nothing is lost "
                f"({waited:.0f} of {self.patience:.0f} s)"
            )
        self.hurry.wait(0.2)

    def close(self) -> None:
        """Close the file; what is in the log goes into it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _open_here.discard(self.path)
            try:
                connection.close()
            except _TROUBLE as error:
                raise self._broken(error) from error


_TROUBLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the second where its own message cannot be read, as it quotes what is damaged."""
_DAMAGE: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT))
_PASSING: Final = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", None) or 0


def _bytes(found: Any) -> bytes:
    return found if isinstance(found, bytes) else b"?"


def _text(error: BaseException) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _sync(path: str) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _writable(path: str) -> bool:
    """Whether a file or folder may be written: what nobody may write is left alone by the superuser too."""
    try:
        return bool(os.stat(path).st_mode & 0o222) and os.access(path, os.W_OK)
    except OSError:
        return False


def _file_system(folder: str) -> str:
    """The kind of file system that a folder lies on ("" if unknown)."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                _, where, what, *_ = line.split(" ")
                where = where.replace("\\040", " ")
                inside = folder == where or folder.startswith(where.rstrip("/") + "/")
                if inside and len(where) >= len(best):
                    best, kind = where, what
    except (OSError, ValueError):
        return ""
    return kind
