"""The films of the time-lapse: one for each day, which goes on after a power cut, and the newest days stay."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pi_cam_daemon
from pi_cam_daemon.clips import matroska
from pi_cam_daemon.clips.names import TIMELAPSE
from pi_cam_daemon.recording.days import Days
from pi_cam_daemon.recording.picture import Picture
from pi_cam_daemon.recording.shelf import NoRoomError, Shelf
from pi_cam_daemon.recording.writer import Writer
from tests.kit import clips
from tests.kit.wait import until

JPEG = (Path(pi_cam_daemon.__file__).parent / "core/no-signal.jpg").read_bytes()
EVERYTHING = 1 << 40
MORNING = 1_785_571_200  # 2026-08-01T08:00:00Z
DAY = 86_400


def wide(jpeg: bytes) -> bytes:
    """Return *jpeg* with another width in its frame header."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 7] + (16).to_bytes(2) + jpeg[at + 9 :]


def picture(second: int, jpeg: bytes = JPEG) -> Picture:
    return Picture(jpeg, (MORNING + second) * 1_000_000, 0.0)


def films(folder: Path) -> list[clips.Clip]:
    return [clips.read(path) for path in sorted(folder.glob("*.mkv"))]


def seconds(film: clips.Clip) -> list[int]:
    """Return when the pictures of *film* were taken, in seconds after MORNING."""
    return [round(clips.taken(jpeg).timestamp()) - MORNING for _, jpeg in film.pictures]


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    yield
    monkeypatch.undo()
    time.tzset()


def days_in(folder: Path, quota: int = EVERYTHING, kept: int = 30) -> Days:
    shelf = Shelf(folder, quota, 0)
    shelf.look()
    return Days(shelf, kept)


def test_each_day_has_its_film_by_the_local_clock(tmp_path: Path) -> None:
    days = days_in(tmp_path)
    for second in range(0, 2 * DAY, 3600):
        days.add(picture(second))
    days.close()
    found = films(tmp_path)
    assert [film.name for film in found] == [
        "2026-08-01_10-00-00_timelapse.mkv", "2026-08-02_00-00-00_timelapse.mkv", "2026-08-03_00-00-00_timelapse.mkv"
    ]  # fmt: skip
    assert [len(film.pictures) for film in found] == [14, 24, 10] and all(film.complete for film in found)
    assert [second for film in found for second in seconds(film)] == list(range(0, 2 * DAY, 3600))


def test_a_film_shows_25_pictures_a_second(tmp_path: Path) -> None:
    days = days_in(tmp_path)
    for second in (0, 60, 600, 3600):
        days.add(picture(second))
    days.close()
    (film,) = films(tmp_path)
    assert [at - film.began for at, _ in film.pictures] == pytest.approx([0, 0.04, 0.08, 0.12], abs=0.001)


@pytest.mark.parametrize("closed", [False, True])
def test_the_film_of_a_day_goes_on_where_it_ended(closed: bool, tmp_path: Path) -> None:
    for part in range(4):
        days = days_in(tmp_path)
        for number in range(20):
            days.add(picture(20 * part + number))
        days.close() if closed or part == 3 else days.leave()
    (film,) = films(tmp_path)
    assert seconds(film) == list(range(80)) and film.complete
    data = (tmp_path / film.name).read_bytes()
    assert data.count(bytes.fromhex("1c53bb6b")) == 2, "an old index is left"  # that, and its place


def test_the_film_goes_on_wherever_it_was_cut(tmp_path: Path) -> None:
    days = days_in(tmp_path)
    ends = []
    for number in range(6):
        days.add(
            picture(number, JPEG[:2] + 3 * (b"\xff\xfe\xf0\x00" + bytes(0xEFFE)) + JPEG[2:] if number == 5 else JPEG)
        )
        ends.append((tmp_path / days.name).stat().st_size)
    days.close()
    path = tmp_path / films(tmp_path)[0].name
    data = path.read_bytes()
    for at in [*random.Random(2).sample(range(500, len(data)), 40), *ends]:
        path.write_bytes(data[:at])
        again = days_in(tmp_path)
        again.add(picture(100))
        assert path.stat().st_size == again._shelf.bytes, "something is left behind the end"
        again.leave()
        (film,) = films(tmp_path)
        assert seconds(film) == [*range(sum(at >= end for end in ends)), 100], f"cut at byte {at}"


def test_what_is_damaged_in_its_middle_is_left_alone(tmp_path: Path) -> None:
    days = days_in(tmp_path)
    for number in range(9):
        days.add(picture(number))
    days.close()
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    third = data.index(matroska.CLUSTER_BEGIN, data.index(JPEG[-100:], data.index(JPEG[-100:]) + 1))
    damaged = data[:third] + bytes(16) + data[third + 16 :]
    path.write_bytes(damaged)
    again = days_in(tmp_path)
    again.add(picture(60))
    again.close()
    assert path.read_bytes() == damaged, "pictures were cut off"
    assert seconds(films(tmp_path)[-1]) == [60]


def test_what_is_not_of_this_release_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = days_in(tmp_path)
    days.add(picture(0))
    days.close()
    before = (tmp_path / "2026-08-01_10-00-00_timelapse.mkv").read_bytes()
    monkeypatch.setattr(matroska, "__version__", "99.0.0")
    again = days_in(tmp_path)
    again.add(picture(60))
    again.close()
    assert [seconds(film) for film in films(tmp_path)] == [[0], [60]]
    assert (tmp_path / "2026-08-01_10-00-00_timelapse.mkv").read_bytes() == before


def test_a_picture_of_another_size_begins_another_film(tmp_path: Path) -> None:
    days = days_in(tmp_path)
    for number, jpeg in enumerate((JPEG, wide(JPEG), wide(JPEG))):
        days.add(picture(number, jpeg))
    days.close()
    assert [seconds(film) for film in films(tmp_path)] == [[0], [1, 2]]


def test_a_film_that_somebody_removed_is_begun_again(tmp_path: Path) -> None:
    days = days_in(tmp_path)
    days.add(picture(0))
    (tmp_path / days.name).unlink()
    days.add(picture(60))
    days.close()
    assert [seconds(film) for film in films(tmp_path)] == [[60]]


def test_cameras_that_share_a_folder_have_films_of_their_own(tmp_path: Path) -> None:
    one = days_in(tmp_path)
    one.add(picture(0))
    other = days_in(tmp_path)
    for second in (60, 120):
        one.add(picture(second))
        other.add(picture(second + 1, JPEG[:2] + b"\xff\xfe\x00\x04ab" + JPEG[2:]))
    one.close()
    other.close()
    assert [seconds(film) for film in films(tmp_path)] == [[0, 60, 120], [61, 121]]


def test_the_newest_days_stay_whatever_the_clock_shows(tmp_path: Path) -> None:
    days = days_in(tmp_path, kept=3)
    clip = tmp_path / "2020-01-01_00-00-00_motion.mkv"
    clip.write_bytes(b"")
    days._shelf.look()
    for day in (0, 1, 2, 3, 4, 3650, -7000):
        days.add(picture(day * DAY))
    days.close()
    names = [film.name[:10] for film in films(tmp_path) if film.pictures]
    assert names == ["2007-06-02", "2026-08-04", "2026-08-05", "2036-07-29"], "not the newest, and that of now"
    assert clip.exists(), "a clip went with the days"


def test_the_quota_holds_for_clips_and_days_together(tmp_path: Path) -> None:
    clip = tmp_path / "2026-08-02_06-00-00_motion.mkv"
    clip.write_bytes(bytes(len(JPEG)))
    days = days_in(tmp_path, quota=10 * len(JPEG))
    for number in range(0, 4 * DAY, 6 * 3600):
        days.add(picture(number))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10 * len(JPEG) + 5000
    days.close()
    assert [(film.name[:10], len(film.pictures)) for film in films(tmp_path)] == [
        ("2026-08-03", 4), ("2026-08-04", 4), ("2026-08-05", 1)
    ], "not whole days"  # fmt: skip
    assert not clip.exists()


def test_a_day_as_large_as_the_quota_gives_way_to_what_comes_later(tmp_path: Path) -> None:
    days = days_in(tmp_path, quota=5 * len(JPEG))
    for number in range(20):
        days.add(picture(number))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5 * len(JPEG) + 5000
    days.close()
    assert seconds(films(tmp_path)[-1])[-1] == 19
    tiny = days_in(tmp_path, quota=len(JPEG) // 2)
    with pytest.raises(NoRoomError):
        tiny.add(picture(DAY))


def test_each_picture_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size) or real(fd))
    days = days_in(tmp_path)
    for number in range(3):
        days.add(picture(number))
        assert synced[-1] == (tmp_path / days.name).stat().st_size


# -- beside clips, in the thread that writes


def test_clips_and_time_lapse_are_written_side_by_side(tmp_path: Path) -> None:
    writer = Writer(Shelf(tmp_path, EVERYTHING, 0), 60, make_folder=False)
    writer.start()
    for number in range(5):
        writer.put(picture(number), "motion")
        writer.put(picture(number), TIMELAPSE)
    writer.end()
    until("all is written", lambda: writer._busy_since is None and not writer._waiting)
    progress = writer.progress(time.monotonic())
    assert progress.day.endswith("_timelapse.mkv") and not progress.writes and progress.clip == ""
    writer.close(5)
    motion, timelapse = films(tmp_path)
    assert len(motion.pictures) == 5 and seconds(timelapse) == list(range(5)) and timelapse.complete


def test_a_picture_that_cannot_be_read_costs_no_clip(tmp_path: Path) -> None:
    writer = Writer(Shelf(tmp_path, EVERYTHING, 0), 60, make_folder=False)
    for number in range(3):
        writer.put(picture(number), "motion")
        writer.put(picture(number, b"no picture"), TIMELAPSE)
    writer.start()
    writer.close(5)
    (motion,) = films(tmp_path)
    assert len(motion.pictures) == 3 and writer.progress(time.monotonic()).lost == 3
