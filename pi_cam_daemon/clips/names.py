"""Names of clips: the local time of the first picture, the reason, and a number if there are more of that second."""

from __future__ import annotations

import re
from dataclasses import dataclass

SUFFIX = ".mkv"
TIMELAPSE = "timelapse"  # the reason of the pictures of a day
# without anchors: the server looks for it in paths
PATTERN = r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)_([a-z]+)(?:-(\d{1,4}))?\.mkv"
_NAME = re.compile(PATTERN, re.ASCII)


@dataclass(frozen=True, order=True)
class Name:
    """The parts of a clip's name. An older one is less."""

    began: str
    number: int
    reason: str


def parse(name: str) -> Name | None:
    """Return the parts of *name*; None if it is no name of a clip."""
    found = _NAME.fullmatch(name)
    return Name(found[1], int(found[3] or 1), found[2]) if found else None
