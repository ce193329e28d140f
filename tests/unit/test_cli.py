from __future__ import annotations

import importlib
import io
import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pi_cam_daemon import __version__
from pi_cam_daemon.camera.csi import Camera as CsiCamera
from pi_cam_daemon.camera.usb_cameras import Camera as UsbCamera
from pi_cam_daemon.cli import main
from pi_cam_daemon.commands import update
from pi_cam_daemon.commands import users as user_commands
from pi_cam_daemon.commands.cameras import camera_list
from pi_cam_daemon.config import loading, users
from pi_cam_daemon.errors import SourceError
from pi_cam_daemon.system import avahi, setup
from tests.kit.daemon import ROOT

PATTERN = ["--set", 'source.kind="pattern"', "--set", "video.width=64", "--set", "video.height=48"]


@dataclass
class Result:
    code: int
    out: str
    errors: list[str]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


class Runner:
    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *argv: str | Path) -> Result:
        code = main(list(map(str, argv)))
        out, errors = self._capfd.readouterr()
        return Result(code, out, errors.splitlines())


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Write an empty configuration file, so that the one of this machine is not used."""
    file = tmp_path / "empty.toml"
    file.touch()
    return file


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "bad.toml"
    file.write_text("[video]\nwidth = 641\nrotation = 45\n")
    return file


# --- the command line


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(run: Runner) -> None:
    result = run()
    assert result.code == 2
    assert "usage: pi-cam-daemon" in result.out


def test_help_names_every_command_with_an_example_and_every_exit_code(run: Runner) -> None:
    result = run("--help")
    assert result.code == 0
    for command in ("run", "snapshot", "list-cameras", "check-config", "config"):
        assert re.search(rf"^    {command}\s+\w", result.out, re.MULTILINE), command
    for code in (0, 1, 2, 70, 78, 130):
        assert re.search(rf"^ +{code}  \w", result.out, re.MULTILINE), code


def test_the_examples_in_the_help_are_accepted(run: Runner) -> None:
    examples = re.findall(r"--set ('[^']+'|\S+=\S+)", run("--help").out)
    assert len(examples) >= 3
    for example in examples:
        loading.load(settings=[example.strip("'")], etc=Path("/nonexistent"))


def test_the_version_is_printed(run: Runner) -> None:
    result = run("--version")
    assert (result.code, result.out) == (0, f"pi-cam-daemon {__version__}\n")


@pytest.mark.parametrize("argv", [["dance"], ["run", "--colour"], ["snapshot"], ["run", "--set"]])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(run: Runner, argv: list[str]) -> None:
    result = run(*argv)
    assert result.code == 2
    [line] = result.errors
    assert line.startswith("pi-cam-daemon: ")
    assert line.endswith(" --help")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("run --port 8080", "unrecognized arguments: --port 8080; did you mean --set http.port=8080?"),
        ("run --port=8080", "unrecognized arguments: --port=8080; did you mean --set http.port=8080?"),
        ("run --set http.port 8080", "unrecognized arguments: 8080; did you mean --set http.port=8080?"),
        ("run http.port=8080", "unrecognized arguments: http.port=8080; did you mean --set http.port=8080?"),
        ("run http.port 8080", "unrecognized arguments: http.port 8080; did you mean --set http.port=8080?"),
        ("run --http.prot 8080", "unrecognized arguments: --http.prot 8080; did you mean --set http.port=8080?"),
        ("run --fps 5 --set page.name=1", "unrecognized arguments: --fps 5; did you mean --set video.framerate=5?"),
        ("snapshot x.jpg --source-kind usb",
         "unrecognized arguments: --source-kind usb; did you mean --set 'source.kind=\"usb\"'?"),
        ("run --kind usb", "unrecognized arguments: --kind usb; did you mean --set 'source.kind=\"usb\"'?"),
        ("run --allowed-networks 10.0.0.0/8",
         "unrecognized arguments: --allowed-networks 10.0.0.0/8; "
         "did you mean --set 'http.allowed_networks=[\"10.0.0.0/8\"]'?"),
        ("run --port", "unrecognized arguments: --port; did you mean --set http.port=VALUE?"),
        ("run --port --kind usb", "unrecognized arguments: --port --kind usb; did you mean --set http.port=VALUE?"),
        ("run --resolution 640x480", "unrecognized arguments: --resolution 640x480"),
        ("run quickly", "unrecognized arguments: quickly"),
        ("announce --set http.port=8080", "unrecognized arguments: --set http.port=8080"),
        ("run --url http://alice:hunter2@camera/ ",
         "unrecognized arguments: --url http://***@camera/; did you mean --set 'upstream.url=\"http://***@camera/\"'?"),
        ("start", "start: unknown command; did you mean pi-cam-daemon run?"),
        ("snapshots", "snapshots: unknown command; did you mean pi-cam-daemon snapshot?"),
        ("http.port=8080", "http.port=8080: unknown command; did you mean pi-cam-daemon run --set http.port=8080?"),
        ("--port 8080", "--port: unknown command; did you mean pi-cam-daemon run --set http.port=8080?"),
        ("--set http.port=8080 run", "--set: unknown command; did you mean pi-cam-daemon run --set http.port=8080?"),
    ],
)  # fmt: skip
def test_what_was_meant_by_an_unknown_word_is_said(run: Runner, line: str, told: str) -> None:
    result = run(*shlex.split(line))
    assert (result.code, result.out) == (2, "")
    end = " See" if told.endswith("?") else "; see"
    assert result.errors == [f"pi-cam-daemon: {told}{end} pi-cam-daemon --help"]


def test_all_commands_are_listed_for_an_unknown_one(run: Runner) -> None:
    [line] = run("dance").errors
    assert line.startswith("pi-cam-daemon: dance: unknown command; accepted: run, snapshot, list-cameras, ")


# --- check-config and config


def test_check_config_accepts_a_good_file(run: Runner, empty: Path) -> None:
    result = run("check-config", empty)
    assert (result.code, result.out, result.errors) == (0, f"{empty}: ok\n", [])


def test_check_config_says_where_there_is_no_file(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "ETC", tmp_path / "etc")
    told = "there is no configuration file, so the defaults are in force"
    assert run("check-config").out == f"{tmp_path}/etc: {told}\n"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/users").touch()
    assert run("check-config").out == f"{tmp_path}/etc: {told}\n"
    (tmp_path / "etc/config.toml").touch()
    assert run("check-config").out == f"{tmp_path}/etc: ok\n"


def test_check_config_reports_every_problem_and_exits_with_78(run: Runner, bad: Path) -> None:
    result = run("check-config", bad)
    assert (result.code, result.out) == (78, "")
    assert result.errors == [
        f"pi-cam-daemon: {bad}: video.width: 641 cannot be used; accepted: an even integer from 16 to 8192",
        f"pi-cam-daemon: {bad}: video.rotation: 45 cannot be used; accepted: 0 or 90 or 180 or 270",
    ]


def test_check_config_of_a_missing_file_exits_with_78(run: Runner, tmp_path: Path) -> None:
    result = run("check-config", tmp_path / "none.toml")
    assert (result.code, result.errors) == (78, [f"pi-cam-daemon: {tmp_path}/none.toml: No such file or directory"])


def test_config_prints_a_valid_file_of_the_settings_in_force(run: Runner, empty: Path, tmp_path: Path) -> None:
    result = run("config", "--config", empty, "--set", "video.width=320", "--set", 'csi.tuning_file="a\\"b#ü.json"')
    assert result.code == 0
    shown = tmp_path / "shown.toml"
    shown.write_text(result.out, "utf-8")
    loaded = loading.load(shown)
    assert (loaded.video.width, loaded.csi.tuning_file) == (320, 'a"b#ü.json')
    assert {name for name, (_, layer) in loading.origins(shown).items() if layer == "default"} == set()


def test_config_origin_shows_the_layer_of_each_key(run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "garden.toml"
    file.write_text("[http]\nport = 8080\n")
    result = run("config", "--origin", "--config", file, "--set", "video.width=320")
    assert re.search(rf"^port = 8080 +# {re.escape(str(file))}$", result.out, re.MULTILINE)
    assert re.search(r"^width = 320 +# --set$", result.out, re.MULTILINE)
    assert re.search(r"^height = 480 +# default$", result.out, re.MULTILINE)
    assert tomllib.loads(result.out)["http"]["port"] == 8080


# --- list-cameras

CSI = [CsiCamera(0, "imx708", "/base/soc/i2c0mux/i2c@1/imx708@1a"), CsiCamera(1, "ov5647", "/base/ov5647@36")]
C270 = UsbCamera(Path("/dev/v4l/by-id/usb-046d_C270-video-index0"), Path("/dev/video0"), "C270 HD WEBCAM")
C920 = UsbCamera(Path("/dev/video2"), Path("/dev/video2"), "C920")


def listed(csi: Sequence[CsiCamera] | SourceError, usb: Sequence[UsbCamera] | SourceError, *settings: str) -> list[str]:
    return camera_list(csi, usb, loading.load(loading.DEFAULTS, settings).camera).splitlines()


def test_each_camera_is_listed_with_the_settings_that_select_it() -> None:
    assert listed(CSI, [C270], "csi.camera=1") == [
        "csi      0  imx708  /base/soc/i2c0mux/i2c@1/imx708@1a",
        "csi      1  ov5647  /base/ov5647@36  (used)",
        "usb      /dev/v4l/by-id/usb-046d_C270-video-index0  C270 HD WEBCAM",
        "pattern  a moving test picture, always available",
    ]


def test_of_several_cameras_the_used_one_is_marked_and_how_to_choose_another() -> None:
    assert listed(CSI, [C270, C920]) == [
        "csi      0  imx708  /base/soc/i2c0mux/i2c@1/imx708@1a  (used)",
        "csi      1  ov5647  /base/ov5647@36",
        "         2 CSI cameras and no csi.camera: the first is used; set csi.camera to choose another",
        "usb      /dev/v4l/by-id/usb-046d_C270-video-index0  C270 HD WEBCAM",
        "usb      /dev/video2  C920",
        "         2 USB cameras and no usb.device: the first is used; set usb.device to choose another",
        "pattern  a moving test picture, always available",
    ]


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        (['source.kind="usb"'], "usb      /dev/v4l/by-id/usb-046d_C270-video-index0  C270 HD WEBCAM  (used)"),
        (['source.kind="usb"', 'usb.device="/dev/video2"'], "usb      /dev/video2  C920  (used)"),
        (['csi.camera="/base/ov5647@36"'], "csi      1  ov5647  /base/ov5647@36  (used)"),
        (['source.kind="pattern"'], "pattern  a moving test picture, always available  (used)"),
        (['source.kind="upstream"'], None),
        (['csi.camera="2"'], None),
    ],
)
def test_the_configuration_decides_which_camera_is_used(settings: list[str], used: str | None) -> None:
    marked = [line for line in listed(CSI, [C270, C920], *settings) if line.endswith("(used)")]
    assert marked == ([used] if used else [])


def test_no_camera_is_reported_with_the_reason() -> None:
    no_csi, no_usb = SourceError("picamera2 is not installed"), SourceError("No permission", hint="Join a group")
    assert listed(no_csi, no_usb) == [
        "no CSI camera: picamera2 is not installed",
        "no USB camera: No permission; Join a group",
        "pattern  a moving test picture, always available  (used)",
    ]
    first, second, third = listed([], [])
    assert first.startswith("no CSI camera: ")
    assert second.startswith("no USB camera: ")
    assert third.startswith("pattern ")


def test_a_wrong_configuration_hides_no_camera(run: Runner, bad: Path) -> None:
    result = run("list-cameras", "--config", bad)
    assert (result.code, len(result.errors)) == (0, 2)
    assert result.out.splitlines()[-1].startswith("pattern ")


def test_list_cameras_always_offers_the_test_picture(run: Runner) -> None:
    result = run("list-cameras")
    assert result.code == 0
    assert result.out.splitlines()[-1].startswith("pattern ")


# --- snapshot


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        (".", "Is a directory"),
        ("none/x.jpg", "No such file or directory"),
        ("empty.toml/x.jpg", "Not a directory"),
        ("x" * 255, "File name too long"),
    ],
)
def test_snapshot_names_the_path_that_it_cannot_write(
    run: Runner, empty: Path, tmp_path: Path, out: str, reason: str
) -> None:
    result = run("snapshot", tmp_path / out, "--config", empty, *PATTERN)
    assert (result.code, result.errors) == (1, [f"pi-cam-daemon: {tmp_path / out}: {reason}"])


# --- without the rights


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Load all modules that are needed, because another user may be unable to read the package."""
    loading.load(loading.DEFAULTS)
    for command in ("snapshot", "update", "users"):
        importlib.import_module(f"pi_cam_daemon.commands.{command}")


@pytest.mark.parametrize("command", ["add-user", "remove-user"])
def test_a_change_of_users_without_rights_is_told_to_use_sudo(
    run: Runner, public: Path, somebody: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    empty, file = public / "empty.toml", public / "users"
    empty.touch()
    users.add(file, "alice", users.Role.VIEWER, "a long password")
    file.chmod(0o644)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"another password\n")))
    public.chmod(0o555)
    somebody("alice")
    result = run(command, "alice", "--config", empty, "--set", f'http.users_file="{file}"')
    assert (result.code, result.errors) == (1, [f"pi-cam-daemon: {file}: Permission denied; run it with sudo"])


def test_a_picture_without_rights_is_told_to_use_sudo(
    run: Runner, public: Path, somebody: Callable[[str], None]
) -> None:
    (public / "empty.toml").touch()
    public.chmod(0o555)
    somebody("alice")
    result = run("snapshot", public / "x.jpg", "--config", public / "empty.toml", *PATTERN)
    told = f"pi-cam-daemon: {public}/x.jpg: Permission denied; run it with sudo"
    assert (result.code, result.errors) == (1, [told])


@pytest.mark.parametrize("argv", [["update"], ["update", "/nowhere.tar.zst"], ["update", "--scheduled"]])
def test_an_update_of_a_checkout_is_git_s(run: Runner, monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    monkeypatch.setattr(update, "INSTALLER", Path("/nonexistent/install"))
    result = run(*argv)
    told = f"{ROOT} is a checkout; update it with git pull, then start scripts/run again"
    assert (result.code, result.errors) == (1, [f"pi-cam-daemon: {told}"])


def test_an_announcement_without_avahi_is_an_error(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avahi, "is_installed", lambda _: False)
    result = run("announce")
    told = "avahi is not installed, and without it nothing is announced; sudo apt install avahi-daemon"
    assert (result.code, result.errors) == (1, [f"pi-cam-daemon: {told}"])


def test_an_update_without_rights_is_told_to_use_sudo(
    run: Runner, somebody: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "checkout", lambda: None)
    somebody("alice")
    result = run("update", "/nowhere.tar.zst")
    assert (result.code, result.errors) == (1, ["pi-cam-daemon: an update needs root; run it with sudo"])


# --- the next step


@pytest.mark.parametrize(
    ("file", "command"),
    [
        (None, "sudo systemctl reload pi-cam-daemon"),
        ("/etc/pi-cam-daemon/cameras/garden.toml", "sudo systemctl reload pi-cam-daemon@garden"),
        ("/home/alice/garden.toml", "send SIGHUP to the daemon that reads /home/alice/garden.toml, or restart it"),
    ],
)
def test_the_next_step_is_for_the_daemon_that_reads_the_file(file: str | None, command: str, tmp_path: Path) -> None:
    for name in ("usr/local/lib", "usr/lib", "lib", "etc"):
        units = tmp_path / name / "systemd/system"
        units.mkdir(parents=True)
        (units / "pi-cam-daemon.service").touch()
        assert user_commands.reload_command(Path(file) if file else None, tmp_path) == command
        (units / "pi-cam-daemon.service").unlink()


def test_without_a_unit_the_next_step_is_for_a_daemon_that_was_started_by_hand(tmp_path: Path) -> None:
    told = "send SIGHUP to pi-cam-daemon, or start it again"
    assert user_commands.reload_command(None, tmp_path) == told
