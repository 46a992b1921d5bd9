"""The verdict in words: which node limits a run, why, what more workers would bring, and what would limit it then.

A run through a pipeline takes as long as its slowest part needs for its work. Of each part that is known: seconds of
work divided by how much of it can be done at once. So the part with the largest share of the time limits, and with
more workers there the run gets faster until the part with the next largest share does.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

from dagflow.busy import Busy
from dagflow.observe.case import Case, Part
from dagflow.observe.trace import seconds

HALF: Final = 0.5
NEARLY_ALL: Final = 0.85
LITTLE: Final = 1.1
"""Less than this many times as fast is not worth a worker."""
SMALL: Final = 0.1
"""A node that took less of the time than this, where one task at a time runs, is no bottleneck to point at."""
TINY: Final = 50e-6
"""A task that takes less than so many seconds is not worth a process."""
CALL: Final = 2e-6
"""A function that takes less than so many seconds is little more than its call, and cannot be made cheaper."""
MANY: Final = 1000
"""With fewer tasks than this, dagflow's own work is what it takes to begin and to end."""
NOTHING: Final = "More workers would bring nothing:"


class Words(NamedTuple):
    """What limits and why, and what can be done. ``part``: the node that has too much to do, if that is what limits."""

    first: str
    then: str
    part: Part | None = None


def verdict(case: Case) -> str:
    """The words. The first line says what limits the run and why, the next one what more workers would bring."""
    found = _found(case)
    if found is None:
        return "nothing limits the run: no node has ended a task"
    lines = [found.first, found.then]
    if case.starting > HALF * case.span:
        lines.append(f"Before that, starting the workers took {seconds(case.starting)}.")
    return "\n".join(lines)


def busy(case: Case) -> Busy:
    """The same for a picture: how busy each node was, and which one the verdict says limits the run."""
    found = _found(case)
    limits = None if found is None or found.part is None else case.parts.index(found.part)
    return Busy(tuple(_share(part, case) for part in case.parts), limits)


def _found(case: Case) -> Words | None:
    parts = [part for part in case.parts if part.tasks]
    if not parts:
        return None
    busiest = max(parts, key=Part.least)
    found = _of_one_thread(case, parts) if case.one_by_one else None
    return found or _of_others(case, parts, busiest) or _of_node(case, parts, busiest)


def _share(part: Part, case: Case) -> float:
    return min(1.0, part.least() / case.span)


def _busy(part: Part, case: Case) -> str:
    return f"{part.name!r}, was busy {_share(part, case):.0%} of it"


def _of_one_thread(case: Case, parts: list[Part]) -> Words | None:
    """The serial backend: one task at a time."""
    busiest = max(parts, key=lambda part: part.work)
    share = min(1.0, busiest.work / case.span)
    others = (case.source, case.consumer, case.retries, _own_work(case, parts), *(part.throttled for part in parts))
    if max(others) > share:
        return None
    small = share < SMALL
    marked = None if small else busiest
    what = "limits the run no more than others" if small else "limits the run"
    first = f"{busiest.name!r} {what}: of all the time, in which one task at a time runs, it took {share:.0%}."
    gain = sum(part.work for part in parts) / max(part.least() for part in parts)
    if gain < LITTLE:
        little = "Other backends run the nodes side by side, which brings little unless this one has more workers."
        return Words(first, little, marked)
    return Words(first, f"Other backends run the nodes side by side: up to about {gain:.1f} times as fast.", marked)


# -- where it is not a node's work ---------------------------------------------------------------------------


def _of_others(case: Case, parts: list[Part], busiest: Part) -> Words | None:
    """What limits where no node has too much to do."""
    share = busiest.work / case.span if case.one_by_one else max(HALF, _share(busiest, case))
    held = max(parts, key=lambda part: part.throttled)
    causes = {
        _consumer: case.consumer,
        _rate: held.throttled if held.rate else 0.0,
        _retries: case.retries,
        _source: case.source,
        _in_flight: case.in_flight * (1 - _share(busiest, case)),
        _bookkeeping: _own_work(case, parts) if sum(part.tasks for part in parts) >= MANY else 0.0,
    }
    cause = max(causes, key=causes.__getitem__)
    if causes[cause] < share:
        return None
    return cause(case, parts, held if cause is _rate else busiest)


def _own_work(case: Case, parts: list[Part]) -> float:
    """The share of the time in which the run's own thread was busy with moving tasks."""
    if not case.one_by_one:
        return case.ring
    waits = case.source + case.consumer + case.retries + max(part.throttled for part in parts)
    return max(0.0, 1 - sum(part.function for part in parts) / case.span - waits)


def _said(case: Case, busiest: Part, what: str, share: float, why: str, instead: str) -> Words:
    """That something else than a node limits the run."""
    first = f"{what} limits the run: {share:.0%} of the time {why}; the busiest node, {_busy(busiest, case)}."
    return Words(first, f"{NOTHING} {instead}.")


def _consumer(case: Case, parts: list[Part], busiest: Part) -> Words:
    del parts
    instead = "take the outputs faster, or do part of that work in a node"
    return _said(case, busiest, "the consumer of the outputs", case.consumer, "they waited for it", instead)


def _source(case: Case, parts: list[Part], busiest: Part) -> Words:
    del parts
    instead = "give the tasks faster, or do part of that work in a node"
    return _said(case, busiest, "the source of the tasks", case.source, "it was waited for", instead)


def _retries(case: Case, parts: list[Part], busiest: Part) -> Words:
    del parts
    instead = "a smaller retry_delay would, or fewer failures"
    return _said(case, busiest, "waiting for retries", case.retries, "there was nothing else to do", instead)


def _in_flight(case: Case, parts: list[Part], busiest: Part) -> Words:
    del parts
    instead = "a larger max_in_flight would"
    return _said(case, busiest, f"max_in_flight={case.most}", case.in_flight, "it kept tasks out", instead)


def _rate(case: Case, parts: list[Part], held: Part) -> Words:
    first = (
        f"{held.name!r} limits the run: {held.throttled:.0%} of the time its rate_limit of {held.rate:g} tasks/s "
        f"held it back."
    )
    following = max(parts, key=Part.least)
    gain = case.span / max(following.least(), 1e-9)
    if gain < LITTLE:
        then = f"{NOTHING} and without that limit {following.name!r} limits the run nearly as much."
    else:
        then = f"{NOTHING} a higher rate_limit would, up to {_times(gain)}; then {following.name!r} limits it."
    return Words(first, then, held)


def _bookkeeping(case: Case, parts: list[Part], busiest: Part) -> Words:
    """Many tiny tasks: to move them is more work than they are."""
    del busiest
    most = max(parts, key=lambda part: part.tasks)
    first = (
        f"dagflow's own work limits the run: {case.ring:.0%} of the time its thread was busy, with {most.tasks:,} "
        f"tasks through {most.name!r} alone, of {seconds(most.work / most.tasks)} each."
    )
    return Words(first, f"{NOTHING} put more into one task, or join nodes that follow each other into one function.")


# -- where it is -------------------------------------------------------------------------------------------


def _of_node(case: Case, parts: list[Part], busiest: Part) -> Words:
    """A node that has more to do than the others."""
    share = _share(busiest, case)
    if case.cores and case.machine >= NEARLY_ALL and not _waits(case, parts, busiest):
        return _machine(case, parts, busiest)
    here = [part for part in parts if not part.own]
    if here and case.driver >= NEARLY_ALL:
        return _interpreter(case, max(here, key=lambda part: part.work))
    if share < HALF:
        some, many = f"{busiest.work / case.span:.1f}", busiest.width
        had = f"{some} of its {many} workers had a task on average" if many > 1 else f"it was busy {share:.0%} of it"
        first = f"{busiest.name!r} limits the run, though no node was busy for most of the time: {had}."
        return Words(first, f"{NOTHING} there were too few tasks at once to keep them busy.")
    first = f"{busiest.name!r} limits the run: {_workers(busiest)} busy {share:.0%} of the time.{_queue(busiest)}"
    return Words(first, _more(case, parts, busiest), busiest)


def _waits(case: Case, parts: list[Part], busiest: Part) -> bool:
    """Whether the busiest node waits for something else than processors, whoever keeps those busy."""
    if not busiest.waits:
        return False
    if _share(busiest, case) >= HALF:
        return busiest.own  # the time in which it stood in line for a processor is known, and little
    computed = sum(part.cpu for part in parts if not part.waits)
    return computed < HALF * case.cores * case.span  # with so little to do, it may be others than this run


def _interpreter(case: Case, heaviest: Part) -> Words:
    """Nodes that work in one process get in each other's way there."""
    first = (
        f"{heaviest.name!r} limits the run: {_workers(heaviest)} busy {_share(heaviest, case):.0%} of the time, in a "
        f"process that was busy {min(1.0, case.driver):.0%} of it.{_queue(heaviest)}"
    )
    why = "More threads would bring little, since Python runs one at a time in a process:"
    if heaviest.function < TINY * heaviest.tasks:
        each = seconds(heaviest.function / heaviest.tasks)
        return Words(first, f"{why} put more into one task than {each}, or join nodes.", heaviest)
    return Words(first, f'{why} execution_mode="process" gives the node processes of its own.', heaviest)


def _workers(part: Part) -> str:
    word = {"thread": "thread", "async": "coroutine"}.get(part.mode, "worker")
    return f"its {part.width} {word}s were" if part.width > 1 else f"its one {word} was"


def _queue(part: Part) -> str:
    """What its queue holds, as a sentence."""
    number = round(part.queued)
    if number < 1:
        return ""
    full = f" and was full {part.full:.0%} of the time" if part.full > 0.05 else ""
    return f" Its queue held {number:,} task{'s' * (number != 1)} on average{full}."


def _machine(case: Case, parts: list[Part], busiest: Part) -> Words:
    """All processors are in use, so what counts is who takes most of them."""
    heaviest = max(parts, key=lambda part: (part.cpu, part.least())) if busiest.own else busiest
    cores = f"all {case.cores} processors of this machine were" if case.cores > 1 else "the machine's processor was"
    first = (
        f"{heaviest.name!r} limits the run: {cores} in use ({min(1.0, case.machine):.0%}), and {_workers(heaviest)} "
        f"busy {_share(heaviest, case):.0%} of the time.{_queue(heaviest)}"
    )
    cpu, function = sum(part.cpu for part in parts), sum(min(part.function, part.cpu) for part in parts)
    most = max(parts, key=lambda part: part.tasks)
    each = heaviest.function / heaviest.tasks
    if each < CALL:
        why = f"a task takes {seconds(each)}, little more than calling its function"
    elif function < HALF * cpu:
        why = f"{1 - function / cpu:.0%} of the workers' time went into moving tasks"
    else:
        return Words(first, f"{NOTHING} make its function cheaper, or use a machine with more processors.", heaviest)
    then = (
        f"{NOTHING} {why}, {most.tasks:,} through {most.name!r} alone. Put more into one task, or join nodes that "
        f"follow each other into one function."
    )
    return Words(first, then, heaviest)


def _more(case: Case, parts: list[Part], busiest: Part) -> str:
    """What more workers for the busiest node would bring."""
    following, least = _following(case, parts, busiest)
    most = _widest(case, busiest)
    wanted = ceil(busiest.work / least) if least * most >= busiest.work else most + 1
    workers = max(busiest.width + 1, min(wanted, most))
    gain = busiest.least() / max(least, busiest.work / workers)
    if gain < LITTLE:
        return f"More workers would bring little: {following} limits the run nearly as much."
    how = f"With {workers} workers instead of {busiest.width}{_how(busiest)} it would be {_times(gain)}"
    return f"{how}; then {following} limits it." if wanted <= workers else f"{how}."


def _following(case: Case, parts: list[Part], busiest: Part) -> tuple[str, float]:
    """What would limit next, and the seconds that it needs."""
    found = [(part.least(), repr(part.name)) for part in parts if part is not busiest]
    found += [(part.tasks / part.rate, f"the rate_limit of {part.name!r}") for part in parts if part.rate]
    found += [(case.ring * case.span, "dagflow's own work"), (case.machine * case.span, "the machine")]
    least, name = max(found)
    return name, least


def _widest(case: Case, part: Part) -> int:
    """As many workers as may make sense for a node."""
    if part.waits:
        return max(4 * part.width, 8)
    return max(part.width + 1, case.cores or 2 * part.width)


def _how(part: Part) -> str:
    """How the node gets more workers, where that is not only a number."""
    if part.mode == "serial":
        return f' (execution_mode="{"thread" if part.waits else "process"}")'
    return ' (execution_mode="process")' if not part.own and part.waits is False else ""


def _times(gain: float) -> str:
    return f"about {gain:.1f} times as fast"
