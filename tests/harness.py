"""Run the whole daemon as a process, and read its stream with a strict client."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from tests.lateness import patience

ROOT = Path(__file__).parents[1]
RIG = Path(__file__).parent / "rig" / "daemon.py"
# starts the daemon as people do, without the rig's faults
RUN = (sys.executable, "-m", "pi_cam_daemon", "run", "--config")
# of a stream; a proxy may write the names of fields its own way
CONTENT_TYPE = rb"\r\nContent-Type: multipart/x-mixed-replace; boundary=([A-Za-z0-9]{16,40})\r\n"


def until(what: str, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return the first true value of *condition*; fail when there is none within *seconds* of a quiet machine."""
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        assert waited < patience(seconds), f"not within {waited:.1f} s: {what}"
        time.sleep(0.01)
    return value


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody else is given meanwhile: none of those that the kernel gives out."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


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


# the log's words for a reload that was refused
REFUSED = "the configuration was not reloaded; the old one stays"


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


class Daemon:
    """A pi-cam-daemon on a free port of 127.0.0.1 with a test picture. Its camera can be given faults."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        unkillable: bool = False,
        env: Mapping[str, str] | None = None,
        argv: Sequence[str | Path] = (),
    ) -> None:
        self.folder = folder
        self.fault_file = folder / "fault"
        self.state_folder = folder / "state"
        self.config_file = folder / "config.toml"
        self.write_config(settings)
        self.log_file = folder / "log"
        argv = argv or [sys.executable, RIG, self.fault_file, *(["--unkillable"] if unkillable else [])]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, self.config_file],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(self.state_folder)}
                | {"LC_ALL": "C.UTF-8", **(env or {})},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,  # as a shell starts it
            )
        try:
            assert self.process.stdout
            line = self.process.stdout.readline()
            match = re.search(r"https?://\S+:(\d+)/", line)
            assert match, f"no address in {line!r}; the log says: {self.log()}"
        except BaseException:  # nobody gets the object that could end the process
            self.close()
            raise
        self.address = match[0]
        self.port = int(match[1])

    def write_config(self, settings: Mapping[str, object]) -> None:
        """Write the configuration file: *settings* over the defaults of the tests."""
        every = {"source.kind": "pattern", "http.port": 0, "http.listen_address": "127.0.0.1", **settings}
        self.config_file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in every.items()))

    def fault(self, word: str) -> None:
        """Give the camera a fault; rig/camera.py lists the words."""
        new = self.fault_file.with_suffix(".new")
        new.write_text(word)
        new.rename(self.fault_file)

    def log(self) -> str:
        return self.log_file.read_text()

    def reload(self, settings: Mapping[str, object] | None = None, said: str = "configuration reloaded") -> None:
        """Have the configuration file read again, with *settings* in it if given. Return once the log *said* so."""
        if settings is not None:
            self.write_config(settings)
        before = self.log().count(said)
        self.process.send_signal(signal.SIGHUP)
        until(said, lambda: self.process.poll() is not None or self.log().count(said) > before)
        assert self.process.poll() is None, "the reload ended the daemon"

    # -- asked over HTTP

    def get(self, path: str, timeout: float = 10.0) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (names in lower case) and body for any status."""
        return ask(f"http://127.0.0.1:{self.port}{path}", timeout)

    def post(
        self, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout: float = 10.0
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a POST, with JSON unless *headers* say otherwise, and return the same as `get`."""
        every = {"Content-Type": "application/json", **(headers or {})}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, every, method="POST")
        return ask(asked, timeout)

    def state(self) -> dict[str, Any]:
        table = json.loads(self.get("/state")[2])
        assert isinstance(table, dict)
        return table

    def wait_for_state(self, state: str, seconds: float = 15.0) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            table = self.state()
            return table if table["state"] == state else None

        table: dict[str, Any] = until(f"state {state}", there, seconds)
        return table

    def wait_for_rate(self) -> dict[str, Any]:
        """Return the state once the rate is measured: before, a pause is no stall."""
        table: dict[str, Any] = until("a measured rate", lambda: (now := self.state())["frames"]["rate"] and now)
        return table

    def camera_pid(self) -> int:
        pid = self.state()["camera_process"]["pid"]
        assert isinstance(pid, int)
        return pid

    def connect(self, request: str, receive_buffer: int = 0) -> socket.socket:
        """Return a connection on which *request* (a path, or a whole HTTP request) was sent."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(patience(10))
        sock.connect(("127.0.0.1", self.port))
        if request.startswith("/"):
            request = f"GET {request} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        sock.sendall(request.encode("latin-1"))
        return sock

    def watch(self, path: str = "/stream") -> Viewer:
        return watch(self.connect(""), path)

    # -- ended

    def stop(self, seconds: float = 5.0) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience(seconds))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(patience(5))
        assert self.process.stdout
        self.process.stdout.close()


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


@contextlib.contextmanager
def running(
    folder: Path,
    settings: Mapping[str, object] | None = None,
    unkillable: bool = False,
    env: Mapping[str, str] | None = None,
    argv: Sequence[str | Path] = (),
) -> Iterator[Daemon]:
    """Run a daemon for as long as the block lasts; *argv* replaces the rig's command before its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(folder, settings or {}, unkillable, env, argv)
    try:
        yield daemon
    finally:
        daemon.close()
        print(f"--- the daemon's log\n{daemon.log()}")
