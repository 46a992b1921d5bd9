"""Fingerprints: what of a node decides its results, as labelled short texts that can be compared and named.

Counted are the code of its functions as instructions (not comments, formatting, line numbers, docstrings or names
of locals), constants, defaults, closure values, the functions, classes and constants of the same module that it
names, and the options that change results. ``version=`` of a node speaks for all of its code.

Things that change while a program runs are its state and not its code, and are not counted: lists, dicts and
sets, wherever they are referred to, names that the function itself sets, and what the object of a bound method
holds. Constants are what cannot change (numbers, texts, tuples of them) and is written down in the source; what a
module works out when it is loaded (the time, a process's number, an argument of the command line) is none. Of an
object that is called, what it holds counts, as far as its own methods never set it but when it is made.
"""

from __future__ import annotations

import ast
import dis
import enum
import functools
import hashlib
import inspect
import linecache
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagflow.graph.marks import DROP
from dagflow.graph.merger import Merger
from dagflow.graph.node import Node
from dagflow.graph.router import Router
from dagflow.work.canonical import content_key

if TYPE_CHECKING:
    from collections.abc import Callable

Print = dict[str, str]
"""Labels ("the code of 'parse'", "constant 'LIMIT'", "batch_size") and what stands for what they name."""
OPTIONS: Final = frozenset(
    ("kind", "unpack", "batch_size", "deduplicate", "on_missing", "of", "size", "within", "fold", "default")
)
"""The labels of a node's options; all others are of its code."""

_SILENT: Final = frozenset(("RESUME", "CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "COPY_FREE_VARS", "MAKE_CELL"))
_VALUES: Final = (int, float, complex, str, bytes, bool, type(None), range, enum.Enum, PurePath, re.Pattern)
_SHOWN: Final = 60
_HEAP_TYPE: Final = 1 << 9
"""The flag of classes that were made by a ``class`` statement, not in C."""


def fingerprint(node: Node, name_of: Callable[[Node], str]) -> Print:
    """What decides the results of a node. ``name_of``: what other nodes are called in the graph."""
    found: Print = {"kind": node.kind}
    if node.version is not None:
        found["version"] = repr(node.version)
    else:
        if isinstance(node, Router) and node.table is not None:
            _Reader(found).table(node.table)
        else:
            _Reader(found).read("its function", node.func)
        for method in ("get_args", "process_result"):
            if node.overrides(method):
                _Reader(found).read(f"its {method}", getattr(node, method))
    found["unpack"] = repr(node.unpacks())
    if node.batch_size is not None:
        found["batch_size"] = repr(node.batch_size)
    if node.deduplicate is not False:
        _option(found, node, "deduplicate", node.deduplicate)
    if isinstance(node, Merger):
        found["on_missing"] = repr(node.on_missing)
        found["of"] = repr(name_of(node.of) if isinstance(node.of, Node) else node.of)
        for option in ("size", "within"):
            if getattr(node, option) is not None:
                found[option] = repr(getattr(node, option))
        if node.fold is not None:
            _option(found, node, "fold", node.fold[0])
            found["the start of fold"] = _told(node.fold[1])  # every fold begins with a copy of it
    if isinstance(node, Router):
        found["default"] = "DROP" if node.default is DROP else repr(node.default)
    return found


def _option(found: Print, node: Node, option: str, value: Any) -> None:
    found[option] = "on"
    if callable(value) and node.version is None:
        _Reader(found).read(option, value)


class _Reader:
    """Reads functions, and what they name, into a print."""

    def __init__(self, found: Print) -> None:
        self.found = found
        self.seen: set[int] = set()
        self.alive: list[Any] = []

    def read(self, label: str, thing: Any) -> None:
        """Whatever a node may be given as a function."""
        if id(thing) in self.seen:
            return
        self.seen.add(id(thing))
        self.alive.append(thing)
        if isinstance(thing, (functools.partial, functools.partialmethod)):
            self.read(label, thing.func)
            self._values(f"argument of {label}", enumerate(thing.args))
            self._values(f"argument of {label}", thing.keywords.items())
        elif isinstance(thing, types.MethodType):
            self.read(label, thing.__func__)
            self._own(thing.__func__, thing.__self__ if inspect.isclass(thing.__self__) else type(thing.__self__))
        elif isinstance(thing, types.FunctionType):
            self._function(label, thing)
        elif isinstance(thing, (staticmethod, classmethod)):
            self.read(label, thing.__func__)
        elif isinstance(thing, (functools.cached_property, functools.singledispatchmethod)):
            self.read(label, thing.func)
        elif isinstance(thing, property):
            for part in (thing.fget, thing.fset):
                if part is not None:
                    self.read(label, part)
        elif inspect.isclass(thing):
            self._class(label, thing)
        elif hasattr(thing, "__wrapped__"):
            self.read(label, thing.__wrapped__)
        elif inspect.isroutine(thing) and hasattr(thing, "__qualname__"):  # descriptors pass for routines, too
            self.found[label] = f"{getattr(thing, '__module__', None)}.{thing.__qualname__}"
        else:
            self._class(label, type(thing))
            self._state(label, thing)

    def table(self, rows: Sequence[tuple[Any, Any]]) -> None:
        """Labels, each with its predicate, in their order."""
        self.found["its table"] = ", ".join(_told(label) for label, _ in rows)
        for label, predicate in rows:
            self.read(f"the predicate of {label!r}", predicate)

    def _function(self, label: str, function: types.FunctionType) -> None:
        code = function.__code__
        self.found[f"the code of {label}"] = _read(code).does
        names = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        self._values(f"default of {label}", zip(names[len(names) - len(defaults) :], defaults, strict=True))
        self._values(f"default of {label}", (function.__kwdefaults__ or {}).items())
        cells = []
        state = _read(code).assigned
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                if name not in state:
                    cells.append((name, cell.cell_contents))
            except ValueError:
                pass  # not set yet
        self._values("closure value", cells)
        self._globals(function)

    def _globals(self, function: types.FunctionType) -> None:
        """What the function names of its own module."""
        module = function.__module__
        code = _read(function.__code__)
        written = constants_in(function.__code__.co_filename, function.__globals__)
        for name in sorted(code.names - code.assigned):
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            if isinstance(value, (types.ModuleType, Node)):
                continue
            if _is_code(value):
                if getattr(value, "__module__", None) == module:
                    self.read(f"{name!r}, which it names", value)
            elif written is None or name in written:
                self._values("constant", ((name, value),))

    def _own(self, method: Any, kind: type) -> None:
        """What a method names of its class, and what that names there: methods and constants."""
        later = set(_set_later(kind))
        todo, seen = [method], set()
        while todo:
            code = getattr(todo.pop(), "__code__", None)
            for name in _read(code).attributes if code is not None else ():
                part = inspect.getattr_static(kind, name, None)
                if name in seen or part is None:
                    continue
                seen.add(name)
                if isinstance(part, _WRAPS) or inspect.isfunction(part):
                    self.read(f"{kind.__qualname__}.{name}", part)
                    todo.append(_wrapped(part))
                elif name not in later and not name.startswith("__"):
                    self._values(f"constant of {kind.__qualname__}", ((name, part),))

    def _class(self, label: str, kind: type) -> None:
        # Classes of programs are known by their code, and a script is another module where it is imported.
        if not kind.__flags__ & _HEAP_TYPE:
            self.found[label] = _kind_name(kind)
            return
        self.found[label] = kind.__qualname__
        for base in kind.__mro__[1:]:
            if base.__module__ == kind.__module__:
                self.read(f"{base.__qualname__!r}, which it builds on", base)
        for name, part in sorted(vars(kind).items()):
            if _is_code(part) or isinstance(part, _WRAPS):
                self.read(f"{kind.__qualname__}.{name}", part)
            elif not name.startswith("__"):
                self._values(f"constant of {kind.__qualname__}", ((name, part),))

    def _state(self, label: str, thing: Any) -> None:
        state = getattr(thing, "__dict__", None)
        if isinstance(state, dict):
            own = set(_set_later(type(thing)))
            items = [(str(n), value) for n, value in state.items() if not str(n).startswith("__") and n not in own]
            self._values(f"attribute of {label}", sorted(items, key=lambda item: item[0]))

    def _values(self, label: str, items: Any) -> None:
        for name, value in items:
            known = _value(value)
            if known is not None:
                self.found[f"{label} {name!r}"] = known
            elif isinstance(value, (tuple, frozenset)):
                parts = value if isinstance(value, tuple) else sorted(value, key=_order)
                self._values(f"{label} {name!r}, part", enumerate(parts))
            elif _is_code(value) or isinstance(value, functools.partial):
                self.read(f"{label} {name!r}", value)


_MAKES: Final = (functools.cached_property, functools.partialmethod, functools.singledispatchmethod)
_WRAPS: Final = (staticmethod, classmethod, property, *_MAKES)
"""What a class may have in the place of a method, with the function in it."""


def _wrapped(part: Any) -> Any:
    """The function in it."""
    if isinstance(part, property):
        return part.fget
    return part.func if isinstance(part, _MAKES) else getattr(part, "__func__", part)


def _is_code(value: Any) -> bool:
    return inspect.isroutine(value) or inspect.isclass(value) or hasattr(value, "__wrapped__")


def _order(part: Any) -> str:
    """What the parts of a frozenset are sorted by: their own order is that of addresses, another in each process.

    Not by their module, which has another name where it is a script.
    """
    return _value(part) or str(getattr(part, "__qualname__", _kind(part)))


def _value(value: Any) -> str | None:
    """What stands for a value that cannot change; None for any other."""
    if not _constant(value):
        return None
    try:
        key = content_key(_plain(value)).hex()[:12]
    except Exception:  # noqa: BLE001 - a class's own __reduce__ may raise anything
        return _kind(value)
    text = _text(value)
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} #{key}"


def _plain(value: Any) -> Any:
    """A constant without the name of the module that an Enum is in: that is another where it is a script."""
    if isinstance(value, enum.Enum):
        return type(value).__qualname__, value.name, value.value if _constant(value.value) else None
    if isinstance(value, (tuple, frozenset)):
        return type(value)(map(_plain, value)) if type(value) in (tuple, frozenset) else value
    return value


def _text(value: Any) -> str:
    """A constant as text that is the same in every process: sets have no order of their own."""
    if isinstance(value, frozenset):
        return f"frozenset({{{', '.join(sorted(map(_text, value)))}}})" if value else "frozenset()"
    if type(value) is tuple:
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _told(value: Any) -> str:
    """What stands for a value that nobody changes, whatever it is."""
    known = _value(value)
    if known is not None:
        return known
    try:
        return f"{_kind(value)} #{content_key(value).hex()[:12]}"
    except Exception:  # noqa: BLE001 - what has no content to compare
        return _kind(value)


def _constant(value: Any) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(_constant(part) for part in value)
    return isinstance(value, _VALUES)


def _kind(value: Any) -> str:
    return _kind_name(type(value))


def _kind_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# -- constants of a module ---------------------------------------------------------------------------------

_MAKERS: Final = frozenset(
    ("compile", "Path", "PurePath", "Decimal", "Fraction", "timedelta", "date", "datetime", "frozenset", "tuple",
     "range", "complex", "float", "int", "str", "bytes", "bool")
)  # fmt: skip
"""Calls of these with constants make constants."""


def constants_in(filename: str, globals: dict[str, Any]) -> frozenset[str] | None:
    """The names that the top level of a source file sets to constants; None where there is no source to read.

    In a notebook, whose cells are files of their own: those that some cell sets to a constant, and none to
    anything else.
    """
    cells = globals.get("In")
    if isinstance(cells, list) and "get_ipython" in globals and filename != globals.get("__file__"):
        return _constants_of(tuple(map(str, cells)))
    linecache.checkcache(filename)
    lines = linecache.getlines(filename)
    return _constants_of(("".join(lines),)) if lines else None


@functools.lru_cache(maxsize=64)
def _constants_of(sources: tuple[str, ...]) -> frozenset[str] | None:
    body: list[ast.stmt] = []
    read = False
    for source in sources:
        try:
            body.extend(ast.parse(source).body)
            read = True
        except (SyntaxError, ValueError):
            pass  # magics of a notebook
    if not read:
        return None
    found: dict[str, bool] = {}
    for statement in _top_level(body):
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
            targets = [statement.target]
        value = getattr(statement, "value", None)
        for target in targets:
            if isinstance(target, ast.Name):
                written = value is not None and _is_written(value, found)
                found[target.id] = written and found.get(target.id, True)
    return frozenset(name for name, written in found.items() if written)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        for part in ("body", "orelse", "finalbody"):
            if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield from _top_level(getattr(statement, part, []))


def _is_written(value: ast.expr, known: dict[str, bool]) -> bool:
    """Whether an expression is worked out of what is written there alone."""
    for part in ast.walk(value):
        if isinstance(part, ast.Call):
            maker = part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", None)
            if maker not in _MAKERS or not (part.args or part.keywords):
                return False
        elif isinstance(part, ast.Name):
            if not (known.get(part.id) or part.id in _MAKERS or part.id in ("re", "datetime", "decimal", "pathlib")):
                return False
        elif not isinstance(part, _WRITTEN):
            return False
    return True


_WRITTEN: Final = (
    ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare,
    ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.Attribute, ast.keyword, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip


# -- code --------------------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """What code, with the code inside it, does and refers to.

    ``does``: a hash of its instructions. ``names``: global names; ``attributes``: of whatever, in their order.
    ``assigned``: names outside it that it sets: a counter, say, which is state and not code. ``stored``: attributes
    that it sets itself.
    """

    does: str
    names: frozenset[str]
    attributes: tuple[str, ...]
    assigned: frozenset[str]
    stored: frozenset[str]


@functools.lru_cache(maxsize=4096)
def _read(code: types.CodeType) -> _Read:
    """Instructions take long to read: each code is read once."""
    steps = list(dis.get_instructions(code))
    inside = [_read(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    named = {kind: [str(step.argval) for step in steps if step.opname in kind] for kind in _KINDS}
    does = hashlib.blake2b(_instructions(code, steps).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return _Read(
        does,
        frozenset(named[_NAMING]).union(*(part.names for part in inside)),
        tuple(dict.fromkeys([*named[_ATTRIBUTE], *(name for part in inside for name in part.attributes)])),
        frozenset(named[_ASSIGNING]).union(*(part.assigned for part in inside)),
        frozenset(named[_STORING]),
    )


_NAMING: Final = ("LOAD_GLOBAL", "LOAD_NAME")
_ATTRIBUTE: Final = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR")
_ASSIGNING: Final = ("STORE_DEREF", "STORE_GLOBAL", "DELETE_DEREF", "DELETE_GLOBAL")
_STORING: Final = ("STORE_ATTR",)
_KINDS: Final = (_NAMING, _ATTRIBUTE, _ASSIGNING, _STORING)


def _set_later(kind: type) -> Iterator[str]:
    """The attributes that methods of a class set, other than when an object is made."""
    for base in kind.__mro__:
        for name, part in vars(base).items():
            if name not in ("__init__", "__new__", "__setstate__") and isinstance(part, types.FunctionType):
                yield from _read(part.__code__).stored


def _instructions(code: types.CodeType, found: Iterable[dis.Instruction]) -> str:
    """Instructions by name, with what they speak of; jumps by which instruction they lead to."""
    steps = [step for step in found if step.opname not in _SILENT]
    place = {step.offset: at for at, step in enumerate(steps)}
    lines = [f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags & 0x2AC}"]
    for step in steps:
        lines.append(f"{step.opname} {_speaks_of(step, place)}")
    if hasattr(code, "co_exceptiontable"):
        lines.append(code.co_exceptiontable.hex())
    return "\n".join(lines)


def _speaks_of(step: dis.Instruction, place: dict[int, int]) -> str:
    value = step.argval
    if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
        return f"to {place.get(value, value)}"
    if step.opcode in dis.haslocal:
        return str(step.arg)
    if isinstance(value, types.CodeType):
        return _instructions(value, dis.get_instructions(value))
    if step.opcode in dis.hasconst:
        try:
            return content_key(value).hex()
        except Exception:  # noqa: BLE001
            return repr(value)
    return repr(value)
