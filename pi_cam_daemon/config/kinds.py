"""The kinds of cameras: the values of `source.kind`, and the properties of each."""

from __future__ import annotations

from typing import NamedTuple


class SourceKind(NamedTuple):
    """Properties of a kind. *section*: attribute of CameraConfig with the controls. *controls*: prefix in TOML."""

    has_driver: bool
    section: str = ""
    controls: str = ""


KINDS = {
    "auto": SourceKind(has_driver=True),
    "csi": SourceKind(has_driver=True, section="controls", controls="controls"),
    "usb": SourceKind(has_driver=True, section="usb", controls="usb.controls"),
    "upstream": SourceKind(has_driver=False),
    "pattern": SourceKind(has_driver=False),
}


def of(kind: str) -> SourceKind:
    """Return the properties of *kind*; of "auto" while the kind is unknown."""
    return KINDS.get(kind, KINDS["auto"])
