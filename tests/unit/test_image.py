"""Decisions of scripts/build-image that need no image; tests/image builds one."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from tests.kit.daemon import ROOT

sys.path.append(str(ROOT / "scripts"))

from image import base, cli, tree
from installer import service


def test_a_card_leaves_the_hardware_watchdog_to_raspberry_pi_os() -> None:
    added = tree.additions(ROOT / "systemd", None)
    assert [path for path in added if "system.conf.d" in path.parts] == []
    assert PurePosixPath("/etc/systemd/journald.conf.d/pi-cam-daemon.conf") in added


def test_every_way_of_installing_lets_the_radio_not_sleep_and_try_for_ever() -> None:
    places = service.places(ROOT / "systemd", on_card=False)
    source = places[Path("/usr/lib/NetworkManager/conf.d/pi-cam-daemon.conf")]
    lines = source.read_text().splitlines()
    assert {"wifi.powersave=2", "autoconnect-retries-default=0"} <= set(lines)
    # the card has it from there, and no second one
    assert not [path for path in tree.additions(ROOT / "systemd", None) if "NetworkManager" in path.parts]


@pytest.mark.parametrize(
    ("files", "init_format", "offered"),
    [
        ([], "none", ()),
        ([], "systemd", ("passwordless_sudo",)),
        (["/usr/lib/systemd/user/rpi-connect.service"], "cloudinit-rpi", ("passwordless_sudo", "rpi_connect")),
    ],
)
def test_imager_offers_what_the_base_can_do(files: list[str], init_format: str, offered: tuple[str, ...]) -> None:
    root: Any = SimpleNamespace(exists=lambda path: path in files)
    assert base._capabilities(root, init_format) == offered


def test_an_address_that_imager_cannot_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["build-image", "--url", "images/", "base.img", "out.img"])
    with pytest.raises(SystemExit) as ended:
        cli.main("build-image")
    assert ended.value.code == 2
    assert "--url images/: accepted: an address that begins with https://" in capsys.readouterr().err
