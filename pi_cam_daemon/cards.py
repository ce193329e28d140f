"""The pictures that viewers see where there is none."""

from __future__ import annotations

import importlib.resources
import logging
import subprocess
import sys
import threading

from pi_cam_daemon.errors import Cause

log = logging.getLogger(__name__)

_DRAWING_SECONDS = 30.0  # OpenCV alone takes seconds to import on a Zero
# A camera that changes its size again and again must not fill the memory with cards.
_MOST_CARDS = 24

_Key = tuple[Cause, tuple[int, int]]


class Cards:
    """Cards by cause and size, each drawn once by a short-lived process; a packaged one serves until it is there.

    Drawing takes OpenCV, which the server never loads, and the camera process may be dead.
    """

    def __init__(self) -> None:
        self._packaged = importlib.resources.files("pi_cam_daemon").joinpath("no-signal.jpg").read_bytes()
        self._lock = threading.Lock()
        self._drawn: dict[_Key, bytes] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def get(self, cause: Cause, size: tuple[int, int]) -> bytes:
        """The JPEG to show for *cause*, at *size* (width, height) as soon as it is drawn. Never waits."""
        key = (cause, size)
        with self._lock:
            card = self._drawn.get(key)
            if card is None and not self._closed and self._thread is None:
                self._thread = threading.Thread(target=self._draw, args=key, name="card", daemon=True)
                self._thread.start()
        return card or self._packaged

    def close(self, timeout: float) -> None:
        """Leave no process behind."""
        with self._lock:
            self._closed = True
            thread, process = self._thread, self._process
        if process is not None:
            process.kill()
        if thread is not None:
            thread.join(timeout)

    def _draw(self, cause: Cause, size: tuple[int, int]) -> None:
        argv = [sys.executable, "-m", "pi_cam_daemon.card", cause, *map(str, size)]
        card = b""
        try:
            with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
                with self._lock:
                    self._process = process
                    if self._closed:
                        process.kill()
                try:
                    card, _ = process.communicate(timeout=_DRAWING_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
            drawn = process.returncode == 0
        except OSError as error:
            log.warning("no process can be started to draw a card: %s", error.strerror)
            drawn = False
        if not drawn and not self._closed:
            log.warning("the card for '%s' at %dx%d could not be drawn; the packaged one stays", cause, *size)
            card = self._packaged
        with self._lock:
            if len(self._drawn) >= _MOST_CARDS:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[cause, size] = card
            self._process = self._thread = None
