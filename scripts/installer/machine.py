"""The machine that is installed on: its commands, its Python, apt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# picamera2 and libcamera are bound to this Python, so no other will do
PYTHON = "/usr/bin/python3"
_COMMAND_SECONDS = 120.0
# a Zero 2 W with a slow card, and another apt that is waited for
_APT_SECONDS = 3600.0


class Failed(Exception):
    """The message is what the user reads: what is wrong, and what to do."""


def say(text: str) -> None:
    try:
        print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)
    except OSError:
        # Whoever listened is gone, a broken connection for one: no reason to stop half-way. What is left in the buffer
        # would fail again at the end, and Python make an exit status of its own of that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def run(
    *argv: str | Path, check: bool = True, timeout: float = _COMMAND_SECONDS, **more: Any
) -> subprocess.CompletedProcess[str]:
    """A command to its end; where it has to succeed, Failed bears the end of what it said."""
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace", **more}
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(argv, check=False, timeout=timeout, **options)
    except OSError as error:
        raise Failed(f"{argv[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(map(str, argv))}: no end after {timeout:.0f} s") from None
    if check and done.returncode:
        said = "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise Failed(f"{' '.join(map(str, argv))}: {said or f'exit status {done.returncode}'}")
    return done


def has_systemd() -> bool:
    """False in a chroot, where an image is made: everything is put in place there, and nothing is started."""
    return Path("/run/systemd/system").is_dir()


def is_pi() -> bool:
    # rpi-issue: Raspberry Pi OS, also while an image of it is made on another machine
    model = Path("/proc/device-tree/model")
    return Path("/etc/rpi-issue").exists() or (model.exists() and "Raspberry Pi" in model.read_text())


@dataclass(frozen=True)
class Host:
    """What a release has to suit: *python* such as 3.11, *architecture* such as arm64, a numpy of apt's or none."""

    python: str
    architecture: str
    has_numpy: bool


def this_host() -> Host:
    python, architecture = "{}.{}".format(*sys.version_info), run("dpkg", "--print-architecture").stdout.strip()
    has_numpy = run(PYTHON, "-I", "-c", "import numpy", check=False).returncode == 0
    return Host(python, architecture, has_numpy)


def apt_install(*packages: str) -> None:
    """Those of *packages* that are missing."""
    query = ("dpkg-query", "-W", "-f", "${Status}")
    missing = [name for name in packages if "ok installed" not in run(*query, name, check=False).stdout]
    if not missing:
        return
    say(f"apt: installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # another apt, such as unattended-upgrades, is waited for; nobody is there to be asked about a changed file
    options = ("-y", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
    apt = ("apt-get", *options, "--no-install-recommends", "install", *missing)
    if run(*apt, check=False, env=environment, timeout=_APT_SECONDS).returncode == 0:
        return
    # the package lists may be old, or not there yet
    try:
        run("apt-get", "-qq", "update", env=environment, timeout=_APT_SECONDS)
        run(*apt, env=environment, timeout=_APT_SECONDS)
    except Failed as error:
        raise Failed(f"{error}; install {' '.join(missing)} yourself, or go without: --no-apt") from None


def remove(path: Path) -> None:
    """Whatever it is, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
