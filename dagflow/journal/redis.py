"""A journal on a Redis server: for those who have one. ``redis://host:port/db``, several by ``?journal=name``.

The driver is the only writer. Whoever opens the journal gets the next *epoch*, and every turn is one script that
looks first whether its epoch is still the present one: a driver that was replaced meanwhile is fenced off and
stops. Who holds it is known by its connection, which the server sees end when the process does; so a driver that
was killed holds nothing, and no lease has to run out.

A turn has a number, and one that is there already is not written again. So when the server goes away (it is
restarted, the network breaks) the run waits, connects anew, and sends the turn again whose fate is not known.

The server has to keep what it is given: one that may evict keys, or that does not write them to its disk, is
refused, naming the setting. With ``appendfsync everysec`` it may, while its disk is slow, answer up to two seconds
before it has written (Redis, ``flushAppendOnlyFile``). If it is killed just then, the run stops and says so.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from dagflow.errors import JournalError
from dagflow.journal.forks import leave_to_parent
from dagflow.protocols import Turn

if TYPE_CHECKING:
    import redis

T = TypeVar("T")
CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 300.0
"""How long the server may be away."""
RETURN_SECONDS: Final = 3.0
"""How long a driver whose server was restarted is given to come back, before another takes its place."""
_TELL_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.2

_OPEN: Final = """
local holder = KEYS[1]
local epoch = redis.call('HGET', holder, 'epoch') or '0'
if epoch ~= ARGV[1] then return {'OTHER', epoch} end
local mine = tostring(tonumber(epoch) + 1)
redis.call('HSET', holder, 'epoch', mine, 'turn', '0', 'client', ARGV[2], 'server', ARGV[3], 'who', ARGV[4])
return {'OK', mine}
"""
_AGAIN: Final = """
local holder = KEYS[1]
local epoch = redis.call('HGET', holder, 'epoch')
if not epoch then return {'GONE', '0'} end
if epoch ~= ARGV[1] then return {'FENCED', epoch} end
redis.call('HSET', holder, 'client', ARGV[2], 'server', ARGV[3])
return {'OK', redis.call('HGET', holder, 'turn')}
"""
_CLOSE: Final = """
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then redis.call('HSET', KEYS[1], 'client', '') end
return 'OK'
"""
# ARGV: epoch, turn, and then, five times: how many, and so many pairs or numbers.
_WRITE: Final = """
local holder, notes, blobs, rows = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch = redis.call('HGET', holder, 'epoch')
if not epoch then return 'GONE' end
if epoch ~= ARGV[1] then return 'FENCED' end
local turn = tonumber(redis.call('HGET', holder, 'turn'))
if turn == tonumber(ARGV[2]) then return 'OK' end
if turn ~= tonumber(ARGV[2]) - 1 then return 'LOST' end
local at = 3
local function each(width, take)
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    take(at)
    at = at + width
  end
end
each(2, function(i) redis.call('HDEL', rows .. ARGV[i], ARGV[i + 1]) end)
each(3, function(i) redis.call('HSET', rows .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end)
each(2, function(i) redis.call('HSET', blobs, ARGV[i], ARGV[i + 1]) end)
each(1, function(i) redis.call('HSET', blobs, ARGV[i], '') end)
each(1, function(i) redis.call('HDEL', blobs, ARGV[i]) end)
each(2, function(i) redis.call('HSET', notes, ARGV[i], ARGV[i + 1]) end)
redis.call('HSET', holder, 'turn', ARGV[2])
return 'OK'
"""


class RedisJournal:
    """A journal on a Redis server; see the module."""

    folder: str | None = None

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = parse_qsl(parts.query)
        name = next((value for key, value in options if key == "journal"), "journal")
        rest = urlencode([(key, value) for key, value in options if key != "journal"])
        # Put together by hand, as urlunsplit makes unix:/path of unix:///path.
        plain = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self.url = f"{plain}?{rest}" if rest else plain
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # without the password
        self.where = f"{shown}?{parts.query}" if parts.query else shown
        self.patience = PATIENCE_SECONDS
        self.hurry = threading.Event()
        """Set by whoever has no patience: nothing is tried again."""
        self._key = f"dagflow:{{{name}}}:"
        self._client: redis.Redis | None = None
        self._open = False
        self._epoch = b""
        self._turn = 0
        self._server = b""

    # -- opening --------------------------------------------------------------------------------------

    def open(self, *, durability: str, write: bool, make: bool) -> None:
        """Connect, and become the one who holds the journal."""
        try:
            self._client = self._connect(CONNECT_SECONDS)
            self._client.ping()
            self._drop()  # it speaks: from here on it may take its time
            self._client = self._connect()
            self._client.ping()
        except _errors() as error:
            self._drop()
            raise JournalError(f"the journal {self.where} cannot be reached: {error}") from error
        try:
            if write:
                self._check_server(durability)
            if not make and not self._client.exists(self._key + "notes"):
                raise JournalError(f"there is no journal at {self.where}")
            self._take(write=write)
        except BaseException as error:
            self._drop()
            if isinstance(error, _errors()):
                raise JournalError(f"the journal {self.where} cannot be used: {error}") from error
            raise
        self._open = True
        leave_to_parent(self, "_client")

    def _connect(self, answer: float = ANSWER_SECONDS) -> redis.Redis:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise JournalError(
                "a journal on Redis needs the Python package redis: pip install 'dagflow[redis]'"
            ) from error
        options: dict[str, Any] = {"socket_timeout": answer, "retry": Retry(NoBackoff(), 0), "protocol": 2}
        if not self.url.lower().startswith("unix:"):
            options.update(socket_connect_timeout=min(answer, CONNECT_SECONDS), socket_keepalive=True)
        try:
            pool = redis.ConnectionPool.from_url(self.url, max_connections=1, **options)
            return redis.Redis(connection_pool=pool, single_connection_client=True)
        except (ValueError, TypeError) as error:
            raise JournalError(f"the journal {self.where} has no address that Redis understands: {error}") from error

    def _check_server(self, durability: str) -> None:
        """Refuse a server that may lose what it is given."""
        assert self._client is not None
        memory, persistence = self._info("memory"), self._info("persistence")
        policy = self._setting("maxmemory-policy") or memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise JournalError(
                f"the journal {self.where} could lose records: the server's maxmemory-policy is {policy}, and has to "
                f"be noeviction"
            )
        if not int(persistence.get("aof_enabled", 0)):
            raise JournalError(
                f"the journal {self.where} would not survive its server: "
                f'durability="{durability}" needs appendonly yes, and it is no'
            )
        fsync = self._setting("appendfsync")
        if durability == "power" and fsync != "always":
            raise JournalError(
                f'the journal {self.where} would not survive a loss of power: durability="power" needs appendfsync '
                f"always, and it is {fsync or 'not known'}"
            )

    def _info(self, section: str) -> dict[str, Any]:
        assert self._client is not None
        found: Any = self._client.info(section)
        return dict(found)

    def _setting(self, name: str) -> str | None:
        """A setting of the server; None where it is not told."""
        import redis

        assert self._client is not None
        try:
            found: Any = self._client.config_get(name)
        except redis.ResponseError:
            return None
        value = found.get(name, found.get(name.encode()))
        return value.decode() if isinstance(value, bytes) else value

    def _take(self, *, write: bool) -> None:
        """Become the holder: nobody else is, or not any more.

        A reader leaves alone a driver whose server was restarted, and that has not noticed: it may be at a long task.
        """
        assert self._client is not None
        until = time.monotonic() + RETURN_SECONDS
        while True:
            holder: dict[bytes, bytes] = self._client.hgetall(self._key + "holder")  # type: ignore[assignment]
            self._server = str(self._info("server")["run_id"]).encode()
            client = holder.get(b"client", b"")
            if client and holder.get(b"server") == self._server and self._is_connected(client):
                who = holder.get(b"who", b"somebody").decode("utf-8", "replace")
                raise JournalError(f"the journal {self.where} is in use by another driver ({who})")
            if client and holder.get(b"server") != self._server and time.monotonic() < until:
                threading.Event().wait(_PAUSE_SECONDS)  # the server was restarted: its driver may come back
                continue
            if client and not write:
                return
            who = f"process {os.getpid()} on {socket.gethostname()}"
            given = [holder.get(b"epoch", b"0"), self._client.client_id(), self._server, who]
            said, epoch = self._run(_OPEN, ["holder"], given)
            if said == b"OK":
                self._epoch, self._turn = epoch, 0
                return

    def _is_connected(self, client: bytes) -> bool:
        assert self._client is not None
        listed: Any = self._client.client_list()
        lines = listed if isinstance(listed, list) else []
        return any(str(line.get("id")).encode() == client for line in lines)

    def _run(self, script: str, keys: list[str], given: list[Any]) -> Any:
        assert self._client is not None
        return self._client.eval(script, len(keys), *(self._key + key for key in keys), *given)

    # -- staying connected ----------------------------------------------------------------------------

    def _ask(self, ask: Callable[[], T]) -> T:
        """Ask the server, however often it takes."""
        if not self._open or self._client is None:
            raise JournalError(f"the journal {self.where} is not open")
        started: float | None = None
        told = 0.0
        while True:
            try:
                if started is not None:
                    self._return()
                return ask()
            except _errors() as error:
                now = time.monotonic()
                started = now if started is None else started
                if not _passes(error) or self.hurry.is_set() or now - started > self.patience:
                    raise JournalError(f"the journal {self.where} cannot be used: {error}") from error
                if now >= told:
                    told = now + _TELL_SECONDS
                    self._tell(error, now - started)
                self.hurry.wait(_PAUSE_SECONDS)

    def _tell(self, error: Exception, waited: float) -> None:
        from loguru import logger

        logger.warning(
            f"the journal {self.where} is away ({error}); the run waits, nothing is lost "
            f"({waited:.0f} of {self.patience:.0f} s)"
        )

    def _return(self) -> None:
        """Connect anew, as who we were."""
        self._drop()
        self._client = self._connect()
        server = str(self._info("server")["run_id"]).encode()
        said, turn = self._run(_AGAIN, ["holder"], [self._epoch, self._client.client_id(), server])
        self._heed(said)
        self._server = server
        if int(turn) not in (self._turn, self._turn - 1):
            self._heed(b"LOST")

    def _heed(self, said: bytes) -> None:
        if said in (b"FENCED", b"GONE", b"LOST"):
            self._open = False
            self._drop()
        if said == b"FENCED":
            raise JournalError(f"the journal {self.where} has been taken over by another driver; this one stops")
        if said == b"GONE":
            raise JournalError(f"the journal {self.where} was emptied by somebody while it was in use")
        if said == b"LOST":
            raise JournalError(
                f"the journal {self.where} has lost what it had kept: its server came back without the last turns; the "
                f"same call again goes on from what is left; with appendfsync always nothing is lost"
            )

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                client.close()
                client.connection_pool.disconnect()
            except Exception:  # noqa: BLE001, S110 - it is gone either way
                pass

    def _connected(self) -> redis.Redis:
        assert self._client is not None
        return self._client

    # -- reading --------------------------------------------------------------------------------------

    def note(self, name: str) -> bytes | None:
        """The note of that name."""
        found: Any = self._ask(lambda: self._connected().hget(self._key + "notes", name))
        return found  # type: ignore[no-any-return]

    def rows(self, block: int) -> list[tuple[int, bytes]]:
        """The rows of a block."""
        found: Any = self._ask(lambda: self._connected().hgetall(f"{self._key}rows:{block}"))
        return sorted((int(number), body) for number, body in found.items() if number.lstrip(b"-").isdigit())

    def blob(self, number: int) -> bytes | None:
        """A blob."""
        found: Any = self._ask(lambda: self._connected().hget(self._key + "blobs", str(number)))
        return found  # type: ignore[no-any-return]

    def size(self) -> int:
        """How many bytes it takes in the server's memory."""

        def ask() -> int:
            client = self._connected()
            return sum(
                int(client.memory_usage(key, samples=0) or 0) for key in client.scan_iter(match=_literal(self._key))
            )

        return self._ask(ask)

    # -- writing --------------------------------------------------------------------------------------

    def write(self, turn: Turn) -> None:
        """Keep a turn; waits while the server is away."""
        self._turn += 1
        given: list[Any] = [self._epoch, self._turn, len(turn.dropped_rows)]
        given.extend(part for row in turn.dropped_rows for part in row)
        given.append(len(turn.rows))
        given.extend(part for row in turn.rows for part in row)
        given.append(len(turn.blobs))
        given.extend(part for blob in turn.blobs for part in blob)
        given += [len(turn.emptied), *turn.emptied, len(turn.dropped_blobs), *turn.dropped_blobs, len(turn.notes)]
        given.extend(part for note in turn.notes.items() for part in note)
        said: Any = self._ask(lambda: self._run(_WRITE, ["holder", "notes", "blobs", "rows:"], given))
        self._heed(said)

    def close(self) -> None:
        """Let others in."""
        if self._open and self._client is not None:
            try:
                self._run(_CLOSE, ["holder"], [self._epoch])
            except _errors():
                pass  # whoever comes next sees that this connection has ended
        self._open = False
        self._drop()


def _errors() -> tuple[type[Exception], ...]:
    try:
        import redis
    except ImportError:
        return (OSError,)
    return (redis.RedisError, OSError)


def _passes(error: Exception) -> bool:
    """Whether trying again may help: the server is away, starting, or out of memory."""
    import redis

    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return not isinstance(error, redis.AuthenticationError)
    if isinstance(error, (redis.OutOfMemoryError, redis.exceptions.ReadOnlyError, redis.exceptions.TryAgainError)):
        return True  # whose words redis takes away
    return str(error).startswith(("LOADING", "OOM", "MISCONF", "BUSY", "TRYAGAIN", "READONLY", "UNBLOCKED"))


def _literal(key: str) -> str:
    """A key's beginning as a pattern that means itself."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in key) + "*"
