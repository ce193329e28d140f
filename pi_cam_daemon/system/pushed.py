"""Record of what was pushed to another machine: the pusher writes it, the daemon reports it."""

from __future__ import annotations

from dataclasses import dataclass

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


PLACE = beside.Place(_PUSHER, "push.json", Record)
