"""Reading a pickle of many values of which some cannot be read here: those are lost, the others are not.

A class may be missing in this process, or its code may raise when an instance is made. The fast unpickler then
gives up on all that was pickled together; this one, written in Python, puts a `Lost` in the place of what failed
and goes on. It is used where the fast one has failed, and nowhere else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from dagflow.work.block import parted, unblocked


class Lost:
    """Stands for a part of a value that could not be read: what it was, in words, and why."""

    def __init__(self, told: str, error: BaseException) -> None:
        self.told, self.error = told, error

    def __reduce__(self) -> Any:
        raise LostFound(self)


class LostFound(Exception):
    """Somebody pickles a `Lost`, which is how it is found inside of a value."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(lost.told)
        self.lost = lost


def salvaged(data: bytes | memoryview) -> Any:
    """What can be read of what was sealed, with a `Lost` in the place of each part that cannot."""
    parts = parted(data)
    if parts is not None:
        return [salvaged(part) for part in parts]
    body, buffers = unblocked(data)
    return _Salvage(io.BytesIO(body), buffers=buffers).load()


class _Salvage(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    metastack: list[list[Any]]
    memo: dict[int, Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> Any:
        """A class or function; `Lost` if there is none."""
        return _tried(f"{module}.{name}", lambda: super(_Salvage, self).find_class(module, name))

    def load_reduce(self) -> None:
        """A call."""
        args, func = self.stack.pop(), self.stack[-1]
        self.stack[-1] = _made(func, lambda: func(*args))

    def load_newobj(self) -> None:
        """A new instance."""
        args, kind = self.stack.pop(), self.stack.pop()
        self.append(_made(kind, lambda: kind.__new__(kind, *args)))

    def load_newobj_ex(self) -> None:
        """A new instance, with keywords."""
        kwargs, args, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append(_made(kind, lambda: kind.__new__(kind, *args, **kwargs)))

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def fill(self, opcode: bytes, above: int) -> None:
        """Set the state of an object, or put items in: ``above`` of them lie on it (0: those since the last mark)."""
        target = self.stack[-1 - above] if above else self.metastack[-1][-1]
        if isinstance(target, Lost):
            del (self.stack if above else self.pop_mark())[-above:]
            return
        plain: Any = pickle._Unpickler.dispatch[opcode[0]]
        made = _tried(_named(type(target)), lambda: plain(self))
        if isinstance(made, Lost):  # the items are off the stack by then
            self.stack[-1] = made
            self.memo.update({number: made for number, known in self.memo.items() if known is target})


_ABOVE = {
    pickle.BUILD: 1,
    pickle.APPEND: 1,
    pickle.SETITEM: 2,
    pickle.APPENDS: 0,
    pickle.SETITEMS: 0,
    pickle.ADDITEMS: 0,
}
_Salvage.dispatch.update({opcode[0]: partial(_Salvage.fill, opcode=opcode, above=n) for opcode, n in _ABOVE.items()})


def _made(maker: Any, call: Callable[[], Any]) -> Any:
    return maker if isinstance(maker, Lost) else _tried(_named(maker), call)


def _named(maker: Any) -> str:
    return f"{getattr(maker, '__module__', '?')}.{getattr(maker, '__qualname__', type(maker).__qualname__)}"


def _tried(told: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a user's code may raise anything
        return Lost(told, error)
