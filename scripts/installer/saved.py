"""Saved settings of the page. An uninstallation leaves them, as it leaves the configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from installer.machine import say

NAMES = ("settings.toml", "controls.toml")


def leftovers(parent: Path, purge: bool) -> Iterator[Path]:
    """Yield the paths in *parent* that an uninstallation removes: all of the project, without *purge* but for `NAMES`.

    What is left becomes root's, since another user may get the number of the daemon's. The unit gives it back.
    """
    for path in parent.glob("pi-cam-daemon*"):
        kept = [] if purge else [path / name for name in NAMES if (path / name).is_file()]
        if not kept:
            yield path
            continue
        yield from (child for child in path.iterdir() if child not in kept)
        for left in (path, *kept):
            os.chown(left, 0, 0)
        say(f"{path} is left, with what was saved on the page")
