"""Kinds of cameras: the words of `source.kind` and what each of them means."""

from __future__ import annotations

from typing import NamedTuple


class SourceKind(NamedTuple):
    """*has_driver* tells whether a driver may be stuck; *controls* is the key of its controls in this *section*."""

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
    """Return what *kind* means; a camera that has not told its kind yet is taken for "auto"."""
    return KINDS.get(kind, KINDS["auto"])
