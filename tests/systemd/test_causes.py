"""Each cause for which there is no camera is told in its words wherever an owner looks. The page is tests/browser's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.causes import CAUSES, NOT_IN_FORCE, Cause
from tests.kit.daemon import ROOT
from tests.kit.wait import until
from tests.systemd import csi
from tests.systemd.conftest import SRV, STATE, Camera

# the modules of the collection that verify is made of
MODULES = "ansible_collections/pi_cam/daemon/plugins/module_utils"
VERIFY = f"""import json, sys
sys.path.insert(0, "/root")
from {MODULES.replace("/", ".")} import steps
options = dict(seconds=5, gave={{}}, drift="refuse", expected="", restarts={{}})
print(json.dumps(steps.verify(options)))
"""
NODE = "/dev/video0"


@pytest.fixture
def camera(stopped: Camera) -> Iterator[Camera]:
    """The service, configured to look for a camera."""
    stopped.configure({"source.kind": "auto"})
    for module in (ROOT / "ansible/plugins/module_utils").glob("*.py"):
        stopped.host.write(f"/root/{MODULES}/{module.name}", module.read_text())
    yield stopped
    csi.disconnect(stopped.host)
    stopped.host.run("rm", "-rf", NODE, "/root/ansible_collections")


def bring_about(camera: Camera, cause: Cause) -> None:
    """Start the service with *cause*, or let it happen to the running service."""
    host = camera.host
    if cause.event:
        csi.connect(host)
    else:
        host.write(f"{csi.PACKAGES}/picamera2/__init__.py", cause.picamera2)
    if cause.last:
        host.write(f"{STATE}/last-camera.json", cause.last)
    if cause.forbidden:
        host.run("install", "-m", "0600", "/dev/null", NODE)
    host.run("systemctl", "start", camera.unit)
    if not cause.event:
        return
    until("pictures of the camera", lambda: camera.state()["source"]["kind"] == "csi" and camera.state()["ok"])
    if cause.event == "lost":
        host.write(f"{csi.PACKAGES}/picamera2/__init__.py", cause.picamera2)
        host.run("pkill", "-KILL", "-f", "pi_cam_daemon.camera")
        return
    camera.configure({"source.kind": "auto", "video.rotation": 45})
    if cause.event == "start":
        host.run("systemctl", "restart", camera.unit)
    else:
        assert host.try_run("systemctl", "reload", camera.unit).returncode != 0


def verify(camera: Camera) -> tuple[str, str]:
    """Return the problem that the role's verify reports, and its note on the camera."""
    done = camera.host.try_run("python3", "-c", VERIFY)
    if done.returncode:
        return done.stderr, ""
    table = json.loads(done.stdout)
    return table["problem"], table["cameras"][camera.unit]["note"]


def told(camera: Camera, cause: Cause) -> dict[str, Any] | None:
    """Return /state when it tells *cause*."""
    state = camera.state()
    return state if state["cause"] == cause.cause and state["detail"].startswith(cause.detail) else None


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name.replace(" ", "-"))
def test_a_cause_is_told_everywhere(camera: Camera, cause: Cause) -> None:
    bring_about(camera, cause)
    state = until("the cause", lambda: told(camera, cause))
    status, body = camera.get("/healthz")
    health = json.loads(body)
    assert (status, health["ok"], health["cause"]) == (cause.health, cause.health == 200, cause.cause)
    assert health["detail"].startswith(cause.detail) and state["detail"].startswith(cause.detail)
    assert cause.hint in state["hint"] and cause.hint in health["hint"]
    assert f"\n{cause.metric}\n" in camera.get("/metrics")[1].decode()

    line = camera.show("StatusText")
    assert line.startswith(cause.detail)
    refused = cause.event in ("start", "reload")
    assert bool(state["config_refused"]) == (NOT_IN_FORCE in line) == refused

    report = json.loads(camera.host.run(f"{SRV}/install", "--status", "--json"))
    assert report["units"][camera.unit]["state"]["cause"] == cause.cause
    shown = camera.host.try_run(f"{SRV}/install", "--status")
    print(shown.stdout)
    assert cause.installer in shown.stdout
    assert (shown.returncode == 0) == (cause.installer.startswith("ok") or refused)
    problem, note = verify(camera)
    assert cause.verify in problem + note
    assert bool(problem) == (cause.last != "" or cause.event != "")
