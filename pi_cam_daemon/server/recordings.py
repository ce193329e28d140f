"""Recordings: the folder of the clips. Its disk may hang, so only threads of requests touch it, and few."""

from __future__ import annotations

import contextlib
import errno
import heapq
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path

from pi_cam_daemon.clips import names
from pi_cam_daemon.clips.reading import Clip, ClipError
from pi_cam_daemon.config import saved
from pi_cam_daemon.server.limits import held
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.report import Observer
from pi_cam_daemon.system import recordings as records

log = logging.getLogger(__name__)

MOST_LISTED = 100  # clips in one answer
_MOST_THREADS = 4  # that may wait for the disk
_WAIT_SECONDS = 3.0
_HANGS = "The disk of the recordings does not answer; try again later"
_NO_CLIP = "There is no such recording\n\n/recordings lists those that there are"
_READ_ONLY = "The camera's service may not write in this folder; docs/recordings.md says how to allow it"

Disk = Callable[[], AbstractContextManager[None]]


class Recordings:
    """The clips in the folder that *observer* has in its configuration. Thread-safe."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._places = threading.BoundedSemaphore(_MOST_THREADS)

    @contextlib.contextmanager
    def disk(self) -> Iterator[None]:
        """Take a place of a thread that waits for the disk. Raises Refused if there is none, and for each OSError."""
        with held(self._places, _WAIT_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, _HANGS):
            try:
                yield
            except FileNotFoundError as error:
                raise Refused(HTTPStatus.NOT_FOUND, _NO_CLIP) from error
            except OSError as error:
                text = f"The recordings cannot be read: {error.strerror}"
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, text) from error

    @property
    def before_seconds(self) -> float:
        """Return how many seconds of a clip are from before its event."""
        return self._observer.config.recordings.before_seconds

    def table(self, before: str = "") -> dict[str, object]:
        """Return the answer of GET /recordings: the newest clips, or the newest of those older than the clip *before*.

        Raises Refused.
        """
        folder, written = self._folder(), self._written()
        limit = names.parse(before)
        with self.disk():
            try:
                found = list(_clips(folder))
            except FileNotFoundError as error:
                if self._observer.config.recordings.folder:
                    text = "The folder of the recordings is missing; is its disk mounted?"
                    raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, text) from error
                found = []
            older = ((age, name) for age, name in found if limit is None or age < limit)
            listed = heapq.nlargest(MOST_LISTED + 1, older)
            entries = [_entry(folder, name, age, name in written) for age, name in listed[:MOST_LISTED]]
        more = entries[-1]["name"] if len(listed) > MOST_LISTED else None
        return {"recordings": entries, "clips": len(found), "before": more}

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Open the clip *name* for reading. Raises Refused."""
        with self.disk():
            fd = _open(self._folder() / name)
        try:
            yield fd
        finally:
            os.close(fd)

    def clip(self, fd: int) -> Clip:
        """Return the clip in *fd*. Raises Refused if it is none."""
        with readable(), self.disk():
            return Clip(fd)

    def delete(self, name: str, client: str) -> None:
        """Delete the clip *name* for *client*. Raises Refused, also for the clip that is being written."""
        if name in self._written():
            raise Refused(HTTPStatus.CONFLICT, "This recording is being written; it can be deleted when it is complete")
        with self.disk():
            try:
                (self._folder() / name).unlink()
            except FileNotFoundError:
                raise
            except OSError as error:
                text = f"{name} cannot be deleted: {error.strerror}"
                if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                    text += f"\n\n{_READ_ONLY}"
                raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, text) from error
        log.info("%s deleted the recording %s", client, name)

    def _folder(self) -> Path:
        return saved.clips_folder(self._observer.config.recordings.folder)

    def _written(self) -> set[object]:
        """Return the names of the clips that are being written: that of an event, and the film of the day."""
        record = records.PLACE.report(saved.folder())
        return {record["clip"], record["timelapse"]} if record else set()


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Raise Refused for a file that is no clip, or has no picture."""
    try:
        yield
    except ClipError as error:
        raise Refused(HTTPStatus.NOT_FOUND, str(error)) from error


def _clips(folder: Path) -> Iterator[tuple[names.Name, str]]:
    """Yield age and name of each clip in *folder*."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if (age := names.parse(entry.name)) and entry.is_file(follow_symlinks=False):
                yield age, entry.name


def _open(path: Path) -> int:
    """Return a descriptor of the regular file *path*; FileNotFoundError for anything else in its place."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise FileNotFoundError(error.errno, "not a file", str(path)) from error
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise FileNotFoundError(errno.ENOENT, "not a file", str(path))


def _entry(folder: Path, name: str, age: names.Name, written: bool) -> dict[str, object]:
    """Return the clip *name* for the list. Of one that cannot be read, begin and length are None."""
    about: dict[str, object] = {
        "name": name, "began": None, "seconds": None, "bytes": 0, "reason": age.reason, "complete": False,
        "written": written, "file": f"recordings/{name}", "stream": f"recordings/{name}/stream",
        "picture": f"recordings/{name}.jpg",
    }  # fmt: skip
    with contextlib.suppress(OSError, ClipError):
        fd = _open(folder / name)
        try:
            about["bytes"] = os.fstat(fd).st_size
            clip = Clip(fd)
            about |= {"began": clip.began_us / 1e6, "seconds": clip.seconds(), "complete": clip.complete}
        finally:
            os.close(fd)
    return about
