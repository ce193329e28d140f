"""Make clips with the recorder's own writer, of pictures that are all different."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pi_cam_daemon
from pi_cam_daemon.recording.clip import Clip
from pi_cam_daemon.recording.picture import Picture

JPEG = (Path(pi_cam_daemon.__file__).parent / "core/no-signal.jpg").read_bytes()
BEGAN_US = 1_700_000_000_250_000
PER_CLUSTER = 10


def picture(number: int, every_ms: int = 100, began_us: int = BEGAN_US, jpeg: bytes = JPEG) -> Picture:
    """Return a picture that says its *number* in a comment, of those that were taken *every_ms*."""
    text = f"{number:08}".encode()
    marked = jpeg[:2] + b"\xff\xfe" + (2 + len(text)).to_bytes(2) + text + jpeg[2:]
    return Picture(marked, began_us + 1000 * every_ms * number, every_ms * number / 1000)


def write(folder: Path, pictures: Sequence[Picture], reason: str = "motion", closed: bool = True) -> Path:
    """Write a clip of *pictures* into *folder*; one that is not *closed* is what a power cut leaves."""
    clip = Clip(folder, pictures[0], reason)
    for at in range(0, len(pictures), PER_CLUSTER):
        clip.add(pictures[at : at + PER_CLUSTER][-1])
        clip.write(pictures[at : at + PER_CLUSTER])
    if closed:
        clip.close()
    else:
        clip.leave()
    return folder / clip.name


def film(folder: Path, count: int = 50, every_ms: int = 100, later_seconds: int = 0, **more: object) -> Path:
    """Write a clip of *count* pictures that begins *later_seconds* after the others."""
    began_us = BEGAN_US + 1_000_000 * later_seconds
    return write(folder, [picture(n, every_ms, began_us) for n in range(count)], **more)  # type: ignore[arg-type]


def times(count: int = 50, every_ms: int = 100) -> list[float]:
    """Return the Unix times of the pictures of such a clip."""
    return [(BEGAN_US + 1000 * every_ms * n) / 1e6 for n in range(count)]
