"""Writer: the thread that writes clips. It alone touches the folder, so a disk that hangs holds up nothing else."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pi_cam_daemon.clips.names import TIMELAPSE
from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.recording.clip import Clip
from pi_cam_daemon.recording.days import Days
from pi_cam_daemon.recording.picture import Picture
from pi_cam_daemon.recording.shelf import NoRoomError, Shelf
from pi_cam_daemon.system.logs import LogThrottle

log = logging.getLogger(__name__)

_WRITE_SECONDS = 1.0  # a picture waits so long, and is written with those that came meanwhile
_MOST_WAITING_BYTES = 24 << 20  # of pictures that wait for the disk; more are lost
_MOST_CLUSTER_BYTES = 4 << 20
_HANGS_SECONDS = 10.0
_RETRY_SECONDS = 5.0  # after an error of the folder
_TOLD_SECONDS = 600.0  # the same problem is logged once in this time


@dataclass(frozen=True)
class Progress:
    """The state of the writer. *clip* is the open file, or "". There are *clips* files of *bytes*, the open one too.

    *problem* says why pictures are not recorded, and is "" if all is well. *lost* pictures were not recorded. *writes*
    says whether some of a clip are being written, or wait for it. *day* is the open film of the time-lapse, or "".
    """

    clip: str = ""
    clips: int = 0
    bytes: int = 0
    lost: int = 0
    problem: str = ""
    writes: bool = False
    day: str = ""


class Writer:
    """Writes the pictures of `put` to *shelf*, in clips of *longest_seconds* at most, and *days_kept* of time-lapse.

    *make_folder*: the folder is the recorder's own, and is made if it is missing. Another one may be a disk that is not
    there, and the pictures would fill the card below it. *changed* is called when `progress` may have.
    """

    def __init__(
        self,
        shelf: Shelf,
        longest_seconds: float,
        make_folder: bool,
        changed: Callable[[], None] = lambda: None,
        days_kept: int = 1,
    ) -> None:
        self._shelf = shelf
        self._days = Days(shelf, days_kept)
        self._longest = longest_seconds
        self._make_folder = make_folder
        self._tell = changed
        self._changed = threading.Condition(threading.Lock())  # for those down to _for_clip
        self._waiting: deque[tuple[Picture, str] | None] = deque()  # None: the clip ends there
        self._waiting_bytes = self._lost = 0
        self._hurry = False  # what waits is written at once
        self._closing = False
        self._for_clip = True  # what waits or is written has to do with a clip, or nobody has looked yet
        self._busy_since: float | None = None
        # of the thread alone
        self._clip: Clip | None = None
        self._reason = ""
        self._cluster: list[Picture] = []  # of the clip, and not written yet
        self._problem = ""
        self._retry_at = 0.0
        self._told = LogThrottle(_TOLD_SECONDS, 8)
        self._published = Progress()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    # -- from any thread

    def start(self) -> None:
        self._thread.start()

    def put(self, picture: Picture, reason: str) -> None:
        """Record *picture*. It is lost if too many wait."""
        with self._changed:
            if self._waiting_bytes + len(picture.jpeg) > _MOST_WAITING_BYTES:
                self._lost += 1
                return
            self._waiting.append((picture, reason))
            self._for_clip = self._for_clip or reason != TIMELAPSE
            self._waiting_bytes += len(picture.jpeg)
            if len(self._waiting) == 1:
                self._changed.notify()

    def end(self) -> None:
        """Complete the clip with the pictures that wait."""
        with self._changed:
            self._waiting.append(None)
            self._hurry = self._for_clip = True
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Complete the clip and end the thread; wait up to *seconds* for it."""
        self._closing = True
        self.end()
        self._thread.join(seconds)

    def progress(self, now: float) -> Progress:
        """Return the state. A disk that hangs is a problem, too."""
        since = self._busy_since
        writes = bool(self._published.clip or self._for_clip)
        known = replace(self._published, lost=self._lost, writes=writes)
        if since is not None and now - since > _HANGS_SECONDS:
            return replace(known, problem=f"{self._shelf.folder} does not answer")
        return known

    # -- the thread

    def _run(self) -> None:
        self._tried(self._look)
        closing = False
        while not closing:
            name = self._clip.name if self._clip else ""
            there = self._shelf.clips, self._shelf.bytes
            self._published = Progress(name, *there, problem=self._problem, day=self._days.name)
            taken, closing = self._wait()
            for one in taken:
                resting = time.monotonic() < self._retry_at
                if one is None:
                    self._tried(self._complete)
                elif one[1] == TIMELAPSE:
                    if resting or not self._tried(partial(self._add_to_day, one[0]), self._days.leave):
                        self._lose(1)
                elif (resting and self._clip is None) or not self._tried(partial(self._add, *one)):
                    self._lose(1)
            self._tried(self._flush)
        self._tried(self._days.close, self._days.leave)

    def _wait(self) -> tuple[list[tuple[Picture, str] | None], bool]:
        """Wait for pictures of a second, or for the end of a clip. Return them, and whether the thread ends."""
        with self._changed:
            self._busy_since = None
            self._for_clip = any(one is None or one[1] != TIMELAPSE for one in self._waiting)
            self._tell()
            self._changed.wait_for(lambda: self._waiting)
            if oldest := self._waiting[0]:
                left = oldest[0].arrived + _WRITE_SECONDS - time.monotonic()
                self._changed.wait_for(lambda: self._hurry, max(0.0, left))
            taken = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes, self._hurry = 0, False
            self._busy_since = time.monotonic()
            return taken, self._closing

    def _look(self) -> None:
        if self._make_folder:
            self._shelf.folder.mkdir(parents=True, exist_ok=True)
        self._shelf.look()

    def _add(self, picture: Picture, reason: str) -> None:
        """Add *picture* to the clip, or to a new one."""
        if self._cluster and _is_full(self._cluster, picture):
            self._flush()
        if self._clip and not self._clip.continues(picture, self._longest):
            self._complete()
        if self._clip is None:
            self._look()
            self._begin(picture, reason)
        else:
            self._clip.add(picture)
        self._cluster.append(picture)

    def _begin(self, picture: Picture, reason: str) -> None:
        self._shelf.make_room(len(picture.jpeg))
        self._shelf.when_full(partial(self._open, picture, reason))

    def _open(self, picture: Picture, reason: str) -> None:
        self._clip, self._reason = Clip(self._shelf.folder, picture, reason), reason
        self._shelf.open.add(self._clip.name)
        self._shelf.grown(self._clip.name, self._clip.size)

    def _flush(self) -> None:
        """Write what is not written yet."""
        if not self._cluster or self._clip is None:
            return
        need = sum(len(picture.jpeg) for picture in self._cluster)
        if self._clip.is_gone:  # somebody removed it: the rest has another one
            self._leave()
            self._look()
            self._begin(self._cluster[0], self._reason)
            self._clip.add(self._cluster[-1])
        try:
            self._shelf.make_room(need)
        except NoRoomError:  # all that is there is this clip: it may go once it is complete
            if not self._clip.is_begun:
                raise
            cluster, self._cluster = self._cluster, []
            self._complete()
            self._begin(cluster[0], self._reason)
            self._cluster = cluster
            self._clip.add(cluster[-1])
            self._shelf.make_room(need)
        self._shelf.when_full(partial(self._clip.write, self._cluster))
        self._shelf.grown(self._clip.name, self._clip.size)
        self._cluster = []
        self._recover()

    def _complete(self) -> None:
        """Complete the clip, if there is one."""
        self._flush()
        if self._clip:
            self._shelf.when_full(self._clip.close)
            self._shelf.grown(self._clip.name, self._clip.size)
            self._shelf.open.discard(self._clip.name)
            self._clip = None

    def _add_to_day(self, picture: Picture) -> None:
        """Add *picture* to the time-lapse."""
        if not self._days.is_open:
            self._look()
        self._days.add(picture)
        self._recover()

    def _recover(self) -> None:
        if self._problem:
            log.info("recording again")
            self._problem = ""

    def _tried(self, act: Callable[[], None], give_up: Callable[[], None] | None = None) -> bool:
        """Call *act*. If it fails, say why, *give_up* the clip and what is not written of it, and return False."""
        self._busy_since = time.monotonic()
        try:
            act()
        except OSError as error:
            self._fail(f"{error.filename or self._shelf.folder}: {error.strerror}", give_up or self._give_up)
        except (NoRoomError, JpegError) as error:
            self._fail(str(error), give_up or self._give_up)
        else:
            return True
        return False

    def _fail(self, problem: str, give_up: Callable[[], None]) -> None:
        now = time.monotonic()
        if self._told.due(problem, now):
            log.error("nothing is recorded: %s", problem)
        self._problem, self._retry_at = problem, now + _RETRY_SECONDS
        give_up()

    def _give_up(self) -> None:
        self._lose(len(self._cluster))
        self._cluster = []
        clip = self._clip
        self._leave()
        if clip and not clip.is_begun:
            with contextlib.suppress(OSError):
                self._shelf.remove(clip.name)

    def _leave(self) -> None:
        """Leave the clip as it is, if there is one."""
        if self._clip:
            clip, self._clip = self._clip, None
            self._shelf.open.discard(clip.name)
            clip.leave()

    def _lose(self, pictures: int) -> None:
        with self._changed:
            self._lost += pictures


def _is_full(cluster: list[Picture], picture: Picture) -> bool:
    """Return whether *picture* belongs to the next cluster."""
    late = picture.taken_us - cluster[0].taken_us >= 1e6 * _WRITE_SECONDS
    return late or sum(len(one.jpeg) for one in cluster) >= _MOST_CLUSTER_BYTES
