"""The command `snapshot`: take one picture from the camera, without the daemon."""

from __future__ import annotations

import argparse
import select
import subprocess
import time

from pi_cam_daemon.commands.output import save
from pi_cam_daemon.config import loading, saved
from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.core.health import deadlines
from pi_cam_daemon.core.spawn import start_camera
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.protocol import Kind

# exposure and white balance of a sensor settle in about this time
_SETTLE_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


def run(options: argparse.Namespace) -> int:
    """Take one picture, write it to a file and return the exit status."""
    config = loading.load(options.config, options.settings, saved=saved.both_files())
    return save(options.out, lambda: take(config))


def take(config: Config) -> bytes:
    """Return a JPEG from the configured camera after it has settled. Raises SourceError if none comes in time."""
    try:
        process, link = start_camera(config.camera, config.log.level, changed=lambda: None)
    except OSError as error:
        raise SourceError(f"The camera process cannot be started: {error}", Cause.CRASHED) from error
    link.tell(Kind.LIVE)
    seconds = deadlines(config.source, link.pace, started_at=0.0).restart_at
    deadline = time.monotonic() + seconds
    newest = None
    try:
        while (now := time.monotonic()) < deadline:
            select.select([link], [], [], deadline - now)
            frame = link.read()
            if frame is None:
                continue
            if newest is None:
                deadline = min(deadline, time.monotonic() + _SETTLE_SECONDS)
            else:
                newest.free()
            newest = frame
    except EOFError:
        if newest:
            return bytes(newest.jpeg)
        invalid = f"sent an invalid message: {link.protocol_error}" if link.protocol_error else "died"
        raise link.error or SourceError(f"The camera process {invalid}", Cause.CRASHED) from None
    finally:
        link.tell(Kind.STOP)
        try:
            process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        link.close()
    if newest is None:
        raise SourceError(f"The camera gave no picture within {seconds:g} s", Cause.STALLED)
    return bytes(newest.jpeg)
