"""Shelf: the folder of the clips. The oldest go when there is no room for a new one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from pi_cam_daemon.clips import listing

_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoomError(Exception):
    """There is no room, and no clip that may go. The text is a sentence."""


class Shelf:
    """The clips in *folder*. They take *quota_bytes* at most, and leave *keep_free_percent* of the file system free.

    Only regular files with the names of clips count, and only they are removed. Those that are *open* stay. All methods
    raise OSError.
    """

    def __init__(self, folder: Path, quota_bytes: int, keep_free_percent: float) -> None:
        self.folder = folder
        self._quota = quota_bytes
        self._keep_free = keep_free_percent / 100
        self._sizes: dict[str, int] = {}  # by name, oldest first
        self.open: set[str] = set()

    @property
    def clips(self) -> int:
        return len(self._sizes)

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    def look(self) -> None:
        """Read the folder: somebody may have put clips there, or taken some away."""
        self._sizes = {name: size for _, name, size in listing.clips(self.folder)}

    def grown(self, name: str, size: int) -> None:
        """Take note that the clip *name* has *size* bytes."""
        self._sizes[name] = size

    def names(self) -> list[str]:
        """Return the names of all clips, oldest first."""
        return list(self._sizes)

    def make_room(self, need: int) -> None:
        """Remove the oldest clips until there is room for *need* bytes.

        Raises NoRoomError, and removes nothing, if all that may go would not make enough.
        """
        spare = sum(size for name, size in self._sizes.items() if name not in self.open)  # what may go
        if self._over(need) > spare:
            raise NoRoomError(self._lack(need, spare))
        while self._over(need) > 0 and (oldest := self._oldest()):
            self.remove(oldest)

    def _lack(self, need: int, spare: int) -> str:
        """Return why there is no room for *need* bytes, if *spare* bytes may go."""
        if self.bytes + need - self._quota > spare:
            return "A clip is larger than quota_mb"
        there = os.statvfs(self.folder)
        if there.f_bavail * there.f_frsize < need:
            return "The disk is full, and not of clips"
        return f"Less than {100 * self._keep_free:g} % of the disk is free (keep_free_percent), and not due to clips"

    def when_full(self, act: Callable[[], None]) -> None:
        """Call *act*, and again for each of the oldest clips that has to go because the disk is full."""
        while True:
            try:
                return act()
            except OSError as error:
                if error.errno not in _FULL or not (oldest := self._oldest()):
                    raise
                self.remove(oldest)

    def _oldest(self) -> str:
        """Return the name of the oldest clip that may go; "" if there is none."""
        return next((name for name in self._sizes if name not in self.open), "")

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        del self._sizes[name]

    def _over(self, need: int) -> int:
        """Return how many bytes have to go before *need* more may come."""
        there = os.statvfs(self.folder)
        lacking = int(there.f_frsize * (self._keep_free * there.f_blocks - there.f_bavail))
        return need + max(self.bytes - self._quota, lacking)
