"""The card with packages that are installed while it is made, the default of scripts/build-image."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from tests.conftest import Report
from tests.image import machine
from tests.image.conftest import build_image, make_deb, running
from tests.image.machine import SETTINGS, Machine, debugfs


def test_packages_may_be_installed_into_the_image_now(base: Path, tmp_path: Path, report: Report) -> None:
    """The base's own apt installs from its own archive, Debian's; only picamera2, which Debian lacks, is replaced."""
    packages = tmp_path / "packages"
    packages.mkdir()
    deb = make_deb(packages, "Depends: python3-numpy\n")
    fields = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    index = tmp_path / "Packages"
    index.write_text(f"{fields}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
    sources = tmp_path / "local.list"
    sources.write_text("deb [trusted=yes] file:/opt/packages ./\n")
    debugfs(
        base,
        "mkdir /opt/packages",
        f"write {deb} /opt/packages/{deb.name}",
        f"write {index} /opt/packages/Packages",
        f"write {sources} /etc/apt/sources.list.d/local.list",
    )
    card = tmp_path / "card.img"
    done = build_image(card, "--packages", "chroot", base=base)
    assert done.returncode == 0, done.stderr
    assert machine.check(machine.root(card, tmp_path)) == ""
    machine.put_boot_file(card, "pi-cam.toml", SETTINGS.encode())
    with running(card) as pi:
        pi.wait_for_pictures()
        report(f"first picture {pi.seconds_to_picture:.0f} s after the switch, with picamera2 on the card")
        has_picamera2(pi.machine)


def has_picamera2(pi: Machine) -> None:
    installed = pi.sh("dpkg-query -W -f '${Package} ${db:Status-Status}\\n' python3-picamera2 python3-numpy")
    assert installed.splitlines() == ["python3-numpy installed", "python3-picamera2 installed"]
    # apt's numpy and no other, and nothing is left to install
    release = "/opt/pi-cam-daemon/current/lib/python3*/site-packages"
    assert pi.sh(f"ls -d {release}/numpy /usr/lib/python3/dist-packages/numpy 2>/dev/null || true").startswith(
        "/usr/lib"
    )
    assert "this one is a test" in pi.state()["detail"]
    assert pi.sh("systemctl show -p ConditionResult --value pi-cam-daemon-first-boot") == "no"
