"""HTTP: admission at accept, a table of routes, short requests. Streams are handed to the stream loop."""

from __future__ import annotations

import errno
import importlib.resources
import json
import logging
import os
import select
import socket
import socketserver
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pi_cam_daemon import mjpeg
from pi_cam_daemon.access import AllowedNetworks
from pi_cam_daemon.health import Probe, State
from pi_cam_daemon.hub import Audience, Hub
from pi_cam_daemon.state import Observer
from pi_cam_daemon.streams import Streams

log = logging.getLogger(__name__)

# OctoPrint gives a snapshot 5 s
_SNAPSHOT_SECONDS = 4.0
_RETRY_AFTER = {"Retry-After": "2"}
_NO_STORE = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0", "Pragma": "no-cache"}
_CONTENT_SECURITY_POLICY = "default-src 'self'"

# A refused peer's request is read and thrown away for this long: closing with unread bytes resets the connection,
# and the answer would be lost with it. At most so many at once; then the oldest goes.
_REFUSAL_SECONDS = 2.0
_MOST_REFUSALS = 64
_BUSY = "Too many connections; try again in a moment\n"
_ACCEPTS_PER_TURN = 64


def _peer(address: tuple[object, ...]) -> str:
    """The peer's address for the log."""
    return str(address[0]).removeprefix("::ffff:")


class _BadRequest(Exception):
    """The request asks for something that cannot be meant; the text says what is accepted."""


class Handler(BaseHTTPRequestHandler):
    """One connection's requests."""

    server: CameraServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.request_timeout_seconds)

    # -- requests

    def do_GET(self) -> None:
        # A body on a GET is not ours to read, and unread it would pass for the next request.
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        target = self.path
        if target.startswith(("http://", "https://")):  # absolute form, as proxies send it
            target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
        path, _, query = target.partition("?")
        path = urllib.parse.unquote(path, errors="replace")
        # People's software appends what it likes, even a second `?`: OctoPi asks for /?action=stream?nonce=1
        self.arguments = dict(reversed(urllib.parse.parse_qsl(query.replace("?", "&"), keep_blank_values=True)))
        route = _ROUTES.get(path.rstrip("/") or "/")
        if route is None:
            self._answer_text(HTTPStatus.NOT_FOUND, "There is no such page here. The picture is at /")
            return
        try:
            route(self)
        except _BadRequest as error:
            self._answer_text(HTTPStatus.BAD_REQUEST, str(error))

    do_HEAD = do_GET

    def _refuse_method(self) -> None:
        self.close_connection = True
        self._answer_text(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are served", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse_method

    # -- routes

    def page_or_action(self) -> None:
        """`/`, and what mjpg-streamer's clients ask of it."""
        action = self.arguments.get("action", "")
        if action.startswith("stream"):
            self.stream()
        elif action.startswith("snapshot"):
            self.snapshot()
        else:
            self._page("index.html")

    def tutorial_page(self) -> None:
        """`/mjpeg/`: the same page, whose links lead one level up."""
        self._page("index.html", base=b'<base href="../">')

    def script(self) -> None:
        self._page("app.js")

    def style(self) -> None:
        self._page("style.css")

    def icon(self) -> None:
        self._page("icon.svg")

    def stream(self) -> None:
        """The live picture; `?fps=N` gives this viewer at most N pictures a second."""
        fps = self._number("fps", 0.05, 1000.0)
        self.close_connection = True
        headers = {
            **_NO_STORE,
            "X-Accel-Buffering": "no",
            "Content-Type": mjpeg.CONTENT_TYPE,
        }
        head = self._head(HTTPStatus.OK, headers)
        if self.command == "HEAD":
            self.wfile.write(head)
        elif not self.server.streams.reserve():
            limit = self.server.streams.max_viewers
            text = f"{limit} viewers watch already, and http.max_viewers allows no more"
            self._answer_text(HTTPStatus.SERVICE_UNAVAILABLE, text, _RETRY_AFTER)
        else:
            self.server.hand_over(self.connection, _peer(self.client_address), head, 1 / fps if fps else 0.0)

    def snapshot(self) -> None:
        """The newest picture; `?max_age_ms=N` asks for one no older than that."""
        max_age_ms = self._number("max_age_ms", 0.0, 3_600_000.0)
        status = self.server.observer.camera()
        max_age = max(1.0, 2 / status.framerate) if max_age_ms is None else max_age_ms / 1000
        now = time.monotonic()
        self.server.audience.want()
        # A camera that is known to be away is not waited for.
        patience = _SNAPSHOT_SECONDS if status.state.ok or status.state is State.STARTING else 0.0
        frame = self.server.hub.wait(now - max_age, patience)
        if frame is None:
            text = self.server.observer.sentence()
            self._answer_text(HTTPStatus.SERVICE_UNAVAILABLE, text, _RETRY_AFTER)
            return
        headers = {**_NO_STORE, "Content-Type": "image/jpeg", "X-Timestamp": f"{frame.timestamp:.6f}"}
        self._answer(HTTPStatus.OK, frame.jpeg, headers)

    def state(self) -> None:
        self._answer_json(HTTPStatus.OK, self.server.observer.table())

    def healthz(self) -> None:
        """200 while there are pictures or the camera sleeps by design, else 503."""
        table = self.server.observer.table()
        status = HTTPStatus.OK if table["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer_json(status, {key: table[key] for key in ("state", "ok", "detail", "cause", "hint", "frames")})

    def livez(self) -> None:
        """200 as long as the server answers at all, whatever the camera does."""
        self._answer_text(HTTPStatus.OK, "alive")

    # -- answers

    def _number(self, name: str, least: float, most: float) -> float | None:
        """The argument *name*, None where it is missing."""
        text = self.arguments.get(name)
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            raise _BadRequest(f"{name} has to be a number from {least:g} to {most:g}")
        return number

    def _page(self, name: str, base: bytes = b"") -> None:
        content_type, content = self.server.pages[name]
        headers = {"Content-Type": content_type, "Cache-Control": "no-cache"}
        if name.endswith(".html"):
            headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
            content = content.replace(b"<head>", b"<head>" + base, 1)
        self._answer(HTTPStatus.OK, content, headers)

    def _answer_json(self, status: HTTPStatus, table: Mapping[str, object]) -> None:
        body = json.dumps(table, indent=1).encode() + b"\n"
        self._answer(status, body, {**_NO_STORE, "Content-Type": "application/json"})

    def _answer_text(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        body = text.encode() + b"\n"
        self._answer(status, body, {**_NO_STORE, "Content-Type": "text/plain; charset=utf-8", **(headers or {})})

    def _answer(self, status: int, body: bytes | memoryview, headers: Mapping[str, str]) -> None:
        # head and body in ONE write: in two, Nagle's algorithm and a delayed ACK make it 44 ms
        log.debug("%s: %s: %d", _peer(self.client_address), self.requestline, status)
        head = self._head(status, {**headers, "Content-Length": str(len(body))})
        self.wfile.write(head if self.command == "HEAD" else b"".join((head, body)))

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        version = "HTTP/1.1" if self.request_version == "HTTP/1.1" else "HTTP/1.0"
        connection = "close" if self.close_connection else "keep-alive"
        lines = [f"{version} {int(status)} {HTTPStatus(status).phrase}", f"Connection: {connection}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "", ""]
        return "\r\n".join(lines).encode("latin-1")

    # -- what BaseHTTPRequestHandler says by itself

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Its own complaints about a request it cannot read, in our form."""
        self.close_connection = True
        self._answer_text(code, explain or message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s %s", _peer(self.client_address), format % args)


_ROUTES: dict[str, Callable[[Handler], None]] = {
    "/": Handler.page_or_action,
    "/app.js": Handler.script,
    "/style.css": Handler.style,
    "/icon.svg": Handler.icon,
    "/stream": Handler.stream,
    "/stream.mjpg": Handler.stream,
    "/video": Handler.stream,
    "/snapshot": Handler.snapshot,
    "/snapshot.jpg": Handler.snapshot,
    "/state": Handler.state,
    "/healthz": Handler.healthz,
    "/livez": Handler.livez,
    # the addresses of the tutorial that this grew from
    "/mjpeg": Handler.tutorial_page,
    "/mjpeg/stream": Handler.stream,
    "/mjpeg/snapshot": Handler.snapshot,
}


class CameraServer(ThreadingHTTPServer):
    """Accepts, judges who may come in, and gives each connection a thread for its short requests.

    *listen_address* is empty for every address of the machine. Raises OSError when it cannot listen.
    """

    daemon_threads = True
    request_queue_size = 128
    pages: Mapping[str, tuple[str, bytes]]

    def __init__(
        self, listen_address: str, port: int, hub: Hub, streams: Streams, audience: Audience, observer: Observer
    ) -> None:
        self.hub = hub
        self.streams = streams
        self.audience = audience
        self.observer = observer
        self.probe = Probe("accept loop", self._wake)
        self.allowed = AllowedNetworks(())
        self.max_connections = 0
        self.request_timeout_seconds = 0.0
        self.pages = _read_pages()
        self._lock = threading.Lock()
        self._connections = 0
        self._handed_over: set[socket.socket] = set()
        self._refused: dict[int, tuple[socket.socket, float]] = {}
        self._closing = False
        everywhere = not listen_address and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if everywhere or ":" in listen_address else socket.AF_INET
        super().__init__((listen_address, port), Handler)
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
            log.debug("%s: %s", _peer(client_address), error)
        else:
            log.error("a request of %s failed", _peer(client_address), exc_info=True)

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
                else:
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
                    log.error("no connection can be taken: %s", error.strerror)
                    time.sleep(0.1)  # the peer stays in the queue, and the loop would spin on it
                    return
                continue  # it hung up before it was taken
            self._admit(connection, address)

    def _admit(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        peer = _peer(address)
        if not self.allowed.contains(str(address[0])):
            log.warning("refused %s: not in http.allowed_networks", peer)
            self._refuse(connection, HTTPStatus.FORBIDDEN, _refusal(peer))
        elif self._connections >= self.max_connections:
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


def _read_pages() -> dict[str, tuple[str, bytes]]:
    types = {
        "index.html": "text/html; charset=utf-8",
        "app.js": "text/javascript",
        "style.css": "text/css",
        "icon.svg": "image/svg+xml",
    }
    web = importlib.resources.files("pi_cam_daemon") / "web"
    return {name: (content_type, (web / name).read_bytes()) for name, content_type in types.items()}
