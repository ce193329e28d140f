"""The no-signal pictures ("cards"), which viewers see while the camera gives none."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from pathlib import Path

from pi_cam_daemon.core.spawn import manner
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.system import children

log = logging.getLogger(__name__)

_DRAWING_SECONDS = 30.0  # OpenCV alone takes seconds to import on a Zero
_RETRY_SECONDS = 60.0  # after a failure, such as on a busy machine
# A viewer that has seen nothing yet waits so long for a card of the right size; Home Assistant hangs up after 10 s.
_FIRST_SECONDS = 6.0
_MOST_CARDS = 24  # a camera that keeps changing its size must not fill the memory

_ENGLISH = "en"
_NO_LETTERS = (
    'the "no signal" picture is English, because no font with Korean letters is installed: '
    "run sudo apt install fonts-nanum python3-pil, then reload pi-cam-daemon"
)

_Key = tuple[Cause, tuple[int, int], str]


class Cards:
    """Cards by cause, size and *language*, which is "en" or "ko".

    Each is drawn once by a short-lived process: the server itself loads neither OpenCV nor Pillow.

    Until a card is drawn, the last one of the same size is shown, or else the packaged one. A change of size would make
    recorders lose pictures: ffmpeg builds its filters anew and drops what they held.
    """

    def __init__(self, language: str = _ENGLISH) -> None:
        self._packaged = Path(__file__).with_name("no-signal.jpg").read_bytes()
        self._lock = threading.Lock()
        self._cards: dict[_Key, tuple[bytes, float]] = {}  # the JPEG, and until when it is valid
        self._last_drawn = jpeg.size(self._packaged), self._packaged  # size and JPEG
        self._begun_at = 0.0  # when the newest drawing began (CLOCK_MONOTONIC)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._language = language
        self._told: set[str] = set()  # why there are English cards in place of others

    def configure(self, language: str) -> None:
        """Show cards in *language* from now on. Those that had to be English are drawn anew."""
        with self._lock:
            self._language = language
            if self._told:
                self._told.clear()
                self._cards.clear()

    def get(self, cause: Cause, size: tuple[int, int]) -> bytes:
        """Return the JPEG for *cause*, in *size* (width, height) once it is drawn. Never waits."""
        with self._lock:
            key = (cause, size, self._language)
            last_size, last = self._last_drawn
            card, valid_until = self._cards.get(key, (last if last_size == size else self._packaged, 0.0))
            if time.monotonic() >= valid_until and self._thread is None and not self._closed:
                thread = threading.Thread(target=self._draw, args=key, name="card", daemon=True)
                try:
                    thread.start()
                    self._thread, self._begun_at = thread, time.monotonic()
                except RuntimeError as error:
                    self._put_off(key, str(error))
        return card

    def awaited(self, size: tuple[int, int]) -> bool:
        """Return whether a card is being drawn for a short time, and no card of *size* is there yet.

        OpenCV's FFmpeg keeps the size of the first picture for the whole connection, and shows parts of all others.
        """
        with self._lock:
            drawn = self._last_drawn[0] == size or any(key[1] == size for key in self._cards)
            return not drawn and self._thread is not None and time.monotonic() - self._begun_at < _FIRST_SECONDS

    def close(self, timeout: float) -> None:
        """Kill the drawing process, and wait for its thread for at most *timeout* seconds."""
        with self._lock:
            self._closed = True
            thread, process = self._thread, self._process
        if process is not None:
            process.kill()
        if thread is not None:
            thread.join(timeout)

    def _draw(self, cause: Cause, size: tuple[int, int], language: str) -> None:
        key = cause, size, language
        card, failure = b"", "the thread has a bug"
        try:
            card, failure = self._drawn(*key)
            if failure and language != _ENGLISH and not self._closed:  # perhaps due to a font
                self._tell(f'the "no signal" picture is English, because drawing the other one failed: {failure}')
                card, failure = self._drawn(cause, size, _ENGLISH)
        finally:  # after a bug, too: another thread tries again later
            with self._lock:
                self._process = self._thread = None
                if failure:
                    self._put_off(key, failure)
                else:
                    self._keep(key, card, float("inf"))
                    self._last_drawn = size, card

    def _drawn(self, cause: Cause, size: tuple[int, int], language: str) -> tuple[bytes, str]:
        """Return the card that a process draws, and why it failed, "" if it did not."""
        argv = [*children.command("imaging.no_signal"), cause, language, *map(str, size)]
        options = {**children.options(), "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        try:
            with subprocess.Popen(argv, **options) as process:
                with self._lock:
                    self._process = process
                    if self._closed:
                        process.kill()
                try:
                    card, _ = process.communicate(timeout=_DRAWING_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    return b"", f"it took over {_DRAWING_SECONDS:g} s"
        except OSError as error:
            return b"", error.strerror or str(error)
        if card and process.returncode == os.EX_UNAVAILABLE:
            self._tell(_NO_LETTERS)
            return card, ""
        return card, manner(process.returncode) if process.returncode else ""

    def _tell(self, warning: str) -> None:
        """Log *warning*, once until the next `configure`."""
        with self._lock:
            is_new = warning not in self._told and not self._closed
            self._told.add(warning)
        if is_new:
            log.warning("%s", warning)

    def _put_off(self, key: _Key, why: str) -> None:
        if not self._closed:
            log.warning("the picture for '%s' cannot be drawn now, the packaged one is shown: %s", key[0], why)
        self._keep(key, self._packaged, time.monotonic() + _RETRY_SECONDS)

    def _keep(self, key: _Key, card: bytes, valid_until: float) -> None:
        if key not in self._cards and len(self._cards) >= _MOST_CARDS:
            self._cards.pop(next(iter(self._cards)))
        self._cards[key] = card, valid_until
