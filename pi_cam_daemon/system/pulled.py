"""The record of the last check for an update: `pi-cam-daemon update` writes it, the daemon reports it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from pi_cam_daemon.system import files

FOLDER = Path("var/lib/pi-cam-daemon-update")  # seen from the root
_NAME = "state.json"
_MOST_BYTES = 64_000
_MOST_DETAIL = 500
# after many failures the next run but these; with the timer's six hours it is a week
_MOST_LEFT_OUT = 27


class Result(StrEnum):
    """The result of a check."""

    CURRENT = "current"  # this machine has what is offered
    INSTALLED = "installed"
    REPLACED = "replaced"  # what was offered was installed, and another release serves since then
    REFUSED = "refused"  # an older version, or one that is not for this machine
    UNREACHABLE = "unreachable"
    FAILED = "failed"

    @property
    def ok(self) -> bool:
        """Return whether this machine has what is offered."""
        return self in (Result.CURRENT, Result.INSTALLED)


@dataclass(frozen=True)
class Record:
    """A check for an update at *url*, at the Unix time *checked_at*.

    *signature* is the hash of the signature that was offered, *etag* that of its file. *outcome* is what became of that
    release on this machine: a Result, "" before anything did. After *failures* in a row, *left_out* runs of the timer
    still do nothing.
    """

    url: str = ""
    checked_at: float = 0.0
    result: str = ""
    detail: str = ""
    offered: str = ""
    etag: str = ""
    signature: str = ""
    outcome: str = ""
    failures: int = 0
    left_out: int = 0

    def checked(self, result: Result, detail: str, now: float) -> Record:
        """Return the record of a check that ended with *result* at *now*, a Unix time."""
        detail = "".join(c if c.isprintable() else " " for c in detail)[:_MOST_DETAIL]
        failures = 0 if result in (Result.CURRENT, Result.INSTALLED, Result.REPLACED) else self.failures + 1
        left_out = min(2 ** max(failures - 1, 0) - 1, _MOST_LEFT_OUT)
        return replace(
            self, result=result, detail=detail, checked_at=round(now, 3), failures=failures, left_out=left_out
        )


def read(root: Path = Path("/")) -> Record:
    """Return the record below *root*; an empty one if there is none, or none that this release understands."""
    empty = Record()
    try:
        table = json.loads(files.read(root / FOLDER / _NAME, _MOST_BYTES))
        known = {name: table[name] for name, value in asdict(empty).items() if type(table.get(name)) is type(value)}
        Result(table["result"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return empty
    return Record(**known)


def write(record: Record, root: Path = Path("/")) -> None:
    """Keep *record* below *root*. Raises OSError."""
    files.replace(root / FOLDER / _NAME, json.dumps(asdict(record)).encode() + b"\n")


def remove(root: Path = Path("/")) -> None:
    """Remove the record below *root*. Raises OSError."""
    files.remove(root / FOLDER / _NAME)


def report(root: Path = Path("/")) -> dict[str, object] | None:
    """Return the last check for /state; None if there was none."""
    record = read(root)
    names = ("checked_at", "result", "detail", "offered")
    return {name: getattr(record, name) for name in names} if record.result else None
