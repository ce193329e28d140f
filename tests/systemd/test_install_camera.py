"""The camera in the installer's health check: a release that loses it is rolled back, one that never had it is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.wait import until
from tests.systemd import csi
from tests.systemd.test_install import CONFIG, GARDEN, OPT, Machine, bare

__all__ = ["bare"]

AUTO = CONFIG.replace('"pattern"', '"auto"')
ON_DEMAND = AUTO.replace("[source]", '[source]\ncapture = "on-demand"\nidle_seconds = 2')
ETC = "/etc/pi-cam-daemon"
# a release with a numpy of its own, which apt's picamera2 does not fit
BREAKS = {"picamera2.py": csi.BROKEN}
GONE = "The camera imx708 (csi) is gone: picamera2 cannot be loaded: numpy.dtype size changed"
LOST = f"gives no pictures of its camera any more: {GONE}"
QUICK = "--health-seconds=6"


def status(machine: Machine) -> tuple[int, str]:
    done = machine.install("--status")
    print(done.stdout)
    return done.returncode, done.stdout


def streams(machine: Machine) -> bool:
    """Wait until the camera streams at its rate: on a busy machine another one is measured for a while."""
    said = "camera    streaming: Streaming 320x240 at 25 frames/s from imx708"
    return bool(until("the stream", lambda: said in status(machine)[1], 20))


@pytest.fixture
def blind(bare: Machine) -> Iterator[Machine]:
    """The host without a camera and without the daemon, and with a configuration that looks for one."""
    bare.installs("--uninstall")
    bare.host.write(f"{ETC}/config.toml", AUTO)
    yield bare
    print(bare.journal())
    csi.disconnect(bare.host)
    bare.installs("--uninstall", "--purge")
    bare.host.write(f"{ETC}/config.toml", CONFIG)


@pytest.fixture
def seeing(blind: Machine) -> Machine:
    """The host with a camera, and a release that serves it."""
    csi.connect(blind.host)
    blind.installs("--from", blind.variant())
    assert streams(blind)
    return blind


def test_a_release_that_loses_the_camera_is_rolled_back(seeing: Machine) -> None:
    first = seeing.current()
    said = seeing.fails("--from", seeing.variant(more=BREAKS), QUICK)
    assert LOST in said and "Run " in said
    assert f"went back to {first}, which serves" in said
    assert seeing.running() == seeing.current() == seeing.history()[-1] == first
    assert streams(seeing)
    seeing.installs("--from", seeing.variant())
    assert streams(seeing)


def test_a_killed_installation_that_lost_the_camera_is_repaired(seeing: Machine) -> None:
    first, broken = seeing.current(), seeing.variant(more=BREAKS)
    with seeing.begun("--from", broken) as killed:
        until("the loss", lambda: f"camera    no-camera: {GONE}" in status(seeing)[1], 60)
        seeing.signal("KILL")
    assert killed.result() != 0
    said = seeing.fails("--from", broken, QUICK)
    assert LOST in said and f"went back to {first}, which serves" in said
    assert streams(seeing)


def test_a_camera_that_sleeps_is_woken_for_the_comparison(seeing: Machine) -> None:
    seeing.host.write(f"{ETC}/config.toml", ON_DEMAND)
    seeing.host.run("systemctl", "restart", "pi-cam-daemon.service")
    until("sleep", lambda: "camera    idle: " in status(seeing)[1])
    assert LOST in seeing.fails("--from", seeing.variant(more=BREAKS), QUICK)
    assert "serves, but" not in seeing.installs("--from", seeing.variant())


def test_the_camera_is_asked_for_where_a_password_is_needed(seeing: Machine) -> None:
    seeing.host.run("sh", "-c", "echo a-long-password | pi-cam-daemon add-user bob")
    seeing.host.write(f"{ETC}/config.toml", f'{AUTO}[http]\nusers_file = "{ETC}/users"\n')
    seeing.host.run("systemctl", "restart", "pi-cam-daemon.service")
    assert streams(seeing)
    assert LOST in seeing.fails("--from", seeing.variant(more=BREAKS), QUICK)
    assert streams(seeing)


def test_one_lost_camera_of_two_takes_both_back(seeing: Machine) -> None:
    seeing.host.write(f"{ETC}/cameras/garden.toml", AUTO + "[http]\nport = 8001\n")
    first = seeing.current()
    seeing.host.run("systemctl", "enable", "--now", GARDEN)
    try:
        until("both", lambda: status(seeing)[1].count("camera    streaming: ") == 2)
        assert LOST in seeing.fails("--from", seeing.variant(more=BREAKS), QUICK)
        assert seeing.running() == seeing.running(GARDEN) == first
    finally:
        seeing.host.run("systemctl", "disable", "--now", GARDEN)
        seeing.host.remove(f"{ETC}/cameras")


def test_a_camera_that_the_host_has_lost_is_told_and_stops_one_update_only(seeing: Machine) -> None:
    first = seeing.current()
    # the process that serves has the old one in its memory
    csi.damage(seeing.host)
    assert streams(seeing)
    variant = seeing.variant()
    said = seeing.fails("--from", variant, QUICK)
    assert LOST in said
    assert f"went back to {first}, but still: pi-cam-daemon.service {LOST}" in said
    assert seeing.running() == first
    code, table = status(seeing)
    assert code == 1 and f"camera    no-camera: {GONE}" in table
    assert "health    pi-cam-daemon.service gives no pictures of its camera\n" in table
    # it gave none before, so an update may mend it
    assert f"serves, but gives no pictures of its camera: {GONE}" in seeing.installs("--from", variant)
    csi.connect(seeing.host)
    assert "serves, but" not in seeing.installs("--from", seeing.variant())
    assert status(seeing)[0] == 0


def test_a_host_that_never_had_a_camera_is_told_so_and_passes(blind: Machine) -> None:
    for _ in range(2):
        said = blind.installs("--from", blind.variant())
        assert "serves, but no camera was ever found: No camera: picamera2 is not installed" in said
        assert blind.running() == blind.current()
    code, table = status(blind)
    assert code == 0
    assert "camera    no-camera: No camera: picamera2 is not installed" in table
    assert "health    ok, but no camera was ever found\n" in table
    others = blind.host.try_run("setpriv", "--reuid=65534", f"{OPT}/current/install", "--status")
    assert others.returncode == 0 and "camera    No camera: picamera2 is not installed" in others.stdout


def test_a_rollback_to_a_release_without_the_camera_is_undone(blind: Machine) -> None:
    csi.connect(blind.host)
    blind.installs("--from", blind.variant(more=BREAKS))
    blind.installs("--from", blind.variant())
    second = blind.current()
    assert streams(blind)
    said = blind.fails("--rollback", QUICK)
    assert LOST in said and f"went back to {second}, which serves" in said
    assert blind.running() == blind.current() == second
    assert streams(blind)
