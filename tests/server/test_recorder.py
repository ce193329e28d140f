"""The recorder as a process beside the whole daemon: clips of what happens, and what they survive."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.conftest import Report
from tests.kit import certificates
from tests.kit.clips import Recorder, recording
from tests.kit.daemon import ROOT, Daemon, running
from tests.kit.events import begin, event
from tests.kit.lateness import patience
from tests.kit.proc import written
from tests.kit.wait import until
from tests.kit.wire import Part, Reading, read_all

BEFORE, AFTER = 1.0, 1.0
SETTINGS = {
    "video.width": 320,
    "video.height": 240,
    "recordings.clips": True,
    "recordings.before_seconds": BEFORE,
    "recordings.after_seconds": AFTER,
    "recordings.keep_free_percent": 0,
}
NEAR = 0.02  # seconds between a time in a clip and that of the picture
KILL_LOSES = 2.0  # seconds of film


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.fixture
def recorder(daemon: Daemon) -> Iterator[Recorder]:
    with recording(daemon) as recorder:
        yield recorder


def move(daemon: Daemon, recorder: Recorder, seconds: float = 0.0) -> dict[str, float]:
    """Let something move for *seconds*; return the event once its clip is complete."""
    began = begin(daemon)
    recorder.wait_for("recording")
    time.sleep(seconds)
    daemon.fault("motion-ends")
    found: dict[str, float] = event(daemon, "motion", lambda one: one["id"] == began and one["ended"])
    recorder.wait_for("waiting")
    return found


def compared(pictures: list[tuple[float, bytes]], seen: list[Part]) -> float:
    """Return the largest distance between a time in a clip and that of the picture that a viewer saw."""
    by_jpeg = {part.jpeg: part.timestamp for part in seen}
    return max(abs(taken - by_jpeg[jpeg]) for taken, jpeg in pictures)


# -- a clip


def test_a_clip_has_the_seconds_before_and_after_with_their_real_times(
    daemon: Daemon, recorder: Recorder, report: Report
) -> None:
    watching = [Reading(daemon.watch()) for _ in range(2)]
    until("the seconds before", lambda: len(watching[0].parts) > (BEFORE + 0.5) * 25)
    happened = move(daemon, recorder, 1.0)
    seen, other = (reading.finish() for reading in watching)
    (clip,) = recorder.clips()
    times = [taken for taken, _ in clip.pictures]
    assert clip.complete and clip.name.endswith("_motion.mkv")
    assert clip.name[:19] == time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(times[0]))
    assert times[0] <= happened["began"] - BEFORE + 0.2 and times[-1] >= happened["ended"] + AFTER - 0.2
    assert times[0] >= happened["began"] - BEFORE - patience(1) and times[-1] <= happened["ended"] + AFTER + patience(1)
    # nobody has lost a picture: what one of the three has seen between two pictures, the others have, too
    inside = {part.jpeg for part in seen if times[0] - NEAR < part.timestamp < times[-1] + NEAR}
    assert {jpeg for _, jpeg in clip.pictures} == inside
    assert inside <= {part.jpeg for part in other}
    report(f"{len(times)} pictures, {compared(clip.pictures, seen) * 1000:.1f} ms beside X-Timestamp at most")
    assert compared(clip.pictures, seen) < NEAR


def test_two_events_make_two_clips_with_no_picture_twice(daemon: Daemon, recorder: Recorder) -> None:
    move(daemon, recorder)
    move(daemon, recorder)
    clips = recorder.clips()
    pictures = [jpeg for clip in clips for _, jpeg in clip.pictures]
    assert len(clips) == 2 and len(set(pictures)) == len(pictures)
    assert daemon.state()["recordings"]["clips"] == 2


def test_a_signal_records_at_once(recorder: Recorder) -> None:
    recorder.process.send_signal(signal.SIGUSR1)
    recorder.wait_for("recording")
    recorder.wait_for("waiting")
    assert [clip.name.partition("_motion")[0][-11:] for clip in recorder.clips()] == ["_manual.mkv"]


def test_no_picture_from_before_new_masks_is_recorded_after_them(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "recordings.before_seconds": 30}) as daemon:
        daemon.wait_for_state("streaming")
        with recording(daemon) as recorder:
            until("the seconds before", lambda: daemon.state()["frames"]["captured"] > 50)
            assert daemon.post("/settings", b'{"video.masks": [[0, 0, 0.5, 0.5]]}')[0] == 200
            masked_at = time.time()
            until("another camera", lambda: daemon.state()["camera_process"]["starts"] > 1)
            daemon.wait_for_state("streaming")
            recorder.process.send_signal(signal.SIGUSR1)
            recorder.wait_for("recording")
            recorder.wait_for("waiting")
            (clip,) = recorder.clips()
    assert min(taken for taken, _ in clip.pictures) > masked_at


def test_the_end_of_the_recorder_completes_its_clip(daemon: Daemon, recorder: Recorder) -> None:
    daemon.fault("motion")
    recorder.wait_for("recording")
    assert recorder.stop() == 0
    assert [clip.complete for clip in recorder.clips()] == [True]
    assert daemon.state()["recordings"] is None


def test_a_recorder_without_clips_ends_and_says_so(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "recordings.clips": False}) as daemon:
        recorder = Recorder(daemon)
        assert recorder.process.wait(patience(10)) == 0
        assert "recordings.clips is false and timelapse.every_seconds is 0" in recorder.log()
        assert daemon.state()["recordings"] is None


def test_a_second_recorder_ends_and_says_so(daemon: Daemon, recorder: Recorder) -> None:
    told = daemon.state()["recordings"]
    second = Recorder(daemon)
    assert second.process.wait(patience(10)) == 1
    assert "another recorder works here" in second.log()
    assert daemon.state()["recordings"] == told and recorder.stop() == 0
    with recording(daemon):
        pass


# -- what it survives


def test_a_kill_at_any_moment_costs_two_seconds_of_film_at_most(daemon: Daemon, report: Report) -> None:
    begin(daemon)
    lost = []
    chance = random.Random(7)
    for number in range(1, 4):
        recorder = Recorder(daemon)
        try:  # the event goes on, so it records at once
            recorder.wait_for("recording")
            time.sleep(chance.uniform(1.0, 2.5))
            killed = time.time()
            recorder.process.kill()
            recorder.process.wait(patience(5))
        finally:
            recorder.close()
        clips = recorder.clips()
        assert len(clips) == number and not any(clip.complete for clip in clips)
        lost.append(killed - clips[-1].pictures[-1][0])
    report(f"{max(lost):.2f} s lost at most")
    assert max(lost) < patience(KILL_LOSES)
    daemon.fault("motion-ends")
    with recording(daemon) as recorder:
        assert recorder.record()["clips"] >= 3, "those that a power cut left are not counted"


def test_a_camera_that_is_lost_ends_the_clip(daemon: Daemon, recorder: Recorder) -> None:
    daemon.fault("motion")
    recorder.wait_for("recording")
    daemon.fault("lost")
    lost = event(daemon, "camera-lost")
    recorder.wait_for("waiting")
    (clip,) = recorder.clips()
    assert clip.complete and clip.pictures[-1][0] < lost["began"] + AFTER - 0.5, "it went on"
    daemon.wait_for_state("streaming", 30)
    move(daemon, recorder)
    assert len(recorder.clips()) == 2


def test_a_daemon_that_ends_completes_the_clip_and_the_next_one_is_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    with running(folder, SETTINGS) as first:
        first.wait_for_state("streaming")
        recorder = Recorder(first)
        recorder.wait_for("waiting")
        first.fault("motion")
        recorder.wait_for("recording")
        first.process.kill()
        recorder.wait_for("failing")
    try:
        until("a complete clip", lambda: [clip.complete for clip in recorder.clips()] == [True])
        with running(folder, SETTINGS) as second:
            second.wait_for_state("streaming")
            recorder.wait_for("waiting")
            move(second, recorder)
            assert len(recorder.clips()) == 2
            log = recorder.log()
        assert log.count("The daemon has ended") == 1 and "Traceback" not in log
    finally:
        recorder.close()


@pytest.mark.parametrize("state", ["missing", "a file"])
def test_a_folder_that_cannot_be_used_is_named_and_the_camera_goes_on(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "nas" / "clips"
    if state == "a file":
        folder.parent.write_text("")
    with running(tmp_path / "daemon", {**SETTINGS, "recordings.folder": str(folder)}) as daemon:
        daemon.wait_for_state("streaming")
        recorder = Recorder(daemon, folder)
        try:
            until("the folder is named", lambda: str(folder) in recorder.record().get("detail", ""))
            daemon.fault("motion")
            until("pictures that are lost", lambda: recorder.record()["lost"] > 25)
            assert daemon.state()["ok"] and daemon.state()["recordings"]["state"] == "failing"
            assert recorder.log().count("nothing is recorded") == 1, "not once"
            if state == "missing":
                assert not folder.parent.exists(), "a disk that is not there was written to the card below it"
                folder.mkdir(parents=True)
                until("a clip on the disk that came back", lambda: [c for c in recorder.clips() if c.pictures])
        finally:
            recorder.close()


def test_a_recorder_that_is_stopped_keeps_no_picture_from_viewers(daemon: Daemon, recorder: Recorder) -> None:
    daemon.fault("motion")
    recorder.wait_for("recording")
    recorder.process.send_signal(signal.SIGSTOP)
    try:
        watching = [Reading(daemon.watch()) for _ in range(2)]
        until("three seconds of pictures", lambda: all(len(reading.parts) > 75 for reading in watching))
        one, two = ([part.timestamp for part in reading.finish()] for reading in watching)
        first, last = max(one[0], two[0]), min(one[-1], two[-1])
        assert [at for at in one if first <= at <= last] == [at for at in two if first <= at <= last]
    finally:
        recorder.process.send_signal(signal.SIGCONT)


# -- who is let in


def ask_locally(daemon: Daemon, request: str) -> bytes:
    """Return the answer of the local socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(patience(10))
        sock.connect(str(daemon.state_folder / "local.sock"))
        sock.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return read_all(sock, b"multipart/")


def test_with_users_and_tls_the_recorder_needs_no_password(tmp_path: Path) -> None:
    file = tmp_path / "users"
    users.add(file, "alice", Role.VIEWER, "correct horse battery")
    settings = {**SETTINGS, "http.users_file": str(file), "http.allowed_networks": []}
    settings |= certificates.make(tmp_path / "certificate").settings()
    with running(tmp_path / "daemon", settings) as daemon, recording(daemon) as recorder:
        assert daemon.get("/stream")[0] == 401
        recorder.process.send_signal(signal.SIGUSR1)
        recorder.wait_for("recording")
        daemon.reload()
        recorder.wait_for("waiting")
        (clip,) = recorder.clips()
        assert clip.complete and daemon.log().count("viewer local socket left") == 0, "the reload has ended it"
        (place,) = daemon.state_folder.glob("*.sock")
        assert place.stat().st_mode & 0o777 == 0o600
        # it may look, and change nothing
        assert ask_locally(daemon, "GET /snapshot").startswith(b"HTTP/1.1 200 ")
        assert ask_locally(daemon, "POST /controls/forget").startswith(b"HTTP/1.1 401 ")


def test_the_recorder_is_let_in_where_all_places_are_taken(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "http.max_viewers": 1}) as daemon:
        daemon.wait_for_state("streaming")
        viewer = Reading(daemon.watch())
        with recording(daemon) as recorder:
            recorder.process.send_signal(signal.SIGUSR1)
            recorder.wait_for("recording")
        viewer.finish()


def test_the_recorder_is_let_in_where_all_connections_are_taken(tmp_path: Path) -> None:
    settings = {**SETTINGS, "http.max_connections": 2, "timelapse.every_seconds": 1}
    with running(tmp_path / "daemon", settings) as daemon:
        daemon.wait_for_state("streaming")
        idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(2)]
        with recording(daemon) as recorder:
            until("a film of the day", lambda: recorder.record()["timelapse"])
            assert recorder.record()["missed"] == 0
        for one in idle:
            one.close()


def test_the_socket_is_gone_with_the_daemon(daemon: Daemon) -> None:
    assert (daemon.state_folder / "local.sock").exists()
    assert daemon.stop() == 0
    assert not (daemon.state_folder / "local.sock").exists()


# -- what it costs


def test_while_it_waits_it_writes_nothing_and_needs_little(daemon: Daemon, recorder: Recorder, report: Report) -> None:
    before, cpu, begun = written(recorder.process.pid), used(recorder.process.pid), time.monotonic()
    files = {path: path.stat().st_mtime_ns for path in daemon.state_folder.rglob("*")}
    time.sleep(3)
    share = (used(recorder.process.pid) - cpu) / (time.monotonic() - begun)
    megabytes = resident(recorder.process.pid) / 1e6
    report(f"{100 * share:.1f} % of a core, {megabytes:.0f} MB")
    assert written(recorder.process.pid) == before
    assert {path: path.stat().st_mtime_ns for path in daemon.state_folder.rglob("*")} == files
    assert share < 0.05 and megabytes < 40


def used(pid: int) -> float:
    """Return the seconds of processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# -- disks, in a mount namespace of their own


def on_a_disk(mount: str, what: str, folder: Path) -> dict[str, object]:
    """Mount *mount* at *folder* and run the case *what* of rig/disks.py there; return what it tells."""
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace")
    folder.mkdir()
    script = f'{mount}; exec "$1" "$2" "$3" "$0"'
    argv = [*alone, "sh", "-ec", script, folder, sys.executable, ROOT / "tests/rig/disks.py", what]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=patience(60), check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("size", ["size=3m", "nr_inodes=5"])
def test_on_a_full_card_the_oldest_clips_go(size: str, tmp_path: Path) -> None:
    told = on_a_disk(f'mount -t tmpfs -o {size} tmpfs "$0"', "many", tmp_path / "disk")
    assert told["problem"] == "" and told["lost"] == 0
    assert told["newest"] == told["last_written"], "the newest clip is not there"
    assert told["removed"] > 0  # type: ignore[operator]


def test_a_card_that_is_full_of_something_else_is_told_until_there_is_room(tmp_path: Path) -> None:
    told = on_a_disk('mount -t tmpfs -o size=3m tmpfs "$0"', "filled", tmp_path / "disk")
    assert told == {"full": "The disk is full, and not of clips", "lost": 4, "problem": "", "clips": 1}


def test_a_card_that_is_read_only_is_named(tmp_path: Path) -> None:
    told = on_a_disk('mount -t tmpfs -o ro tmpfs "$0"', "many", tmp_path / "disk")
    assert str(told["problem"]).endswith(": Read-only file system")


def test_a_disk_that_hangs_is_told_and_holds_up_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    told = on_a_disk("true", "hangs", tmp_path / "disk")
    assert str(told["problem"]).endswith("does not answer")
    assert told["longest_put"] < 0.5 and told["lost"] > 0  # type: ignore[operator]
    assert told["waiting_bytes"] <= 25 << 20  # type: ignore[operator]
