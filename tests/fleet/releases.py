"""Make artefacts of further releases, good and broken, without the libraries, which hosts get only once."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tests.systemd import hosts
from tests.systemd.hosts import Host
from tests.systemd.test_install import PYTHON, is_library

ENDS = "def run(load):\n    raise SystemExit(3)\n"
# it serves, and its camera never starts
NO_PICTURES = "Supervisor.start = lambda self, **more: None\n"


class Releases:
    """Makes the requested artefacts out of the real one, and keeps them."""

    def __init__(self, artefact: Path, folder: Path) -> None:
        self._folder = folder
        self._base = folder / "base"
        self._base.mkdir()
        hosts.sh("tar", "--zstd", "-xf", artefact, "-C", self._base)
        self._manifest = json.loads((self._base / "manifest.json").read_text())

    def give_libraries(self, machines: Iterable[Host]) -> None:
        """Put numpy and OpenCV where every release on these hosts finds them."""
        for host in machines:
            folder = host.disk / "srv/libraries"
            if folder.exists():
                continue
            version = PYTHON[host.suite]
            (wheels,) = (table["wheels"] for table in self._manifest["targets"].values() if table["python"] == version)
            for wheel in filter(is_library, wheels):
                with zipfile.ZipFile(self._base / "wheels" / wheel) as archive:
                    archive.extractall(folder)
            host.write(f"/usr/local/lib/python{version}/dist-packages/libraries.pth", "/srv/libraries\n")

    def artefact(self, version: str, code: str = "", more: dict[str, str] | None = None) -> Path:
        """Return a release of that version; *code* is appended to daemon.py, *more* are modules beside its package."""
        out = self._folder / f"{version}.tar.zst"
        if out.exists():
            return out
        tree = self._folder / version
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(self._base, tree, copy_function=lambda source, target: Path(target).hardlink_to(source))
        (wheel,) = (tree / "wheels").glob("pi_cam_daemon-*.whl")
        original = wheel.read_bytes()
        wheel.unlink()
        new = tree / "wheels" / wheel.name
        with zipfile.ZipFile(self._base / "wheels" / wheel.name) as old, zipfile.ZipFile(new, "w") as changed:
            for entry in old.namelist():
                text = old.read(entry)
                if entry == "pi_cam_daemon/daemon.py":
                    text += f"\n\n# {version}\n{code}".encode()
                changed.writestr(zipfile.ZipInfo(entry), text)
            for entry, source in (more or {}).items():
                changed.writestr(zipfile.ZipInfo(entry), source)
        assert new.read_bytes() != original
        manifest = copy.deepcopy(self._manifest)
        manifest["version"] = version
        for target in manifest["targets"].values():
            target["wheels"] = {name: wanted for name, wanted in target["wheels"].items() if not is_library(name)}
            target["wheels"][wheel.name] = hashlib.sha256(new.read_bytes()).hexdigest()
        (tree / "manifest.json").unlink()
        (tree / "manifest.json").write_text(json.dumps(manifest))
        for library in filter(lambda path: is_library(path.name), (tree / "wheels").iterdir()):
            library.unlink()
        tar = [
            "tar",
            "-C",
            str(tree),
            "--sort=name",
            "-c",
            "manifest.json",
            "install",
            "installer",
            "systemd",
            "wheels",
        ]
        with out.open("wb") as file, subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
            subprocess.run(["zstd", "-q", "-1", "-T0"], stdin=packing.stdout, stdout=file, check=True)
        shutil.rmtree(tree)
        return out
