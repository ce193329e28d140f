"""One connection's requests: a table of routes, and answers in one write. Streams are handed to the stream loop."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon import mjpeg
from pi_cam_daemon.access import Client, stays_here
from pi_cam_daemon.health import State
from pi_cam_daemon.refused import CHALLENGE, RETRY_AFTER, Reason, Refused
from pi_cam_daemon.request import Reader, Request

if TYPE_CHECKING:
    from pi_cam_daemon.server import CameraServer

log = logging.getLogger(__name__)

# OctoPrint gives a snapshot 5 s
_SNAPSHOT_SECONDS = 4.0
_NO_STORE = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0", "Pragma": "no-cache"}
# whatever is asked for that is not in the table of routes, as the requests are counted: a stranger's paths are endless
_NO_ENDPOINT = "other"
# A connection that is closed with bytes unread is reset, and the answer may be lost with it: the rest of what a
# refused client sends is taken for this long, and no longer than it is worth.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1 << 20


class Handler(socketserver.BaseRequestHandler):
    """One connection's requests."""

    server: CameraServer
    request: socket.socket

    def setup(self) -> None:
        self.peer = peer_name(self.client_address)
        self.here = peer_name(self.request.getsockname())
        self.asked: Request | None = None  # None while it is not understood
        self.client: Client | None = None
        self.endpoint = _NO_ENDPOINT
        self.keeps_alive = False

    def handle(self) -> None:
        reader = Reader(self.request)
        idle_seconds = self.server.http.request_timeout_seconds
        left = self.server.http.max_requests_per_connection
        try:
            while True:
                # what was asked before is nothing to a request that is not understood
                self.asked = self.client = None
                self.endpoint = _NO_ENDPOINT
                asked = reader.next(self.server.http, idle_seconds)
                if asked is None:
                    return
                left -= 1
                self._answer_request(asked, left > 0)
                if not self.keeps_alive:
                    return
                idle_seconds = self.server.http.keep_alive_seconds
        except Refused as refused:
            self.keeps_alive = False
            if refused.reason and refused.reason.label:
                self.server.deny(refused.reason, refused.client or str(self.client or self.peer), refused.text)
            self._answer_error(refused.status, refused.text, refused.headers, refused.reason)
            self._linger()

    def _answer_request(self, asked: Request, may_keep_alive: bool) -> None:
        self.asked = asked
        self.keeps_alive = asked.keeps_alive and may_keep_alive
        self.request.settimeout(self.server.http.request_timeout_seconds)
        self.client = self.server.access.judge(self.peer, asked)
        if self.server.tls:
            self.client = replace(self.client, encrypted=self.server.encrypts(self.request))
            # what stays on this machine needs no encryption: those who care for it here know no certificate
            if not self.client.encrypted and not stays_here(self.peer, self.here):
                raise Refused(HTTPStatus.BAD_REQUEST, "This address is served by https, not by http")
        self.server.sites.check(asked)
        route, change = _ROUTES.get(asked.path), _CHANGES.get(asked.path)
        if route or change:
            self.endpoint = asked.path
        if logins := self.server.logins:
            if not (client := logins.judge(self.client, asked, self.here)):
                text = "This camera asks for a name and a password"
                self._answer_error(HTTPStatus.UNAUTHORIZED, text, CHALLENGE, Reason.PASSWORD)
                return
            self.client = client
        methods = [*(("GET", "HEAD") if route or not change else ()), "OPTIONS", *(("POST",) if change else ())]
        allow = {"Allow": ", ".join(methods)}
        if asked.method not in methods:
            self._answer_error(HTTPStatus.METHOD_NOT_ALLOWED, f"{asked.method} is not served here", allow)
        elif asked.method == "OPTIONS":
            self._answer(HTTPStatus.OK, b"", allow)
        elif change and asked.method == "POST":
            change(self, asked)
        elif route is None:
            self._answer_error(HTTPStatus.NOT_FOUND, "There is no such page here. The picture is at /", {})
        else:
            route(self, asked)

    def _linger(self) -> None:
        """Let a refused client finish what it was saying."""
        deadline = time.monotonic() + _LINGER_SECONDS
        left = _LINGER_BYTES
        self.request.shutdown(socket.SHUT_WR)
        while left > 0 and (seconds := deadline - time.monotonic()) > 0:
            self.request.settimeout(seconds)
            data = self.request.recv(65536)
            if not data:
                return
            left -= len(data)

    # -- routes

    def page_or_action(self, asked: Request) -> None:
        """`/`, and what mjpg-streamer's clients ask of it."""
        action = asked.arguments.get("action", "")
        if action.startswith("stream"):
            self.stream(asked)
        elif action.startswith("snapshot"):
            self.snapshot(asked)
        else:
            self._page("index.html")

    def tutorial_page(self, _: Request) -> None:
        """`/mjpeg/`: the same page, whose links lead one level up."""
        self._page("index.html", ("<head>", '<base href="../">'))

    def wall(self, _: Request) -> None:
        """`/wall`: other cameras, which this page alone may load from."""
        cameras = self.server.wall.cameras
        links = "".join(f'<li><a href="{camera}/">{camera}</a></li>' for camera in cameras)
        self._page("wall.html", ('<ul id="wall" class="wall">', links), cameras)

    def page_file(self, asked: Request) -> None:
        """What the page loads."""
        self._page(asked.path[1:])

    def stream(self, asked: Request) -> None:
        """The live picture; `?fps=N` gives this viewer at most N pictures a second."""
        fps = _number(asked, "fps", 0.05, 1000.0)
        self.keeps_alive = False
        headers = {
            **_NO_STORE,
            "X-Accel-Buffering": "no",
            "Content-Type": mjpeg.CONTENT_TYPE,
        }
        assert self.client
        self.server.streams.take_place(self.client)
        if asked.method == "HEAD":
            self.server.streams.give_back_place(self.client)
            self.server.count(self.endpoint, HTTPStatus.OK)
            self.request.sendall(self._head(HTTPStatus.OK, headers))
            return
        self.server.count(self.endpoint, HTTPStatus.OK)
        interval = 1 / fps if fps else 0.0
        self.server.hand_over(self.request, self.client, self._head(HTTPStatus.OK, headers), interval)

    def snapshot(self, asked: Request) -> None:
        """The newest picture; `?max_age_ms=N` asks for one no older than that."""
        max_age_ms = _number(asked, "max_age_ms", 0.0, 3_600_000.0)
        status = self.server.observer.camera()
        max_age = max(1.0, 2 / status.framerate) if max_age_ms is None else max_age_ms / 1000
        now = time.monotonic()
        # A camera that is known to be away is not waited for.
        patience = _SNAPSHOT_SECONDS if status.state.ok or status.state is State.STARTING else 0.0
        self.server.audience.want(patience)
        frame = self.server.hub.wait(now - max_age, patience)
        if frame is None:
            text = self.server.observer.no_picture()
            self._answer_error(HTTPStatus.SERVICE_UNAVAILABLE, text, RETRY_AFTER, Reason.PICTURE)
            return
        headers = {**_NO_STORE, "Content-Type": "image/jpeg", "X-Timestamp": f"{frame.timestamp:.6f}"}
        self._answer(HTTPStatus.OK, frame.jpeg, headers)

    def still(self, asked: Request) -> None:
        """A picture of the sensor's full size; only the question costs something, so HEAD takes none."""
        headers = {**_NO_STORE, "Content-Type": "image/jpeg"}
        if asked.method == "HEAD":
            self.server.count(self.endpoint, HTTPStatus.OK)
            self.request.sendall(self._head(HTTPStatus.OK, headers))
            return
        self._answer(HTTPStatus.OK, self.server.stills.take().jpeg, headers)

    def controls(self, _: Request) -> None:
        """What can be set on this camera."""
        self._answer_json(HTTPStatus.OK, self.server.adjustments.table())

    def set_controls(self, asked: Request) -> None:
        """Set what the JSON in the body names, at once."""
        if asked.header("content-type").partition(";")[0].strip().lower() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type has to be application/json")
        try:
            wanted = json.loads(asked.body)
        except (ValueError, RecursionError):
            wanted = None
        if not isinstance(wanted, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, 'The body has to be a JSON object, such as {"brightness": 0.2}')
        self._wake_camera()
        self._answer_json(*self.server.adjustments.set(wanted))

    def save_controls(self, _: Request) -> None:
        """Keep what was set over restarts."""
        self._answer_json(HTTPStatus.OK, self.server.adjustments.save())

    def forget_controls(self, _: Request) -> None:
        """Take back what was set and saved."""
        self._wake_camera()
        self._answer_json(HTTPStatus.OK, self.server.adjustments.forget())

    def _wake_camera(self) -> None:
        """Let a camera that sleeps, or starts, come to its first picture: before that nothing can be set."""
        if self.server.observer.camera().state in (State.IDLE, State.STARTING):
            self.server.audience.want(_SNAPSHOT_SECONDS)
            self.server.hub.wait(time.monotonic(), _SNAPSHOT_SECONDS)

    def state(self, _: Request) -> None:
        self._answer_json(HTTPStatus.OK, self.server.observer.table())

    def healthz(self, _: Request) -> None:
        """200 while there are pictures or the camera sleeps by design, else 503."""
        table = self.server.observer.table()
        status = HTTPStatus.OK if table["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
        keys = (
            "state", "ok", "detail", "cause", "hint", "reboot_requested", "clock_synced", "frames", "release",
            "config_sha256",
        )  # fmt: skip
        self._answer_json(status, {key: table[key] for key in keys})

    def livez(self, _: Request) -> None:
        """200 as long as the server answers at all, whatever the camera does."""
        self._answer_text(HTTPStatus.OK, "alive")

    def metrics(self, _: Request) -> None:
        """What Prometheus reads."""
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        self._answer(HTTPStatus.OK, self.server.metrics.text(), {**_NO_STORE, "Content-Type": content_type})

    # -- answers

    def _page(self, name: str, more: tuple[str, str] = ("", ""), origins: Sequence[str] = ()) -> None:
        """The file *name*; behind the place *more* names comes what it says. It may load from *origins*, too."""
        content_type, content = self.server.pages[name]
        headers = {"Content-Type": content_type, "Cache-Control": "no-cache"}
        if name.endswith(".html"):
            headers["Content-Security-Policy"] = _content_security_policy(self.server.http.frame_ancestors, origins)
            place, text = more
            content = content.replace(place.encode(), (place + text).encode(), 1)
        self._answer(HTTPStatus.OK, content, headers)

    def _answer_json(self, status: HTTPStatus, table: Mapping[str, object]) -> None:
        body = json.dumps(table, indent=1).encode() + b"\n"
        self._answer(status, body, {**_NO_STORE, "Content-Type": "application/json"})

    def _answer_text(self, status: int, text: str) -> None:
        self._answer(status, text.encode() + b"\n", {**_NO_STORE, "Content-Type": "text/plain; charset=utf-8"})

    def _answer_error(self, status: int, text: str, headers: Mapping[str, str], reason: Reason | None = None) -> None:
        """As a page for a person in a browser, else as text."""
        body, kind = text.encode() + b"\n", {"Content-Type": "text/plain; charset=utf-8"}
        if self.asked and "text/html" in self.asked.header("accept").lower():
            body, kind = self.server.refusal_page.body(text, reason), self.server.refusal_page.headers
        self._answer(status, body, {**_NO_STORE, **kind, **headers})

    def _answer(self, status: int, body: bytes | memoryview, headers: Mapping[str, str]) -> None:
        self.server.count(self.endpoint, status)
        asked = self.asked
        if asked and log.isEnabledFor(logging.DEBUG):
            # without the query and the authority, in which people put passwords
            log.debug("%s: %s %s: %d", self.client or self.peer, asked.method, asked.path, status)
        head = self._head(status, {**headers, "Content-Length": str(len(body))})
        # head and body in ONE write: in two, Nagle's algorithm and a delayed ACK make it 44 ms
        self.request.sendall(head if asked and asked.method == "HEAD" else b"".join((head, body)))

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        asked = self.asked
        lines = [
            f"{asked.version if asked else 'HTTP/1.1'} {int(status)} {HTTPStatus(status).phrase}",
            f"Connection: {'keep-alive' if self.keeps_alive else 'close'}",
        ]
        cors = self.server.sites.cors_headers(asked) if asked else {}
        lines += [f"{name}: {value}" for name, value in (*headers.items(), *cors.items())]
        lines += ["X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def peer_name(address: tuple[object, ...]) -> str:
    """The peer's address, an IPv4 one as such also where an IPv6 socket took it."""
    return str(address[0]).removeprefix("::ffff:")


def _number(asked: Request, name: str, least: float, most: float) -> float | None:
    """The argument *name*, None where it is missing."""
    text = asked.arguments.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} has to be a number from {least:g} to {most:g}")
    return number


def _content_security_policy(frame_ancestors: Sequence[str], origins: Sequence[str]) -> str:
    """The page loads nothing but its own files, and pictures and states from *origins*.

    It is in no other site's frame, where clicks could be stolen.
    """
    ancestors = " ".join(("'self'", *frame_ancestors))
    loads = "".join(f"; {what} 'self' {' '.join(origins)}" for what in ("img-src", "connect-src") if origins)
    rest = f"base-uri 'self'; form-action 'none'; object-src 'none'; frame-ancestors {ancestors}"
    return f"default-src 'self'{loads}; {rest}"


_PAGE_FILES = (
    "app.js", "controls.js", "live.js", "request.js", "text.js", "wall.js", "zoom.js", "style.css", "icon.svg",
)  # fmt: skip

_ROUTES: dict[str, Callable[[Handler, Request], None]] = {
    "/": Handler.page_or_action,
    "/wall": Handler.wall,
    **dict.fromkeys((f"/{name}" for name in _PAGE_FILES), Handler.page_file),
    "/stream": Handler.stream,
    "/stream.mjpg": Handler.stream,
    "/video": Handler.stream,
    "/snapshot": Handler.snapshot,
    "/snapshot.jpg": Handler.snapshot,
    "/still.jpg": Handler.still,
    "/state": Handler.state,
    "/healthz": Handler.healthz,
    "/livez": Handler.livez,
    "/controls": Handler.controls,
    "/metrics": Handler.metrics,
    # the addresses of the tutorial that this grew from
    "/mjpeg": Handler.tutorial_page,
    "/mjpeg/stream": Handler.stream,
    "/mjpeg/snapshot": Handler.snapshot,
}


# what POST changes; nothing else changes anything
_CHANGES: dict[str, Callable[[Handler, Request], None]] = {
    "/controls": Handler.set_controls,
    "/controls/save": Handler.save_controls,
    "/controls/forget": Handler.forget_controls,
}


def read_pages() -> dict[str, tuple[str, bytes]]:
    """The page's files as (content type, content), by name."""
    types = {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg+xml",
    }
    web = Path(__file__).with_name("web")
    return {file.name: (types[Path(file.name).suffix], file.read_bytes()) for file in web.iterdir()}
