"""Saved settings of the page, and clips. An uninstallation leaves them, as it leaves the configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from installer.machine import say

NAMES = ("settings.toml", "controls.toml")
RECORDINGS = "recordings"


def leftovers(parent: Path, purge: bool) -> Iterator[Path]:
    """Yield the paths in *parent* that an uninstallation removes: all of ours, without *purge* but for what is saved.

    What is left becomes root's, since another user may get the number of the daemon's. The unit gives it back.
    """
    for path in parent.glob("pi-cam-daemon*"):
        kept = [] if purge else [path / name for name in (*NAMES, RECORDINGS) if (path / name).exists()]
        if not kept:
            yield path
            continue
        yield from (child for child in path.iterdir() if child not in kept)
        for left in (path, *kept):
            os.chown(left, 0, 0)
        say(f"{path} is left, with {', '.join(one.name for one in kept)}")
