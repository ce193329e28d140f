"""Answers to peers that are refused at the door: without a thread, without waiting, and delivered all the same."""

from __future__ import annotations

import select
import socket

from pi_cam_daemon.refusal_page import RefusalPage
from pi_cam_daemon.refused import Refused

# A refused peer's request is read and thrown away for this long: closing with unread bytes resets the connection,
# and the answer would be lost with it. At most so many at once; then the oldest goes.
_SECONDS = 2.0
_MOST = 64
_CHUNK = 65536
# what TLS has for such a case: a fatal alert, access_denied (RFC 8446, section 6)
_ALERT = bytes.fromhex("15 0303 0002 02 31")


class Farewells:
    """The connections that were told to go and have not gone yet. Used by the accept loop alone, with its *epoll*.

    What they are told is *page*: whether a person asks is in the request, which is not read, and programs go by the
    status.
    """

    def __init__(self, epoll: select.epoll, page: RefusalPage) -> None:
        self._epoll = epoll
        self._page = page
        self._leaving: dict[int, tuple[socket.socket, float]] = {}
        self._thrown_away = bytearray(_CHUNK)

    def say(self, connection: socket.socket, refused: Refused, now: float, tls: bool) -> None:
        """Answer why it is *refused* on *connection*, and let it go when the peer has taken that.

        Where *tls* is spoken an alert has to do: words would need a handshake, which is more than a refusal may cost.
        """
        answer = _ALERT if tls else self._answer(refused)
        try:
            connection.setblocking(False)
            connection.send(answer)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if len(self._leaving) >= _MOST:
            self._close(next(iter(self._leaving)))
        self._leaving[connection.fileno()] = connection, now + _SECONDS
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _answer(self, refused: Refused) -> bytes:
        body = self._page.body(refused.text, refused.reason)
        headers = {**self._page.headers, **refused.headers}
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"HTTP/1.1 {int(refused.status)} {refused.status.phrase}\r\nConnection: close\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n"
        )
        return head.encode() + body

    def patience(self, now: float) -> float:
        """Seconds until one has to go, as epoll wants them: -1 for none."""
        return max(0.0, min(until for _, until in self._leaving.values()) - now) if self._leaving else -1

    def drain(self, fd: int) -> None:
        """Throw away what came from the peer on *fd*, and close when it is done."""
        if fd not in self._leaving:  # one more may have pushed it out since
            return
        connection, _ = self._leaving[fd]
        try:
            if connection.recv_into(self._thrown_away):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(fd)

    def end(self, now: float) -> None:
        """Close those whose time is up at *now*."""
        for fd in [fd for fd, (_, until) in self._leaving.items() if now >= until]:
            self._close(fd)

    def _close(self, fd: int) -> None:
        connection, _ = self._leaving.pop(fd)
        self._epoll.unregister(fd)
        connection.close()
