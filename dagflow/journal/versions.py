"""Versions: which graph a journal is of, what has changed since, and what of it still holds.

Every node has a number in the journal, which entries name. A node whose results may be others now gets a new
number, and so do all that follow it; so what was recorded of the old ones is left where it is and simply not
found any more. That holds through any number of changes and crashes, and nothing need be rewritten.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from dagflow.errors import JournalMismatch
from dagflow.graph.algebra import FAILURES, MAIN
from dagflow.journal.fingerprint import OPTIONS, fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection

    from dagflow.graph.algebra import Graph
    from dagflow.graph.plan import Plan
    from dagflow.journal.book import Book

_PYTHON: Final = "{}.{}".format(*sys.version_info[:2])
_GONE: Final = "it is gone"
_TOLD_MOST: Final = 4


class _Change:
    """What of a node differs: in words, and whether all of it is its code and not its options."""

    def __init__(self, words: str, *, code: bool = False) -> None:
        self.words, self.code = words, code


class Versions:
    """The graph of this run, to be compared with the one that a journal knows. ``words``: what was found."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.plan = plan
        self.words: list[str] = []
        names = graph.names
        self.prints = {
            names[node]: fingerprint(node, lambda other: names.get(other, other.name)) for node in graph.nodes
        }
        self.edges: list[list[str]] = [["", "", names[node]] for node in graph.entries]
        for edge in graph.edges:
            port = {MAIN: "", FAILURES: "failures"}.get(edge.port) if edge.port in (MAIN, FAILURES) else repr(edge.port)
            target = "DROP" if edge.target is None else names[edge.target]
            self.edges.append([names[edge.source], port or "", target])
        self.about = {
            node.name: {
                "exits": [port.index for port in node.ports if port.exit],
                "drops": [port.index for port in node.ports if port.drop],
                "frame": node.split_frame,
            }
            for node in plan.nodes
        }

    def settle(self, book: Book, resume: str, *, accepted: Collection[str] = ()) -> list[int]:
        """The journal's numbers of this graph's nodes; `JournalMismatch` where it is another graph.

        ``accepted``: nodes whose code may have changed (those that dead letters are driven through again).
        """
        known = book.graph
        if not known:
            self._begin(book)
        else:
            changed = self._changed_nodes(known)
            moved = self._changed_edges(known)
            if resume == "strict":
                self._refuse(book, changed, moved, accepted)
            if changed or moved or known.get("python") != _PYTHON:
                self._update(book, changed, moved, resume, accepted)
        book.version = book.graph["version"]
        book.note_graph()
        return [book.graph["nodes"][node.name]["id"] for node in self.plan.nodes]

    def _begin(self, book: Book) -> None:
        book.graph = {"version": 1, "next": 1, "nodes": {}, "ids": {}}
        for node in self.plan.nodes:
            self._number(book, node.name, 1)
        self._describe(book)

    def _number(self, book: Book, name: str, version: int) -> None:
        graph = book.graph
        number = graph["next"]
        graph["next"] = number + 1
        graph["nodes"][name] = {"id": number, "born": version}
        graph["ids"][str(number)] = name

    def _describe(self, book: Book) -> None:
        graph = book.graph
        graph["python"] = _PYTHON
        graph["edges"] = self.edges
        for name, mine in self.prints.items():
            graph["nodes"][name]["print"] = mine
            graph["nodes"][name].update(self.about[name])
        graph["order"] = [node.name for node in self.plan.nodes]

    # -- comparing ------------------------------------------------------------------------------------

    def _changed_nodes(self, known: dict[str, Any]) -> dict[str, _Change]:
        """Nodes that are not as they were, and in what."""
        found: dict[str, _Change] = {}
        same_python = known.get("python") == _PYTHON
        for name, mine in self.prints.items():
            before = known["nodes"].get(name)
            if before is None:
                found[name] = _Change("it is new")
                continue
            labels = [
                label
                for label in sorted({*mine, *before["print"]})
                if mine.get(label) != before["print"].get(label)
                and (same_python or not label.startswith("the code of"))
            ]
            if labels:
                words = [_difference(label, before["print"], mine) for label in labels[:_TOLD_MOST]]
                if len(labels) > _TOLD_MOST:
                    words.append(f"and {len(labels) - _TOLD_MOST} more")
                found[name] = _Change("; ".join(words), code=OPTIONS.isdisjoint(labels))
        for name in known["nodes"]:
            if name not in self.prints:
                found[name] = _Change(_GONE)
        return found

    def _changed_edges(self, known: dict[str, Any]) -> dict[str, str]:
        """Nodes whose ways out are not as they were ("" stands for the source)."""
        before: dict[str, list[list[str]]] = {}
        now: dict[str, list[list[str]]] = {}
        for edges, found in ((known["edges"], before), (self.edges, now)):
            for source, port, target in edges:
                found.setdefault(source, []).append([port, target])
        return {
            source: f"its edges lead to {_targets(now.get(source))}, not to {_targets(before.get(source))}"
            for source in sorted({*before, *now})
            if now.get(source) != before.get(source)
        }

    def _refuse(
        self, book: Book, changed: dict[str, _Change], moved: dict[str, str], accepted: Collection[str]
    ) -> None:
        told = [
            f"node {name!r}: {what.words}" for name, what in changed.items() if name not in accepted or not what.code
        ]
        told += [f"node {name!r}: {what}" if name else f"the source: {what}" for name, what in moved.items()]
        if not told:
            return
        more = f", and {len(told) - 6} more" if len(told) > 6 else ""
        raise JournalMismatch(
            f"the journal {book.where} is of another graph: {', and '.join(told[:6])}{more}. "
            f'resume="compatible" redoes what changed and what follows, resume="force" keeps the old results; '
            f"version= on a node speaks for its code"
        )

    def _update(
        self, book: Book, changed: dict[str, _Change], moved: dict[str, str], resume: str, accepted: Collection[str]
    ) -> None:
        graph = book.graph
        before = {name: node["print"]["kind"] for name, node in graph["nodes"].items()}
        redone = {
            name
            for name in self.prints
            if name not in before
            or before[name] != self.prints[name]["kind"]
            or (name in moved and before[name] == "route")  # which labels it knows decides what it does
            or (resume == "compatible" and name in changed and name not in accepted)
        }
        if resume == "compatible":
            for source, _, target in self.edges:
                if source in moved and target in self.prints:
                    redone.add(target)
        followers = self._below(redone) if resume == "compatible" else set()
        # Where nothing is redone and every way leads where it led, what had ended has ended.
        version = graph["version"] = graph["version"] + bool(redone or moved)
        graph["nodes"] = {name: node for name, node in graph["nodes"].items() if name in self.prints}
        for name in sorted(redone | followers):
            self._number(book, name, version)
        self._describe(book)
        self._tell(changed, moved, redone, followers - redone, resume)

    def _below(self, nodes: set[str]) -> set[str]:
        found = set(nodes)
        for node in self.plan.nodes:  # in topological order
            if node.name in found:
                for port in [*node.ports, *([node.failures] if node.failures is not None else [])]:
                    found.update(self.plan.nodes[target].name for target in port.targets)
        return found - nodes

    def _tell(
        self, changed: dict[str, _Change], moved: dict[str, str], redone: set[str], followers: set[str], resume: str
    ) -> None:
        if resume == "force":
            if changed or moved:
                names = ", ".join(repr(n) for n in sorted({*changed, *moved}) if n)
                self.words.append(f'old results are kept although the graph has changed (resume="force"): {names}')
            return
        for name in sorted(redone):
            why = changed[name].words if name in changed else moved.get(name, "another way leads to it")
            self.words.append(f"redone: node {name!r} ({why})")
        if followers:
            self.words.append(f"redone, as they follow: {', '.join(map(repr, sorted(followers)))}")
        gone = [name for name, what in changed.items() if what.words == _GONE]
        if gone:
            self.words.append(f"gone: {', '.join(map(repr, gone))}")


def _difference(label: str, before: dict[str, str], now: dict[str, str]) -> str:
    old, new = before.get(label), now.get(label)
    if label.startswith("the code of"):
        return f"{label} has changed" if old and new else f"{label} is {'new' if new else 'gone'}"
    if old is None or new is None:
        return f"{label} is {'new' if new else 'gone'}"
    return f"{label} was {_shown(old)} and is {_shown(new)}"


def _shown(text: str) -> str:
    return text.rsplit(" #", 1)[0]


def _targets(edges: list[list[str]] | None) -> str:
    if not edges:
        return "nothing"
    return ", ".join(f"{target} (by {port})" if port else target for port, target in edges)
