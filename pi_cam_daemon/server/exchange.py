"""One exchange of HTTP: reads and checks a request, finds its route, and answers in one write."""

from __future__ import annotations

import http.server
import json
import logging
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPMethod, HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from pi_cam_daemon.clips import names
from pi_cam_daemon.server import answers, refusal_page
from pi_cam_daemon.server.access import Client, is_same_host
from pi_cam_daemon.server.answers import NO_STORE
from pi_cam_daemon.server.app import App
from pi_cam_daemon.server.lingering import linger
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import NOTHING, Reader
from pi_cam_daemon.system.network import peer_name

if TYPE_CHECKING:
    from pi_cam_daemon.server.listener import CameraServer

log = logging.getLogger(__name__)

TEXT = {"Content-Type": "text/plain; charset=utf-8"}
JPEG = {**NO_STORE, "Content-Type": "image/jpeg"}
_COMPRESSED = "text/"  # types of the page's files that gzip makes much smaller
_NO_PAGE = "There is no such page here\n\nThe page is at /, the stream at /stream, a single picture at /snapshot"
# of one event's picture, in a path; the routes know it as N
_NUMBER = re.compile(r"(?<=/)\d{1,18}(?=\.jpg$)", re.ASCII)
# of one clip; the routes know it as NAME
_CLIP = re.compile(rf"(?<=^/recordings/){names.PATTERN}(?=$|\.jpg$|/stream$)", re.ASCII)
# label for all unknown paths; keeps the number of labels bounded
_NO_ENDPOINT = "other"

Route = Callable[[Any], None]


class Exchange(http.server.BaseHTTPRequestHandler):
    """Serves one connection: each of its requests goes to one of *routes* (GET and HEAD) or *changes* (POST)."""

    routes: ClassVar[Mapping[str, Route]]
    changes: ClassVar[Mapping[str, Route]]
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
        if route := self.routes.get(self.endpoint):
            route(self)
        elif self.endpoint in self.changes:
            self._refuse_method()
        else:
            self.send_error(HTTPStatus.NOT_FOUND, _NO_PAGE)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answer POST, the only method that changes anything."""
        self.changes.get(self.endpoint, Exchange._refuse_method)(self)

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
        if (path := _CLIP.sub("NAME", _NUMBER.sub("N", asked.path))) in self.routes or path in self.changes:
            self.endpoint = path
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
        route, change = self.endpoint in self.routes, self.endpoint in self.changes
        methods = [*(("GET", "HEAD") if route or not change else ()), "OPTIONS", *(("POST",) if change else ())]
        return {"Allow": ", ".join(methods)}

    def _refuse_method(self) -> None:
        known = self.command in set(HTTPMethod)
        status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_IMPLEMENTED
        self._refuse(Refused(status, f"{self.command[:40]} is not served here"), self._allow())

    def _need_json(self) -> None:
        """Raise Refused if the body is not JSON; no form of another site's page can send that."""
        if self.asked.header("content-type").partition(";")[0].strip().lower() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type has to be application/json")

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
        body, kind = refused.text.encode() + b"\n", TEXT
        if "text/html" in self.asked.header("accept").lower():
            page, asked = self.app.refusal_page, self.asked
            accepted, wish = asked.headers.get("accept-language", ()), asked.arguments.get("lang", "")
            language = refusal_page.language(self.app.observer.config.page.language, accepted, wish)
            body, kind = page.body(refused, language, answers.home(asked.target)), page.headers
        headers = {**NO_STORE, **kind, "Vary": "Accept, Accept-Language", **refused.headers, **(more or {})}
        # a browser would open its dialog for each request of a script; an EventSource can send no field of its own
        if self.asked.header("x-requested-with") or self.asked.wants_events:
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
