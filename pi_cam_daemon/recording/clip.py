"""Clip: one file that is being written. What has been written survives a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.local_time import local_time
from pi_cam_daemon.recording import matroska
from pi_cam_daemon.recording.matroska import End
from pi_cam_daemon.recording.picture import Picture
from pi_cam_daemon.recording.shelf import SUFFIX

_MODE = 0o640
_MOST_OF_A_SECOND = 100  # clips whose names begin with the same second
_JUMP_SECONDS = 5.0  # between the camera's clock and the time that has passed


class Clip:
    """A new file in *folder*, whose name has the local time of its *first* picture and *reason*.

    All methods raise OSError. Only `close` makes a complete clip; what `leave` leaves plays, too.
    """

    def __init__(self, folder: Path, first: Picture, reason: str) -> None:
        self._dimensions = jpeg.size(first.jpeg)
        self._first = self._last = first
        self._clusters: list[tuple[int, int]] = []
        stem = f"{time.strftime('%Y-%m-%d_%H-%M-%S', local_time(first.taken_us // 1_000_000))}_{reason}"
        self.name, self._fd = _created(folder, stem)
        self.size = 0
        try:
            opening = self._opening()
            self._segment = matroska.segment_begin(opening)
            self._append(opening)
            _sync(folder)
        except BaseException:
            self.leave()
            (folder / self.name).unlink(missing_ok=True)
            raise

    @property
    def is_begun(self) -> bool:
        """Return whether there are pictures in the file."""
        return bool(self._clusters)

    def continues(self, picture: Picture, longest_seconds: float) -> bool:
        """Return whether *picture* belongs to this clip: of the same size, soon enough, and after the one before.

        A clock that was set begins another clip, with the right time.
        """
        since = (picture.taken_us - self._last.taken_us) / 1e6
        jumped = abs(since - (picture.arrived - self._last.arrived)) > _JUMP_SECONDS
        long = picture.taken_us - self._first.taken_us >= longest_seconds * 1e6
        return since > 0 and not jumped and not long and jpeg.size(picture.jpeg) == self._dimensions

    def add(self, picture: Picture) -> None:
        """Note that *picture* is the newest one of the clip."""
        self._last = picture

    def write(self, pictures: Sequence[Picture]) -> None:
        """Write *pictures*, of less than half a minute, to the disk."""
        times = [round((picture.taken_us - self._first.taken_us) / 1000) for picture in pictures]
        blocks = list(zip(times, (picture.jpeg for picture in pictures), strict=True))
        at = self.size
        self._append(matroska.cluster(times[0], blocks))
        self._clusters.append((times[0], at))

    def close(self) -> None:
        """Complete the clip: its index, its duration and its size."""
        at = self.size
        self._append(matroska.cues(self._clusters, self._segment))
        duration = round((self._last.taken_us - self._first.taken_us) / 1000)
        os.pwrite(self._fd, self._opening(End(duration, at, self.size)), 0)
        os.fdatasync(self._fd)
        self.leave()

    def leave(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _opening(self, end: End | None = None) -> bytes:
        return matroska.opening(*self._dimensions, self._first.taken_us, end)

    def _append(self, data: bytes) -> None:
        written, view = 0, memoryview(data)
        try:
            while written < len(data):
                written += os.pwrite(self._fd, view[written:], self.size + written)
            os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):  # half a cluster would be in the way of the next one
                os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)


def _created(folder: Path, stem: str) -> tuple[str, int]:
    """Return name and descriptor of a new file; a number tells clips apart that begin in the same second."""
    for number in range(1, _MOST_OF_A_SECOND):
        name = f"{stem}{f'-{number}' if number > 1 else ''}{SUFFIX}"
        with contextlib.suppress(FileExistsError):
            return name, os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    raise OSError(errno.EEXIST, "too many clips of the same second", str(folder / stem))


def _sync(folder: Path) -> None:
    """Write the entry of a new file to the disk; some file systems of networks cannot, and need not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
