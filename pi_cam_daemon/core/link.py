"""The server's end of the socket to the camera process: receives its messages and sends it commands."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import time
from collections.abc import Callable

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.questions import Questions
from pi_cam_daemon.errors import ProtocolError, SourceError
from pi_cam_daemon.ipc.controls import Control
from pi_cam_daemon.ipc.messages import CameraInfo, ErrorMessage, Look, Motion, Report, Still, plain
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.ipc.protocol import COUNT, Kind, Message, Reader, pack
from pi_cam_daemon.ipc.slots import ANNOUNCEMENT, FRAME, SLOTS, SlotReader

log = logging.getLogger(__name__)

# read at a time; a camera process that sends without end must not keep the stream loop from the viewers
_MESSAGES_PER_TURN = 16
_RECEIVE_BYTES = 16 * 1024
# Linux doubles it. The longest command then fits in whole, although the camera process does not read yet.
_SEND_BUFFER_BYTES = 208 * 1024


class CameraLink(Questions):
    """The connection to one camera process. Only the stream loop calls `read`; any thread may read the attributes.

    *info* describes the camera, *controls* what can be set on it, *captured* counts its frames, *pace* measures them.
    *framerate* is what is expected before the camera announces its own, in frames a second. The first and the last
    progress was seen at *first_at* and *progressed_at* (CLOCK_MONOTONIC). *error* is the camera's own reason for its
    end, *protocol_error* describes an invalid message; after *ended* nothing more arrives. *changed* is called when one
    of these or the first frame arrives. *unusable* says why the camera's newest pictures cannot be used, or is "".
    *stands_in_for* is the error for which this is no camera, but the test picture. *small* is the newest small frame;
    who calls `read` takes it. *on_motion* is called with each report of motion and when its picture was captured
    (CLOCK_MONOTONIC). *masks* are drawn in its pictures.
    """

    def __init__(self, sock: socket.socket, slots: SlotReader, framerate: float, changed: Callable[[], None]) -> None:
        super().__init__()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._sock = sock
        self._slots = slots
        self.pace = Pace(1 / framerate)
        self._changed = changed
        self._reader = Reader(sock)
        self.masks: list[list[float]] = []
        self.info: CameraInfo | None = None
        self.controls: tuple[Control, ...] = ()
        self.error: SourceError | None = None
        self.stands_in_for: SourceError | None = None
        self.unusable = ""
        self.small: Frame | None = None
        self.on_motion: Callable[[Motion, float], None] = lambda *_: None
        self.protocol_error = ""
        self.captured = 0
        self.first_at: float | None = None
        self.progressed_at: float | None = None

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    # -- sending

    def tell(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a command, without waiting: a process that does not read is found by its silence."""
        with contextlib.suppress(OSError):
            self._sock.send(pack(kind, payload))

    # -- receiving

    def read(self) -> Frame | None:
        """Read what has arrived and return the newest whole frame in it, if any. Raises EOFError at the end."""
        newest = None
        try:
            if not self._reader.pending:
                data = self._sock.recv(_RECEIVE_BYTES)
                if len(data) == FRAME.size and data[0] == Kind.FRAME:  # as nearly always: without an object for it
                    _, _, captured_ns, slot, header_length, length, timestamp_us = FRAME.unpack(data)
                    if slot < SLOTS:
                        return self._frame(captured_ns, slot, header_length, length, timestamp_us)
                    self._take_small(captured_ns, slot, header_length, length, timestamp_us)
                    return None
                self._reader.feed(data)
            for _ in range(_MESSAGES_PER_TURN):
                message = self._reader.read()
                if message is None:
                    break
                if message.kind is Kind.FRAME:
                    slot, *facts = ANNOUNCEMENT.unpack(message.view)
                    if slot >= SLOTS:
                        self._take_small(message.captured_ns, slot, *facts)
                        continue
                    if newest:
                        newest.free()
                    newest = self._frame(message.captured_ns, slot, *facts)
                else:
                    self._handle(message)
                if self._reader.drained:  # another recv() would cost as much as reading a frame
                    break
        except BlockingIOError:
            return None
        except (EOFError, ConnectionError) as error:
            if newest:  # the next call meets the end again
                return newest
            self._end()
            raise EOFError from error
        except (struct.error, ValueError, TypeError, KeyError, RecursionError) as error:
            self.protocol_error = plain(str(error)) or type(error).__name__
            self._end()
            raise EOFError from error
        return newest

    def _end(self) -> None:
        self.end()
        self._changed()

    def _frame(self, captured_ns: int, slot: int, header_length: int, length: int, timestamp_us: int) -> Frame:
        part = self._slots.take(slot, header_length, length)
        now = self.progressed_at = time.monotonic()
        self.unusable = ""
        if self.first_at is None:
            self._progress(now)
        if self.pace.measured is None:  # afterwards BEAT messages are enough, which come once a second
            self.pace.next(now)
        return Frame(part, min(captured_ns, int(now * 1e9)), timestamp_us, self._slots, slot)

    def _take_small(self, captured_ns: int, slot: int, header_length: int, length: int, timestamp_us: int) -> None:
        """Put the small frame in *slot* in the place of one that nobody has taken yet."""
        part = self._slots.take(slot, header_length, length)
        if self.small:
            self.small.free()
        self.small = Frame(part, min(captured_ns, time.monotonic_ns()), timestamp_us, self._slots, slot)

    def _progress(self, now: float) -> None:
        self.progressed_at = max(now, self.progressed_at or 0.0)
        if self.first_at is None:
            self.first_at = now
            self._changed()

    def _handle(self, message: Message) -> None:
        if message.kind is Kind.BEAT:
            (captured,) = COUNT.unpack(message.payload)
            self.captured = max(self.captured, captured)
            came_at = min(message.captured_ns / 1e9, time.monotonic())
            if captured and self.pace.report(captured, came_at):  # the start-up time is no part of the rate
                self._progress(came_at)
        elif message.kind is Kind.HELLO:
            self.info = CameraInfo.from_json(message.payload)
            self.pace.announced = 1 / self.info.framerate
            self._changed()
        elif message.kind is Kind.CONTROLS:
            report = Report.from_json(message.payload)
            if not report.number:
                for name, why in report.refused.items():
                    log.warning("the control %s is not set as configured: %s", name, why)
            self.controls = report.controls
            self.answer(report)
        elif message.kind is Kind.STILL:
            still = Still.from_message(message)
            self._progress(time.monotonic())
            self.answer(still)
        elif message.kind is Kind.UNUSABLE:
            self.unusable = plain(str(message.view, "utf-8", "replace"))
            if self.pace.measured is None:
                self.pace.next(time.monotonic())  # bad pictures tell how often pictures come, too
        elif message.kind is Kind.MOTION:
            self.on_motion(Motion.from_json(message.payload), min(message.captured_ns / 1e9, time.monotonic()))
        elif message.kind is Kind.LOOKED:
            self.answer(Look.from_json(message.payload))
        elif message.kind is Kind.STAND_IN:
            self.stands_in_for = ErrorMessage.from_json(message.payload).error
        elif message.kind is Kind.ERROR:
            self.error = ErrorMessage.from_json(message.payload).error
            self._changed()
        else:
            raise ProtocolError(f"{message.kind.name} is not a message of a camera process")
