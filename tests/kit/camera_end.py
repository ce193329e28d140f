"""The camera process's end of its connection, for tests that play the camera."""

from __future__ import annotations

import os
import socket

from pi_cam_daemon.ipc import slots
from pi_cam_daemon.ipc.protocol import Kind, pack
from pi_cam_daemon.ipc.slots import SlotReader, SlotWriter
from tests.kit.lateness import patience


class CameraEnd:
    """The camera's *sock*, *writer* and *small_writer*; the server gets *theirs* and *reader*."""

    def __init__(self) -> None:
        self.theirs, self.sock = socket.socketpair()
        self.sock.settimeout(patience(10))
        fd = slots.create()
        self.reader, self.writer, self.small_writer = SlotReader(fd), SlotWriter(fd), SlotWriter(fd, small=True)
        os.close(fd)

    def say(self, kind: Kind, payload: bytes = b"", captured_ns: int = 0, small: bool = False) -> None:
        """Send a message; for a FRAME the *payload* is its JPEG."""
        if kind is Kind.FRAME:
            announcement = (self.small_writer if small else self.writer).write(payload, captured_ns)
            assert announcement, "the server has all slots"
            self.sock.sendall(announcement)
        else:
            self.sock.sendall(pack(kind, payload, captured_ns))

    def close(self) -> None:
        self.sock.close()
