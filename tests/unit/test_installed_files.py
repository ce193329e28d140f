"""The files of an installation: those of a card, and the preset."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

import pytest

from tests.kit.daemon import ROOT

sys.path.append(str(ROOT / "scripts"))

from image import tree
from installer import card, presets, service

@pytest.mark.parametrize(
    ("enabled", "lines"),
    [
        ([], []),
        (["pi-cam-daemon.socket", "pi-cam-daemon.service"], ["pi-cam-daemon.service", "pi-cam-daemon.socket"]),
        (
            ["pi-cam-daemon@yard.service", "pi-cam-daemon@a.b.service", "pi-cam-daemon-announce.service"],
            ["pi-cam-daemon-announce.service", "pi-cam-daemon@.service a.b yard"],
        ),
    ],
)
def test_a_preset_has_what_is_enabled_and_disables_the_rest(enabled: list[str], lines: list[str]) -> None:
    _, *found = presets.text(enabled).splitlines()
    assert found == [*(f"enable {line}" for line in lines), "disable pi-cam-daemon*"]


def test_the_units_of_a_card_are_placed_on_cards_only() -> None:
    folder = ROOT / "systemd"
    on_card, elsewhere = (set(service.places(folder, on_card)) for on_card in (True, False))
    assert {path.name for path in on_card - elsewhere} == set(card.UNITS)
    assert on_card >= elsewhere


def test_a_purge_knows_every_file_that_an_image_adds() -> None:
    added = tree.additions(ROOT / "systemd", signers=ROOT / "README.md")
    # an uninstallation disables units, and a purge removes all of /etc/pi-cam-daemon
    others = {path for path in added if path.parent.suffix != ".wants"} - {
        PurePosixPath("/etc/pi-cam-daemon/allowed_signers")
    }
    assert others <= set(map(PurePosixPath, card.SETTINGS))


def test_an_image_is_a_card() -> None:
    assert PurePosixPath(card.PRESET) in tree.additions(ROOT / "systemd", signers=None)
