"""The FAT partition, in a file, read and written by mtools."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from installer.machine import Failed, run


class BootFs:
    """The FAT file system in the file *path*. Files get the time *time*: the same input gives the same bytes."""

    def __init__(self, path: Path, time: int) -> None:
        self._path = path
        self._time = time
        # MTOOLS_SKIP_CHECK: a wrong number of heads or sectors is common and harmless
        self._environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(time)}

    def names(self) -> set[str]:
        """Return the names in the root folder, in lower case."""
        lines = run("mdir", "-b", "-i", self._path, "::/", env=self._environment).stdout.splitlines()
        return {line.removeprefix("::/").rstrip("/").lower() for line in lines}

    def write(self, name: str, data: bytes) -> None:
        """Write a file into the root folder. Raises Failed unless it can be read back."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / name
            source.write_bytes(data)
            os.utime(source, (self._time, self._time))
            run("mcopy", "-o", "-m", "-i", self._path, source, f"::/{name}", env=self._environment)
            back = Path(folder) / "back"
            run("mcopy", "-i", self._path, f"::/{name}", back, env=self._environment)
            if back.read_bytes() != data:
                raise Failed(f"{name}: was not written correctly; is the boot partition full?")

    def check(self) -> None:
        """Raise Failed if the file system has errors."""
        done = run("fsck.vfat", "-n", self._path, check=False, timeout=600)
        if done.returncode:
            raise Failed(f"the boot file system has errors: {done.stdout.strip()}")
