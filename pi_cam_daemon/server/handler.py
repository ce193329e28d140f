"""The requests of one connection: reads, judges and routes them, and answers each in one write."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pi_cam_daemon.core.frame import CONTENT_TYPE, OPENING
from pi_cam_daemon.core.health import State
from pi_cam_daemon.server import answers
from pi_cam_daemon.server.access import Client, is_same_host
from pi_cam_daemon.server.answers import NO_STORE, PAGE_FILES
from pi_cam_daemon.server.app import App
from pi_cam_daemon.server.lingering import linger
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import NOTHING, Reader
from pi_cam_daemon.system.network import peer_name

if TYPE_CHECKING:
    from pi_cam_daemon.server.listener import CameraServer

log = logging.getLogger(__name__)

# OctoPrint gives a snapshot 5 s
_SNAPSHOT_SECONDS = 4.0
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
# the metric's label for every path that is not in the table of routes, of which there is no end
_NO_ENDPOINT = "other"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one connection. A stream is handed to the stream loop."""

    server: CameraServer
    request: socket.socket
    rfile: Reader

    def __init__(self, app: App, *connection: Any) -> None:
        self.app = app
        super().__init__(*connection)

    # -- overridden parts of http.server; docs/decisions/006 says why

    def setup(self) -> None:
        """Read by deadlines; the library's `rfile` would wait anew for each piece."""
        super().setup()
        self.rfile = Reader(self.request)
        self.peer = peer_name(self.client_address)
        self.here = peer_name(self.request.getsockname())
        self.policy = self.app.policy
        self._idle_seconds = self.policy.http.request_timeout_seconds
        self._requests_left = self.policy.http.max_requests_per_connection

    def handle_one_request(self) -> None:
        """Read one request, judge it by the policy that is in force then, and answer it."""
        self.client, self.endpoint = Client(self.peer, self.peer), _NO_ENDPOINT
        self.close_connection = True
        try:
            if self.parse_request():
                self.policy = self.app.policy
                if self._admit():
                    getattr(self, f"do_{self.command}", self._refuse_method)()
        except Refused as refused:
            self.close_connection = True
            self.app.counts.deny(refused, str(self.client))
            self._refuse(refused)
            linger(self.request)

    def parse_request(self) -> bool:
        """Read a request whole and strictly, by one deadline; return False when none has begun in time.

        Raises Refused.
        """
        # the request before is nothing to one that is not understood
        self.asked, self.command = NOTHING, NOTHING.method
        limits = self.policy.http
        asked = self.rfile.next(limits, self._idle_seconds)
        if asked is None:
            return False
        self.asked = asked
        self.command, self.path, self.request_version = asked.method, asked.target, asked.version
        self._idle_seconds = limits.keep_alive_seconds
        self._requests_left -= 1
        self.close_connection = not (asked.keeps_alive and self._requests_left > 0)
        self.request.settimeout(limits.request_timeout_seconds)
        return True

    def do_GET(self) -> None:
        """Answer what a path gives; HEAD goes the same way, and `_answer` leaves the body out."""
        if route := _ROUTES.get(self.asked.path):
            route(self)
        elif self.asked.path in _CHANGES:
            self._refuse_method()
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "There is no such page here. The picture is at /")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Make a change; nothing else changes anything."""
        _CHANGES.get(self.asked.path, Handler._refuse_method)(self)

    def do_OPTIONS(self) -> None:
        """Say what may be asked, as browsers want to know before they ask for another site's page."""
        self._answer(HTTPStatus.OK, b"", self._allow())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer *message* as every refusal is answered."""
        self._refuse(Refused(HTTPStatus(code), message or HTTPStatus(code).phrase))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        """Log without the query and the authority, in which people put passwords."""
        log.debug("%s: %s %s: %s", self.client, self.asked.method, self.asked.path, code)

    def log_message(self, format: str, *args: Any) -> None:
        """Log where all else goes; the library writes to standard error."""
        log.debug("%s: " + format, self.client, *args)

    # -- who asks, and for what

    def _admit(self) -> bool:
        """Judge who asks; return False when the answer is to log in first. Raises Refused."""
        policy, asked = self.policy, self.asked
        self.client = policy.access.judge(self.peer, asked)
        if isinstance(self.request, ssl.SSLSocket):
            self.client = replace(self.client, encrypted=True)
        # what stays on this machine needs no encryption: those who care for it here know no certificate
        elif policy.tls and not is_same_host(self.peer, self.here):
            raise Refused(HTTPStatus.BAD_REQUEST, "This address is served by https, not by http")
        policy.hosts.check(asked)
        if asked.path in _ROUTES or asked.path in _CHANGES:
            self.endpoint = asked.path
        if policy.logins:
            client = policy.logins.judge(self.client, asked, self.here)
            if client is None:
                self._refuse(Refused(Reason.PASSWORD, "This camera asks for a name and a password"))
                return False
            self.client = client
        return True

    def _allow(self) -> dict[str, str]:
        route, change = self.asked.path in _ROUTES, self.asked.path in _CHANGES
        methods = [*(("GET", "HEAD") if route or not change else ()), "OPTIONS", *(("POST",) if change else ())]
        return {"Allow": ", ".join(methods)}

    def _refuse_method(self) -> None:
        text = f"{self.command} is not served here"
        self._refuse(Refused(HTTPStatus.METHOD_NOT_ALLOWED, text), self._allow())

    def _number(self, name: str, least: float, most: float) -> float | None:
        """Return the argument *name*, None where it is missing."""
        text = self.asked.arguments.get(name)
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name} has to be a number from {least:g} to {most:g}")
        return number

    # -- routes

    def page_or_action(self) -> None:
        """`/`, and what mjpg-streamer's clients ask of it."""
        action = self.asked.arguments.get("action", "")
        if action.startswith("stream"):
            self.stream()
        elif action.startswith("snapshot"):
            self.snapshot()
        else:
            self._page("index.html")

    def tutorial_page(self) -> None:
        """`/mjpeg/`: the same page, whose links lead one level up."""
        self._page("index.html", ("<head>", '<base href="../">'))

    def wall(self) -> None:
        """`/wall`: other cameras, which this page alone may load from."""
        cameras = self.policy.wall.cameras
        links = "".join(f'<li><a href="{camera}/">{camera}</a></li>' for camera in cameras)
        self._page("wall.html", ('<ul id="wall" class="wall">', links), cameras)

    def page_file(self) -> None:
        """What the page loads."""
        self._page(self.asked.path[1:])

    def stream(self) -> None:
        """The live picture; `?fps=N` gives this viewer at most N pictures a second."""
        fps = self._number("fps", 0.05, 1000.0)
        self.close_connection = True
        streams = self.app.streams
        streams.take_place(self.client, self.policy.http)
        head = self._head(HTTPStatus.OK, {**NO_STORE, "X-Accel-Buffering": "no", "Content-Type": CONTENT_TYPE})
        if self.command == "HEAD":
            streams.give_back_place(self.client)
            self.wfile.write(head)
            return
        try:
            streams.add(self.request, self.client, head + OPENING, 1 / fps if fps else 0.0)
        except OSError:  # hung up already
            streams.give_back_place(self.client)
        else:
            self.server.leave_open(self.request)

    def snapshot(self) -> None:
        """The newest picture; `?max_age_ms=N` asks for one no older than that."""
        max_age_ms = self._number("max_age_ms", 0.0, 3_600_000.0)
        status = self.app.observer.camera()
        max_age = max(1.0, 2 / status.framerate) if max_age_ms is None else max_age_ms / 1000
        now = time.monotonic()
        # A camera that is known to be away is not waited for.
        patience = _SNAPSHOT_SECONDS if status.state.ok or status.state is State.STARTING else 0.0
        self.app.demand.want(patience)
        frame = self.app.latest.wait(now - max_age, patience)
        if frame is None:
            self._refuse(Refused(Reason.PICTURE, self.app.observer.no_picture()))
            return
        headers = {**NO_STORE, "Content-Type": "image/jpeg", "X-Timestamp": f"{frame.timestamp:.6f}"}
        self._answer(HTTPStatus.OK, frame.jpeg, headers)

    def still(self) -> None:
        """A picture of the sensor's full size; only the question costs something, so HEAD takes none."""
        headers = {**NO_STORE, "Content-Type": "image/jpeg"}
        if self.command == "HEAD":
            self.wfile.write(self._head(HTTPStatus.OK, headers))
        else:
            self._answer(HTTPStatus.OK, self.app.stills.take().jpeg, headers)

    def controls(self) -> None:
        """What can be set on this camera."""
        self._answer_json(HTTPStatus.OK, self.app.live_controls.table())

    def set_controls(self) -> None:
        """Set what the JSON in the body names, at once."""
        if self.asked.header("content-type").partition(";")[0].strip().lower() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type has to be application/json")
        try:
            wanted = json.loads(self.asked.body)
        except (ValueError, RecursionError):
            wanted = None
        if not isinstance(wanted, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, 'The body has to be a JSON object, such as {"brightness": 0.2}')
        self._wake_camera()
        self._answer_json(*self.app.live_controls.set(wanted))

    def save_controls(self) -> None:
        """Keep what was set over restarts."""
        self._answer_json(HTTPStatus.OK, self.app.live_controls.save())

    def forget_controls(self) -> None:
        """Take back what was set and saved."""
        self._wake_camera()
        self._answer_json(HTTPStatus.OK, self.app.live_controls.forget())

    def _wake_camera(self) -> None:
        """Let a camera that sleeps, or starts, come to its first picture: before that nothing can be set."""
        if self.app.observer.camera().state in (State.IDLE, State.STARTING):
            self.app.demand.want(_SNAPSHOT_SECONDS)
            self.app.latest.wait(time.monotonic(), _SNAPSHOT_SECONDS)

    def state(self) -> None:
        self._answer_json(HTTPStatus.OK, self.app.observer.table())

    def healthz(self) -> None:
        """200 while there are pictures or the camera sleeps by design, else 503."""
        table = self.app.observer.table()
        status = HTTPStatus.OK if table["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
        keys = (
            "state", "ok", "detail", "cause", "hint", "reboot_requested", "clock_synced", "frames", "release",
            "config_sha256",
        )  # fmt: skip
        self._answer_json(status, {key: table[key] for key in keys})

    def livez(self) -> None:
        """200 as long as the server answers at all, whatever the camera does."""
        self._answer(HTTPStatus.OK, b"alive\n", {**NO_STORE, **_TEXT})

    def metrics(self) -> None:
        """What Prometheus reads."""
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        self._answer(HTTPStatus.OK, self.app.metrics.text(), {**NO_STORE, "Content-Type": content_type})

    # -- answers

    def _page(self, name: str, more: tuple[str, str] = ("", ""), origins: Sequence[str] = ()) -> None:
        """Answer the file *name*, with the second text of *more* behind the first. It may load from *origins*, too."""
        content_type, content = self.app.pages[name]
        headers = {"Content-Type": content_type, "Cache-Control": "no-cache"}
        if name.endswith(".html"):
            ancestors = self.policy.http.frame_ancestors
            headers["Content-Security-Policy"] = answers.content_security_policy(ancestors, origins)
            content = content.replace(more[0].encode(), "".join(more).encode(), 1)
        self._answer(HTTPStatus.OK, content, headers)

    def _answer_json(self, status: HTTPStatus, table: Mapping[str, object]) -> None:
        body = json.dumps(table, indent=1).encode() + b"\n"
        self._answer(status, body, {**NO_STORE, "Content-Type": "application/json"})

    def _refuse(self, refused: Refused, more: Mapping[str, str] | None = None) -> None:
        """Answer why a request is not served: as a page to a person in a browser, else as text."""
        body, kind = refused.text.encode() + b"\n", _TEXT
        if "text/html" in self.asked.header("accept").lower():
            page = self.app.refusal_page
            body, kind = page.body(refused.text, refused.reason), page.headers
        self._answer(refused.status, body, {**NO_STORE, **kind, **refused.headers, **(more or {})})

    def _answer(self, status: int, body: bytes | memoryview, headers: Mapping[str, str]) -> None:
        head = self._head(status, {**headers, "Content-Length": str(len(body))})
        # head and body in ONE write: in two, Nagle's algorithm and a delayed ACK make it 44 ms
        self.wfile.write(head if self.command == "HEAD" else b"".join((head, body)))

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Return the head of an answer, which counts as answered with it."""
        self.app.counts.answer(self.endpoint, status)
        self.log_request(status)
        headers = {**headers, **self.policy.hosts.cors_headers(self.asked)}
        return answers.head(status, headers, self.asked.version, not self.close_connection)


_ROUTES: dict[str, Callable[[Handler], None]] = {
    "/": Handler.page_or_action,
    "/wall": Handler.wall,
    **dict.fromkeys((f"/{name}" for name in PAGE_FILES), Handler.page_file),
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
_CHANGES: dict[str, Callable[[Handler], None]] = {
    "/controls": Handler.set_controls,
    "/controls/save": Handler.save_controls,
    "/controls/forget": Handler.forget_controls,
}
