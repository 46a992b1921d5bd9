"""Marks: values with a meaning of their own, the same object in every process."""

from __future__ import annotations


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
