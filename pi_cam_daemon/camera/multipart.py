"""Takes the pictures out of another server's MJPEG stream (multipart/x-mixed-replace), whatever that makes of it.

The format is RFC 2046's, and hardly a camera keeps to it. Boundaries come quoted, with their dashes in the header
already, doubled, with an end marker in the middle, or first after the first part; lines end in LF alone; lengths are
missing, padded or wrong. So nothing is believed but the boundary: a length only ends a part earlier, so that a picture
need not wait for the next one, and only where a picture does end.

A part with a header line X-No-Picture is none: so pi_cam_daemon marks the cards that it shows without a camera. Servers
whose boundary lines lack the two dashes are not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

# A picture of 4096x3072 at the best quality has about 6 MiB, and 8 MiB ten times a second fill two thirds of a gigabit
# network. It is less than what the two processes pass on, for this sender is the one that is not ours.
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
# behind the end of a picture some servers count zeros or the line end into its length
_LONGEST_TAIL = 64


class MultipartError(ValueError):
    """What comes is no stream of pictures, or none of a bearable size."""


class Reader:
    """Is fed the body of an answer, split anywhere, and gives the pictures in it, which need not be sound ones.

    *boundary* is the parameter of that answer's Content-Type, unquoted. What makes no sense is skipped up to the next
    boundary. At most one picture of LONGEST_PICTURE is held. Raises MultipartError, the constructor too.
    """

    def __init__(self, boundary: str) -> None:
        token = boundary.encode("latin-1", "replace")
        if not 0 < len(token) <= LONGEST_BOUNDARY:
            raise MultipartError(f"its boundary has {len(token)} characters; 1 to {LONGEST_BOUNDARY} are accepted")
        # two dashes go before the token; cameras that name them in the header do or do not send them twice
        dashed = token.startswith(b"--")
        self._token = token if dashed else b"--" + token
        self._before = re.compile(rb"(?:\r?\n)?(?:--)?\Z" if dashed else rb"(?:\r?\n)?\Z")
        self._buffer = bytearray()
        self._scanned = 0  # no delimiter begins before this
        self._begin_header()  # a stream without its first boundary begins like that, too

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pictures that *data* completes; it is read as they are asked for, so ask for all."""
        self._buffer += data
        while True:
            if self._within == "header":
                if not self._read_header_line():
                    return
            elif self._within == "picture":
                picture = self._read_picture()
                if picture is None:
                    return
                if picture:
                    yield picture
            elif not self._skip():
                return

    def _begin_header(self) -> None:
        self._within: Literal["header", "picture", "rubbish"] = "header"
        self._header_length = 0
        self._type: bytes | None = None
        self._length: int | None = None
        self._is_card = False

    def _read_header_line(self) -> bool:
        """False if it is not there yet."""
        room = LONGEST_HEADER - self._header_length
        end = self._buffer.find(b"\n", 0, room) + 1
        if not end:
            if len(self._buffer) >= room:
                raise MultipartError(f"the header of a part is longer than {LONGEST_HEADER // 1024} KiB")
            return False
        line = bytes(self._buffer[:end])
        self._drop(end)
        self._header_length += end
        if self._delimiter(line, 0, end):  # the first boundary, or another one
            self._begin_header()
        elif line.strip():
            name, _, value = line.partition(b":")
            match name.strip().lower():
                case b"content-type":
                    self._type = value.partition(b";")[0].strip().lower()
                case b"content-length":
                    self._length = _length(value.strip())
                case b"x-no-picture":
                    self._is_card = True
        else:
            is_picture = not self._is_card and (self._type is None or self._type in _JPEG)
            self._within = "picture" if is_picture else "rubbish"
        return True

    def _read_picture(self) -> bytes | None:
        """None if it is not there yet, nothing if it is none."""
        length = self._length
        if length is not None:
            # a delimiter within the length says that it is too long, and pictures would be lost in it
            if found := self._find_delimiter(length):
                return self._end_picture(*found)
            if len(self._buffer) < length:
                return None
            tail = self._buffer[max(0, length - _LONGEST_TAIL) : length]
            padding = len(tail) - len(tail.rstrip(b"\0\r\n"))
            if tail.endswith(_EOI, 0, len(tail) - padding):
                picture = self._untyped(self._head(length - padding))
                self._drop(length)
                self._within = "rubbish"
                return picture
            self._length = None
        most = LONGEST_PICTURE + _LONGEST_DELIMITER
        if found := self._find_delimiter(most):
            return self._end_picture(*found)
        if len(self._buffer) >= most:
            raise MultipartError(f"a picture is larger than {LONGEST_PICTURE // 1024**2} MiB")
        return None

    def _end_picture(self, start: int, end: int) -> bytes:
        picture = self._untyped(self._head(start))
        self._drop(end)
        self._begin_header()
        return picture

    def _untyped(self, picture: bytes) -> bytes:
        """*picture*, or nothing where neither its header nor its beginning says that it is one."""
        return picture if self._type or picture.startswith(_SOI) else b""

    def _skip(self) -> bool:
        """Drop all up to the next part's header; False if that is not there yet."""
        found = self._find_delimiter(len(self._buffer))
        if not found:
            self._drop(self._scanned)
            return False
        self._drop(found[1])
        self._begin_header()
        return True

    def _find_delimiter(self, end: int) -> tuple[int, int] | None:
        """Where the first delimiter within the first *end* bytes is, as far as these are there."""
        end = min(end, len(self._buffer))
        found = self._delimiter(self._buffer, self._scanned, end)
        if not found:
            self._scanned = max(self._scanned, end - _LONGEST_DELIMITER)
        return found

    def _delimiter(self, data: bytes | bytearray, start: int, end: int) -> tuple[int, int] | None:
        # find() first: a regular expression that begins with what may be missing takes a hundred times as long
        while (at := data.find(self._token, start, end)) >= 0:
            start = at + 1
            if after := _AFTER.match(data, at + len(self._token), end):
                before = self._before.search(bytes(data[max(0, at - 4) : at]))
                return at - (len(before[0]) if before else 0), after.end()
        return None

    def _head(self, count: int) -> bytes:
        # copied once: a bytearray's slice is a copy, too, and pictures may have megabytes
        with memoryview(self._buffer) as buffer:
            return bytes(buffer[:count])

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._scanned = 0


def _length(value: bytes) -> int | None:
    """What a Content-Length says, None if it cannot be true."""
    length = int(value) if _LENGTH.fullmatch(value) else LONGEST_PICTURE + 1
    return length if length <= LONGEST_PICTURE else None
