"""Who comes in: accepts connections, judges them before anything is read, and gives each a thread for its requests."""

from __future__ import annotations

import errno
import functools
import logging
import os
import select
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

from pi_cam_daemon import mjpeg
from pi_cam_daemon.access import AllowedNetworks
from pi_cam_daemon.handler import Handler, peer_name, read_pages
from pi_cam_daemon.health import Probe
from pi_cam_daemon.hub import Audience, Hub
from pi_cam_daemon.state import Observer
from pi_cam_daemon.streams import Streams

if TYPE_CHECKING:
    from pi_cam_daemon.metrics import Metrics

log = logging.getLogger(__name__)

# A refused peer's request is read and thrown away for this long: closing with unread bytes resets the connection,
# and the answer would be lost with it. At most so many at once; then the oldest goes.
_REFUSAL_SECONDS = 2.0
_MOST_REFUSALS = 64
_BUSY = "Too many connections; try again in a moment\n"
_ACCEPTS_PER_TURN = 64
# one line for a shortage, however long it lasts
_COMPLAINT_SECONDS = 60.0


class CameraServer(ThreadingHTTPServer):
    """Accepts, judges who may come in, and gives each connection a thread for its short requests.

    *listen_address* is empty for every address of the machine; *listening* is a socket that listens already, and is
    used instead. Raises OSError when it cannot listen.
    """

    daemon_threads = True
    request_queue_size = 128
    pages: Mapping[str, tuple[str, bytes]]

    def __init__(
        self,
        listen_address: str,
        port: int,
        hub: Hub,
        streams: Streams,
        audience: Audience,
        observer: Observer,
        listening: socket.socket | None = None,
    ) -> None:
        self.hub = hub
        self.streams = streams
        self.audience = audience
        self.observer = observer
        self.probe = Probe("accept loop", self._wake)
        self.allowed = AllowedNetworks(())
        self.max_connections = 0
        self.request_timeout_seconds = 0.0
        self.pages = read_pages()
        self.denied = {"network": 0, "connections": 0}
        self._lock = threading.Lock()
        self._answered: Counter[tuple[str, int]] = Counter()
        self._connections = 0
        self._handed_over: set[socket.socket] = set()
        self._refused: dict[int, tuple[socket.socket, float]] = {}
        self._complain_at = 0.0
        self._closing = False
        everywhere = not listen_address and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if everywhere or ":" in listen_address else socket.AF_INET
        super().__init__((listen_address, port), Handler, bind_and_activate=listening is None)
        if listening is not None:
            self.socket.close()
            self.socket = listening
            self.server_name, self.server_port = listening.getsockname()[:2]
        self.socket.setblocking(False)
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._epoll.register(self.socket.fileno(), select.EPOLLIN)
        self._thread = threading.Thread(target=self._accept_all, name="accept", daemon=True)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the DNS for the machine's own name: seconds, on a network without one.
        if self.address_family == socket.AF_INET6:
            literal = bool(self.server_address[0])
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, literal)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Take no more connections. Requests under way end with the process; they are short."""
        self._closing = True
        self._wake()
        self._thread.join(timeout)
        self.server_close()

    @functools.cached_property
    def metrics(self) -> Metrics:
        """What /metrics gives; its library is loaded for those who ask."""
        from pi_cam_daemon.metrics import Metrics

        return Metrics(self)

    def count(self, endpoint: str, status: int) -> None:
        """A request to *endpoint*, one of a fixed set, was answered with *status*."""
        with self._lock:
            self._answered[endpoint, status] += 1

    def answered(self) -> dict[tuple[str, int], int]:
        """How many requests were answered, by endpoint and status."""
        with self._lock:
            return dict(self._answered)

    def hand_over(self, connection: socket.socket, peer: str, head: bytes, interval: float) -> None:
        """Give a reserved viewer's socket to the stream loop, for good."""
        try:
            self.streams.add(connection, peer, head + mjpeg.OPENING, interval)
        except OSError:  # hung up already
            self.streams.release()
            return
        with self._lock:
            self._handed_over.add(connection)

    # -- overridden parts of socketserver

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._lock:
            if request in self._handed_over:
                self._handed_over.remove(request)
                return
        super().shutdown_request(request)

    def process_request_thread(self, request: socket.socket, client_address: tuple[object, ...]) -> None:  # type: ignore[override]
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections -= 1

    def handle_error(self, request: object, client_address: tuple[object, ...]) -> None:  # noqa: ARG002
        error = sys.exc_info()[1]
        if isinstance(error, OSError):  # the client is gone, or took its time
            log.debug("%s: %s", peer_name(client_address), error)
        else:
            log.error("a request of %s failed", peer_name(client_address), exc_info=True)

    # -- the accept loop

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _accept_all(self) -> None:
        listener = self.socket.fileno()
        while not self._closing:
            for fd, _ in self._epoll.poll(_REFUSAL_SECONDS if self._refused else -1, 64):
                if fd == listener:
                    self._accept()
                elif fd == self._wake_fd:
                    os.eventfd_read(fd)
                elif fd in self._refused:  # one more refusal may have pushed it out since
                    self._drain(fd)
            self.probe.answer()
            now = time.monotonic()
            for fd in [fd for fd, (_, until) in self._refused.items() if now >= until]:
                self._forget(fd)
        for fd in list(self._refused):
            self._forget(fd)
        self._epoll.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    if time.monotonic() >= self._complain_at:
                        log.error("no connection can be taken: %s", error.strerror)
                        self._complain_at = time.monotonic() + _COMPLAINT_SECONDS
                    time.sleep(0.1)  # the peer stays in the queue, and the loop would spin on it
                    return
                continue  # it hung up before it was taken
            self._admit(connection, address)

    def _admit(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        peer = peer_name(address)
        if not self.allowed.contains(str(address[0])):
            self.denied["network"] += 1
            log.warning("refused %s: not in http.allowed_networks", peer)
            self._refuse(connection, HTTPStatus.FORBIDDEN, _refusal(peer))
        elif self._connections >= self.max_connections:
            self.denied["connections"] += 1
            log.warning("refused %s: http.max_connections = %d are open", peer, self.max_connections)
            self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, _BUSY)
        else:
            with self._lock:
                self._connections += 1
            try:
                self.process_request(connection, address)
            except RuntimeError as error:  # no thread can be started
                with self._lock:
                    self._connections -= 1
                log.error("refused %s: %s", peer, error)
                self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, _BUSY)

    def _refuse(self, connection: socket.socket, status: HTTPStatus, text: str) -> None:
        """Answer before anything was read, without a thread and without waiting."""
        body = text.encode()
        head = (
            f"HTTP/1.1 {int(status)} {status.phrase}\r\nConnection: close\r\nCache-Control: no-store\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection.setblocking(False)
            connection.send(head.encode() + body)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if len(self._refused) >= _MOST_REFUSALS:
            self._forget(next(iter(self._refused)))
        self._refused[connection.fileno()] = connection, time.monotonic() + _REFUSAL_SECONDS
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _drain(self, fd: int) -> None:
        connection, _ = self._refused[fd]
        try:
            if connection.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._forget(fd)

    def _forget(self, fd: int) -> None:
        connection, _ = self._refused.pop(fd)
        self._epoll.unregister(fd)
        connection.close()


def _refusal(peer: str) -> str:
    return (
        f"This camera does not serve {peer}.\n\n"
        "Its owner can let you in: add your network to allowed_networks in /etc/pi-cam-daemon/config.toml, as in\n\n"
        f'[http]\nallowed_networks = ["local", "{peer}"]\n\n'
        "and reload the service: sudo systemctl reload pi-cam-daemon\n"
    )
