from __future__ import annotations

import pytest
from observe_made import NOTHING, Recorder, failed, plan_of

from dagflow.observe.bus import Bus

FACTS = [failed()]


def tell_all(bus):
    bus.opened(plan_of("a"))
    bus.facts(FACTS)
    bus.tick(NOTHING)
    bus.closed(NOTHING)


def test_everyone_hears_everything_in_order():
    observers = [Recorder(), Recorder()]
    tell_all(Bus(observers))
    assert [o.heard for o in observers] == [["opened", "facts", "tick", "closed"]] * 2


def test_nobody_listens():
    bus = Bus([])
    assert not bus.wants_facts
    tell_all(bus)


def test_wants_facts_follows_the_observers():
    class Deaf(Recorder):
        wants_facts = False

    deaf, hearing = Deaf(), Recorder(raises_in="facts")
    assert not Bus([deaf]).wants_facts
    bus = Bus([deaf, hearing])
    assert bus.wants_facts
    tell_all(bus)
    assert not bus.wants_facts  # the only one that wanted them was dropped
    assert deaf.heard == ["opened", "tick", "closed"]


def test_no_facts_are_no_news():
    observer = Recorder()
    Bus([observer]).facts([])
    assert observer.heard == []


@pytest.mark.parametrize("where", ["opened", "facts", "tick", "closed"])
@pytest.mark.parametrize("error", [RuntimeError("own"), SystemExit(3)])
def test_one_that_raises_is_reported_once_and_dropped(heard, where, error):
    bad, good = Recorder(where, error), Recorder()
    bus = Bus([bad, good])
    tell_all(bus)
    bus.tick(NOTHING)
    assert bad.heard[-1] == where
    assert good.heard == ["opened", "facts", "tick", "closed", "tick"]
    ((level, name, text),) = heard
    assert (level, name) == ("WARNING", "dagflow.observe.bus")
    assert "Recorder" in text and type(error).__name__ in text


def test_interrupt_goes_through():
    bus = Bus([Recorder("facts", KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        bus.facts(FACTS)


def test_a_sink_that_raises_does_not_hurt():
    from loguru import logger

    def sink(message):
        raise OSError("full")

    number = logger.add(sink, catch=False)
    try:
        tell_all(Bus([Recorder("facts")]))
    finally:
        logger.remove(number)


def test_a_listener_for_each_run():
    made = []

    class Many(Recorder):
        def for_run(self):
            made.append(Recorder())
            return made[-1]

    many = Many()
    first, second = Bus([many]), Bus([many])
    first.opened(plan_of("a"))
    second.opened(plan_of("b"))
    first.facts(FACTS)
    second.closed(NOTHING)
    first.closed(NOTHING)
    assert many.heard == []
    assert [m.heard for m in made] == [["opened", "facts", "closed"], ["opened", "closed"]]
