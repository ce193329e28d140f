"""One connection that gets the stream: sends one part at a time, as much of it as the socket takes."""

from __future__ import annotations

import socket

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.sending import limit_unsent


class Viewer:
    """One connection that gets the stream: *part* is being sent, from *offset* on, and the frame *last* was begun last.

    *part* is a copy, which all slow viewers of a frame share. A negative *offset* means that the end of the opening has
    to be sent before. The client closed its sending side at *closed_at*: it has hung up, or wants to say no more.
    """

    __slots__ = (
        "begun_at", "client", "closed_at", "due", "interval", "last", "moved_at", "offset", "opening", "part",
        "pictures", "since", "small", "sock", "told",
    )  # fmt: skip

    def __init__(
        self, sock: socket.socket, client: Client, opening: bytes, interval: float, now: float, small: bool = False
    ) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit_unsent(sock)
        self.sock = sock
        self.client = client
        self.interval = interval
        self.opening = opening
        self.small = small
        self.part: bytes | None = None
        self.last: Frame | None = None
        self.offset = 0
        self.due = 0.0
        self.closed_at: float | None = None
        self.pictures = 0
        self.told = True  # its arrival was logged, so its departure will be, too
        self.since = self.moved_at = self.begun_at = now

    def welcome(self, shown: Frame | None, now: float) -> None:
        """Send the opening and the frame *shown* in one write, so that the first picture appears at once."""
        if shown is None:
            self._put_off(self.opening, 0, now)
            self.push(now)
        else:
            self.begin(shown, now, self.opening)

    def begin(self, frame: Frame, now: float, head: bytes = b"") -> None:
        """Begin to send *head* and *frame*. Raises OSError if the connection is lost."""
        self.last = frame
        self.pictures += 1
        if self.interval:
            # counted from the time due, so that the average rate is right for any frame rate of the camera
            self.due += self.interval
            if self.due <= now:
                self.due = now + self.interval
        part = frame.part
        try:
            # a copy of both would be one more picture in memory
            offset = self.sock.sendmsg((head, part)) - len(head) if head else self.sock.send(part)
        except BlockingIOError:
            offset = -len(head)
        if offset != len(part):
            self._put_off(frame.kept(), offset, now)

    def _put_off(self, part: bytes, offset: int, now: float) -> None:
        """Send *part* from *offset* on when the socket has room."""
        self.part, self.offset, self.moved_at, self.begun_at = part, offset, now, now

    def push(self, now: float) -> None:
        """Send more of the part that was begun. Raises OSError if the connection is lost."""
        part = self.part
        if part is None:
            return
        try:
            if self.offset < 0:
                self.offset += self.sock.sendmsg((self.opening[self.offset :], part))
            else:
                self.offset += self.sock.send(memoryview(part)[self.offset :])
        except BlockingIOError:
            return
        self.moved_at = now
        if self.offset == len(part):
            self.part = None
