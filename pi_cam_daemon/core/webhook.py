"""Webhook: POSTs the begin and the end of each event to an address. Imported only if there is one.

A thread of its own sends one after the other. It tries again what failed, for about a minute and a half. Nothing else
waits for it: the oldest events are dropped when too many wait.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from pi_cam_daemon import __version__
from pi_cam_daemon.core.events import MOST_EVENTS, Event, Events
from pi_cam_daemon.system.redaction import host_only

log = logging.getLogger(__name__)

SIGNATURE = "X-Hub-Signature-256"
_SECONDS = 10.0  # for the connection, and for each pause of the receiver
_LONGEST_SECONDS = 30.0  # for all of the answer
_PAUSES = (1.0, 4.0, 16.0, 60.0)  # seconds before the second attempt, the third, …
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)  # and those from 500 on: worth another attempt


@dataclass(frozen=True)
class Target:
    """The address of the receiver, and the secret that signs what it gets; b"" for no signature."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)


class Webhook:
    """Sends *events* to the target of `configure`. *name* returns the camera's name.

    *counted* has the events that were delivered, failed after all attempts, and were dropped because too many waited.
    """

    def __init__(self, events: Events, name: Callable[[], str]) -> None:
        self.counted = Counter(dict.fromkeys(("delivered", "failed", "dropped"), 0))
        self._name = name
        self._changed = threading.Condition()  # guards all below
        self._target: Target | None = None
        self._waiting: deque[dict[str, Any]] = deque()  # tables: without the pictures
        self._going_on: set[int] = set()  # events whose end is still to be sent
        self._failing = False
        events.listen(self._take)
        threading.Thread(target=self._run, name="webhook", daemon=True).start()

    def configure(self, target: Target | None) -> None:
        """Send to *target* from now on, also what failed before; None ends it."""
        with self._changed:
            self._target = target
            if target is None:
                self._waiting.clear()
            self._changed.notify()

    def _take(self, event: Event) -> None:
        """Take the begin and the end of an event; other changes, such as its picture, are not sent."""
        with self._changed:
            begins, ends = event.changed == event.number, event.ended_at is not None
            if not begins and not (ends and event.number in self._going_on):
                return
            (self._going_on.discard if ends else self._going_on.add)(event.number)
            if self._target is None:
                return
            if len(self._waiting) == MOST_EVENTS:
                self._waiting.popleft()
                self.counted["dropped"] += 1
            self._waiting.append({"camera": self._name(), **event.table()})
            self._changed.notify()

    # -- the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                table = self._waiting.popleft()
            self._send(json.dumps(table).encode())

    def _send(self, body: bytes) -> None:
        for pause in (*_PAUSES, None):
            with self._changed:
                target = self._target
            if target is None:
                return
            problem, again = _attempt(target, body)
            if not problem:
                self._told(True, "%s takes events again", host_only(target.url))
                self.counted["delivered"] += 1
                return
            if not again or pause is None:
                self._told(False, "%s did not take an event: %s", host_only(target.url), problem)
                self.counted["failed"] += 1
                return
            with self._changed:
                self._changed.wait_for(lambda before=target: self._target != before, pause)  # type: ignore[misc]

    def _told(self, works: bool, text: str, *values: str) -> None:
        """Log the first failure, and the first success after it."""
        if works is self._failing:
            log.log(logging.INFO if works else logging.WARNING, text, *values)
        self._failing = not works


def _attempt(target: Target, body: bytes) -> tuple[str, bool]:
    """Return "" if *target* took *body*, else why not and whether another attempt makes sense."""
    try:
        status = _post(target, body)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__, True
    if 200 <= status < 300:
        return "", False
    about = "; redirects are not followed" if 300 <= status < 400 else ""
    return f"it answered {status}{about}", status >= 500 or status in _LATER


def _post(target: Target, body: bytes) -> int:
    """Return the status of the answer to *body*. Raises OSError and HTTPException."""
    url = urlsplit(target.url)
    assert url.hostname
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=_SECONDS)
    if url.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=_SECONDS, context=context)
    fields = {"Content-Type": "application/json", "User-Agent": f"pi-cam-daemon/{__version__}", "Connection": "close"}
    if target.secret:
        fields[SIGNATURE] = f"sha256={hmac.digest(target.secret, body, 'sha256').hex()}"
    with contextlib.closing(connection):
        connection.connect()
        until = time.monotonic() + _LONGEST_SECONDS
        timer = threading.Timer(_LONGEST_SECONDS, _cut, (connection.sock,))
        timer.daemon = True
        timer.start()
        try:
            connection.request("POST", (url.path or "/") + (f"?{url.query}" if url.query else ""), body, fields)
            return connection.getresponse().status  # what else it says is not read: it may never end
        except (OSError, http.client.HTTPException):
            if time.monotonic() < until:
                raise
            raise TimeoutError(f"its answer takes longer than {_LONGEST_SECONDS:g} s") from None
        finally:
            timer.cancel()


def _cut(sock: socket.socket) -> None:
    """End the connection *sock*, which another thread reads from."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS would say goodbye first
