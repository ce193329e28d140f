"""One connection's requests: a table of routes, and answers in one write. Streams are handed to the stream loop."""

from __future__ import annotations

import importlib.resources
import json
import logging
import time
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from pi_cam_daemon import mjpeg
from pi_cam_daemon.health import State

if TYPE_CHECKING:
    from pi_cam_daemon.server import CameraServer

log = logging.getLogger(__name__)

# OctoPrint gives a snapshot 5 s
_SNAPSHOT_SECONDS = 4.0
_RETRY_AFTER = {"Retry-After": "2"}
_NO_STORE = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0", "Pragma": "no-cache"}
_CONTENT_SECURITY_POLICY = "default-src 'self'"
# whatever is asked for that is not in the table of routes, as the requests are counted: a stranger's paths are endless
_NO_ENDPOINT = "other"


def peer_name(address: tuple[object, ...]) -> str:
    """The peer's address for the log."""
    return str(address[0]).removeprefix("::ffff:")


class _BadRequest(Exception):
    """The request asks for something that cannot be meant; the text says what is accepted."""


class Handler(BaseHTTPRequestHandler):
    """One connection's requests."""

    server: CameraServer
    endpoint = _NO_ENDPOINT
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
        path = path.rstrip("/") or "/"
        route = _ROUTES.get(path)
        self.endpoint = path if route else _NO_ENDPOINT
        if route is None:
            self._answer_text(HTTPStatus.NOT_FOUND, "There is no such page here. The picture is at /")
            return
        try:
            route(self)
        except _BadRequest as error:
            self._answer_text(HTTPStatus.BAD_REQUEST, str(error))

    do_HEAD = do_GET

    def _refuse_method(self) -> None:
        self.endpoint = _NO_ENDPOINT
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
            self.server.count(self.endpoint, HTTPStatus.OK)
            self.wfile.write(head)
        elif not self.server.streams.reserve():
            limit = self.server.streams.max_viewers
            text = f"{limit} viewers watch already, and http.max_viewers allows no more"
            self._answer_text(HTTPStatus.SERVICE_UNAVAILABLE, text, _RETRY_AFTER)
        else:
            self.server.count(self.endpoint, HTTPStatus.OK)
            self.server.hand_over(self.connection, peer_name(self.client_address), head, 1 / fps if fps else 0.0)

    def snapshot(self) -> None:
        """The newest picture; `?max_age_ms=N` asks for one no older than that."""
        max_age_ms = self._number("max_age_ms", 0.0, 3_600_000.0)
        status = self.server.observer.camera()
        max_age = max(1.0, 2 / status.framerate) if max_age_ms is None else max_age_ms / 1000
        now = time.monotonic()
        # A camera that is known to be away is not waited for.
        patience = _SNAPSHOT_SECONDS if status.state.ok or status.state is State.STARTING else 0.0
        self.server.audience.want(patience)
        frame = self.server.hub.wait(now - max_age, patience)
        if frame is None:
            status = self.server.observer.camera()
            text = "The camera gave no picture in time" if status.state.ok else self.server.observer.sentence()
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
        keys = ("state", "ok", "detail", "cause", "hint", "reboot_requested", "clock_synced", "frames")
        self._answer_json(status, {key: table[key] for key in keys})

    def livez(self) -> None:
        """200 as long as the server answers at all, whatever the camera does."""
        self._answer_text(HTTPStatus.OK, "alive")

    def metrics(self) -> None:
        """What Prometheus reads."""
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        self._answer(HTTPStatus.OK, self.server.metrics.text(), {**_NO_STORE, "Content-Type": content_type})

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
        self.server.count(self.endpoint, status)
        # head and body in ONE write: in two, Nagle's algorithm and a delayed ACK make it 44 ms
        log.debug("%s: %s: %d", peer_name(self.client_address), self.requestline, status)
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
        self.endpoint = _NO_ENDPOINT
        self.close_connection = True
        self._answer_text(code, explain or message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s %s", peer_name(self.client_address), format % args)


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
    "/metrics": Handler.metrics,
    # the addresses of the tutorial that this grew from
    "/mjpeg": Handler.tutorial_page,
    "/mjpeg/stream": Handler.stream,
    "/mjpeg/snapshot": Handler.snapshot,
}


def read_pages() -> dict[str, tuple[str, bytes]]:
    """The page's files as (content type, content), by name."""
    types = {
        "index.html": "text/html; charset=utf-8",
        "app.js": "text/javascript",
        "style.css": "text/css",
        "icon.svg": "image/svg+xml",
    }
    web = importlib.resources.files("pi_cam_daemon") / "web"
    return {name: (content_type, (web / name).read_bytes()) for name, content_type in types.items()}
