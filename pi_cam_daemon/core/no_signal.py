"""The pictures that viewers see where there is none."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from pathlib import Path

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.system import children

log = logging.getLogger(__name__)

_DRAWING_SECONDS = 30.0  # OpenCV alone takes seconds to import on a Zero
# what hindered it, a busy or exhausted machine, may pass
_RETRY_SECONDS = 60.0
# A camera that changes its size again and again must not fill the memory with cards.
_MOST_CARDS = 24

_Key = tuple[Cause, tuple[int, int]]


class Cards:
    """Cards by cause and size, each drawn once by a short-lived process.

    Until it is there, the last drawn one of this size serves, for a stream that changes its size loses pictures at
    recorders (ffmpeg builds its filters anew and drops what they held); else a packaged one.

    Drawing takes OpenCV, which the server never loads, and the camera process may be dead.
    """

    def __init__(self) -> None:
        self._packaged = Path(__file__).with_name("no-signal.jpg").read_bytes()
        self._lock = threading.Lock()
        self._cards: dict[_Key, tuple[bytes, float]] = {}  # and until when each holds
        self._last_drawn = (0, 0), self._packaged  # its size and itself
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def get(self, cause: Cause, size: tuple[int, int]) -> bytes:
        """The JPEG to show for *cause*, at *size* (width, height) as soon as it is drawn. Never waits."""
        key = (cause, size)
        with self._lock:
            last_size, last = self._last_drawn
            card, holds_until = self._cards.get(key, (last if last_size == size else self._packaged, 0.0))
            if time.monotonic() >= holds_until and self._thread is None and not self._closed:
                thread = threading.Thread(target=self._draw, args=key, name="card", daemon=True)
                try:
                    thread.start()
                    self._thread = thread
                except RuntimeError as error:
                    self._put_off(key, str(error))
        return card

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
        card, failure = b"", ""
        try:
            argv = [*children.command("imaging.no_signal"), cause, *map(str, size)]
            with subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **children.options()
            ) as process:
                with self._lock:
                    self._process = process
                    if self._closed:
                        process.kill()
                try:
                    card, _ = process.communicate(timeout=_DRAWING_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    failure = f"it took over {_DRAWING_SECONDS:g} s"
            if process.returncode != 0:
                failure = failure or f"exit status {process.returncode}"
        except OSError as error:
            failure = error.strerror or str(error)
        with self._lock:
            self._process = self._thread = None
            if failure:
                self._put_off((cause, size), failure)
            else:
                self._keep((cause, size), card, float("inf"))
                self._last_drawn = size, card

    def _put_off(self, key: _Key, why: str) -> None:
        if not self._closed:
            log.warning("the card for '%s' cannot be drawn now, the packaged one serves: %s", key[0], why)
        self._keep(key, self._packaged, time.monotonic() + _RETRY_SECONDS)

    def _keep(self, key: _Key, card: bytes, holds_until: float) -> None:
        if len(self._cards) >= _MOST_CARDS:
            self._cards.pop(next(iter(self._cards)))
        self._cards[key] = card, holds_until
