"""The wire format of the stream: multipart/x-mixed-replace, one JPEG in each part.

The boundary goes out AFTER each picture. Browsers, VLC and the JavaScript parsers of Mainsail and Fluidd show a part
only when what follows it arrives. The boundary is unquoted, because Fluidd takes quotes for part of it. It is
alphanumeric, and too long to occur inside a JPEG. Header lines stay below the 128 bytes that FFmpeg reads.
"""

from __future__ import annotations

BOUNDARY = "picamdaemonboundary7Mq2vX"
CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

# The first bytes of a stream, right after the HTTP header. No CRLF before them: FFmpeg's probe, which mpv and pipes
# depend on, looks for the dashes in the very first byte.
OPENING = f"--{BOUNDARY}\r\n".encode()
CLOSING = b"\r\n" + OPENING  # the end of every part, sent in the same write as the picture


def part_header(length: int, timestamp_us: int) -> bytes:
    """Return the header of a part of *length* bytes; *timestamp_us* is Unix time in microseconds."""
    us = str(timestamp_us).zfill(7)  # a float takes ten times as long
    return f"Content-Type: image/jpeg\r\nContent-Length: {length}\r\nX-Timestamp: {us[:-6]}.{us[-6:]}\r\n\r\n".encode()


def part(jpeg: bytes, timestamp_us: int, no_picture: str = "") -> bytes:
    """Return one whole part: header, JPEG, boundary. *no_picture* is the cause when *jpeg* is a no-signal picture."""
    header = part_header(len(jpeg), timestamp_us)
    if no_picture:
        header = b"%sX-No-Picture: %s\r\n\r\n" % (header[:-2], no_picture.encode())
    return header + jpeg + CLOSING
