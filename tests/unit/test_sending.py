"""Answers to real clients over loopback TCP: slow ones get all, and keep no more pictures than allowed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pi_cam_daemon.server import sending
from pi_cam_daemon.server.sending import Answers, too_many
from tests.kit.lateness import patience
from tests.kit.wait import until

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
LENGTH = 4_000_000


@dataclass(eq=False)
class Sent:
    part: bytes | None
    offset: int
    begun_at: float = 0.0


A, B, C, D = (bytes([number]) * 100 for number in range(4))


def test_nothing_is_too_many_below_the_limit() -> None:
    assert too_many([], [A], 0, 1.0) == []
    assert too_many([Sent(A, 1), Sent(B, 1), Sent(None, 0)], [C], 200, 1.0) == []


def test_a_part_counts_once_and_the_newest_of_each_size_does_not_count() -> None:
    assert too_many([Sent(A, 1), Sent(A, 1), Sent(A, 1), Sent(B, 1), Sent(C, 1)], [C], 200, 1.0) == []
    three = [Sent(A, 1), Sent(B, 2), Sent(C, 3), Sent(D, 4)]
    assert too_many(three, [A, B], 200, 1.0) == [] != too_many(three, [A, None], 200, 1.0)


def test_the_slowest_go_first() -> None:
    slow, quick, late = Sent(A, 50), Sent(B, 80), Sent(C, 20, begun_at=0.9)
    assert too_many([quick, slow, late], (), 200, 1.0) == [slow]
    assert too_many([quick, slow, late], (), 100, 1.0) == [slow, quick]


def test_a_slow_one_that_shares_the_part_of_a_quick_one_stays() -> None:
    alone = Sent(B, 40)
    assert too_many([Sent(A, 1), Sent(A, 90), alone], (), 100, 1.0) == [alone]


def test_one_part_may_always_wait() -> None:
    assert too_many([Sent(A, 1), Sent(A, 2)], (), 10, 1.0) == []


class Client:
    """A client whose answer is sent by a thread; *error* is what ended it."""

    def __init__(self, listener: socket.socket) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(patience(10))
        self.sock.connect(listener.getsockname())
        self.ours, _ = listener.accept()
        self.error: OSError | None = None
        self._thread: threading.Thread | None = None

    def begin(self, answers: Answers, body: bytes, timeout: float = 60.0) -> None:
        self.ours.settimeout(timeout)

        def send() -> None:
            try:
                answers.send(self.ours, "192.168.1.5", HEAD, body)
            except OSError as error:
                self.error = error
            self.ours.close()

        self._thread = threading.Thread(target=send)
        self._thread.start()

    def take(self, bytes_per_second: float = 1e9) -> bytes:
        """Return everything up to the end."""
        taken, begun = bytearray(), time.monotonic()
        while piece := self.sock.recv(1 << 16):
            taken += piece
            time.sleep(max(0.0, begun + len(taken) / bytes_per_second - time.monotonic()))
        return bytes(taken)

    def close(self) -> None:
        self.sock.close()
        if self._thread:
            self._thread.join(patience(10))
        self.ours.close()


@pytest.fixture
def client() -> Iterator[Callable[[], Client]]:
    clients = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def make() -> Client:
            clients.append(Client(listener))
            return clients[-1]

        yield make
        for one in clients:
            one.close()


def test_a_client_that_takes_longer_than_the_timeout_gets_all(client: Callable[[], Client]) -> None:
    body = bytes(range(256)) * (LENGTH * 2 // 256)  # more than a socket can buffer
    slow, timeout = client(), patience(0.5)
    slow.begin(Answers(lambda: None), body, timeout)
    assert slow.take(len(body) / timeout / 4) == HEAD + body


def test_a_client_that_takes_nothing_for_the_timeout_is_given_up(client: Callable[[], Client]) -> None:
    stuck = client()
    answers = Answers(lambda: None)
    stuck.begin(answers, bytes(LENGTH), timeout=0.3)
    until("it is given up", lambda: stuck.error)
    assert isinstance(stuck.error, TimeoutError)
    assert answers.dropped == {"timeout": 1, "max_pending_bytes": 0}


def test_a_client_that_drips_is_given_up(client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_LEAST_BYTES_PER_SECOND", LENGTH * 4)
    drips = client()
    drips.begin(Answers(lambda: None), bytes(LENGTH * 2), timeout=1.0)

    def one_more() -> OSError | None:
        drips.sock.recv(8192)  # so much that its kernel tells ours of the room
        return drips.error

    until("it is given up", one_more)
    assert isinstance(drips.error, TimeoutError)


def test_a_client_that_takes_a_little_each_time_gets_the_head_whole() -> None:
    ours, theirs = socket.socketpair()

    class Narrow:
        """Takes a byte at a time."""

        def gettimeout(self) -> float:
            return 1.0

        def settimeout(self, _: float) -> None: ...

        def sendmsg(self, buffers: tuple[bytes, bytes]) -> int:
            return ours.send(b"".join(buffers)[:1])

        def send(self, data: bytes) -> int:
            return ours.send(data[:1])

    with ours, theirs:
        Answers(lambda: None).send(Narrow(), "a", HEAD, b"the body")  # type: ignore[arg-type]
        ours.shutdown(socket.SHUT_WR)
        assert theirs.recv(100) == HEAD + b"the body"


def test_an_answer_that_is_cut_ends_while_another_one_goes_on(client: Callable[[], Client]) -> None:
    crowded = threading.Event()
    answers = Answers(crowded.set)
    answers.most_bytes = LENGTH
    first, second = client(), client()
    first.begin(answers, bytes(LENGTH))
    until("one answer", lambda: len(answers.under_way()) == 1)
    assert not crowded.is_set()
    (slow,) = answers.under_way()
    second.begin(answers, bytes(LENGTH))
    until("two answers", lambda: len(answers.under_way()) == 2)
    assert crowded.wait(patience(10))
    answers.cut(slow)
    until("it has ended", lambda: first.error)
    assert second.take() == HEAD + bytes(LENGTH)
    until("no answers", lambda: not answers.under_way())
    answers.cut(slow)  # too late, and no harm
