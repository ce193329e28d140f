"""Listing of a folder of clips, for those that remove them or send them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pi_cam_daemon.clips import names
from pi_cam_daemon.clips.names import Name


def clips(folder: Path) -> list[tuple[Name, str, int]]:
    """Return age, name and size of each clip in *folder*, oldest first. Raises OSError if it cannot be read.

    What is no regular file is no clip, whatever its name: a link that leads nowhere, or to a file of somebody else.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed in this moment
                if (age := names.parse(entry.name)) and entry.is_file(follow_symlinks=False):
                    found.append((age, entry.name, entry.stat(follow_symlinks=False).st_size))
    return sorted(found)
