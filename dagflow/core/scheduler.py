"""Scheduler: the mind of a run. Events in, commands and facts out, one mutator.

Theory of operation. ``handle(events, now)`` takes in what happened, then takes one turn: retries that are
due, windows that are due, deadlines, dispatch (deepest node first, so that what is nearly done is done before
more is begun), ends, and at last the source, as far as there is room. It touches envelopes, never values; it
has no clock, no thread, no randomness: time is an argument and `next_deadline` says when to come back.

Where a task is, is kept in one place only: queued at a node, leased to a worker, waiting for a retry or behind
an equal task, or held by a scope. What it belongs to is kept by `dagflow.core.scopes`. Everything that was
decided and has not come back yet can be read from the state: `resume` gives those commands again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from dagflow.core import commands as do
from dagflow.core import events as ev
from dagflow.core.commands import Command, Fact
from dagflow.core.envelope import (
    Envelope,
    ErrorRecord,
    FailedTask,
    FailurePayload,
    Group,
    Lease,
    Payload,
    Piece,
)
from dagflow.core.ids import CLOSED, COPY, ROOT, Indices, Segment, Space, count_of, take, tasks_of
from dagflow.core.inbox import ENVELOPE_BYTES, ENVELOPE_TASKS, Inbox, WorkerState
from dagflow.core.lifecycle import advance
from dagflow.core.merging import Fold, MergeState
from dagflow.core.retrying import Waiting, backoff
from dagflow.core.scopes import Account, Family, Lineages, order_members
from dagflow.errors import BackendError, InvariantBroken
from dagflow.graph.plan import Plan, PortPlan

MAX_CRASHES: Final = 3
MAX_FAILED_STARTS: Final = 3

Stopping = Literal["drain", "kill"]


class Scheduler:
    """The state of one run, and the only thing that changes it. See the module's theory of operation.

    ``max_in_flight`` bounds the tasks queued and leased (what a Merger holds is not in flight); ``max_bytes``
    what their values take; ``sink_room`` the outputs that the user has not taken yet (None: no bound); ``sink_holds``: outputs wait for earlier tasks, so they may only hold back the source.
    ``one_by_one``: envelopes of one task (the serial backend). ``fail_fast``: the first lost task ends the run.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        max_in_flight: int | None = None,
        max_bytes: int = 1 << 30,
        sink_room: int | None = None,
        sink_holds: bool = False,
        fail_fast: bool = False,
        one_by_one: bool = False,
    ) -> None:
        self.plan = plan
        self.max_in_flight = max_in_flight
        self.max_bytes = max_bytes
        self.sink_room = sink_room
        self.sink_holds = sink_holds
        self.fail_fast = fail_fast
        self.one_by_one = one_by_one
        self.nodes = [Inbox(node) for node in plan.nodes]
        self.lineages = Lineages(plan)
        self.workers: dict[int, WorkerState] = {}
        self.leases: dict[int, Lease] = {}
        self.waiting = Waiting()
        self.in_flight = 0
        self.admitted = 0
        self.unread = 0
        self.pulling = 0
        self.source_open = True
        self.source_error: BaseException | None = None
        self.paused = False
        self.stopping: Stopping | None = None
        self.finished = False
        self.failure: BaseException | None = None
        self.first_lost: do.Lost | do.AggregateLost | None = None
        self.late_answers = 0
        self.crashes = 0
        self.open_roots = 0
        self.aggregates: dict[int, list[Segment]] = {}
        self.now = 0.0
        self._out: list[Command | Fact] = []
        self._tokens = 0
        self._worker_numbers = 0
        self._upstreams = self._find_upstreams()
        self._run_mergers = self._find_run_mergers()
        self._blocked_splits: set[int] = set()
        self._source_account = self.lineages.root.chain[0]
        self._closed = 0

    # ==================================================================================================
    # The one mutator
    # ==================================================================================================

    def handle(self, events: Sequence[ev.Event], now: float) -> list[Command | Fact]:
        """Take in ``events`` (in order), decide, and give what is to be done and what was decided, in order."""
        self.now = now
        if self.finished:
            return []
        for event in events:
            self._take_in(event)
        self._turn()
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When to call `handle` again even if nothing happens."""
        times = [self.waiting.next_due()]
        for node in self.nodes:
            if node.merge is not None:
                times.append(node.merge.due())
            if node.queue and node.plan.rate_limit is not None:
                times.append(node.allowed_next(self.now))
            if node.plan.timeout is not None:
                times.extend(w.deadline for w in self._running_leases(node))
        return min((t for t in times if t is not None), default=None)

    def resume(self) -> list[Command]:
        """All commands that have been given and not been answered: workers, leases, the pull."""
        out: list[Command] = []
        for worker in self.workers.values():
            if not worker.ready:
                out.append(do.StartWorker(worker.number, worker.node))
        for lease in self.leases.values():
            out.append(do.Deliver(lease.worker, lease.token, self._job(self.nodes[lease.node], lease)))
        if self.pulling:
            out.append(do.Pull(self.pulling))
        return out

    def _take_in(self, event: ev.Event) -> None:
        match event:
            case ev.Answer():
                self._answered(event)
            case ev.Pulled():
                self._pulled(event)
            case ev.SourceEnded():
                self._source_ended(event)
            case ev.WorkerUp():
                self._worker_up(event)
            case ev.WorkerLost():
                self._worker_lost(event)
            case ev.Running():
                self._running(event)
            case ev.Consumed():
                self.unread -= event.count
            case ev.StopAsked():
                self._stop("kill" if event.kill else "drain")
            case ev.PauseAsked():
                self.paused = event.paused
            case ev.TimePassed():
                pass

    def _turn(self) -> None:
        if self.stopping is None:
            for number, envelope in self.waiting.due(self.now):
                self.nodes[number].push(envelope, first=True)
                self.in_flight += envelope.count
            for node in self.nodes:
                if node.merge is not None and (due := node.merge.due()) is not None and due <= self.now:
                    self._fire_window(node, node.merge)
            self._probe()
            if not self.paused:
                self._grant()
                self._dispatch()
            self._close()
            if not self.paused and self.stopping is None:
                self._pull()
        if self.stopping is not None:
            self._wind_down()
        elif self._closed == len(self.nodes) and not self.finished:
            self._finish("done" if self.source_error is None else "failed")

    # ==================================================================================================
    # The source
    # ==================================================================================================

    def _pulled(self, event: ev.Pulled) -> None:
        self.pulling = 0
        if self.stopping is not None or not event.count:
            return
        first = self.admitted
        self.admitted += event.count
        self.open_roots += event.count
        segments: list[Segment] = [(self.lineages.root, range(first, self.admitted))]
        if not first:
            for node in self.nodes:
                self._start_worker(node)
        port = self.plan.source
        if len(port.targets) == 1:
            self._move(segments, self._source_account, port.targets[0])
            self._arrive(port.targets[0], segments, event.payload, 0)
        else:
            self._spread(port, segments, [self._source_account], event.payload, 0)

    def _source_ended(self, event: ev.SourceEnded) -> None:
        self.pulling = 0
        self.source_open = False
        if event.error is not None and self.source_error is None:
            self.source_error = event.error

    def _pull(self) -> None:
        if self.pulling or not self.source_open:
            return
        entries = [self.nodes[t] for t in self.plan.source.targets]
        room = min(node.capacity() - node.queued for node in entries)
        if self.max_in_flight is not None:
            room = min(room, self.max_in_flight - self.in_flight)
        if self.sink_room is not None:
            room = min(room, self.sink_room - self.unread)
        if room <= 0 or self.held_bytes() >= self.max_bytes:
            if self.in_flight or self.waiting.next_due() is not None or self.unread:
                return
            room = 1  # one task always passes, however large, when nothing else is in flight
        want = 1 if self.one_by_one else max(node.want() for node in entries)
        if all(node.lanes == 1 for node in entries):
            # Reading less than an envelope at a time would make small envelopes all the way down.
            want = max(want, min(room, 2 * want))
        else:
            want = max(64, want)
        size = max((n.value_bytes or 0.0) for n in entries)
        if size:
            want = min(want, max(1, int(4 * ENVELOPE_BYTES / size)))
        self.pulling = 1 if self.one_by_one else max(1, min(room, want))
        self._out.append(do.Pull(self.pulling))

    def held_bytes(self) -> int:
        """About how many bytes the queued values take."""
        return sum(node.bytes for node in self.nodes)

    # ==================================================================================================
    # Where tasks go
    # ==================================================================================================

    def _move(self, segments: Iterable[Segment], start: Account | None, target: int) -> None:
        """Count tasks that stood in ``start`` (None: nowhere yet) where tasks at ``target`` count."""
        for space, indices in segments:
            there = self.lineages.account(space, target)
            if there is start:
                continue
            there.family.add(there.fixed, indices)
            if start is not None:
                self._end(start, indices)

    def _emit(
        self, node: Inbox, port: PortPlan, segments: list[Segment], payload: Payload, low: int, *, fresh: bool
    ) -> None:
        """Tasks leave ``node`` by ``port``: to the user, to one node, to several. ``fresh``: they counted nowhere yet."""
        number = node.index
        if port.exit:
            self._out.append(do.Output(number, segments, payload, low, count_of(segments)))
            if self.sink_room is not None:
                self.unread += count_of(segments)
            if not fresh:
                for space, indices in segments:
                    self._end(self.lineages.account(space, number), indices)
        elif len(port.targets) == 1:
            target = port.targets[0]
            if fresh:
                self._move(segments, None, target)
            else:
                for segment in segments:
                    self._move((segment,), self.lineages.account(segment[0], number), target)
            self._arrive(target, segments, payload, low)
        else:
            starts = None if fresh else [self.lineages.account(space, number) for space, _ in segments]
            self._spread(port, segments, starts, payload, low)

    def _spread(
        self,
        port: PortPlan,
        segments: list[Segment],
        starts: list[Account] | None,
        payload: Payload,
        low: int,
    ) -> None:
        """Tasks go on to several nodes, opening a scope each where a Merger closes it."""
        frame = port.frame
        tracked = [frame in self.nodes[t].plan.needed for t in port.targets]
        arriving: list[list[Segment]] = [[] for _ in port.targets]
        left: list[tuple[Account, Indices]] = []
        for at, (space, indices) in enumerate(segments):
            start = starts[at] if starts is not None else None
            for branch, target in enumerate(port.targets):
                there = self.lineages.branch(frame, space, branch, sum(tracked))
                arriving[branch].append((there, indices))
                if not tracked[branch]:
                    account = self.lineages.account(there, target)
                    account.family.add(account.fixed, indices)
            if any(tracked):
                outer = self.lineages.outer(self.lineages.family(frame, space, sum(tracked)))
                if outer is not start:
                    outer.family.add(outer.fixed, indices)
                    if start is not None:
                        left.append((start, indices))
            elif start is not None:
                left.append((start, indices))
        for branch, target in enumerate(port.targets):
            self._arrive(target, arriving[branch], payload.branch(branch), low)
        for account, indices in left:
            self._end(account, indices)

    def _arrive(self, target: int, segments: list[Segment], payload: Payload, low: int) -> None:
        """Tasks, counted there already, arrive at a node: into its queue, or into a Merger's scopes."""
        if self.stopping is not None:
            return
        node = self.nodes[target]
        count = count_of(segments)
        node.counts.received += count
        if payload.count:
            size = payload.size / payload.count
            node.value_bytes = size if node.value_bytes is None else 0.75 * node.value_bytes + 0.25 * size
        if node.merge is None:
            kind: Literal["key", "run"] = "key" if node.dedup is not None else "run"
            node.push(Envelope(kind, segments, count, payload, low))
            self.in_flight += count
        elif node.merge.plan.closing == "scope":
            self._hold(node, node.merge, segments, payload, low)
        else:
            self._collect(node, node.merge, segments, payload, low)

    # ==================================================================================================
    # Ends, and what they complete
    # ==================================================================================================

    def _end(self, account: Account, indices: Indices) -> None:
        """Tasks that counted in ``account`` count no more."""
        complete = account.family.end(account.fixed, indices)
        if len(complete):
            self._complete(account.family, complete)

    def _complete(self, family: Family, scopes: Indices) -> None:
        if family.frame == ROOT:
            if family.base.aggregate:
                for index in scopes:
                    self.aggregates.pop(index, None)
            else:
                self.open_roots -= len(scopes)
                self._out.append(do.RootsEnded(scopes))
            return
        for scope in scopes:
            self._fire_scope(family, scope)

    def _fire_scope(self, family: Family, scope: int) -> None:
        """A scope is complete: hand its members to each Merger that closes it; the task that opened it goes on."""
        held = family.held.pop(scope, None) or {}
        lost = family.lost.pop(scope, ())
        closers = self.plan.frames[family.frame].closers
        base = family.base
        outer = self.lineages.outer(family)
        if len(closers) > 1:  # the opener's task goes on once per Merger
            outer.family.add(outer.fixed, (scope,), len(closers) - 1)
        for at, merger in enumerate(closers):
            space = base if len(closers) == 1 else self.lineages.branch(CLOSED, base, at, 0)
            there = self.lineages.account(space, merger)
            if there is not outer:
                there.family.add(there.fixed, (scope,))
                self._end(outer, (scope,))
            self._merge(self.nodes[merger], [(space, (scope,))], held.get(merger), lost)

    def _merge(self, node: Inbox, segments: list[Segment], held: Any, lost: Sequence[ErrorRecord]) -> None:
        """Queue the merge of a complete scope, or fail it where members are missing."""
        merge = node.merge
        assert merge is not None
        if isinstance(held, Fold) or (held is None and merge.plan.fold):
            fold = held if isinstance(held, Fold) else Fold(segments)
            fold.segments = segments
            fold.closing = True
            fold.lost.extend(lost)
            self._step(node, fold)
            return
        pieces = order_members(held) if held else []
        group = Group(pieces)
        merge.held -= group.members
        if lost and not merge.plan.skip_missing:
            self._fail_merge(node, segments, group, self._missing(node, lost))
            return
        spread = merge.plan.spread
        if spread is not None and group.members != spread:
            text = (
                f"its function takes exactly {spread} arguments, one a branch, but {group.members} members arrived "
                f"(the others were dropped or went elsewhere); let it take one list, or *members"
            )
            self._fail_merge(node, segments, group, ErrorRecord("missing", "MissingMembers", text))
            return
        self._queue_merge(node, Envelope("merge", segments, 1, groups=[group]))

    def _queue_merge(self, node: Inbox, envelope: Envelope) -> None:
        if self.stopping is None:
            node.push(envelope)
            self.in_flight += envelope.count

    def _missing(self, node: Inbox, lost: Sequence[ErrorRecord]) -> ErrorRecord:
        first = lost[0]
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        text = (
            f"{len(lost)} member{'s' if len(lost) > 1 else ''} failed: {first.type}: {first.message} at node "
            f'{first.node!r}{more}; on_missing="skip" merges what is there'
        )
        return ErrorRecord("missing", "MissingMembers", text, causes=tuple(lost[:100]))

    def _fail_merge(self, node: Inbox, segments: list[Segment], group: Group, error: ErrorRecord) -> None:
        members = group.fold.members if group.fold is not None else group.members
        node.counts.failed += members
        (space, indices) = segments[0]
        input_piece = group.pieces[0] if group.pieces else None
        self._failed(node, space, indices[0], error, 0, input_piece)

    # -- members arriving ------------------------------------------------------------------------------

    def _hold(
        self, node: Inbox, merge: MergeState, segments: list[Segment], payload: Payload, low: int
    ) -> None:
        """Members of scopes arrive: each waits for its own scope only."""
        number = node.index
        folds = merge.plan.fold
        for space, indices in segments:
            account = self.lineages.account(space, number)
            family, fixed = account.family, account.fixed
            if folds:
                at = low
                for scope in account.scopes(indices):
                    many = len(indices) if fixed is not None else 1
                    held = family.held.setdefault(scope, {})
                    fold: Any = held.get(number)
                    if fold is None:
                        fold = held[number] = Fold([(family.base, (scope,))])  # type: ignore[assignment]
                    fold.add((payload, at, at + many))
                    self._step(node, fold)
                    at += many
            else:
                merge.held += len(indices)
                if fixed is not None:
                    family.hold(fixed, number, (space, indices, payload, low))
                else:
                    for at, index in enumerate(indices, low):
                        family.hold(index, number, (space, index, payload, at))
            low += len(indices)
            self._end(account, indices)

    def _step(self, node: Inbox, fold: Fold) -> None:
        """Queue the next step of a fold, if one is due."""
        if fold.error is not None and fold.closing and not fold.leased:
            group = Group([], fold=fold)
            self._fail_merge(node, fold.segments, group, fold.error)
            return
        merge = node.merge
        assert merge is not None
        if fold.closing and fold.lost and not merge.plan.skip_missing:
            if fold.queued is not None:  # it need not be combined any more
                self._forget_step(node, fold)
            if not fold.leased:
                self._fail_merge(node, fold.segments, Group([], fold=fold), self._missing(node, fold.lost))
            return
        if fold.error is not None:
            fold.pending.clear()
            return
        envelope = fold.step()
        if envelope is not None:
            merge.folding += 1
            self._queue_merge(node, envelope)

    def _forget_step(self, node: Inbox, fold: Fold) -> None:
        assert fold.queued is not None
        node.take_out(fold.queued)
        self.in_flight -= 1
        fold.queued = None
        assert node.merge is not None
        node.merge.folding -= 1

    def _collect(
        self, node: Inbox, merge: MergeState, segments: list[Segment], payload: Payload, low: int
    ) -> None:
        """Members of a window, or of the whole run, arrive; they belong to no scope from here on."""
        for space, indices in segments:
            start = 0
            while start < len(indices):
                room = merge.room()
                stop = len(indices) if room is None else min(len(indices), start + room)
                part = indices[start:stop]
                if merge.since is None:
                    merge.since = self.now
                merge.count += len(part)
                root = self.lineages.aggregate if space.aggregate else self.lineages.root
                merge.roots.append((root, space.root_indices(part)))
                if merge.plan.fold:
                    if merge.fold is None:
                        merge.fold = Fold([])
                        merge.fold.segments = [(self.lineages.aggregate, (merge.fired,))]
                    merge.fold.add((payload, low + start, low + stop))
                    self._step(node, merge.fold)
                else:
                    merge.held += len(part)
                    merge.runs.append((space, part, payload, low + start))
                if merge.room() == 0:
                    self._fire_window(node, merge)
                start = stop
            low += len(indices)
        for space, indices in segments:
            self._end(self.lineages.account(space, node.index), indices)

    def _fire_window(self, node: Inbox, merge: MergeState) -> None:
        """The open window (or the run) is complete: its members become one aggregate task."""
        aggregate = self.lineages.aggregate
        index = (node.index << 40) | merge.fired
        merge.fired += 1
        self.aggregates[index] = merge.roots
        held: Any = merge.fold
        lost: Sequence[ErrorRecord] = ()
        if merge.plan.closing == "run":
            lost = merge.lost
            held = held if merge.plan.fold else merge.runs
        elif not merge.plan.fold:
            held = merge.runs
        segments: list[Segment] = [(aggregate, (index,))]
        there = self.lineages.account(aggregate, node.index)
        assert there.family is self.lineages.aggregate_fates
        if isinstance(held, list) and merge.plan.closing == "window":
            merge.held -= merge.count
            pieces = [(p, at, at + (1 if isinstance(i, int) else len(i))) for _, i, p, at in held]
            merge.reset()
            self._queue_merge(node, Envelope("merge", segments, 1, groups=[Group(pieces)]))
            return
        merge.reset()
        self._merge(node, segments, held, lost)

    # ==================================================================================================
    # Answers
    # ==================================================================================================

    def _answered(self, answer: ev.Answer) -> None:
        lease = self.leases.get(answer.token)
        if lease is None:
            self.late_answers += 1
            return
        node = self.nodes[lease.node]
        kind = lease.envelopes[0].kind
        if answer.returned:
            self._requeue(node, lease, answer.returned)
        if kind == "key":
            self._keyed(node, lease, answer)
        else:
            ended = self._ended_positions(lease, answer)
            if node.plan.kind == "split":
                self._children(node, lease, answer)
            elif kind == "merge":
                self._merged(node, lease, answer, ended)
            else:
                self._succeeded(node, lease, answer, ended)
            for position in answer.dropped:
                self._dropped(node, lease, position)
            if kind == "run" and node.plan.kind == "split":
                self._split_ended(node, lease, ended)
            for position, error, may_retry in answer.failures:
                self._attempt_failed(node, lease, position, error, may_retry)
            self._settle(node, lease, answer, ended)
        node.learn(
            lease.count if answer.last and lease.ended is None else len(answer.ended or ()), answer.seconds
        )
        if answer.last:
            self._release(lease)

    def _ended_positions(self, lease: Lease, answer: ev.Answer) -> Sequence[int]:
        """The positions whose tasks succeeded by this answer."""
        if answer.ended is not None:
            return answer.ended
        if not (answer.failures or answer.dropped or answer.returned) and lease.ended is None:
            return range(lease.count)
        out = {p for p, _, _ in answer.failures} | set(answer.dropped) | (lease.ended or set())
        return [p for p in range(lease.count) if p not in out]

    def _settle(self, node: Inbox, lease: Lease, answer: ev.Answer, ended: Sequence[int]) -> None:
        """Positions that have ended leave the lease."""
        gone = len(ended) + len(answer.failures) + len(answer.dropped) + len(answer.returned)
        lease.left -= gone
        node.leased -= gone
        self.in_flight -= gone
        worker = self.workers.get(lease.worker)
        if worker is not None:
            worker.load -= gone
        if not answer.last:
            if lease.ended is None:
                lease.ended = set()
            lease.ended.update(ended)
            lease.ended.update(p for p, _, _ in answer.failures)
            lease.ended.update(answer.dropped)
        elif lease.left:
            raise InvariantBroken(
                f"the last answer of lease {lease.token} of node {node.plan.name!r} left {lease.left} of "
                f"{lease.count} tasks without an end: {answer!r}"
            )

    def _release(self, lease: Lease) -> None:
        self.leases.pop(lease.token, None)
        self._blocked_splits.discard(lease.token)
        worker = self.workers.get(lease.worker)
        if worker is not None:
            worker.leases.pop(lease.token, None)
            worker.alone = False
            following = next(iter(worker.leases.values()), None)
            if following is not None:
                following.since = self.now
                self._set_deadline(self.nodes[worker.node], following)

    def _succeeded(self, node: Inbox, lease: Lease, answer: ev.Answer, ended: Sequence[int]) -> None:
        """Results of tasks (or routed tasks) go on."""
        several = {p for p, n in answer.copies.items() if n != 1}
        opened = self._open_routed(node, lease, ended)
        dropped = 0
        for produced in answer.outputs:
            port = node.plan.ports[produced.port]
            positions = produced.positions
            if port.drop:
                single = [p for p in (positions if positions is not None else ended) if p not in several]
                dropped += len(single)
                self._drop_segments(node, lease, take(lease.segments, single), single, ends=not opened)
            elif positions is None:
                assert not several
                if opened:
                    self._route(node, lease, port, list(ended), produced.payload, several)
                else:
                    self._emit(node, port, lease.segments, produced.payload, 0, fresh=False)
            elif several or opened:
                self._route(node, lease, port, positions, produced.payload, several)
            else:
                self._emit(node, port, take(lease.segments, positions), produced.payload, 0, fresh=False)
        if opened:
            for family, index in opened:
                complete = family.end(None, (index,))
                if len(complete):
                    self._complete(family, complete)
        else:
            for position in several:
                for space, indices in take(lease.segments, [position]):
                    self._end(self.lineages.account(space, node.index), indices)
        done = len(ended) - dropped
        node.counts.succeeded += done
        if done:
            whole = len(ended) == lease.count
            segments = lease.segments if whole else take(lease.segments, ended)
            self._out.append(
                do.TasksEnded(
                    node.index,
                    "succeeded",
                    segments,
                    done,
                    answer.seconds,
                    self._inputs(lease),
                    None if whole else list(ended),
                )
            )
        if node.dedup is not None:
            self._keys_done(node, lease, ended)

    def _open_routed(self, node: Inbox, lease: Lease, ended: Sequence[int]) -> list[tuple[Family, int]]:
        """Open the Router's own scope for each task, where a Merger closes that (``of=router``).

        One count stands for the routing itself, so that a scope is not complete before all its labels are sent.
        """
        frame = node.plan.route_frame
        if frame < 0 or not self.plan.frames[frame].closers:
            return []
        opened = []
        for space, index in tasks_of(take(lease.segments, ended)):
            family = self.lineages.family(frame, space, 0)
            outer, start = self.lineages.outer(family), self.lineages.account(space, node.index)
            family.add(None, (index,))
            if outer is not start:
                outer.family.add(outer.fixed, (index,))
                self._end(start, (index,))
            opened.append((family, index))
        return opened

    def _route(
        self,
        node: Inbox,
        lease: Lease,
        port: PortPlan,
        positions: list[int],
        payload: Payload,
        several: set[int],
    ) -> None:
        """A Router's port where identities need care: copies, or a Merger that closes the Router's own scope."""
        frame = node.plan.route_frame
        tracked = bool(self.plan.frames[frame].closers)
        for low, position in enumerate(positions):
            for space, indices in take(lease.segments, [position]):
                if tracked or position in several:
                    there = self.lineages.branch(frame if tracked else COPY, space, port.index, 0)
                    self._emit(node, port, [(there, indices)], payload, low, fresh=True)
                else:
                    self._emit(node, port, [(space, indices)], payload, low, fresh=False)

    def _merged(self, node: Inbox, lease: Lease, answer: ev.Answer, ended: Sequence[int]) -> None:
        """Merged values go on as the tasks that opened the scopes; steps of folds give their next state."""
        for position, state in (answer.states or {}).items():
            envelope, at = lease.find(position)
            assert envelope.groups is not None
            fold = envelope.groups[at].fold
            fold.state, fold.leased, fold.attempt = state, False, 0
            assert node.merge is not None
            node.merge.folding -= 1
            self._step(node, fold)
        final = [p for p in ended if p not in (answer.states or {})]
        for produced in answer.outputs:
            positions = final if produced.positions is None else produced.positions
            segments = lease.segments if len(positions) == lease.count else take(lease.segments, positions)
            self._emit(node, node.plan.ports[produced.port], segments, produced.payload, 0, fresh=False)
        for position in final:
            members = self._close_group(node, lease, position)
            node.counts.succeeded += members
        if final:
            self._out.append(
                do.TasksEnded(
                    node.index, "succeeded", take(lease.segments, final), len(final), answer.seconds
                )
            )

    def _close_group(self, node: Inbox, lease: Lease, position: int) -> int:
        envelope, at = lease.find(position)
        assert envelope.groups is not None and node.merge is not None
        group = envelope.groups[at]
        if group.fold is None:
            return group.members
        group.fold.leased = False
        node.merge.folding -= 1
        return int(group.fold.members)

    # -- splits ----------------------------------------------------------------------------------------

    def _children(self, node: Inbox, lease: Lease, answer: ev.Answer) -> None:
        """Children arrive while their Splitter may still be running."""
        for produced in answer.outputs:
            segments: list[Segment] = []
            for position, start, count in produced.children or ():
                space = self._child_space(node, lease, position)
                accepted = lease.children.get(position, 0)
                if start < accepted:
                    raise InvariantBroken(
                        f"splitter {node.plan.name!r} sent child {start} of a task of which {accepted} were accepted"
                    )
                lease.children[position] = start + count
                segments.append((space, range(start, start + count)))
            self._emit(node, node.plan.ports[produced.port], segments, produced.payload, 0, fresh=True)
            if not answer.last:
                lease.owed += 1
                self._blocked_splits.add(lease.token)

    def _child_space(self, node: Inbox, lease: Lease, position: int) -> Space:
        space = lease.spaces.get(position)
        if space is None:
            envelope, at = lease.find(position)
            if envelope.child_space is not None:
                space = envelope.child_space
                lease.children.setdefault(position, envelope.accepted)
            else:
                (base, indices) = take(envelope.segments, [at])[0]
                frame = node.plan.split_frame
                space = self.lineages.split(frame, base, indices[0])
                if self._tracks(node, frame):
                    family = self.lineages.family(frame, base, 0)
                    family.add(None, indices)  # the split itself, while it runs
                    outer, start = self.lineages.outer(family), self.lineages.account(base, node.index)
                    if outer is not start:
                        outer.family.add(outer.fixed, indices)
                        self._end(start, indices)
            lease.spaces[position] = space
        return space

    def _tracks(self, node: Inbox, frame: int) -> bool:
        return bool(self.plan.frames[frame].closers)

    def _split_ended(self, node: Inbox, lease: Lease, ended: Sequence[int]) -> None:
        frame = node.plan.split_frame
        for position in ended:
            space = self._child_space(node, lease, position)
            base, index = space.parent, space.fixed
            assert base is not None and index is not None
            if self._tracks(node, frame):
                family = self.lineages.family(frame, base, 0)
                complete = family.end(None, (index,))
                if len(complete):
                    self._complete(family, complete)
            else:
                self._end(self.lineages.account(base, node.index), (index,))
        node.counts.succeeded += len(ended)
        if len(ended):
            segments = take(lease.segments, ended)
            self._out.append(
                do.TasksEnded(
                    node.index, "succeeded", segments, len(ended), 0.0, self._inputs(lease), list(ended)
                )
            )
            if node.dedup is not None:
                self._keys_done(node, lease, ended)

    def _grant(self) -> None:
        """Let splits go on whose children have room again."""
        for token in list(self._blocked_splits):
            lease = self.leases.get(token)
            if lease is None:
                self._blocked_splits.discard(token)
                continue
            if lease.owed and self._room(self.nodes[lease.node]):
                self._out.append(do.Grant(lease.worker, token, lease.owed))
                lease.owed = 0
                self._blocked_splits.discard(token)

    # -- drops -----------------------------------------------------------------------------------------

    def _dropped(self, node: Inbox, lease: Lease, position: int) -> None:
        segments = take(lease.segments, [position])
        if lease.envelopes[0].kind == "merge":
            node.counts.dropped += self._close_group(node, lease, position)
            self._out.append(do.TasksEnded(node.index, "dropped", segments, 1))
            for space, indices in segments:
                self._end(self.lineages.account(space, node.index), indices)
            return
        self._drop_segments(node, lease, segments, [position])
        if node.dedup is not None:
            self._keys_done(node, lease, [position])

    def _drop_segments(
        self, node: Inbox, lease: Lease, segments: list[Segment], positions: list[int], *, ends: bool = True
    ) -> None:
        count = count_of(segments)
        node.counts.dropped += count
        if count:
            self._out.append(
                do.TasksEnded(node.index, "dropped", segments, count, 0.0, self._inputs(lease), positions)
            )
        if ends:
            for space, indices in segments:
                self._end(self.lineages.account(space, node.index), indices)

    # -- duplicates ------------------------------------------------------------------------------------

    def _keyed(self, node: Inbox, lease: Lease, answer: ev.Answer) -> None:
        """The keys of queued tasks are known: the first of each goes on, equal ones wait for its end."""
        dedup = node.dedup
        assert dedup is not None
        failed = {p for p, _, _ in answer.failures}
        fresh: list[int] = []
        keys = answer.keys or [None] * lease.count
        for position, key in enumerate(keys):
            if position in failed or key is None:
                continue
            if key in dedup.done:
                self._duplicate(node, take(lease.segments, [position]))
            elif key in dedup.pending:
                envelope, at = lease.find(position)
                waiting = envelope.only(at)
                waiting.keys, waiting.kind = [key], "run"
                dedup.pending[key].append(waiting)
                dedup.waiting += 1
            else:
                dedup.pending[key] = deque()
                fresh.append(position)
        for envelope in reversed(self._select(lease, fresh, keys)):
            node.push(envelope, first=True)
            self.in_flight += envelope.count
        for position, error, _ in answer.failures:
            envelope, at = lease.find(position)
            self._final_failure(node, envelope, at, error)
        node.leased -= lease.left
        self.in_flight -= lease.left
        worker = self.workers.get(lease.worker)
        if worker is not None:
            worker.load -= lease.left
        lease.left = 0

    def _select(self, lease: Lease, positions: list[int], keys: Sequence[bytes | None]) -> list[Envelope]:
        """The tasks at ``positions`` as envelopes to run; neighbours stay together."""
        found: list[Envelope] = []
        last = -2
        for position in positions:
            envelope, at = lease.find(position)
            key = keys[position]
            assert key is not None
            if position == last + 1 and at and found:
                tail = found[-1]
                tail.segments.extend(take(envelope.segments, [at]))
                tail.count += 1
                assert tail.keys is not None
                tail.keys.append(key)
            else:
                one = envelope.only(at)
                one.kind, one.keys = "run", [key]
                found.append(one)
            last = position
        return found

    def _duplicate(self, node: Inbox, segments: list[Segment]) -> None:
        node.counts.dropped += 1
        node.counts.duplicates += 1
        self._out.append(do.TasksEnded(node.index, "duplicate", segments, 1))
        for space, indices in segments:
            self._end(self.lineages.account(space, node.index), indices)

    def _keys_done(self, node: Inbox, lease: Lease, positions: Sequence[int]) -> None:
        """The first tasks of their keys have ended well: those that waited are duplicates."""
        dedup = node.dedup
        assert dedup is not None
        for position in positions:
            envelope, at = lease.find(position)
            assert envelope.keys is not None
            key = envelope.keys[at]
            dedup.done.add(key)
            for waiting in dedup.pending.pop(key, ()):
                dedup.waiting -= 1
                self._duplicate(node, waiting.segments)

    def _key_failed(self, node: Inbox, key: bytes) -> None:
        """The first task of its key failed finally, so it does not count as seen: the next one is tried."""
        dedup = node.dedup
        assert dedup is not None
        waiting = dedup.pending.get(key)
        if not waiting:
            dedup.pending.pop(key, None)
            return
        following = waiting.popleft()
        dedup.waiting -= 1
        if self.stopping is None:
            node.push(following, first=True)
            self.in_flight += 1

    # ==================================================================================================
    # Failures
    # ==================================================================================================

    def _attempt_failed(
        self, node: Inbox, lease: Lease, position: int, error: ErrorRecord, may_retry: bool
    ) -> None:
        """A task's attempt failed: try it again later, or fail it for good."""
        envelope, at = lease.find(position)
        group = envelope.groups[at] if envelope.groups is not None else None
        if may_retry and envelope.attempt < node.plan.max_retries and self.stopping is None:
            again = envelope.only(at)
            again.attempt += 1
            self._carry_split(lease, position, again)
            space, index = next(iter(tasks_of(again.segments)))
            delay = backoff(node.plan, again.attempt, hash((space.lineage(index), node.index)))
            self.waiting.put(self.now + delay, node.index, again)
            node.counts.retried += 1
            self._out.append(
                do.TaskFailed(
                    node.index, space, index, error, envelope.attempt + 1, delay, self._input(envelope, at)
                )
            )
            return
        if group is not None:
            if group.fold is not None:
                self._fold_failed(node, group, error, envelope.attempt + 1)
                return
            node.counts.failed += group.members
            space, index = next(iter(tasks_of(take(lease.segments, [position]))))
            piece = group.pieces[0] if group.pieces else None
            self._failed(node, space, index, error, envelope.attempt + 1, piece)
            return
        self._final_failure(node, envelope, at, error, lease.spaces.get(position))

    def _carry_split(self, lease: Lease, position: int, again: Envelope) -> None:
        """A split that is tried again goes on after its last accepted child."""
        if position in lease.spaces:
            again.child_space = lease.spaces[position]
            again.accepted = lease.children.get(position, 0)

    def _fold_failed(self, node: Inbox, group: Group, error: ErrorRecord, attempts: int) -> None:
        fold: Fold = group.fold
        assert node.merge is not None
        node.merge.folding -= 1
        fold.leased = False
        fold.error = error
        fold.pending.clear()
        fold.attempt = attempts - 1
        self._step(node, fold)

    def _final_failure(
        self, node: Inbox, envelope: Envelope, at: int, error: ErrorRecord, children: Space | None = None
    ) -> None:
        node.counts.failed += 1
        space, index = next(iter(tasks_of(take(envelope.segments, [at]))))
        space_of_children = children or envelope.child_space
        if envelope.keys is not None:
            self._key_failed(node, envelope.keys[at])
        self._failed(
            node,
            space,
            index,
            error,
            envelope.attempt + 1,
            self._input(envelope, at),
            split=space_of_children is not None,
        )

    def _failed(
        self,
        node: Inbox,
        space: Space,
        index: int,
        error: ErrorRecord,
        attempts: int,
        input_piece: Piece | None,
        *,
        split: bool = False,
    ) -> None:
        """A task has failed finally: to the failures port, else a tombstone in its scope, else its root has failed.

        ``split``: a Splitter that failed after some of its children had gone on; its own scope is open, and the
        failure is a missing member of that.
        """
        attempts = max(1, attempts)  # a merge that was never tried, for want of members, counts as one
        record = _final(error, node.plan.name, attempts)
        self._out.append(do.TaskFailed(node.index, space, index, record, attempts, None, input_piece))
        tracked = split and self._tracks(node, node.plan.split_frame)
        if tracked:
            account = Account(self.lineages.family(node.plan.split_frame, space, 0), None)
        else:
            account = self.lineages.account(space, node.index)
        port = node.plan.failures
        if port is not None:
            self._to_failures(node, port, space, index, record, input_piece)
        elif account.family.frame != ROOT:
            account.family.lose(account.scopes((index,))[0], record)
        else:
            self._lost(node, space, index, record)
        self._end(account, (index,))

    def _to_failures(
        self,
        node: Inbox,
        port: PortPlan,
        space: Space,
        index: int,
        record: ErrorRecord,
        input_piece: Piece | None,
    ) -> None:
        payload, low = (input_piece[0], input_piece[1]) if input_piece is not None else (None, 0)
        size = getattr(payload, "size", 0) // max(1, getattr(payload, "count", 1))
        failure = FailurePayload([FailedTask(payload, low, record)], 1, size + 1024)
        self._emit(node, port, [(space, (index,))], failure, 0, fresh=True)

    def _lost(self, node: Inbox, space: Space, index: int, record: ErrorRecord) -> None:
        for merger in self._run_mergers[node.index]:
            merge = self.nodes[merger].merge
            assert merge is not None
            merge.lost.append(record)
            if merge.plan.skip_missing:
                return
        fact: do.Lost | do.AggregateLost
        if space.aggregate:
            fact = do.AggregateLost(node.index, self.members_of(space.root_index(index)), record)
        else:
            fact = do.Lost(node.index, space, index, record)
        self._out.append(fact)
        if self.sink_room is not None:
            self.unread += 1
        if self.fail_fast and self.first_lost is None:
            self.first_lost = fact
            self._stop("kill")

    def members_of(self, aggregate: int) -> list[Segment]:
        """The source tasks that an aggregate came from, through windows of windows."""
        found: list[Segment] = []
        todo = [aggregate]
        while todo:
            for space, indices in self.aggregates.get(todo.pop(), ()):
                if space.aggregate:
                    todo.extend(indices)
                else:
                    found.append((space, indices))
        return found

    def _input(self, envelope: Envelope, at: int) -> Piece | None:
        if envelope.payload is None:
            return None
        return envelope.payload, envelope.low + at, envelope.low + at + 1

    def _inputs(self, lease: Lease) -> list[Piece]:
        return [(e.payload, e.low, e.low + e.count) for e in lease.envelopes if e.payload is not None]

    # ==================================================================================================
    # Workers
    # ==================================================================================================

    def _start_worker(self, node: Inbox) -> None:
        if len(node.workers) >= node.slots or node.phase == "closed" or self.stopping is not None:
            return
        self._worker_numbers += 1
        worker = WorkerState(self._worker_numbers, node.index, node.lanes)
        node.workers[worker.number] = self.workers[worker.number] = worker
        self._out.append(do.StartWorker(worker.number, node.index))

    def _worker_up(self, event: ev.WorkerUp) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            worker.ready = True
            worker.killable = event.killable
            self.nodes[worker.node].failed_starts = 0

    def _forget(self, worker: WorkerState) -> list[Lease]:
        self.workers.pop(worker.number, None)
        node = self.nodes[worker.node]
        node.workers.pop(worker.number, None)
        leases = list(worker.leases.values())
        for lease in leases:
            self.leases.pop(lease.token, None)
            self._blocked_splits.discard(lease.token)
            node.leased -= lease.left
            self.in_flight -= lease.left
        return leases

    def _worker_lost(self, event: ev.WorkerLost) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        node = self.nodes[worker.node]
        leases = self._forget(worker)
        if not event.started:
            node.failed_starts += 1
            if node.failed_starts >= MAX_FAILED_STARTS or event.output.startswith("cannot load"):
                self._broken(
                    BackendError(
                        f"workers of node {node.plan.name!r} cannot start ({event.cause}); "
                        f"{event.output or 'they wrote nothing to stderr'}"
                    )
                )
            return
        self.crashes += 1
        if self.stopping is not None:
            return
        text = f"the worker {event.cause} while this task was running"
        error = ErrorRecord("died", "WorkerDied", text)
        self._take_back(node, leases, event.running, error, node.plan.retries_death)
        if node.queued and not node.workers:
            self._start_worker(node)

    def _take_back(
        self,
        node: Inbox,
        leases: list[Lease],
        running: tuple[int, int] | None,
        error: ErrorRecord,
        may_retry: bool,
    ) -> None:
        """Leases of a dead worker: blame the task that was running, give all others to other workers."""
        for lease in reversed(leases):
            left = [p for p in range(lease.count) if lease.ended is None or p not in lease.ended]
            guilty = (
                running[1]
                if running is not None and running[0] == lease.token and running[1] in left
                else None
            )
            if running is None and lease is leases[0]:
                if len(left) == 1:
                    guilty = left[0]
                else:  # nobody knows which task killed the worker: each alone, until it is known
                    self._requeue(node, lease, left, alone=True)
                    continue
            for position in reversed(left):
                if position != guilty:
                    self._requeue(node, lease, [position])
            if guilty is not None:
                self._blame(node, lease, guilty, error, may_retry)

    def _requeue(self, node: Inbox, lease: Lease, positions: list[int], *, alone: bool = False) -> None:
        for position in reversed(positions):
            envelope, at = lease.find(position)
            again = envelope.only(at)
            again.alone = alone
            self._carry_split(lease, position, again)
            self._reset_fold(again)
            node.push(again, first=True)
            self.in_flight += 1

    def _reset_fold(self, envelope: Envelope) -> None:
        for group in envelope.groups or ():
            if group.fold is not None:
                group.fold.queued = envelope
                group.fold.leased = False

    def _blame(self, node: Inbox, lease: Lease, position: int, error: ErrorRecord, may_retry: bool) -> None:
        envelope, at = lease.find(position)
        crashes = envelope.crashes + 1
        if error.kind == "died" and crashes < MAX_CRASHES:
            again = envelope.only(at)
            again.crashes, again.alone = crashes, True
            self._carry_split(lease, position, again)
            self._reset_fold(again)
            node.push(again, first=True)
            self.in_flight += 1
            return
        if error.kind == "died":
            text = f"{error.message}, {crashes} times in {crashes} workers; it is not tried again"
            error = ErrorRecord("died", error.type, text)
        self._attempt_failed(node, lease, position, error, may_retry and error.kind == "timeout")

    def _broken(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
        self._stop("kill")

    # -- time-outs -------------------------------------------------------------------------------------

    def _running_leases(self, node: Inbox) -> list[Lease]:
        """The lease that each killable worker of ``node`` is at."""
        return [next(iter(w.leases.values())) for w in node.workers.values() if w.killable and w.leases]

    def _set_deadline(self, node: Inbox, lease: Lease) -> None:
        if node.plan.timeout is not None:
            lease.deadline = self.now + node.plan.timeout

    def _probe(self) -> None:
        for node in self.nodes:
            if node.plan.timeout is None:
                continue
            for lease in self._running_leases(node):
                if lease.deadline is not None and lease.deadline <= self.now:
                    lease.deadline = None  # until the answer comes
                    self._out.append(do.Probe(lease.worker))

    def _running(self, event: ev.Running) -> None:
        worker = self.workers.get(event.worker)
        if worker is None or not worker.leases:
            return
        node = self.nodes[worker.node]
        lease = next(iter(worker.leases.values()))
        timeout = node.plan.timeout
        if timeout is None:
            return
        if event.token != lease.token or event.since + timeout > self.now:
            since = event.since if event.token == lease.token else self.now
            lease.deadline = since + timeout
            return
        self._out.append(do.StopWorker(worker.number, kill=True))
        leases = self._forget(worker)
        text = f"ran longer than the timeout of {timeout:g} s; its worker was killed and replaced"
        error = ErrorRecord("timeout", "TaskTimeout", text)
        self._take_back(node, leases, (event.token, event.position), error, node.plan.retries_timeout)

    # ==================================================================================================
    # Dispatch
    # ==================================================================================================

    def _dispatch(self) -> None:
        for node in reversed(self.nodes):
            while node.queue and self._room(node):
                if not self._deliver_one(node):
                    break

    def _room(self, node: Inbox) -> bool:
        """Whether what the node gives has somewhere to go."""
        for port in node.plan.ports:
            if (
                port.exit
                and self.sink_room is not None
                and not self.sink_holds
                and self.unread >= self.sink_room
            ):
                return False
            for target in port.targets:
                there = self.nodes[target]
                if (
                    there.merge is not None
                    and there.merge.plan.closing != "scope"
                    and not there.merge.plan.fold
                ):
                    continue  # what it holds is state, and waits for nothing that is queued
                if there.queued >= there.capacity() or there.bytes > self.max_bytes // 2:
                    return False
        return True

    def _deliver_one(self, node: Inbox) -> bool:
        most = node.allow(self.now)
        if most < 1:
            return False
        best: WorkerState | None = None
        credit = 0
        for worker in node.workers.values():
            room = node.credit(worker)
            if room > 0 and (best is None or worker.load < best.load):
                best, credit = worker, room
        head = node.queue[0]
        if head.alone and best is not None and best.leases:
            best = None
        if best is None:
            starting = sum(1 for w in node.workers.values() if not w.ready)
            if starting * node.want() < node.queued:
                self._start_worker(node)
            return False
        if self.one_by_one:
            credit = 1
        envelopes = node.pop(min(credit, most))
        self._lease(node, best, envelopes)
        if (
            len(node.workers) < node.slots
            and node.queued
            and not any(not w.ready for w in node.workers.values())
        ):
            self._start_worker(node)
        return True

    def _lease(self, node: Inbox, worker: WorkerState, envelopes: list[Envelope]) -> None:
        self._tokens += 1
        segments = (
            envelopes[0].segments if len(envelopes) == 1 else [s for e in envelopes for s in e.segments]
        )
        count = sum(e.count for e in envelopes)
        lease = Lease(self._tokens, node.index, worker.number, envelopes, segments, count, self.now, count)
        for envelope in envelopes:
            for group in envelope.groups or ():
                if group.fold is not None:
                    group.fold.lease()
        if not worker.leases:
            self._set_deadline(node, lease)
        worker.leases[lease.token] = self.leases[lease.token] = lease
        worker.load += count
        worker.alone = envelopes[0].alone
        node.leased += count
        if node.plan.rate_limit is not None:
            node.allowance -= count
        position = 0
        for envelope in envelopes:
            if envelope.child_space is not None:
                lease.spaces[position] = envelope.child_space
                lease.children[position] = envelope.accepted
            position += envelope.count
        self._out.append(do.Deliver(worker.number, lease.token, self._job(node, lease)))

    def _job(self, node: Inbox, lease: Lease) -> do.Job:
        first = lease.envelopes[0]
        job = do.Job(first.kind, lease.count, attempt=first.attempt)
        for envelope in lease.envelopes:
            if envelope.payload is not None:
                job.pieces.append((envelope.payload, envelope.low, envelope.low + envelope.count))
            if envelope.groups is not None:
                job.groups.extend(envelope.groups)
        job.skip = dict(lease.children)
        for port in node.plan.ports:
            if port.targets:
                job.cuts[port.index] = min(self._cut(self.nodes[t]) for t in port.targets)
        return job

    def _cut(self, node: Inbox) -> int:
        most = ENVELOPE_TASKS if node.merge is not None else node.cut()
        if node.value_bytes:
            most = min(most, max(1, int(ENVELOPE_BYTES / node.value_bytes)))
        return most

    # ==================================================================================================
    # The end
    # ==================================================================================================

    def _close(self) -> None:
        """Close what has ended, in topological order."""
        if self.source_open:
            return  # every node lies below an entry, so none can have ended
        while self._close_some():
            pass  # a Merger can wait for nodes that stand after it (see `_find_upstreams`), so one pass may not do

    def _close_some(self) -> bool:
        before = self._closed
        for node in self.nodes:
            if node.phase == "closed":
                continue
            if node.phase == "open":
                if any(self.nodes[u].phase != "closed" for u in self._upstreams[node.index]):
                    continue
                node.phase = advance(node.phase, "upstreams_ended", node.plan.name)
            if node.phase == "draining" and self._idle(node):
                node.phase = advance(node.phase, "drained", node.plan.name)
                merge = node.merge
                if (
                    merge is not None
                    and merge.plan.closing != "scope"
                    and (merge.count or merge.plan.closing == "run")
                ):
                    self._fire_window(node, merge)
                    self._dispatch_now(node)
            if node.phase == "flushing" and self._idle(node):
                node.phase = advance(node.phase, "flushed", node.plan.name)
                self._closed += 1
                self._out.append(do.NodeClosed(node.index))
                for worker in list(node.workers.values()):
                    self._forget(worker)
                    self._out.append(do.StopWorker(worker.number))
        return self._closed > before

    def _dispatch_now(self, node: Inbox) -> None:
        if not node.workers:
            self._start_worker(node)
        if not self.paused:
            self._dispatch()

    def _idle(self, node: Inbox) -> bool:
        waiting = self.waiting.at_node.get(node.index, 0)
        held_back = node.dedup.waiting if node.dedup is not None else 0
        folding = node.merge.folding if node.merge is not None else 0
        return not (node.queued or node.leased or waiting or held_back or folding)

    def _stop(self, how: Stopping) -> None:
        """Stop: read nothing more, begin nothing more; ``drain`` lets the running tasks end."""
        if self.finished or self.stopping == "kill" or self.stopping == how:
            return
        if self.stopping is None:
            self._out.append(do.StopSource())
            self.source_open = False
            for node in self.nodes:
                self.in_flight -= node.queued
                node.clear()
            self.waiting.clear()
        self.stopping = how

    def _wind_down(self) -> None:
        if self.stopping == "drain" and self.leases:
            for token in list(self._blocked_splits):  # a split that waits for room would wait for ever
                lease = self.leases[token]
                self._out.append(do.Grant(lease.worker, token, ENVELOPE_TASKS))
            return
        for worker in list(self.workers.values()):
            self._forget(worker)
            self._out.append(do.StopWorker(worker.number, kill=self.stopping == "kill"))
        broken = self.failure is not None or self.first_lost is not None
        self._finish("failed" if broken else "stopped")

    def _finish(self, reason: Literal["done", "stopped", "failed"]) -> None:
        self.finished = True
        for node in self.nodes:
            counts = node.counts
            ended = counts.succeeded + counts.failed + counts.dropped
            if reason == "done" and counts.received != ended:
                raise InvariantBroken(
                    f"node {node.plan.name!r} received {counts.received} tasks but {ended} ended: {counts}"
                )
            counts.received = ended  # a stopped run: what was queued never counted as received
        if reason == "done" and self.open_roots:
            raise InvariantBroken(f"{self.open_roots} source tasks have no end: {self.story()}")
        self._out.append(do.Finish(reason))

    # ==================================================================================================
    # What can be asked
    # ==================================================================================================

    def stuck(self) -> str | None:
        """Why nothing can move any more, if that is so; None while something is going on or owed from outside."""
        if self.finished or self.leases or self.pulling or self.paused or self.next_deadline() is not None:
            return None
        if any(not w.ready for w in self.workers.values()) or self.unread:
            return None
        return f"nothing can move and nothing is running: {self.story()}"

    def story(self) -> str:
        """Which node waits for what, and which scopes miss members."""
        lines = [
            f"source {'open' if self.source_open else 'ended'}, {self.admitted} admitted, {self.open_roots} not ended, "
            f"{self.unread} outputs not taken"
        ]
        for node in self.nodes:
            merge = f", holds {node.merge.held} members" if node.merge is not None else ""
            room = "" if self._room(node) else ", held back by a full channel after it"
            lines.append(
                f"{node.plan.name!r} is {node.phase}: {node.queued} queued, {node.leased} leased, "
                f"{self.waiting.at_node.get(node.index, 0)} waiting for a retry, {len(node.workers)} workers{merge}{room}"
            )
        return "; ".join(lines)

    def _find_upstreams(self) -> list[set[int]]:
        found: list[set[int]] = [set() for _ in self.plan.nodes]
        for node in self.plan.nodes:
            ports = [*node.ports, *([node.failures] if node.failures is not None else [])]
            for port in ports:
                for target in port.targets:
                    found[target].add(node.index)
        # A scope that several Mergers close is complete for all of them at once, so a task on its way to one of
        # them keeps the others waiting: they have each other's upstreams.
        for frame in self.plan.frames:
            together: set[int] = set().union(*(found[m] for m in frame.closers))
            for merger in frame.closers:
                found[merger] = set(together)
        return found

    def _find_run_mergers(self) -> list[tuple[int, ...]]:
        """For each node, the ``of="run"`` Mergers after it: they miss what fails there."""
        after: list[set[int]] = [set() for _ in self.plan.nodes]
        for node in reversed(self.plan.nodes):
            for port in node.ports:
                for target in port.targets:
                    after[node.index] |= after[target]
                    merge = self.plan.nodes[target].merge
                    if merge is not None and merge.closing == "run":
                        after[node.index].add(target)
        return [tuple(sorted(found)) for found in after]


def _final(error: ErrorRecord, node: str, attempts: int) -> ErrorRecord:
    return ErrorRecord(
        error.kind, error.type, error.message, error.traceback, error.sealed, error.causes, node, attempts
    )
