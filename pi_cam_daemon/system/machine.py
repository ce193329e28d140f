"""Facts about the machine: board, libcamera, temperature, power, clock, device nodes. None or "" mean unknown.

They come from files, most of them in /sys, /run and /dev: the unit hides the device of vcgencmd, and in /proc all but
the processes (ProcSubset=pid). *root* is the root directory; tests pass their own.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from pi_cam_daemon.system import files

_HIDDEN_GROUP = 65534  # linux/highuid.h: shown for a group that the user namespace does not map (PrivateUsers=)


def model(root: Path = Path("/")) -> str:
    """Return the name of the board, such as "Raspberry Pi 4 Model B Rev 1.5"."""
    return files.text(root / "sys/firmware/devicetree/base/model").rstrip("\0")


def language(environ: Mapping[str, str] = os.environ) -> str:
    """Return the language of the machine's locale, such as "ko", which systemd gives to services; "" for none."""
    locale = next(filter(None, map(environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return locale.partition("_")[0].partition(".")[0].lower()


def libcamera(root: Path = Path("/")) -> str:
    """Return the version of the installed libcamera, from its file name: loading it would take megabytes."""
    found = [file for prefix in ("usr", "usr/local") for file in root.glob(f"{prefix}/lib/*/libcamera.so.*.*.*")]
    return found[-1].name.removeprefix("libcamera.so.") if found else ""


def temperature(root: Path = Path("/")) -> float | None:
    """Return the temperature of the processor in degrees Celsius."""
    text = files.text(root / "sys/class/thermal/thermal_zone0/temp")
    return int(text) / 1000 if text else None


def undervoltage(root: Path = Path("/")) -> bool | None:
    """Return whether the supply was below 4.63 V at the kernel's last check, at most two seconds ago.

    The firmware's file get_throttled says more, but reading it puts a warning with a stack trace into the kernel's log.
    """
    for folder in root.glob("sys/class/hwmon/hwmon*"):
        if files.text(folder / "name") == "rpi_volt":
            return files.text(folder / "in0_lcrit_alarm") == "1"
    return None


def clock_synced(root: Path = Path("/")) -> bool | None:
    """Return whether systemd-timesyncd has set the clock since boot; None if it does not run.

    adjtimex(2) would answer for every time service, but the unit's ProtectClock=yes forbids it, even for reading.
    """
    folder = root / "run/systemd/timesync"
    return (folder / "synchronized").exists() if folder.is_dir() else None


def forbidden_nodes(dev: Path) -> list[Path]:
    """Return the camera nodes in *dev* that this process may not open; libcamera finds no camera behind these."""
    nodes = itertools.chain(dev.glob("media*"), dev.glob("video*"), dev.glob("dma_heap/*"))
    return sorted(node for node in nodes if not os.access(node, os.R_OK | os.W_OK))


def needed_groups(nodes: Iterable[Path]) -> str:
    """Return forbidden *nodes* as text, each with the group that may open it: "/dev/video0 (group video), …".

    For the group root it names the missing udev rule instead: nobody should join that group.
    """
    return ", ".join(f"{node} ({_key(node)})" for node in nodes)


def _key(node: Path) -> str:
    try:
        status = node.stat()
        if status.st_gid == 0 or ~status.st_mode & (stat.S_IRGRP | stat.S_IWGRP):
            return "root only, a udev rule is missing"
        if status.st_gid == _HIDDEN_GROUP:
            return "a group that the sandbox hides, usually video; `ls -l` shows it"
        return f"group {node.group()}"
    except KeyError:
        return f"group {status.st_gid}"
    except OSError as error:  # unplugged since
        return str(error.strerror).lower()
