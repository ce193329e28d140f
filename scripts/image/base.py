"""The kind of system that an image is made of."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from image.bootfs import BootFs
from image.rootfs import RootFs
from installer.build import TARGETS
from installer.machine import Failed, Host

# e_machine of the ELF header
_MACHINES = {40: "32-bit ARM", 62: "PC", 183: "arm64"}


@dataclass(frozen=True)
class Base:
    """Raspberry Pi OS *suite*. *init_format* is Imager's name for the way it sets Wi-Fi, user and host name.

    *capabilities* are Imager's names for what it offers besides. The hardware interfaces are not among them: the camera
    needs none.
    """

    suite: str
    host: Host
    init_format: str
    capabilities: tuple[str, ...]


def inspect(root: RootFs, boot: BootFs) -> Base:
    """Return the kind of system. Raises Failed unless it is Raspberry Pi OS bookworm or trixie with 64 bits."""
    if not root.read("/etc/rpi-issue"):
        raise Failed("the base is not Raspberry Pi OS; take Raspberry Pi OS Lite (64-bit)")
    program = root.read("/usr/bin/dpkg")
    machine = struct.unpack_from("<H", program, 18)[0] if program.startswith(b"\x7fELF") else 0
    if _MACHINES.get(machine) != "arm64":
        kind = _MACHINES.get(machine, "something else")
        raise Failed(
            f"the base is for {kind}; take Raspberry Pi OS Lite (64-bit), which runs on the Zero 2 W and every later Pi"
        )
    found = re.search(r"^VERSION_CODENAME=(\w+)", root.read("/etc/os-release").decode("utf-8", "replace"), re.MULTILINE)
    suite = found[1] if found else "unknown"
    target = TARGETS.get(f"{suite}-arm64")
    if target is None:
        suites = " and ".join(name.removesuffix("-arm64") for name in TARGETS if name.endswith("-arm64"))
        raise Failed(f"the base is Raspberry Pi OS {suite}; {suites} are supported")
    has_numpy = root.exists("/usr/lib/python3/dist-packages/numpy")
    init_format = _init_format(root, boot)
    return Base(
        suite, Host(target.python, target.architecture, has_numpy), init_format, _capabilities(root, init_format)
    )


def _capabilities(root: RootFs, init_format: str) -> tuple[str, ...]:
    if init_format == "none":
        return ()
    connects = root.exists("/usr/lib/systemd/user/rpi-connect.service")
    return ("passwordless_sudo", *(["rpi_connect"] if connects else []))


def _init_format(root: RootFs, boot: BootFs) -> str:
    if root.exists("/usr/lib/systemd/system/rpi-preseed.service"):
        return "rpi-preseed"
    if "user-data" in boot.names() and root.exists("/etc/cloud"):
        return "cloudinit-rpi"
    return "systemd" if root.exists("/usr/lib/raspberrypi-sys-mods/imager_custom") else "none"
