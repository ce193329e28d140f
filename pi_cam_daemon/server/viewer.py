"""Send the stream to one connection: one part at a time, as much of it as the socket takes."""

from __future__ import annotations

import socket

from pi_cam_daemon.server.access import Client

# Unsent bytes the kernel may hold for a viewer. Without it up to 4 MiB of old pictures queue there: a reader of
# 0.5 MB/s sees what happened 6 s ago; with it, 0.4 s.
_UNSENT_BYTES = 16 * 1024
_TCP_NOTSENT_LOWAT = 25  # tcp(7); the socket module does not name it


class Viewer:
    """One connection that gets the stream; *part* is what it is in the middle of, from *offset* on."""

    __slots__ = (
        "client", "due", "interval", "last", "moved_at", "offset", "opening", "part", "pictures", "since", "sock",
        "told",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, client: Client, opening: bytes, interval: float, now: float) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self.sock = sock
        self.client = client
        self.interval = interval
        self.opening = opening
        self.part: bytes | None = None
        self.last: bytes | None = None
        self.offset = 0
        self.due = 0.0
        self.pictures = 0
        self.told = True  # its coming was logged, and so its leaving will be
        self.since = self.moved_at = now

    def welcome(self, shown: bytes | None, now: float) -> None:
        """Send the opening, and what is *shown* in the same write: the first paint needs no further wait."""
        if shown is None:
            self._write(self.opening, now)
        else:
            self.begin(shown, now, self.opening)

    def begin(self, part: bytes, now: float, head: bytes = b"") -> None:
        """Send *part* behind *head*, as much of it as goes; raises OSError when the viewer is gone."""
        self.last = part
        self.pictures += 1
        if self.interval:
            # by due time, so that the rate holds on average however the camera's frames fall
            self.due += self.interval
            if self.due <= now:
                self.due = now + self.interval
        self._write(head + part if head else part, now)

    def _write(self, part: bytes, now: float) -> None:
        try:
            sent = self.sock.send(part)
        except BlockingIOError:
            sent = 0
        if sent != len(part):
            self.part, self.offset, self.moved_at = part, sent, now

    def push(self, now: float) -> None:
        """Go on with what was begun; raises OSError when the viewer is gone."""
        part = self.part
        if part is None:
            return
        try:
            self.offset += self.sock.send(memoryview(part)[self.offset :])
        except BlockingIOError:
            return
        self.moved_at = now
        if self.offset == len(part):
            self.part = None
