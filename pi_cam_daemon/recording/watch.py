"""Watch: the thread that reads the daemon, and hands on the pictures that are to be recorded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pi_cam_daemon.config.schema import RecordingsConfig
from pi_cam_daemon.recording.feed import Feed, FeedError
from pi_cam_daemon.recording.moments import LONGEST_LAG_SECONDS, Moments
from pi_cam_daemon.recording.picture import Picture, PreRoll
from pi_cam_daemon.recording.writer import Writer

log = logging.getLogger(__name__)

_TURN_SECONDS = 1.0  # a clip ends so late, at most, when no picture comes
_RETRY_SECONDS = 1.0
_NO_PICTURE = "The daemon has given no picture yet"


class Watch:
    """Reads the daemon at *path*, and connects again whenever it is lost.

    *problem* says why there is no daemon, *recording* whether pictures are recorded; *changed* is called when one has
    changed.
    """

    def __init__(self, path: Path, config: RecordingsConfig, writer: Writer, changed: Callable[[], None]) -> None:
        self.problem = _NO_PICTURE
        self.recording = False
        self._changed = changed
        self._path = path
        self._writer = writer
        self._before = config.before_seconds
        self._moments = Moments(config.after_seconds)
        self._pre_roll = PreRoll(config.before_seconds + LONGEST_LAG_SECONDS)
        self._newest: Picture | None = None
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Record now, whatever happens. Any thread may call it."""
        self._asked.set()

    def close(self, seconds: float) -> None:
        """End the thread; wait up to *seconds* for it."""
        self._closing.set()
        self._thread.join(seconds)

    # -- the thread

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow()
            except FeedError as error:
                self._lose(str(error))
            except OSError as error:
                self._lose(f"The daemon does not answer: {error.strerror or error}")
            self._closing.wait(_RETRY_SECONDS)

    def _lose(self, problem: str) -> None:
        """End the clip: the daemon is lost. It may be back with new masks, so older pictures are in no later clip."""
        if problem != self.problem:
            log.warning("%s", problem)
            self.problem = problem
            self._changed()
        self._moments.forget()
        self._pre_roll.take(0.0)
        self._newest = None
        self._settle()

    def _follow(self) -> None:
        """Read the daemon until it is lost or the thread ends. Raises FeedError and OSError."""
        feed = Feed(self._path)
        try:
            while not self._closing.is_set():
                for news in feed.read(_TURN_SECONDS):
                    if isinstance(news, Picture):
                        self._take(news)
                    else:
                        self._moments.event(news, self._newest, time.monotonic())
                if self._asked.is_set():
                    self._asked.clear()
                    self._moments.ask(time.monotonic())
                self._settle()
        finally:
            feed.close()

    def _take(self, picture: Picture) -> None:
        if not self._newest:
            log.info("the daemon gives pictures")
            self.problem = ""
            self._changed()
        self._newest = picture
        if self.recording and (reason := self._moments.reason(picture.arrived)):
            self._writer.put(picture, reason)
        else:
            self._pre_roll.add(picture)

    def _settle(self) -> None:
        """Begin a clip with the pictures before, or end it."""
        reason = self._moments.reason(time.monotonic())
        if reason and not self.recording:
            for picture in self._pre_roll.take(self._before + self._moments.lag):
                self._writer.put(picture, reason)
        elif self.recording and not reason:
            self._writer.end()
        if self.recording != bool(reason):
            self.recording = bool(reason)
            self._changed()
