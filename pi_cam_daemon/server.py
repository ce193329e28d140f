"""Who comes in: accepts connections, judges them before anything is read, and gives each a thread for its requests."""

from __future__ import annotations

import errno
import functools
import logging
import math
import os
import select
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pi_cam_daemon import access, mjpeg
from pi_cam_daemon.access import Access, AllowedNetworks, Client
from pi_cam_daemon.adjustments import Adjustments
from pi_cam_daemon.config import HttpConfig, WallConfig
from pi_cam_daemon.farewells import Farewells
from pi_cam_daemon.guard import Guard
from pi_cam_daemon.handler import Handler, peer_name, read_pages
from pi_cam_daemon.health import Probe
from pi_cam_daemon.hub import Audience, Hub
from pi_cam_daemon.logs import Seldom
from pi_cam_daemon.places import Places
from pi_cam_daemon.refusal_page import RefusalPage
from pi_cam_daemon.refused import Reason, Refused
from pi_cam_daemon.request import TLS_HANDSHAKE
from pi_cam_daemon.sites import Sites
from pi_cam_daemon.state import Observer
from pi_cam_daemon.stills import Stills
from pi_cam_daemon.streams import Streams

if TYPE_CHECKING:
    from pi_cam_daemon.logins import Logins
    from pi_cam_daemon.metrics import Metrics

log = logging.getLogger(__name__)

_ACCEPTS_PER_TURN = 64
_BUSY = "No more connections can be taken now; try again in a moment"
# one line for a shortage or a stubborn client, however long it lasts
_COMPLAINT_SECONDS = 60.0


class CameraServer(socketserver.ThreadingTCPServer):
    """Accepts, judges who may come in, and gives each connection a thread for its short requests.

    *listening* is a socket that listens already, and is used instead of the address and port in *http*. Raises OSError
    when it cannot listen.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    pages: Mapping[str, tuple[str, bytes]]

    def __init__(
        self,
        http: HttpConfig,
        guard: Guard,
        wall: WallConfig,
        hub: Hub,
        streams: Streams,
        audience: Audience,
        observer: Observer,
        adjustments: Adjustments,
        stills: Stills,
        listening: socket.socket | None = None,
    ) -> None:
        self.hub = hub
        self.streams = streams
        self.audience = audience
        self.observer = observer
        self.adjustments = adjustments
        self.stills = stills
        self.probe = Probe("accept loop", self._wake)
        self.connections = Places("connection", Reason.MAX_CONNECTIONS, Reason.MAX_CONNECTIONS_PER_ADDRESS)
        self.pages = read_pages()
        self.refusal_page = RefusalPage()
        self.configure(http, guard, wall)
        self._lock = threading.Lock()
        self._denied = dict.fromkeys((reason.label for reason in Reason if reason.label), 0)
        self._answered: Counter[tuple[str, int]] = Counter()
        self._complaints = Seldom(_COMPLAINT_SECONDS)
        self._handed_over: set[socket.socket] = set()
        self._closing = False
        listen_address = http.listen_address
        everywhere = not listen_address and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if everywhere or ":" in listen_address else socket.AF_INET
        super().__init__((listen_address, http.port), Handler, bind_and_activate=listening is None)
        if listening is not None:
            self.socket.close()
            self.socket = listening
        self.server_port: int = self.socket.getsockname()[1]
        self.socket.setblocking(False)
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._epoll.register(self.socket.fileno(), select.EPOLLIN)
        self._farewells = Farewells(self._epoll, self.refusal_page)
        self._thread = threading.Thread(target=self._accept_all, name="accept", daemon=True)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            literal = bool(self.server_address[0])
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, literal)
        super().server_bind()

    def start(self) -> None:
        self._thread.start()

    def configure(self, http: HttpConfig, guard: Guard, wall: WallConfig) -> None:
        """Take *http* and *guard* over, but for the address listened on; who may not look any more is shown out."""
        self.http = http
        self.wall = wall
        self.connections.most = http.max_connections
        self.connections.most_each = http.max_connections_per_address
        self.access = Access(AllowedNetworks(http.allowed_networks), http.trusted_proxies)
        self.sites = Sites(http.allowed_hosts, http.cors_origins)
        self.logins = _logins(guard)
        self.tls = guard.tls
        self.streams.configure(http, self._may_stay)

    def _may_stay(self, client: Client) -> bool:
        """Whether *client*, who watches, could come in now."""
        return self.access.still_admits(client) and (self.logins is None or self.logins.knows(client.user))

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

    def deny(self, reason: Reason, client: str, text: str) -> None:
        """*client* was refused for *reason*; *text* begins with a line that says why."""
        with self._lock:
            self._denied[reason.label] += 1
            if not self._complaints.due((reason, client), time.monotonic()):
                return
        log.warning("refused %s: %s", client, text.partition("\n")[0])

    def denied(self) -> dict[str, int]:
        """How many were refused, by reason."""
        with self._lock:
            return dict(self._denied)

    def hand_over(self, connection: socket.socket, client: Client, head: bytes, interval: float) -> None:
        """Give the socket of a viewer, who has a place, to the stream loop, for good."""
        try:
            self.streams.add(connection, client, head + mjpeg.OPENING, interval)
        except OSError:  # hung up already
            self.streams.give_back_place(client)
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
            secured = self._secured(request, peer_name(client_address))
            if secured is None:
                request.close()
            else:
                super().process_request_thread(secured, client_address)
        finally:
            self.connections.give_back(peer_name(client_address))

    def _secured(self, connection: socket.socket, peer: str) -> socket.socket | None:
        """*connection* as what is spoken on it needs it; None where nothing came of it."""
        if self.tls is None:
            return connection
        from pi_cam_daemon import tls

        deadline = time.monotonic() + self.http.request_timeout_seconds
        try:
            connection.settimeout(self.http.request_timeout_seconds)
            if (first := connection.recv(1, socket.MSG_PEEK)) != TLS_HANDSHAKE:
                return connection if first else None  # plain HTTP, which the handler judges
            return tls.shake_hands(connection, self.tls, deadline)
        except OSError as error:
            self.deny(Reason.TLS, peer, f"no TLS was agreed on: {getattr(error, 'reason', None) or error}")
            return None

    def encrypts(self, connection: socket.socket) -> bool:
        """Whether TLS is spoken on *connection*; asked only where it can be."""
        from ssl import SSLSocket

        return isinstance(connection, SSLSocket)

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
            for fd, _ in self._epoll.poll(self._farewells.patience(time.monotonic()), 64):
                if fd == listener:
                    self._accept()
                elif fd == self._wake_fd:
                    os.eventfd_read(fd)
                else:
                    self._farewells.drain(fd)
            self.probe.answer()
            self._farewells.end(time.monotonic())
        self._farewells.end(math.inf)
        self._epoll.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    with self._lock:
                        due = self._complaints.due(error.errno, time.monotonic())
                    if due:
                        log.error("no connection can be taken: %s", error.strerror)
                    time.sleep(0.1)  # the peer stays in the queue, and the loop would spin on it
                    return
                continue  # it hung up before it was taken
            self._admit(connection, address)

    def _admit(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        """Judge a peer by its address, before a byte is read and a thread is started."""
        peer = peer_name(address)
        try:
            if not self.access.admits(peer):
                raise Refused(Reason.NETWORK, access.refusal(peer))
            self.connections.take(peer, exempt=self.access.trusts(peer))
            try:
                self.process_request(connection, address)
            except RuntimeError as error:  # no thread can be started
                self.connections.give_back(peer)
                raise Refused(Reason.THREADS, _BUSY) from error
        except Refused as refused:
            if refused.reason:
                self.deny(refused.reason, peer, refused.text)
            self._farewells.say(connection, refused, time.monotonic(), self.tls is not None)


def _logins(guard: Guard) -> Logins | None:
    """What judges the users that there are."""
    if guard.users is None:
        return None
    from pi_cam_daemon.logins import Logins

    return Logins(guard.users)
