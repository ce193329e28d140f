"""Frozen parts recover: each fault once, with a short watchdog period; with --soak five times, with the real one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.systemd import stopped_thread
from tests.systemd.conftest import Camera
from tests.systemd.hosts import Host
from tests.systemd.stuck_device import stuck_device

# three questions in a period; a shorter one would judge a busy test machine
CI_WATCHDOG_SECONDS = 3
STALL_SECONDS = 1
STUCK = "/dev/stuck"
GARDEN = "pi-cam-daemon@garden"


@pytest.fixture
def times(soak: bool) -> int:
    return 5 if soak else 1


@pytest.fixture
def watchdog_seconds(soak: bool) -> int:
    return 30 if soak else CI_WATCHDOG_SECONDS


@pytest.fixture
def guarded(stopped: Camera, soak: bool) -> Camera:
    """The service with a watchdog period that a test can wait for; with --soak, its own."""
    if not soak:
        stopped.drop_in(f"WatchdogSec={CI_WATCHDOG_SECONDS}")
    stopped.configure({"source.stall_timeout_seconds": STALL_SECONDS})
    stopped.start()
    return stopped


def worst_outage(camera: Camera, times: int, freeze: Callable[[int], object], seconds: float, logged: str) -> float:
    """Return the longest time from *freeze(the server's process id)* to pictures of another server, in seconds.

    Each new server has to be there after *seconds*, and the reason of each end has to be *logged*.
    """
    worst = 0.0
    for _ in range(times):
        since, pid, number = camera.now(), camera.main_pid(), camera.show("MainPID")
        frozen = time.monotonic()
        freeze(pid)
        until("another server", lambda number=number: camera.show("MainPID") not in ("0", number), seconds)
        camera.wait_for_pictures()
        worst = max(worst, time.monotonic() - frozen)
        journal = camera.journal(since)
        assert "Watchdog timeout" in journal and logged in journal
    return worst


@pytest.mark.every_debian
def test_a_server_that_freezes_is_restarted_by_the_watchdog(
    guarded: Camera, times: int, watchdog_seconds: int, report: Report
) -> None:
    bound = watchdog_seconds + 5
    worst = worst_outage(guarded, times, lambda pid: os.kill(pid, signal.SIGSTOP), bound, logged="Current thread")
    report(f"pictures again after {worst:.1f} s")
    assert worst <= patience(bound)


@pytest.mark.parametrize("loop", ["accept loop", "stream loop", "supervisor"])
def test_a_loop_that_freezes_is_found_and_the_service_restarted(
    guarded: Camera, times: int, watchdog_seconds: int, loop: str, report: Report
) -> None:
    def freeze(pid: int) -> None:
        stopped_thread.stop(stopped_thread.thread_id(pid, loop))

    # it may have answered the last question just before it froze
    bound = watchdog_seconds * 4 / 3 + 5
    worst = worst_outage(guarded, times, freeze, bound, logged=f"no answer from the {loop}")
    report(f"pictures again after {worst:.1f} s")
    assert worst <= patience(bound)


def test_a_camera_that_freezes_is_replaced_without_losing_viewers(guarded: Camera, times: int, report: Report) -> None:
    def lasts() -> bool:
        """Return whether pictures have lasted: a camera that fails within 5 s of them is tried again more slowly."""
        table = guarded.state()
        return bool(table["state"] == "streaming" and table["since_seconds"] > 6)

    number = guarded.show("MainPID")
    viewers = [guarded.watch() for _ in range(5)]
    worst = 0.0
    for turn in range(1, times + 1):
        until("a camera that lasts", lasts, 20)
        frozen = time.monotonic()
        os.kill(guarded.camera_pid(), signal.SIGSTOP)
        until("another camera", lambda turn=turn: guarded.state()["camera_process"]["starts"] > turn, 15)
        until("streaming", lambda: guarded.state()["state"] == "streaming", 15)
        worst = max(worst, time.monotonic() - frozen)
    report(f"pictures again after {worst:.1f} s")
    for viewer in viewers:
        viewer.finish()
    assert guarded.show("MainPID") == number
    assert worst <= patience(STALL_SECONDS + 3)


@pytest.mark.parametrize(
    ("state", "settings"),
    [
        pytest.param("idle", {"source.capture": "on-demand", "source.idle_seconds": 0}, id="idle"),
        pytest.param("no-camera", {"source.kind": "csi"}, id="no-camera"),
    ],
)
def test_the_watchdog_ignores_sleeping_and_missing_cameras(
    stopped: Camera, soak: bool, state: str, settings: dict[str, object], report: Report
) -> None:
    """For ten minutes with --soak: the watchdog is fed, nothing is restarted, and no log fills the card."""
    stopped.drop_in(f"WatchdogSec={CI_WATCHDOG_SECONDS}")
    stopped.configure(settings)
    stopped.host.run("systemctl", "restart", stopped.unit)
    until(state, lambda: stopped.state()["state"] == state)
    since, pid = stopped.now(), stopped.show("MainPID")
    deadline = time.monotonic() + (600 if soak else 2 * CI_WATCHDOG_SECONDS)
    while time.monotonic() < deadline:
        fed = int(stopped.show("WatchdogTimestampMonotonic")) / 1e6
        assert time.monotonic() - fed < patience(CI_WATCHDOG_SECONDS)
        time.sleep(0.5)
    assert (stopped.show("NRestarts"), stopped.show("MainPID"), stopped.state()["state"]) == ("0", pid, state)
    lines = stopped.journal(since).splitlines()
    report(f"{len(lines)} lines in the journal")
    assert len(lines) <= 10


class Reboots:
    """The reboot's path unit switched on, with a `systemctl reboot` that only leaves a mark."""

    path, service = "pi-cam-daemon-reboot.path", "pi-cam-daemon-reboot.service"
    _state = "/var/lib/pi-cam-daemon-reboot"

    def __init__(self, host: Host) -> None:
        self._host = host
        # a wish that waits looks up each minute; here it does so all the time
        for name, script in (("systemctl", "echo $* >>asked"), ("sleep", "exec /bin/sleep 0.1")):
            host.write(f"/opt/pretended/{name}", f"#!/bin/sh\n{script}\n")
            host.run("chmod", "755", f"/opt/pretended/{name}")
        path = "[Service]\nEnvironment=PATH=/opt/pretended:/usr/bin:/bin\n"
        host.write(f"/etc/systemd/system/{self.service}.d/test.conf", path)
        host.write(
            f"/etc/systemd/system/{self.path}.d/test.conf", f"[Path]\nPathExists=/run/{GARDEN}/reboot-requested\n"
        )
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "start", self.path)

    def count(self) -> int:
        """Return how often it would have been rebooted."""
        asked = self._host.disk / self._state[1:] / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        assert set(lines) <= {"--no-block reboot"}
        return len(lines)

    def wait(self) -> bool:
        """Return whether a reboot is requested but delayed, because the last one is too recent."""
        return self._host.show(self.service, "ActiveState") == "activating"

    def let_hours_pass(self, hours: int) -> None:
        self._host.run("touch", "-d", f"{hours} hours ago", f"{self._state}/last")

    def close(self) -> None:
        self._host.run("systemctl", "stop", self.path, self.service)
        for unit in (self.path, self.service):
            self._host.remove(f"/etc/systemd/system/{unit}.d")
        self._host.remove(self._state)


@pytest.fixture
def reboots(host: Host) -> Iterator[Reboots]:
    reboots = Reboots(host)
    yield reboots
    reboots.close()


def test_a_hanging_driver_causes_a_reboot_at_most_every_six_hours(
    guarded: Camera, reboots: Reboots, times: int, watchdog_seconds: int, report: Report
) -> None:
    camera = guarded
    stuck = {"source.kind": "usb", "usb.device": STUCK, "source.start_timeout_seconds": 1}
    number = camera.show("MainPID")
    viewer = camera.watch()
    told = asked = 0.0
    for turn in range(times):
        camera.configure({})
        camera.host.run("systemctl", "reload", camera.unit)
        camera.wait_for_pictures()
        with stuck_device(camera.host, STUCK):
            camera.configure({**stuck, "health.reboot_after_minutes": 0.1})
            camera.host.run("systemctl", "reload", camera.unit)
            begun = time.monotonic()
            until("the card", lambda: b"X-No-Picture: wedged\r\n" in viewer.parts[-1].header, 20)
            told = max(told, time.monotonic() - begun)
            held = camera.camera_pid()
            os.kill(held, signal.SIGKILL)
            assert Path(f"/proc/{held}/stat").read_text().rpartition(")")[2].split()[0] == "D", "it can be killed"
            table = camera.state()
            assert table["state"] == "wedged"
            assert camera.get("/snapshot")[0] == camera.get("/healthz")[0] == 503

            until("a reboot", lambda turn=turn: reboots.count() == 2 * turn + 1, 20)
            asked = max(asked, time.monotonic() - begun)
            # it did not help: for six hours nothing else is done, and the watchdog is fed all the time
            until("the wish waits", reboots.wait)
            reboots.let_hours_pass(5)
            end = time.monotonic() + 1.5 * watchdog_seconds
            while time.monotonic() < end:
                assert reboots.wait() and camera.show("MainPID") == number
                time.sleep(0.2)
            assert reboots.count() == 2 * turn + 1
            assert camera.state()["camera_process"] == table["camera_process"], "another one beside that which is held"
            reboots.let_hours_pass(7)
            until("another reboot", lambda turn=turn: reboots.count() == 2 * turn + 2)
            until("the wish waits", reboots.wait)
            assert camera.state()["reboot_requested"]
        until("the wish taken back", lambda: not camera.state()["reboot_requested"])
        reboots.let_hours_pass(7)
        until("nothing waits", lambda: not reboots.wait())
        assert reboots.count() == 2 * turn + 2
    report(f"the card after {told:.1f} s, a reboot after {asked:.1f} s")
    viewer.finish()
    assert (camera.show("MainPID"), camera.show("NRestarts")) == (number, "0")


def test_an_instances_reboot_request_is_carried_out(host: Host, reboots: Reboots) -> None:
    host.run("install", "-d", "-o", "pi-cam-daemon", f"/run/{GARDEN}")
    host.run("setpriv", "--reuid=pi-cam-daemon", "--clear-groups", "touch", f"/run/{GARDEN}/reboot-requested")
    until("a reboot", lambda: reboots.count() == 1)
    host.run("rm", "-r", f"/run/{GARDEN}")
