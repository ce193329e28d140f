"""Timelapse: the thread that asks for a picture whenever one is due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pi_cam_daemon.clips.names import TIMELAPSE
from pi_cam_daemon.config.schema import TimelapseConfig
from pi_cam_daemon.recording.asking import RefusedError, ask
from pi_cam_daemon.recording.feed import FeedError
from pi_cam_daemon.recording.picture import Picture
from pi_cam_daemon.recording.schedule import Schedule, Ticker
from pi_cam_daemon.recording.writer import Writer
from pi_cam_daemon.system import machine

log = logging.getLogger(__name__)

_TURN_SECONDS = 0.4  # after a jump of the clock the next picture is so late, at most
_CLOCK_SECONDS = 300.0  # a clock that is not set at boot has so long
_SNAPSHOT_SECONDS, _STILL_SECONDS = 20.0, 90.0  # the daemon answers earlier
_NEWEST, _FRESH = "/snapshot", "/snapshot?max_age_ms=400"
_REFUSALS = 3  # of stills, one after the other: then there are snapshots
_STILL_AGAIN_SECONDS = 3600.0
# A camera that sleeps is woken before: so long at first, and then as it needs, and some seconds for its exposure
_LEAD_SECONDS, _SETTLE_SECONDS, _LONGEST_LEAD = 10.0, 3.0, 40.0


class Timelapse:
    """Asks the daemon at *path* for pictures, and gives them to *writer*. *sleeps*: the camera runs on demand.

    *problem* says why the last picture is missing, or "". *missed* counts those. *changed* is called when one changes.
    *synced* returns whether the clock of this machine is set, None if nobody knows.
    """

    def __init__(
        self,
        path: Path,
        config: TimelapseConfig,
        sleeps: bool,
        writer: Writer,
        changed: Callable[[], None],
        synced: Callable[[], bool | None] = machine.clock_synced,
    ) -> None:
        self.problem = ""
        self._path = path
        self.every = config.every_seconds
        self._sleeps = sleeps
        self._writer = writer
        self._changed = changed
        self._synced = synced
        self._ticker = Ticker(Schedule(config.every_seconds, config.start, config.end))
        self._refused = 0
        self._stills_refused = 0  # one after the other
        self._stills_from = 0.0 if config.picture == "still" else float("inf")
        self._lead = _LEAD_SECONDS
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timelapse", daemon=True)

    @property
    def missed(self) -> int:
        return self._ticker.missed + self._refused

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float) -> None:
        """End the thread; wait up to *seconds* for it."""
        self._closing.set()
        self._thread.join(seconds)

    # -- the thread

    def _run(self) -> None:
        self._wait_for_clock()
        while not self._closing.is_set():
            self._turn()
            self._closing.wait(min(_TURN_SECONDS, self._ticker.wait(time.time())))

    def _wait_for_clock(self) -> None:
        """Wait until the clock is set. Nobody may set it where there is no network, so this has an end."""
        until = time.monotonic() + _CLOCK_SECONDS
        while self._synced() is False and not self._closing.is_set():
            if time.monotonic() > until:
                log.warning("The clock of this machine is not set; the time-lapse begins with what it shows")
                break
            self._tell("The time-lapse waits for the clock of this machine, which is not set yet")
            self._closing.wait(1.0)
        self._tell("")

    def _turn(self) -> None:
        """Take a picture if one is due, and wake the camera if that is soon."""
        before = self._ticker.missed
        due = self._ticker.due(time.time(), time.monotonic())
        if late := self._ticker.missed - before:
            log.warning("%d pictures of the time-lapse were missed: this machine, or the camera, was too slow", late)
            self._changed()
        if due is not None:
            self._take(due)
        elif self._sleeps and self._is_soon():
            self._wake()

    def _is_soon(self) -> bool:
        """Return whether a camera that sleeps has to be woken for the next picture."""
        return self._ticker.wait(time.time()) <= min(self._lead, self.every / 2)

    def _take(self, due: int) -> None:
        try:
            picture = self._picture(due)
        except FeedError as error:
            self._refused += 1
            self._tell(f"The time-lapse lacks a picture: {error}")
            self._changed()
        else:
            self._writer.put(picture, TIMELAPSE)
            self._tell("")

    def _picture(self, due: int) -> Picture:
        """Return the picture of *due*. Raises FeedError."""
        if time.monotonic() >= self._stills_from:
            try:
                still, _ = ask(self._path, "/still.jpg", _STILL_SECONDS)
            except RefusedError as error:
                self._stills_refused += 1
                if self._stills_refused < _REFUSALS:
                    raise
                log.warning("The time-lapse has snapshots for an hour, because there is no still: %s", error)
                self._stills_from = time.monotonic() + _STILL_AGAIN_SECONDS
            else:
                self._stills_refused = 0
                return Picture(still, due * 1_000_000, time.monotonic())
        snapshot, taken = ask(self._path, _FRESH, _SNAPSHOT_SECONDS)
        # the newest picture is a bit older than its moment, which may begin a day
        return Picture(snapshot, max(due * 1_000_000, int(taken.replace(".", ""))), time.monotonic())

    def _wake(self) -> None:
        """Wake a camera that sleeps, or keep it awake, and learn how long before a picture that has to be."""
        begun = time.monotonic()
        try:
            ask(self._path, _NEWEST, _SNAPSHOT_SECONDS)
        except FeedError:  # told when the picture is missing
            return
        self._lead = min(max(self._lead, time.monotonic() - begun + _SETTLE_SECONDS), _LONGEST_LEAD)

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            if problem:
                log.warning("%s", problem)
            else:
                log.info("the time-lapse goes on")
            self.problem = problem
            self._changed()
