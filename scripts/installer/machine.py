"""The host: its commands, its Python, apt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# picamera2 and libcamera are bound to this Python, so no other will do
PYTHON = "/usr/bin/python3"
_COMMAND_SECONDS = 120.0
# for a Zero 2 W with a slow card, and for another apt that has to end first
_APT_SECONDS = 3600.0
_LOCK_SECONDS = 300.0


class Failed(Exception):
    """An expected failure. The message tells the user what is wrong and what to do."""


def say(text: str) -> None:
    """Print *text* on standard error, after the name of the program."""
    try:
        print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)
    except OSError:
        # Nobody reads it any more, for instance after a broken connection: go on. The rest of the buffer goes to
        # /dev/null, or Python would fail on it at the end and return another exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def run(
    *argv: str | Path, check: bool = True, timeout: float = _COMMAND_SECONDS, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises Failed with its last lines, unless it succeeds or *check* is False."""
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace", **more}
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(argv, check=False, timeout=timeout, **options)
    except OSError as error:
        raise Failed(f"{argv[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(map(str, argv))}: took longer than {timeout:.0f} s") from None
    if check and done.returncode:
        said = "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise Failed(f"{' '.join(map(str, argv))}: {said or f'exit status {done.returncode}'}")
    return done


def has_systemd() -> bool:
    """Return whether systemd runs. It does not in the chroot of an image, where files are installed only."""
    return Path("/run/systemd/system").is_dir()


def is_pi() -> bool:
    """Return whether this is a Raspberry Pi."""
    # Raspberry Pi OS has rpi-issue, also in a chroot on another machine
    model = Path("/proc/device-tree/model")
    return Path("/etc/rpi-issue").exists() or (model.exists() and "Raspberry Pi" in model.read_text())


@dataclass(frozen=True)
class Host:
    """The host as a release must fit it: *python* such as 3.11, *architecture* such as arm64, numpy from apt or not."""

    python: str
    architecture: str
    has_numpy: bool


def this_host() -> Host:
    """Return the host that runs this."""
    python, architecture = "{}.{}".format(*sys.version_info), run("dpkg", "--print-architecture").stdout.strip()
    has_numpy = run(PYTHON, "-I", "-c", "import numpy", check=False).returncode == 0
    return Host(python, architecture, has_numpy)


def not_installed(*packages: str) -> list[str]:
    """Return those Debian *packages* that are not installed."""
    query = ("dpkg-query", "-W", "-f", "${Status}")
    return [name for name in packages if "ok installed" not in run(*query, name, check=False).stdout]


def is_packaged() -> bool:
    """Return whether Debian's package of the project is on this host, be it half installed."""
    done = run("dpkg-query", "-W", "-f", "${db:Status-Status}", "pi-cam-daemon", check=False)
    # config-files: removed, and not purged
    return done.stdout not in ("", "not-installed", "config-files")


def apt_install(*packages: str) -> None:
    """Install those of *packages* that are missing. Raises Failed if apt cannot."""
    missing = not_installed(*packages)
    if not missing:
        return
    say(f"apt: installing {' '.join(missing)}")
    # keep changed files of /etc without asking
    install = ("-y", "-o", "Dpkg::Options::=--force-confold", "--no-install-recommends", "install", *missing)
    try:
        _apt_get(*install)
        return
    except Failed:
        # the package lists may be old, or not there yet
        pass
    try:
        _apt_get("update")
        _apt_get(*install)
    except Failed as error:
        raise Failed(f"{error}; install {' '.join(missing)} yourself, or go without: --no-apt") from None


def _apt_get(*arguments: str) -> None:
    """Run apt-get. Wait for another apt, such as unattended-upgrades. Raises Failed.

    By itself apt-get waits for dpkg's lock, and not for those of the package lists and of what it fetches.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            command = ("apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={_LOCK_SECONDS:.0f}", *arguments)
            run(*command, env=environment, timeout=_APT_SECONDS)
            return
        except Failed as error:
            if "Could not get lock" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1)


def remove(path: Path) -> None:
    """Remove the file, link or folder at *path*, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(path: Path, content: bytes) -> bool:
    """Write *content* to the file at *path* in one step. Return False if it is there already."""
    if path.exists() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.new")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.chmod(0o644)
    part.replace(path)
    return True
