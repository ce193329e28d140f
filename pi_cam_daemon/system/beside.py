"""Beside: what a process beside the daemon tells of itself. It writes a record, and the daemon reports it.

Of each kind there is one process: two that work on the same files would be in each other's way.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pi_cam_daemon.system import files, systemd
from pi_cam_daemon.system.systemd import Notifier

log = logging.getLogger(__name__)

_MOST_BYTES = 16_000


class Record(Protocol):
    """A dataclass. *pid* is the process that it tells of; *detail* says as a sentence how it goes."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def pid(self) -> int: ...

    @property
    def detail(self) -> str: ...


def runtime(unit: str, folder: Path) -> Path:
    """Return the runtime directory of *unit* for the same camera as this process's unit; *folder* without systemd."""
    own = systemd.runtime_directory()
    if own is None:
        return folder
    _, at, instance = own.name.partition("@")
    return own.with_name(f"{unit}{at}{instance}")


def lock(path: Path) -> Sequence[int] | None:
    """Return the descriptor that locks the file at *path*, none if nothing can be written there.

    Return None if another process has the lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return []
    return [descriptor]


class Place:
    """The place of the record of *unit*: the file *name* in its runtime directory. The record is a dataclass *kind*."""

    def __init__(self, unit: str, name: str, kind: type[Record]) -> None:
        self._unit = unit
        self._name = name
        self._kind = kind

    def file(self, folder: Path) -> Path:
        return runtime(self._unit, folder) / self._name

    def write(self, record: Record, folder: Path) -> None:
        """Keep *record*. Raises OSError, which names the file."""
        file, data = self.file(folder), json.dumps(asdict(record)).encode()
        new = file.with_suffix(".new")
        try:
            new.write_bytes(data)  # not synced: it is of this boot, and in memory under systemd
            new.replace(file)
        except OSError as error:
            new.unlink(missing_ok=True)
            error.filename = str(file)
            if not file.exists():
                raise
            with file.open("r+b") as old:  # a full disk has room for it in the old one's place
                old.write(data)
                old.truncate()

    def report(self, folder: Path) -> dict[str, object] | None:
        """Return the record for /state; None if its process does not run."""
        try:
            record = self._kind(**json.loads(files.read(self.file(folder), _MOST_BYTES)))
            os.kill(record.pid, 0)
        except (OSError, ValueError, TypeError, OverflowError):
            return None
        return {name: value for name, value in asdict(record).items() if name != "pid"}


class Teller:
    """Tells systemd how it goes, and the daemon at *place*; *folder* is the state directory of both."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._notifier = Notifier()
        self._told: Record | None = None

    def tell(self, record: Record) -> None:
        """Tell *record*, if it is not what was told last. The first one also says that the process is ready."""
        if record == self._told:
            return
        if self._told is None:
            self._notifier.ready(record.detail)
        self._told = record
        self._notifier.status(record.detail)
        try:
            self._place.write(record, self._folder)
        except OSError as error:
            log.warning("%s: %s", error.filename, error.strerror)

    def nothing_to_do(self, why: str) -> None:
        """Say *why* the process ends at once. systemd takes it for ready: the end would be a failure else."""
        log.info("%s", why)
        self._notifier.ready(why)

    def stop(self) -> None:
        """Tell systemd that the process is about to end."""
        self._notifier.stopping()

    def end(self) -> None:
        """Tell the daemon that the process ends."""
        self._place.file(self._folder).unlink(missing_ok=True)
