"""Accept loop: checks the address of peers and the limits, and starts one thread per connection."""

from __future__ import annotations

import _thread
import errno
import functools
import http.server
import logging
import math
import os
import select
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.server import refusal_page
from pi_cam_daemon.server.app import App, Policy
from pi_cam_daemon.server.handler import Handler
from pi_cam_daemon.server.limits import LEAVING_SECONDS, Quota, hung_up
from pi_cam_daemon.server.lingering import RejectedPeers
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import TLS_HANDSHAKE
from pi_cam_daemon.system.logs import LogThrottle
from pi_cam_daemon.system.network import LOCAL_SOCKET, local_address, peer_name
from pi_cam_daemon.system.watchdog import Probe

log = logging.getLogger(__name__)

Address = tuple[object, ...] | str  # a str of a Unix socket

_ACCEPTS_PER_TURN = 64
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# the same lack of resources is logged once in this time
_SHORTAGE_SECONDS = 60.0
_ASK_SECONDS = 1.0
_FULL = (Reason.MAX_CONNECTIONS, Reason.MAX_CONNECTIONS_PER_ADDRESS)
# peers that wait for the place of one that is hanging up; more are refused at once
_MOST_WAITING = 16
_MOST_OURS = 8  # connections of our own programs, above http.max_connections


@dataclass(eq=False)
class _Arrival:
    """A peer that has no place yet, and is refused at *deadline* (monotonic) at the latest."""

    connection: socket.socket
    address: Address
    deadline: float


class CameraServer(http.server.ThreadingHTTPServer):
    """HTTP server for *app*.

    *listening*, a socket that already listens, replaces the configured address and port. *local* is a Unix socket that
    listens, too. Raises OSError if it cannot listen.
    """

    request_queue_size = 128
    allow_reuse_port = False  # otherwise a second daemon on this port would start without an error

    def __init__(self, app: App, listening: socket.socket | None = None, local: socket.socket | None = None) -> None:
        self.app = app
        self.probe = Probe("accept loop", self._wake)
        self._connections = Quota("connection", Reason.MAX_CONNECTIONS, Reason.MAX_CONNECTIONS_PER_ADDRESS)
        self._shortages = LogThrottle(_SHORTAGE_SECONDS, len(_SHORTAGES))
        self._handed_over: set[socket.socket] = set()
        self._fds: set[int] = set()  # of the connections that have a place
        self._waiting: list[_Arrival] = []
        self._closing = False
        address, port = app.policy.http.listen_address, app.policy.http.port
        everywhere = not address and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if everywhere or ":" in address else socket.AF_INET
        super().__init__((address, port), functools.partial(Handler, app), bind_and_activate=listening is None)
        if listening is not None:
            self.socket.close()
            self.socket = listening
        self.server_port = self.socket.getsockname()[1]
        self._listening = {listening.fileno(): listening for listening in (self.socket, local) if listening}
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        for fd, listening in self._listening.items():
            listening.setblocking(False)
            self._epoll.register(fd, select.EPOLLIN)
        self._rejected = RejectedPeers(self._epoll, app.refusal_page)
        self._thread = threading.Thread(target=self.serve_forever, name="accept", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Stop accepting connections. Requests in progress are short, and end with the process at the latest."""
        self.shutdown()
        self._thread.join(timeout)
        self.server_close()
        for listening in self._listening.values():
            listening.close()

    def leave_open(self, connection: socket.socket) -> None:
        """Let the stream loop close *connection*."""
        self._handed_over.add(connection)

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    # -- overridden parts of http.server and socketserver; docs/decisions/006 says why

    def server_bind(self) -> None:
        """Bind like TCPServer; HTTPServer would ask the DNS for this machine's name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(self.server_address[0]))
        socketserver.TCPServer.server_bind(self)

    def serve_forever(self, poll_interval: float = -1) -> None:  # noqa: ARG002
        """Accept connections and close refused ones until `shutdown`. The library's version wakes up twice a second."""
        while not self._closing:
            for fd, _ in self._epoll.poll(self._timeout(time.monotonic()), 64):
                if listening := self._listening.get(fd):
                    self._accept(listening)
                elif fd == self._wake_fd:
                    os.eventfd_read(fd)
                else:
                    self._rejected.drain(fd)
            self.probe.answer()
            self._admit_waiting()
            self._rejected.expire(time.monotonic())
        for one in self._waiting:
            one.connection.close()
        self._rejected.expire(math.inf)
        self._epoll.close()

    def shutdown(self) -> None:
        """End `serve_forever`. The library's version waits for the library's loop."""
        self._closing = True
        self._wake()

    def process_request(self, request: socket.socket, client_address: Address) -> None:  # type: ignore[override]
        """Serve a connection in a thread of its own. Raises RuntimeError if the system starts no more threads.

        The library's version makes a Thread object and waits until it runs, which takes a sixth of a snapshot's time.
        """
        _thread.start_new_thread(self.process_request_thread, (request, client_address))

    def process_request_thread(self, request: socket.socket, client_address: Address) -> None:  # type: ignore[override]
        """Serve one connection. An exception is logged and counted, and ends only this thread."""
        peer = peer_name(client_address)
        connection: socket.socket | None = request
        fd = request.fileno()  # an encrypted one keeps it in another socket object
        try:
            connection = self._secured(request, peer, self.app.policy)
            if connection:
                self.finish_request(connection, client_address)
        except Exception:  # noqa: BLE001 - the outermost function of this thread
            self.handle_error(request, client_address)
        finally:
            self._connections.give_back(peer)
            self._fds.discard(fd)  # after the place: in between it would be neither leaving nor free
            self.shutdown_request(connection or request)
            if self._waiting:
                self._wake()

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Close a connection, unless the stream loop has taken it over."""
        if request in self._handed_over:
            self._handed_over.remove(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: Address) -> None:  # noqa: ARG002
        """Log the exception that ended a connection; count it if it is a bug."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):  # the client has gone, or was too slow
            log.debug("%s: %s", peer_name(client_address), error)
        else:
            self.app.counts.fail("request")
            log.error("a request of %s failed", peer_name(client_address), exc_info=True)

    # -- one connection

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _SHORTAGES:
                    if self._shortages.due(error.errno, time.monotonic()):
                        log.error("cannot accept connections: %s", error.strerror)
                    time.sleep(0.1)  # the peer stays in the queue, and the loop would use the whole processor
                    return
                continue  # the peer hung up before
            one = _Arrival(connection, address, time.monotonic() + LEAVING_SECONDS)
            # behind those who wait, who are admitted in the same turn if they can be
            if 0 < len(self._waiting) < _MOST_WAITING or self._admit(one):
                self._waiting.append(one)

    def _admit(self, one: _Arrival) -> Reason | None:
        """Check address and limits before reading a byte; then start the thread, or send the refusal.

        Return what *one* has to wait for, if the place of a peer that is hanging up may be free in a moment.
        """
        policy, peer = self.app.policy, peer_name(one.address)
        try:
            if not policy.access.admits(peer, peer_name(one.connection.getsockname())):
                raise policy.access.refusal(peer)
            most, most_each = policy.http.max_connections, policy.http.max_connections_per_address
            if peer == LOCAL_SOCKET:  # a full house does not keep out our own recorder
                most, most_each = most + _MOST_OURS, _MOST_OURS
            self._connections.take(peer, most, most_each, exempt=policy.access.trusts(peer))
            fd = one.connection.fileno()
            self._fds.add(fd)
            try:
                self.process_request(one.connection, one.address)
            except RuntimeError as error:  # the system starts no more threads
                self._fds.discard(fd)
                self._connections.give_back(peer)
                raise Refused(Reason.THREADS, "No more connections can be taken now; try again in a moment") from error
        except Refused as refused:
            if refused.reason in _FULL and self._may_wait(one):
                return refused.reason
            self.app.counts.deny(refused, peer)
            language = refusal_page.language(self.app.observer.config.page.language)
            self._rejected.answer(one.connection, refused, language, policy.tls is not None)
        return None

    def _may_wait(self, one: _Arrival) -> bool:
        if time.monotonic() >= one.deadline or (one not in self._waiting and len(self._waiting) >= _MOST_WAITING):
            return False
        return hung_up(list(self._fds))

    def _admit_waiting(self) -> None:
        """Admit those who wait, in the order in which they came."""
        waiting: list[_Arrival] = []
        held_up: set[str] = set()  # addresses, and "" for all
        now = time.monotonic()
        for one in self._waiting:
            peer = peer_name(one.address)
            if now < one.deadline and not held_up.isdisjoint(("", peer)):
                waiting.append(one)
            elif reason := self._admit(one):
                waiting.append(one)
                held_up.add("" if reason is Reason.MAX_CONNECTIONS else peer)
        # in the end: until then the threads that give back a place see that somebody waits
        self._waiting = waiting

    def _timeout(self, now: float) -> float:
        """Return the seconds until the next deadline, for epoll; -1 for none."""
        timeout = self._rejected.timeout(now)
        if not self._waiting:
            return timeout
        left = max(0.0, self._waiting[0].deadline - now)
        return left if timeout < 0 else min(left, timeout)

    def _secured(self, connection: socket.socket, peer: str, policy: Policy) -> socket.socket | None:
        """Return *connection*, after a TLS handshake if it is one for TLS; None if it failed."""
        if policy.tls is None:
            return connection
        from pi_cam_daemon.server import tls  # imported only if there is a certificate

        deadline = time.monotonic() + policy.http.request_timeout_seconds
        try:
            connection.settimeout(policy.http.request_timeout_seconds)
            if (first := connection.recv(1, socket.MSG_PEEK)) != TLS_HANDSHAKE:
                return connection if first else None  # plain HTTP, which the handler checks
            return tls.shake_hands(connection, policy.tls, deadline)
        except OSError as error:
            text = f"TLS handshake failed: {getattr(error, 'reason', None) or error}"
            self.app.counts.deny(Refused(Reason.TLS, text), peer)
            return None


def cannot_listen(http_config: HttpConfig, error: OSError) -> str:
    """Return a message for *error*: the setting that is wrong, and what to set instead."""
    where = f"http.port = {http_config.port}"
    if error.errno == errno.EADDRINUSE:
        there = local_address("http", http_config.listen_address, http_config.port)
        taker = f"another pi-cam-daemon, {there}" if _is_camera(there) else "another program"
        free = 8080 if http_config.port != 8080 else 8081
        return f"{where} is taken by {taker}; choose a free one, as with --set http.port={free}"
    if error.errno == errno.EACCES:
        return f"{where}: only root may use ports below 1024; choose one from 1024 to 65535"
    address = f'http.listen_address = "{http_config.listen_address}"'
    if error.errno == errno.EADDRNOTAVAIL:
        return f'{address} is not an address of this machine; "" listens on all of them'
    return f"cannot listen on {where}, {address}: {error.strerror}"


def _is_camera(address: str) -> bool:
    """Return whether a pi-cam-daemon answers at *address*, an URL, in a second."""
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname, parts.port), _ASK_SECONDS) as asking:
            asking.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            answer = asking.recv(4096)
    except OSError:
        return False
    return answer.endswith(b"\r\n\r\nalive\n") or b"\r\nX-Refused: " in answer
