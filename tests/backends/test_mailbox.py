"""The mailbox: nothing that is posted is left lying, and nobody is woken for what is not watched any more."""

import os
import socket
import threading
from time import monotonic

import pytest

from dagflow.backends.mailbox import READ, WRITE, Mailbox

LONG = 60.0
"""Seconds: who waits so long was not woken. Each test is given less by its time-out."""


@pytest.fixture
def mailbox():
    box = Mailbox()
    yield box
    box.close()


def never():
    raise AssertionError("there is something to tell: nobody needs to wait")


@pytest.mark.timeout(50)
def test_no_event_of_several_threads_is_left_lying(mailbox):
    """Each waits for the other's answer, so one lost wake-up would stop them all."""
    rounds, threads = 3000, 2
    turns = [threading.Semaphore(1) for _ in range(threads)]

    def post(number):
        for turn in range(rounds):
            turns[number].acquire()
            mailbox.post((number, turn))

    workers = [threading.Thread(target=post, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    heard = []
    while len(heard) < rounds * threads:
        for event in mailbox.wait(lambda: LONG):
            heard.append(event)
            turns[event[0]].release()
    for number in range(threads):
        assert [turn for who, turn in heard if who == number] == list(range(rounds))


@pytest.mark.timeout(20)
def test_who_was_woken_before_does_not_wait(mailbox):
    mailbox.wake()
    assert mailbox.wait(never) == []
    mailbox.post("an event")
    assert mailbox.wait(never) == ["an event"]


def test_who_posts_is_told_whether_it_is_behind(mailbox):
    assert [mailbox.post(number) for number in range(3)] == [False, True, True]
    assert mailbox.wait(never) == [0, 1, 2]
    assert not mailbox.post(3)


@pytest.mark.timeout(20)
def test_one_wake_up_ends_one_wait(mailbox):
    threading.Timer(0.05, mailbox.wake).start()
    assert mailbox.wait(lambda: LONG) == []
    start = monotonic()
    assert mailbox.wait(lambda: 0.1) == []
    assert monotonic() - start >= 0.1


@pytest.mark.timeout(20)
def test_sockets_are_looked_at_however_much_threads_post(mailbox):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        heard = []
        mailbox.watch(ours.fileno(), lambda mask: heard.append((mask, ours.recv(10))))
        theirs.send(b"hello")
        mailbox.post("an event")
        assert mailbox.wait(never) == ["an event"]
        assert heard == [(READ, b"hello")]


@pytest.mark.timeout(20)
def test_what_is_watched_for_can_be_changed_and_ended(mailbox):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        heard = []
        mailbox.watch(ours.fileno(), heard.append)
        mailbox.look(0.0)
        mailbox.watch(ours.fileno(), heard.append, READ | WRITE)
        mailbox.look(0.0)
        assert heard == [WRITE]
        mailbox.unwatch(ours.fileno())
        mailbox.unwatch(ours.fileno())  # it was not watched: nothing to end
        theirs.send(b"hello")
        mailbox.look(0.0)
        assert heard == [WRITE]


@pytest.mark.timeout(20)
def test_a_callback_ends_what_another_watches(mailbox):
    """As a death does that is heard of by one socket and closes another which is ready too."""
    pairs = [socket.socketpair() for _ in range(2)]
    heard = []

    def end_both(mask):
        heard.append(mask)
        for ours, _ in pairs:
            mailbox.unwatch(ours.fileno())
            ours.close()

    for ours, theirs in pairs:
        mailbox.watch(ours.fileno(), end_both)
        theirs.send(b"hello")
    mailbox.look(1.0)
    assert heard == [READ]
    for _, theirs in pairs:
        theirs.close()


@pytest.mark.timeout(20)
def test_deadlines_are_met_while_it_waits(mailbox):
    due, met = monotonic() + 0.05, []

    def deadline():
        if met:
            return None
        if monotonic() < due:
            return due
        met.append(monotonic())
        mailbox.post("due")
        return None

    mailbox.deadlines.append(deadline)
    assert mailbox.wait(lambda: LONG) == ["due"]
    assert met[0] >= due


def test_closed_it_can_be_woken_and_keeps_no_descriptor():
    before = sorted(os.listdir("/proc/self/fd"))
    box = Mailbox()
    box.close()
    box.wake()
    box.post("too late")
    assert sorted(os.listdir("/proc/self/fd")) == before
