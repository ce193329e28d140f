"""Requests of one connection: reads, checks and routes them, and answers each in one write."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPMethod, HTTPStatus
from typing import TYPE_CHECKING, Any

from pi_cam_daemon.core.health import State
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.ipc.parts import CONTENT_TYPE, OPENING
from pi_cam_daemon.server import answers, live_controls, refusal_page
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

_SNAPSHOT_SECONDS = 4.0  # OctoPrint waits 5 s
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_COMPRESSED = "text/"  # types of the page's files that gzip makes much smaller
_JPEG = {**NO_STORE, "Content-Type": "image/jpeg"}
_NO_PAGE = "There is no such page here\n\nThe page is at /, the stream at /stream, a single picture at /snapshot"
# label for all unknown paths; keeps the number of labels bounded
_NO_ENDPOINT = "other"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one connection. A stream is handed over to the stream loop."""

    server: CameraServer
    request: socket.socket
    rfile: Reader

    def __init__(self, app: App, *connection: Any) -> None:
        self.app = app
        super().__init__(*connection)

    # -- overridden parts of http.server; docs/decisions/006 says why

    def setup(self) -> None:
        """Set up `rfile` with one deadline per request. With the library's, each read has a timeout of its own."""
        super().setup()
        self.rfile = Reader(self.request)
        self.peer = peer_name(self.client_address)
        self.here = peer_name(self.request.getsockname())
        limits = self.app.policy.http
        self._idle_seconds, self._requests_left = limits.request_timeout_seconds, limits.max_requests_per_connection

    def handle_one_request(self) -> None:
        """Read one request, check it by the policy that is in force then, and answer it."""
        self.client, self.endpoint = Client(self.peer, self.peer), _NO_ENDPOINT
        self.close_connection = True
        self.policy = self.app.policy  # its limits for reading; the request is then judged by the one in force
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
        """Read a whole request; return False if none begins in time, or if it is answered already. Raises Refused."""
        # if the request cannot be read, its answer must not depend on the one before
        self.asked, self.command = NOTHING, NOTHING.method
        limits = self.policy.http
        asked = self.rfile.next(limits, self._idle_seconds)
        if asked is None:
            return False
        self.asked = asked
        self.command, self.path, self.request_version = asked.method, asked.target, asked.version
        if asked.waits:
            if not self._admit():  # the body may be on its way
                linger(self.request)
                return False
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.asked = replace(asked, body=self.rfile.body(asked, limits))
        self._idle_seconds = limits.keep_alive_seconds
        self._requests_left -= 1
        self.close_connection = not (asked.keeps_alive and self._requests_left > 0)
        self.request.settimeout(limits.request_timeout_seconds)
        return True

    def do_GET(self) -> None:
        """Answer GET and HEAD; for HEAD `_answer` leaves out the body."""
        if route := _ROUTES.get(self.asked.path):
            route(self)
        elif self.asked.path in _CHANGES:
            self._refuse_method()
        else:
            self.send_error(HTTPStatus.NOT_FOUND, _NO_PAGE)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answer POST, the only method that changes anything."""
        _CHANGES.get(self.asked.path, Handler._refuse_method)(self)

    def do_OPTIONS(self) -> None:
        """Send the allowed methods; browsers ask for them before they send another site's request."""
        self._answer(HTTPStatus.OK, b"", self._allow())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer *message* in the form of a refusal."""
        self._refuse(Refused(HTTPStatus(code), message or HTTPStatus(code).phrase))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        """Log the request without query and authority, which may hold passwords."""
        log.debug("%s: %s %s: %s", self.client, self.asked.method, self.asked.path, code)

    # -- checks

    def _admit(self) -> bool:
        """Check client, host and password; return False if the client has to log in first. Raises Refused."""
        policy, asked = self.policy, self.asked
        self.client = policy.access.judge(self.peer, self.here, asked)
        if isinstance(self.request, ssl.SSLSocket):
            self.client = replace(self.client, encrypted=True)
        # local programs need no TLS, and may not know the certificate's name
        elif policy.tls and not is_same_host(self.peer, self.here):
            raise Refused(Reason.TLS, "This address is served by https, not by http")
        policy.hosts.check(asked, self.client.address, policy.access.trusts(self.peer))
        if asked.path in _ROUTES or asked.path in _CHANGES:
            self.endpoint = asked.path
        if policy.logins:
            client = policy.logins.judge(self.client, asked)
            if client is None:
                self._refuse(Refused(Reason.PASSWORD, "This camera asks for a name and a password"))
                return False
            self.client = client
        return True

    def _role(self) -> str:
        """Return "admin" if this client may change something, else "viewer"."""
        if self.policy.logins is None:
            return "admin"
        return self.client.user.role if self.client.user else "viewer"

    def _allow(self) -> dict[str, str]:
        route, change = self.asked.path in _ROUTES, self.asked.path in _CHANGES
        methods = [*(("GET", "HEAD") if route or not change else ()), "OPTIONS", *(("POST",) if change else ())]
        return {"Allow": ", ".join(methods)}

    def _refuse_method(self) -> None:
        known = self.command in set(HTTPMethod)
        status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_IMPLEMENTED
        self._refuse(Refused(status, f"{self.command[:40]} is not served here"), self._allow())

    # -- routes

    def page_or_action(self) -> None:
        """Serve /, and the ?action= of mjpg-streamer's clients."""
        action = self.asked.arguments.get("action", "")
        if action.startswith("stream"):
            self.stream()
        elif action.startswith("snapshot"):
            self.snapshot()
        else:
            self._page("index.html")

    def tutorial_page(self) -> None:
        """Serve /mjpeg/: the same page with links that lead one level up."""
        self._page("index.html", {"<head>": '<base href="../">'})

    def wall(self) -> None:
        """Serve /wall, the only page that may load from other cameras."""
        cameras = self.policy.wall.cameras
        links = "".join(f'<li><a href="{camera}/">{camera}</a></li>' for camera in cameras)
        self._page("wall.html", {'<ul id="wall" class="wall">': links}, cameras)

    def manifest(self) -> None:
        """Send what a browser needs to install the page as an app, with the camera's name."""
        name = json.dumps(self.app.observer.name)[1:-1]
        self._page(self.asked.path[1:], {'"name": "': name})

    def page_file(self) -> None:
        """Send a file that the pages load."""
        self._page(self.asked.path[1:])

    def stream(self) -> None:
        """Send the stream; `?fps=N` limits it to N pictures per second, `?size=small` is of small ones.

        `?raw=1` is for scripts: WebKit's fetch() takes no answer of the type multipart/x-mixed-replace. The bytes are
        the same.
        """
        fps, small = self.asked.number("fps", 0.05, 1000.0), self.asked.small
        content_type = "application/octet-stream" if self.asked.number("raw", 0.0, 1.0) else CONTENT_TYPE
        self.close_connection = True
        streams = self.app.streams
        streams.take_place(self.client, self.policy.http)
        head = self._head(HTTPStatus.OK, {**NO_STORE, "X-Accel-Buffering": "no", "Content-Type": content_type})
        if self.command == "HEAD":
            streams.give_back_place(self.client)
            self.request.sendall(head)
            return
        try:
            streams.add(self.request, self.client, head + OPENING, 1 / fps if fps else 0.0, small)
        except OSError:  # the client has hung up
            streams.give_back_place(self.client)
        else:
            self.server.leave_open(self.request)

    def snapshot(self) -> None:
        """Send the newest picture; `?max_age_ms=N` limits its age in milliseconds, `?size=small` is a small one."""
        small = self.asked.small
        pictures = self.app.small if small else self.app.big
        max_age_ms = self.asked.number("max_age_ms", 0.0, 3_600_000.0)
        status = self.app.observer.camera()
        period = max(status.period, 1 / self.app.observer.config.small.framerate) if small else status.period
        max_age = max(1.0, 2 * period) if max_age_ms is None else max_age_ms / 1000
        now = time.monotonic()
        # no waiting for a camera that is known to be missing, unless the test picture is shown in its place
        comes = status.state.ok or status.state is State.STARTING or status.stands_in or not status.failure
        patience = _SNAPSHOT_SECONDS if comes else 0.0
        pictures.demand.touch()
        frame = pictures.latest.wait(now - max_age, 0.0)
        if frame is None and patience:
            with pictures.demand.waiting():
                frame = pictures.latest.wait(now - max_age, patience)
        if frame is None and max_age_ms is None and self.app.observer.camera().live:
            # of a camera that is slow; small ones come only while somebody asks
            frame = pictures.latest.wait(time.monotonic() - Pace(period).silent_seconds, 0.0)
        if frame is None:
            self._refuse(Refused(Reason.PICTURE, self.app.observer.no_picture()))
        else:
            self._answer(HTTPStatus.OK, frame.jpeg, {**_JPEG, "X-Timestamp": f"{frame.timestamp_us / 1e6:.6f}"})

    def still(self) -> None:
        """Send a picture of the sensor's full size. HEAD takes none, because it would interrupt the stream."""
        self.policy.hosts.check_still(self.asked)
        if self.command == "HEAD":
            self.request.sendall(self._head(HTTPStatus.OK, _JPEG))
        else:
            self._answer(HTTPStatus.OK, self.app.stills.take().jpeg, _JPEG)

    def controls(self) -> None:
        """Send the camera's controls and their values."""
        self._answer_json(HTTPStatus.OK, self.app.live_controls.table())

    def set_controls(self) -> None:
        """Set the controls that the JSON object in the body names."""
        self._need_json()
        wanted = live_controls.parse(self.asked.body)
        self._wake_camera()
        self._answer_json(*self.app.live_controls.set(wanted))

    def save_controls(self) -> None:
        """Save what was set."""
        self._answer_json(HTTPStatus.OK, self.app.live_controls.save())

    def forget_controls(self) -> None:
        """Undo what was set and saved."""
        self._wake_camera()
        self._answer_json(HTTPStatus.OK, self.app.live_controls.forget())

    def settings(self) -> None:
        """Send the settings that can be saved, with their values."""
        self._answer_json(HTTPStatus.OK, self.app.settings.table())

    def set_settings(self) -> None:
        """Save the settings that the JSON object in the body names, and put them into force."""
        self._need_json()
        wanted = live_controls.parse(self.asked.body, '{"video.rotation": 90}')
        self._answer_json(*self.app.settings.set(wanted, str(self.client)))

    def _need_json(self) -> None:
        """Raise Refused if the body is not JSON; no form of another site's page can send that."""
        if self.asked.header("content-type").partition(";")[0].strip().lower() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type has to be application/json")

    def _wake_camera(self) -> None:
        """Wait until a camera that sleeps or starts has its first picture; before that it takes no settings."""
        if self.app.observer.camera().state in (State.IDLE, State.STARTING):
            with self.app.big.demand.waiting():
                self.app.big.latest.wait(time.monotonic(), _SNAPSHOT_SECONDS)

    def state(self) -> None:
        """Send all that is known about the daemon and its camera."""
        self._answer_json(HTTPStatus.OK, {**self.app.observer.table(), "role": self._role()})

    def healthz(self) -> None:
        """Answer 200 while there are pictures or the camera sleeps because nobody watches, else 503."""
        table = self.app.observer.table()
        status = HTTPStatus.OK if table["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
        keys = (
            "state", "ok", "detail", "cause", "hint", "source", "reboot_requested", "clock_synced", "frames", "release",
            "config_sha256", "config_refused",
        )  # fmt: skip
        self._answer_json(status, {key: table[key] for key in keys})

    def livez(self) -> None:
        """Answer 200, whatever the camera does."""
        self._answer(HTTPStatus.OK, b"alive\n", {**NO_STORE, **_TEXT})

    def metrics(self) -> None:
        """Send the metrics for Prometheus."""
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        self._answer(HTTPStatus.OK, self.app.metrics.text(), {**NO_STORE, "Content-Type": content_type})

    # -- answers

    def _page(self, name: str, more: Mapping[str, str] | None = None, origins: Sequence[str] = ()) -> None:
        """Send the file *name*. Inserts each value of *more* after its key; *origins* go into the CSP."""
        content_type, content = self.app.pages[name]
        headers = {"Content-Type": content_type, "Cache-Control": "no-cache"}
        rules, more = "", more or {}
        if name.endswith(".html"):
            rules = answers.content_security_policy(self.policy.http.frame_ancestors, origins)
            headers["Content-Security-Policy"] = rules
            more = {**more, **answers.language(self.app.observer.config.page.language)}
        for place, text in more.items():
            content = content.replace(place.encode(), f"{place}{text}".encode(), 1)
        if content_type.startswith(_COMPRESSED):
            headers["Vary"] = "Accept-Encoding"
            if answers.takes_gzip(self.asked.headers.get("accept-encoding", ())):
                headers["Content-Encoding"] = "gzip"
                content = answers.compressed(content)
        headers["ETag"] = answers.entity_tag(content, rules.encode())
        if answers.is_unchanged(headers["ETag"], self.asked.headers.get("if-none-match", ())):
            self.wfile.write(self._head(HTTPStatus.NOT_MODIFIED, headers))
        else:
            self._answer(HTTPStatus.OK, content, headers)

    def _answer_json(self, status: HTTPStatus, table: Mapping[str, object]) -> None:
        body = json.dumps(table, indent=1).encode() + b"\n"
        self._answer(status, body, {**NO_STORE, "Content-Type": "application/json"})

    def _refuse(self, refused: Refused, more: Mapping[str, str] | None = None) -> None:
        """Answer a refusal: as a page if the client accepts HTML, else as text."""
        body, kind = refused.text.encode() + b"\n", _TEXT
        if "text/html" in self.asked.header("accept").lower():
            page, asked = self.app.refusal_page, self.asked
            accepted, wish = asked.headers.get("accept-language", ()), asked.arguments.get("lang", "")
            language = refusal_page.language(self.app.observer.config.page.language, accepted, wish)
            body, kind = page.body(refused, language, answers.home(asked.target)), page.headers
        headers = {**NO_STORE, **kind, "Vary": "Accept, Accept-Language", **refused.headers, **(more or {})}
        if self.asked.header("x-requested-with"):  # a browser would open its dialog for each request of a script
            headers.pop("WWW-Authenticate", None)
        self._answer(refused.status, body, headers)

    def _answer(self, status: int, body: bytes | memoryview, headers: Mapping[str, str]) -> None:
        head = self._head(status, {**headers, "Content-Length": str(len(body))})
        body = b"" if self.command == "HEAD" else body
        self.app.streams.answers.send(self.request, str(self.client), head, body)

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Return the head of an answer, and count the request as answered."""
        self.app.counts.answer(self.endpoint, status)
        self.log_request(status)
        cors = self.policy.hosts.cors_headers(self.asked)
        if cors and "Vary" in headers:
            cors["Vary"] = f"{headers['Vary']}, {cors['Vary']}"
        headers = {**headers, **cors}
        return answers.head(status, headers, self.asked.version, not self.close_connection)


_ROUTES: dict[str, Callable[[Handler], None]] = {
    "/": Handler.page_or_action,
    "/wall": Handler.wall,
    **dict.fromkeys((f"/{name}" for name in PAGE_FILES), Handler.page_file),
    "/manifest.webmanifest": Handler.manifest,
    # /mjpeg has the addresses of the tutorial that this project grew from
    "/mjpeg": Handler.tutorial_page,
    **dict.fromkeys(("/stream", "/stream.mjpg", "/video", "/mjpeg/stream"), Handler.stream),
    **dict.fromkeys(("/snapshot", "/snapshot.jpg", "/mjpeg/snapshot"), Handler.snapshot),
    "/still.jpg": Handler.still,
    "/state": Handler.state,
    "/healthz": Handler.healthz,
    "/livez": Handler.livez,
    "/controls": Handler.controls,
    "/settings": Handler.settings,
    "/metrics": Handler.metrics,
}
# POST only
_CHANGES: dict[str, Callable[[Handler], None]] = {
    "/controls": Handler.set_controls,
    "/controls/save": Handler.save_controls,
    "/controls/forget": Handler.forget_controls,
    "/settings": Handler.set_settings,
}
