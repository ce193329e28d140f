"""The files of an installation: those of a card, its presets, and what becomes of them under another Python."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.kit.daemon import ROOT

sys.path.append(str(ROOT / "scripts"))

from image import tree
from installer import card, presets, repair, service
from installer.artefact import load
from installer.machine import Failed, Host

HOST = Host("4.2", "arm64", True)


@pytest.mark.parametrize(
    ("enabled", "lines"),
    [
        ([], []),
        (["pi-cam-daemon.socket", "pi-cam-daemon.service"], ["pi-cam-daemon.service", "pi-cam-daemon.socket"]),
        (
            ["pi-cam-daemon@yard.service", "pi-cam-daemon@a.b.service", "pi-cam-daemon-announce.service"],
            ["pi-cam-daemon-announce.service", "pi-cam-daemon@.service a.b yard"],
        ),
        (
            ["pi-cam-daemon@yard.service", "pi-cam-daemon-record@yard.service"],
            ["pi-cam-daemon-record@.service yard", "pi-cam-daemon@.service yard"],
        ),
        (
            ["pi-cam-daemon-push@yard.service", "pi-cam-daemon-push.service"],
            ["pi-cam-daemon-push.service", "pi-cam-daemon-push@.service yard"],
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


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """An installed release for Python 4.1."""
    folder = tmp_path / "1.0-0123abc"
    for name in (
        "install",
        "installer/cli.py",
        "installer/__pycache__/cli.cpython-41.pyc",
        "systemd/pi-cam-daemon.service",
        "bin/pi-cam-daemon",
        "lib/python4.1/site-packages/pi_cam_daemon/daemon.py",
        "lib/python4.1/site-packages/pi_cam_daemon/__pycache__/daemon.cpython-41.pyc",
        "lib/python4.1/site-packages/cv2/cv2.abi3.so",
        "lib/python4.1/site-packages/numpy/core.cpython-41-aarch64-linux-gnu.so",
        "lib/python4.1/site-packages/numpy.libs/libblas.so",
        "lib/python4.1/site-packages/numpy-2.4.dist-info/METADATA",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_release_for_another_python_becomes_an_artefact_without_numpy(release: Path, tmp_path: Path) -> None:
    assert repair.is_needed(release) and repair.python_of(release) == "4.1"
    found = []
    for out in ("one", "two"):
        repair.rebuild(release, HOST, tmp_path / out)
        artefact = load(tmp_path / out, HOST, tmp_path, lambda _: None)
        artefact.check()
        found.append(artefact.release)
    assert found[0] == found[1] != release.name and found[0].startswith("1.0-")
    assert sorted(artefact.files) == ["install", "installer/cli.py", "systemd/pi-cam-daemon.service"]
    (wheel,) = artefact.wheels
    with zipfile.ZipFile(wheel) as archive:
        assert archive.namelist() == ["cv2/cv2.abi3.so", "pi_cam_daemon/daemon.py"]


def test_a_release_with_a_library_for_one_python_is_not_repaired(release: Path, tmp_path: Path) -> None:
    library = release / "lib/python4.1/site-packages/other/other.cpython-41-aarch64-linux-gnu.so"
    library.parent.mkdir()
    library.touch()
    with pytest.raises(Failed, match=r"other\..*\.so works with Python 4\.1 only; name an artefact: --from ARTEFACT$"):
        repair.rebuild(release, HOST, tmp_path / "out")


def test_neither_a_checkout_nor_an_artefact_is_repaired(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({}))
    assert not repair.is_needed(ROOT / "scripts") and not repair.is_needed(tmp_path)
