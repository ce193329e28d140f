"""Facts about the machine: its board, its clock and the device nodes of cameras. None or "" stand for unknown.

They come from files: the service sees nothing but processes in /proc (ProcSubset=pid), and may not open the device of
vcgencmd. *root* is where the file system begins; tests give one of their own.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from pi_cam_daemon.system import files

# stat(2) shows this group where a user namespace does not map the real one, as with the unit's PrivateUsers=.
# linux/highuid.h
_HIDDEN_GROUP = 65534


def model(root: Path = Path("/")) -> str:
    """The board's name, "Raspberry Pi 4 Model B Rev 1.5"."""
    return files.text(root / "sys/firmware/devicetree/base/model").rstrip("\0")


def libcamera(root: Path = Path("/")) -> str:
    """The version of the libcamera that is installed, told by its file's name: to load it would cost megabytes."""
    found = [file for prefix in ("usr", "usr/local") for file in root.glob(f"{prefix}/lib/*/libcamera.so.*.*.*")]
    return found[-1].name.removeprefix("libcamera.so.") if found else ""


def temperature(root: Path = Path("/")) -> float | None:
    """Of the processor, in degrees Celsius."""
    text = files.text(root / "sys/class/thermal/thermal_zone0/temp")
    return int(text) / 1000 if text else None


def undervoltage(root: Path = Path("/")) -> bool | None:
    """Whether the supply was below 4.63 V within the last two seconds, in which the kernel looks.

    The firmware's own file, get_throttled, says more, but reading it puts a warning with a stack into the kernel's log.
    """
    for folder in root.glob("sys/class/hwmon/hwmon*"):
        if files.text(folder / "name") == "rpi_volt":
            return files.text(folder / "in0_lcrit_alarm") == "1"
    return None


def clock_synced(root: Path = Path("/")) -> bool | None:
    """Return whether the clock was set since the boot; without a battery a Pi starts at the time of its last shutdown.

    systemd-timesyncd touches a file when it has set the clock; None where it does not run. The kernel would know for
    every time service, but the unit's ProtectClock=yes closes adjtimex(2), for reading too.
    """
    folder = root / "run/systemd/timesync"
    return (folder / "synchronized").exists() if folder.is_dir() else None


def forbidden_nodes(dev: Path) -> list[Path]:
    """Return the device nodes of cameras in *dev* that this process may not open; libcamera finds no camera then."""
    nodes = itertools.chain(dev.glob("media*"), dev.glob("video*"), dev.glob("dma_heap/*"))
    return sorted(node for node in nodes if not os.access(node, os.R_OK | os.W_OK))


def needed_groups(nodes: Iterable[Path]) -> str:
    """Return *nodes*, which may not be opened, each with the group that opens it: "/dev/video0 (group video), …".

    A node that only root may open is told as such: a udev rule is missing, and nobody should join the group root.
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
