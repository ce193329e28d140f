"""Parser for requests, with limits of bytes and time. Rejects ambiguous syntax, which request smuggling relies on."""

from __future__ import annotations

import contextlib
import io
import math
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from pi_cam_daemon.server.refused import Refused

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from pi_cam_daemon.config.schema import HttpConfig

# a method is a token, a target has neither spaces nor control characters (RFC 9112, section 3)
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/(\d)\.(\d)")
# no white space before the colon: proxies and servers would disagree on the field's name (section 5.1)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
# An authority ends where a path, a query or a fragment begins (RFC 3986, section 3.2)
_AUTHORITY = re.compile(r"[^/?#]*")
# length of a chunk, and extensions, which are ignored (section 7.1); strict, because a proxy may read it in another way
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_LONGEST_CHUNK_LINE = 256
# float() accepts more, such as 1_0, spaces and digits of all scripts
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)
# each takes time to read, however short it is
_MOST_CHUNKS = 1000
CHUNKED = -1  # in place of the length of a body
# first byte of a TLS handshake (RFC 8446, section 5.1); the client then waits for an answer and sends no request line
TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True)
class Request:
    """One request. *headers* holds all values by lower-case name.

    *path* is decoded, with single slashes and none at its end. *length* is that of the body in bytes, or CHUNKED.
    """

    method: str
    target: str
    authority: str
    path: str
    arguments: Mapping[str, str]
    version: str
    headers: Mapping[str, tuple[str, ...]]
    length: int = 0
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the last value of the field *name*, or an empty string."""
        return self.headers.get(name, ("",))[-1]

    def number(self, name: str, least: float, most: float) -> float | None:
        """Return the argument *name* of the query; None if it is missing. Raises Refused."""
        text = self.arguments.get(name)
        if text is None:
            return None
        number = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not least <= number <= most:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name} has to be a number from {least:.9g} to {most:.9g}")
        return number

    @property
    def wants_events(self) -> bool:
        """Return whether the client asks for Server-Sent Events, as an EventSource does."""
        return "text/event-stream" in self.header("accept").lower()

    @property
    def small(self) -> bool:
        """Return whether the query asks for small pictures. Raises Refused for a size that there is not."""
        size = self.arguments.get("size", "big")
        if size not in ("big", "small"):
            raise Refused(HTTPStatus.BAD_REQUEST, "size has to be big or small")
        return size == "small"

    @property
    def keeps_alive(self) -> bool:
        """Return whether the client wants to keep the connection."""
        options = {option.strip().lower() for option in ",".join(self.headers.get("connection", ())).split(",")}
        return "keep-alive" in options if self.version == "HTTP/1.0" else "close" not in options

    @property
    def waits(self) -> bool:
        """Return whether the client sends the body only after 100 Continue (RFC 9110, section 10.1.1)."""
        return bool(self.length) and self.version != "HTTP/1.0" and self.header("expect").lower() == "100-continue"


# in place of a request that could not be read
NOTHING = Request("-", "-", "", "-", {}, "HTTP/1.1", {})


def parse(head: bytes) -> Request:
    """Return the request whose line and fields are in *head*, without the final empty line. Raises Refused."""
    first, *rest = head.replace(b"\r\n", b"\n").split(b"\n")
    line = _LINE.fullmatch(first)
    if not line:
        raise Refused(HTTPStatus.BAD_REQUEST, "This is not an HTTP request")
    if line[3] != b"1":
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Only HTTP/1.0 and HTTP/1.1 are supported")
    fields: dict[str, list[str]] = {}
    for text in rest:
        field = _FIELD.fullmatch(text)
        if not field:
            raise Refused(HTTPStatus.BAD_REQUEST, "One of the header fields is malformed")
        fields.setdefault(field[1].decode("ascii").lower(), []).append(field[2].strip(b" \t").decode("latin-1"))
    headers = {name: tuple(values) for name, values in fields.items()}
    if len(headers.get("host", ())) > 1:
        raise Refused(HTTPStatus.BAD_REQUEST, "There is more than one Host field")
    target = line[2].decode("utf-8", "replace")
    authority, local = "", target
    if line[1] == b"OPTIONS" and target == "*":  # the server as a whole
        local = "/"
    elif target.startswith("?"):  # old versions of ffmpeg, of http://camera?action=stream
        local = "/" + target
    elif not target.startswith("/"):
        # absolute form, which proxies send
        scheme, slashes, rest_of_target = target.partition("://")
        if not slashes or scheme.lower() not in ("http", "https"):
            raise Refused(HTTPStatus.BAD_REQUEST, "The path in the request line has to begin with a slash")
        authority = _AUTHORITY.match(rest_of_target)[0]  # type: ignore[index]
        local = "/" + rest_of_target[len(authority) :].removeprefix("/")
    path, _, query = local.partition("?")
    # programs append a second `?`: OctoPi asks for /?action=stream?nonce=1
    arguments = urllib.parse.parse_qsl(query.replace("?", "&"), keep_blank_values=True) if query else ()
    return Request(
        method=line[1].decode("ascii"),
        target=target,
        authority=authority,
        path=re.sub("/{2,}", "/", urllib.parse.unquote(path, errors="replace")).rstrip("/") or "/",
        arguments=dict(reversed(arguments)),
        version="HTTP/1.0" if line[4] == b"0" else "HTTP/1.1",
        headers=headers,
    )


def set_deadline(connection: socket.socket, deadline: float) -> None:
    """Set the timeout of *connection* to the time until *deadline* (monotonic). Raises TimeoutError if that is past."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)


class _Timed(io.RawIOBase):
    """Reads from *connection* until *deadline* (monotonic), then raises TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        set_deadline(self.connection, self.deadline)
        return self.connection.recv_into(buffer)


class Reader(io.BufferedReader):
    """Reads the requests of one connection, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._timed = _Timed(connection)
        super().__init__(self._timed, 8192)

    def next(self, limits: HttpConfig, idle_seconds: float) -> Request | None:
        """Return the next request, without its body; None at the end or after *idle_seconds* without one.

        The caller has to call `body` then, or to close the connection. Raises Refused.
        """
        self._timed.deadline = time.monotonic() + idle_seconds
        try:
            first = self._first()
        except TimeoutError:
            return None
        if not first:
            return None
        self._timed.deadline = time.monotonic() + limits.request_timeout_seconds
        with _complete(limits):
            if first == TLS_HANDSHAKE:
                raise Refused(HTTPStatus.BAD_REQUEST, "This address is served by http, not by https")
            request = parse(self._head(limits.max_request_line_bytes, limits.max_header_bytes))
        return replace(request, length=_length(request, limits.max_body_bytes))

    def body(self, request: Request, limits: HttpConfig) -> bytes:
        """Return the body of *request*, which `next` has returned. The deadline is the same. Raises Refused."""
        if not request.length:
            return b""
        with _complete(limits):
            if request.length == CHUNKED:
                return self._chunks(limits)
            body = self.read(request.length)
        if len(body) < request.length:
            raise Refused(HTTPStatus.BAD_REQUEST, "The body is shorter than Content-Length says")
        return body

    def _first(self) -> bytes:
        """Return the first byte of a request without consuming it; empty at the end of the connection."""
        while waiting := self.peek():
            # empty lines before a request are ignored (RFC 9112, section 2.2)
            begun = waiting.lstrip(b"\r\n")
            self.read(len(waiting) - len(begun))
            if begun:
                return begun[:1]
        return b""

    def _head(self, most_in_line: int, most_in_fields: int) -> bytes:
        """Return the request line and the fields, without the final empty line."""
        status, text = HTTPStatus.REQUEST_URI_TOO_LONG, f"A request line may have {most_in_line} bytes at most"
        lines = [self._line(most_in_line + 1, status, text)]
        lines += self._fields(most_in_fields)
        return b"".join(lines).removesuffix(b"\n").removesuffix(b"\r")

    def _fields(self, most: int) -> list[bytes]:
        """Return the lines up to an empty one, which is left out."""
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        text = f"The header fields may have {most} bytes at most"
        lines = []
        left = most + len(b"\r\n\r\n")
        while (line := self._line(left, status, text)) not in (b"\r\n", b"\n"):
            lines.append(line)
            left -= len(line)
        return lines

    def _line(self, most: int, status: HTTPStatus, too_long: str) -> bytes:
        line = self.readline(most + 1)
        if len(line) > most:
            raise Refused(status, too_long)
        if not line.endswith(b"\n"):
            raise Refused(HTTPStatus.BAD_REQUEST, "The request is incomplete")
        return line

    def _chunks(self, limits: HttpConfig) -> bytes:
        """Return a chunked body. The fields behind it are ignored."""
        body = bytearray()
        for _ in range(_MOST_CHUNKS):
            line = _CHUNK.fullmatch(self.readline(_LONGEST_CHUNK_LINE))
            if not line:
                raise Refused(HTTPStatus.BAD_REQUEST, "The length of a chunk of the body is malformed")
            length = int(line[1], 16)
            if len(body) + length > limits.max_body_bytes:
                raise _too_large(limits.max_body_bytes)
            if not length:
                self._fields(limits.max_header_bytes)
                return bytes(body)
            chunk = self.read(length + len(b"\r\n"))
            if chunk[length:] != b"\r\n":
                raise Refused(HTTPStatus.BAD_REQUEST, "A chunk of the body is not as long as it says")
            body += chunk[:length]
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body may have {_MOST_CHUNKS} chunks at most")


@contextlib.contextmanager
def _complete(limits: HttpConfig) -> Iterator[None]:
    """Raise Refused if a request is not complete in time."""
    try:
        yield
    except TimeoutError:
        text = f"The request was not complete after {limits.request_timeout_seconds:g} s"
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, text) from None


def _length(request: Request, most: int) -> int:
    """Return the length of the body of *request*, or CHUNKED. Raises Refused."""
    lengths = set(request.headers.get("content-length", ()))
    if codings := request.headers.get("transfer-encoding"):
        if lengths:
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding contradict each other")
        if request.version == "HTTP/1.0":
            raise Refused(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding")
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, "The only Transfer-Encoding that is supported is chunked")
        return CHUNKED
    if not lengths:
        return 0
    length = lengths.pop()
    # isdecimal() alone accepts digits of all scripts
    if lengths or not (length.isascii() and length.isdecimal()):
        raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length has to be one number")
    if len(length) > 15 or int(length) > most:
        raise _too_large(most)
    return int(length)


def _too_large(most: int) -> Refused:
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body may have {most} bytes at most")
