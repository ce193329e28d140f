"""Kinds of cameras: the words of `source.kind` and what each of them means."""

from __future__ import annotations

from typing import NamedTuple


class SourceKind(NamedTuple):
    """*has_driver*: a driver that may be stuck; *controls*: the key that holds the settings of its controls, if any."""

    has_driver: bool
    controls: str = ""

    @property
    def section(self) -> str:
        """Return the section of the configuration in which the *controls* are."""
        return self.controls.partition(".")[0]


KINDS = {
    "auto": SourceKind(has_driver=True),
    "csi": SourceKind(has_driver=True, controls="controls"),
    "usb": SourceKind(has_driver=True, controls="usb.controls"),
    "upstream": SourceKind(has_driver=False),
    "pattern": SourceKind(has_driver=False),
}


def of(kind: str) -> SourceKind:
    """Return what *kind* means; a camera that has not told its kind yet is taken for "auto"."""
    return KINDS.get(kind, KINDS["auto"])
