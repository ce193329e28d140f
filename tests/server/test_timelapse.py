"""Time-lapse by the recorder as a process: on the clock, through jumps, on demand, and after a kill."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.recording.schedule import NEAR_SECONDS
from tests.conftest import Report
from tests.kit import clips
from tests.kit.clips import Recorder, recording
from tests.kit.daemon import ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until

SETTINGS = {
    "video.width": 320,
    "video.height": 240,
    "timelapse.every_seconds": 1,
    "recordings.keep_free_percent": 0,
}
FULL = (3280, 2464)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def pictures(recorder: Recorder, at_least: int) -> list[clips.Clip]:
    """Return the films once they have so many pictures in all."""
    until(f"{at_least} pictures", lambda: len(pictures_of(recorder)) >= at_least, 25)
    return recorder.clips()


def pictures_of(recorder: Recorder) -> list[bytes]:
    return [data for film in recorder.clips() for _, data in film.pictures]


def test_each_second_has_its_picture_in_the_film_of_the_day(daemon: Daemon) -> None:
    with recording(daemon) as recorder:
        pictures(recorder, 4)
        told = daemon.state()["recordings"]
        assert recorder.stop() == 0
        films = recorder.clips()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_timelapse\.mkv", film.name) for film in films)
    film = films[-1]  # two at midnight
    assert film.complete
    times = [clips.taken(data).timestamp() for _, data in film.pictures]
    assert len(set(times)) == len(times) and times == sorted(times)
    assert film.name[:19] == f"{clips.taken(film.pictures[0][1]):%Y-%m-%d_%H-%M-%S}"
    assert [round(at - film.began, 3) for at, _ in film.pictures] == [round(0.04 * n, 3) for n in range(len(times))]
    assert told["state"] == "waiting" and told["timelapse"] == film.name and "every 1 s" in told["detail"]
    assert times[-1] - times[0] + 1 - len(times) <= told["missed"] + 1


def test_the_stream_is_not_held_open(daemon: Daemon) -> None:
    with recording(daemon) as recorder:
        pictures(recorder, 2)
        assert daemon.state()["viewers"] == 0
        recorder.process.send_signal(signal.SIGUSR1)
        until("the signal is answered", lambda: "recordings.clips is false" in recorder.log())


def test_after_a_kill_the_film_goes_on(daemon: Daemon) -> None:
    for number in (2, 4):
        with recording(daemon) as recorder:
            pictures(recorder, number)
            recorder.process.kill()
            recorder.process.wait(patience(5))
    with recording(daemon) as recorder:
        pictures(recorder, 6)
        recorder.stop()
        films = recorder.clips()
        assert len(films) == len({film.name[:10] for film in films}), "more than one film of a day"
        assert films[-1].complete


def test_the_clock_of_the_machine_is_followed_through_jumps(tmp_path: Path, report: Report) -> None:
    offset = tmp_path / "offset"

    def set_clock(seconds: float) -> None:
        offset.with_suffix(".new").write_text(str(seconds))
        offset.with_suffix(".new").replace(offset)

    hour = 3600
    set_clock(hour / 2 - time.time() % hour)  # nothing is due for half an hour
    env = {"CLOCK_OFFSET_FILE": str(offset), "PYTHONPATH": f"{ROOT / 'tests/rig/clock'}:{ROOT}"}
    with running(tmp_path / "daemon", {**SETTINGS, "timelapse.every_seconds": hour}, env=env) as daemon:
        daemon.wait_for_state("streaming")
        with recording(daemon, env=env) as recorder:
            for number, hours in enumerate((5, 33, 2), 1):
                assert len(pictures_of(recorder)) == number - 1, "what the clock jumped over was caught up"
                now = time.time()
                set_clock((now // hour + hours) * hour - now - 1.5)
                pictures(recorder, number)
            told = recorder.record()
            recorder.stop()
            late = [(film.began + hour / 2) % hour - hour / 2 for film in recorder.clips()]
    report(f"{max(map(abs, late)):.2f} s beside the hour at most")
    assert max(map(abs, late)) <= patience(NEAR_SECONDS) and told["missed"] == told["lost"] == 0


def test_a_camera_that_sleeps_is_woken_before_its_picture(tmp_path: Path, report: Report) -> None:
    settings = {**SETTINGS, "source.capture": "on-demand", "source.idle_seconds": 1, "timelapse.every_seconds": 6}
    with running(tmp_path / "daemon", settings) as daemon, recording(daemon) as recorder:
        pictures(recorder, 1)
        daemon.wait_for_state("idle")
        until("it is woken", lambda: daemon.state()["state"] != "idle")
        assert time.time() % 6 > 2, "it was woken only when its picture was due"
        film = pictures(recorder, 2)[0]
    late = (film.began + 3) % 6 - 3
    report(f"{late:.2f} s late")
    assert abs(late) <= patience(NEAR_SECONDS), "it was woken too late"


def test_stills_have_the_full_size(tmp_path: Path) -> None:
    settings = {**SETTINGS, "timelapse.picture": "still", "timelapse.every_seconds": 5}
    with running(tmp_path / "daemon", settings) as daemon:
        daemon.wait_for_state("streaming")
        with recording(daemon) as recorder:
            film = pictures(recorder, 1)[-1]
            assert jpeg.size(film.pictures[0][1]) == FULL


def test_stills_that_are_refused_are_snapshots_after_a_while(tmp_path: Path) -> None:
    settings = {**SETTINGS, "timelapse.picture": "still", "timelapse.every_seconds": 2}
    with running(tmp_path / "daemon", settings) as daemon:
        daemon.wait_for_state("streaming")
        with recording(daemon) as recorder:

            def refused() -> bool:
                daemon.fault_file.with_name("still-fault").write_text("refused")  # it is taken with each still
                return len(pictures_of(recorder)) > 1

            until("snapshots", refused, 25)
            film = recorder.clips()[-1]
            assert {jpeg.size(data) for _, data in film.pictures} == {(320, 240)}
            assert recorder.log().count("snapshots for an hour, because there is no still: ") == 1
            assert recorder.record()["missed"] >= 2


def test_a_daemon_that_ends_is_told_and_its_pictures_are_missed(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    with running(folder, SETTINGS) as first:
        first.wait_for_state("streaming")
        recorder = Recorder(first)
        pictures(recorder, 1)
        first.process.kill()
        told = recorder.wait_for("failing")
        until("missed pictures", lambda: recorder.record()["missed"] >= 2)
    try:
        assert "The time-lapse lacks a picture: The daemon does not answer" in told["detail"]
        with running(folder, SETTINGS):
            recorder.wait_for("waiting")
            log = recorder.log()
        assert log.count("lacks a picture") <= 3 and "Traceback" not in log
    finally:
        recorder.close()
