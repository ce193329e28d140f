"""The daemon's pictures and events, read from its local socket like any viewer's."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pi_cam_daemon.recording.picture import Picture

_CONNECT_SECONDS = 5.0
_SILENT_SECONDS = 40.0  # the stream repeats its picture, and the events have a heartbeat, more often
_RECEIVE_BYTES = 1 << 18
_MOST_PART_BYTES = 64 << 20
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\nContent-Length: (\d{1,9})\r\n")
_TAKEN = re.compile(rb"\r\nX-Timestamp: (\d{1,12})\.(\d{6})\r\n")
_CARD = b"\r\nX-No-Picture: "

Told = dict[str, Any]


class FeedError(Exception):
    """The daemon does not answer, or not as it should. The text is a sentence."""


class Feed:
    """The connections for /stream and /events of the daemon at *path*, which tells the last events first.

    Raises OSError or FeedError, here and in `read`, when there is no daemon or it is lost.
    """

    def __init__(self, path: Path) -> None:
        self._pictures = _Pictures()
        self._events = _Events()
        accept = "Accept: text/event-stream\r\n"
        self._stream = _Connection(path, "/stream", "")
        try:
            self._told = _Connection(path, "/events", accept)
        except BaseException:
            self._stream.close()
            raise

    def close(self) -> None:
        self._stream.close()
        self._told.close()

    def read(self, seconds: float) -> list[Picture | Told]:
        """Return what has come within *seconds*: pictures, and events as /events has them."""
        ready = select.select([self._stream, self._told], [], [], seconds)[0]
        found: list[Picture | Told] = []
        if self._told in ready:
            found += self._events.read(self._told.receive())
        if self._stream in ready:
            found += self._pictures.read(self._stream.receive())
        now = time.monotonic()
        if now - min(self._stream.heard, self._told.heard) > _SILENT_SECONDS:
            raise FeedError("The daemon is silent")
        return found


class _Connection:
    """A request for *target*, whose answer is read without its head. *heard*: when the last bytes came."""

    def __init__(self, path: Path, target: str, fields: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._head: bytes | None = b""
        self.heard = time.monotonic()
        try:
            self._sock.settimeout(_CONNECT_SECONDS)
            self._sock.connect(str(path))
            self._sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        except BaseException:
            self._sock.close()
            raise

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> bytes:
        """Return what has come of the body. Raises FeedError at its end, and for a refusal."""
        data = self._sock.recv(_RECEIVE_BYTES)
        if not data:
            raise FeedError("The daemon has ended")
        self.heard = time.monotonic()
        if self._head is None:
            return data
        head, end, rest = (self._head + data).partition(_END_OF_HEAD)
        if not head.startswith(b"HTTP/1.1 200"[: len(head)]):
            status = head[9:60].partition(b"\r")[0].decode("latin-1")
            raise FeedError(f"The daemon refuses the recorder: {status}")
        self._head = None if end else head
        return rest


class _Pictures:
    """Parses the stream. Cards that take the place of a picture, and repeated pictures, are left out."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._needed = 0  # bytes up to the end of the JPEG that is coming
        self._begin = 0  # of that JPEG
        self._taken_us: int | None = None  # of that JPEG; None for one that is left out
        self._last_us = -1

    def read(self, data: bytes) -> Iterator[Picture]:
        received = self._received
        received += data
        while len(received) >= self._needed:
            if self._needed:
                if self._taken_us is not None:
                    self._last_us = self._taken_us
                    yield Picture(bytes(received[self._begin : self._needed]), self._taken_us, time.monotonic())
                del received[: self._needed]
                self._needed = 0
            if (end := received.find(_END_OF_HEAD)) < 0:
                return
            self._expect(bytes(received[: end + 2]), end + len(_END_OF_HEAD))

    def _expect(self, head: bytes, begin: int) -> None:
        length, taken = _LENGTH.search(head), _TAKEN.search(head)
        if not length or not taken or int(length[1]) > _MOST_PART_BYTES:
            raise FeedError("The daemon's stream is malformed")
        taken_us = int(taken[1] + taken[2])
        self._begin, self._needed = begin, begin + int(length[1])
        self._taken_us = None if _CARD in head or taken_us == self._last_us else taken_us


class _Events:
    """Parses Server-Sent Events whose data are JSON objects."""

    def __init__(self) -> None:
        self._received = b""

    def read(self, data: bytes) -> Iterator[Told]:
        *messages, self._received = (self._received + data).split(b"\n\n")
        for message in messages:
            lines = message.split(b"\n")
            text = b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
            if text:
                try:
                    event = json.loads(text)
                except ValueError as error:
                    raise FeedError("The daemon's events are malformed") from error
                if isinstance(event, dict):
                    yield event
