"""What freezes comes back: each fault once, with a short watchdog period; with --soak five times, with the real one."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.server.harness import until
from tests.systemd import stopped_thread
from tests.systemd.conftest import Camera, Report

# three questions in a period; a shorter one would judge a busy test machine
CI_WATCHDOG_SECONDS = 3
STALL_SECONDS = 1


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


def test_a_server_that_freezes_is_restarted_by_the_watchdog(
    guarded: Camera, times: int, watchdog_seconds: int, report: Report
) -> None:
    worst = 0.0
    for _ in range(times):
        since = guarded.now()
        pid = guarded.main_pid()
        frozen = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        guarded.wait_for_pictures(watchdog_seconds + 20)
        worst = max(worst, time.monotonic() - frozen)
        assert guarded.main_pid() != pid
        journal = guarded.journal(since)
        assert "Watchdog timeout" in journal and "Current thread" in journal
    report(f"pictures again after {worst:.1f} s")
    assert worst <= watchdog_seconds + 5


@pytest.mark.parametrize("loop", ["accept loop", "stream loop", "supervisor"])
def test_a_loop_that_freezes_is_found_and_the_service_restarted(
    guarded: Camera, times: int, watchdog_seconds: int, loop: str, report: Report
) -> None:
    worst = 0.0
    for _ in range(times):
        since = guarded.now()
        pid = guarded.main_pid()
        frozen = time.monotonic()
        tracer = stopped_thread.stop(stopped_thread.thread_id(pid, loop))
        # it may have answered the last question just before it froze
        tracer.join(watchdog_seconds * 4 / 3 + 5)
        assert not tracer.is_alive(), f"the {loop} stands still and systemd has done nothing"
        guarded.wait_for_pictures()
        worst = max(worst, time.monotonic() - frozen)
        assert f"the {loop} does not answer" in guarded.journal(since)
    report(f"pictures again after {worst:.1f} s")
    assert worst <= watchdog_seconds * 4 / 3 + 5


def test_a_camera_that_freezes_is_replaced_under_its_viewers(guarded: Camera, times: int, report: Report) -> None:
    pid = guarded.main_pid()
    viewers = [guarded.watch() for _ in range(5)]
    worst = 0.0
    for turn in range(1, times + 1):
        # a camera that fails again within 5 s of pictures is tried more slowly
        until("a camera that has lasted", lambda: guarded.state()["frames"]["captured"] > 6 * 25, 20)
        camera = guarded.camera_pid()
        frozen = time.monotonic()
        os.kill(camera, signal.SIGSTOP)
        until("another camera", lambda turn=turn: guarded.state()["camera_process"]["starts"] > turn, 15)
        until("streaming", lambda: guarded.state()["state"] == "streaming", 15)
        worst = max(worst, time.monotonic() - frozen)
    report(f"pictures again after {worst:.1f} s")
    for viewer in viewers:
        viewer.finish()
    assert guarded.main_pid() == pid
    assert worst <= STALL_SECONDS + 3


def test_a_silent_camera_is_no_business_of_the_watchdog(stopped: Camera, soak: bool) -> None:
    """A missing camera, for ten minutes with --soak: no restart, and no log that fills the card."""
    stopped.drop_in(f"WatchdogSec={CI_WATCHDOG_SECONDS}")
    stopped.configure({"source.kind": "csi"})
    stopped.host.run("systemctl", "restart", stopped.unit)
    until("no camera", lambda: stopped.state()["state"] == "no-camera")
    since = stopped.now()
    deadline = time.monotonic() + (600 if soak else 2 * CI_WATCHDOG_SECONDS)
    while time.monotonic() < deadline:
        assert stopped.show("NRestarts") == "0"
        time.sleep(1)
    assert len(stopped.journal(since).splitlines()) <= 10
