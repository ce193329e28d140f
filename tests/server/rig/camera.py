"""A camera process whose camera can be given a fault: `camera.py FAULT_FILE FD LEVEL`.

A word written into FAULT_FILE is taken out again and acted upon by the camera process that reads it first, so that
the next one is healthy. Without a fault it is the test picture.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from pi_cam_daemon import camera, protocol
from pi_cam_daemon.config import CameraConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.sources import CameraInfo, Commands, Sink, Source
from pi_cam_daemon.sources.pattern import PatternSource

FAULT_FILE = Path(sys.argv[1])
DESCRIPTOR = int(sys.argv[2])


def take_fault() -> str:
    try:
        fault = FAULT_FILE.read_text()
        FAULT_FILE.unlink()
    except FileNotFoundError:
        return ""
    return fault


class FaultySink:
    """Passes frames on until there is a fault."""

    def __init__(self, sink: Sink, commands: Commands) -> None:
        self._sink = sink
        self._commands = commands

    @property
    def wanted(self) -> bool:
        return self._sink.wanted

    def passed(self) -> None:
        self._sink.passed()

    def opened(self, info: CameraInfo) -> None:
        match take_fault():
            case "never-opens":
                hang()
            case "opens-slowly":
                time.sleep(5)
        self._sink.opened(info)

    def frame(self, jpeg: bytes, captured_ns: int) -> None:
        match take_fault():
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
                write(protocol.pack(protocol.Kind.FRAME, b"not a picture"))
            case "half-jpeg":
                self._sink.frame(b"\xff\xd8 and then nothing that a JPEG would have", captured_ns)
                hang()
            case "too-long":
                write(protocol.HEADER.pack(protocol.Kind.FRAME, 2**32 - 1, 0))
            case "flood":
                until = time.monotonic() + 3
                while time.monotonic() < until:
                    self._sink.frame(jpeg, captured_ns)
        self._sink.frame(jpeg, captured_ns)


def hang() -> None:
    """Like a driver that never returns: no signal that can be caught ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()


def write(data: bytes) -> None:
    with socket.socket(fileno=os.dup(DESCRIPTOR)) as sock:
        sock.sendall(data)


class FaultySource:
    def __init__(self, source: Source) -> None:
        self._source = source

    def run(self, sink: Sink, commands: Commands) -> None:
        self._source.run(FaultySink(sink, commands), commands)


def create(config: CameraConfig) -> tuple[Source, str]:
    fault = take_fault()
    if fault == "missing":
        FAULT_FILE.write_text(fault)  # stays away until the test takes the word out
        raise SourceError("No camera is connected", Cause.MISSING, "Check the cable")
    if fault:
        FAULT_FILE.write_text(fault)
    return FaultySource(PatternSource(config.video)), "a test of the daemon"


if __name__ == "__main__":
    status = camera.main(sys.argv[2:], create)
    os._exit(status)
