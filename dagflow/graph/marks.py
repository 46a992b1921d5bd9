"""Marks: values with a meaning of their own, the same object in every process; and what marks a class as a node's.

A worker process needs these, and nothing else of this floor.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Drop:
    """``DROP``: as a branch of a Router, or as what a function returns, it drops the task on purpose."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DROP"

    def __reduce__(self) -> str:
        return "DROP"

    def __copy__(self) -> _Drop:
        return self

    def __deepcopy__(self, memo: object) -> _Drop:
        return self


DROP = _Drop()


def makes_instances(func: Callable[..., Any]) -> bool:
    """Whether ``func`` is a class whose instances are what is called (``list`` or ``Path`` are just functions)."""
    return isinstance(func, type) and any("__call__" in vars(c) for c in func.__mro__)
