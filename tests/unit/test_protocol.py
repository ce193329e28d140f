import itertools
import socket
import struct
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_cam_daemon.errors import ProtocolError
from pi_cam_daemon.ipc.protocol import HEADER, LONGEST_FRAME, LONGEST_OTHER, Kind, Message, Reader, pack
from tests.kit.lateness import patience

MESSAGES = st.tuples(
    st.sampled_from(Kind),
    st.binary(max_size=300),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The writing and the reading end, in this order; the reading end does not block."""
    writer, reader = socket.socketpair()
    reader.setblocking(False)
    with writer, reader:
        yield writer, reader


def read_all(reader: Reader) -> list[Message]:
    found = []
    while (message := reader.read()) is not None:
        found.append(message)
    return found


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_arrives_as_it_was_sent(kind: Kind, ends: tuple[socket.socket, socket.socket]) -> None:
    writer, sock = ends
    writer.sendall(pack(kind, b"payload", -5))
    message = Reader(sock).read()
    assert message is not None
    assert (message.kind, message.payload, message.captured_ns) == (kind, b"payload", -5)


def test_there_is_no_message_before_its_last_byte(ends: tuple[socket.socket, socket.socket]) -> None:
    writer, sock = ends
    reader = Reader(sock)
    data = pack(Kind.HELLO, b"{}")
    for byte in data[:-1]:
        writer.sendall(bytes([byte]))
        assert reader.read() is None
    writer.sendall(data[-1:])
    message = reader.read()
    assert message is not None
    assert message.payload == b"{}"


@settings(max_examples=100, deadline=None)
@given(messages=st.lists(MESSAGES, max_size=6), cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=8))
def test_messages_survive_being_split_anywhere(messages: list[tuple[Kind, bytes, int]], cuts: list[int]) -> None:
    data = b"".join(pack(*message) for message in messages)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    writer, sock = socket.socketpair()
    found = []
    with writer, sock:
        sock.setblocking(False)
        reader = Reader(sock)
        for start, end in itertools.pairwise(edges):
            writer.sendall(data[start:end])
            found += read_all(reader)
    assert [(message.kind, message.payload, message.captured_ns) for message in found] == messages


@settings(max_examples=200, deadline=None)
@given(before=st.lists(MESSAGES, max_size=2), garbage=st.binary(max_size=400))
def test_garbage_raises_protocol_error_or_eof_and_nothing_else(
    before: list[tuple[Kind, bytes, int]], garbage: bytes
) -> None:
    writer, sock = socket.socketpair()
    with sock:
        with writer:
            writer.sendall(b"".join(pack(*message) for message in before) + garbage)
        reader = Reader(sock)
        found = []
        with pytest.raises((ProtocolError, EOFError)):
            while True:
                found.append(reader.read())
    assert len(found) >= len(before)


@pytest.mark.parametrize(
    ("kind", "longest"), [(kind, LONGEST_FRAME if kind is Kind.STILL else LONGEST_OTHER) for kind in Kind]
)
def test_a_length_over_the_limit_is_refused_before_memory_is_taken(
    kind: Kind, longest: int, ends: tuple[socket.socket, socket.socket]
) -> None:
    writer, sock = ends
    for length in (longest + 1, 2**32 - 1):
        writer.sendall(HEADER.pack(kind, length, 0))
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match=str(longest)):
                Reader(sock).read()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 64 * 1024


def test_the_longest_messages_are_accepted(ends: tuple[socket.socket, socket.socket]) -> None:
    writer, sock = ends
    reader = Reader(sock)
    for kind, length in ((Kind.STILL, LONGEST_FRAME), (Kind.HELLO, LONGEST_OTHER)):
        writer.sendall(HEADER.pack(kind, length, 0))
        assert reader.read() is None
        rest = length
        while rest:
            rest -= writer.send(bytes(min(rest, 64 * 1024)))
            message = reader.read()
        assert message is not None
        assert len(message.payload) == length


def test_an_unknown_kind_is_refused_again_and_again(ends: tuple[socket.socket, socket.socket]) -> None:
    writer, sock = ends
    reader = Reader(sock)
    writer.sendall(HEADER.pack(99, 0, 0) + pack(Kind.BEAT, bytes(8)))
    for _ in range(3):
        with pytest.raises(ProtocolError, match="99"):
            reader.read()


def test_a_message_that_was_read_stays_unchanged(ends: tuple[socket.socket, socket.socket]) -> None:
    writer, sock = ends
    reader = Reader(sock)
    found = []
    for number in range(5):
        writer.sendall(pack(Kind.FRAME, b"%d" % number * 20_000) + pack(Kind.BEAT, bytes(8)))
        found += read_all(reader)
    assert [message.payload for message in found[::2]] == [b"%d" % number * 20_000 for number in range(5)]


def test_the_reader_knows_when_its_buffer_is_empty(ends: tuple[socket.socket, socket.socket]) -> None:
    writer, sock = ends
    reader = Reader(sock)
    assert not reader.drained
    beat = pack(Kind.BEAT, bytes(8))
    for count in (1, 3):
        writer.sendall(beat * count)
        drained = []
        for _ in range(count):
            assert reader.read() is not None
            drained.append(reader.drained)
        assert drained == [False] * (count - 1) + [True]
    writer.sendall(beat + beat[:-1])
    assert reader.read() is not None
    assert not reader.drained


def test_a_blocking_socket_with_a_deadline_keeps_it(ends: tuple[socket.socket, socket.socket]) -> None:
    _, sock = ends
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        Reader(sock).read()


def test_any_end_of_the_other_side_is_eof() -> None:
    writer, sock = socket.socketpair()
    with sock:
        writer.sendall(pack(Kind.BEAT, bytes(8))[:-1])
        writer.close()
        with pytest.raises(EOFError):
            Reader(sock).read()
    # a TCP connection that is reset, as the harshest end there is
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
        with sock:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            sock.settimeout(patience(5))
            with pytest.raises(EOFError):
                Reader(sock).read()


def test_the_header_is_16_bytes_as_the_module_says() -> None:
    assert pack(Kind.FRAME, b"\xff", 258) == bytes.fromhex("02000000 01000000 0201000000000000 ff")
