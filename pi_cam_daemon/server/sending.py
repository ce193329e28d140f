"""Sends answers without a copy of the picture, and finds the clients to drop when slow ones keep too many pictures.

A slow client keeps the picture that it is getting in memory. Clients that get the same picture share it, but each one
of them may have another.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from pi_cam_daemon.server.request import set_deadline

# Unsent bytes that the kernel may hold for a client. Without a limit up to 4 MiB of old pictures queue there, and a
# viewer that reads 0.5 MB/s sees pictures 6 s late; with it 0.4 s. It also shows whether a client takes anything.
_UNSENT_BYTES = 16 * 1024
_TCP_NOTSENT_LOWAT = 25  # tcp(7); the socket module does not name it
# A client that takes less on average is given up. At 64 kbit/s each of a browser's six connections has more.
_LEAST_BYTES_PER_SECOND = 1000
# shorter answers fit into the socket in any case
_SHORT_BYTES = 16 * 1024


def limit_unsent(sock: socket.socket) -> None:
    """Keep the kernel from buffering more than it can send soon. Raises OSError."""
    if sock.family != socket.AF_UNIX:  # there the buffer is small, and what is in it has arrived
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def longest_seconds(length: int, timeout: float) -> float:
    """Return how long *length* bytes may take a client that may pause for *timeout* seconds."""
    return timeout + length / _LEAST_BYTES_PER_SECOND


class Transfer(Protocol):
    """A part that is being sent to a client since *begun_at* (monotonic); *offset* of its bytes are sent."""

    part: bytes | None
    offset: int
    begun_at: float


T = TypeVar("T", bound=Transfer)


def too_many(transfers: Iterable[T], newest: Sequence[bytes | None], most: int, now: float) -> list[T]:
    """Return the slowest *transfers*, without which the others keep at most *most* bytes.

    A part counts once. The *newest* do not count, because they stay in any case. One other part is always allowed. A
    part goes with all its transfers, and the part whose fastest transfer is the slowest goes first.
    """
    by_part: dict[int, list[T]] = {}
    sizes: dict[int, int] = {}
    for one in transfers:
        if (part := one.part) is not None and not any(part is kept for kept in newest):
            by_part.setdefault(id(part), []).append(one)
            sizes[id(part)] = len(part)
    total = sum(sizes.values())
    if total <= most:
        return []
    dropped: list[T] = []
    for key in sorted(by_part, key=lambda key: max(_speed(one, now) for one in by_part[key]))[:-1]:
        if total <= most:
            break
        total -= sizes[key]
        dropped += by_part[key]
    return dropped


def _speed(one: Transfer, now: float) -> float:
    return one.offset / max(now - one.begun_at, 0.001)


class Answer:
    """One answer that is being sent to *client*. *part* is the buffer that *body* is in."""

    __slots__ = ("_body", "_sock", "begun_at", "client", "offset", "part")

    def __init__(self, sock: socket.socket, client: str, body: bytes | memoryview) -> None:
        self._sock = sock
        self._body = memoryview(body)
        self.client = client
        self.part: bytes | None = self._body.obj  # type: ignore[assignment]
        self.offset = 0
        self.begun_at = time.monotonic()

    def send(self, head: bytes) -> None:
        """Send *head* and the body.

        Raises OSError if the client takes nothing for the timeout of the socket, or too little in all.
        """
        pause = self._sock.gettimeout() or 0.0
        deadline = self.begun_at + longest_seconds(len(head) + len(self._body), pause)
        # ONE write: with two, Nagle's algorithm and delayed ACK cost 44 ms
        self.offset = self._sock.sendmsg((head, self._body)) - len(head)
        while self.offset < len(self._body):
            set_deadline(self._sock, min(deadline, time.monotonic() + pause))
            if self.offset < 0:
                self.offset += self._sock.sendmsg((head[self.offset :], self._body))
            else:
                self.offset += self._sock.send(self._body[self.offset :])

    def cut(self) -> None:
        """End the connection; its thread then gets an OSError."""
        with contextlib.suppress(OSError):
            # not the method of an SSLSocket, which changes what the other thread uses
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


class Answers:
    """The longer answers that are being sent. *crowded* is called when they may have to be limited. Thread-safe.

    *dropped* counts the clients, viewers too, that were disconnected because they are slow, by reason.
    """

    def __init__(self, crowded: Callable[[], None]) -> None:
        self.most_bytes = 0
        self.dropped = Counter(dict.fromkeys(("max_pending_bytes", "timeout"), 0))
        self._crowded = crowded
        self._bytes = 0
        self._sent: set[Answer] = set()
        self._lock = threading.Lock()

    def send(self, sock: socket.socket, client: str, head: bytes, body: bytes | memoryview) -> None:
        """Send *head* and *body*. Raises OSError if the client was cut, or is too slow (see `Answer.send`)."""
        answer = Answer(sock, client, body)
        try:
            if len(body) <= _SHORT_BYTES:
                answer.send(head)
            else:
                limit_unsent(sock)
                self._send_long(answer, head, len(body))
        except TimeoutError:
            self.count_dropped("timeout")
            raise

    def _send_long(self, answer: Answer, head: bytes, length: int) -> None:
        with self._lock:
            self._sent.add(answer)
            self._bytes += length
        try:
            if self._bytes > self.most_bytes:
                self._crowded()
            answer.send(head)
        finally:
            with self._lock:
                self._sent.discard(answer)
                self._bytes -= length

    def count_dropped(self, reason: str) -> None:
        """Count a client that is disconnected because it is slow; *reason* is a key of `dropped`."""
        with self._lock:
            self.dropped[reason] += 1

    def under_way(self) -> list[Answer]:
        """Return the answers that are being sent."""
        if not self._sent:
            return []
        with self._lock:
            return list(self._sent)

    def cut(self, answer: Answer) -> None:
        """End the connection of *answer*, unless it is done."""
        with self._lock:  # its connection must not be closed meanwhile, and the descriptor used for another one
            if answer in self._sent:
                self._sent.remove(answer)
                answer.cut()
