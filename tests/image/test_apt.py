"""Power cuts in the middle of `apt install ./pi-cam-daemon.deb`, on a card without a release."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.image.conftest import ARTEFACT, BASE, Running, running
from tests.image.machine import BOOT_SECONDS, CACHE, SETTINGS, Machine
from tests.kit.daemon import ROOT
from tests.kit.wait import until

sys.path.append(str(ROOT / "scripts"))

from image import disk
from image.rootfs import RootFs

APT = "apt-get -y -q --reinstall --allow-downgrades install"
APT_SECONDS = 1800.0
LOG = "/var/log/dpkg.log"
CUTS = 20
VERSION = "dpkg-query -W -f '${db:Status-Status} ${Version}' pi-cam-daemon"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A disk with the package for arm64, a newer one, and a python3-numpy, which is the artefact's."""
    content = tmp_path / "content"
    content.mkdir()
    build = [ROOT / "tests/systemd/rig/package", CACHE, "arm64"]
    made = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "-R", made, tree], check=True)
    pack(tree, content / "first.deb")
    control = tree / "DEBIAN/control"
    lines = ["Version: 9.0" if line.startswith("Version: ") else line for line in control.read_text().splitlines()]
    control.write_text("\n".join([*lines, ""]))
    (tree / "usr/lib/pi-cam-daemon/pi_cam_daemon/__init__.py").write_text('__version__ = "9.0"\n')
    pack(tree, content / "newer.deb")
    pack(numpy(tmp_path), content / "numpy.deb")
    shelf = tmp_path / "shelf.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", content, shelf, "600M"], check=True)
    return shelf


def pack(tree: Path, deb: Path) -> None:
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)


def numpy(folder: Path) -> Path:
    """Return the tree of a package with numpy, which Debian's archive has; the machine does not reach it."""
    wheels, tree = folder / "wheels", folder / "numpy"
    wheels.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", ARTEFACT, "-C", wheels, "--wildcards", "wheels/numpy-*"], check=True)
    (wheel,) = wheels.rglob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree / "usr/lib/python3/dist-packages")
    (tree / "DEBIAN").mkdir()
    fields = {"Package": "python3-numpy", "Version": "1", "Architecture": "arm64", "Maintainer": "nobody"}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (tree / "DEBIAN/control").write_text(f"{text}Description: a test\n")
    return tree


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The base with room for two versions of the package."""
    for place, name in zip(disk.partitions(BASE), ("boot", "root"), strict=True):
        disk.take(BASE, place, tmp_path / name)
    RootFs(tmp_path / "root").grow(1200 << 20)
    disk.assemble(BASE, tmp_path / "boot", tmp_path / "root", tmp_path / "card.img")
    return tmp_path / "card.img"


def test_power_may_fail_while_apt_installs_or_upgrades(card: Path, shelf: Path, report: Report) -> None:
    with running(card, spare=shelf) as pi:
        pi.machine.wait_for_shell()
        mount(pi.machine)
        pi.machine.sh(f"{APT} /run/shelf/numpy.deb", APT_SECONDS)
        pi.machine.send("/etc/pi-cam-daemon/config.toml", f'source.kind = "pattern"\n{SETTINGS}'.encode())
        # unpacked and not configured: Debian leaves it so
        begin(pi.machine, "first")
        configures = f"until grep -qs 'half-configured pi-cam-daemon:' {LOG}; do sleep 0.1; done"
        pi.machine.sh(f'timeout 1500 sh -c "{configures}"', APT_SECONDS)
        cut(pi, report, "while it was configured")
        until("a package that is whole", lambda: pi.machine.sh(VERSION).startswith("installed "), BOOT_SECONDS)
        began = time.monotonic()
        pi.machine.sh(f"{APT} /run/shelf/newer.deb", APT_SECONDS)
        seconds = time.monotonic() - began
        report(f"an upgrade takes {seconds:.0f} s")
        for number in range(CUTS):
            begin(pi.machine, ("first", "newer")[number % 2])
            moment = random.uniform(0, seconds)
            time.sleep(moment)
            cut(pi, report, f"after {moment:.1f} of {seconds:.0f} s")


def mount(pi: Machine) -> None:
    pi.sh("mkdir -p /run/shelf; mount -o ro /dev/vdb /run/shelf")


def begin(pi: Machine, name: str) -> None:
    pi.sh(f"rm -f {LOG}; systemd-run --quiet --unit apt -E DEBIAN_FRONTEND=noninteractive {APT} /run/shelf/{name}.deb")


def cut(pi: Running, report: Report, when: str) -> None:
    """Pull the plug and switch on again: pictures come, and what can be configured is."""
    pi.cut_power()
    pi.switch_on()
    pi.wait_for_pictures()
    ended = ("installed", "half-installed")
    until("an end of it", lambda: pi.machine.sh(VERSION).startswith(ended), BOOT_SECONDS)
    mount(pi.machine)
    status, log = pi.machine.sh(VERSION), pi.machine.sh(f"grep -c . {LOG} 2>/dev/null || true")
    report(f"cut {when}, {log} lines of dpkg's log: {status}, pictures {pi.seconds_to_picture:.0f} s after the switch")
