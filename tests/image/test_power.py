"""The plug is pulled at any moment; and updates, during which it is, too."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.image import machine
from tests.image.conftest import Running
from tests.image.machine import Machine

SwitchOn = Callable[..., Machine]
UPDATE_SECONDS = 900.0
CURRENT = "readlink /opt/pi-cam-daemon/current"
# until then its first picture is there, on a machine that does nothing else
FIRST_BOOT_SECONDS = 30.0


@pytest.fixture
def luck(report: Report) -> random.Random:
    """Told in the report, to be had again."""
    seed = random.randrange(1 << 32)
    report(f"seed {seed}")
    return random.Random(seed)


def test_power_may_fail_at_any_moment_of_the_first_boot(
    image: Path, tmp_path: Path, switch_on: SwitchOn, soak: bool, luck: random.Random, report: Report
) -> None:
    card = tmp_path / "card.img"
    for _ in range(14 if soak else 2):
        machine.flash(image, card)
        pi = switch_on(card)
        moment = luck.uniform(1.0, FIRST_BOOT_SECONDS)
        time.sleep(moment)
        pi.cut_power()
        assert machine.check_root(card, tmp_path) == "", f"cut at {moment:.1f} s"
        pi = switch_on(card)
        report(f"cut at {moment:.1f} s: pictures {pi.wait_for_pictures():.0f} s after the next switch")
        pi.cut_power()


def test_power_may_fail_at_any_moment_of_an_update(
    other: Running, tmp_path: Path, soak: bool, luck: random.Random, report: Report
) -> None:
    for _ in range(6 if soak else 1):
        offer_updates(other.machine)
        other.machine.sh("systemd-run --quiet --unit update pi-cam-daemon-update /run/update/newer.tar.zst")
        moment = luck.uniform(1.0, 60.0)
        time.sleep(moment)
        other.machine.cut_power()
        assert machine.check_root(other.card, tmp_path) == "", f"cut at {moment:.1f} s"
        other.switch_on()
        other.wait_for_pictures()
        # what it had fetched would lie there for a month
        assert other.machine.sh("ls -A /var/tmp | grep -v ^systemd-private || true") == "", f"cut at {moment:.1f} s"
        report(
            f"cut at {moment:.1f} s: pictures {other.seconds_to_picture:.0f} s after the next switch, by "
            f"{other.machine.sh(CURRENT)}"
        )


def test_an_update_is_taken_from_whom_the_card_trusts(other: Running, report: Report) -> None:
    pi = other.machine
    offer_updates(pi)
    before = pi.sh(CURRENT)
    refused = pi.sh("pi-cam-daemon-update /run/update/stranger.tar.zst 2>&1 || true", UPDATE_SECONDS)
    assert "signed by nobody in /etc/pi-cam-daemon/allowed_signers" in refused
    assert pi.sh(CURRENT) == before
    began = time.monotonic()
    pi.sh("pi-cam-daemon-update /run/update/newer.tar.zst 2>&1", UPDATE_SECONDS)
    report(f"updated in {time.monotonic() - began:.0f} s")
    assert "/9." in pi.sh(CURRENT)
    refused = pi.sh("pi-cam-daemon-update /run/update/older.tar.zst 2>&1 || true", UPDATE_SECONDS)
    assert "is older than 9." in refused
    pi.wait_for_pictures()
    # and it comes up so the next time
    pi.shut_down()
    other.switch_on()
    other.wait_for_pictures()
    assert "/9." in other.machine.sh(CURRENT)


def offer_updates(pi: Machine) -> None:
    pi.sh("mkdir -p /run/update; mountpoint -q /run/update || mount -o ro /dev/vdb /run/update")
    # it would wait for apt, and install at the same time
    pi.sh("systemctl stop pi-cam-daemon-first-boot")
    if "/9." in pi.sh(CURRENT):
        pi.sh("/opt/pi-cam-daemon/current/install --rollback", UPDATE_SECONDS)
