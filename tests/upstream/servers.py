"""Test servers on 127.0.0.1; each is a script that says what one connection gets."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from tests.kit.lateness import patience

BOUNDARY = "frame"


def picture(number: int = 0, width: int = 64, height: int = 48) -> bytes:
    """Return a JPEG, a different one for every *number* up to 255."""
    encoded, data = cv2.imencode(".jpg", np.full((height, width, 3), number % 256, np.uint8))
    assert encoded
    return data.tobytes()


PICTURES = [picture(0), picture(100), picture(200)]


def header(content_type: str = f"multipart/x-mixed-replace; boundary={BOUNDARY}", *lines: str) -> bytes:
    """Return the header of an answer of status 200."""
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {content_type}", *lines, "", ""]).encode()


def part(jpeg: bytes) -> bytes:
    return b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
        BOUNDARY.encode(),
        len(jpeg),
        jpeg,
    )


@dataclass(frozen=True)
class Request:
    """The request of a connection; the names of *headers* are in lower case."""

    arrived: float
    path: str
    headers: dict[str, str]


Answer = Callable[[socket.socket, Request], None]


def paced(answer: bytes, *pieces: bytes, pause: float = 0.05, last: bytes = b"") -> Answer:
    """Send *answer*, then *pieces* again and again, or once with *last*."""

    def send(sock: socket.socket, _: Request) -> None:
        sock.sendall(answer)
        while True:
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(pause)
            if last:
                sock.sendall(last)
                return

    return send


def hold(sock: socket.socket, _: Request | None = None) -> None:
    """Send nothing (more) until the client closes."""
    while sock.recv(4096):
        pass


def once(data: bytes) -> Answer:
    """Send *data* and close."""
    return lambda sock, _: sock.sendall(data)


def then_silence(data: bytes) -> Answer:
    def send(sock: socket.socket, request: Request) -> None:
        sock.sendall(data)
        hold(sock, request)

    return send


STREAM = paced(header(), *map(part, PICTURES))


@dataclass
class Server:
    """A server that gives *answer* to each connection; *requests* keeps every request."""

    answer: Answer
    listener: socket.socket
    tls: ssl.SSLContext | None
    requests: list[Request] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    open: int = 0
    most_open: int = 0

    @property
    def port(self) -> int:
        port = self.listener.getsockname()[1]
        assert isinstance(port, int)
        return port

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/stream", user: str = "") -> str:
        return f"{'https' if self.tls else 'http'}://{user and user + '@'}{self.place}{path}"

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.connections.append(sock)
                threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        self.count(1)
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            with sock:
                sock.settimeout(patience(60))
                lines = b""
                while not lines.endswith(b"\r\n\r\n"):
                    data = sock.recv(4096)
                    if not data:
                        return
                    if data.startswith(b"\x16"):  # a TLS greeting: what any server says to bytes that are no request
                        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        return
                    lines += data
                first, *others = lines.decode("latin-1").split("\r\n")[:-2]
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in others)}
                request = Request(time.monotonic(), first.split(" ")[1], headers)
                self.requests.append(request)
                self.answer(sock, request)
        except OSError:  # the daemon has hung up
            pass
        finally:
            self.count(-1)

    def count(self, change: int) -> None:
        with self.lock:
            self.open += change
            self.most_open = max(self.most_open, self.open)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def serving(
    answer: Answer, tls: ssl.SSLContext | None = None, port: int = 0, listener: socket.socket | None = None
) -> Iterator[Server]:
    server = Server(answer, listener or socket.create_server(("127.0.0.1", port)), tls)
    threading.Thread(target=server.accept, daemon=True).start()
    try:
        yield server
    finally:
        server.close()


def status(code: int, *lines: str, body: bytes = b"") -> Answer:
    head = "\r\n".join([f"HTTP/1.1 {code} Whatever", *lines, f"Content-Length: {len(body)}", "", ""])
    return once(head.encode() + body)


def fields(header: str) -> dict[str, str]:
    """Return the parameters of an Authorization header."""
    return {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^",]+))', header)}
