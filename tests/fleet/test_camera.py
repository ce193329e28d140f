"""Hosts with `source.kind = "auto"`: a camera that is lost stops a rollout, one that never was is reported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fleet.conftest import UNIT, Controller, Pi
from tests.fleet.releases import Releases
from tests.kit.wait import until
from tests.systemd import csi

AUTO = {"pi_cam_daemon_source": "auto"}
GONE = "The camera imx708 (csi) is gone: picamera2 cannot be loaded: numpy.dtype size changed"
NEVER = "no camera, test picture: picamera2 is not installed"


def sees(pi: Pi) -> bool:
    """Return whether the host gives the pictures of its camera."""
    try:
        health = pi.health()
    except OSError:
        return False
    return bool(health["ok"] and health["source"]["kind"] == "csi")


@pytest.fixture
def seeing(deployed: Controller) -> Iterator[Controller]:
    """Two hosts with a camera, which is found."""
    deployed.own = {"pi1": {**AUTO}, "pi2": {**AUTO}}
    pis = [deployed.pis[name] for name in deployed.own]
    try:
        for pi in pis:
            csi.connect(pi)
        deployed.deploys()
        assert all(sees(pi) for pi in pis)
        yield deployed
    finally:
        for pi in pis:
            csi.disconnect(pi)


def test_a_release_that_breaks_picamera2_ends_with_the_canary(seeing: Controller, releases: Releases) -> None:
    canary, other = (seeing.pis[name] for name in seeing.own)
    before, untouched = canary.trace(), other.trace()
    seeing.artefact = releases.artefact("blind", more={"picamera2.py": csi.BROKEN})
    play = seeing.play("site.yml", "-e", "pi_cam_daemon_verify_seconds=20")
    assert play.status != 0
    report = play.report("pi1")
    assert f"{UNIT} gives no pictures of its camera any more: {GONE}" in report
    assert f"went back to {before['release']}, which serves" in report
    assert "untouched" in play.report("pi2")
    assert (canary.release(), canary.trace()["files"]) == (before["release"], before["files"])
    until("the camera", lambda: sees(canary))
    assert other.trace() == untouched and sees(other)
    verified = seeing.play("verify.yml")
    assert verified.status == 0 and "test picture" not in verified.said


def test_a_host_without_a_camera_is_reported_until_it_loses_one(deployed: Controller, releases: Releases) -> None:
    deployed.own = {"pi3": {**AUTO}}
    pi = deployed.pis["pi3"]
    # until now it showed a test picture because that was asked for
    deployed.artefact = releases.artefact("never")
    line = deployed.deploys().report("pi3")
    assert "  no-camera  " in line and NEVER in line
    again = deployed.deploys()
    assert again.changed()["pi3"] == 0 and NEVER in again.report("pi3")
    deployed.artefact = releases.artefact("again")
    assert NEVER in deployed.deploys().report("pi3")
    verified = deployed.play("verify.yml")
    assert verified.status == 0 and NEVER in verified.report("pi3")
    try:
        csi.connect(pi)
        pi.run("systemctl", "restart", UNIT)
        until("the camera", lambda: sees(pi))
        csi.damage(pi)
        pi.run("systemctl", "restart", UNIT)
        until("the loss", lambda: pi.health()["detail"].startswith("The camera imx708 (csi) is gone"))
        lost = deployed.play("verify.yml", "-e", "pi_cam_daemon_verify_seconds=5")
        assert lost.status != 0 and f"{UNIT} gives no pictures: {GONE}" in lost.report("pi3")
        # it gave none before, so this run has not lost it
        assert GONE in deployed.deploys().report("pi3")
    finally:
        csi.disconnect(pi)
