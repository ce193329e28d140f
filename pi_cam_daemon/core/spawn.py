"""Start a camera process, and name the way in which it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence

from pi_cam_daemon.config.schema import CameraConfig
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.ipc import slots
from pi_cam_daemon.ipc.protocol import LONGEST_OTHER, Kind
from pi_cam_daemon.ipc.slots import SlotReader
from pi_cam_daemon.system import children

CAMERA_ARGV = children.command("camera")


def start_camera(
    config: CameraConfig,
    log_level: str,
    changed: Callable[[], None],
    argv: Sequence[str] = CAMERA_ARGV,
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
) -> tuple[subprocess.Popen[bytes], CameraLink]:
    """Start a camera process; return it and the server's end of its socket. Raises OSError."""
    configuration = config.to_json()
    if len(configuration) > LONGEST_OTHER:
        raise OSError(f"its settings take {len(configuration)} bytes; at most {LONGEST_OTHER} are accepted")
    with contextlib.ExitStack() as stack:
        memory = slots.create()
        stack.callback(os.close, memory)
        ours, theirs = socket.socketpair()
        stack.enter_context(theirs)
        inherited = (theirs.fileno(), memory)
        try:
            reader = SlotReader(memory)
            numbers = map(str, inherited)
            options = children.options()
            process = popen([*argv, *numbers, log_level], pass_fds=inherited, stdin=subprocess.DEVNULL, **options)
        except OSError:
            ours.close()
            raise
    link = CameraLink(ours, reader, config.video.framerate, changed)
    link.masks = config.video.masks
    link.tell(Kind.CONFIGURE, configuration)
    return process, link


def manner(returncode: int) -> str:
    """Return how a process ended, in words: its exit status or the name of the signal."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
