"""Saved controls: a file of the daemon that is a layer of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pi_cam_daemon.config import loading, saved
from pi_cam_daemon.system import setup
from tests.kit.daemon import ROOT

NOWHERE = Path("/nonexistent")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "controls.toml"


def test_a_checkout_has_a_state_directory_of_its_own_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/pi-cam-daemon@gate:/var/lib/other")
    assert saved.folder() == Path("/var/lib/pi-cam-daemon@gate")
    monkeypatch.delenv("STATE_DIRECTORY")
    assert saved.both_files() == (ROOT / "state/settings.toml", ROOT / "state/controls.toml")
    assert "/state/" in (ROOT / ".gitignore").read_text().splitlines()
    for name in ("one", "two"):
        clone = tmp_path / name
        (clone / "scripts").mkdir(parents=True)
        (clone / "scripts/run").touch()
        monkeypatch.setattr(setup, "__file__", str(clone / "pi_cam_daemon/system/setup.py"))
        assert saved.folder() == clone / "state"
    monkeypatch.setattr(setup, "__file__", "/opt/lib/python3.13/site-packages/pi_cam_daemon/system/setup.py")
    assert saved.folder() == Path("/var/lib/pi-cam-daemon")


def test_a_state_directory_is_held_once_and_one_that_cannot_be_made_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "new/state"))
    assert [saved.hold_folder(), saved.hold_folder()] == [True, False]
    assert list((tmp_path / "new/state").iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "file/state"))
    assert [saved.hold_folder(), saved.hold_folder()] == [True, True]


def test_saved_values_are_read_back_for_each_kind_of_camera(file: Path) -> None:
    csi = {"brightness": 0.5, "roi": [0.0, 0.0, 0.5, 0.5], "awb": None, "denoise": "cdn_hq", "shutter": 5000}
    usb = {"brightness": -3, "power_line_frequency": '60 "Hz"', "white_balance_automatic": False, "gain": None}
    saved.write(file, "csi", csi)
    saved.write(file, "usb", usb)
    assert saved.read(file, "csi") == csi and saved.read(file, "usb") == usb
    assert saved.read(file, "pattern") == {}
    saved.forget(file, "csi")
    assert saved.read(file, "csi") == {} and saved.read(file, "usb") == usb
    saved.forget(file, "usb")
    assert not file.exists()
    saved.forget(file, "usb")


def test_saved_values_override_files_but_not_the_command_line(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[controls]\ncontrast = 3.0\nev = 1.0\n[usb.controls]\nbrightness = 5\ncontrast = 6\n")
    saved.write(file, "csi", {"contrast": 2.0, "sharpness": 4.0})
    saved.write(file, "usb", {"contrast": 7})
    settings = ["controls.sharpness=1.0", "usb.controls.hue=1"]
    loaded = loading.load(config, settings, NOWHERE, [file])
    assert loaded.camera.settings("csi") == {"ev": 1.0, "contrast": 2.0, "sharpness": 1.0}
    assert loaded.camera.settings("usb") == {"brightness": 5, "contrast": 7, "hue": 1}
    found = loading.origins(config, settings, NOWHERE, [file])
    keys = (
        "controls.ev",
        "controls.contrast",
        "controls.sharpness",
        "usb.controls.brightness",
        "usb.controls.contrast",
    )
    assert [found[key][1] for key in keys] == [str(config), str(file), "--set", str(config), str(file)]
    assert loading.load(config, settings, NOWHERE).camera.settings("csi")["contrast"] == 3.0
    both = loading.load_all(config, settings, file.with_name("settings.toml"), file)
    assert (both.config, both.camera) == (loading.load(config, settings, NOWHERE), loaded.camera)


def test_saved_settings_are_in_force_but_not_configured(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[video]\nrotation = 180\n[page]\nname = "Yard"\n')
    settings = file.with_name("settings.toml")
    saved.write_settings(settings, {"video.rotation": 90, "video.hflip": True, "page.name": 'Hof "2"'})
    saved.write(file, "csi", {"contrast": 2.0})
    loaded = loading.load_all(config, ["video.hflip=false"], settings, file)
    for one in (loaded.config.video, loaded.camera.video):
        assert (one.rotation, one.hflip) == (90, False)
    assert (loaded.configured.video.rotation, loaded.configured.page.name) == (180, "Yard")
    assert (loaded.config.controls.contrast, loaded.camera.controls.contrast) == (None, 2.0)
    assert (loaded.config.page.name, loaded.fixed) == ('Hof "2"', {"video.hflip"})
    assert loaded.files == {"video.rotation": 180, "page.name": "Yard"}
    assert loaded.saved == {"video.rotation": 90, "video.hflip": True, "page.name": 'Hof "2"'}
    saved.write_settings(settings, {})
    assert not settings.exists()


def test_wrong_saved_values_are_left_out_and_reported(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.parent.mkdir()
    file.write_text('controls.awb = "pink"\ncontrols.ev = 1.0\nfuture.key = 1\n')
    assert loading.load(None, [], NOWHERE, [file]).camera.settings("csi") == {"ev": 1.0}
    assert '"pink" cannot be used' in caplog.text and "future" in caplog.text
    file.write_bytes(b"\xff\x00")
    assert loading.load(None, [], NOWHERE, [file]).camera.settings("csi") == {}
    saved.write(file, "csi", {"ev": 2.0})
    assert saved.read(file, "csi") == {"ev": 2.0}


def test_a_state_directory_that_may_not_be_entered_is_reported_and_ignored(
    public: Path, somebody: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    file = public / "state/settings.toml"
    saved.write_settings(file, {"video.rotation": 90})
    file.parent.chmod(0o700)
    somebody("alice")
    assert loading.load(None, [], NOWHERE, [file]).video.rotation == 0
    assert caplog.text.count(f"{file}: Permission denied for alice") == 1


def test_any_user_can_read_saved_controls_so_that_config_shows_them(file: Path) -> None:
    saved.write(file, "csi", {"brightness": 0.5})
    assert file.stat().st_mode & 0o777 == 0o644
