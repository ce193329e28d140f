"""What freezes comes back: each fault once, with a short watchdog period; with --soak five times, with the real one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

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


def worst_outage(camera: Camera, times: int, freeze: Callable[[int], object], patience: float, logged: str) -> float:
    """The longest time from *freeze(the server's process id)* to pictures of another server, in seconds.

    Each new server has to be there after *patience*, and what ended the old one has to be *logged*.
    """
    worst = 0.0
    for _ in range(times):
        since, pid, number = camera.now(), camera.main_pid(), camera.show("MainPID")
        frozen = time.monotonic()
        freeze(pid)
        until("another server", lambda number=number: camera.show("MainPID") not in ("0", number), patience)
        camera.wait_for_pictures()
        worst = max(worst, time.monotonic() - frozen)
        journal = camera.journal(since)
        assert "Watchdog timeout" in journal and logged in journal
    return worst


def test_a_server_that_freezes_is_restarted_by_the_watchdog(
    guarded: Camera, times: int, watchdog_seconds: int, report: Report
) -> None:
    bound = watchdog_seconds + 5
    worst = worst_outage(guarded, times, lambda pid: os.kill(pid, signal.SIGSTOP), bound, logged="Current thread")
    report(f"pictures again after {worst:.1f} s")
    assert worst <= bound


@pytest.mark.parametrize("loop", ["accept loop", "stream loop", "supervisor"])
def test_a_loop_that_freezes_is_found_and_the_service_restarted(
    guarded: Camera, times: int, watchdog_seconds: int, loop: str, report: Report
) -> None:
    def freeze(pid: int) -> None:
        stopped_thread.stop(stopped_thread.thread_id(pid, loop))

    # it may have answered the last question just before it froze
    bound = watchdog_seconds * 4 / 3 + 5
    worst = worst_outage(guarded, times, freeze, bound, logged=f"the {loop} does not answer")
    report(f"pictures again after {worst:.1f} s")
    assert worst <= bound


def test_a_camera_that_freezes_is_replaced_under_its_viewers(guarded: Camera, times: int, report: Report) -> None:
    def lasts() -> bool:
        """Whether there were pictures for a while: one that fails within 5 s of them is tried again more slowly."""
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
    assert worst <= STALL_SECONDS + 3


@pytest.mark.parametrize(
    ("state", "settings"),
    [
        pytest.param("idle", {"source.capture": "on-demand", "source.idle_seconds": 0}, id="idle"),
        pytest.param("no-camera", {"source.kind": "csi"}, id="no-camera"),
    ],
)
def test_a_camera_that_is_silent_by_design_or_missing_is_no_business_of_the_watchdog(
    stopped: Camera, soak: bool, state: str, settings: dict[str, object], report: Report
) -> None:
    """For ten minutes with --soak: the watchdog is fed, nothing is restarted, and no log fills the card."""
    stopped.drop_in(f"WatchdogSec={CI_WATCHDOG_SECONDS}")
    stopped.configure(settings)
    stopped.host.run("systemctl", "restart", stopped.unit)
    until(state, lambda: stopped.state()["state"] == state)
    since, pid = stopped.now(), stopped.show("MainPID")
    deadline = time.monotonic() + (600 if soak else 4 * CI_WATCHDOG_SECONDS)
    while time.monotonic() < deadline:
        fed = int(stopped.show("WatchdogTimestampMonotonic")) / 1e6
        assert time.monotonic() - fed < CI_WATCHDOG_SECONDS
        time.sleep(0.5)
    assert (stopped.show("NRestarts"), stopped.show("MainPID"), stopped.state()["state"]) == ("0", pid, state)
    lines = stopped.journal(since).splitlines()
    report(f"{len(lines)} lines in the journal")
    assert len(lines) <= 10
