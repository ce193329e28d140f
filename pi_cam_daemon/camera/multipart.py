"""Reads the pictures out of another server's MJPEG stream (multipart/x-mixed-replace).

Most cameras break RFC 2046: in the header, boundaries have quotes or dashes; in the body they come twice, as an end
marker, or only after the first part; lines end in LF alone; lengths are missing, padded or wrong. So the reader relies
on boundaries. A length only ends a part earlier, and only at the end of a JPEG. Boundary lines without dashes are not
supported. A part with the header X-No-Picture is skipped: that is how pi_cam_daemon marks its no-signal pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# A picture of 4096x3072 in the best quality has about 6 MiB. The limit is lower than that of ipc/protocol.py, because
# this sender is not ours.
LONGEST_PICTURE = 8 * 1024 * 1024
LONGEST_HEADER = 64 * 1024
# RFC 2046 allows 70
LONGEST_BOUNDARY = 200
# with line ends, dashes and spaces
_LONGEST_DELIMITER = LONGEST_BOUNDARY + 16

_AFTER = re.compile(rb"(?:--)?[ \t]{0,8}\r?\n")
_LENGTH = re.compile(rb"\d{1,8}")
_JPEG = (b"image/jpeg", b"image/jpg")
_SOI = b"\xff\xd8"
_EOI = b"\xff\xd9"
# Some servers include zeros or the line end behind the picture in its length.
_LONGEST_TAIL = 64


class MultipartError(ValueError):
    """The data is no stream of pictures, or exceeds a limit."""


class Reader:
    """Splits the body of a response into pictures, which are not checked. Raises MultipartError, the constructor too.

    *boundary* is the parameter of the Content-Type, unquoted. Data that makes no sense is skipped up to the next
    boundary. At most one picture of LONGEST_PICTURE bytes is held.
    """

    def __init__(self, boundary: str) -> None:
        token = boundary.encode("latin-1", "replace")
        if not 0 < len(token) <= LONGEST_BOUNDARY:
            raise MultipartError(f"its boundary has {len(token)} characters; 1 to {LONGEST_BOUNDARY} are accepted")
        # The delimiter is two dashes and the boundary. If the boundary has the dashes already, they may come twice.
        dashed = token.startswith(b"--")
        self._token = token if dashed else b"--" + token
        self._before = re.compile(rb"(?:\r?\n)?(?:--)?\Z" if dashed else rb"(?:\r?\n)?\Z")
        self._buffer = bytearray()
        self._scanned = 0  # no delimiter begins before this
        self._begin_header()  # the stream may begin without its first boundary

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the pictures that *data* completes. Parsing happens during the iteration."""
        self._buffer += data
        while (picture := self._step()) is not None:
            if picture:
                yield picture

    # Each step returns None if it needs more data, else a picture or nothing.

    def _begin_header(self) -> None:
        self._step: Callable[[], bytes | None] = self._read_header_line
        self._header_length = 0
        self._type: bytes | None = None
        self._length: int | None = None
        self._no_signal = False

    def _read_header_line(self) -> bytes | None:
        room = LONGEST_HEADER - self._header_length
        end = self._buffer.find(b"\n", 0, room) + 1
        if not end:
            if len(self._buffer) >= room:
                raise MultipartError(f"the header of a part is longer than {LONGEST_HEADER // 1024} KiB")
            return None
        line = bytes(self._buffer[:end])
        self._drop(end)
        self._header_length += end
        if self._delimiter(line, 0, end):  # the first boundary, or a repeated one
            self._begin_header()
        elif line.strip():
            name, _, value = line.partition(b":")
            value = value.strip()
            match name.strip().lower():
                case b"content-type":
                    self._type = value.partition(b";")[0].strip().lower()
                case b"content-length":
                    is_valid = _LENGTH.fullmatch(value) and int(value) <= LONGEST_PICTURE
                    self._length = int(value) if is_valid else None
                case b"x-no-picture":
                    self._no_signal = True
        else:
            is_picture = not self._no_signal and (self._type is None or self._type in _JPEG)
            self._step = self._read_picture if is_picture else self._skip
        return b""

    def _read_picture(self) -> bytes | None:
        length = self._length
        end = LONGEST_PICTURE + _LONGEST_DELIMITER if length is None else length
        # A delimiter within the length shows that the length is too large.
        if found := self._find_delimiter(end):
            picture = self._take(*found)
            self._begin_header()
            return picture
        if len(self._buffer) < end:
            return None
        if length is None:
            raise MultipartError(f"a picture is larger than {LONGEST_PICTURE // 1024**2} MiB")
        tail = self._buffer[max(0, length - _LONGEST_TAIL) : length]
        padding = len(tail) - len(tail.rstrip(b"\0\r\n"))
        if tail.endswith(_EOI, 0, len(tail) - padding):
            self._step = self._skip
            return self._take(length - padding, length)
        self._length = None
        return b""

    def _take(self, end: int, drop: int) -> bytes:
        """Drop the first *drop* bytes. Return them up to *end*, or nothing if nothing says that they are a JPEG."""
        # copied once: a bytearray's slice is a copy too, and a picture may have megabytes
        with memoryview(self._buffer) as buffer:
            picture = bytes(buffer[:end])
        self._drop(drop)
        return picture if self._type or picture.startswith(_SOI) else b""

    def _skip(self) -> bytes | None:
        """Drop everything up to the header of the next part."""
        found = self._find_delimiter(len(self._buffer))
        self._drop(found[1] if found else self._scanned)
        if not found:
            return None
        self._begin_header()
        return b""

    def _find_delimiter(self, end: int) -> tuple[int, int] | None:
        """Return start and end of the first delimiter in the first *end* bytes; None if it is not there yet."""
        end = min(end, len(self._buffer))
        found = self._delimiter(self._buffer, self._scanned, end)
        if not found:
            self._scanned = max(self._scanned, end - _LONGEST_DELIMITER)
        return found

    def _delimiter(self, data: bytes | bytearray, start: int, end: int) -> tuple[int, int] | None:
        # find() first: a regular expression with an optional beginning takes a hundred times as long
        while (at := data.find(self._token, start, end)) >= 0:
            start = at + 1
            if after := _AFTER.match(data, at + len(self._token), end):
                before = self._before.search(bytes(data[max(0, at - 4) : at]))
                return at - (len(before[0]) if before else 0), after.end()
        return None

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._scanned = 0
