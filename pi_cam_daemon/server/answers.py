"""The bytes of answers: header lines, the page's files, and what browsers may load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

NO_STORE = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0", "Pragma": "no-cache"}
PAGE_FILES = (
    "app.js", "controls.js", "live.js", "request.js", "text.js", "wall.js", "zoom.js", "style.css", "icon.svg",
)  # fmt: skip
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def head(status: int, headers: Mapping[str, str], version: str = "HTTP/1.1", keep_alive: bool = False) -> bytes:
    """Return the status line and the header fields of an answer, with the empty line that ends them."""
    lines = [
        f"{version} {int(status)} {HTTPStatus(status).phrase}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1")


def content_security_policy(frame_ancestors: Sequence[str], origins: Sequence[str]) -> str:
    """Let the page load only its own files, and pictures and states from *origins*.

    Other sites may not show it in a frame, where clicks could be stolen, but for *frame_ancestors*.
    """
    ancestors = " ".join(("'self'", *frame_ancestors))
    loads = "".join(f"; {what} 'self' {' '.join(origins)}" for what in ("img-src", "connect-src") if origins)
    rest = f"base-uri 'self'; form-action 'none'; object-src 'none'; frame-ancestors {ancestors}"
    return f"default-src 'self'{loads}; {rest}"


def read_pages() -> dict[str, tuple[str, bytes]]:
    """Return the page's files as (content type, content), by name."""
    web = Path(__file__).with_name("web")
    return {file.name: (_TYPES[file.suffix], file.read_bytes()) for file in web.iterdir()}
