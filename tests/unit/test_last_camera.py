"""The memory of the camera that gave pictures last."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from pi_cam_daemon.core.health import CameraStatus, State
from pi_cam_daemon.core.last_camera import LastCamera
from pi_cam_daemon.ipc.messages import CameraInfo

INFO = CameraInfo("csi", "imx708", 640, 480, 25.0, "YUV420", "hardware")
STREAMING = CameraStatus(
    state=State.STREAMING, failure=None, info=INFO, captured=1, rate=25.0, period=0.04, measured=0.04, pid=1,
    starts=1, restarts={}, since=0.0, needs_reboot=False, takes_still=False, stands_in=False, unusable="", last="",
)  # fmt: skip


def test_the_camera_is_remembered_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "last-camera.json"
    before = LastCamera(path)
    assert (before.kind, before.name, before.real) == ("", "", False)
    before.remember(STREAMING)
    after = LastCamera(path)
    assert (after.kind, after.name, after.real) == ("csi", "imx708", True)


@pytest.mark.parametrize("state", [state for state in State if state is not State.STREAMING])
def test_a_camera_that_gives_no_picture_is_not_remembered(tmp_path: Path, state: State) -> None:
    LastCamera(tmp_path / "last").remember(replace(STREAMING, state=state))
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_written_only_when_the_camera_changes(tmp_path: Path) -> None:
    path = tmp_path / "last"
    LastCamera(path).remember(STREAMING)
    path.parent.chmod(0o500)
    written = path.stat()
    LastCamera(path).remember(STREAMING)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    path.parent.chmod(0o700)
    LastCamera(path).remember(replace(STREAMING, info=replace(INFO, kind="usb", name="C920")))
    assert (LastCamera(path).kind, LastCamera(path).name) == ("usb", "C920")


@pytest.mark.parametrize(("kind", "real"), [("usb", True), ("pattern", False), ("upstream", False)])
def test_only_a_camera_at_this_machine_is_a_real_one(tmp_path: Path, kind: str, real: bool) -> None:
    last = LastCamera(tmp_path / "last")
    last.remember(replace(STREAMING, info=replace(INFO, kind=kind)))
    assert last.real is real


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "null", "\0"])
def test_a_damaged_file_is_like_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "last").write_text(content)
    last = LastCamera(tmp_path / "last")
    assert (last.kind, last.name, last.real) == ("", "", False)


def test_a_folder_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        LastCamera(tmp_path / "file" / "last").remember(STREAMING)
    assert "after a restart a missing camera is not noticed" in caplog.text
