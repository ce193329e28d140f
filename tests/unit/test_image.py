"""Decisions of scripts/build-image that need no image; tests/image builds one."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

from tests.kit.daemon import ROOT

sys.path.append(str(ROOT / "scripts"))

from image import tree


def test_a_card_leaves_the_hardware_watchdog_to_raspberry_pi_os() -> None:
    added = tree.additions(ROOT / "systemd", None)
    assert [path for path in added if "system.conf.d" in path.parts] == []
    assert PurePosixPath("/etc/systemd/journald.conf.d/pi-cam-daemon.conf") in added
