"""The plug is pulled at any moment; and updates, during which it is, too."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.image import machine
from tests.image.conftest import ARTEFACT
from tests.image.machine import Machine

SwitchOn = Callable[..., Machine]
# of these the first three in CI
CUTS = 20
UPDATE_SECONDS = 900.0


def cuts(soak: bool) -> int:
    return CUTS if soak else 3


def test_power_may_fail_at_any_moment_of_the_first_boot_and_of_an_update(
    image: Path, tmp_path: Path, switch_on: SwitchOn, soak: bool, update: Path, report: Report
) -> None:
    # this test's luck is in its report, to be had again
    seed = random.randrange(1 << 32)
    luck = random.Random(seed)
    card = tmp_path / "card.img"
    for number in range(cuts(soak)):
        machine.flash(image, card)
        if number % 3 < 2:
            pi = switch_on(card)
            # from the kernel's first line to some time after the first picture
            moment = luck.uniform(1.0, 30.0)
            time.sleep(moment)
        else:
            pi = switch_on(card, spare=update)
            pi.wait_for_pictures()
            pi.wait_for_shell()
            pi.sh("mkdir -p /run/update && mount -o ro /dev/vdb /run/update && systemctl stop pi-cam-daemon-first-boot")
            pi.sh("systemd-run --quiet --unit update pi-cam-daemon-update /run/update/release.tar.zst")
            moment = luck.uniform(1.0, 60.0)
            time.sleep(moment)
        pi.cut_power()
        told = f"cut {number} at {moment:.1f} s, seed {seed}"
        assert machine.check_root(card, tmp_path) == "", told
        pi = switch_on(card)
        report(f"{told}: pictures {pi.wait_for_pictures():.0f} s after the next switch")
        pi.cut_power()


@pytest.fixture(scope="module")
def update(signer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a signed release of another version on it."""
    folder = tmp_path_factory.mktemp("update")
    content = folder / "content"
    content.mkdir()
    release = folder / "release"
    release.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", ARTEFACT, "-C", release], check=True)
    manifest = release / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "', '"version": "9.', 1))
    members = ["manifest.json", "install", "installer", "systemd", "wheels"]
    out = content / "release.tar.zst"
    subprocess.run(["tar", "-C", release, "-I", "zstd -1", "-cf", out, *members], check=True)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", signer, "-n", "pi-cam-daemon", out]
    subprocess.run(argv, check=True, capture_output=True)
    shutil.copy(out, content / "stranger.tar.zst")
    stranger = folder / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", stranger, "-n", "pi-cam-daemon", content / "stranger.tar.zst"]
    subprocess.run(argv, check=True, capture_output=True)
    disk = folder / "update.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", content, disk, "200M"], check=True)
    return disk


def test_an_update_is_taken_from_whom_the_card_trusts(
    card: Path, switch_on: SwitchOn, update: Path, report: Report
) -> None:
    pi = switch_on(card, spare=update)
    pi.wait_for_pictures()
    pi.wait_for_shell()
    pi.sh("mkdir -p /run/update && mount -o ro /dev/vdb /run/update && systemctl stop pi-cam-daemon-first-boot")
    refused = pi.sh("pi-cam-daemon-update /run/update/stranger.tar.zst 2>&1 || true", UPDATE_SECONDS)
    assert "signed by nobody in /etc/pi-cam-daemon/allowed_signers" in refused
    assert pi.state()["version"] and "/9." not in pi.sh("readlink /opt/pi-cam-daemon/current")
    began = time.monotonic()
    pi.sh("pi-cam-daemon-update /run/update/release.tar.zst 2>&1", UPDATE_SECONDS)
    report(f"updated in {time.monotonic() - began:.0f} s")
    assert "/9." in pi.sh("readlink /opt/pi-cam-daemon/current")
    pi.wait_for_pictures()
    # and it comes up so the next time
    pi.shut_down()
    again = switch_on(card)
    again.wait_for_pictures()
    again.wait_for_shell()
    assert "/9." in again.sh("readlink /opt/pi-cam-daemon/current")
