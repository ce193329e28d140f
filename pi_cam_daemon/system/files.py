"""Read and replace files: replacing survives a power cut, and reading writes no access time."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SERVICE = "pi-cam-daemon"  # user and group of the service, made by sysusers.d
_OURS = Path("/etc") / SERVICE


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


def explain(error: OSError, path: Path) -> str:
    """Return why *path* cannot be read. Without permission also whose it is, and what to do."""
    us = os.geteuid()
    if not isinstance(error, PermissionError) or us == 0:
        return error.strerror or str(error)
    # a folder on the way, or *path* itself
    closed = next((folder for folder in reversed(path.parents) if not _may_enter(folder)), path)
    try:
        info = closed.stat()
    except OSError:
        return f"{error.strerror}; run it with sudo"
    who, owner, group = _name(pwd.getpwuid, us), _name(pwd.getpwuid, info.st_uid), _name(grp.getgrgid, info.st_gid)
    it = "it" if closed == path else closed
    told = f"{error.strerror} for {who}: {it} belongs to {owner}:{group}, mode {stat.S_IMODE(info.st_mode):04o}"
    if who != SERVICE:
        return f"{told}; run it with sudo"
    if closed != path and not closed.is_relative_to(_OURS):  # nobody should open /root or /home for the service
        return f"{told}; move the file to {_OURS}"
    right = "g+rx" if stat.S_ISDIR(info.st_mode) else "g+r"
    quoted = shlex.quote(str(closed))
    return f"{told}; sudo chgrp {SERVICE} {quoted} && sudo chmod {right} {quoted}"


def _may_enter(folder: Path) -> bool:
    return os.access(folder, os.X_OK, effective_ids=True)


def _name(look_up: Callable[[int], Sequence[Any]], number: int) -> str:
    """Return the name of a user or a group, or its number."""
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def text(path: Path) -> str:
    """Return the stripped text of *path*, "" if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def replace(path: Path, data: bytes, mode: int = 0o644, group: int = -1) -> bool:
    """Replace the content of *path* by *data*, atomically and synced to the disk. Return False if it was the same.

    A new content gets *mode*, whatever the umask, and *group* (-1: the group of this process). Raises OSError, which
    names the file; then *path* is as before, and nothing else is left in its folder.
    """
    try:
        if read(path) == data:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    except PermissionError:  # somebody else's file; the folder decides whether it may be replaced
        pass
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)  # left by a power cut, maybe with another mode
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if group != -1:  # the service's sandbox refuses even a call that changes nothing
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # such as a full card
            error.filename = str(path)
        raise
    _sync(path.parent)
    return True


def remove(path: Path) -> None:
    """Remove the file *path*, if it exists, and sync its folder to the disk. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
