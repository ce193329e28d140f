"""One frame, in the memory that the camera process shares with the server."""

from __future__ import annotations

from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.ipc.parts import CLOSING
from pi_cam_daemon.ipc.slots import SlotReader

_BLANK_LINE = b"\r\n\r\n"


class Frame:
    """A whole JPEG as a ready part of the stream.

    *part* is valid until `free`, which gives *slot* of *slots* back. *copy*, which `kept` makes, stays valid.
    *captured_ns* is CLOCK_MONOTONIC, *timestamp_us* Unix time.
    """

    __slots__ = ("_slot", "_slots", "captured_ns", "copy", "part", "timestamp_us")

    def __init__(
        self,
        part: memoryview | bytes,
        captured_ns: int,
        timestamp_us: int,
        slots: SlotReader | None = None,
        slot: int = 0,
    ) -> None:
        self.part = part
        self.captured_ns = captured_ns
        self.timestamp_us = timestamp_us
        self._slots = slots
        self._slot = slot
        self.copy: bytes | None = None

    def kept(self) -> bytes:
        """Return a copy of the part, always the same one. The first call has to come before `free`."""
        if self.copy is None:
            self.copy = bytes(self.part)
        return self.copy

    @property
    def captured(self) -> float:
        """Return the time of capture in seconds of CLOCK_MONOTONIC."""
        return self.captured_ns / 1e9

    @property
    def jpeg(self) -> memoryview:
        """Return the JPEG alone, from the copy that stays."""
        part = self.kept()
        # without a header, from a camera process that is broken, it is no JPEG either
        return memoryview(part)[part.find(_BLANK_LINE) + len(_BLANK_LINE) : -len(CLOSING)]

    def size(self) -> tuple[int, int]:
        """Return (width, height) in pixels. Raises JpegError."""
        return jpeg.size(self.jpeg)

    def free(self) -> None:
        """Let the camera process use the memory of the part again.

        Without the part this does not keep the memory of a process that has ended, while a slow client gets the copy.
        """
        if self._slots:
            self._slots.give_back(self._slot)
            self._slots = None
            self.part = b""
