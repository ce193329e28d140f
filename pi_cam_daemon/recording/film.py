"""Film: one Matroska file that is being written. What has been written survives a power cut."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from pi_cam_daemon.clips import matroska
from pi_cam_daemon.clips.matroska import End
from pi_cam_daemon.clips.names import SUFFIX

_MODE = 0o640
_MOST_OF_A_SECOND = 100  # films whose names begin with the same second


class Film:
    """The file at *path*, open as *fd*. Its first picture has *dimensions*, and was taken at *began_us*.

    All methods raise OSError. Only `finish` makes a complete film; what `leave` leaves plays, too.
    """

    def __init__(self, path: Path, fd: int, dimensions: tuple[int, int], began_us: int) -> None:
        self.name = path.name
        self.size = 0
        self._fd = fd
        self._dimensions, self._began_us = dimensions, began_us
        self._clusters: list[tuple[int, int]] = []  # those in the index: their times in ms, and where they are

    def begin(self, folder: Path) -> None:
        """Write the opening of a new film in *folder*. If that fails, the file is removed."""
        try:
            self._append(self._opening())
            _sync(folder)
        except BaseException:
            self.leave()
            (folder / self.name).unlink(missing_ok=True)
            raise

    @property
    def is_begun(self) -> bool:
        """Return whether there are pictures in the file."""
        return bool(self._clusters)

    @property
    def is_gone(self) -> bool:
        """Return whether somebody removed the file."""
        return os.fstat(self._fd).st_nlink == 0

    def put(self, blocks: Sequence[tuple[int, bytes]], indexed: bool = True) -> None:
        """Write JPEGs with their times in the film, in ms, to the disk. The first one is found by the index."""
        at = self.size
        self._append(matroska.cluster(blocks[0][0], blocks))
        if indexed:
            self._clusters.append((blocks[0][0], at))

    def finish(self, duration_ms: int) -> None:
        """Complete the film: its index, its duration and its size."""
        at = self.size
        self._append(matroska.cues(self._clusters, matroska.segment_begin(self._opening())))
        os.pwrite(self._fd, self._opening(End(duration_ms, at, self.size)), 0)
        os.fdatasync(self._fd)
        self.leave()

    def leave(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _opening(self, end: End | None = None) -> bytes:
        return matroska.opening(*self._dimensions, self._began_us, end)

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


def created(folder: Path, stem: str) -> tuple[Path, int]:
    """Return a new file in *folder*, and its descriptor. A number tells films apart that begin in the same second."""
    for number in range(1, _MOST_OF_A_SECOND):
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}{SUFFIX}"
        with contextlib.suppress(FileExistsError):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            hold(fd)
            return path, fd
    raise OSError(errno.EEXIST, "too many films of the same second", str(folder / stem))


def hold(fd: int) -> bool:
    """Hold the film *fd* until it is closed. Return False if another recorder writes it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some file systems of networks have no locks
        pass
    return True


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
