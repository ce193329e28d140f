"""Lingering close: delivers the answer to a refused client that is still sending.

Closing a connection with unread bytes resets it, and the answer may be lost. So the sending side is shut down first.
What the client still sends is read and ignored, for some seconds and up to a number of bytes.
"""

from __future__ import annotations

import select
import socket
import time

from pi_cam_daemon.server import answers
from pi_cam_daemon.server.refusal_page import RefusalPage
from pi_cam_daemon.server.refused import Refused

_SECONDS = 2.0
_BYTES = 1 << 20
# peers refused at accept that linger at the same time; one more closes the oldest
_MOST = 64
# fatal TLS alert access_denied (RFC 8446, section 6)
_ALERT = bytes.fromhex("15 0303 0002 02 31")


class _Lingering:
    """A connection that is being closed, at the latest at *deadline* (monotonic). Its methods raise OSError."""

    def __init__(self, connection: socket.socket, buffer: bytearray) -> None:
        self.connection, self._buffer = connection, buffer
        self.deadline, self._left = time.monotonic() + _SECONDS, _BYTES
        connection.shutdown(socket.SHUT_WR)

    def drain(self) -> bool:
        """Read and ignore what has come; return whether to go on."""
        received = self.connection.recv_into(self._buffer)
        self._left -= received
        return received > 0 and self._left > 0


def linger(connection: socket.socket) -> None:
    """Wait until the client closes its side, or for two seconds. Raises OSError."""
    lingering = _Lingering(connection, bytearray(1 << 16))
    while (seconds := lingering.deadline - time.monotonic()) > 0:
        connection.settimeout(seconds)
        if not lingering.drain():
            return


class RejectedPeers:
    """Answers peers that are refused at accept, without a thread. Only the accept loop uses it, with its *epoll*.

    The answer is always *page*, because without the request nobody knows whether a browser sent it.
    """

    def __init__(self, epoll: select.epoll, page: RefusalPage) -> None:
        self._epoll = epoll
        self._page = page
        self._closing: dict[int, _Lingering] = {}
        self._buffer = bytearray(1 << 16)  # for all of them: a new one for each chunk would grow the heap

    def answer(self, connection: socket.socket, refused: Refused, language: str, tls: bool) -> None:
        """Send the answer, and close *connection* later. With *tls* it is an alert: a page would need a handshake.

        *language* is the page's first one; that of the browser is in the request, which is not read.
        """
        try:
            connection.setblocking(False)
            connection.send(_ALERT if tls else self._page_answer(refused, language))
            lingering = _Lingering(connection, self._buffer)
        except OSError:
            connection.close()
            return
        if len(self._closing) >= _MOST:
            self._close(next(iter(self._closing)))
        self._closing[connection.fileno()] = lingering
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _page_answer(self, refused: Refused, language: str) -> bytes:
        body = self._page.body(refused, language)
        headers = {**answers.NO_STORE, **self._page.headers, **refused.headers, "Content-Length": str(len(body))}
        return answers.head(refused.status, headers) + body

    def timeout(self, now: float) -> float:
        """Return the seconds until the next deadline, for epoll; -1 for none."""
        return max(0.0, min(one.deadline for one in self._closing.values()) - now) if self._closing else -1

    def drain(self, fd: int) -> None:
        """Read and ignore what the peer on *fd* sent; close the connection at its end."""
        if fd not in self._closing:  # closed in the same turn, to make room for another one
            return
        try:
            if self._closing[fd].drain():
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(fd)

    def expire(self, now: float) -> None:
        """Close the connections whose deadline has passed at *now*."""
        for fd in [fd for fd, one in self._closing.items() if now >= one.deadline]:
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._closing.pop(fd).connection.close()
