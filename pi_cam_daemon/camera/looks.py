"""Makes grey pictures in a thread of its own, of the pictures that a source offers, and looks at them for motion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pi_cam_daemon.camera.behind import Behind
from pi_cam_daemon.camera.behind import Picture as Offered
from pi_cam_daemon.camera.source import Sink
from pi_cam_daemon.errors import JpegError

if TYPE_CHECKING:
    from pi_cam_daemon.imaging.grey import Pixels
    from pi_cam_daemon.imaging.orientation import Orientation

_THINNED = 320  # pixels of the longer side, of which a look averages


class Looks(Behind[tuple[Offered, tuple[float, ...]]]):
    """Has *sink* look at the pictures that are due. *grey* makes a small grey upright one of what is offered.

    The facts beside each picture are the camera's exposure, gain and the like, as far as it tells them.
    """

    name = "looks"

    def __init__(self, sink: Sink, grey: Callable[[Offered], Pixels]) -> None:
        super().__init__()
        self._sink = sink
        self._grey = grey

    def claim(self) -> bool:
        return self._sink.claim_look()

    def work(self, picture: tuple[Offered, tuple[float, ...]], captured_ns: int) -> None:
        pixels, facts = picture
        with contextlib.suppress(JpegError):  # the picture is bad for all; who delivers it reports that
            self._sink.look(self._grey(pixels), captured_ns, facts)


def looks_at_jpegs(sink: Sink) -> Looks[bytes]:
    """Return what looks at upright JPEGs."""
    decoders: list[Callable[[bytes], Pixels]] = []

    def grey(picture: bytes) -> Pixels:
        if not decoders:
            from pi_cam_daemon.imaging.grey import OfJpeg

            decoders.append(OfJpeg())
        return decoders[0](picture)

    return Looks(sink, grey)


def looks_at_pixels(sink: Sink, orientation: Orientation) -> Looks[Pixels]:
    """Return what looks at pixels (height x width, or x 3 for BGR) that *orientation* would turn."""

    def grey(pixels: Pixels) -> Pixels:
        from pi_cam_daemon.imaging.grey import of_pixels

        return of_pixels(pixels, orientation)

    return Looks(sink, grey)


def thinned(pixels: Pixels) -> Pixels:
    """Return a copy of every second, third, … row and column of *pixels*: as many as a look needs."""
    step = max(1, max(pixels.shape[:2]) // _THINNED)
    return pixels[::step, ::step].copy()
