"""Read and replace files: replacing survives a power cut, and reading writes no access time."""

from __future__ import annotations

import os
from pathlib import Path


def read(path: Path, most: int = -1, what: str = "file") -> bytes:
    """Return the content of *path*. Raises OSError, and ValueError if it exceeds *most* bytes; -1 is no limit.

    *what* names the kind of file in that error. O_NOATIME saves writes to the SD card: FAT stores only the day of the
    access, so the kernel would update it at each reading.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
    except PermissionError:  # O_NOATIME is for the owner and root only
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most + 1 if most >= 0 else -1)
    if 0 <= most < len(data):
        raise ValueError(f"larger than {most // 1024} KiB; this is not a {what}")
    return data


def text(path: Path) -> str:
    """Return the stripped text of *path*, "" if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def replace(path: Path, data: bytes, mode: int = 0o644, group: int = -1) -> bool:
    """Replace the content of *path* by *data*, atomically and synced to the disk. Return False if it was the same.

    A new content gets *mode*, whatever the umask, and *group* (-1: the group of this process). Raises OSError.
    """
    try:
        if read(path) == data:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    except PermissionError:  # somebody else's file; the folder decides whether it may be replaced
        pass
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)  # left by an interrupted attempt, maybe with another mode
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        if group != -1:  # the service's sandbox refuses even a call that changes nothing
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
