"""The life of a node, as a table.

::

    open ──(upstreams ended)──► draining ──(nothing queued, leased, waiting)──► flushing ──(flushed)──► closed

A node that holds nothing to flush (any but a Merger of windows or of the run) goes through ``flushing`` at once.
Ends are derived from counts, so no end mark travels between nodes and none can be lost.
"""

from __future__ import annotations

from typing import Final, Literal

from dagflow.errors import InvariantBroken

Phase = Literal["open", "draining", "flushing", "closed"]
Step = Literal["upstreams_ended", "drained", "flushed"]

TRANSITIONS: Final[dict[tuple[Phase, Step], Phase]] = {
    ("open", "upstreams_ended"): "draining",
    ("draining", "drained"): "flushing",
    ("flushing", "flushed"): "closed",
}


def advance(phase: Phase, step: Step, node: str) -> Phase:
    """The phase after ``step``; `InvariantBroken` where the table has none."""
    try:
        return TRANSITIONS[phase, step]
    except KeyError:
        raise InvariantBroken(f"node {node!r} is {phase!r} and cannot take the step {step!r}") from None
