"""Logs: what the driver has set up of `logging` and of loguru goes along to workers, so their records go where its do.

What writes to stdout, to stderr or to a file goes along. Each worker appends to a file itself; the driver alone sets
it aside, compresses it and removes old ones, which workers find out by looking for it each time that they write. What
else records may go to (a socket, a queue, a window) stays in the driver. A logger of `logging` that a module has given
handlers gets them in a worker by that module; others get them from here, once a worker has imported what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FunctionType

from dagflow.work.codec import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STREAM = "logging.StreamHandler"
_FILES = {
    "logging.FileHandler": "logging.FileHandler",
    "logging.handlers.WatchedFileHandler": "logging.handlers.WatchedFileHandler",
    "logging.handlers.RotatingFileHandler": "logging.handlers.WatchedFileHandler",
    "logging.handlers.TimedRotatingFileHandler": "logging.handlers.WatchedFileHandler",
}
"""Handlers of files, and what they are in a worker."""


def told() -> tuple[list[bytes], list[str], list[str]]:
    """What a worker is to be told, in parts, and the modules that it needs; nothing where nothing was set up.

    And what should go along and cannot, with the reason.
    """
    parts: list[bytes] = []
    modules: list[str] = []
    left: list[str] = []
    for name, of in (("logging", _of_logging), ("loguru", _of_loguru)):
        try:
            found = of(sys.modules[name], left)
        except (KeyError, AttributeError):  # it is not loaded, or of a version that keeps these things elsewhere
            continue
        if found:
            parts += found
            modules.append(name)
    return parts, [*modules, __name__] if parts else [], left


def set_up(parts: Sequence[bytes], *, loaded: bool) -> None:
    """Do here as the driver has told: before the modules of the function are ``loaded``, and once more after that."""
    _each(parts, lambda call, *arguments: call(loaded, *arguments))


def _pickled(pickler: Callable[[Any], bytes], value: Any, what: object, left: list[str]) -> list[bytes]:
    try:
        return [pickler(value)]
    except Exception as error:  # noqa: BLE001 - a user's formatter, filter or extra may raise anything; the run goes on
        left.append(f"{what} ({type(error).__name__}: {error})")
        return []


def _each(pieces: Sequence[bytes], made: Callable[..., Any]) -> list[Any]:
    """What is made of each piece; of one of which nothing can be made here, it is said on stderr why."""
    found = []
    for piece in pieces:
        try:
            found.append(made(*loads(piece)))
        except Exception as error:  # noqa: BLE001 - a user's formatter may raise anything; the tasks run without it
            sys.stderr.write(f"dagflow: not logging as the driver does here: {type(error).__name__}: {error}\n")
    return found


def _share(file: Any) -> None:
    """Have this process, too, write at the end of a file: it knows only of its own lines where that was."""
    import fcntl
    import os

    try:
        number = file.fileno()
        fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_APPEND)
    except (OSError, ValueError, AttributeError):
        pass  # it is closed


def _named(stream: Any) -> str | None:
    """Which of this process's own streams it is."""
    for name in ("stdout", "stderr"):
        if stream is not None and (stream is getattr(sys, name) or stream is getattr(sys, f"__{name}__")):
            return name
    return None


# -- logging ------------------------------------------------------------------------------------------------


def _of_logging(logging: Any, left: list[str]) -> list[bytes]:
    loggers = [("", logging.root)]
    loggers += [(n, it) for n, it in list(logging.root.manager.loggerDict.items()) if isinstance(it, logging.Logger)]
    parts = []
    for name, logger in loggers:
        handlers = [found for handler in list(logger.handlers) for found in _of_handler(handler, left)]
        if handlers:
            parts.append(dumps((_add_handlers, name, logger.propagate, handlers)))
    if not parts:
        return []
    levels = [(name, logger.level, logger.disabled) for name, logger in loggers if logger.level or logger.disabled]
    return [dumps((_set_levels, logging.root.manager.disable, levels)), *parts]


def _of_handler(handler: Any, left: list[str]) -> list[bytes]:
    kind = f"{type(handler).__module__}.{type(handler).__qualname__}"
    stream = getattr(handler, "stream", None)
    if kind == _STREAM:
        name = _named(stream)
        if name is None:
            return []
        options = {"stream": name}
    elif kind in _FILES:
        if stream is not None:
            _share(stream)
        kind = _FILES[kind]
        options = {"filename": handler.baseFilename, "encoding": handler.encoding, "errors": handler.errors}
    else:
        return []
    return _pickled(dumps, (kind, options, handler.level, handler.formatter, handler.filters), handler, left)


def _set_levels(loaded: bool, disabled: int, levels: list[tuple[str, int, bool]]) -> None:
    import logging

    del loaded
    logging.disable(disabled)
    for name, level, its_end in levels:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.disabled = its_end


def _add_handlers(loaded: bool, name: str, propagate: bool, handlers: list[bytes]) -> None:
    """The root logger gets its own first, as in the driver: `basicConfig` in a module does nothing then."""
    import logging

    logger = logging.getLogger(name)
    if logger.handlers or loaded != bool(name):
        return
    logger.propagate = propagate
    for handler in _each(handlers, _handler):
        logger.addHandler(handler)


def _handler(kind: str, options: dict[str, Any], level: int, formatter: Any, filters: list[Any]) -> Any:
    module, _, name = kind.rpartition(".")
    if "stream" in options:
        options["stream"] = getattr(sys, options["stream"])
    else:
        options["delay"] = True
    handler = getattr(import_module(module), name)(**options)
    handler.setLevel(level)
    handler.setFormatter(formatter)
    for each in filters:
        handler.addFilter(each)
    return handler


# -- loguru -------------------------------------------------------------------------------------------------


def _of_loguru(loguru: Any, left: list[str]) -> list[bytes]:
    from dagflow.work.reducers import dumps as reduced  # what `dumps` only tries when `pickle` has failed

    core = loguru.logger._core
    handlers = dict(core.handlers)
    if core.handlers_count == len(handlers) <= 1 and _settings(core) == _settings(type(core)()):
        return []  # as it is in each process
    state = {name: value for name, value in vars(core).items() if name not in ("handlers", "lock", "thread_locals")}
    own = [{name: state.pop(name)} for name in ("extra", "patcher")]  # what somebody has put there may not travel
    settings = [
        found
        for some in (state, *own)
        for found in _pickled(reduced, tuple(some.items()), f"loguru's {', '.join(some)}", left)
    ]
    sinks = [found for it in handlers.items() if _travels(it[1]._sink) for found in _pickled(reduced, it, it[1], left)]
    return [dumps((_set_core, core.handlers_count, settings, sinks))]


def _settings(core: Any) -> tuple[Any, ...]:
    silenced = [entry for entry in core.activation_list if entry[0] != "dagflow."]  # which is the driver's affair
    return core.levels, core.extra, core.patcher, core.activation_none, silenced


def _travels(sink: Any) -> bool:
    kind = type(sink).__name__
    if kind == "StreamSink":
        return _named(sink._stream) is not None
    # A method has an object, such as a list of lines, of which a worker would have a copy that nobody looks at.
    return kind == "FileSink" or isinstance(getattr(sink, "_function", None), FunctionType)


def _core() -> Any:
    return import_module("loguru").logger._core


def _set_core(loaded: bool, count: int, settings: list[bytes], sinks: list[bytes]) -> None:
    core = _core()
    if loaded and core.handlers_count == count:
        return  # no module has changed it
    for some in _each(settings, lambda *items: dict(items)):
        vars(core).update(some)
    core.handlers = dict(_each(sinks, lambda number, handler: (number, handler)))
    core.min_level = min((handler.levelno for handler in core.handlers.values()), default=float("inf"))


def _reduced_core(core: Any) -> Any:
    return (_core, ()) if core is _core() else NotImplemented


def _reduced_stream(sink: Any) -> Any:
    name = _named(sink._stream)
    return NotImplemented if name is None else (_on_stream, (type(sink), name))


def _on_stream(kind: Callable[..., Any], name: str) -> Any:
    return kind(getattr(sys, name))


def _reduced_file(sink: Any) -> tuple[Any, ...]:
    path = sink._path
    if sink._file is not None:
        path = sink._file_path.replace("{", "{{").replace("}", "}}")
        _share(sink._file)
    return _appended, (type(sink), path, {**sink._kwargs, "mode": "a"})


def _appended(kind: Callable[..., Any], path: str, options: dict[str, Any]) -> Any:
    return kind(path, delay=True, watch=True, **options)


def _reduced_handler(handler: Any) -> Any:
    """``enqueue=True`` has a queue, and a thread that belongs to the driver."""
    if not handler._enqueue:
        return NotImplemented
    queueless = dict.fromkeys(("_queue", "_confirmation_event", "_confirmation_lock", "_multiprocessing_context"))
    return _unqueued, (
        type(handler),
        {**handler.__getstate__(), **queueless, "_enqueue": False, "_sink": handler._sink},
    )


def _unqueued(kind: Any, state: dict[str, Any]) -> Any:
    handler = kind.__new__(kind)
    handler.__setstate__(state)
    return handler


LATER: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "loguru._logger": ("Core", _reduced_core),
    "loguru._file_sink": ("FileSink", _reduced_file),
    "loguru._simple_sinks": ("StreamSink", _reduced_stream),
    "loguru._handler": ("Handler", _reduced_handler),
}
"""By their modules, loguru's classes that `dagflow.work.reducers` takes apart as soon as there are any."""
