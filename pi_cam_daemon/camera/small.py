"""Makes small pictures in a thread of its own, of the pictures that a source offers."""

from __future__ import annotations

from collections.abc import Callable

from pi_cam_daemon.camera.behind import Behind, Picture
from pi_cam_daemon.camera.source import Sink
from pi_cam_daemon.errors import JpegError


class SmallPictures(Behind[Picture]):
    """Makes small pictures for *sink* with *shrink*, while they are wanted. *shrink* returns a JPEG.

    To make one takes a Zero 2 W tens of milliseconds.
    """

    name = "small"

    def __init__(self, sink: Sink, shrink: Callable[[Picture], bytes]) -> None:
        super().__init__()
        self._sink = sink
        self._shrink = shrink

    def claim(self) -> bool:
        return self._sink.claim_small()

    def work(self, picture: Picture, captured_ns: int) -> None:
        try:
            self._sink.small(self._shrink(picture), captured_ns)
        except JpegError as error:
            self._sink.unusable(f"it cannot be made small: {error}")
