"""Record of what was pushed to another machine: the pusher writes it, the daemon reports it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pi_cam_daemon.system import beside

_PUSHER = "pi-cam-daemon-push"  # unit of the same camera as the daemon's


@dataclass(frozen=True)
class Record:
    """The work of the pusher *pid*. *detail* is a sentence.

    *state* is "waiting", "sending", or "failing" if the last attempt failed. *file* is the one that is being sent, or
    "". *queue* files are to be sent, that one too. *sent* were, since the pusher's start.
    """

    pid: int
    state: str
    detail: str
    file: str = ""
    queue: int = 0
    sent: int = 0


def _file(folder: Path) -> Path:
    return beside.runtime(_PUSHER, folder) / "push.json"


def write(record: Record, folder: Path) -> None:
    """Keep *record*. Raises OSError."""
    beside.write(_file(folder), record)


def remove(folder: Path) -> None:
    """Remove the record: the pusher ends."""
    _file(folder).unlink(missing_ok=True)


def report(folder: Path) -> dict[str, object] | None:
    """Return the record for /state; None if no pusher runs."""
    return beside.report(_file(folder), Record)
