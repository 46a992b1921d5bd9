"""Seals: a keyed checksum over everything kept, and over where it belongs; verified before anything is opened.

A journal holds pickles, so reading one that somebody else has written would run their code; and a file may decay
without any database noticing. Both are seen here: what has no right checksum counts as not being there.

The key is the user's: 32 random bytes in ``$XDG_STATE_HOME/dagflow/key`` (``~/.local/state/dagflow/key``) which
only they may read, never beside a journal; or whatever text ``DAGFLOW_KEY`` holds (several, separated by commas:
the first one seals, all may have sealed). A journal says which key it wants, so keys can be replaced: old ones
are looked for as ``key.<id>`` beside the present one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from typing import Final

from dagflow.errors import JournalError

SUM_BYTES: Final = 16
KEY_BYTES: Final = 32
_PERSON: Final = b"dagflow journal"


class Key:
    """A key, and the short name that a journal knows it by."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.id = hashlib.blake2b(secret, digest_size=6, person=b"dagflow key").hexdigest()


class Seal:
    """Checksums of one journal: the same bytes in another journal, or at another place in it, do not fit."""

    def __init__(self, key: Key, journal: bytes) -> None:
        self._start = hashlib.blake2b(journal, digest_size=SUM_BYTES, key=key.secret, person=_PERSON)

    def sum(self, place: bytes, body: bytes) -> bytes:
        """The checksum of ``body`` at ``place``."""
        mixed = self._start.copy()
        mixed.update(len(place).to_bytes(2, "little") + place)
        mixed.update(body)
        return mixed.digest()

    def seal(self, place: bytes, body: bytes) -> bytes:
        """``body`` with its checksum before it."""
        return self.sum(place, body) + body

    def open(self, place: bytes, sealed: bytes | None) -> bytes | None:
        """What `seal` sealed at ``place``; None where the checksum does not fit, or nothing is there."""
        if sealed is None or len(sealed) < SUM_BYTES:
            return None
        body = sealed[SUM_BYTES:]
        return body if sealed[:SUM_BYTES] == self.sum(place, body) else None


# -- where keys are ----------------------------------------------------------------------------------------


def state_folder() -> str:
    """The folder in which the user's programs keep what is theirs alone."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = given if os.path.isabs(given) else os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "dagflow")


def present_key(beside: str | None) -> Key:
    """The key that new journals are sealed with; made when there is none. ``beside``: the journal's folder."""
    for key in _given_keys():
        return key
    path = _own_path(beside)
    return _read(path) if os.path.lexists(path) else _make(path)


def key_named(wanted: str, beside: str | None) -> Key:
    """The key of that id, wherever it is; `JournalError` if it is nowhere."""
    for key in _given_keys():
        if key.id == wanted:
            return key
    path = _own_path(beside)
    for candidate in (path, f"{path}.{wanted}"):
        if os.path.lexists(candidate):
            key = _read(candidate)
            if key.id == wanted:
                return key
    raise JournalError(
        f"it was sealed with key {wanted}, which is neither in DAGFLOW_KEY nor in {path}; without that key "
        f"nothing in it can be trusted"
    )


def _given_keys() -> Iterator[Key]:
    for text in os.environ.get("DAGFLOW_KEY", "").split(","):
        if text.strip():
            yield Key(hashlib.blake2b(text.strip().encode(), digest_size=KEY_BYTES, person=b"dagflow text").digest())


def _own_path(beside: str | None) -> str:
    folder = state_folder()
    if beside is not None and os.path.realpath(folder) == os.path.realpath(beside):
        raise JournalError(
            f"a journal must not lie beside the key that it is sealed with ({folder}): put it elsewhere, "
            f"or set DAGFLOW_KEY"
        )
    return os.path.join(folder, "key")


def _read(path: str) -> Key:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            secret = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise JournalError(
            f"the key {path} cannot be read: {error.strerror}; set DAGFLOW_KEY to use another"
        ) from error
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise JournalError(f"the key {path} may be read by others (mode {mode:04o}): chmod 600 it, or replace it")
    if found.st_uid != os.geteuid():
        raise JournalError(f"the key {path} belongs to another user (uid {found.st_uid})")
    if len(secret) != KEY_BYTES:
        raise JournalError(f"the key {path} is damaged: it must be {KEY_BYTES} bytes long")
    return Key(secret)


def _make(path: str) -> Key:
    """A new key; of several processes that make one at once, all use the one that came first."""
    folder = os.path.dirname(path)
    draft = f"{path}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
        finally:
            os.unlink(draft)
    except OSError as error:
        raise JournalError(
            f"a key to seal journals with cannot be made at {path}: {error.strerror}; set DAGFLOW_KEY to a secret text"
        ) from error
    return _read(path)
