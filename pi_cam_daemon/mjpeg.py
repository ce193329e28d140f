"""The stream's wire format: multipart/x-mixed-replace, laid out so that every known consumer paints at once.

The boundary goes out AFTER each picture: browsers, VLC and the JavaScript parsers of Mainsail and Fluidd show a
part only when what follows it arrives. It is unquoted (Fluidd takes quotes for part of it), alphanumeric, and long
enough never to occur inside a JPEG. Header lines stay below the 128 bytes that FFmpeg reads.
"""

from __future__ import annotations

BOUNDARY = "picamdaemonboundary7Mq2vX"
CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

# what a stream begins with, right after its HTTP header and before any picture
# (no CRLF before it: FFmpeg's probe, which mpv and pipes depend on, looks for the dashes in the very first byte)
OPENING = f"--{BOUNDARY}\r\n".encode()
# what ends every part, in the same write as the picture
CLOSING = b"\r\n" + OPENING


def part_header(length: int, timestamp: float) -> bytes:
    """The header of a part of *length* bytes; *timestamp* is Unix time in seconds."""
    return b"Content-Type: image/jpeg\r\nContent-Length: %d\r\nX-Timestamp: %.6f\r\n\r\n" % (length, timestamp)


def part(jpeg: bytes, timestamp: float, no_picture: str = "") -> bytes:
    """One whole part: header, picture, boundary.

    *no_picture* is the cause that a card in place of a picture is for; a header line tells programs so.
    """
    header = part_header(len(jpeg), timestamp)
    if no_picture:
        header = b"%sX-No-Picture: %s\r\n\r\n" % (header[:-2], no_picture.encode())
    return header + jpeg + CLOSING
