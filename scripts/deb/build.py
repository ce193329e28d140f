"""Building the packages: the project, OpenCV and the wheels of pure Python in a private folder; numpy is apt's."""

from __future__ import annotations

import email.utils
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from deb.version import debian_version
from installer import build as artefacts
from installer.artefact import MANIFEST, WHEELS
from installer.machine import Failed, run, say

ARCHITECTURES = ("arm64", "amd64")
_CHECKOUT = Path(__file__).resolve().parent.parent.parent
# the oldest Debian that is served: what its Python and its glibc take, the later ones take as well
_SUITE = "bookworm"
_LIBRARY = Path("usr/lib/pi-cam-daemon")
_PROGRAM = Path("usr/bin/pi-cam-daemon")
# the program in the units of systemd/, as scripts/install has it
_INSTALLED = "/opt/pi-cam-daemon/current/bin/pi-cam-daemon"
# by the names that debhelper knows them by; the other units are those of cards
_FILES = {
    "pi-cam-daemon.service": "pi-cam-daemon.service",
    "pi-cam-daemon@.service": "pi-cam-daemon@.service",
    "pi-cam-daemon.socket": "pi-cam-daemon.socket",
    "pi-cam-daemon-announce.service": "pi-cam-daemon.pi-cam-daemon-announce.service",
    "pi-cam-daemon-boot-status.service": "pi-cam-daemon.pi-cam-daemon-boot-status.service",
    "pi-cam-daemon-boot-status.timer": "pi-cam-daemon.pi-cam-daemon-boot-status.timer",
    "pi-cam-daemon-network.service": "pi-cam-daemon.pi-cam-daemon-network.service",
    "pi-cam-daemon-network.timer": "pi-cam-daemon.pi-cam-daemon-network.timer",
    "pi-cam-daemon-network-reboot.path": "pi-cam-daemon.pi-cam-daemon-network-reboot.path",
    "pi-cam-daemon-push.service": "pi-cam-daemon.pi-cam-daemon-push.service",
    "pi-cam-daemon-push@.service": "pi-cam-daemon@.pi-cam-daemon-push.service",
    "pi-cam-daemon-reboot.path": "pi-cam-daemon.pi-cam-daemon-reboot.path",
    "pi-cam-daemon-reboot.service": "pi-cam-daemon.pi-cam-daemon-reboot.service",
    "pi-cam-daemon-record.service": "pi-cam-daemon.pi-cam-daemon-record.service",
    "pi-cam-daemon-record@.service": "pi-cam-daemon@.pi-cam-daemon-record.service",
    "sysusers.d/pi-cam-daemon.conf": "pi-cam-daemon.sysusers",
    "udev/rules.d/60-pi-cam-daemon.rules": "pi-cam-daemon.udev",
}
# debhelper has no place for these
_COPIED = ("modules-load.d/pi-cam-daemon.conf", "NetworkManager/conf.d/pi-cam-daemon.conf")
_DOCUMENTS = ("README.md", "README.ko.md", "CHANGELOG.md")
# as in a release's own program: no packages from the user's home, none from the working directory
_SCRIPT = f"""\
#!/bin/sh
PYTHONPATH=/{_LIBRARY} exec /usr/bin/python3 -sP -m pi_cam_daemon "$@"
"""
_PACK_SECONDS = 1800.0


def build(folder: Path, architectures: Iterable[str]) -> Iterator[Path]:
    """Build the packages for *architectures* in *folder*, and return their paths one by one. Raises Failed."""
    targets = {architecture: f"{_SUITE}-{architecture}" for architecture in architectures}
    artefact = folder / "artefact"
    artefacts.build(artefact, targets.values(), None)
    manifest = json.loads((artefact / MANIFEST).read_bytes())
    for architecture, target in targets.items():
        tree = folder / architecture / "tree"
        names = [name for name in manifest["targets"][target]["wheels"] if not name.startswith("numpy-")]
        _check(names)
        _lay_out(tree, [artefact / WHEELS / name for name in names], debian_version(manifest["version"]))
        say(f"packing for {architecture}")
        yield _pack(tree, architecture)


def _check(wheels: list[str]) -> None:
    """Raise Failed if one of *wheels* is for one Python only."""
    if narrow := [name for name in wheels if "-abi3-" not in name and not name.endswith("-none-any.whl")]:
        raise Failed(f"{', '.join(narrow)}: works with one version of Python, and the package serves several")


def _lay_out(tree: Path, wheels: list[Path], version: str) -> None:
    """Fill *tree* with the content of the package, and with debian/, from which debhelper packs it."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tree / _LIBRARY)
    program = tree / _PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text(_SCRIPT)
    program.chmod(0o755)
    debian, systemd = tree / "debian", _CHECKOUT / "systemd"
    shutil.copytree(_CHECKOUT / "packaging" / "debian", debian)
    for source, name in _FILES.items():
        (debian / name).write_text((systemd / source).read_text().replace(_INSTALLED, f"/{_PROGRAM}"))
    for name in _COPIED:
        target = tree / "usr/lib" / name
        target.parent.mkdir(parents=True)
        shutil.copyfile(systemd / name, target)
    shutil.copytree(systemd / "opt-in", tree / "opt-in")
    for name in _DOCUMENTS:
        shutil.copyfile(_CHECKOUT / name, tree / name)
    (debian / "changelog").write_text(_changelog(version, (debian / "control").read_text()))


def _changelog(version: str, control: str) -> str:
    """Return Debian's changelog of the package: this one version. The project's own is beside it."""
    (maintainer,) = (line for line in control.splitlines() if line.startswith("Maintainer: "))
    return (
        f"pi-cam-daemon ({version}) unstable; urgency=medium\n\n"
        "  * changelog.gz tells what it brings.\n\n"
        f" -- {maintainer.removeprefix('Maintainer: ')}  {email.utils.formatdate(_time())}\n"
    )


def _time() -> int:
    """Return when the sources were last committed, in seconds. With one fixed time they give one package."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    done = run("git", "-C", _CHECKOUT, "log", "-1", "--format=%ct", check=False)
    # sources without git
    return int(done.stdout.strip() or (_CHECKOUT / "CHANGELOG.md").stat().st_mtime)


def _pack(tree: Path, architecture: str) -> Path:
    """Pack *tree* and return the path of the package. Raises Failed with what Debian's helpers said."""
    # -d: the command line has looked for them; what dpkg would also ask for is a compiler
    command = ("dpkg-buildpackage", "-b", "-d", "-us", "-uc", f"-a{architecture}")
    done = run(*command, cwd=tree, check=False, timeout=_PACK_SECONDS, stderr=subprocess.STDOUT, capture_output=False,
               stdout=subprocess.PIPE)  # fmt: skip
    if done.returncode:
        raise Failed(f"dpkg-buildpackage failed for {architecture}:\n{done.stdout[-2000:].strip()}")
    (made,) = tree.parent.glob("*.deb")
    return made
