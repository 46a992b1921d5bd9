"""A log file of dagflow's own, written by a loguru logger that shares nothing with the user's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from loguru import Logger, Message, Record

_MARK: Final = "\0"


def _own_logger() -> Logger:
    """A loguru logger with handlers of its own.

    loguru offers one global logger: a sink added to it would get the user's records, and our records would
    reach the user's sinks, unless each of those had a filter. Its parts are private, but they are the very
    ones from which loguru makes the global logger, and the dependency is held to one minor version; the
    tests say at once if that changes.
    """
    from loguru import _logger

    parts: Any = _logger
    logger: Logger = parts.Logger(
        core=parts.Core(),
        exception=None,
        depth=0,
        record=False,
        lazy=False,
        colors=False,
        raw=False,
        capture=True,
        patchers=[],
        extra={},
    )
    return logger


def _rotation_function(rotation: Any) -> Callable[[Message, Any], bool] | None:
    from loguru import _file_sink

    parts: Any = _file_sink
    made: Callable[[Message, Any], bool] | None = parts.FileSink._make_rotation_function(rotation)
    return made


class _Daily:
    """A rotation at midnight, and whenever the user's own rotation says so."""

    def __init__(self, rotation: Any) -> None:
        self.inner = _rotation_function(rotation)
        self.day: Any = None

    def __call__(self, message: Message, file: Any) -> bool:
        today = message.record["time"].date()
        yesterday, self.day = self.day, today
        if yesterday is not None and yesterday != today:
            return True
        return self.inner is not None and self.inner(message, file)


class LogFile:
    """Lines to a file that changes its name every day; open while at least one run uses it.

    ``line``: loguru's format of one line; must contain ``{message}``. ``level``, ``rotation`` and
    ``retention`` as in loguru's ``logger.add``. Wrong ones raise here and not in the middle of a run.
    """

    def __init__(self, *, level: str | int, line: str, rotation: Any, retention: Any) -> None:
        self._path = ""
        self._level = level
        self._line = line
        self._rotation = rotation
        self._retention = retention
        self._lock = threading.Lock()
        self._users = 0
        self._sink: int | None = None
        self._logger = _own_logger()
        self._try()
        self.threshold = level if isinstance(level, int) else self._logger.level(level).no

    def _try(self) -> None:
        """Have loguru read every option, without making a file."""
        nowhere = os.path.join(os.devnull, "{time}")
        sink = self._logger.add(
            nowhere, level=self._level, rotation=_Daily(self._rotation), retention=self._retention, delay=True
        )
        self._logger.remove(sink)
        lines: list[str] = []
        sink = self._logger.add(lines.append, format=self._format, catch=False, level=0)
        try:
            self._logger.info("a line")
        except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
            raise ValueError(f"format {self._line!r} cannot be used: {error!r}") from None
        finally:
            self._logger.remove(sink)

    def no(self, level: str) -> int:
        """A level's number."""
        return self._logger.level(level).no

    def open(self, path: str) -> None:
        """One run more uses the file; the first says where it is. It is made with its first line.

        ``path`` is a template of loguru's: ``{time:YYYY-MM-DD}`` in it becomes the day.
        """
        with self._lock:
            if not self._users:
                self._path = path
                self._sink = self._add(_Daily(self._rotation))
            self._users += 1

    def close(self) -> None:
        """One run fewer; the last one closes the file, and old files go as ``retention`` says."""
        with self._lock:
            self._users -= 1
            if self._users or self._sink is None:
                return
            sink, self._sink = self._sink, None
            self._logger.remove(sink)
            if self._retention is not None:
                # loguru looks at old files when it rotates, which a short run on each day never does. A sink
                # without rotation looks at them when it ends.
                self._logger.remove(self._add(None))

    def _add(self, rotation: _Daily | None) -> int:
        # catch=False: an error comes back to the one who writes, who reports it once, instead of going to
        # stderr with every line.
        return self._logger.add(
            self._path,
            level=self._level,
            format=self._format,
            rotation=rotation,
            retention=self._retention,
            delay=True,
            catch=False,
            encoding="utf-8",
        )

    def write(self, level: str, lines: list[str]) -> None:
        """Write lines of one level. One record of loguru's takes ~20 us, so many lines share it."""
        self._logger.log(level, "\n".join(lines))

    def _format(self, record: Record) -> str:
        """Give each line what comes before and after it; returns loguru's template for the result."""
        texts: dict[str, Any] = {**record, "message": _MARK}
        around = self._line.format_map(texts).split(_MARK)
        if len(around) == 1:
            raise ValueError("it has no {message}")
        record["extra"]["lines"] = "\n".join(line.join(around) for line in record["message"].split("\n"))
        return "{extra[lines]}\n"
