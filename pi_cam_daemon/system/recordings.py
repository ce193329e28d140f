"""Record of the recorder's work: the recorder writes it, the daemon reports it. Also the places where the two meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pi_cam_daemon.system import beside

_DAEMON, _RECORDER = "pi-cam-daemon", "pi-cam-daemon-record"  # units of the same camera


@dataclass(frozen=True)
class Record:
    """The work of the recorder *pid*. *detail* is a sentence.

    *state* is "waiting", "recording", or "failing" if something is not recorded that should be. *clip* is the name of
    the file that is being written, or "". There are *clips* files of *bytes* in all, those of the time-lapse
    too. *lost* pictures were not recorded. *timelapse* is the film of this day, or "". *missed* pictures were due, and
    not taken.
    """

    pid: int
    state: str
    detail: str
    clip: str = ""
    clips: int = 0
    bytes: int = 0
    lost: int = 0
    timelapse: str = ""
    missed: int = 0


def socket_file(folder: Path) -> Path:
    """Return the daemon's local socket: in its runtime directory, or in *folder* if systemd started neither."""
    return beside.runtime(_DAEMON, folder) / "local.sock"


PLACE = beside.Place(_RECORDER, "recordings.json", Record)
