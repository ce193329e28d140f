"""Sends the camera's frames and its answers to the server."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time

from pi_cam_daemon.errors import SourceError
from pi_cam_daemon.ipc.messages import CameraInfo, ErrorMessage, Report, Still, text_payload
from pi_cam_daemon.ipc.protocol import COUNT, HEADER, Kind, pack

_BEAT_SECONDS = 1.0
_QUIET_SECONDS = 1.0
_FIRST_FRAMES = 3  # are sent even if nobody watches: by them the server measures the pace


class FrameSender:
    """Sends the newest frame, and only that one; the caller, often a driver's callback, never waits for the socket.

    If the socket has room, a frame is sent at once, which is cheaper than a switch to another thread. A thread of its
    own sends the rest of a frame, and all other messages.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.reason = ""  # why this camera was chosen
        self.stands_in_for: SourceError | None = None  # why there is no camera
        self._sock = sock
        self._changed = threading.Condition()
        self._messages: list[bytes] = []  # few: the server waits for the answer to each command
        self._newest: tuple[bytes, int] | None = None
        self._rest = b""  # of a message that was sent in part
        self._sending = False  # the thread is using the socket
        self._quiet_until = 0.0
        self._captured = 0
        self._captured_at_ns = 0
        self._unusable = ""  # why the newest picture cannot be used, until that is sent
        self._live = False
        self._last = b""  # the message with the reason for the end
        self._ending = False
        self._thread = threading.Thread(target=self._send_all, name="sender", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def opened(self, info: CameraInfo) -> None:
        if self.stands_in_for:
            self._add(Kind.STAND_IN, ErrorMessage(self.stands_in_for).to_json())
        reason = ". ".join(filter(None, (self.reason, info.reason)))
        self._add(Kind.HELLO, dataclasses.replace(info, reason=reason).to_json())

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
            self._captured_at_ns = time.monotonic_ns()
            self._newest = (jpeg, captured_ns)
            if self._sending or self._messages or self._rest:
                return
            if self.wanted:
                self._send_newest()
                if self._newest or self._rest:
                    self._changed.notify()

    @property
    def wanted(self) -> bool:
        # True until a frame was really sent: skipped frames count as captured, although they may be bad.
        return self._live or time.monotonic() >= self._quiet_until

    def passed(self) -> None:
        with self._changed:
            self._captured += 1
            self._captured_at_ns = time.monotonic_ns()
            self._newest = None  # a newer one was skipped

    def unusable(self, why: str) -> None:
        with self._changed:
            self._unusable = why  # sent with the next beat

    def live(self, wanted: bool) -> None:
        """Send every frame if *wanted*, else one a second."""
        with self._changed:
            self._live = wanted
            self._changed.notify()

    def end(self, error: SourceError | None, timeout: float) -> None:
        """Send *error*, if there is one, and end the thread; wait for that at most *timeout* seconds."""
        with self._changed:
            self._last = pack(Kind.ERROR, ErrorMessage(error).to_json()) if error else b""
            self._ending = True
            self._changed.notify()
        self._thread.join(timeout)

    def _send_newest(self) -> None:
        """Send as much of the newest frame as the socket has room for. The caller holds the lock."""
        assert self._newest
        jpeg, captured_ns = self._newest
        header = HEADER.pack(Kind.FRAME, len(jpeg), captured_ns)
        try:
            sent = self._sock.sendmsg((header, jpeg), (), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionError:  # the server has ended; the thread that reads from it handles that
            sent = len(header) + len(jpeg)
        self._newest = None
        self._pause(time.monotonic())
        if sent < len(header) + len(jpeg):
            self._rest = (header + jpeg)[sent:]

    def _pause(self, now: float) -> None:
        if self._captured >= _FIRST_FRAMES:
            self._quiet_until = now + _QUIET_SECONDS

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
                    self._pause(now)
                if now >= beat_at:
                    messages.append(pack(Kind.BEAT, COUNT.pack(self._captured), self._captured_at_ns))
                    beat_at = now + _BEAT_SECONDS
                    if self._unusable:
                        messages.append(pack(Kind.UNUSABLE, text_payload(self._unusable)))
                        self._unusable = ""
                messages.append(self._last)
                ending = self._ending
                self._sending = True
            try:
                self._sock.sendall(b"".join(messages))
            except ConnectionError:
                return  # as above
            if ending:
                return
