"""A camera that dies, hangs, floods or sends invalid messages does not disconnect the viewers."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pi_cam_daemon
from pi_cam_daemon.errors import Cause
from tests.kit.daemon import RIG, ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Part, Reading
from tests.server.test_daemon import Systemd

STALL = 2.0
SETTINGS = {"video.width": 320, "video.height": 240, "source.stall_timeout_seconds": STALL}
PACKAGED = Path(pi_cam_daemon.__file__).with_name("core").joinpath("no-signal.jpg").read_bytes()


def card(cause: Cause, width: int = 320, height: int = 240, language: str = "en") -> bytes:
    argv = [sys.executable, "-m", "pi_cam_daemon.imaging.no_signal", cause, language, str(width), str(height)]
    done = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, timeout=30)
    if done.returncode == os.EX_UNAVAILABLE:
        pytest.skip("no font here has Korean letters")
    assert done.returncode == 0
    return done.stdout


def is_picture(part: Part) -> bool:
    """Return whether the part is a live picture and no card."""
    return b"\r\nX-No-Picture: " not in part.header and abs(time.time() - part.timestamp) < 1


def recovers(daemon: Daemon, old_pid: int, seconds: float) -> None:
    """Fail unless another camera process gives pictures within *seconds*."""

    def back() -> bool:
        table = daemon.state()
        return bool(table["state"] == "streaming" and table["camera_process"]["pid"] != old_pid)

    until("another camera process with pictures", back, seconds)


def test_after_a_kill_pictures_are_back_in_two_seconds_for_the_same_viewer(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        viewer = Reading(daemon.watch())
        until("pictures", lambda: len(viewer.parts) > 5)
        pid = daemon.camera_pid()
        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        part = until(
            "a picture taken after the kill", lambda: viewer.parts[-1].timestamp > killed + 0.1 and viewer.parts[-1], 5
        )
        assert part.timestamp - killed < patience(2.0)
        recovers(daemon, pid, 5)
        viewer.finish()
        assert "died (SIGKILL)" in daemon.log()


def test_a_stopped_camera_process_is_replaced_after_the_stall_timeout(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.stall_timeout_seconds": 5.0}) as daemon:
        viewer = daemon.watch()
        viewer.parts(5)
        pid = daemon.camera_pid()
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        drawn = card(Cause.STALLED)
        shown = viewer.next_where("a card", lambda part: part.jpeg in (PACKAGED, drawn))
        assert 1.9 <= shown.arrived - stopped <= patience(4.0)
        shown = viewer.next_where("a card of the right size and cause", lambda part: part.jpeg == drawn)
        assert b"\r\nX-No-Picture: stalled\r\n" in shown.header
        assert shown.size == (320, 240)
        back = viewer.next_where("a live picture", lambda part: part.jpeg not in (PACKAGED, drawn), 15)
        assert back.arrived - stopped <= patience(8.0)
        recovers(daemon, pid, 5)
        assert daemon.state()["camera_process"]["starts"] == 2
        viewer.close()


def test_an_old_picture_is_repeated_each_second_with_its_own_time(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        viewer = daemon.watch()
        last = viewer.parts(5)[-1]
        os.kill(daemon.camera_pid(), signal.SIGSTOP)
        parts = [last, *viewer.parts(60)]
        repeated = [b for a, b in itertools.pairwise(parts) if a.timestamp == b.timestamp and a.jpeg == b.jpeg]
        assert repeated, "the last picture was not sent again"
        gaps = [b.arrived - a.arrived for a, b in itertools.pairwise(parts)]
        assert max(gaps) < patience(1.5)
        viewer.close()


@pytest.mark.parametrize("word", ["hang", "crash", "bug", "nonsense", "no-jpeg", "too-long", "flood", "lost"])
def test_every_fault_of_the_camera_is_survived(tmp_path: Path, word: str) -> None:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        viewer = Reading(daemon.watch())
        until("pictures", lambda: len(viewer.parts) > 5)
        pid = daemon.camera_pid()
        daemon.fault(word)
        if word == "flood":
            until("the flood has come", lambda: not daemon.fault_file.exists())
            recovered = time.time() + 3
            until("pictures after the flood", lambda: viewer.parts[-1].timestamp > recovered, 10)
            assert daemon.camera_pid() == pid
        else:
            recovers(daemon, pid, STALL + 4)
            count = len(viewer.parts)
            until("more pictures", lambda: len(viewer.parts) > count + 5)
        viewer.finish()
        assert daemon.process.poll() is None
        assert daemon.state()["viewers"] == 1


def test_a_picture_of_unknown_size_is_followed_by_a_card_of_the_set_size(tmp_path: Path) -> None:
    # long enough for a slow machine to draw the card before pictures are back
    with running(tmp_path / "daemon", {**SETTINGS, "source.stall_timeout_seconds": 6.0}) as daemon:
        daemon.wait_for_rate()
        pid = daemon.camera_pid()
        sock = daemon.connect("/stream")
        daemon.fault("half-jpeg")
        drawn, received = card(Cause.STALLED), bytearray()
        begun = time.monotonic()
        while drawn not in received:
            assert time.monotonic() < begun + patience(20), "the card was not shown"
            received[: -len(drawn)] = b""
            received += sock.recv(65536)
        recovers(daemon, pid, 15)
        sock.close()


def test_a_missing_camera_is_reported_everywhere_until_one_comes(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "fault").write_text("missing")
    with running(folder, SETTINGS) as daemon:
        table = daemon.wait_for_state("no-camera")
        assert (table["ok"], table["cause"], table["hint"]) == (False, "missing", "Check the cable")
        assert table["detail"] == "No camera is connected"
        viewer = daemon.watch()
        drawn = card(Cause.MISSING, 320, 240)
        viewer.next_where("the card", lambda part: part.jpeg == drawn)
        assert daemon.get("/healthz")[0] == 503
        asked = time.monotonic()
        status, headers, body = daemon.get("/snapshot")
        assert (status, headers["retry-after"], body) == (503, "2", b"No camera is connected\n\nCheck the cable\n")
        assert time.monotonic() - asked < patience(1)  # a camera known to be away is not waited for
        assert daemon.get("/livez")[0] == 200
        starts = daemon.state()["camera_process"]["starts"]
        until("another attempt", lambda: daemon.state()["camera_process"]["starts"] > starts, 10)
        assert daemon.log().count("No camera is connected") == 1
        daemon.fault_file.unlink()
        viewer.next_where("pictures", is_picture, 20)
        daemon.wait_for_state("streaming")
        viewer.close()


def test_the_card_is_in_the_language_of_the_locale_until_a_reload_sets_another(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "fault").write_text("missing")
    english, korean = card(Cause.MISSING), card(Cause.MISSING, language="ko")
    assert english != korean
    with running(folder, SETTINGS, env={"LC_ALL": "ko_KR.UTF-8"}) as daemon:
        viewer = daemon.watch()
        viewer.next_where("the Korean card", lambda part: part.jpeg == korean)
        for language, drawn in (("en", english), ("ko", korean)):
            daemon.reload({**SETTINGS, "page.language": language})
            viewer.next_where(f"the card in {language}", lambda part, drawn=drawn: part.jpeg == drawn)
        viewer.close()


def test_an_unkillable_process_is_wedged_and_requests_are_still_served(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SETTINGS, unkillable=True) as daemon:
        viewer = Reading(daemon.watch())
        until("pictures", lambda: len(viewer.parts) > 5)
        pid = daemon.camera_pid()
        os.kill(pid, signal.SIGSTOP)
        table = daemon.wait_for_state("wedged")
        assert (table["cause"], table["camera_process"]["starts"]) == ("wedged", 1)
        drawn = card(Cause.WEDGED)
        until("the card", lambda: viewer.parts[-1].jpeg == drawn)
        assert daemon.get("/healthz")[0] == 503
        status, headers, _ = daemon.get("/snapshot")
        assert (status, headers["retry-after"]) == (503, "2")
        os.kill(pid, signal.SIGKILL)  # the driver lets go after all
        recovers(daemon, pid, 10)
        viewer.finish()


def test_a_long_wedge_asks_for_a_reboot_and_still_feeds_the_watchdog(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "3000000", "RUNTIME_DIRECTORY": str(tmp_path)}
    flag = tmp_path / "reboot-requested"
    settings = {**SETTINGS, "health.reboot_after_minutes": 0.1}
    with running(tmp_path / "daemon", settings, unkillable=True, env=env) as daemon:
        assert daemon.wait_for_rate()["reboot_requested"] is False
        pid = daemon.camera_pid()
        stopped = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        daemon.wait_for_state("wedged")
        until("the flag", lambda: systemd.heard() and flag.exists(), 15)  # its queue is read, or it would overflow
        assert time.monotonic() - stopped > 5
        until("the status", lambda: any("a reboot was asked for" in message for message in systemd.heard()))
        status, _, body = daemon.get("/healthz")
        assert (status, json.loads(body)["reboot_requested"]) == (503, True)
        systemd.messages.clear()
        until("the watchdog", lambda: systemd.heard().count("WATCHDOG=1") >= 3)
        os.kill(pid, signal.SIGKILL)  # the driver lets go after all
        recovers(daemon, pid, 10)
        until("the wish taken back", lambda: not flag.exists())
        assert daemon.state()["reboot_requested"] is False
        assert "no answer from" not in daemon.log()
    systemd.close()


def test_an_open_that_hangs_is_given_up_after_the_start_timeout(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "fault").write_text("never-opens")
    with running(folder, {**SETTINGS, "source.start_timeout_seconds": 2.0}) as daemon:
        pid = until("a camera process", lambda: daemon.state()["camera_process"]["pid"])
        viewer = daemon.watch()
        starting = card(Cause.STARTING)
        viewer.next_where("a card", lambda part: part.jpeg in (PACKAGED, starting))
        viewer.next_where("pictures", is_picture, 15)
        recovers(daemon, pid, 5)
        assert "The camera has given no picture for " in daemon.log()
        viewer.close()


def test_on_demand_the_camera_process_lives_only_while_somebody_looks(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.capture": "on-demand", "source.idle_seconds": 1}) as daemon:
        table = daemon.wait_for_state("idle")
        assert (table["ok"], table["camera_process"]["pid"]) == (True, None)
        assert daemon.get("/healthz")[0] == 200
        asked = time.time()
        status, headers, _ = daemon.get("/snapshot")  # wakes it
        assert status == 200 and float(headers["x-timestamp"]) > asked - 1
        pid = daemon.camera_pid()
        daemon.wait_for_state("idle")
        assert not Path(f"/proc/{pid}").exists()
        came = time.time()
        viewer = daemon.watch()
        viewer.next_where("a new picture", lambda part: is_picture(part) and part.timestamp > came)
        daemon.wait_for_state("streaming")
        viewer.close()
        assert daemon.wait_for_state("idle")["camera_process"]["pid"] is None
        assert "WARNING" not in daemon.log()


@pytest.mark.parametrize("idle_seconds", [0, 1])
def test_a_snapshot_wakes_a_camera_that_opens_slowly(tmp_path: Path, idle_seconds: int) -> None:
    settings = {**SETTINGS, "source.capture": "on-demand", "source.idle_seconds": idle_seconds}
    folder = tmp_path / "daemon"
    folder.mkdir()
    with running(folder, settings) as daemon:
        daemon.wait_for_state("idle")
        daemon.fault("opens-slowly")  # in longer than a snapshot waits
        assert daemon.get("/snapshot")[0] == 503
        until("a picture, when asked again", lambda: daemon.get("/snapshot")[0] == 200)
        assert daemon.state()["camera_process"]["starts"] == 1, "it was stopped before its first picture"
        daemon.wait_for_state("idle")


def test_snapshots_are_never_older_than_asked(daemon: Daemon) -> None:
    for _ in range(5):  # nobody watches: the camera process sends one frame a second
        asked = time.time()
        assert float(daemon.get("/snapshot")[1]["x-timestamp"]) > asked - 1.1
    asked = time.time()
    assert float(daemon.get("/snapshot?max_age_ms=0")[1]["x-timestamp"]) >= asked - 0.01


def test_a_snapshot_of_a_silent_camera_is_refused_in_time(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.stall_timeout_seconds": 30}) as daemon:
        daemon.wait_for_rate()
        os.kill(daemon.camera_pid(), signal.SIGSTOP)
        until("an old picture", lambda: daemon.state()["frames"]["age_seconds"] > 1.5)
        asked = time.monotonic()
        status, _, body = daemon.get("/snapshot")
        assert (status, body) == (503, b"The camera gave no picture in time\n")
        assert 3.5 < time.monotonic() - asked < patience(4.9)  # OctoPrint gives 5 s


def test_a_log_that_nobody_reads_stops_no_stream(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    unread = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    argv = ["sh", "-c", 'exec "$@" 2>"$0"', fifo, sys.executable, RIG, tmp_path / "daemon/fault"]
    with running(tmp_path / "daemon", SETTINGS, argv=argv) as daemon:
        daemon.wait_for_state("streaming")
        viewer = daemon.watch()
        viewer.part()
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(unread, b"\n")
        viewer.parts(20)
        old = daemon.camera_pid()
        os.kill(old, signal.SIGKILL)
        recovers(daemon, old, 10)
        viewer.parts(20)
        assert daemon.stop() == 0
        viewer.close()
    os.close(unread)
