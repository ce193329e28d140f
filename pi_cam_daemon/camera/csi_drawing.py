"""Draws masks and overlay into the pictures of a CSI camera before anything else gets them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pi_cam_daemon.camera.csi_small import FORMAT, STREAM, YUV
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.imaging.orientation import Orientation

if TYPE_CHECKING:
    from pi_cam_daemon.imaging.masks import Masks
    from pi_cam_daemon.imaging.overlay import Overlay

log = logging.getLogger(__name__)


class Drawing:
    """Blackens *masks* in both streams of picamera2, and draws *overlay* into the big one.

    *orientation* returns what is left to turn after the camera. If masks cannot be drawn, nothing is encoded any more.
    """

    def __init__(self, orientation: Callable[[], Orientation], masks: Masks | None, overlay: Overlay | None) -> None:
        self._orientation = orientation
        self._masks = masks
        self._overlay = overlay
        self._error: SourceError | None = None

    def begin(self, picam2: Any) -> None:
        """Draw into every picture of *picam2*, those of full size too, before it is encoded."""
        if self._masks or self._overlay:
            picam2.pre_callback = self._draw

    def guard(self, encoder: Any) -> Any:
        """Return *encoder*, which then encodes only pictures with their masks."""
        encode = encoder.encode

        def guarded(stream: str, request: Any) -> None:
            if self._error is None:
                encode(stream, request)

        if self._masks:
            encoder.encode = guarded
        return encoder

    def check(self) -> None:
        """Raise SourceError if masks could not be drawn."""
        if self._error:
            raise self._error

    def _draw(self, request: Any) -> None:
        orientation = self._orientation()
        if self._masks and self._error is None:
            masks = orientation.masks_before(self._masks)
            try:
                for stream in ("main", STREAM):
                    if request.config[stream]:
                        _blacken(request, stream, masks)
            except Exception as error:  # in picamera2's thread, which would end
                log.exception("the masks cannot be drawn")
                message = f"The masks cannot be drawn, so there are no pictures: {error}"
                self._error = SourceError(message, Cause.BROKEN, setting="video.masks", error=str(error))
        if self._overlay:
            from picamera2 import MappedArray

            width, height = request.config["main"]["size"]
            with MappedArray(request, "main") as mapped:
                self._overlay.draw(orientation.view(mapped.array[:height, :width]))


def _blacken(request: Any, stream: str, masks: Masks) -> None:
    import numpy as np
    from picamera2 import MappedArray

    config = request.config[stream]
    if config["format"] != FORMAT:
        raise ValueError(f"the camera gives {config['format']}, not {FORMAT}")
    with MappedArray(request, stream) as mapped:
        planes = YUV(mapped.array, *config["size"]).planes
        if not all(np.may_share_memory(plane, mapped.array) for plane in planes):
            raise ValueError("the colours cannot be written")
        masks.blacken_planes(*planes)
