"""One frame as a ready-made part of the stream, and the wire format of the stream: multipart/x-mixed-replace.

The boundary goes out AFTER each picture. Browsers, VLC and the JavaScript parsers of Mainsail and Fluidd show a part
only when what follows it arrives. The boundary is unquoted, because Fluidd takes quotes for part of it. It is
alphanumeric, and too long to occur inside a JPEG. Header lines stay below the 128 bytes that FFmpeg reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from pi_cam_daemon.imaging import jpeg

BOUNDARY = "picamdaemonboundary7Mq2vX"
CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

# The first bytes of a stream, right after the HTTP header. No CRLF before them: FFmpeg's probe, which mpv and pipes
# depend on, looks for the dashes in the very first byte.
OPENING = f"--{BOUNDARY}\r\n".encode()
CLOSING = b"\r\n" + OPENING  # the end of every part, sent in the same write as the picture


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One whole JPEG in its part of the stream. *captured* is CLOCK_MONOTONIC, *timestamp* Unix time, in seconds."""

    part: bytes
    start: int
    end: int
    captured: float
    timestamp: float

    @property
    def jpeg(self) -> memoryview:
        """Return the JPEG alone, not copied."""
        return memoryview(self.part)[self.start : self.end]

    def size(self) -> tuple[int, int]:
        """Return (width, height) in pixels. Raises JpegError."""
        return jpeg.size(self.jpeg)


def part_header(length: int, timestamp: float) -> bytes:
    """Return the header of a part of *length* bytes; *timestamp* is Unix time in seconds."""
    return b"Content-Type: image/jpeg\r\nContent-Length: %d\r\nX-Timestamp: %.6f\r\n\r\n" % (length, timestamp)


def part(jpeg: bytes, timestamp: float, no_picture: str = "") -> bytes:
    """Return one whole part: header, JPEG, boundary. *no_picture* is the cause when *jpeg* is a no-signal picture."""
    header = part_header(len(jpeg), timestamp)
    if no_picture:
        header = b"%sX-No-Picture: %s\r\n\r\n" % (header[:-2], no_picture.encode())
    return header + jpeg + CLOSING
