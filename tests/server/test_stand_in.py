"""The test picture in place of a camera that `auto` does not find: it is shown, and it is no healthy camera."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.system import machine
from tests.kit.causes import BAD_NUMPY, EMPTY, IMX708, MISSING
from tests.kit.daemon import RUN, Daemon, running
from tests.kit.wait import until
from tests.systemd import csi

CAUSES = {
    "missing": (MISSING, "missing", "picamera2 is not installed", "Only a Raspberry Pi has the connector"),
    "broken": (BAD_NUMPY, "broken", "picamera2 cannot be loaded: numpy.dtype size changed", "numpy"),
    "empty": (EMPTY, "missing", "picamera2 finds no CSI camera", "Check the ribbon cable"),
}


@pytest.fixture(params=CAUSES)
def cause(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings(**more: object) -> dict[str, object]:
    return {"source.kind": "auto", "usb.device": "/dev/there-is-none", **more}


def env(folder: Path, program: str) -> dict[str, str]:
    """Return an environment whose picamera2 is *program*."""
    modules = folder / "modules"
    modules.mkdir(parents=True)
    (modules / "picamera2.py").write_text(program)
    root = Path(__file__).parents[2]
    return {"PYTHONPATH": f"{modules}:{root}"}


def healthz(daemon: Daemon) -> tuple[int, dict[str, object]]:
    status, _, body = daemon.get("/healthz")
    return status, json.loads(body)


def test_a_stand_in_is_not_healthy_and_says_what_is_missing(tmp_path: Path, cause: str) -> None:
    program, word, message, hint = CAUSES[cause]
    with running(tmp_path / "daemon", settings(), env=env(tmp_path, program), argv=RUN) as daemon:
        daemon.wait_for_state("no-camera", 30)
        status, table = healthz(daemon)
        assert (status, table["ok"], table["cause"]) == (503, False, word)
        assert str(table["detail"]).startswith(f"No camera: {message}")
        assert hint in str(table["hint"])
        assert str(table["hint"]).startswith(f"For a {'CSI' if machine.model() else 'USB'} camera: ")
        state = daemon.state()
        told = f"{state['detail']} {state['hint']}"
        assert [name for name, value in state["values"].items() if name != "group" and value not in told] == []
        assert state["values"].keys() & {"device", "command", "group"}
        assert table["source"] == {
            "configured": "auto", "kind": "pattern", "reason": "", "stand_in": True, "last": None
        }  # fmt: skip
        metrics = daemon.get("/metrics")[2].decode()
        assert 'pi_cam_state{state="no-camera"} 1.0\n' in metrics
        assert 'pi_cam_source_info{configured="auto",kind="pattern",last="",stand_in="1"} 1.0\n' in metrics
        assert f"No camera: {message}" in daemon.log()


def test_its_picture_is_served_all_the_same(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", settings(), env=env(tmp_path, EMPTY), argv=RUN) as daemon:
        daemon.wait_for_state("no-camera", 30)
        for _ in range(3):  # nobody watches: one picture a second comes
            status, headers, body = daemon.get("/snapshot")
            assert (status, headers["content-type"]) == (200, "image/jpeg")
            jpeg.check(body)
        viewer = daemon.watch()
        assert all(b"X-No-Picture" not in part.header for part in viewer.parts(20))
        viewer.close()


def test_a_missing_on_demand_camera_is_told_although_nobody_ever_watches(tmp_path: Path) -> None:
    asked = settings(**{"source.capture": "on-demand", "source.idle_seconds": 1.0})
    with running(tmp_path / "daemon", asked, env=env(tmp_path, EMPTY), argv=RUN) as daemon:
        daemon.wait_for_state("no-camera", 30)
        until("no camera for longer than the camera may idle", lambda: daemon.state()["since_seconds"] > 2)
        assert daemon.state()["state"] == "no-camera"


def test_a_camera_that_served_before_the_restart_is_missed(tmp_path: Path) -> None:
    state = tmp_path / "daemon" / "state"
    state.mkdir(parents=True)
    (state / "last-camera.json").write_text(IMX708)
    with running(tmp_path / "daemon", settings(), env=env(tmp_path, EMPTY), argv=RUN) as daemon:
        table = daemon.wait_for_state("no-camera", 30)
        assert table["cause"] == "lost"
        assert table["detail"].startswith("The camera imx708 (csi) is gone: picamera2 finds no CSI camera")
        assert table["source"]["last"] == "csi"
    assert json.loads((state / "last-camera.json").read_text())["kind"] == "csi", "the stand-in is no camera"


def test_the_test_picture_that_was_asked_for_is_healthy_and_remembered(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"source.kind": "pattern"}, argv=RUN) as daemon:
        daemon.wait_for_state("streaming")
        remembered = daemon.state_folder / "last-camera.json"
        until("the file", remembered.exists)
        status, table = healthz(daemon)
        assert (status, table["ok"]) == (200, True)
        assert table["source"] == {
            "configured": "pattern", "kind": "pattern", "reason": "", "stand_in": False, "last": "pattern"
        }  # fmt: skip
    assert json.loads(remembered.read_text())["kind"] == "pattern"


# a /dev of its own, in which a test makes nodes, and then the program it is given
OWN_DEV = """
import ctypes, os, subprocess, sys
if ctypes.CDLL(None).unshare(0x20000):  # CLONE_NEWNS
    sys.exit("needs root")
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev"], check=True)
for name, minor in (("null", 3), ("urandom", 9)):
    os.mknod(f"/dev/{name}", 0o20666, os.makedev(1, minor))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a /dev of its own")
def test_a_csi_camera_that_appears_later_is_taken(tmp_path: Path) -> None:
    program = tmp_path / "own-dev.py"
    program.write_text(OWN_DEV)
    argv = [sys.executable, program, *RUN[1:]]
    with running(tmp_path / "daemon", settings(), env=env(tmp_path, EMPTY), argv=argv) as daemon:
        daemon.wait_for_state("no-camera", 30)
        # a slow sensor: its driver makes the node when it has answered
        csi.put(tmp_path / "modules")
        (tmp_path / "modules" / "picamera2.py").unlink()
        Path(f"/proc/{daemon.process.pid}/root/dev/v4l-subdev0").touch()
        source = daemon.wait_for_state("streaming", 30)["source"]
        assert (source["kind"], source["stand_in"]) == ("csi", False)
        assert "/dev/v4l-subdev0 is there now" in daemon.log()
