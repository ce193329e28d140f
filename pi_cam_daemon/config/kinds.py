"""The kinds of cameras: the values of `source.kind`, and the properties of each."""

from __future__ import annotations

from typing import NamedTuple


class SourceKind(NamedTuple):
    """Properties of a kind. *section*: attribute of CameraConfig with the controls. *controls*: prefix in TOML.

    *stop_seconds*: a camera that gives pictures may need so long to close.
    """

    has_driver: bool
    section: str = ""
    controls: str = ""
    stop_seconds: float = 1.0


KINDS = {
    "auto": SourceKind(has_driver=True),
    # picamera2 waits 0.8 s for its encoder, and the encoder's driver 2 s for its last buffers
    "csi": SourceKind(has_driver=True, section="controls", controls="controls", stop_seconds=4.0),
    "usb": SourceKind(has_driver=True, section="usb", controls="usb.controls"),
    "upstream": SourceKind(has_driver=False),
    "pattern": SourceKind(has_driver=False),
}


def of(kind: str) -> SourceKind:
    """Return the properties of *kind*; of "auto" while the kind is unknown."""
    return KINDS.get(kind, KINDS["auto"])
