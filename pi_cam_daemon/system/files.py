"""Files that a power cut leaves either as they were or as they are to be, and that reading does not wear."""

from __future__ import annotations

import os
from pathlib import Path


def read(path: Path, most: int = -1, what: str = "file") -> bytes:
    """Return the content of *path*, a *what*. Raises ValueError if it is longer than *most* bytes; -1 is no limit.

    The time of reading is not noted on the disk: a FAT knows the day only, so the kernel would note it each time.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
    except PermissionError:
        # only its owner, and root, may read so
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most + 1 if most >= 0 else -1)
    if 0 <= most < len(data):
        raise ValueError(f"larger than {most // 1024} KiB, this is no {what}")
    return data


def text(path: Path) -> str:
    """Return the stripped text of *path*, empty if it cannot be read: such as sysfs, or a note of another program."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def replace(path: Path, data: bytes, mode: int = 0o644, group: int = -1) -> bool:
    """Make *path* hold *data*, in one step and down to the disk; False if it does already, and nothing is written.

    The file is of *group* (-1: the writer's), and of *mode* whatever the umask is.
    """
    try:
        if read(path) == data:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.new")
    # whatever an interrupted attempt has left there, perhaps with another mode
    part.unlink(missing_ok=True)
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
