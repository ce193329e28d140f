"""Playing of a clip: its pictures as parts of a stream, each when it is due."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pi_cam_daemon.clips.reading import Clip, ClipError, Place
from pi_cam_daemon.ipc import parts
from pi_cam_daemon.server.audience import REPEAT_SECONDS
from pi_cam_daemon.server.recordings import Disk

_FAST_SECONDS = 1 / 30  # between two pictures of a clip that is played faster than it was


def play(clip: Clip, first: Place, speed: float, disk: Disk) -> Iterator[bytes]:
    """Yield the parts of *clip* from *first* on, at *speed* times the pace at which the pictures were taken.

    A picture that is due while a client takes the one before is left out, but for the last one. While no picture is
    due, the last one comes again. It begins with the first one that is whole. Raises Refused when the *disk* does not
    answer.
    """
    least = _FAST_SECONDS if speed > 1 else 0.0
    begun = not_before = time.monotonic()
    places = clip.places(first.ms)
    part, left = b"", None
    while place := _next(places, disk):
        if not part:  # those before it are damaged, and nobody waits for nothing
            begun, first = time.monotonic(), place
        due = begun + (place.ms - first.ms) / 1000 / speed
        if due < not_before:
            left = place
            continue
        while (pause := due - time.monotonic()) > 0:
            time.sleep(min(pause, REPEAT_SECONDS))
            if pause > REPEAT_SECONDS:
                yield part
        part, left = _part(clip, place, disk) or part, None
        if part:
            yield part
            not_before = max(due + least, time.monotonic())
    if left and (part := _part(clip, left, disk)):
        yield part


def _next(places: Iterator[Place], disk: Disk) -> Place | None:
    with disk():
        return next(places, None)


def _part(clip: Clip, place: Place, disk: Disk) -> bytes:
    """Return the picture at *place* as a part; nothing for a damaged one."""
    try:
        with disk():
            return parts.part(clip.jpeg(place), clip.began_us + 1000 * place.ms)
    except ClipError:
        return b""
