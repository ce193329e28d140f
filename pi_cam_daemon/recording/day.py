"""Day: the film of one day's time-lapse. It goes on where it ended, after a power cut too."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from pi_cam_daemon.clips import matroska
from pi_cam_daemon.recording.film import Film, hold
from pi_cam_daemon.recording.picture import Picture

FRAME_MS = 40  # from one picture to the next in the film
_PER_ENTRY = 25  # pictures for each entry of the index
_CLUSTER_HEAD = 12
_MOST_BEHIND = 16 << 20  # bytes behind the last whole picture: one that a power cut left, or the index


class Day(Film):
    """A film that shows 25 pictures a second. Each is a cluster of its own, and has the time in a comment."""

    def __init__(self, path: Path, fd: int, dimensions: tuple[int, int], began_us: int) -> None:
        super().__init__(path, fd, dimensions, began_us)
        self.dimensions = dimensions
        self.pictures = 0

    def add(self, picture: Picture) -> None:
        """Write *picture* to the disk."""
        comment = picture.local("%Y-%m-%dT%H:%M:%S%z").encode()
        jpeg = b"".join((picture.jpeg[:2], b"\xff\xfe", struct.pack(">H", len(comment) + 2), comment, picture.jpeg[2:]))
        self.put([(self.pictures * FRAME_MS, jpeg)], indexed=self.pictures % _PER_ENTRY == 0)
        self.pictures += 1

    def close(self) -> None:
        """Complete the film."""
        self.finish(self.pictures * FRAME_MS)

    def go_on(self) -> bool:
        """Find the end of the last whole picture in a file that was left, and cut off what is behind it.

        Return False, and leave the file as it is, if there are more pictures: it is damaged in its middle. The opening
        is written first: a power cut between the two leaves an index that nobody looks for.
        """
        whole = os.fstat(self._fd).st_size
        self.size = len(self._opening())
        while (end := self._end_of_cluster()) and end <= whole:
            if self.pictures % _PER_ENTRY == 0:
                self._clusters.append((self.pictures * FRAME_MS, self.size))
            self.pictures += 1
            self.size = end
        behind = whole - self.size
        if behind > _MOST_BEHIND or matroska.CLUSTER_BEGIN in os.pread(self._fd, behind, self.size + 1):
            return False
        os.pwrite(self._fd, self._opening(), 0)
        os.fdatasync(self._fd)
        os.ftruncate(self._fd, self.size)
        return True

    def _end_of_cluster(self) -> int:
        """Return the end of the cluster at the end of what is known; 0 if there is none."""
        head = os.pread(self._fd, _CLUSTER_HEAD, self.size)
        size = matroska.cluster_size(head)
        return self.size + len(head) + size if size else 0


def reopened(path: Path, dimensions: tuple[int, int]) -> Day | None:
    """Return the film at *path*, to go on with it. Raises OSError.

    Return None if it has other *dimensions*, is not of this release or damaged, or another recorder writes it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # a few bytes of each picture are read
        began_us = matroska.began_us(os.pread(fd, 512, 0), *dimensions)
        if began_us is not None and hold(fd):
            day = Day(path, fd, dimensions, began_us)
            if day.go_on():
                return day
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None
