"""The exceptions of dagflow, and who has to act on each.

::

    DagflowError
    ├─ GraphError            you: the graph is wrong (when it is built or checked)
    ├─ RunError              the run ended badly
    │  ├─ RunFailed          fail_fast: the first final failure stopped the run
    │  └─ RunCancelled       somebody stopped the run
    ├─ TaskError             one task failed, and the node's function is not to blame
    │  ├─ UnroutedError      a Router gave a label that has no branch
    │  ├─ MissingMembers     a Merger's scope has members that will never arrive
    │  ├─ WorkerDied         the task killed its worker, again and again (a poison task)
    │  ├─ TaskTimeout        the task took longer than the node's timeout (also a TimeoutError)
    │  └─ PayloadError       a value cannot travel to or from a worker; says which part of it
    ├─ JournalError          the world: a journal is locked, damaged, or cannot be reached
    │  └─ JournalMismatch    the journal was written by another graph; says what differs
    ├─ BackendError          the world: a worker cannot start, an extra is not installed
    └─ InvariantBroken       us: a bug in dagflow; tells the story that led to it

`GraphWarning` warns of a graph that can run but looks wrong.

An exception raised by a node's function is none of these: it reaches the user as itself, with the
worker's traceback, the node and the task in its notes.
"""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DagflowError(Exception):
    """Base of every exception that dagflow itself raises."""


class GraphError(DagflowError, ValueError):
    """The graph is wrong; raised while it is built or checked, never while it runs."""


class GraphWarning(UserWarning):
    """The graph can run, but something in it looks wrong: annotations of joined functions contradict each other."""


class RunError(DagflowError):
    """The run as a whole ended badly."""


class RunFailed(RunError):
    """``fail_fast=True`` and a task failed finally; ``__cause__`` is that task's error."""


class RunCancelled(RunError):
    """The run was stopped before it had ended."""


class TaskError(DagflowError):
    """One task failed for a reason that is not the node's function."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take other arguments than the message; rebuild from state, without __init__.
        return _rebuild, (type(self), self.args, self.__dict__)


class UnroutedError(TaskError):
    """A Router's function gave ``label``, which none of its branches has (``known``)."""

    def __init__(self, message: str, *, label: object = None, known: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.label = label
        self.known = tuple(known)


class MissingMembers(TaskError):
    """Members of a Merger's scope failed; ``causes`` are their errors, in the order they were seen."""

    def __init__(self, message: str, *, causes: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class WorkerDied(TaskError):
    """The task was running when its worker died, as often as the node allows."""


class TaskTimeout(TaskError, TimeoutError):
    """The task ran longer than the node's ``timeout`` (seconds)."""


class PayloadError(TaskError):
    """A value cannot travel between processes; the message names the part that cannot."""


class JournalError(DagflowError):
    """The journal cannot be used: locked, damaged, unreachable."""


class JournalMismatch(JournalError):
    """The journal belongs to another graph; the message says what differs."""


class BackendError(DagflowError):
    """The world failed: a worker cannot start, a needed program or extra is missing."""


class InvariantBroken(DagflowError):
    """A bug in dagflow. The message tells what was expected and the story that led there."""


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
