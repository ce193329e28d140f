"""One request off a connection: bounded in bytes and in time, and read strictly, for leniency is what is abused."""

from __future__ import annotations

import re
import socket
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Protocol

from pi_cam_daemon.refused import Refused

_CHUNK = 8192
# a method is a token, a target has neither spaces nor control characters (RFC 9112, section 3)
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/(\d)\.(\d)")
# without white space before the colon, by which proxies and servers disagreed on who was asked for what (section 5.1)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_END = re.compile(rb"\r?\n\r?\n")
# the first byte of a TLS handshake (RFC 8446, section 5.1): its sender waits for an answer and sends no line
TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True)
class Request:
    """*headers* by name in lower case, each as often as it came; *path* decoded, without a slash at its end."""

    method: str
    target: str
    authority: str
    path: str
    arguments: Mapping[str, str]
    version: str
    headers: Mapping[str, tuple[str, ...]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """The field *name*; empty where it is missing, the last where there are several."""
        return self.headers.get(name, ("",))[-1]

    @property
    def keeps_alive(self) -> bool:
        """Whether the client has more to ask on this connection."""
        wishes = {wish.strip().lower() for value in self.headers.get("connection", ()) for wish in value.split(",")}
        return "keep-alive" in wishes if self.version == "HTTP/1.0" else "close" not in wishes


def parse(head: bytes) -> Request:
    """The request whose line and fields *head* holds, without the empty line behind them. Raises Refused."""
    first, *rest = head.replace(b"\r\n", b"\n").split(b"\n")
    line = _LINE.fullmatch(first)
    if not line:
        raise Refused(HTTPStatus.BAD_REQUEST, "This is no HTTP request")
    if line[3] != b"1":
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Only HTTP/1.0 and HTTP/1.1 are spoken here")
    fields: dict[str, list[str]] = {}
    for text in rest:
        field = _FIELD.fullmatch(text)
        if not field:
            raise Refused(HTTPStatus.BAD_REQUEST, "One of the header fields is malformed")
        fields.setdefault(field[1].decode("ascii").lower(), []).append(field[2].strip(b" \t").decode("latin-1"))
    headers = {name: tuple(values) for name, values in fields.items()}
    if len(headers.get("host", ())) > 1:
        raise Refused(HTTPStatus.BAD_REQUEST, "There are two Host fields, and which one is meant cannot be known")
    target = line[2].decode("utf-8", "replace")
    authority, local = "", target
    if not target.startswith("/"):
        # absolute form, as proxies send it
        scheme, slashes, rest_of_target = target.partition("://")
        if not slashes or scheme.lower() not in ("http", "https"):
            raise Refused(HTTPStatus.BAD_REQUEST, "The address asked for has to begin with a slash")
        authority, slash, local = rest_of_target.partition("/")
        local = slash + local
    path, _, query = local.partition("?")
    # People's software appends what it likes, even a second `?`: OctoPi asks for /?action=stream?nonce=1
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


class Limits(Protocol):
    """What of the configuration concerns the reading of requests."""

    @property
    def max_request_line_bytes(self) -> int: ...
    @property
    def max_header_bytes(self) -> int: ...
    @property
    def max_body_bytes(self) -> int: ...
    @property
    def request_timeout_seconds(self) -> float: ...


class Reader:
    """The requests of one connection, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._deadline = 0.0

    def next(self, limits: Limits, idle_seconds: float) -> Request | None:
        """The next request, with its body; None when none has begun within *idle_seconds*.

        Raises Refused for what is too long, too slow or not understood.
        """
        self._deadline = time.monotonic() + idle_seconds
        try:
            # empty lines before a request are ignored (RFC 9112, section 2.2)
            while not (received := self._received.lstrip(b"\r\n")):
                self._received = b""
                if not self._receive():
                    return None
        except TimeoutError:
            return None
        self._received = received
        self._deadline = time.monotonic() + limits.request_timeout_seconds
        try:
            request = parse(self._head(limits.max_request_line_bytes, limits.max_header_bytes))
            body = self._body(request, limits.max_body_bytes)
        except TimeoutError:
            text = f"The request was not complete after {limits.request_timeout_seconds:g} s"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, text) from None
        return replace(request, body=body) if body else request

    def _head(self, most_in_line: int, most_in_fields: int) -> bytes:
        if self._received.startswith(TLS_HANDSHAKE):
            raise Refused(HTTPStatus.BAD_REQUEST, "This address is served by http, not by https")
        searched = 0
        while not (end := _END.search(self._received, searched)):
            searched = max(0, len(self._received) - 3)
            self._check_length(self._received, most_in_line, most_in_fields)
            if not self._receive():
                raise Refused(HTTPStatus.BAD_REQUEST, "The request ends in its middle")
        head = self._received[: end.start()]
        self._check_length(head, most_in_line, most_in_fields)
        self._received = self._received[end.end() :]
        return head

    @staticmethod
    def _check_length(head: bytes, most_in_line: int, most_in_fields: int) -> None:
        line = head.find(b"\n")
        if (len(head) if line < 0 else line) > most_in_line:
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, f"A request line may have {most_in_line} bytes at most")
        if line >= 0 and len(head) - line > most_in_fields:
            text = f"The header fields may have {most_in_fields} bytes at most"
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)

    def _body(self, request: Request, most: int) -> bytes:
        lengths = set(request.headers.get("content-length", ()))
        if "transfer-encoding" in request.headers:
            if lengths:
                raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding contradict each other")
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "A body has to be sent with Content-Length")
        if not lengths:
            return b""
        length = lengths.pop()
        # isdecimal() alone takes the digits of every script
        if lengths or not (length.isascii() and length.isdecimal()):
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length has to be one number")
        if len(length) > 15 or int(length) > most:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body may have {most} bytes at most")
        missing = int(length) - len(self._received)
        if missing > 0 and request.header("expect").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._received) < int(length):
            if not self._receive():
                raise Refused(HTTPStatus.BAD_REQUEST, "The body ends in its middle")
        body, self._received = self._received[: int(length)], self._received[int(length) :]
        return body

    def _receive(self) -> bool:
        """Whether something more came, before the deadline; else TimeoutError, or False when nothing will."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        data = self._connection.recv(_CHUNK)
        self._received += data
        return bool(data)
