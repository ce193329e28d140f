"""Shelf: the folder of the clips. The oldest go when there is no room for a new one."""

from __future__ import annotations

import os
import re
from pathlib import Path

SUFFIX = ".mkv"
_NAME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[a-z]+(-\d+)?\.mkv")


class NoRoomError(Exception):
    """There is no room, and no clip that may go. The text is a sentence."""


class Shelf:
    """The clips in *folder*. They take *quota_bytes* at most, and leave *keep_free_percent* of the file system free.

    Only files with the names of clips count, and only they are removed. All methods raise OSError.
    """

    def __init__(self, folder: Path, quota_bytes: int, keep_free_percent: float) -> None:
        self.folder = folder
        self._quota = quota_bytes
        self._keep_free = keep_free_percent / 100
        self._sizes: dict[str, int] = {}  # by name, oldest first

    @property
    def clips(self) -> int:
        return len(self._sizes)

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    def look(self) -> None:
        """Read the folder: somebody may have put clips there, or taken some away."""
        with os.scandir(self.folder) as entries:
            found = {entry.name: entry.stat().st_size for entry in entries if _NAME.fullmatch(entry.name)}
        self._sizes = dict(sorted(found.items()))  # a name begins with a date

    def grown(self, name: str, size: int) -> None:
        """Take note that the clip *name* has *size* bytes."""
        self._sizes[name] = size

    def make_room(self, need: int, current: str = "") -> None:
        """Remove the oldest clips until there is room for *need* bytes. The *current* one stays.

        Raises NoRoomError, and removes nothing, if all others together would not make enough.
        """
        spare = self.bytes - self._sizes.get(current, 0)  # what may go
        if self._over(need) > spare:
            large = self.bytes + need - self._quota > spare
            raise NoRoomError("A clip is larger than quota_mb" if large else "The disk is full, and not of clips")
        while self._over(need) > 0 and self.remove_oldest(current):
            pass

    def remove_oldest(self, current: str = "") -> bool:
        """Remove the oldest clip but the *current* one; return False if there is none."""
        oldest = next((name for name in self._sizes if name != current), "")
        if oldest:
            self.remove(oldest)
        return bool(oldest)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        del self._sizes[name]

    def _over(self, need: int) -> int:
        """Return how many bytes have to go before *need* more may come."""
        there = os.statvfs(self.folder)
        lacking = int(there.f_frsize * (self._keep_free * there.f_blocks - there.f_bavail))
        return need + max(self.bytes - self._quota, lacking)
