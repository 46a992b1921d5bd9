"""Program: all that a worker is told of its node. Travels once per worker, by cloudpickle."""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dagflow.graph.node import Node
    from dagflow.graph.plan import NodePlan


class Program:
    """A node's function and the options that the worker itself carries out.

    ``node`` is the node object, only where a subclass overrides ``get_args`` or ``process_result``.
    ``fan``: how many nodes each port leads to (live values are copied for each). ``traced``: say of each task when
    it ran. ``gives_back``: what has not begun goes to the node's other workers when they have nothing to do.
    """

    traced: bool = False
    gives_back: bool = False

    name: str
    kind: str
    mode: str
    width: int
    func: Callable[..., Any]
    unpack: bool
    node: Node | None
    retry_types: tuple[type[BaseException], ...]
    timeout: float | None
    batch_size: int | None
    key: Callable[[Any], Any] | None
    deduplicate: bool
    ports: list[Any]
    default: Any
    fan: list[int]
    spread: int | None
    fold: Callable[[Any, Any], Any] | None
    initial: Any

    @classmethod
    def of(cls, node: Node, plan: NodePlan) -> Program:
        """The program of a node. Called by the driver only."""
        from dagflow.graph.merger import Merger
        from dagflow.graph.router import Router

        self = cls()
        self.name, self.kind, self.mode, self.width = plan.name, plan.kind, plan.mode, plan.width
        self.gives_back = plan.gives_back
        self.func = node.func
        self.unpack = node.unpacks()
        own = node.overrides("get_args") or node.overrides("process_result")
        self.node = node if own else None
        self.retry_types = node.retry_types()
        self.timeout, self.batch_size = plan.timeout, plan.batch_size
        self.deduplicate = plan.deduplicate
        self.key = node.deduplicate if callable(node.deduplicate) else None
        self.ports = [port.label for port in plan.ports]
        self.default = node.default if isinstance(node, Router) else None
        self.fan = [max(1, len(port.targets)) for port in plan.ports]
        self.spread = plan.merge.spread if plan.merge is not None else None
        fold = node.fold if isinstance(node, Merger) else None
        self.fold, self.initial = fold if fold is not None else (None, None)
        return self
