"""One picture on its way to the viewers."""

from __future__ import annotations

from dataclasses import dataclass

from pi_cam_daemon import jpeg


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One whole JPEG inside the ready-made part that every viewer is sent; never changed once it is published.

    *captured* is CLOCK_MONOTONIC in seconds, *timestamp* the same moment as Unix time.
    """

    part: bytes
    start: int
    end: int
    captured: float
    timestamp: float

    @property
    def jpeg(self) -> memoryview:
        """The picture alone, not copied."""
        return memoryview(self.part)[self.start : self.end]

    def size(self) -> tuple[int, int]:
        """(width, height) in pixels; JpegError when this is no JPEG after all."""
        return jpeg.size(self.jpeg)
