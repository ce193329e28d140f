"""Sends the camera's frames and its answers to the server."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from typing import TYPE_CHECKING

from pi_cam_daemon.camera.due import Due
from pi_cam_daemon.errors import SourceError
from pi_cam_daemon.ipc.messages import CameraInfo, ErrorMessage, Look, Motion, Report, Still, text_payload
from pi_cam_daemon.ipc.protocol import COUNT, LONGEST_FRAME, Kind, pack
from pi_cam_daemon.ipc.slots import LONGEST_SMALL, SlotWriter

if TYPE_CHECKING:
    from pi_cam_daemon.camera.watcher import Watcher
    from pi_cam_daemon.imaging.grey import Pixels

_BEAT_SECONDS = 1.0
_QUIET_NS = 1_000_000_000
_FIRST_FRAMES = 3  # are sent even if nobody watches: by them the server measures the pace


class FrameSender:
    """Writes frames to the slots and announces them; the caller, often a driver's callback, never waits for the socket.

    It announces a frame itself, which is cheaper than a switch to another thread. A thread of its own sends all other
    messages, and announcements that would have to wait for them. While the server is so late that it has all slots,
    frames are skipped.
    """

    def __init__(
        self, sock: socket.socket, slots: SlotWriter, small_slots: SlotWriter, small_framerate: float = 10.0
    ) -> None:
        self.reason = ""  # why this camera was chosen
        self.stands_in_for: SourceError | None = None  # why there is no camera
        self._sock = sock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._messages: list[bytes] = []  # few: the server waits for the answer to each command
        self._slots = slots
        self._small_slots = small_slots
        self._small_due = Due(small_framerate)
        self._looks_due = Due(1.0)
        self._watcher: Watcher | None = None
        self._sending = False  # the thread is using the socket
        self._quiet_until_ns = 0
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

    def frame(self, jpeg: bytes | memoryview, captured_ns: int) -> None:
        if len(jpeg) > LONGEST_FRAME:
            self.unusable(f"it has {len(jpeg)} bytes; at most {LONGEST_FRAME} are accepted")
            return
        with self._lock:  # not the condition, whose methods are no C code
            self._captured += 1
            self._captured_at_ns = time.monotonic_ns()
            if not (self._live or self.wanted) or not (announcement := self._slots.write(jpeg, captured_ns)):
                return
            if not self._live and self._captured >= _FIRST_FRAMES:
                self._quiet_until_ns = captured_ns + _QUIET_NS
            if self._sending or self._messages or not self._announce(announcement):
                self._messages.append(announcement)
                self._changed.notify()

    @property
    def wanted(self) -> bool:
        # True until a frame was really sent: skipped frames count as captured, although they may be bad.
        return self._live or time.monotonic_ns() >= self._quiet_until_ns

    def small(self, jpeg: bytes, captured_ns: int) -> None:
        if len(jpeg) > LONGEST_SMALL:
            self.unusable(f"the small one has {len(jpeg)} bytes; at most {LONGEST_SMALL} are accepted")
            return
        with self._changed:
            if not self._small_due.wanted or not (announcement := self._small_slots.write(jpeg, captured_ns)):
                return
            self._messages.append(announcement)
            self._changed.notify()

    def claim_small(self) -> bool:
        return self._small_due.claim()

    def claim_look(self) -> bool:
        return self._looks_due.claim()

    def look(self, grey: Pixels, captured_ns: int, facts: tuple[float, ...]) -> None:
        if self._watcher and (found := self._watcher.look(grey, captured_ns / 1e9, facts)):
            self._motion(*found)

    def watch(self, watcher: Watcher, rate: float) -> None:
        """Want *rate* looks a second, and send the motions that *watcher* finds in them."""
        self._watcher, self._looks_due = watcher, Due(rate)
        self._looks_due.want(True)

    def looked(self, number: int) -> None:
        """Answer the question *number* for the newest look."""
        newest = self._watcher.newest if self._watcher else Look(0, suspended="no-picture")
        self._add(Kind.LOOKED, dataclasses.replace(newest, number=number).to_json())

    def _motion(self, motion: Motion, at: float) -> None:
        self._add(Kind.MOTION, motion.to_json(), int(at * 1e9))

    @property
    def quiet_seconds(self) -> float:
        if self._live:
            return 0.0
        due_ns = min(self._quiet_until_ns, self._small_due.at_ns, self._looks_due.at_ns)
        return max(0.0, (due_ns - time.monotonic_ns()) / 1e9)

    def passed(self, count: int = 1) -> None:
        if count:
            with self._lock:
                self._captured += count
                self._captured_at_ns = time.monotonic_ns()

    def unusable(self, why: str) -> None:
        with self._changed:
            self._unusable = why  # sent with the next beat

    def live(self, wanted: bool) -> None:
        """Send every frame if *wanted*, else one a second."""
        self._live = wanted

    def live_small(self, wanted: bool) -> None:
        """Send small frames if *wanted*, else none."""
        self._small_due.want(wanted)

    def end(self, error: SourceError | None, timeout: float) -> None:
        """Send *error*, if there is one, and end the thread; wait for that at most *timeout* seconds."""
        if self._watcher and (found := self._watcher.end()):
            self._motion(*found)
        with self._changed:
            self._last = pack(Kind.ERROR, ErrorMessage(error).to_json()) if error else b""
            self._ending = True
            self._changed.notify()
        self._thread.join(timeout)

    def _announce(self, announcement: bytes) -> bool:
        """Send *announcement*; False if the socket has no room. A message so short is sent whole or not at all."""
        try:
            self._sock.send(announcement, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:  # the server has ended; the thread that reads from it handles that
            pass
        return True

    def _send_all(self) -> None:
        beat_at = time.monotonic()
        while True:
            with self._changed:
                self._sending = False
                while True:
                    now = time.monotonic()
                    if self._messages or self._ending or now >= beat_at:
                        break
                    self._changed.wait(beat_at - now)
                messages = self._messages[:]
                self._messages.clear()
                if now >= beat_at:
                    messages.append(pack(Kind.BEAT, COUNT.pack(self._captured), self._captured_at_ns))
                    beat_at = now + _BEAT_SECONDS
                    self._slots.trim()
                    self._small_slots.trim()
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
