"""Story: the state of a run in words, for reports of what is stuck and of what does not add up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from dagflow.core.ids import Space
from dagflow.core.merging import Fold

if TYPE_CHECKING:
    from dagflow.core.inbox import Inbox
    from dagflow.core.scopes import Family
    from dagflow.core.state import State

SCOPES_MOST: Final = 5
"""So many open scopes are named; of the others only the number is told."""


def story(state: State) -> str:
    """Which node waits for what, and which scopes miss members."""
    source = "open" if state.source_open else "ended"
    lines = [
        f"source {source}, {state.admitted} admitted, {state.open_roots} not ended, {state.unread} outputs not taken"
    ]
    lines.extend(_node(state, node) for node in state.nodes)
    scopes = [_scope(state, family, scope) for family in _families(state) for scope in _open(family)]
    lines.extend(scopes[:SCOPES_MOST])
    if len(scopes) > SCOPES_MOST:
        lines.append(f"and {len(scopes) - SCOPES_MOST} more scopes are open")
    return "; ".join(lines)


def _node(state: State, node: Inbox) -> str:
    waiting = state.waiting.at_node.get(node.index, 0)
    text = f"{node.plan.name!r} is {node.phase}: {node.queued} queued, {node.leased} leased"
    text += f", {waiting} waiting for a retry, {len(node.workers)} workers"
    if node.merge is not None:
        text += f", holds {node.merge.held} members"
    return text if state.has_room(node) else text + ", held back by a full channel after it"


def _scope(state: State, family: Family, scope: int) -> str:
    frame = state.plan.frames[family.frame]
    opener = "the source" if frame.node < 0 else repr(state.plan.nodes[frame.node].name)
    mergers = ", ".join(repr(state.plan.nodes[m].name) for m in frame.closers)
    held = family.held.get(scope, {}).values()
    members = sum(map(_members, held))
    missing = family.live.get(scope, family.default)
    root = family.base.root_index(scope)
    return (
        f"a scope of {opener} (source task {root}) waits for {missing} more task{'s' if missing != 1 else ''} "
        f"before {mergers} can merge it, where {members} member{'s' if members != 1 else ''} arrived"
    )


def _members(held: Any) -> int:
    if isinstance(held, Fold):
        return held.members
    return sum(1 if isinstance(indices, int) else len(indices) for _, indices, _, _ in held)


def _open(family: Family) -> list[int]:
    return sorted({*family.live, *family.held})


def _families(state: State) -> Iterator[Family]:
    """The families of scopes that tasks which are somewhere belong to."""
    seen: set[int] = set()
    todo = [state.lineages.root, *_spaces(state)]
    while todo:
        space = todo.pop()
        if id(space) in seen:
            continue
        seen.add(id(space))
        yield from (f for f in space.families.values() if f.frame >= 0)
        todo.extend(space.derived.values())
        if space.parent is not None:
            todo.append(space.parent)


def _spaces(state: State) -> Iterable[Space]:
    envelopes = [e for node in state.nodes for e in node.queue]
    envelopes += state.waiting.envelopes()
    segments = [s for e in envelopes for s in e.segments]
    segments += [s for lease in state.leases.values() for s in lease.segments]
    spaces = [space for space, _ in segments]
    spaces += [space for lease in state.leases.values() for space in lease.spaces.values()]
    return spaces
