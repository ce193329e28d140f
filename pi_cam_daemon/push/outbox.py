"""Outbox: the files of the folder that are to be sent, those that were, and those that may go."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from pi_cam_daemon.clips import listing, names
from pi_cam_daemon.clips.reading import Clip, ClipError
from pi_cam_daemon.push.memory import Memory

# Nobody writes to an incomplete file that is unchanged for so long: a power cut left it.
_LEFT_SECONDS = 600.0
_DATE = len("2026-11-29")


@dataclass(frozen=True)
class File:
    """A file that is not written any more. *complete* is false for one that a power cut left."""

    path: Path
    size: int
    complete: bool


class Outbox:
    """The recordings in *folder*, without those that *memory* says were sent.

    *files* are to be sent, oldest first; those that failed least come first.
    """

    def __init__(self, folder: Path, memory: Memory) -> None:
        self._folder = folder
        self._memory = memory
        self._unchanged: dict[str, tuple[int, float]] = {}  # sizes of incomplete files, and since when they have them
        self._complete: dict[str, int] = {}  # sizes of complete files, which are not read again
        self._failed: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self.files: list[File] = []
        self.sent: list[File] = []  # those that are still in the folder

    def look(self, now: float) -> None:
        """Read the folder at *now*, CLOCK_MONOTONIC. Raises OSError if it cannot be read."""
        self.files = []
        found = listing.clips(self._folder)
        self._sizes = {name: size for _, name, size in found}
        for known in (self._complete, self._unchanged, self._failed):
            for gone in known.keys() - self._sizes.keys():
                del known[gone]
        today = time.strftime("%Y-%m-%d")
        # the film of this day goes on, even if it was completed
        finished = [name for age, name, _ in found if age.reason != names.TIMELAPSE or age.began[:_DATE] != today]
        files = [file for name in finished if (file := self._file(name, self._sizes[name], now))]
        self.sent = [file for file in files if self._memory.has(file.path.name, file.size)]
        waiting = [file for file in files if not self._memory.has(file.path.name, file.size)]
        self.files = sorted(waiting, key=lambda file: self._failed.get(file.path.name, 0))

    def _file(self, name: str, size: int, now: float) -> File | None:
        """Return the file *name*; None if it is being written, is gone, or is no recording."""
        path = self._folder / name
        if self._complete.get(name) == size or _is_complete(path):
            self._complete[name] = size
            return File(path, size, True)
        before, since = self._unchanged.get(name, (-1, now))
        self._unchanged[name] = size, since if size == before else now
        left = size == before and now - since >= _LEFT_SECONDS
        return File(path, size, False) if left else None

    def succeeded(self, file: File) -> None:
        """Take note that *file* was sent. If that cannot be kept, which raises OSError, this process knows it."""
        self.files = [other for other in self.files if other.path != file.path]
        self.sent.append(file)
        self._failed.pop(file.path.name, None)
        self._memory.add(file.path.name, file.size, self._sizes)

    def failed(self, file: File) -> None:
        """Take note that *file* was not sent: others are tried before it."""
        self._failed[file.path.name] = self._failed.get(file.path.name, 0) + 1

    def remove_sent(self) -> None:
        """Remove the complete files that were sent. Raises OSError."""
        for file in self.sent:
            if file.complete:
                file.path.unlink(missing_ok=True)


def _is_complete(path: Path) -> bool:
    with contextlib.suppress(OSError, ClipError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            return Clip(fd).complete
        finally:
            os.close(fd)
    return False
