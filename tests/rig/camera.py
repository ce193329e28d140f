"""A camera process whose camera can be given a fault: `camera.py FAULT_FILE SOCKET MEMORY LEVEL`.

The first camera process that reads a word in FAULT_FILE removes it and acts on it, so the next process is healthy.
Without a fault it shows the test picture, or the pictures of upstream.url. If the configuration says "csi", it has the
controls of a Camera Module 3.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pi_cam_daemon.camera import process
from pi_cam_daemon.camera.choose import Choice
from pi_cam_daemon.camera.csi_controls import CsiControls
from pi_cam_daemon.camera.csi_picamera2 import explain
from pi_cam_daemon.camera.pattern import PatternSource
from pi_cam_daemon.camera.source import Commands, Sink, Source, Stop, TakeStill, next_command
from pi_cam_daemon.camera.upstream import UpstreamSource
from pi_cam_daemon.config.schema import CameraConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc import protocol
from pi_cam_daemon.ipc.messages import CameraInfo, Motion, Report, SetControls, Still
from tests.kit.pi_camera import CAMERA_MODULE_3

FAULT_FILE = Path(sys.argv[1])
REFUSE_FILE = FAULT_FILE.with_name("refuse")  # while it is there, the camera refuses whatever is to be set
STILL_FAULT_FILE = FAULT_FILE.with_name("still-fault")  # the same for whoever takes a still next
DESCRIPTOR = int(sys.argv[2])
WIDEST = 4608  # pixels of a Camera Module 3
# what picamera2 raises, by the word of the fault
PICAMERA2 = {
    "csi-busy": RuntimeError("Failed to acquire camera: Device or resource busy"),
    "csi-permission": PermissionError(13, "Permission denied", "/dev/media0"),
    "csi-settings": RuntimeError("Camera configuration failed: Invalid camera configuration"),
}
MANY_MOTIONS = 60  # that begin and end with the word "motions"
LARGE = 7_000_000  # bytes of each fifth picture after the word "large", as from a sensor of 12 megapixels


def take_fault(file: Path = FAULT_FILE) -> str:
    try:
        fault = file.read_text()
        file.unlink()
    except FileNotFoundError:
        return ""
    return fault


class FaultySink:
    """Passes frames on until there is a fault."""

    def __init__(self, sink: Sink, commands: Commands) -> None:
        self._sink = sink
        self.claim_look, self.look = sink.claim_look, sink.look
        self._commands = commands
        self._comments = b""
        self._passed_on = 0

    @property
    def wanted(self) -> bool:
        return self._sink.wanted

    @property
    def quiet_seconds(self) -> float:
        return self._sink.quiet_seconds

    def claim_small(self) -> bool:
        return self._sink.claim_small()

    def small(self, jpeg: bytes, captured_ns: int) -> None:
        self._sink.small(jpeg, captured_ns)

    def passed(self, count: int = 1) -> None:
        self._sink.passed(count)

    def controls(self, report: Report) -> None:
        self._sink.controls(report)

    def still(self, still: Still) -> None:
        match take_fault(STILL_FAULT_FILE):
            case "hang":
                hang()
            case "slow":
                time.sleep(5)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "refused":
                still = Still(still.number, refused="There is no memory for a picture of full size")
        self._sink.still(still)

    def opened(self, info: CameraInfo) -> None:
        match take_fault():
            case "never-opens":
                hang()
            case "opens-slowly":
                time.sleep(5)
        self._sink.opened(info)

    def frame(self, jpeg: bytes | memoryview, captured_ns: int) -> None:
        match take_fault():
            case word if word in PICAMERA2:
                raise explain(PICAMERA2[word])
            case "missing":
                FAULT_FILE.write_text("missing")  # it is for the next process, however late that comes
            case "hang":
                hang()
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "bug":
                raise ZeroDivisionError("a bug of the test's own")
            case "lost":
                raise SourceError("The camera was unplugged", Cause.LOST, "Plug it in again")
            case "busy":
                raise SourceError("Another program uses the camera", Cause.BUSY)
            case "nonsense":
                write(random.Random(1).randbytes(100_000))
            case "no-jpeg":
                self._sink.frame(b"not a picture", captured_ns)
                hang()
            case "half-jpeg":
                self._sink.frame(b"\xff\xd8 and then nothing that a JPEG would have", captured_ns)
                hang()
            case "too-long":
                write(protocol.HEADER.pack(protocol.Kind.STILL, 2**32 - 1, 0))
            case "motion":
                write(motion(captured_ns))
            case "motion-ends":
                write(motion(captured_ns, ends=True))
            case "motions":
                write((motion(captured_ns) + motion(captured_ns, ends=True)) * MANY_MOTIONS)
            case "flood":
                until = time.monotonic() + 3
                while time.monotonic() < until:
                    self._sink.frame(jpeg, captured_ns)
            case "large":
                self._comments = (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * (LARGE // 0xFFFF)
            case "small":
                self._comments = b""
        self._passed_on += 1
        if self._comments and self._passed_on % 5 == 0:
            jpeg = b"".join((jpeg[:2], self._comments, jpeg[2:]))
        self._sink.frame(jpeg, captured_ns)


def hang() -> None:
    """Hang like a driver that never returns: no signal that can be caught ends the process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()


def motion(captured_ns: int, ends: bool = False) -> bytes:
    """Return the message that something begins to move in a picture, or that it is still again."""
    seen = Motion(ends, 0.25 if ends else 0.125, (0.25, 0.5, 0.25, 0.25))
    return protocol.pack(protocol.Kind.MOTION, seen.to_json(), captured_ns)


def write(data: bytes) -> None:
    with socket.socket(fileno=os.dup(DESCRIPTOR)) as sock:
        sock.sendall(data)


class Adjustable:
    """Passes frames on for a camera with controls, and carries out orders between two frames."""

    def __init__(self, sink: Sink, commands: Commands, settings: Mapping[str, Value], ending: Commands) -> None:
        self.passed, self.still = sink.passed, sink.still
        self.claim_small, self.small = sink.claim_small, sink.small
        self.claim_look, self.look = sink.claim_look, sink.look
        self._sink = sink
        self._commands = commands
        self._settings = settings
        self._ending = ending
        self._control_table = CsiControls(CAMERA_MODULE_3, 40_000, self._apply)

    @property
    def wanted(self) -> bool:
        return self._sink.wanted

    @property
    def quiet_seconds(self) -> float:
        return self._sink.quiet_seconds

    def controls(self, _: Report) -> None:
        raise AssertionError("the test picture has none")

    def _apply(self, _: dict[str, Any]) -> None:
        if REFUSE_FILE.exists():
            raise RuntimeError("the test says no")

    def opened(self, info: CameraInfo) -> None:
        report = self._control_table.start(self._settings)
        self._sink.opened(dataclasses.replace(info, kind="csi", name="Camera Module 3"))
        self._sink.controls(report)

    def frame(self, jpeg: bytes | memoryview, captured_ns: int) -> None:
        match next_command(self._commands):
            case Stop() | TakeStill() as command:
                self._ending.put(command)
            case SetControls(number, values):
                self._sink.controls(self._control_table.set(number, values))
        self._sink.frame(jpeg, captured_ns)


class AdjustableSource:
    def __init__(self, config: CameraConfig) -> None:
        self._config = config

    def run(self, sink: Sink, commands: Commands) -> None:
        ending = Commands()
        adjustable = Adjustable(FaultySink(sink, commands), commands, self._config.settings("csi"), ending)
        healthy(self._config).run(adjustable, ending)


class FaultySource:
    def __init__(self, source: Source) -> None:
        self._source = source

    def run(self, sink: Sink, commands: Commands) -> None:
        self._source.run(FaultySink(sink, commands), commands)


def healthy(config: CameraConfig) -> Source:
    """Return the source of the pictures."""
    if config.upstream.url:
        return UpstreamSource(config.video, config.upstream, config.small)
    return PatternSource(config.video, config.small)


def create(config: CameraConfig) -> Choice:
    fault = take_fault()
    if fault == "missing":
        FAULT_FILE.write_text(fault)  # stays away until the test takes the word out
        raise SourceError("No camera is connected", Cause.MISSING, "Check the cable")
    if fault:
        FAULT_FILE.write_text(fault)
    if config.kind == "csi":
        if config.video.width > WIDEST:
            raise SourceError(f"The camera has no picture {config.video.width} pixels wide", Cause.SETTINGS)
        return Choice(AdjustableSource(config), "picamera2 finds a CSI camera")
    return Choice(FaultySource(healthy(config)), "a test of the daemon")


if __name__ == "__main__":
    status = process.main(sys.argv[2:], create)
    os._exit(status)
