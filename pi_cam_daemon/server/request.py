"""Parser for requests, with limits of bytes and time. Rejects ambiguous syntax, which request smuggling relies on."""

from __future__ import annotations

import io
import re
import socket
import time
import urllib.parse
from collections.abc import Mapping
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
# first byte of a TLS handshake (RFC 8446, section 5.1); the client then waits for an answer and sends no request line
TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True)
class Request:
    """One request. *headers* holds all values by lower-case name; *path* is decoded and has no slash at its end."""

    method: str
    target: str
    authority: str
    path: str
    arguments: Mapping[str, str]
    version: str
    headers: Mapping[str, tuple[str, ...]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the last value of the field *name*, or an empty string."""
        return self.headers.get(name, ("",))[-1]

    @property
    def keeps_alive(self) -> bool:
        """Return whether the client wants to keep the connection."""
        options = {option.strip().lower() for option in ",".join(self.headers.get("connection", ())).split(",")}
        return "keep-alive" in options if self.version == "HTTP/1.0" else "close" not in options


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
    if not target.startswith("/"):
        # absolute form, which proxies send
        scheme, slashes, rest_of_target = target.partition("://")
        if not slashes or scheme.lower() not in ("http", "https"):
            raise Refused(HTTPStatus.BAD_REQUEST, "The path in the request line has to begin with a slash")
        authority, slash, local = rest_of_target.partition("/")
        local = slash + local
    path, _, query = local.partition("?")
    # programs append a second `?`: OctoPi asks for /?action=stream?nonce=1
    arguments = urllib.parse.parse_qsl(query.replace("?", "&"), keep_blank_values=True) if query else ()
    return Request(
        method=line[1].decode("ascii"),
        target=target,
        authority=authority,
        path=urllib.parse.unquote(path, errors="replace").rstrip("/") or "/",
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
        """Return the next request and its body; None at the end or after *idle_seconds* without one. Raises Refused."""
        self._timed.deadline = time.monotonic() + idle_seconds
        try:
            first = self._first()
        except TimeoutError:
            return None
        if not first:
            return None
        self._timed.deadline = time.monotonic() + limits.request_timeout_seconds
        try:
            if first == TLS_HANDSHAKE:
                raise Refused(HTTPStatus.BAD_REQUEST, "This address is served by http, not by https")
            request = parse(self._head(limits.max_request_line_bytes, limits.max_header_bytes))
            body = self._body(request, limits.max_body_bytes)
        except TimeoutError:
            text = f"The request was not complete after {limits.request_timeout_seconds:g} s"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, text) from None
        return replace(request, body=body) if body else request

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
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        text = f"The header fields may have {most_in_fields} bytes at most"
        left = most_in_fields + len(b"\r\n\r\n")
        while (line := self._line(left, status, text)) not in (b"\r\n", b"\n"):
            lines.append(line)
            left -= len(line)
        return b"".join(lines).removesuffix(b"\n").removesuffix(b"\r")

    def _line(self, most: int, status: HTTPStatus, too_long: str) -> bytes:
        line = self.readline(most + 1)
        if len(line) > most:
            raise Refused(status, too_long)
        if not line.endswith(b"\n"):
            raise Refused(HTTPStatus.BAD_REQUEST, "The request is incomplete")
        return line

    def _body(self, request: Request, most: int) -> bytes:
        lengths = set(request.headers.get("content-length", ()))
        if "transfer-encoding" in request.headers:
            if lengths:
                raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding contradict each other")
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "A body has to be sent with Content-Length")
        if not lengths:
            return b""
        length = lengths.pop()
        # isdecimal() alone accepts digits of all scripts
        if lengths or not (length.isascii() and length.isdecimal()):
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length has to be one number")
        if len(length) > 15 or int(length) > most:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body may have {most} bytes at most")
        if int(length) and request.version != "HTTP/1.0" and request.header("expect").lower() == "100-continue":
            self._timed.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.read(int(length))
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "The body is shorter than Content-Length says")
        return body
