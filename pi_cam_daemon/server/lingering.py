"""Lingering close: a refused client gets its answer, though it is still sending what nobody will read.

A connection that is closed with bytes unread is reset, and the answer may be lost with it. So the sending side is shut
first, and what the client still sends is thrown away, for a while and up to a limit.
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
# peers refused at the door that linger at once; one more closes the oldest
_MOST = 64
# what TLS has for such a case: a fatal alert, access_denied (RFC 8446, section 6)
_ALERT = bytes.fromhex("15 0303 0002 02 31")


class _Lingering:
    """A connection that is being closed, until the moment *until* at most. Raises OSError."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.until = time.monotonic() + _SECONDS
        self._left = _BYTES
        connection.shutdown(socket.SHUT_WR)

    def drain(self) -> bool:
        """Throw away what has come; return whether more may come."""
        received = len(self.connection.recv(65536))
        self._left -= received
        return received > 0 and self._left > 0


def linger(connection: socket.socket) -> None:
    """Wait until the client has taken its answer; raises OSError when it does not in time."""
    lingering = _Lingering(connection)
    while (seconds := lingering.until - time.monotonic()) > 0:
        connection.settimeout(seconds)
        if not lingering.drain():
            return


class RejectedPeers:
    """Answers to peers that are refused at the door, without a thread. Used by the accept loop alone, with its *epoll*.

    The answer is *page*: only the request, which is not read, would tell a person from a program, and programs go by
    the status.
    """

    def __init__(self, epoll: select.epoll, page: RefusalPage) -> None:
        self._epoll = epoll
        self._page = page
        self._leaving: dict[int, _Lingering] = {}

    def say(self, connection: socket.socket, refused: Refused, tls: bool) -> None:
        """Answer why the peer is *refused*, and close *connection* when it has taken that.

        Where *tls* is spoken an alert has to do: words would need a handshake, which is more than a refusal may cost.
        """
        try:
            connection.setblocking(False)
            connection.send(_ALERT if tls else self._answer(refused))
            lingering = _Lingering(connection)
        except OSError:
            connection.close()
            return
        if len(self._leaving) >= _MOST:
            self._close(next(iter(self._leaving)))
        self._leaving[connection.fileno()] = lingering
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _answer(self, refused: Refused) -> bytes:
        body = self._page.body(refused.text, refused.reason)
        headers = {**answers.NO_STORE, **self._page.headers, **refused.headers, "Content-Length": str(len(body))}
        return answers.head(refused.status, headers) + body

    def patience(self, now: float) -> float:
        """Return the seconds until one has to go, as epoll wants them: -1 for none."""
        return max(0.0, min(one.until for one in self._leaving.values()) - now) if self._leaving else -1

    def drain(self, fd: int) -> None:
        """Throw away what came from the peer on *fd*, and close when it is done."""
        if fd not in self._leaving:  # one more may have pushed it out since
            return
        try:
            if self._leaving[fd].drain():
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(fd)

    def end(self, now: float) -> None:
        """Close those whose time is up at *now*."""
        for fd in [fd for fd, one in self._leaving.items() if now >= one.until]:
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._leaving.pop(fd).connection.close()
