"""Ask the daemon over HTTP, and read its stream with a strict client."""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse

from tests.kit.lateness import patience

# of a stream; a proxy may write the names of fields its own way
CONTENT_TYPE = rb"\r\nContent-Type: multipart/x-mixed-replace; boundary=([A-Za-z0-9]{16,40})\r\n"


def basic(name: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def ask(asked: str | urllib.request.Request, timeout: float = 10.0) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers (names in lower case) and body for any status. Raise OSError without an answer."""
    try:
        answer: HTTPResponse = urllib.request.urlopen(asked, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
    with answer:
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()


def read_all(sock: socket.socket, enough: bytes = b"") -> bytes:
    """Return everything that is received until the other end closes, or until *enough* is in it."""
    received = b""
    while not (enough and enough in received) and (chunk := sock.recv(65536)):
        received += chunk
    return received


def say(
    sock: socket.socket, path: str, fields: Sequence[str] = (), method: str = "GET", body: bytes = b""
) -> tuple[int, str, bytes]:
    """Send a request on *sock* and close it; return status, head and body. Of a stream the body is its beginning."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields, "", ""]
    with sock:
        sock.sendall("\r\n".join(lines).encode() + body)
        head, _, rest = read_all(sock, b"multipart/").partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin-1"), rest


@dataclass(frozen=True)
class Part:
    """One part of a stream as it was received."""

    header: bytes
    jpeg: bytes
    arrived: float

    @property
    def timestamp(self) -> float:
        match = re.search(rb"\r\nX-Timestamp: (\d+\.\d{6})\r\n", self.header)
        assert match, self.header
        return float(match[1])

    @property
    def size(self) -> tuple[int, int]:
        from pi_cam_daemon.imaging import jpeg

        return jpeg.size(self.jpeg)


class Viewer:
    """A strict reader of a stream: a byte that does not fit the format is an AssertionError."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")
        self.head = self._until(b"\r\n\r\n")
        match = re.search(CONTENT_TYPE, self.head, re.IGNORECASE)
        assert match, self.head
        self.boundary = b"\r\n--" + match[1] + b"\r\n"
        assert self._file.read(len(self.boundary) - 2) == self.boundary[2:]

    def _until(self, end: bytes) -> bytes:
        lines = b""
        while not lines.endswith(end):
            line = self._file.readline()
            assert line, f"the stream ended after {lines!r}"
            lines += line
        return lines

    def part(self) -> Part:
        """Return the next picture; the boundary after it is read too."""
        header = self._until(b"\r\n\r\n")
        match = re.fullmatch(
            rb"Content-Type: image/jpeg\r\nContent-Length: (\d+)\r\nX-Timestamp: \d+\.\d{6}\r\n"
            rb"(?:X-No-Picture: [a-z]+\r\n)?\r\n",
            header,
        )
        assert match, header
        jpeg = self._file.read(int(match[1]))
        assert jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9", "not one whole JPEG"
        assert self._file.read(len(self.boundary)) == self.boundary
        return Part(header, jpeg, time.monotonic())

    def parts(self, count: int) -> list[Part]:
        return [self.part() for _ in range(count)]

    def next_where(self, what: str, wanted: Callable[[Part], bool], seconds: float = 10.0) -> Part:
        """Return the next picture that is *wanted*."""
        begun = time.monotonic()
        while not wanted(part := self.part()):
            waited = time.monotonic() - begun
            assert waited < patience(seconds), f"not within {waited:.1f} s: {what}"
        return part

    def close(self) -> None:
        self._file.close()
        self.sock.close()


def watch(sock: socket.socket, path: str = "/stream", host: str = "localhost", fields: Sequence[str] = ()) -> Viewer:
    """Return the viewer that asks for *path* of *host* on *sock*."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]
    sock.sendall("\r\n".join(lines).encode())
    return Viewer(sock)


class Reading(threading.Thread):
    """A viewer that reads in a thread until it is told to stop; *error* is the exception that ended it, if any."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(name="reading", daemon=True)
        self.viewer = viewer
        self.parts: list[Part] = []
        self.error: BaseException | None = None
        self._stop_reading = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            while not self._stop_reading.is_set():
                self.parts.append(self.viewer.part())
        except (AssertionError, OSError) as error:
            self.error = error

    def finish(self) -> list[Part]:
        """Return all parts read; raise the exception that ended the reading."""
        self._stop_reading.set()
        self.join(patience(5))
        assert not self.is_alive(), "the stream stands still"
        if self.error:
            raise self.error
        return self.parts


def fairly_shown(watching: Sequence[Reading], begun: float, ended: float) -> tuple[int, float]:
    """Return how many pictures any viewer saw between two times, and the smallest share of them one of *watching* saw.

    Other work on this machine slows the camera and costs all viewers pictures. A starved viewer lacks pictures that
    others have.
    """
    seen = [{part.timestamp for part in reading.finish() if begun < part.arrived < ended} for reading in watching]
    shown = set.union(*seen)
    return len(shown), min(len(some) / len(shown) for some in seen)
