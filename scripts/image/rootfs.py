"""The ext4 partition, in a file, read and written by e2fsprogs without root rights and without a mount.

The exit status of debugfs does not show errors, so everything that it wrote is read back and compared.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from image.tree import Entry, Tree
from installer.machine import Failed, run

_SECONDS = 1800.0
_TYPES = {"regular": "f", "directory": "d", "symlink": "l"}
_STAT = re.compile(
    r"Type: (?P<type>\w+)\s+Mode:\s+0?(?P<mode>[0-7]+).*?User:\s+(?P<user>\d+)\s+Group:\s+(?P<group>\d+)", re.DOTALL
)
_LINK = re.compile(r'Fast link dest: "(.*)"')


class Found(NamedTuple):
    """A file (*type* f), a folder (d) or a link to *target* (l)."""

    type: str
    mode: int
    user: int
    group: int
    target: str


class RootFs:
    """The file system in the file *path*. Everything written to it gets one time: that of its last change before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            file.seek(1024)
            superblock = file.read(1024)
        if superblock[56:58] != b"\x53\xef":
            raise Failed("the root partition is not ext4")
        self.time = int(struct.unpack_from("<I", superblock, 48)[0])
        # e2fsck reads a variable of its own
        clock = {"E2FSPROGS_FAKE_TIME": str(self.time), "E2FSCK_TIME": str(self.time)}
        self._environment = {**os.environ, **clock, "LC_ALL": "C"}

    @property
    def free(self) -> int:
        """The free bytes, without those kept for root."""
        with self.path.open("rb") as file:
            file.seek(1024)
            superblock = file.read(1024)
        reserved, free, block = (struct.unpack_from("<I", superblock, at)[0] for at in (8, 12, 24))
        return int(max(0, free - reserved) * (1024 << block))

    def read(self, path: str) -> bytes:
        """Return the content of the file at *path*, empty if there is none. Links are followed."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "file"
            for _ in range(8):
                found = self._stat([path])[path]
                if found is None or found.type != "l":
                    break
                # several links may follow each other: usr merge, alternatives
                path = os.path.normpath(Path(path).parent / found.target)
            self._debugfs([f'dump "{path}" "{out}"'])
            return out.read_bytes() if out.exists() else b""

    def read_link(self, path: str) -> str:
        """Return the last part of the target of the link at *path*."""
        found = self._stat([path])[path]
        return Path(found.target).name if found else ""

    def exists(self, path: str) -> bool:
        """Return whether there is anything at *path*."""
        return self._stat([path])[path] is not None

    def check(self) -> None:
        """Raise Failed if the file system has errors."""
        done = run("e2fsck", "-fn", self.path, check=False, env=self._environment, timeout=_SECONDS)
        if done.returncode:
            raise Failed(f"the root file system has errors: {done.stdout.strip().splitlines()[-1]}")

    def grow(self, size: int) -> None:
        """Grow the file system to *size* bytes."""
        with self.path.open("r+b") as file:
            file.truncate(size)
        # resize2fs refuses a file system that was not checked
        run("e2fsck", "-fp", self.path, check=False, env=self._environment, timeout=_SECONDS)
        run("resize2fs", self.path, env=self._environment, timeout=_SECONDS)

    def write(self, tree: Tree) -> None:
        """Add *tree*, in which folders come before their content. Raises Failed unless it can be read back."""
        there = self._stat([str(path) for path in tree])
        commands: list[str] = []
        for path, entry in tree.items():
            found = there[str(path)]
            if found and (found.type == "d") != (not entry.content and not entry.target):
                raise Failed(f"{path}: is in the base already, but not as the same kind of file")
            if found and found.type == "d":
                continue
            commands += [f'rm "{path}"'] if found else []
            commands += _commands(path, entry)
        self._debugfs(commands)
        self._compare(tree)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove the files at *paths*."""
        self._debugfs([f'rm "{path}"' for path in paths])

    def names(self, folder: str) -> list[str]:
        """Return the names in *folder*."""
        lines = self._debugfs([f'ls -p "{folder}"']).splitlines()
        names = [line.split("/")[5] for line in lines if line.count("/") >= 6]
        return sorted(set(names) - {".", ".."})

    def _compare(self, tree: Tree) -> None:
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            files = [(path, entry) for path, entry in tree.items() if entry.content]
            self._debugfs([f'dump "{path}" "{folder}/{number}"' for number, (path, _) in enumerate(files)])
            for number, (path, entry) in enumerate(files):
                copy = Path(folder) / str(number)
                if not copy.exists() or not entry.content or copy.read_bytes() != entry.content.read_bytes():
                    raise Failed(f"{path}: was not written correctly; is the file system full?")
        there = self._stat([str(path) for path in tree])
        for path, entry in tree.items():
            found = there[str(path)]
            if entry.target:
                wanted = Found("l", 0o777, 0, 0, entry.target)
            else:
                wanted = Found("f" if entry.content else "d", entry.mode, 0, 0, "")
            # a folder of the base keeps its mode and owner
            if found != wanted and not (found and found.type == wanted.type == "d"):
                raise Failed(f"{path}: is {found} and not {wanted}; is the file system full?")

    def _stat(self, paths: list[str]) -> dict[str, Found | None]:
        """Return what is at each of *paths*, None if there is nothing."""
        text = self._debugfs([f'stat "{path}"' for path in paths])
        # debugfs prints each command after its prompt
        answers = re.split(r"^debugfs: +stat .*$", text, flags=re.MULTILINE)[1:]
        if len(answers) != len(paths):
            raise Failed("debugfs did not answer")
        found: dict[str, Found | None] = {}
        for path, answer in zip(paths, answers, strict=True):
            match = _STAT.search(answer)
            found[path] = match and Found(
                _TYPES.get(match["type"], "?"),
                int(match["mode"], 8),
                int(match["user"]),
                int(match["group"]),
                self._target(path, answer) if match["type"] == "symlink" else "",
            )
        return found

    def _target(self, path: str, answer: str) -> str:
        """Return the target of a link. One of 60 characters or more is stored like the content of a file."""
        if short := _LINK.search(answer):
            return short[1]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "target"
            self._debugfs([f'dump "{path}" "{out}"'])
            return out.read_text()

    def _debugfs(self, commands: list[str]) -> str:
        """Run *commands* and return what debugfs prints."""
        with tempfile.NamedTemporaryFile("w") as script:
            script.write("".join(f"{command}\n" for command in commands))
            script.flush()
            argv: list[str | Path] = ["debugfs", "-w", "-f", script.name, self.path]
            try:
                done = subprocess.run(
                    argv, env=self._environment, capture_output=True, text=True, check=False, timeout=_SECONDS
                )
            except FileNotFoundError:
                raise Failed("debugfs is missing; sudo apt install e2fsprogs") from None
        if "Bad magic number" in done.stderr or "not open" in done.stderr:
            raise Failed(f"debugfs cannot open the root file system: {done.stderr.strip()}")
        return done.stdout


def _commands(path: PurePosixPath, entry: Entry) -> list[str]:
    """Return the commands of debugfs that write *entry* to *path*."""
    if '"' in str(path):
        raise Failed(f"{path}: debugfs cannot write a name with a quotation mark")
    if entry.target:
        return [f'symlink "{path}" "{entry.target}"']
    if entry.content is None:
        return [f'mkdir "{path}"']
    return [
        f'write "{entry.content}" "{path}"',
        *(
            f'sif "{path}" {field} {value}'
            for field, value in (("mode", f"0{entry.mode | 0o100000:o}"), ("uid", 0), ("gid", 0))
        ),
    ]
