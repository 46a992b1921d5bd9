"""Large values travel by shared memory: each reader has its own, a kept view stays as it was, nothing is left."""

import gc
import os
import signal
import sys
from functools import partial
from threading import Lock
from weakref import finalize, ref

import pytest

import dagflow as df
from dagflow import sink
from dagflow.backends.local import mapping, private, segments
from dagflow.core.inbox import LEASE_BYTES
from dagflow.work import codec, draft, execute

pytestmark = pytest.mark.timeout(60)
SIZE = 300_000
SIZES = (SIZE, private.COPIED_MOST + 1)
"""What is copied for who writes to what it is given or keeps it, and what is mapped for everybody."""


class Block:
    """A large value whose buffer travels apart from its pickle, like an array; reads and writes in place."""

    def __init__(self, buffer, number):
        self.view = memoryview(buffer)
        self.number = number

    @classmethod
    def made(cls, number, size=SIZE):
        return cls(bytearray([number % 251]) * size, number)

    def __reduce_ex__(self, protocol):
        import pickle

        return Block, (pickle.PickleBuffer(self.view), self.number)

    def right(self, plus=0):
        """Whether every byte is what the number says."""
        return self.view[:] == bytes([(self.number + plus) % 251]) * len(self.view)


def copy(block):
    assert block.right()
    return Block.made(block.number, len(block.view))


def same(block):
    assert block.right()
    return block


def made(number):
    return Block.made(number)


def making(size):
    return df.TaskManager(partial(Block.made, size=size), name="made")


def overwrite(block):
    """Changes its input in place; sees it as the node before has left it, in each attempt and each branch."""
    assert block.right()
    block.view[:] = bytes([(block.number + 1) % 251]) * len(block.view)
    return block


kept = []


def keep(block):
    """Keeps every third block for ever, and sees that those it has are still as they were."""
    assert all(old.right() for old in kept)
    if block.number % 3 == 0:
        kept.append(block)
    return Block.made(block.number, len(block.view))


def chain(*functions):
    graph = df.Graph(df.TaskManager(functions[0]))
    for function in functions[1:]:
        graph = graph >> df.TaskManager(function)
    return graph


def test_a_chain_gives_what_it_was_given_and_the_results_are_the_users_own():
    blocks = [Block.made(i) for i in range(60)]
    result = chain(copy, same, copy).run(blocks)
    values = result.values
    assert [v.number for v in values] == list(range(60))
    assert all(v.right() for v in values)
    values[0].view[:] = bytes(SIZE)
    assert values[1].right()
    assert result.values[0].right()


def test_values_of_a_stream_outlive_it():
    values = [out.value for out in chain(made, copy).stream(range(200))]
    assert sorted(v.number for v in values) == list(range(200))
    assert all(v.right() for v in values)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_stream_lets_go_of_what_the_user_has_let_go_of(ordered):
    seen = []
    for out in chain(made, copy).stream(range(60), max_in_flight=2, ordered=ordered):
        seen.append(ref(out.value))
        assert sum(value() is not None for value in seen) <= 4  # two at a time, those before, and this one
    assert len(seen) == 60


@pytest.mark.parametrize("size", SIZES)
def test_what_a_user_writes_into_or_keeps_changes_nothing_else(size):
    kept = []
    for out in (making(size) >> df.TaskManager(copy)).stream(range(60 if size == SIZE else 12)):
        assert out.value.right()
        out.value.view[:] = bytes(size)
        kept.append(out.value)
    assert all(v.view == bytes(size) for v in kept)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # from Python 3.12 on
def test_a_child_of_the_users_process_keeps_what_it_reads():
    """Also when its parent has let go of it, and others write into the segment."""
    waits, go = os.pipe()
    stream = chain(made, copy).stream(range(200))
    value = next(stream).value
    child = os.fork()
    if child == 0:
        os.read(waits, 1)
        os._exit(not value.right())
    value = None
    assert all(out.value.right() for out in stream)
    os.write(go, b"!")
    assert os.waitpid(child, 0)[1] == 0
    os.close(waits)
    os.close(go)


def test_a_stream_opens_no_more_ahead_than_the_user_soon_comes_to():
    stream = chain(made).stream(range(150))
    first = next(stream)
    while stream.snapshot().ended < 150:
        assert first.value.right()  # and nothing else is asked for meanwhile
    next(stream)
    opened = sum(type(found) is Block for found in gc.get_objects())
    assert opened <= 2 * (1 + max(sink.BYTES_MOST, LEASE_BYTES) // SIZE), opened
    assert all(out.value.right() for out in stream)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes(kind):
    result = chain(bytes.swapcase if kind is bytes else bytearray.swapcase, len).run(
        [kind(b"ab") * n for n in (1, SIZE)]
    )
    assert result.values == [2, 2 * SIZE]


@pytest.mark.parametrize("size", SIZES)
def test_a_function_that_keeps_its_input_keeps_it_as_it_was(size):
    result = (making(size) >> df.TaskManager(keep) >> df.TaskManager(copy)).run(range(150 if size == SIZE else 20))
    assert not result.get_error_dict()
    assert all(v.right() for v in result.values)


@pytest.mark.parametrize("size", SIZES)
def test_a_retry_gets_the_value_as_it_was_not_as_the_first_attempt_left_it(size, tmp_path):
    def once(block):
        overwrite(block)
        mark = tmp_path / str(block.number)
        if not mark.exists():
            mark.touch()
            raise ConnectionError
        return block

    graph = making(size) >> df.TaskManager(once, retry_delay=0.001)
    result = graph.run(range(20))
    assert not result.get_error_dict()
    assert all(v.right(plus=1) for v in result.values)
    assert result.counts["once"].retried == 20


@pytest.mark.parametrize("size", SIZES)
def test_each_branch_has_its_own(size):
    graph = making(size) >> [df.TaskManager(overwrite), df.TaskManager(same, name="other")] >> df.Merger(list)
    for first, second in graph.run(range(30)).values:
        assert first.right(plus=1)
        assert second.right()


@pytest.mark.parametrize("size", SIZES)
def test_a_task_whose_worker_is_killed_gets_its_value_again(size, tmp_path):
    def killed(block):
        overwrite(block)
        mark = tmp_path / str(block.number)
        if block.number % 7 == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    graph = making(size) >> df.TaskManager(killed, "process", worker_limit=2) >> df.TaskManager(len_of)
    result = graph.run(range(30))
    assert not result.get_error_dict()
    assert result.values == [size] * 30


def len_of(block):
    assert block.right(plus=1)
    return len(block.view)


def parts(number):
    for i in range(number):
        yield Block.made(i)


def total(blocks):
    assert all(block.right() for block in blocks)
    return sum(block.number for block in blocks)


@pytest.mark.parametrize("mode", ["process", "thread", "async", "split", "merge"])
def test_a_worker_that_waits_keeps_nothing_of_its_last_task(mode, tmp_path):
    door = tmp_path / "door"
    os.mkfifo(door)

    def watch(block):
        if block.number == 1:
            finalize(block, door.write_text, "gone")
        return block.number

    async def watch_async(block):
        return watch(block)

    def blocks():
        yield Block.made(1)
        assert door.read_text() == "gone"  # while its worker waits for more
        yield Block.made(2)

    graph = df.Graph(df.TaskManager(same))
    if mode == "split":
        graph = graph >> df.Splitter(lambda block: [watch(block)])
    elif mode == "merge":
        graph = df.Splitter(lambda block: [block]) >> df.TaskManager(same) >> df.Merger(lambda blocks: watch(*blocks))
    else:
        graph = graph >> df.TaskManager(watch_async if mode == "async" else watch, mode, 2)
    assert [out.value for out in graph.stream(blocks())] == [1, 2]


HEAVY = execute.HEAVY + 1000
"""A result of so many bytes is sealed before the next is made."""


class Again:
    """Gives the same buffer each time, with something else in it."""

    def __init__(self):
        self.buffer = bytearray(HEAVY)

    def __call__(self, number):
        self.buffer[:] = bytes([number % 251]) * HEAVY
        return Block(self.buffer, number)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("there", [True, False])
def test_a_function_may_give_one_buffer_again_and_again_if_it_is_large(width, there, monkeypatch):
    if not there:
        monkeypatch.setattr(segments.Segments, "_make", lambda self: None)  # as where there are no descriptors left
    graph = df.TaskManager(Again, "process", worker_limit=width) >> df.TaskManager(same)
    result = graph.run(range(60))
    assert not result.get_error_dict()
    assert [v.number for v in result.values] == list(range(60))
    assert all(v.right() for v in result.values)


def test_what_large_results_come_with():
    """Values that cannot travel, dropped tasks, failures, and small values, in one job."""

    def give(number):
        if number % 7 == 1:
            return Lock()
        if number % 7 == 2:
            return df.DROP
        if number % 7 == 3:
            raise ValueError(number)
        return Block.made(number, HEAVY) if number % 7 else number

    result = chain(give, len_or_number).run(range(70))
    errors = [type(outcome.error) for outcome in result.outcomes]
    kinds = [type(None), df.PayloadError, type(None), ValueError, type(None), type(None), type(None)]
    assert errors == kinds * 10
    assert result.counts["give"].dropped == 10
    assert result.values == [n if n % 7 == 0 else HEAVY for n in range(70) if n % 7 not in (1, 2, 3)]


def len_or_number(value):
    assert isinstance(value, int) or value.right()
    return value if isinstance(value, int) else len(value.view)


def test_large_results_are_told_from_one_another_where_they_cannot_be_read():
    made = draft.Draft(draft.Heap())
    numbers = [1, 2, 3]
    placed = [made.put(Fragile(number)) for number in numbers]
    payload, bad = made.sealed(placed)
    assert (payload.count, bad) == (3, [])
    broken.add(2)
    try:
        values, errors = codec.read_values(payload)
    finally:
        broken.clear()
    assert [v and v.number for v in values] == [1, None, 3]
    assert [(at, "number 2" in str(error)) for at, error in errors.items()] == [(1, True)]


broken = set()


class Fragile:
    def __init__(self, number):
        if number in broken:
            raise RuntimeError(f"number {number}")
        self.number = number

    def __reduce__(self):
        return Fragile, (self.number,)


def test_a_child_of_a_function_writes_nothing_where_its_parent_does():
    graph = df.TaskManager(forking) >> df.TaskManager(same)
    result = graph.run(range(30))
    assert not result.get_error_dict()
    assert all(v.right() for v in result.values)


def forking(number):
    if number % 5 == 4 and os.fork() == 0:
        return Block.made(number + 1, HEAVY)  # which is not what its parent gives
    return Block.made(number, HEAVY)


def test_children_and_members():
    graph = df.Splitter(parts) >> df.TaskManager(copy) >> df.Merger(total)
    assert graph.run([5, 0, 40]).values == [10, 0, 780]


def joined(state, block):
    assert block.right()
    return Block.made(state.number + block.number)


def test_states_of_a_fold():
    graph = df.TaskManager(made) >> df.Merger(lambda b: b.number, of="run", fold=(joined, Block.made(0)))
    assert graph.run(range(40)).values == [780]


@pytest.mark.parametrize("mode", ["thread", "async"])
def test_workers_with_many_tasks_at_once(mode):
    async def later(block):
        return copy(block)

    node = df.TaskManager(copy, "thread", worker_limit=4) if mode == "thread" else df.TaskManager(later, "async")
    values = (df.TaskManager(made) >> node).run(range(60)).values
    assert [v.number for v in values] == list(range(60))
    assert all(v.right() for v in values)


@pytest.mark.parametrize("bound", ["SEGMENTS_MOST", "BYTES_MOST"])
def test_more_held_than_there_are_segments(bound, monkeypatch):
    monkeypatch.setattr(segments, bound, 5 if bound == "SEGMENTS_MOST" else 4 * 2**19)
    graph = df.TaskManager(made) >> df.TaskManager(copy) >> df.Merger(total, of="run")
    assert graph.run(range(100)).values == [4950]
    assert all(v.right() for v in chain(made, copy).run(range(100)).values)


def test_without_descriptors_the_socket_does(monkeypatch):
    create = os.memfd_create

    def none_left(name, flags=0):
        if segments_wanted[0]:
            raise OSError(24, "Too many open files")
        return create(name, flags)

    segments_wanted = [False]
    make = segments.Segments._make

    def refused(self):
        segments_wanted[0] = True
        try:
            return make(self)
        finally:
            segments_wanted[0] = False

    monkeypatch.setattr(os, "memfd_create", none_left)
    monkeypatch.setattr(segments.Segments, "_make", refused)
    assert all(v.right() for v in chain(made, copy).run([*range(40)]).values)


def test_large_buffers_beside_what_plain_pickle_cannot_do():
    """Each belongs to its own value, and travels once."""
    value = [Block.made(1), lambda: 1, Block.made(2), Block.made(3)]
    payload, bad = codec.seal([value, Block.made(4)], prove=True)
    assert not bad
    assert payload.size < 4.1 * SIZE
    [[first, _, second, third], fourth] = codec.open_values(payload)
    assert [b.number for b in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert all(b.right() for b in (first, second, third, fourth))


def test_values_that_cannot_travel_fail_alone_beside_large_ones():
    def give(number):
        return Block.made(number) if number % 2 else Lock()

    result = chain(give, copy).run(range(6))
    assert [type(o.error) for o in result.outcomes] == [df.PayloadError, type(None)] * 3
    assert [v.number for v in result.values] == [1, 3, 5]


@pytest.mark.parametrize("size", SIZES)
def test_a_child_that_a_function_forks_keeps_what_it_reads(size):
    """Also when its parent has let go of it, and others write into the segment."""
    fd = os.memfd_create("test")
    os.ftruncate(fd, size)
    mappings = mapping.Mappings()
    mappings.learn([7], [fd])
    os.pwrite(fd, b"\1" * size, 0)
    delivered = mappings.delivered(7, size)
    view = memoryview(delivered.contents())
    waits, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(waits, 1)
        os._exit(view != b"\1" * size)
    del view, delivered
    assert mappings.let_go() == [7]
    os.pwrite(fd, b"\2" * size, 0)
    os.write(go, b"!")
    assert os.waitpid(child, 0)[1] == 0
    for opened in (fd, waits, go):
        os.close(opened)


class TestViews:
    """A mapping is used again as long as it shows what lies in the segment."""

    @pytest.fixture
    def segment(self):
        fd = os.memfd_create("test")
        os.ftruncate(fd, 2 * SIZE)
        yield fd
        os.close(fd)

    def read(self, views, fd, size=SIZE):
        return Held(views.open(7, fd, size, None))

    def filled(self, fd, number):
        os.pwrite(fd, bytes([number]) * 2 * SIZE, 0)
        return fd

    def mapped(self, fd):
        inode = os.fstat(fd).st_ino
        with open("/proc/self/maps") as maps:
            return [line.split()[0] for line in maps if line.split()[4] == str(inode)]

    def test_one_is_used_again_for_the_next_payload(self, segment):
        views = private.Views()
        seen = set()
        for number in range(1, 5):
            held = self.read(views, self.filled(segment, number), SIZE * (number == 3) + SIZE)
            assert held.view == bytes([number]) * len(held.view)
            seen.update(self.mapped(segment))
            del held
            views.look()
        assert len(seen) == 1
        assert not views.copies(SIZE)

    def test_not_one_that_was_written_to_nor_then_another(self, segment):
        views = private.Views()
        held = self.read(views, self.filled(segment, 1))
        held.view[SIZE - 1] = 9
        del held
        views.look()
        assert self.mapped(segment) == []
        assert views.copies(private.COPIED_MOST)
        assert not views.copies(private.COPIED_MOST + 1)  # the pages of which are rather copied one by one
        assert self.read(views, self.filled(segment, 2)).view == b"\2" * SIZE

    def test_not_one_that_is_being_read(self, segment):
        views = private.Views()
        first, second = self.read(views, self.filled(segment, 1)), self.read(views, segment)
        first.view[0] = 9
        assert second.view == b"\1" * SIZE
        views.look()
        assert len(self.mapped(segment)) == 2

    @pytest.mark.parametrize("how", [private.POPULATE_WRITE, -1])
    def test_its_pages_are_its_own_when_a_function_forks(self, segment, how, monkeypatch):
        monkeypatch.setattr(private, "POPULATE_WRITE", how)  # which older systems do not know
        held = self.read(private.Views(), self.filled(segment, 1))
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        self.filled(segment, 2)
        assert held.view == b"\1" * SIZE

    def test_a_delivery_is_let_go_of_with_its_last_view(self, segment):
        views = private.Views()
        hold = Held(None)
        gone = ref(hold)
        outer = views.open(7, self.filled(segment, 1), SIZE, hold)
        inner = outer[100:200]
        del hold, outer
        views.look()
        assert gone() is not None
        assert inner == b"\1" * 100
        del inner
        views.look()
        assert gone() is None

    def test_who_keeps_much_gets_copies(self, segment):
        views = private.Views()
        kept = []
        while not views.copies(SIZE):
            kept.append(self.read(views, segment))
            views.look()
        assert len(kept) == private.KEPT_MOST + 1

    @pytest.mark.parametrize("why", ["not for everybody", "no ctypes"])
    def test_what_cannot_be_looked_at_is_taken_for_written(self, why, segment, monkeypatch):
        views = private.Views()

        def refused(*args):
            raise PermissionError

        if why == "no ctypes":
            monkeypatch.setitem(sys.modules, "_ctypes", None)
        held = self.read(views, segment)
        if why == "not for everybody":
            monkeypatch.setattr(os, "open", refused)
        del held
        views.look()
        monkeypatch.undo()
        assert views.copies(SIZE)
        assert self.mapped(segment) == []


class Held:
    """A view, and something that can be seen to be gone."""

    def __init__(self, view):
        self.view = view


class TestAccounts:
    """Who has a segment, and when it is free again."""

    def given(self, worker=1, size=100):
        pool = segments.Segments()
        pool.wants(worker, 1, size)
        new, spares, fds = pool.supply(worker, 1)
        assert len(spares) == len(new) == len(fds) == 2
        os.ftruncate(fds[0], size)
        return pool, spares

    def test_a_payload_keeps_its_segment_until_driver_and_workers_are_done(self):
        pool, (number, _) = self.given()
        payload = pool.arrived(1, number, 100, 1)
        for worker in (2, 3):
            new, _, fds = pool.deliver(worker, [number], 1)
            assert number in new
            assert pool.all[number].fd in fds
        assert pool.deliver(2, [number], 1) == ([], [], [])  # it has the descriptor
        del payload
        for worker, left in ((2, True), (3, True), (2, False)):
            pool.collect()
            assert not pool.free
            pool.let_go(worker, [number])
            assert bool(pool.free) is not left
        pool.close()

    def test_a_dead_worker_has_nothing(self):
        pool, (number, spare) = self.given()
        payload = pool.arrived(1, number, 100, 1)
        _, others, _ = pool.deliver(2, [number], 1)
        pool.lost(1)
        assert [s.number for s in pool.free] == [spare]
        pool.lost(2)
        assert {s.number for s in pool.free} == {spare, *others}
        del payload
        pool.collect()
        assert {s.number for s in pool.free} == {number, spare, *others}
        pool.let_go(2, [number])
        assert len(pool.free) == 4
        pool.close()

    def test_spares_come_with_the_first_delivery(self):
        pool, (number, _) = self.given()
        payload = pool.arrived(1, number, 100, 1)
        new, spares, fds = pool.deliver(2, [number], 1)
        assert len(spares) == 2
        assert new == [number, *spares]
        assert fds == [pool.all[n].fd for n in new]
        assert all(pool.all[n].writer == 2 for n in spares)
        assert pool.deliver(2, [number], 1)[1] == []
        assert payload.size == 100
        pool.close()

    def test_workers_that_only_read_do_not_take_all_segments(self):
        pool, (number, _) = self.given()
        payload = pool.arrived(1, number, 100, 1)
        given = [len(pool.deliver(worker, [number], 1)[1]) for worker in range(2, 60)]
        assert set(given) == {0, 2}
        assert len(pool.all) <= segments.SEGMENTS_MOST // 2 + 1
        assert payload.size == 100
        pool.close()

    def test_a_worker_that_writes_nothing_large_gets_no_more_spares(self):
        pool, (number, _) = self.given()
        payload = pool.arrived(1, number, 100, 1)
        assert len(pool.deliver(2, [number], 1)[1]) == 2
        pool.wants(2, 0, 0)
        assert pool.deliver(2, [number], 8)[1] == []
        pool.wants(2, 1, 100)
        assert len(pool.deliver(2, [number], 8)[1]) == 6  # one for each job, as far as spares go
        assert payload.size == 100
        pool.close()

    def test_a_worker_writes_into_its_own_only(self):
        pool, (number, _) = self.given()
        with pytest.raises(ValueError, match="none of worker 2's"):
            pool.arrived(2, number, 100, 1)
        with pytest.raises(ValueError, match="smaller"):
            pool.arrived(1, number, 101, 1)
        pool.close()

    def test_what_a_worker_has_made_larger_stays_so(self):
        """Also if it died before it said so; nobody can cut off what others may be reading."""
        pool, spares = self.given()
        fds = [pool.all[number].fd for number in spares]
        for fd in fds:
            os.ftruncate(fd, 1 << 20)
            with pytest.raises(PermissionError):
                os.ftruncate(fd, 100)
        pool.lost(1)
        for number in range(2):
            kept = pool.store([bytes([number]) * 70_000], 70_000)
            assert kept.contents() == bytes([number]) * 70_000
        assert [os.fstat(fd).st_size for fd in fds] == [1 << 20] * 2
        pool.close()

    def test_what_is_unread_at_the_end_is_kept(self):
        pool, (number, _) = self.given()
        payload = pool.arrived(1, number, 100, 1)
        pool.close()
        assert payload.data == bytes(100)
        assert payload.place is None
