"""Reading an artefact: a folder, or that folder as one .tar.zst. `build` describes the content."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from installer.machine import Failed, Host
from installer.zstd import ZstdReader

MANIFEST = "manifest.json"
# the content beside the manifest and the wheels
FILES = ("install", "installer", "systemd")
WHEELS = "wheels"


@dataclass(frozen=True)
class Artefact:
    """The part of an artefact that *host* needs, unpacked in *folder*.

    *digests* has the sha256 of each file by its path in *folder*; *size* is the size of the unpacked wheels in bytes.
    """

    host: Host
    folder: Path
    version: str
    digests: dict[str, str]
    size: int

    @property
    def release(self) -> str:
        """The name of the release: the same for the same files on the same Python."""
        contents = json.dumps([self.host.python, self.host.architecture, self.digests], sort_keys=True)
        return f"{self.version}-{hashlib.sha256(contents.encode()).hexdigest()[:12]}"

    @property
    def wheels(self) -> list[Path]:
        """The paths of the wheels."""
        return sorted(self.folder / name for name in self.digests if name.startswith(f"{WHEELS}/"))

    @property
    def files(self) -> list[str]:
        """The paths in *folder* of everything else."""
        return [name for name in self.digests if not name.startswith(f"{WHEELS}/")]

    def check(self) -> None:
        """Raise Failed unless every file is there and has its sha256."""
        for name, wanted in self.digests.items():
            try:
                found = digest(self.folder / name)
            except OSError as error:
                raise Failed(f"{self.folder / name}: {error.strerror}; the artefact is incomplete") from None
            if found != wanted:
                raise Failed(f"{self.folder / name}: wrong sha256; the artefact is damaged, fetch it again")


def digest(path: Path) -> str:
    """Return the sha256 of the file at *path*, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(source: Path, host: Host, scratch: Path, admit: Callable[[Artefact], None]) -> Artefact:
    """Return the part of *source*, a folder or a file, that *host* needs. A file is unpacked into *scratch*.

    *admit* is called before anything is written. It may raise.
    """
    try:
        if source.is_dir():
            artefact = _choose(json.loads((source / MANIFEST).read_bytes()), host, source)
            admit(artefact)
            return artefact
        with source.open("rb") as file, ZstdReader(file) as stream:
            return _unpack(stream, host, scratch, admit)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, tarfile.TarError) as error:
        raise Failed(f"{source}: not an artefact, or damaged ({error}); fetch it again") from None


def _choose(manifest: dict[str, Any], host: Host, folder: Path) -> Artefact:
    """Return the part of the artefact that *host* needs."""
    for target in manifest["targets"].values():
        if (target["python"], target["architecture"]) == (host.python, host.architecture):
            break
    else:
        raise Failed(
            f"the artefact has no wheels for Python {host.python} on {host.architecture}, only for "
            f"{', '.join(manifest['targets'])}; build one that has them: --build-artefact"
        )
    wheels = target["wheels"]
    if host.has_numpy:
        # apt's picamera2 and simplejpeg were built against apt's numpy
        wheels = {name: wanted for name, wanted in wheels.items() if not name.startswith("numpy-")}
    digests = {**manifest["files"], **{f"{WHEELS}/{name}": wanted for name, wanted in wheels.items()}}
    version = manifest["version"]
    # the version and the names become paths on this host, so they must not lead anywhere else
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+!]*", version):
        raise ValueError(f"{version!r} is no version")
    for name in digests:
        parts = PurePosixPath(name).parts
        if parts[0] not in (*FILES, WHEELS) or ".." in parts:
            raise ValueError(f"{name} does not belong in an artefact")
    return Artefact(host, folder, version, digests, target["bytes"])


def _unpack(stream: ZstdReader, host: Host, folder: Path, admit: Callable[[Artefact], None]) -> Artefact:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        artefact = None
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file and artefact is None:
                if member.name != MANIFEST:
                    raise ValueError("the manifest is not its first file")
                artefact = _choose(json.load(file), host, folder)
                admit(artefact)
            # only files in the manifest are written
            elif file and artefact and member.name in artefact.digests:
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(file, out)
    # read to the end, where zstd's checksum is
    while stream.read(1 << 16):
        pass
    if artefact is None:
        raise ValueError("it is empty")
    return artefact
