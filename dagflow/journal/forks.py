"""Forks: a journal belongs to the process that opened it. A child that the user forks must not touch it."""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_held: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def leave_to_parent(holder: Any, attribute: str) -> None:
    """After a fork the child finds None in ``holder``'s ``attribute``, and what was there is never closed by it.

    Closing it would end transactions, write into the parent's file, or speak on the parent's connection.
    """
    _held[holder] = attribute


def _in_child() -> None:
    for holder, attribute in list(_held.items()):
        value = getattr(holder, attribute, None)
        if value is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))  # so that it is never collected, hence never closed
            setattr(holder, attribute, None)


os.register_at_fork(after_in_child=_in_child)
