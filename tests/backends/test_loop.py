"""What a coroutine finds: an asyncio task and a context that no other task of the run has left anything in."""

import asyncio
import contextvars
import threading
import weakref

import pytest

from dagflow import Graph, TaskManager
from dagflow.backends.mailbox import Mailbox
from dagflow.work import loop
from dagflow.work.loop import Loop

NUMBER = 40
PERSON = contextvars.ContextVar("PERSON", default=None)
LIST = contextvars.ContextVar("LIST")


def run(func, width, tasks=range(NUMBER)):
    return Graph(TaskManager(func, "async", worker_limit=width)).run(tasks, backend="thread")


@pytest.fixture(params=[1, 3], ids=["width 1", "width 3"])
def width(request):
    return request.param


def test_variables_of_others_are_not_seen(width):
    async def greet(number):
        before = PERSON.get()
        await asyncio.sleep(0)
        PERSON.set(number)
        await asyncio.sleep(0)
        return before, PERSON.get()

    assert run(greet, width).values == [(None, n) for n in range(NUMBER)]


def test_a_variable_that_is_equal_but_another_object_is_not_kept_either(width):
    async def collect(number):
        if LIST.get(None) is None:
            LIST.set([])
        LIST.get().append(number)
        await asyncio.sleep(0)
        return LIST.get()

    assert run(collect, width).values == [[n] for n in range(NUMBER)]


def test_a_cancellation_that_comes_late_reaches_nobody_else(width):
    async def order(number):
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if number % 2:
            later = loop.call_soon
            loop.call_soon(later, loop.call_soon, task.cancel)
        else:
            for _ in range(8):
                await asyncio.sleep(0)
        return number

    assert run(order, width).values == list(range(NUMBER))


def test_one_that_cancels_itself_fails_alone(width):
    async def maybe(number):
        task = asyncio.current_task()
        before = task.cancelling()
        if number % 3 == 0:
            task.cancel()
        await asyncio.sleep(0)
        return before

    result = run(maybe, width)
    failed = [n for n in range(NUMBER) if n % 3 == 0]
    assert [outcome.task for outcome in result if outcome.status == "failed"] == failed
    assert all("CancelledError" in repr(outcome.error) for outcome in result if outcome.error is not None)
    assert result.values == [0] * (NUMBER - len(failed))


@pytest.mark.parametrize("back", [False, True], ids=["cancel", "cancel and uncancel"])
def test_a_cancellation_that_one_orders_and_does_not_live_to_see_is_nobody_elses(width, back):
    async def order(number):
        task = asyncio.current_task()
        before = task.cancelling()
        await asyncio.sleep(0)
        if number % 2:
            task.cancel()
            if back:
                task.uncancel()
        return before

    assert run(order, width).values == [0] * NUMBER


def test_what_is_kept_by_the_asyncio_task_is_of_one_task(width):
    known, weakly = {}, weakref.WeakKeyDictionary()

    async def register(number):
        task = asyncio.current_task()
        found = known.get(task), weakly.get(task)
        (known if number % 2 else weakly)[task] = number
        await asyncio.sleep(0)
        return found

    assert run(register, width).values == [(None, None)] * NUMBER


def test_callbacks_at_its_end_are_called_at_its_end(width):
    ended = []

    async def say(number):
        before = list(ended)
        asyncio.current_task().add_done_callback(lambda _: ended.append(number))
        await asyncio.sleep(0)
        return number in before or len(before)

    seen = run(say, width).values
    assert sorted(ended) == list(range(NUMBER))
    assert seen[-1] >= NUMBER - 3 * width - 1, "the others have ended when the last begins, but for those beside it"


def test_a_name_is_of_one_task(width):
    async def call_it(number):
        before = asyncio.current_task().get_name()
        asyncio.current_task().set_name(f"number {number}")
        await asyncio.sleep(0)
        return before

    assert not any(name.startswith("number") for name in run(call_it, width).values)


def test_an_asyncio_task_that_is_as_new_is_used_again(width):
    async def name(_):
        await asyncio.sleep(0)
        return asyncio.current_task().get_name()

    assert len(set(run(name, width).values)) < NUMBER


def test_none_begins_once_the_run_was_stopped():
    """Not even where one swallows its cancellation, and so makes room."""
    begun, there = [], threading.Event()

    async def stay(number):
        begun.append(number)
        there.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

    run = Graph(TaskManager(stay, "async", worker_limit=1)).open("thread")
    for number in range(3):
        run.submit(number)
    assert there.wait(20)
    run.cancel()
    result = run.wait(20)
    assert [outcome.status for outcome in result] == ["cancelled"] * 3
    assert begun == [0]


def test_coroutines_that_never_wait_let_others_on():
    order = []

    async def go(number):
        if number == 0:
            await asyncio.sleep(0)
        order.append(number)

    run(go, 2, range(6))
    assert sorted(order) == list(range(6))
    assert order.index(0) < 4


@pytest.mark.timeout(60)
def test_a_loop_that_breaks_down_is_replaced(monkeypatch):
    """A bug of ours, in what the loop calls by itself: nobody waits for a lease that is never answered."""
    take, broken = Loop._take, []

    def take_badly(self, token, job):
        if not broken:
            broken.append(token)
            raise RuntimeError("a bug")
        take(self, token, job)

    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    monkeypatch.setattr(Loop, "_take", take_badly)
    assert sorted(run(double, 3).values) == [2 * n for n in range(NUMBER)]
    assert broken


@pytest.mark.timeout(60)
@pytest.mark.parametrize("behind", [False, True])
def test_a_loop_rests_only_where_the_driver_does_not_come_to_hear_it(behind, monkeypatch):
    post, rests = Mailbox.post, []

    def post_and_say(self, event):
        post(self, event)
        return behind

    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    monkeypatch.setattr(Mailbox, "post", post_and_say)
    monkeypatch.setattr(loop, "sleep", rests.append)
    assert run(double, 3).values == [2 * n for n in range(NUMBER)]
    assert bool(rests) == behind
