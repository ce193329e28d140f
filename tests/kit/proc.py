"""Read what the kernel tells of a process in /proc."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def fields(pid: int) -> list[str]:
    """Return what /proc/PID/stat tells behind the name: the first is the state, such as R, S, D or Z."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def written(pid: int) -> int:
    """Return the bytes that the process has sent towards a disk so far."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def files_open_for_writing(pid: int) -> set[str]:
    """Return the paths of the regular files that the process could write to."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            flags = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0]
            if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(entry.stat().st_mode):
                found.add(str(entry.readlink()))
        except FileNotFoundError:  # closed meanwhile
            pass
    return found
