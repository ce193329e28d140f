"""Making an installed release fit another Python, as after an upgrade of Debian, from its own files.

All of it serves every Python but numpy, which is apt's then.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from installer.artefact import FILES, MANIFEST, WHEELS, digest
from installer.machine import Failed, Host

# compiled for one version of Python
_NARROW = re.compile(r"\.cpython-\d+.*\.so$")
_NUMPY = ("numpy", "numpy.libs")
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def python_of(release: Path) -> str:
    """Return the Python that the release in the folder *release* was made for, such as 3.11; empty if it is none."""
    found = sorted(release.glob("lib/python*/site-packages"))
    return found[0].parent.name.removeprefix("python") if found else ""


def is_needed(release: Path) -> bool:
    """Return whether the release in the folder *release* was made for another Python than the one that runs this."""
    return python_of(release) not in ("", "{}.{}".format(*sys.version_info))


def rebuild(release: Path, host: Host, folder: Path) -> None:
    """Fill *folder* with an artefact of the installed *release* for *host*, which has numpy. Raises Failed."""
    (folder / WHEELS).mkdir(parents=True)
    wheel = folder / WHEELS / "installed.whl"
    packages = release / "lib" / f"python{python_of(release)}" / "site-packages"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in _files(packages):
            name = path.relative_to(packages)
            if name.parts[0] in _NUMPY or name.parts[0].startswith("numpy-"):
                continue
            if _NARROW.search(path.name):
                raise Failed(f"{path} works with Python {python_of(release)} only; name an artefact: --from ARTEFACT")
            with archive.open(zipfile.ZipInfo(str(name), _ZIP_EPOCH), "w") as out:
                out.write(path.read_bytes())
    for part in FILES:
        for path in [release / part] if (release / part).is_file() else _files(release / part):
            copy = folder / path.relative_to(release)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    files = {str(path.relative_to(folder)): digest(path) for path in _files(folder) if path != wheel}
    target = {
        "python": host.python,
        "architecture": host.architecture,
        "wheels": {wheel.name: digest(wheel)},
        "bytes": wheel.stat().st_size,
    }
    manifest = {"version": release.name.rpartition("-")[0], "files": files, "targets": {"this host": target}}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _files(folder: Path) -> Iterator[Path]:
    """Return the files below *folder*, without bytecode, which is for one Python."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
