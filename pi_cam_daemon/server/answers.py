"""Parts of answers: header bytes, the Content-Security-Policy and the files of the page."""

from __future__ import annotations

import email.utils
import functools
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

_WEB = Path(__file__).with_name("web")
NO_STORE = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0", "Pragma": "no-cache"}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
_REFUSED = re.compile(r"q=0(\.0*)?", re.IGNORECASE)  # a weight in Accept-Encoding
_FILES = sorted(file for file in _WEB.iterdir() if file.suffix in _TYPES)
PAGE_FILES = tuple(file.name for file in _FILES if file.suffix != ".html")


def head(status: int, headers: Mapping[str, str], version: str = "HTTP/1.1", keep_alive: bool = False) -> bytes:
    """Return the status line and the header fields of an answer, including the empty line at their end."""
    lines = [
        f"{version} {int(status)} {HTTPStatus(status).phrase}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1")


def entity_tag(*parts: bytes) -> str:
    """Return a strong ETag for an answer that consists of *parts*."""
    return f'"{hashlib.sha256(b"".join(parts)).hexdigest()[:32]}"'


def is_unchanged(tag: str, wanted: Sequence[str]) -> bool:
    """Return whether *tag* is among the values of If-None-Match (RFC 9110, section 13.1.2)."""
    tags = {entry.strip().removeprefix("W/") for entry in ",".join(wanted).split(",")}
    return tag in tags or "*" in tags


def takes_gzip(accepted: Sequence[str]) -> bool:
    """Return whether a client takes gzip, by its values of Accept-Encoding (RFC 9110, section 12.5.3)."""
    for entry in ",".join(accepted).split(","):
        coding, _, weight = entry.partition(";")
        if coding.strip().lower() == "gzip":
            return not _REFUSED.fullmatch(weight.strip())
    return False


@functools.lru_cache(maxsize=64)
def compressed(content: bytes) -> bytes:
    """Return *content* by gzip; remember it, as the files of the page are sent again and again."""
    return gzip.compress(content, mtime=0)


def content_security_policy(frame_ancestors: Sequence[str], origins: Sequence[str]) -> str:
    """Return a Content-Security-Policy: the page may load only its own files, and images and JSON from *origins*.

    Only *frame_ancestors* may show it in a frame, where another site could steal clicks.
    """
    ancestors = " ".join(("'self'", *frame_ancestors))
    loads = "".join(f"; {directive} 'self' {' '.join(origins)}" for directive in ("img-src", "connect-src") if origins)
    rest = f"base-uri 'self'; form-action 'none'; object-src 'none'; frame-ancestors {ancestors}"
    return f"default-src 'self'{loads}; {rest}"


def language(setting: str) -> dict[str, str]:
    """Return what to insert into a page, by its place, for the *setting* page.language; nothing for "auto"."""
    return {} if setting == "auto" else {'<html lang="en"': f' data-language="{setting}"'}


def home(target: str) -> str:
    """Return the relative address of the camera's page for a browser that asked for *target*.

    A proxy may serve the camera below a path of its own, so an absolute one would lead to another page.
    """
    path = target.partition("?")[0]
    if not path.startswith("/"):  # absolute form, which proxies send
        path = path.partition("://")[2]
    return "../" * (path.count("/") - 1) or "./"


def read_pages() -> dict[str, tuple[str, bytes]]:
    """Return the files of web/ by name, each as (content type, content)."""
    return {file.name: (_TYPES[file.suffix], file.read_bytes()) for file in _FILES}
