"""Downloads of the command `update`: from a file or an address, with a limit of size and of time."""

from __future__ import annotations

import errno
import http
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

_NETWORK_SECONDS = 60.0
# A server may take so long for its first byte, and then has to be at least this fast on average.
_SLOWEST_BYTES_PER_SECOND = 10_000
_MOST_ETAG = 200


class UpdateError(Exception):
    """An update is not possible. The message tells the user what is wrong and what to do."""


class CutError(UpdateError):
    """The connection ended too early. What arrived is kept."""


def fetch(source: str, target: Path, most: int, seconds: float = _NETWORK_SECONDS) -> None:
    """Copy the file or URL *source* to *target*. Raises UpdateError.

    At most *most* bytes are taken, and *seconds* without a byte are waited for.
    """
    _finish(_Copying(source, target, most, seconds), seconds)


def resume(url: str, target: Path, most: int, seconds: float = _NETWORK_SECONDS) -> None:
    """Copy *url* to *target*, which may have its first bytes already. Raises UpdateError.

    A server that cannot send a part sends all anew. A CutError leaves what arrived; another call goes on there.
    """
    have = target.stat().st_size if target.exists() else 0
    copying = _Copying(url, target, most, seconds, {"Range": f"bytes={have}-"} if have else {}, have)
    try:
        _finish(copying, seconds)
    except CutError:
        raise
    except UpdateError:
        if copying.begun:  # too large, or the card is full
            target.unlink(missing_ok=True)
        raise


def fetch_changed(url: str, target: Path, most: int, etag: str, seconds: float = _NETWORK_SECONDS) -> str | None:
    """Copy *url* to *target* unless the server still has the file with *etag*. Raises UpdateError.

    Return the file's own ETag, "" where the server gives none; None if nothing was copied. An empty *etag* asks for the
    file in any case.
    """
    copying = _Copying(url, target, most, seconds, {"If-None-Match": etag} if etag else {})
    _finish(copying, seconds)
    return None if copying.unchanged else copying.etag


def _finish(copying: _Copying, seconds: float) -> None:
    """Run *copying* to its end. A thread does it: name lookups, headers that drip, and named pipes have no deadline."""
    begun = time.monotonic()
    copying.start()
    while copying.is_alive():
        copying.join(0.1)
        if time.monotonic() - begun > seconds + copying.size / _SLOWEST_BYTES_PER_SECOND:
            copying.stop()
            slowest = f"{_SLOWEST_BYTES_PER_SECOND // 1000} kB a second"
            raise CutError(f"{copying.source}: sends under {slowest}; try again later")
    if copying.error:
        raise copying.error


class _Copying(threading.Thread):
    """Copies *source* to *target*, from the byte *start* on if the server does so.

    *size* bytes are copied, *begun* says that they come; *error* is the reason for the end. *unchanged*: the server
    says so, and *target* is as it was. *etag* is that of what was copied.
    """

    def __init__(
        self,
        source: str,
        target: Path,
        most: int,
        seconds: float,
        headers: dict[str, str] | None = None,
        start: int = 0,
    ) -> None:
        super().__init__(name="fetch", daemon=True)
        self.source = source
        self._target = target
        self._most = most
        self._seconds = seconds
        self._headers = headers or {}
        self._start = start
        self._writing = threading.Lock()
        self._stopping = False
        self.size = 0
        self.begun = False
        self.unchanged = False
        self.etag = ""
        self.error: UpdateError | None = None

    def stop(self) -> None:
        """Let nothing more be written to the target. The thread may end much later."""
        with self._writing:
            self._stopping = True

    def run(self) -> None:
        try:
            with self._opened() as source, self._target.open(self._mode(source), buffering=0) as target:
                self.begun = True
                while data := source.read1(1 << 20):
                    self.size += len(data)
                    if target.tell() + len(data) > self._most:
                        raise ValueError(f"larger than {self._most // 1000} kB, so it is no update")
                    with self._writing:
                        if self._stopping:
                            return
                        target.write(data)
                # what an HTTP answer still lacks of its Content-Length; read1 takes its early end for the end
                if getattr(source, "length", None):
                    raise HTTPException("the connection ended too early; try again")
                self.etag = _etag(source)
        except (OSError, ValueError, HTTPException) as error:
            self._end(error)

    def _opened(self) -> Any:
        if "://" not in self.source:
            return Path(self.source).open("rb")
        request = urllib.request.Request(self.source, headers=self._headers)
        return urllib.request.urlopen(request, timeout=self._seconds)

    def _mode(self, source: Any) -> str:
        """Return how to open the target: *source* may be the rest of the file, from *start* on, or all of it."""
        if getattr(source, "status", None) != http.HTTPStatus.PARTIAL_CONTENT:
            return "wb"
        if source.headers.get("Content-Range", "").startswith(f"bytes {self._start}-"):
            return "ab"
        self._target.unlink(missing_ok=True)
        self.begun = True
        raise HTTPException("the server sends another part of the file than the one it was asked for")

    def _end(self, error: Exception) -> None:
        """Note why copying ended, unless that is no failure."""
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            self.unchanged = error.code == http.HTTPStatus.NOT_MODIFIED
            if self.unchanged:
                return
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                if error.headers.get("Content-Range") == f"bytes */{self._start}":
                    return  # it has arrived whole before
                self._target.unlink(missing_ok=True)
                self.begun = True
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        cut = self.begun and not full and not isinstance(error, ValueError)
        reason = error.reason if isinstance(error, urllib.error.URLError) else getattr(error, "strerror", "") or error
        self.error = (CutError if cut else UpdateError)(f"{self.source}: {reason}")


def _etag(source: Any) -> str:
    """Return the ETag of an HTTP answer; "" if it has none that is worth keeping."""
    etag = str(source.headers.get("ETag", "")) if hasattr(source, "headers") else ""
    return etag if len(etag) <= _MOST_ETAG and etag.isascii() and etag.isprintable() else ""
