"""What takes minutes of a whole processor."""

from __future__ import annotations

from pathlib import Path

from tests.image import machine
from tests.image.conftest import build_image
from tests.image.machine import debugfs


def test_packages_may_be_installed_into_the_image_now(base: Path, tmp_path: Path) -> None:
    """As far as the stand-in goes, which has no archive to install from: it takes picamera2 for installed."""
    package = ("Package: python3-picamera2", "Status: install ok installed", "Architecture: all", "Version: 1")
    database = tmp_path / "status"
    database.write_text("\n".join([*package, "Maintainer: nobody", "Description: a test", ""]))
    debugfs(base, "rm /var/lib/dpkg/status", f"write {database} /var/lib/dpkg/status")
    out = tmp_path / "out.img"
    done = build_image(out, "--packages", "chroot", base=base)
    assert done.returncode == 0, done.stderr
    assert machine.check_root(out, tmp_path) == ""
    release = debugfs(out, "stat /opt/pi-cam-daemon/current")
    assert 'Fast link dest: "releases/' in release
    wants = debugfs(out, "ls /etc/systemd/system/multi-user.target.wants")
    assert "pi-cam-daemon.service" in wants and "pi-cam-daemon-boot.service" in wants
    assert "first-boot" not in wants
