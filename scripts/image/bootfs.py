"""The FAT partition in a file, by mtools."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from installer.machine import Failed, run


class BootFs:
    """What is written bears *time*, so that the same input gives the same bytes."""

    def __init__(self, path: Path, time: int) -> None:
        self._path = path
        self._time = time
        # a heads-and-sectors geometry that does not fit is common, and no reason to refuse
        self._environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(time)}

    def names(self) -> set[str]:
        lines = run("mdir", "-b", "-i", self._path, "::/", env=self._environment).stdout.splitlines()
        return {line.removeprefix("::/").rstrip("/").lower() for line in lines}

    def write(self, name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / name
            source.write_bytes(data)
            os.utime(source, (self._time, self._time))
            run("mcopy", "-o", "-m", "-i", self._path, source, f"::/{name}", env=self._environment)
            back = Path(folder) / "back"
            run("mcopy", "-i", self._path, f"::/{name}", back, env=self._environment)
            if back.read_bytes() != data:
                raise Failed(f"{name}: was not written as it should; is the boot partition full?")

    def check(self) -> None:
        done = run("fsck.vfat", "-n", self._path, check=False, timeout=600)
        if done.returncode:
            raise Failed(f"the boot file system is not in order: {done.stdout.strip()}")
