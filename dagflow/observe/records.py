"""What a line of a log is made of: one task's end or failed attempt, as texts that are safe to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from dagflow.core.commands import TaskFailed, TasksEnded
from dagflow.observe.inputs import Inputs
from dagflow.observe.text import MESSAGE_MOST, NAME_MOST, clean, number_of

Status = Literal["succeeded", "dropped", "duplicate", "retried", "failed"]

LEVELS: Final[dict[Status, str]] = {
    "succeeded": "SUCCESS",
    "dropped": "INFO",
    "duplicate": "INFO",
    "retried": "WARNING",
    "failed": "ERROR",
}
"""The level (of loguru's) at which each is logged."""


class TaskRecord(NamedTuple):
    """One task at one node. All texts are cut and without control characters.

    ``number``: which task it is: the number of its source task, then child by child (``"12.0.3"``).
    ``task``: the repr of its value ("" where it is not known). ``attempt``: how often it was tried;
    ``error_type`` and ``message``: why it failed; ``retry_in``: seconds until it is tried again.
    """

    node: str
    number: str
    status: Status
    task: str = ""
    attempt: int = 1
    error_type: str = ""
    message: str = ""
    retry_in: float | None = None


def status_of(fact: TasksEnded | TaskFailed) -> Status:
    """What the fact says of its tasks."""
    if isinstance(fact, TasksEnded):
        return fact.status
    return "failed" if fact.retry_in is None else "retried"


def failed_record(fact: TaskFailed, node: str, task: str = "") -> TaskRecord:
    """The record of a failed attempt; ``task``: its input, as text."""
    error = fact.error
    return TaskRecord(
        node,
        number_of(fact.space, fact.index),
        status_of(fact),
        task,
        fact.attempt,
        clean(error.type, NAME_MOST),
        clean(error.message, MESSAGE_MOST),
        fact.retry_in,
    )


def records_of(fact: TasksEnded | TaskFailed, nodes: Sequence[str], inputs: Inputs) -> Iterator[TaskRecord]:
    """One record for each task of the fact; ``nodes``: the nodes' names."""
    node = nodes[fact.node]
    if isinstance(fact, TaskFailed):
        yield failed_record(fact, node, inputs.text(fact.input))
        return
    tasks = iter(inputs.texts(fact.inputs, fact.positions, fact.count))
    for space, indices in fact.segments:
        for index in indices:
            yield TaskRecord(node, number_of(space, index), fact.status, next(tasks, ""))
