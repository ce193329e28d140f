"""The picture that viewers see while one is overdue, in its size and language."""

from __future__ import annotations

import time

from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.health import CameraStatus
from pi_cam_daemon.core.latest import LatestFrame
from pi_cam_daemon.core.no_signal import Cards
from pi_cam_daemon.imaging.shrink import size as small_size
from pi_cam_daemon.ipc import parts
from pi_cam_daemon.system import machine


def language(config: Config) -> str:
    """Return the language of the no-signal pictures: "en" or "ko"."""
    if config.page.language != "auto":
        return config.page.language
    return "ko" if machine.language() == "ko" else "en"


def card(cards: Cards, status: CameraStatus, latest: LatestFrame, size: tuple[int, int]) -> Frame | None:
    """Return what viewers see while no picture comes; None while no picture is overdue.

    It is also None while there is nothing of the right size, if nobody has seen a picture yet.
    """
    picture = cards.get(status.cause, size)  # drawn meanwhile, for when it is needed
    if status.live or (latest.frame is None and cards.awaited(size)):
        return None
    now_us = int(time.time() * 1e6)
    return Frame(parts.part(picture, now_us, no_picture=status.cause), time.monotonic_ns(), now_us)


def size(latest: LatestFrame, big: LatestFrame, config: Config) -> tuple[int, int]:
    """Return the size of the last picture in *latest*, or else the one expected: recorders do not like a change.

    *big* has the pictures of full size. Any other is small.
    """
    if found := latest.size():
        return found
    wanted = big.size() or (config.video.width, config.video.height)
    return wanted if latest is big else small_size(*wanted, config.small.width)
