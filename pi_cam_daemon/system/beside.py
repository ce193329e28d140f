"""Beside: what a process beside the daemon tells of itself. It writes a record, and the daemon reports it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pi_cam_daemon.system import files, systemd

_MOST_BYTES = 16_000


class Record(Protocol):
    """A dataclass. *pid* is the process that it tells of."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def pid(self) -> int: ...


def runtime(unit: str, folder: Path) -> Path:
    """Return the runtime directory of *unit* for the same camera as this process's unit; *folder* without systemd."""
    own = systemd.runtime_directory()
    if own is None:
        return folder
    _, at, instance = own.name.partition("@")
    return own.with_name(f"{unit}{at}{instance}")


def write(path: Path, record: Record) -> None:
    """Keep *record* at *path*. Raises OSError."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(record)))  # not synced: it is of this boot, and in memory under systemd
    new.replace(path)


def report(path: Path, kind: type[Record]) -> dict[str, object] | None:
    """Return the record of *kind* at *path* for /state; None if its process does not run."""
    try:
        record = kind(**json.loads(files.read(path, _MOST_BYTES)))
        os.kill(record.pid, 0)
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    return {name: value for name, value in asdict(record).items() if name != "pid"}
