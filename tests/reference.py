"""A naive interpreter of graphs: one task at a time, depth first, no queues, no batches, no workers.

What it says is what dagflow must say: outcomes, values in order, errors, counts. It shares with dagflow only the
plan (numbers of nodes, and which frame a Merger closes), which has tests of its own.
"""

from __future__ import annotations

import copy
from collections import defaultdict

from dagflow.errors import MissingMembers, UnroutedError
from dagflow.graph.marks import DROP
from dagflow.graph.router import Router
from dagflow.work.outcome import Failure


class Scope:
    def __init__(self, frame):
        self.frame, self.arrived, self.lost = frame, defaultdict(list), []


class Reference:
    def __init__(self, graph, tasks):
        self.plan = graph.check()
        by_name = {name: node for node, name in graph.names.items()}
        self.nodes = [by_name[n.name] for n in self.plan.nodes]
        self.counts = {n.name: {"received": 0, "succeeded": 0, "failed": 0, "dropped": 0} for n in self.plan.nodes}
        self.values, self.lost, self.dropped = defaultdict(list), defaultdict(list), set()
        self.run_members, self.run_lost = defaultdict(list), defaultdict(list)
        self.nobody = []
        self.tasks = list(tasks)
        for index, task in enumerate(self.tasks):
            scope = [Scope(self.plan.task_frame)] if self.plan.frames[self.plan.task_frame].closers else []
            self.send(self.plan.source, task, scope, (index,))
            for each in scope:
                self.close(each, [], (index,))
        for number, merger in enumerate(self.plan.nodes):
            if merger.merge is not None and merger.merge.closing == "run":
                self.merge_run(number)

    # -- where tasks go

    def send(self, port, value, scopes, key):
        if len(port.targets) == 1:
            self.arrive(port.targets[0], value, scopes, key)
            return
        inner = Scope(port.frame) if self.plan.frames[port.frame].closers else None
        for branch, target in enumerate(port.targets):
            here = [*scopes, inner] if inner is not None else scopes
            self.arrive(target, copy.deepcopy(value), here, (*key, port.frame, branch))
        if inner is not None:
            self.close(inner, scopes, key)

    def emit(self, number, port, value, scopes, key):
        if port.exit:
            (self.nobody if key[0] == "run" else self.values[key[0]]).append((key, value))
        elif not port.drop:
            self.send(port, value, scopes, key)

    def arrive(self, number, value, scopes, key):
        plan = self.plan.nodes[number]
        scopes = [s for s in scopes if s.frame in plan.needed]
        counts = self.counts[plan.name]
        counts["received"] += 1
        if plan.merge is not None:
            if plan.merge.closing == "run":
                self.run_members[number].append((key, value))
            else:
                scope = next(s for s in reversed(scopes) if s.frame == plan.merge.frame)
                scope.arrived[number].append((key, value))
            return None
        func = self.nodes[number].func
        try:
            result = self.call(func, value) if plan.batch_size is None else self.call(func, [value])[0]
            if plan.kind == "split":
                return self.split(number, result, value, scopes, key)
            if plan.kind == "route":
                return self.route(number, result, value, scopes, key)
        except Exception as error:
            return self.fail(number, value, error, scopes, key, 1)
        if result is DROP:
            counts["dropped"] += 1
            self.dropped.add(key[0])
        else:
            counts["succeeded"] += 1
            self.emit(number, plan.ports[0], result, scopes, key)
        return None

    def call(self, func, *args):
        result = func(*args)
        if hasattr(result, "send") and hasattr(result, "cr_code"):
            try:
                result.send(None)
            except StopIteration as stop:
                return stop.value
        return result

    def split(self, number, children, value, scopes, key):
        plan = self.plan.nodes[number]
        inner, count, failure = None, 0, None
        if self.plan.frames[plan.split_frame].closers:
            inner = Scope(plan.split_frame)
        iterator = iter(children)
        while True:
            try:
                child = next(iterator)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            here = [*scopes, inner] if inner is not None else scopes
            self.emit(number, plan.ports[0], child, here, (*key, plan.split_frame, count))
            count += 1
        if failure is None:
            self.counts[plan.name]["succeeded"] += 1
        elif count == 0 or inner is None:
            self.fail(number, value, failure, scopes, key, 1)
            return
        else:
            self.fail(number, value, failure, [*scopes, inner], key, 1)
        if inner is not None:
            self.close(inner, scopes, key)

    def route(self, number, labels, value, scopes, key):
        plan, node = self.plan.nodes[number], self.nodes[number]
        assert isinstance(node, Router)
        known = {p.label: p for p in plan.ports}
        ports = []
        for label in labels if isinstance(labels, list) else [labels]:
            port = known.get(label) or (known.get(node.default) if node.default is not DROP else None)
            if port is None and node.default is not DROP:
                raise UnroutedError(f"label {label!r} has no branch")
            if port is not None and port not in ports:
                ports.append(port)
        ports.sort(key=lambda p: p.index)
        if len(ports) == 1 and ports[0].drop or not ports:
            self.counts[plan.name]["dropped"] += 1
            self.dropped.add(key[0])
            ports = ports and None
            if not labels or ports is not None:
                return
            if self.plan.frames[plan.route_frame].closers:
                self.close(Scope(plan.route_frame), scopes, key)
            return
        self.counts[plan.name]["succeeded"] += 1
        inner = Scope(plan.route_frame) if self.plan.frames[plan.route_frame].closers else None
        for port in ports:
            here = [*scopes, inner] if inner is not None else scopes
            frame = plan.route_frame if inner is not None else -2
            copied = (*key, frame, port.index) if inner is not None or len(ports) > 1 else key
            self.emit(number, port, copy.deepcopy(value), here, copied)
        if inner is not None:
            self.close(inner, scopes, key)

    # -- what scopes do

    def close(self, scope, scopes, key):
        closers = self.plan.frames[scope.frame].closers
        for at, merger in enumerate(closers):
            mine = (*key, -3, at) if len(closers) > 1 else key
            plan = self.plan.nodes[merger]
            here = [s for s in scopes if s.frame in plan.needed]
            self.merge(merger, scope.arrived[merger], scope.lost, here, mine)

    def merge(self, number, arrived, lost, scopes, key):
        plan, node = self.plan.nodes[number], self.nodes[number]
        counts, members = self.counts[plan.name], [v for _, v in sorted(arrived, key=lambda m: m[0])]
        if lost and not plan.merge.skip_missing:
            counts["failed"] += len(members)
            self.report(number, members, MissingMembers("missing"), scopes, key, 1)
            return
        try:
            if plan.merge.fold:
                state = copy.deepcopy(node.fold[1])
                for member in members:
                    state = node.fold[0](state, member)
                result = node.func(state)
            elif plan.merge.spread is not None:
                if len(members) != plan.merge.spread:
                    raise MissingMembers("takes exactly")
                result = node.func(*members)
            else:
                result = node.func(members)
        except Exception as error:
            counts["failed"] += len(members)
            self.report(number, members, error, scopes, key, 1)
            return
        if result is DROP:
            counts["dropped"] += len(members)
            self.dropped.add(key[0])
            return
        counts["succeeded"] += len(members)
        self.emit(number, plan.ports[0], result, scopes, key)

    def merge_run(self, number):
        self.merge(number, self.run_members[number], self.run_lost[number], [], ("run", number))

    def fail(self, number, value, error, scopes, key, attempts):
        self.counts[self.plan.nodes[number].name]["failed"] += 1
        self.report(number, value, error, scopes, key, attempts)

    def report(self, number, value, error, scopes, key, attempts):
        plan = self.plan.nodes[number]
        if plan.failures is not None:
            outer = [s for s in scopes if s.frame != plan.split_frame]
            self.send(plan.failures, Failure(value, error, plan.name, attempts), outer, key)
        elif scopes:
            scopes[-1].lost.append(error)
        else:
            self.lose(number, error, key)

    def lose(self, number, error, key):
        for merger in self.after(number):
            self.run_lost[merger].append(error)
            if self.plan.nodes[merger].merge.skip_missing:
                return
        if key[0] == "run":
            for root in self.members_of(key[1]):
                self.lost[root].append(((float("inf"),), error))
        else:
            self.lost[key[0]].append((key, error))

    def members_of(self, number):
        for key, _ in self.run_members[number]:
            yield from self.members_of(key[1]) if key[0] == "run" else [key[0]]

    def after(self, number):
        todo, seen = [number], set()
        while todo:
            for port in self.plan.nodes[todo.pop()].ports:
                for target in port.targets:
                    if target not in seen:
                        seen.add(target)
                        todo.append(target)
        return sorted(t for t in seen if self.plan.nodes[t].merge and self.plan.nodes[t].merge.closing == "run")

    # -- what is compared

    def outcomes(self):
        found = []
        for index, task in enumerate(self.tasks):
            values = [v for _, v in sorted(self.values[index], key=lambda v: v[0])]
            lost = sorted(self.lost[index], key=lambda e: e[0])
            status = "failed" if lost else "dropped" if not values and index in self.dropped else "done"
            found.append((task, status, values, type(lost[0][1]).__name__ if lost else None))
        return found, [v for _, v in sorted(self.nobody, key=lambda v: v[0])]


def comparable(result):
    """The same facts of a real result."""
    outcomes = [
        (o.task, o.status, o.values, type(o.error).__name__ if o.error is not None else None) for o in result.outcomes
    ]
    mine = sum(len(o.values) for o in result.outcomes)
    counts = {
        name: {"received": c.received, "succeeded": c.succeeded, "failed": c.failed, "dropped": c.dropped}
        for name, c in result.counts.items()
    }
    return (outcomes, result.values[mine:]), counts
