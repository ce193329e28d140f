"""The copy of the last good configuration: its content, its owner, and its use when the files are wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pi_cam_daemon.config import last_good, loading, saved
from pi_cam_daemon.config.last_good import ConfigFiles
from pi_cam_daemon.errors import ConfigError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "garden.toml"
    path.write_text("[video]\nrotation = 90\n")
    return path


def keep(file: Path, *settings: str) -> ConfigFiles:
    """Put *file* into force once, and then make it wrong."""
    files = ConfigFiles(file, settings)
    files.keep(files.load())
    file.write_text("[video]\nrotation = 91\n")
    with pytest.raises(ConfigError, match="91"):
        files.load()
    return files


EVERYTHING = r"""
source.kind = "usb"
csi.camera = 1
csi.tuning_file = '/etc/a "quoted" \ name ü.json'
controls.awb = "default"
controls.roi = [0.25, 0.25, 0.5, 0.5]
controls.gain = 8
usb.controls = { brightness = -3, power_line_frequency = '60 "Hz"', white_balance_automatic = false, gain = "default" }
upstream.url = "http://somebody:hunter2@192.168.7.77/video"
http.allowed_networks = ["local", "203.0.113.7/24", "::1"]
http.trusted_proxies = []
http.cors_origins = ["http://octopi.local"]
wall.cameras = ["http://picam-2.local:8000/"]
video.framerate = 0.5
video.hflip = true
"""


@pytest.mark.parametrize("text", ["", EVERYTHING, loading.DEFAULTS.read_text()])
def test_the_copy_gives_the_same_configuration(state: Path, file: Path, text: str) -> None:
    file.write_text(text)
    files = ConfigFiles(file)
    loaded = files.load()
    files.keep(loaded)
    assert files.load_last_good() == loaded
    assert loading.load(state / last_good.NAME) == loaded.config, "it is a configuration file like any other"


def test_the_copy_has_the_keys_of_the_files_only(state: Path, file: Path) -> None:
    saved.write(state / "controls.toml", "csi", {"contrast": 2.0})
    files = keep(file, "video.quality=60")
    lines = [line for line in (state / last_good.NAME).read_text().splitlines() if not line.startswith("#")]
    assert lines == ["video.rotation = 90"]
    loaded = files.load_last_good()
    assert (loaded.config.video.rotation, loaded.config.video.quality) == (90, 60)
    assert loaded.config.controls.contrast is None and loaded.camera.controls.contrast == 2.0
    # other settings on the command line, other saved controls
    saved.forget(state / "controls.toml", "csi")
    loaded = ConfigFiles(file, ["video.quality=70"]).load_last_good()
    assert (loaded.config.video.quality, loaded.camera.controls.contrast) == (70, None)


@pytest.mark.usefixtures("state")
def test_all_files_of_the_folder_become_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    etc = tmp_path / "etc"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "config.toml").write_text("video.rotation = 90\nvideo.width = 320\nusb.controls = { gain = 1, hue = 2 }\n")
    (etc / "conf.d" / "site.toml").write_text("video.rotation = 180\nusb.controls = { hue = 3 }\n")
    for module in (loading, last_good):
        monkeypatch.setattr(module, "ETC", etc)
    files = ConfigFiles()
    loaded = files.load()
    files.keep(loaded)
    assert loaded.files == {
        "video.rotation": 180, "video.width": 320, "usb.controls.gain": 1, "usb.controls.hue": 3,
    }  # fmt: skip
    (etc / "conf.d" / "site.toml").write_text("nonsense")
    assert files.load_last_good() == loaded


@pytest.mark.usefixtures("state")
def test_the_copy_of_another_file_is_not_taken(file: Path, tmp_path: Path) -> None:
    keep(file)
    for other in (None, tmp_path / "gate.toml"):
        with pytest.raises(ConfigError, match="not a copy of"):
            ConfigFiles(other).load_last_good()
    assert ConfigFiles(file).load_last_good().config.video.rotation == 90


@pytest.mark.usefixtures("state")
def test_a_relative_path_is_the_same_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(file)
    monkeypatch.chdir(file.parent)
    assert ConfigFiles(Path(file.name)).load_last_good().config.video.rotation == 90


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("name", ["line\nbreak.toml", 'quote".toml', "뜰.toml", os.fsdecode(b"\xff.toml")])
def test_any_name_of_a_file_is_recognised(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("[video]\nrotation = 90\n")
    assert keep(path).load_last_good().config.video.rotation == 90


def test_a_copy_that_is_missing_or_not_valid_any_more_is_refused(state: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match="not a copy of"):
        ConfigFiles(file).load_last_good()
    files = keep(file)
    copy = state / last_good.NAME
    copy.write_text(copy.read_text() + "video.from_an_older_release = 1\n")
    with pytest.raises(ConfigError, match="unknown key"):
        files.load_last_good()
    copy.write_bytes(b"\0\xff")
    with pytest.raises(ConfigError, match="not a copy of"):
        files.load_last_good()


@pytest.mark.usefixtures("state")
def test_a_wrong_setting_of_the_command_line_stays_an_error(file: Path) -> None:
    keep(file)
    with pytest.raises(ConfigError, match=r"--set: video\.rotation: 45"):
        ConfigFiles(file, ["video.rotation=45"]).load_last_good()


def test_only_the_service_can_read_the_copy_and_the_same_is_not_written_again(state: Path, file: Path) -> None:
    before = os.umask(0)
    try:
        keep(file)
    finally:
        os.umask(before)
    copy = state / last_good.NAME
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    inode = copy.stat().st_ino
    file.write_text("[video]\nrotation = 90   # the same\n")
    keep(file)
    assert copy.stat().st_ino == inode
    assert [path.name for path in state.iterdir()] == [last_good.NAME]


def test_without_a_state_directory_nothing_is_kept(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    files = keep(file)
    with pytest.raises(ConfigError):
        files.load_last_good()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_written_is_one_warning(
    state: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state.write_text("a file in the place of the folder")
    files = ConfigFiles(file)
    for _ in range(3):
        files.keep(files.load())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(state) in caplog.text


# -- below a root, as on a card


def configure(root: Path, text: str) -> None:
    path = root / "etc/pi-cam-daemon/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def copy(root: Path, text: str, source: str = "/etc/pi-cam-daemon") -> None:
    path = root / "var/lib/pi-cam-daemon" / last_good.NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# the last good configuration of '{source}'\n{text}")


def test_the_files_are_in_force_or_else_the_copy_or_else_the_defaults(tmp_path: Path) -> None:
    configure(tmp_path, "http.port = 8081\n")
    copy(tmp_path, "http.port = 8082\n")
    assert last_good.in_force(tmp_path).http.port == 8081
    configure(tmp_path, "http.port = 808080\n")
    assert last_good.in_force(tmp_path).http.port == 8082
    copy(tmp_path, "http.port = 8082\n", source="/etc/pi-cam-daemon/cameras/garden.toml")
    assert last_good.in_force(tmp_path).http.port == 8000
    copy(tmp_path, "http.prot = 8082\n")
    assert last_good.in_force(tmp_path).http.port == 8000
