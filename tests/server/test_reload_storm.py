"""During constant reloads each request is judged by the old rules or the new ones, never by a mixture."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.conftest import Report
from tests.kit import certificates
from tests.kit.daemon import RIG, Daemon, running
from tests.kit.wire import basic

SECONDS = 10.0
HASTY = RIG.with_name("hasty.py")
NEAR, FAR = "192.168.1.9", "203.0.113.9"
# the longest bodies, which once took up to two seconds each
BODIES = (
    b"{" + b",".join(b'"brightness%06d":1' % number for number in range(3000)) + b"}",
    b'{"brightness":[' + b",".join([b"1"] * 32000) + b"]}",
    b'{"brightness":"' + b"[1," * 21000 + b'"}',
    b'{"a":' * 13000,
)
BOB = ("bob", "correct horse battery")
BOTH = {
    "video.width": 320,
    "video.height": 240,
    "http.trusted_proxies": ["127.0.0.1"],  # so that a header says who asks
    "http.max_connections_per_address": 100,
}


class Client(threading.Thread):
    """Requests *path* again and again, as *address* and as *who*; counts the statuses of the *answers*.

    It waits *silent* seconds between the connection and the request. With a *body* it posts.
    """

    def __init__(
        self,
        daemon: Daemon,
        path: str,
        address: str,
        who: tuple[str, str] | None = None,
        tls: bool = False,
        silent: float = 0.0,
        body: bytes = b"",
    ) -> None:
        super().__init__(daemon=True)
        self.port = daemon.port
        self.context = ssl._create_unverified_context() if tls else None
        self.silent = silent
        login = f"Authorization: {basic(*who)}\r\n" if who else ""
        fields = f"Host: localhost\r\nConnection: close\r\nX-Forwarded-For: {address}\r\n{login}"
        if body:
            fields += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.asked = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\n{fields}\r\n".encode() + body
        self.answers: Counter[int] = Counter()
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            # a handshake that TLS is not spoken to fails
            with contextlib.suppress(ssl.SSLError, ConnectionError), contextlib.ExitStack() as stack:
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), 10))
                self.over.wait(self.silent)
                if self.context:
                    sock = stack.enter_context(self.context.wrap_socket(sock))
                sock.sendall(self.asked)
                if head := sock.recv(64):
                    self.answers[int(head.split()[1])] += 1


def test_each_request_is_judged_by_the_old_or_the_new_rules(tmp_path: Path, report: Report) -> None:
    file = tmp_path / "users"
    users.add(file, BOB[0], Role.VIEWER, BOB[1])
    certificate = certificates.make(tmp_path / "certificate")
    # A stranger from afar is served by neither: one does not serve his network, the other wants his name. The networks
    # of the one with the users of the other would serve him.
    near = {**BOTH, "http.allowed_networks": ["local"], **certificate.settings()}
    named = {**BOTH, "http.allowed_networks": ["0.0.0.0/0"], "http.users_file": str(file)}
    argv = [sys.executable, HASTY, RIG, tmp_path / "fault"]
    with running(tmp_path / "daemon", near, argv=argv) as daemon:
        strangers = [Client(daemon, path, FAR) for path in ("/app.js", "/app.js", "/state", "/snapshot", "/stream")]
        strangers += [Client(daemon, "/app.js", FAR, tls=True)]
        friends = [Client(daemon, "/app.js", NEAR), Client(daemon, "/stream", NEAR)]
        friends += [Client(daemon, "/app.js", NEAR, tls=True), Client(daemon, "/app.js", NEAR, tls=True, silent=0.1)]
        bobs = [Client(daemon, "/app.js", FAR, BOB), Client(daemon, "/app.js", FAR, BOB, tls=True)]
        # a viewer of the one with the users may change nothing
        posters = [Client(daemon, "/controls", NEAR, BOB, body=body) for body in BODIES]
        clients = [*strangers, *friends, *bobs, *posters]
        ends = time.monotonic() + SECONDS
        for number in itertools.count(1):
            daemon.reload(named if number % 2 else near)
            if time.monotonic() > ends and not number % 2:
                break
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(10)
        found = [
            sum((client.answers for client in some), Counter[int]()) for some in (strangers, friends, bobs, posters)
        ]
        report(f"{number} reloads; strangers, friends, bobs, posters got {[dict(answers) for answers in found]}")
        assert [set(answers) for answers in found] == [{401, 403}, {200, 401}, {200, 403}, {400, 403}]
        assert "Traceback" not in daemon.log()
        errors = re.findall(r"pi_cam_thread_errors_total\S+ (\S+)", daemon.get("/metrics")[2].decode())
        assert errors and not any(map(float, errors))
        assert daemon.stop() == os.EX_OK
