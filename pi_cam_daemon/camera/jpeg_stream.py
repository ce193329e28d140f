"""Finds the JPEGs in another server's stream, whatever stands between them.

Cameras break RFC 2046 in many ways: boundaries are missing or not the announced ones, lines end in LF alone, lengths
are wrong, bytes stand before a picture. Some send JPEGs with nothing between them. So only the JPEGs are relied on: the
segments of their headers have lengths, and FFD9 never stands in picture data. Two things of multipart count. A part
with the header X-No-Picture is skipped: that is how pi_cam_daemon marks its no-signal pictures. A second picture in a
part is skipped: it is the preview that phones append.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# A picture of 4096x3072 in the best quality has about 6 MiB. The limit is lower than that of ipc/protocol.py, because
# this sender is not ours.
LONGEST_PICTURE = 8 * 1024 * 1024
# what is kept of the data in front of a picture
LONGEST_HEADER = 64 * 1024

START = b"\xff\xd8\xff"
# with a marker that a header can begin with
_BEGIN = re.compile(rb"\xff\xd8\xff(?![\0-\xbf\xd0-\xd9])")
_SOI_OR_EOI = re.compile(rb"\xff[\xd8\xd9]")
_SOS = 0xDA
_FIRST_SEGMENT = 0xC0
_FILL = 0xFF
_NO_LENGTH = 0xFFD8  # it is the start of another picture
# as in imaging/jpeg.py
_MOST_SEGMENTS = 256
# a boundary, or the last line of a header and an empty one: a part begins
_HEADER = re.compile(rb"(?:\A|[\r\n])--[^\r\n]|^[^\r\n]+\r?\n\r?\n", re.MULTILINE)
_NO_PICTURE = re.compile(rb"^X-No-Picture[ \t]*:", re.MULTILINE | re.IGNORECASE)
_TYPE = re.compile(rb"^Content-Type[ \t]*:[ \t]*([\w.+/-]{1,80})", re.MULTILINE | re.IGNORECASE)
_EMPTY_LINE = re.compile(rb"\n\r?\n")
# so many bytes behind the header of a part show that it is no JPEG
_LONGEST_JUNK = 8
# of the header of a part
_LONGEST_TEXT = 4096


class StreamError(ValueError):
    """The stream exceeds a limit."""


class Reader:
    """Splits a stream into pictures. They begin and end as JPEGs do, which is all that is checked.

    A picture without an end goes up to the next one. At most one picture of LONGEST_PICTURE bytes is held.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._search = 0  # no picture begins before this
        self._data = 0  # offset of the picture data, 0 if it is not there yet
        self._scanned = 0  # picture data does not end before this
        self._has_headers = False  # the stream is multipart
        self._wanted = True
        self._is_invalid = False  # the last header of a JPEG
        self._dead = set[int]()  # offsets of segments that lead to no picture data
        self._looked = 0  # no next part begins before this

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the pictures that *data* completes; StreamError if one is too large."""
        self._buffer += data
        while self._data or self._begin():
            found = _SOI_OR_EOI.search(self._buffer, self._scanned)
            if not found:
                self._scanned = max(self._data, len(self._buffer) - 1)
                self._check_room()
                return
            is_whole = found[0] == b"\xff\xd9"
            end = found.end() if is_whole else self._text_before(found.start())
            picture = self._take(end)
            if self._wanted:
                # another picture of the same part is wanted only in place of a cut one
                self._wanted = not (is_whole and self._has_headers)
                yield picture

    @property
    def rest(self) -> bytes:
        """The picture whose end has not arrived; empty if none has begun."""
        at = self._buffer.find(START)
        return bytes(self._buffer[at:]) if at >= 0 else b""

    @property
    def problem(self) -> str:
        """Why the data that arrives now is no picture, in words about "it"; empty if nothing says so."""
        if START in self._buffer:
            return "its header is invalid" if self._is_invalid else ""
        text = bytes(self._buffer)
        named = _TYPE.search(text)
        header = _EMPTY_LINE.search(text, named.end(), named.end() + _LONGEST_TEXT) if named else None
        if not named or not header or len(text) < header.end() + _LONGEST_JUNK:
            return ""
        kind = named[1].decode().lower()
        return f"it is called {kind}, but is no JPEG" if "jp" in kind else f"it is {kind}"

    def _begin(self) -> bool:
        """Find the header of the next picture. Return False if it is not there yet."""
        while found := _BEGIN.search(self._buffer, self._search):
            start = found.start()
            data = self._picture_data(start)
            if data is None:
                self._search = self._kept(start)
                self._check_room()
                return False
            if data:
                before = bytes(self._buffer[max(0, start - LONGEST_HEADER) : start])
                if _HEADER.search(before):
                    self._has_headers = True
                    self._wanted = not _NO_PICTURE.search(before)
                self._drop(start)
                self._data = self._scanned = data - start
                return True
            self._is_invalid = True
            self._search = max(self._search, start + 2)
        self._search = self._kept(max(0, len(self._buffer) - 2))
        return False

    def _kept(self, at: int) -> int:
        """Drop what is too far in front of the offset *at*; return the offset that it has then."""
        if at > 2 * LONGEST_HEADER:
            self._drop(at - LONGEST_HEADER)
            return LONGEST_HEADER
        return at

    def _picture_data(self, start: int) -> int | None:
        """Return the offset of the picture data of the JPEG at *start*; 0 if it is none, None if data has to arrive.

        No segment is examined twice in vain, so that data made of starts takes no longer than other data.
        """
        buffer = self._buffer
        seen: list[int] = []
        at = start + 2
        last = len(buffer) - 4
        while len(seen) < _MOST_SEGMENTS and at not in self._dead:
            if at > last:
                return 0 if self._next_part(start, len(buffer)) else None
            marker, length = buffer[at + 1], buffer[at + 2] << 8 | buffer[at + 3]
            if buffer[at] != 0xFF or marker < _FIRST_SEGMENT or 0xD0 <= marker <= 0xD9 or length == _NO_LENGTH:
                break
            seen.append(at)
            if marker == _FILL:
                at += 1
                continue
            end = at + 2 + length
            if marker == _SOS and end <= len(buffer):
                return 0 if self._next_part(start, at) else end
            at = end
        self._dead.update(seen)
        self._next_part(start, at)
        return 0

    def _next_part(self, start: int, end: int) -> bool:
        """Continue with the part that begins in the cut header from *start* to *end*. Return False if none does."""
        buffer = self._buffer
        while (line_end := buffer.find(b"\n" + START, max(start, self._looked), end)) >= 0:
            self._looked = line_end + 1
            is_empty_line = buffer[line_end - 1 - (buffer[line_end - 1] == ord("\r"))] == ord("\n")
            if is_empty_line and buffer.rfind(b"\n--", max(start, line_end - _LONGEST_TEXT), line_end) >= 0:
                self._search = line_end + 1
                return True
        self._looked = max(self._looked, end - len(START))
        return False

    def _text_before(self, start: int) -> int:
        """Return where a cut picture ends: at the boundary in front of the next picture at *start*, if there is one."""
        at = self._buffer.rfind(b"\n--", max(self._data, start - _LONGEST_TEXT), start)
        return start if at < 0 else at - (self._buffer[at - 1] == ord("\r"))

    def _take(self, end: int) -> bytes:
        # copied once: a bytearray's slice is a copy too, and a picture may have megabytes
        with memoryview(self._buffer) as buffer:
            picture = bytes(buffer[:end])
        self._drop(end)
        self._search = self._data = 0
        self._is_invalid = False
        return picture

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._looked = 0
        self._dead.clear()

    def _check_room(self) -> None:
        if len(self._buffer) > LONGEST_PICTURE:
            raise StreamError(f"a picture is larger than {LONGEST_PICTURE // 1024**2} MiB")
