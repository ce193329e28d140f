"""An artefact as an installation reads it: a folder, or that folder as one .tar.zst; `build` says what is in it."""

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
# what it consists of beside the manifest and the wheels
FILES = ("install", "installer", "systemd")
WHEELS = "wheels"


@dataclass(frozen=True)
class Artefact:
    """What *host* needs of an artefact, unpacked in *folder*; *digests*: sha256 of each file, by its path there."""

    host: Host
    folder: Path
    version: str
    digests: dict[str, str]
    # of the wheels, unpacked
    size: int

    @property
    def release(self) -> str:
        """The same for the same files on the same Python: whether anything has to be done is seen from it."""
        contents = json.dumps([self.host.python, self.host.architecture, self.digests], sort_keys=True)
        return f"{self.version}-{hashlib.sha256(contents.encode()).hexdigest()[:12]}"

    @property
    def wheels(self) -> list[Path]:
        return sorted(self.folder / name for name in self.digests if name.startswith(f"{WHEELS}/"))

    @property
    def files(self) -> list[str]:
        return [name for name in self.digests if not name.startswith(f"{WHEELS}/")]

    def check(self) -> None:
        for name, wanted in self.digests.items():
            try:
                found = digest(self.folder / name)
            except OSError as error:
                raise Failed(f"{self.folder / name}: {error.strerror}; the artefact is not whole") from None
            if found != wanted:
                raise Failed(f"{self.folder / name}: wrong sha256; the artefact is damaged, fetch it again")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(source: Path, host: Host, scratch: Path, admit: Callable[[Artefact], None]) -> Artefact:
    """What *host* needs of *source*, a folder or a file; a file is unpacked into *scratch*, as far as it is needed.

    *admit* is asked before anything is written, and may raise.
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
    """Of everything in an artefact what *host* needs."""
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
    # both become paths on this host
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+!]*", version):
        raise ValueError(f"{version!r} is no version")
    for name in digests:
        parts = PurePosixPath(name).parts
        if parts[0] not in (*FILES, WHEELS) or ".." in parts:
            raise ValueError(f"it has no business with {name}")
    return Artefact(host, folder, version, digests, target["bytes"])


def _unpack(stream: ZstdReader, host: Host, folder: Path, admit: Callable[[Artefact], None]) -> Artefact:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        artefact = None
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file and artefact is None:
                if member.name != MANIFEST:
                    raise ValueError("the manifest is not at its beginning")
                artefact = _choose(json.load(file), host, folder)
                admit(artefact)
            # nothing but what the manifest names is written
            elif file and artefact and member.name in artefact.digests:
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(file, out)
    # zstd's checksum stands at the end
    while stream.read(1 << 16):
        pass
    if artefact is None:
        raise ValueError("it is empty")
    return artefact
