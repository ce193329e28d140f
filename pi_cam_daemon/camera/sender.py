"""Sends the camera's frames and its answers to the server."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time

from pi_cam_daemon.errors import SourceError
from pi_cam_daemon.ipc.messages import CameraInfo, ErrorMessage, Report, Still
from pi_cam_daemon.ipc.protocol import COUNT, HEADER, Kind, pack

_BEAT_SECONDS = 1.0
_QUIET_SECONDS = 1.0


class FrameSender:
    """Holds ONE newest frame and sends it: a driver's callback never waits for the socket.

    A frame that finds room in the socket goes at once, for handing it to another thread costs more than to send it.
    The thread here sends what found none, and everything that is not a frame.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.reason = ""  # why this camera was chosen
        self._sock = sock
        self._changed = threading.Condition()
        self._messages: list[bytes] = []  # one for each order of the server, which has one at a time
        self._newest: tuple[bytes, int] | None = None
        self._rest = b""  # of a message that was begun
        self._sending = False  # the thread here has the socket
        self._quiet_until = 0.0
        self._captured = 0
        self._live = False
        self._last = b""  # the message that says why it ends
        self._ending = False
        self._thread = threading.Thread(target=self._send_all, name="sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def opened(self, info: CameraInfo) -> None:
        self._add(Kind.HELLO, dataclasses.replace(info, reason=self.reason).to_json())

    def controls(self, report: Report) -> None:
        self._add(Kind.CONTROLS, report.to_json())

    def still(self, still: Still) -> None:
        self._add(Kind.STILL, still.payload(), still.captured_ns)

    def _add(self, kind: Kind, payload: bytes, captured_ns: int = 0) -> None:
        with self._changed:
            self._messages.append(pack(kind, payload, captured_ns))
            self._changed.notify()

    def frame(self, jpeg: bytes, captured_ns: int) -> None:
        with self._changed:
            self._captured += 1
            self._newest = (jpeg, captured_ns)
            if self._sending or self._messages or self._rest:
                return
            if self.wanted:
                self._send_newest()
                if self._newest or self._rest:
                    self._changed.notify()

    @property
    def wanted(self) -> bool:
        # Until a frame was good enough to be sent: those that are passed over count as pictures, too.
        return self._live or time.monotonic() >= self._quiet_until

    def passed(self) -> None:
        with self._changed:
            self._captured += 1
            self._newest = None  # it is not the newest any more

    def live(self, wanted: bool) -> None:
        """Send every frame, or one a second."""
        with self._changed:
            self._live = wanted
            self._changed.notify()

    def end(self, error: SourceError | None, timeout: float) -> None:
        """Say why, if there is anything to say, and stop sending."""
        with self._changed:
            self._last = pack(Kind.ERROR, ErrorMessage(error).to_json()) if error else b""
            self._ending = True
            self._changed.notify()
        self._thread.join(timeout)

    def _send_newest(self) -> None:
        """Send the newest frame, as much of it as there is room for; with the lock held."""
        assert self._newest
        jpeg, captured_ns = self._newest
        header = HEADER.pack(Kind.FRAME, len(jpeg), captured_ns)
        try:
            sent = self._sock.sendmsg((header, jpeg), (), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionError:  # the server is gone: the thread that listens to it acts on that
            sent = len(header) + len(jpeg)
        self._newest = None
        self._quiet_until = time.monotonic() + _QUIET_SECONDS
        if sent < len(header) + len(jpeg):
            self._rest = (header + jpeg)[sent:]

    def _send_all(self) -> None:
        beat_at = time.monotonic()
        while True:
            with self._changed:
                self._sending = False
                while True:
                    now = time.monotonic()
                    frame = self._newest if self._live or now >= self._quiet_until else None
                    if self._rest or self._messages or frame or self._ending or now >= beat_at:
                        break
                    self._changed.wait(beat_at - now)
                messages = [self._rest, *self._messages]
                self._rest = b""
                self._messages.clear()
                if frame:
                    messages.append(pack(Kind.FRAME, *frame))
                    self._newest = None
                    self._quiet_until = now + _QUIET_SECONDS
                if now >= beat_at:
                    messages.append(pack(Kind.BEAT, COUNT.pack(self._captured), time.monotonic_ns()))
                    beat_at = now + _BEAT_SECONDS
                messages.append(self._last)
                ending = self._ending
                self._sending = True
            try:
                self._sock.sendall(b"".join(messages))
            except ConnectionError:
                return  # the server is gone: the thread that listens to it acts on that
            if ending:
                return
