"""Building an artefact: the project as a wheel and the wheels it needs, for hosts without a network.

An artefact is a folder, or that folder as one .tar.zst:

    manifest.json   version; files {name: sha256}; targets {name: {python, architecture, wheels {name: sha256}, bytes}}
    install         the installer, with its package installer/
    systemd/        units, system user, udev rules
    wheels/         repacked without compression: zstd then makes the artefact a quarter smaller
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from installer.artefact import FILES, MANIFEST, WHEELS, digest
from installer.machine import Failed, say

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
_PROJECT = ("pi_cam_daemon", "pyproject.toml", "README.md", "LICENSE")
# the earliest time that a zip file can hold; with one fixed time the same sources give the same wheel
_EPOCH = 315532800
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

# prints those requirements on stdin that apply to a given Python; pip itself looks at the running interpreter
_SELECT = """
import sys
from pip._vendor.packaging.requirements import Requirement
for line in sys.stdin:
    wanted = Requirement(line)
    if wanted.marker is None or wanted.marker.evaluate({"python_version": sys.argv[1], "extra": ""}):
        print(f"{wanted.name}{wanted.specifier}")
"""


@dataclass(frozen=True)
class Target:
    """A kind of host. *glibc* is the minor version of its glibc 2.x."""

    python: str
    architecture: str
    machine: str
    glibc: int


TARGETS = {
    f"{suite}-{architecture}": Target(python, architecture, machine, glibc)
    for suite, python, glibc in (("bookworm", "3.11", 36), ("trixie", "3.13", 41))
    for architecture, machine in (("arm64", "aarch64"), ("amd64", "x86_64"))
}


def is_checkout(folder: Path) -> bool:
    """Return whether *folder* is a checkout of the project."""
    return (folder / "pyproject.toml").exists()


def build(folder: Path, targets: Iterable[str], wheel: Path | None) -> None:
    """Fill *folder* with an artefact of this checkout, or of the project's *wheel*, for *targets*."""
    if not is_checkout(_CHECKOUT):
        raise Failed("an artefact is built in a checkout: run its scripts/install")
    (folder / WHEELS).mkdir(parents=True)
    for source in (_CHECKOUT / "scripts" / "install", _CHECKOUT / "scripts" / "installer", _CHECKOUT / "systemd"):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / source.name)
    files = {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-build-") as name:
        pip = _Pip(Path(name))
        if wheel is None:
            say("building the project's wheel")
            wheel = pip.wheel_of_checkout()
        version, requires = _metadata(wheel)
        project = _repack(wheel, folder)
        table = {}
        for target in targets:
            say(f"fetching the wheels for {target}")
            wheels = [_repack(path, folder) for path in pip.fetch(requires, TARGETS[target])]
            table[target] = {
                "python": TARGETS[target].python,
                "architecture": TARGETS[target].architecture,
                "wheels": {path.name: digest(path) for path in sorted([project, *wheels])},
                "bytes": sum(path.stat().st_size for path in [project, *wheels]),
            }
    manifest = {"version": version, "files": files, "targets": table}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def pack(folder: Path, out: Path) -> None:
    """Pack the artefact in *folder* into the file *out*, which appears when it is complete."""
    if not shutil.which("zstd"):
        raise Failed("zstd is missing; sudo apt install zstd")
    part = out.with_name(f".{out.name}.{os.getpid()}")
    # the manifest first: it tells the reader which files to take
    names = [MANIFEST, *FILES, WHEELS]
    same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u+rwX,go=rX", f"--mtime=@{_EPOCH}"]
    tar = ["tar", *same, "--create", *names]
    try:
        # level 19 takes most of a minute for each target, and saves a tenth compared to levels that take seconds
        environment = {"ZSTD_CLEVEL": "19", **os.environ}
        with part.open("xb") as file, subprocess.Popen(tar, cwd=folder, stdout=subprocess.PIPE) as packing:
            zstd = subprocess.run(  # nosec B607  # the person who builds chooses the PATH
                ["zstd", "-q", "-T0"], stdin=packing.stdout, stdout=file, env=environment, check=False
            )
        if zstd.returncode or packing.returncode:
            raise Failed(f"{out}: could not be packed")
        part.replace(out)
    except OSError as error:
        raise Failed(f"{out}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


class _Pip:
    """A pip in a temporary virtual environment, because Debian's python3 has none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
            raise Failed("pip is missing; sudo apt install --no-install-recommends python3-venv")
        self._python = folder / "venv" / "bin" / "python"
        self._run([sys.executable, "-m", "venv", str(folder / "venv")])

    def wheel_of_checkout(self) -> Path:
        """Build the project's wheel and return its path."""
        # from a copy, because setuptools leaves build/ and egg-info in the sources
        copy = self._folder / "project"
        copy.mkdir()
        for name in _PROJECT:
            if (_CHECKOUT / name).is_dir():
                shutil.copytree(_CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(_CHECKOUT / name, copy / name)
        (wheel,) = self._wheels("wheel", "--no-deps", str(copy))
        return wheel

    def fetch(self, requires: str, target: Target) -> list[Path]:
        """Download the wheels for *requires*, one requirement a line with markers, and return their paths."""
        chosen = self._run([str(self._python), "-c", _SELECT, target.python], requires).split()
        tags = ["--implementation", "cp", "--python-version", target.python]
        tags += [f"--abi={abi}" for abi in (f"cp{target.python.replace('.', '')}", "abi3", "none")]
        tags += [f"--platform=manylinux_2_{minor}_{target.machine}" for minor in range(17, target.glibc + 1)]
        tags += [f"--platform=manylinux2014_{target.machine}"]
        found = self._wheels("download", "--no-deps", *tags, *chosen)
        sources = [path for path in found if path.suffix != ".whl"]
        # projects that publish only sources: they are built here, which works for pure Python
        built = self._wheels("wheel", "--no-deps", "--use-pep517", *map(str, sources)) if sources else []
        if foreign := [path.name for path in built if not path.name.endswith("-none-any.whl")]:
            raise Failed(f"{', '.join(foreign)}: there is no wheel for that target, and it cannot be built here")
        return [path for path in found if path.suffix == ".whl"] + built

    def _wheels(self, verb: str, *arguments: str) -> list[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        where = "--wheel-dir" if verb == "wheel" else "--dest"
        pip = [str(self._python), "-m", "pip", verb, "--quiet", "--disable-pip-version-check"]
        self._run([*pip, where, str(folder), *arguments])
        return sorted(folder.iterdir())

    def _run(self, argv: list[str], stdin: str = "") -> str:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(_EPOCH)}
        done = subprocess.run(argv, input=stdin, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")]
            raise Failed("\n".join(lines) or f"{' '.join(argv[:4])} failed: {done.stderr.strip()[-500:]}")
        return done.stdout


def _metadata(wheel: Path) -> tuple[str, str]:
    """Return the version and the requirements of the project's *wheel*."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            head = archive.read(name).decode().partition("\n\n")[0].splitlines()
    except (OSError, ValueError, zipfile.BadZipFile):
        raise Failed(f"{wheel}: not a wheel") from None
    fields = [line.partition(": ") for line in head]
    values = {"Name": "", "Version": ""} | {key: value for key, _, value in fields}
    if values["Name"].replace("_", "-") != "pi-cam-daemon":
        raise Failed(f"{wheel}: not a wheel of pi-cam-daemon")
    return values["Version"], "".join(f"{value}\n" for key, _, value in fields if key == "Requires-Dist")


def _repack(wheel: Path, folder: Path) -> Path:
    """Write *wheel* without compression into *folder*, and return its path there."""
    new = folder / WHEELS / wheel.name
    with zipfile.ZipFile(wheel) as packed, zipfile.ZipFile(new, "w") as unpacked:
        for name in sorted(packed.namelist()):
            if ".data/" in name:
                raise Failed(f"{wheel.name}: contains {name}, which the installer cannot install")
            if not name.endswith("/"):
                unpacked.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), packed.read(name))
    return new
