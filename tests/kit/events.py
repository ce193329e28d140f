"""Listen to a daemon's events, and receive them as a webhook does."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.kit.certificates import Certificate
from tests.kit.daemon import Daemon
from tests.kit.lateness import patience
from tests.kit.wait import until


def events(daemon: Daemon, kind: str = "") -> list[dict[str, Any]]:
    """Return the events that the daemon keeps, of one *kind* if given."""
    found: list[dict[str, Any]] = json.loads(daemon.get("/events")[2])["events"]
    return [event for event in found if kind in ("", event["kind"])]


def event(daemon: Daemon, kind: str, wanted: Callable[[dict[str, Any]], Any] = lambda _: True) -> dict[str, Any]:
    """Return the newest event of *kind*, once there is one that is *wanted*."""
    found = until(f"an event {kind}", lambda: [one for one in events(daemon, kind) if wanted(one)])
    newest: dict[str, Any] = found[-1]
    return newest


def begin(daemon: Daemon) -> int:
    """Let something begin to move in front of the rig's camera, and return the number of the event that goes on.

    A machine that is late may end it by itself, as the camera seems to stand still. Then it begins again.
    """

    def goes_on() -> int | None:
        newest = (events(daemon, "motion") or [None])[-1]
        if newest and newest["ended"] is None:
            return int(newest["id"])
        if not daemon.fault_file.exists():
            daemon.fault("motion")
        return None

    number: int = until("a motion that goes on", goes_on)
    return number


def move(daemon: Daemon) -> dict[str, Any]:
    """Let something move in front of the rig's camera, and return the event once it has its picture and its end.

    A machine that is late may end it by itself: the camera seems to stand still.
    """
    before = max((one["id"] for one in events(daemon)), default=0)
    daemon.fault("motion")
    began = event(daemon, "motion", lambda one: one["id"] > before and one["picture"])["id"]
    daemon.fault("motion-ends")
    until("taken", lambda: not daemon.fault_file.exists())
    return event(daemon, "motion", lambda one: one["id"] == began and one["ended"])


class Listener:
    """A strict reader of an event stream on *sock*, which sends the request first."""

    def __init__(self, sock: socket.socket, path: str = "/events", *fields: str) -> None:
        self.sock = sock
        sock.settimeout(patience(10))
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: text/event-stream", *fields, "", ""]
        sock.sendall("\r\n".join(lines).encode())
        self._file = sock.makefile("rb")
        self.head = self._block().decode()
        self.ids: list[int] = []

    def _block(self) -> bytes:
        lines = b""
        while (line := self._file.readline()) not in (b"\r\n", b"\n"):
            if not line:
                raise EOFError(lines)
            lines += line
        return lines

    def next(self) -> dict[str, Any]:
        """Return the next event. Raise EOFError at the end of the stream."""
        while (block := self._block()).startswith((b":", b"retry: ")):
            pass
        name, data = block.decode().splitlines()
        assert name.startswith("id: ") and data.startswith("data: "), block
        table: dict[str, Any] = json.loads(data.removeprefix("data: "))
        self.ids.append(int(name.removeprefix("id: ")))
        assert self.ids[-1] == table["changed"]
        return table

    def next_where(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        while not wanted(table := self.next()):
            pass
        return table

    def ended(self) -> bool:
        """Return whether the server has closed the stream, once it has or after ten seconds."""
        try:
            while True:
                self._block()
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self._file.close()
        self.sock.close()


class Receiver:
    """A receiver of a webhook at 127.0.0.1, over https if it has a *certificate*.

    It answers with the next of *answers*, 200 when there is none. A path instead of a status is a redirect there. None
    is no answer, and 299 one that does not end. *got* has the path, the fields (names in lower case), and the body of
    each request.
    """

    def __init__(self, certificate: Certificate | None = None, answers: tuple[int | str | None, ...] = ()) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.at: list[float] = []  # when each came
        left = list(answers)
        receiver, done = self, threading.Event()
        self._done = done

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.at.append(time.monotonic())
                receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer = left.pop(0) if left else 200
                if answer is None:
                    done.wait(patience(60))
                    return
                self.send_response(302 if isinstance(answer, str) else answer)
                if isinstance(answer, str):
                    self.send_header("Location", answer)
                self.send_header("Content-Length", "1000000" if answer == 299 else "0")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while answer == 299 and not done.wait(0.1):
                        self.wfile.write(b".")

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}/hook/token?key=7"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def tables(self) -> list[dict[str, Any]]:
        """Return the events that came."""
        return [json.loads(body) for _, _, body in self.got]

    def close(self) -> None:
        self._done.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
