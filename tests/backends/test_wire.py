"""Frames arrive whole whatever pieces the socket makes of them, and descriptors with the frame they were sent with."""

import array
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagflow.backends.local.wire import READ_LEAST, READ_MOST, Reader, WireError, Writer, pack

frames = st.lists(
    st.tuples(
        st.integers(0, 2**63),
        st.tuples(st.text(max_size=20), st.integers()),
        st.lists(st.binary(max_size=300), max_size=9),
    ),
    max_size=6,
)


@given(frames, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_frames_in_pieces(sent, sizes):
    data = b"".join(b"".join(pack(*frame)) for frame in sent)
    reader, found, at, turn = Reader(), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += reader.frames(data[at : at + size])
        at, turn = at + size, turn + 1
    assert found == sent


def test_a_frame_counts_only_when_it_is_whole():
    data = b"".join(pack(7, ("x",), [bytes(1000)]))
    reader = Reader()
    assert reader.frames(data[:-1]) == []
    assert reader.frames(data[-1:]) == [(7, ("x",), [bytes(1000)])]


def test_more_is_read_at_a_time_where_much_is_missing():
    data = b"".join(pack(7, ("x",), [bytes(500_000)]))
    reader = Reader()
    assert reader.wanted() == READ_LEAST
    reader.frames(data[:1000])
    assert reader.wanted() == READ_MOST
    assert len(reader.frames(data[1000:])) == 1
    assert reader.wanted() == READ_LEAST


def test_a_wrong_checksum_is_an_error():
    data = bytearray(b"".join(pack(7, ("x",), [])))
    data[-1] ^= 1
    with pytest.raises(WireError):
        Reader().frames(bytes(data))


class Narrow:
    """A socket that takes so many bytes at a time, and now and then none."""

    def __init__(self, sock, sizes):
        self.sock, self.sizes, self.turn = sock, sizes, 0

    def sendmsg(self, buffers, rights=()):
        size = self.sizes[self.turn % len(self.sizes)]
        self.turn += 1
        if not size:
            raise BlockingIOError
        return self.sock.sendmsg([b"".join(map(bytes, buffers))[:size]], list(rights))


@given(
    st.lists(st.tuples(st.lists(st.binary(max_size=90), max_size=3), st.integers(0, 2)), min_size=1, max_size=6),
    st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any),
)
def test_descriptors_come_with_the_frame_they_were_sent_with(sent, sizes):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # pieces of a few bytes fill it long before it holds as many bytes as it may
    reader, kept, waiting, found = Reader(), [], [], []
    writer = Writer(Narrow(ours, sizes))

    def read(flags=0):
        """Take in what has come; whether there was anything."""
        nonlocal waiting
        try:
            data, rights, _, _ = theirs.recvmsg(50, socket.CMSG_SPACE(256), flags)
        except BlockingIOError:
            return False
        for _, _, part in rights:
            waiting += array.array("i", part[: len(part) // 4 * 4])
        for token, (_, fds), blobs in reader.frames(data):
            here, waiting = waiting[:fds], waiting[fds:]
            assert [os.pread(fd, 2, 0) for fd in here] == [bytes([token, place]) for place in range(fds)]
            kept.extend(here)
            found.append((blobs, fds))
        return bool(data)

    with ours, theirs:
        done = True
        for number, (blobs, fds) in enumerate(sent):
            pipes = [os.memfd_create(f"{number}") for _ in range(fds)]
            kept += pipes
            for place, fd in enumerate(pipes):
                os.write(fd, bytes([number, place]))
            done = writer.send(pack(number, ("f", fds), blobs), pipes or None)
        while not done:
            done = writer.flush()
            if not done:
                read(socket.MSG_DONTWAIT)
        ours.shutdown(socket.SHUT_WR)
        while read():
            pass
        assert found == sent
        assert not waiting
    for fd in kept:
        os.close(fd)


def test_a_frame_of_more_buffers_than_one_call_takes():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        blobs = [bytes([i % 256]) for i in range(2000)]
        assert Writer(ours).send(pack(1, (), blobs))
        reader, found = Reader(), []
        while not found:
            found = reader.frames(theirs.recv(READ_LEAST))
        assert found == [(1, (), blobs)]
