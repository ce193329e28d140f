"""Reads an answer of another server as leniently as browsers and ffmpeg do, and keeps every part of it bounded."""

from __future__ import annotations

import re
import zlib
from io import BufferedReader

from pi_cam_daemon.camera.jpeg_stream import START

# a usual frame takes one or two reads
READ_BYTES = 64 * 1024
_LONGEST_LINE = 64 * 1024
_LONGEST_HEADER = 64 * 1024
# Servers write another protocol ("ICY"), no version, no reason, or a byte order mark in front. Browsers take a line
# without a status for 200. RTSP is named instead.
_STATUS = re.compile(rb"(?!RTSP)\s{0,4}\S{1,20}[ \t]+0*(\d{3})(?!\d)|\W{0,4}HTTP", re.IGNORECASE)
# a header without a status line, as of CGI programs
_FIELD = re.compile(rb"Content-[\w-]{1,40}[ \t]*:", re.IGNORECASE)
_CHUNK = re.compile(rb"[ \t]*(?:0x)?([0-9a-f]{1,16})[ \t]*(?:;|\r?\n)", re.IGNORECASE)
_MOST_EMPTY_LINES = 8
_LENGTH = re.compile(r"^\d{1,15}\b", re.MULTILINE)
_CONTROL = re.compile(rb"[\0-\x1f\x7f]+")
_TOKEN = re.compile(r"[^\s,]+")
_CODINGS = ("gzip", "x-gzip", "deflate")


class HttpError(OSError):
    """The server broke HTTP; the text says how, with what came in printable characters."""


class Response:
    """The status and *headers* of an answer, their names in lower case; `read` gives its body."""

    def __init__(self, stream: BufferedReader) -> None:
        """Read the header. Raises HttpError, or OSError if the connection breaks."""
        self.reusable = False  # the body has ended, and the connection can carry another request
        self._stream = stream
        self._ahead = b""  # what was read of the body already
        self._left: int | None = None  # bytes of the body, or of the chunk
        self.status, self.headers = 100, dict[str, list[str]]()
        while 100 <= self.status < 200:
            self._read_head()
        self.kind = self._kind()
        self.coding = self.header("content-encoding").lower() or "identity"
        self.is_readable = self.coding in ("identity", *_CODINGS)
        self._decoder = zlib.decompressobj(47) if self.coding in _CODINGS else None
        self._may_be_raw = self.coding == "deflate"
        self._chunked = "chunked" in _TOKEN.findall(self.header("transfer-encoding").lower())
        self._began = self._ended = False  # the chunks
        # A stream has no length. Cameras that state one mean a part, or nothing.
        lengths = set(_LENGTH.findall("\n".join(self.headers.get("content-length", []))))
        if not self._chunked and not self.kind.startswith("multipart/") and len(lengths) == 1:
            self._left = int(lengths.pop())

    def header(self, name: str) -> str:
        """Return the values of the header *name* (lower case) as one."""
        return ", ".join(self.headers.get(name, []))

    def read(self) -> bytes:
        """Return the next bytes of the body, at most READ_BYTES, or nothing at its end. Raises OSError."""
        if self._decoder is None:
            return self._read()
        while data := self._decoder.unconsumed_tail or self._read():
            if self._may_be_raw and data[0] & 0x0F != zlib.DEFLATED:  # zlib's own header is missing
                self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            self._may_be_raw = False
            try:
                if plain := self._decoder.decompress(data, READ_BYTES):
                    return plain
            except zlib.error:
                raise HttpError("its compressed data is broken") from None
        return b""

    def read_on(self) -> bytes:
        """Return the next bytes behind the stated length of a JPEG, if it was too small; nothing at the end."""
        if self._left != 0 or self._chunked or "jp" not in self.kind:
            return b""
        self._left, self.reusable = None, False
        return self.read()

    def _read(self) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        if self._chunked and not self._left and (self._ended or not self._next_chunk()):
            return self._read() if self._ahead else b""
        if self._left is None:
            return self._stream.read1(READ_BYTES)
        data = self._stream.read1(min(READ_BYTES, self._left)) if self._left else b""
        self._left -= len(data)
        if self._chunked and not data:
            raise HttpError("it ends within a chunk")
        if not self._chunked and not self._left:
            self.reusable = "close" not in self.header("connection").lower()
        return data

    def _next_chunk(self) -> bool:
        """Read the line in front of a chunk. Return False at the end, or if the body is not chunked after all."""
        for _ in range(_MOST_EMPTY_LINES):
            line = self._stream.readline(_LONGEST_LINE)
            if line.strip():  # else the end of the chunk before
                break
        size = _CHUNK.match(line)
        if not size:
            if not self._began and line.startswith((b"--", START)):
                self._chunked, self._ahead = False, line
                return False
            raise HttpError("it sends broken chunks")
        self._began = True
        self._left = int(size[1], 16)
        if not self._left:
            self._ended = True
            self.reusable = not self._stream.readline(_LONGEST_LINE).strip()  # else trailers
        return bool(self._left)

    def _read_head(self) -> None:
        """Read the status line and the header lines; lines that are none are skipped."""
        # JPEGs and parts without a status line are a body already, as of HTTP/0.9
        if self._stream.peek(len(START)).startswith(START):
            self.status = 200
            return
        line = self._stream.readline(_LONGEST_LINE)
        while line and not line.strip():
            line = self._stream.readline(_LONGEST_LINE)
        if line.startswith(b"--"):
            self.status, self._ahead = 200, line
            return
        if not line:
            raise ConnectionResetError("no answer")
        if status := _STATUS.match(line):
            self.status, line = int(status[1] or 200) or 200, b""
        elif _FIELD.match(line):
            self.status = 200
        else:
            raise HttpError(_CONTROL.sub(b" ", line[:40]).decode("ascii", "replace").strip())
        self.headers = {}
        length = 0
        values: list[str] = []
        while (line := line or self._stream.readline(_LONGEST_LINE)).strip(b"\r\n"):
            length += len(line)
            if length > _LONGEST_HEADER:
                raise HttpError(f"its header is longer than {_LONGEST_HEADER // 1024} KiB")
            if line.startswith(b"--"):  # the empty line is missing
                self._ahead = line
                return
            name, colon, value = line.partition(b":")
            text = _CONTROL.sub(b" ", value).decode("latin-1").strip()
            if line[:1] in b" \t" and values:
                values[-1] += " " + _CONTROL.sub(b" ", line).decode("latin-1").strip()
            elif colon:
                values = self.headers.setdefault(name.decode("latin-1").strip().lower(), [])
                values.append(text)
            line = b""

    def _kind(self) -> str:
        """Return the type without parameters in lower case, of several the one that is a stream; empty if none."""
        kinds = [value.partition(";")[0].strip().lower() for value in self.headers.get("content-type", [])]
        return next((kind for kind in kinds if kind.startswith("multipart/")), kinds[-1] if kinds else "")
