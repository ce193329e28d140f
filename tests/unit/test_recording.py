"""The parts of the recorder: which pictures are recorded, the file that they go to, and the folder that it is in."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import pi_cam_daemon
from pi_cam_daemon.ipc import parts
from pi_cam_daemon.recording import picture as pictures
from pi_cam_daemon.recording import writer as writers
from pi_cam_daemon.recording.clip import Clip
from pi_cam_daemon.recording.feed import Feed, FeedError, _Events, _Pictures
from pi_cam_daemon.recording.moments import LONGEST_LAG_SECONDS, Moments
from pi_cam_daemon.recording.picture import Picture, PreRoll
from pi_cam_daemon.recording.shelf import NoRoomError, Shelf
from pi_cam_daemon.recording.writer import _MOST_WAITING_BYTES, Writer
from pi_cam_daemon.system import recordings
from pi_cam_daemon.system.recordings import Record
from tests.kit import clips
from tests.kit.wait import until

JPEG = (Path(pi_cam_daemon.__file__).parent / "core/no-signal.jpg").read_bytes()
NOON_US = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
EVERYTHING = 1 << 40
MOST_PID = 1 << 22


def other_size(jpeg: bytes) -> bytes:
    """Return *jpeg* with another width in its frame header."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 7] + (16).to_bytes(2) + jpeg[at + 9 :]


def picture(second: float, jpeg: bytes = JPEG, clock: float = 0.0) -> Picture:
    """Return a picture that arrived at *second*, by a wall clock that is *clock* seconds fast."""
    return Picture(jpeg, NOON_US + round((second + clock) * 1e6), 1000.0 + second)


def comments(number: int, size: int) -> bytes:
    """Return a JPEG of about *size* bytes that differs from those of other *number*s."""
    text = f"{number:08}".encode()
    return JPEG[:2] + b"\xff\xfe" + (2 + len(text)).to_bytes(2) + text + padding(size - len(JPEG)) + JPEG[2:]


def padding(size: int) -> bytes:
    return (b"\xff\xfe\xf0\x00" + bytes(0xF000 - 2)) * max(0, size // 0xF002)


# -- the pictures of the last seconds


def test_the_pre_roll_has_the_last_seconds() -> None:
    roll = PreRoll(5)
    for number in range(100):
        roll.add(picture(number / 10))
    assert [one.arrived for one in roll.take(2)] == pytest.approx([1000 + n / 10 for n in range(79, 100)])
    assert roll.take(2) == [], "a picture would be in two clips"
    for number in range(100):
        roll.add(picture(number / 10))
    assert len(roll.take(60)) == 51, "more than its seconds"


def test_the_pre_roll_is_limited_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 10 * len(JPEG))
    roll = PreRoll(60)
    for _ in range(2):
        for number in range(100):
            roll.add(picture(number / 10))
        assert len(roll.take(60)) == 10
    roll.add(picture(20, bytes(11 * len(JPEG))))  # larger than all of it
    assert roll.take(60) == []


# -- which moments are recorded


def told(number: int, began: float, ended: float | None, kind: str = "motion") -> dict[str, object]:
    start = NOON_US / 1e6
    return {"id": number, "kind": kind, "began": start + began, "ended": None if ended is None else start + ended}


def test_an_event_is_recorded_until_some_seconds_after_its_end() -> None:
    moments = Moments(after=10)
    assert moments.reason(1000) == ""
    moments.event(told(1, 0, None), picture(1), 1001)
    assert (moments.reason(1500), moments.lag) == ("motion", pytest.approx(1))
    moments.event(told(1, 0, 600), picture(602), 1602)
    assert (moments.reason(1609.9), moments.reason(1610.1)) == ("motion", "")
    moments.event(told(1, 0, 600), picture(611), 1611)  # it is told again, with its picture
    assert moments.reason(1611) == ""


def test_of_two_events_the_later_end_counts() -> None:
    moments = Moments(after=10)
    moments.event(told(1, 0, None), picture(0), 1000)
    moments.event(told(2, 1, None), picture(1), 1001)
    moments.event(told(2, 1, 2), picture(2), 1002)
    assert moments.reason(1500) == "motion"
    moments.event(told(1, 0, 500), picture(500), 1500)
    assert moments.reason(1509) == "motion" and moments.reason(1511) == ""


@pytest.mark.parametrize("newest", [None, picture(100)])
def test_events_of_long_ago_are_not_recorded(newest: Picture | None) -> None:
    moments = Moments(after=10)
    moments.event(told(1, 0, 5), newest, 1100)
    moments.event(told(2, 0, 5, "snapshot"), newest, 1100)
    moments.event(told(3, 99, None, "weather"), newest, 1100)  # a kind of a later release
    assert moments.reason(1100) == ""


def test_an_event_that_is_told_only_at_its_end_is_recorded() -> None:
    moments = Moments(after=10)
    moments.event(told(1, 0, 1), picture(2), 1002)
    assert moments.reason(1010.9) == "motion" and moments.reason(1011.1) == ""
    assert moments.lag == pytest.approx(2)


def test_a_wrong_clock_asks_for_no_endless_pre_roll() -> None:
    moments = Moments(after=10)
    moments.event(told(1, -1e9, None), picture(0), 1000)
    assert moments.lag == LONGEST_LAG_SECONDS
    moments = Moments(after=10)
    moments.event(told(1, 1e9, None), picture(0), 1000)
    assert moments.lag == 0


def test_a_lost_camera_ends_what_goes_on() -> None:
    moments = Moments(after=10)
    moments.event(told(1, 0, None), picture(0), 1000)
    moments.event(told(2, 1, 1, "camera-lost"), picture(1), 1001)
    assert moments.reason(1001) == ""
    moments.event(told(3, 2, 3), picture(3), 1003)
    assert moments.reason(1004) == "motion"
    moments.event(told(4, 4, 4, "camera-lost"), picture(4), 1004)
    assert moments.reason(1004) == ""


def test_a_wish_is_recorded_like_an_event_of_a_moment() -> None:
    moments = Moments(after=10)
    moments.event(told(1, 0, 2), picture(4), 1004)
    moments.ask(1020)
    assert moments.reason(1029.9) == "manual" and moments.reason(1030.1) == "" and moments.lag == 0


def test_an_event_that_goes_on_before_the_first_picture_is_recorded() -> None:
    moments = Moments(after=10)
    moments.event(told(1, 0, None), None, 1000)
    assert (moments.reason(1000), moments.lag) == ("motion", 0)


# -- what the daemon sends


def stream(*sent: tuple[bytes, int, str]) -> bytes:
    return parts.OPENING + b"".join(parts.part(*one) for one in sent)


def test_the_stream_is_read_however_it_is_cut() -> None:
    one, two, card = comments(1, 0), comments(2, 0), comments(3, 0)
    data = stream((one, 5, ""), (one, 5, ""), (card, 6, "lost"), (two, 7_000_001, ""))
    chance = random.Random(4)
    for _ in range(20):
        reader, at, found = _Pictures(), 0, []
        while at < len(data):
            step = chance.choice((1, 7, 100, 5000))
            found += reader.read(data[at : at + step])
            at += step
        # neither the repeated picture nor the card that takes the place of one
        assert [(found.jpeg, found.taken_us) for found in found] == [(one, 5), (two, 7_000_001)]


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 5\r\n\r\n", b"\r\nX-Timestamp: 1.000000\r\n\r\n", b"\r\nContent-Length: 999999999\r\n\r\n"],
)
def test_a_malformed_stream_is_an_error(head: bytes) -> None:
    with pytest.raises(FeedError, match="malformed"):
        list(_Pictures().read(parts.OPENING + head))


def test_events_are_read_however_they_are_cut() -> None:
    events = [{"id": number, "text": "a\nb"} for number in range(3)]
    data = b"retry: 5000\n\n:\n\n" + b"".join(b"id: 1\ndata: %s\n\n" % json.dumps(one).encode() for one in events)
    for step in (1, 3, 1000):
        reader, found = _Events(), []
        for at in range(0, len(data), step):
            found += reader.read(data[at : at + step])
        assert found == events
    with pytest.raises(FeedError):
        list(_Events().read(b"data: {\n\n"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nfull", "refuses the recorder: 503 Service Unavailable"),
        (b"", "has ended"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "has ended"),
    ],
)
def test_a_daemon_that_refuses_or_ends_is_told(answer: bytes, text: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        feed = Feed(tmp_path / "socket")
        for _ in range(2):
            asked, _ = listening.accept()
            with asked:
                asked.recv(1000)
                asked.sendall(answer)
        with pytest.raises(FeedError, match=text):
            while True:
                feed.read(1.0)
        feed.close()


# -- a clip


def test_a_clip_that_is_cut_at_any_byte_has_all_whole_pictures_before(tmp_path: Path) -> None:
    clip = Clip(tmp_path, picture(0), "motion")
    ends = []
    for second in range(3):
        some = [picture(second + part / 3, comments(3 * second + part, 0)) for part in range(3)]
        clip.add(some[-1])
        clip.write(some)
        ends.append(clip.size)
    clip.close()
    path = tmp_path / clip.name
    data = path.read_bytes()
    assert clips.read(path).complete and len(clips.read(path).pictures) == 9
    for at in [*random.Random(1).sample(range(len(data)), 200), *ends]:
        path.write_bytes(data[:at])
        whole = sum(at >= end for end in ends)
        found = clips.read(path)
        assert 3 * whole <= len(found.pictures) <= 3 * whole + 3


def test_the_times_of_a_clip_are_those_of_its_pictures(tmp_path: Path) -> None:
    seconds = [0, 0.04, 0.0815, 20.123, 31.7]
    clip = Clip(tmp_path, picture(0), "motion")
    clip.write([picture(second, comments(index, 0)) for index, second in enumerate(seconds)])
    clip.leave()
    found = clips.read(tmp_path / clip.name)
    assert [at - NOON_US / 1e6 for at, _ in found.pictures] == pytest.approx(seconds, abs=0.001)
    assert not found.complete and clip.name.endswith("_motion.mkv")


def test_what_is_written_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size) or real(fd))
    clip = Clip(tmp_path, picture(0), "motion")
    for second in range(3):
        clip.write([picture(second, comments(second, 0))])
        assert synced[-1] == clip.size, "a power cut could take this cluster"
    clip.close()
    assert synced[-1] == clip.size and len(synced) == 6


def test_the_part_that_is_written_twice_is_in_one_sector(tmp_path: Path) -> None:
    clip = Clip(tmp_path, picture(0), "motion")
    assert clip.size <= 512
    clip.write([picture(0)])
    before = (tmp_path / clip.name).read_bytes()
    clip.close()
    after = (tmp_path / clip.name).read_bytes()
    assert after[512 : len(before)] == before[512:] and after[:512] != before[:512]


def test_clips_of_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    names = [Clip(tmp_path, picture(0), "motion").name for _ in range(3)]
    assert [name[19:] for name in names] == ["_motion.mkv", "_motion-2.mkv", "_motion-3.mkv"]


# -- the folder


def put(folder: Path, name: str, size: int) -> str:
    (folder / name).write_bytes(bytes(size))
    return name


def clip_name(number: int) -> str:
    return f"2026-01-01_00-00-{number:02}_motion.mkv"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Four clips of 100 bytes, and what is none of ours."""
    for number in range(4):
        put(tmp_path, clip_name(number), 100)
    for name in ("holiday.mkv", "2020-01-01_00-00-00_motion.mkv.part", "2020-01-01_00-00-00_motion.txt"):
        put(tmp_path, name, 1000)
    shelf = Shelf(tmp_path, 500, 0)
    shelf.look()
    return shelf


def left(shelf: Shelf) -> list[int]:
    return sorted(int(path.name[17:19]) for path in shelf.folder.glob("2026*"))


def test_the_oldest_clips_go_and_nothing_else(shelf: Shelf) -> None:
    assert (shelf.clips, shelf.bytes) == (4, 400)
    shelf.make_room(100)
    assert left(shelf) == [0, 1, 2, 3]
    shelf.make_room(101)
    assert left(shelf) == [1, 2, 3]
    shelf.open.add(clip_name(1))
    shelf.make_room(400)
    assert left(shelf) == [1]
    assert len(list(shelf.folder.iterdir())) == 4, "somebody else's file was removed"


def test_what_is_larger_than_the_quota_costs_no_clip(shelf: Shelf) -> None:
    with pytest.raises(NoRoomError, match="quota_mb"):
        shelf.make_room(501)
    assert left(shelf) == [0, 1, 2, 3]


def test_the_file_system_keeps_its_free_part(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of a disk of 1000 bytes are the test's; the clips are on a real one."""
    real = os.statvfs(shelf.folder)
    other = 450  # bytes of somebody else

    def statvfs(path: Path) -> os.statvfs_result:
        used = sum(one.stat().st_size for one in Path(path).glob("2026*")) + other
        return os.statvfs_result((1, 1, 1000, 1000 - used, 1000 - used, *real[5:10]))

    monkeypatch.setattr(os, "statvfs", statvfs)
    careful = Shelf(shelf.folder, EVERYTHING, 20)
    careful.look()
    careful.make_room(50)
    assert left(careful) == [1, 2, 3]
    greedy = Shelf(shelf.folder, EVERYTHING, 60)
    greedy.look()
    with pytest.raises(NoRoomError, match=r"^Less than 60 % of the disk is free \(keep_free_percent\)"):
        greedy.make_room(50)
    other = 900
    with pytest.raises(NoRoomError, match=r"^The disk is full, and not of clips$"):
        careful.make_room(50)
    assert left(careful) == [1, 2, 3], "clips were removed in vain"


def test_what_is_no_file_counts_and_goes_for_nothing(shelf: Shelf, tmp_path: Path) -> None:
    """Somebody moved clips to another disk, and left links to them."""
    there = tmp_path / "there"
    there.mkdir()
    put(there, "large", 10_000)
    (shelf.folder / "2020-01-01_00-00-00_motion.mkv").symlink_to(there / "gone")
    (shelf.folder / "2020-01-02_00-00-00_motion.mkv").mkdir()
    os.mkfifo(shelf.folder / "2020-01-03_00-00-00_motion.mkv")
    (shelf.folder / clip_name(9)).symlink_to(there / "large")
    shelf.look()
    assert (shelf.clips, shelf.bytes) == (4, 400)
    shelf.make_room(101)
    assert left(shelf) == [1, 2, 3, 9]
    assert len(list(shelf.folder.glob("2020-01-0?_00-00-00_motion.mkv"))) == 3, "what is no clip was removed"


def test_a_clip_that_somebody_removed_is_no_error(shelf: Shelf) -> None:
    (shelf.folder / clip_name(0)).unlink()
    shelf.make_room(500)
    assert left(shelf) == []


# -- the thread that writes


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    folder = tmp_path / "clips"
    writer = Writer(Shelf(folder, EVERYTHING, 0), 60, make_folder=True)
    writer.start()
    yield writer
    writer.close(5)
    assert not writer._thread.is_alive()


def record(writer: Writer, some: Sequence[Picture], reason: str = "motion") -> None:
    for one in some:
        writer.put(one, reason)
    writer.end()
    settled(writer)


def settled(writer: Writer) -> None:
    until("the writer is done", lambda: writer._busy_since is None and not writer._waiting)


def found(tmp_path: Path) -> list[clips.Clip]:
    return [clips.read(path) for path in sorted((tmp_path / "clips").glob("*.mkv"))]


def test_a_long_event_is_cut_into_clips_that_lack_nothing(writer: Writer, tmp_path: Path) -> None:
    some = [picture(number, comments(number, 0)) for number in range(150)]
    record(writer, some)
    clips_found = found(tmp_path)
    assert [len(clip.pictures) for clip in clips_found] == [60, 60, 30]
    assert [jpeg for clip in clips_found for _, jpeg in clip.pictures] == [one.jpeg for one in some]
    assert all(clip.complete for clip in clips_found)


def test_a_clip_that_somebody_removed_goes_on_in_another_one(writer: Writer, tmp_path: Path) -> None:
    def progress() -> writers.Progress:
        return writer.progress(time.monotonic())

    writer.put(picture(0), "motion")
    writer.put(picture(2), "motion")
    until("a clip has a picture", lambda: progress().bytes > len(JPEG))
    (tmp_path / "clips" / progress().clip).unlink()
    record(writer, [picture(4), picture(6)])
    (clip,) = found(tmp_path)
    assert clip.complete and len(clip.pictures) >= 2 and clip.pictures[-1][0] == NOON_US / 1e6 + 6
    assert progress().clips == 1 and not progress().clip


def test_an_event_behind_the_end_of_another_has_a_clip_of_its_own(tmp_path: Path) -> None:
    writer = Writer(Shelf(tmp_path / "clips", EVERYTHING, 0), 60, make_folder=True)
    for second, reason in ((0, "motion"), (1, "manual")):
        writer.put(picture(second), reason)
        writer.end()
    writer.start()  # so late, as after a disk that was slow
    writer.close(5)
    assert [clip.name[19:] for clip in found(tmp_path)] == ["_motion.mkv", "_manual.mkv"]


def test_a_clock_that_is_set_begins_another_clip(writer: Writer, tmp_path: Path) -> None:
    unset = -NOON_US / 1e6 + 3600  # 1970, as of a Pi without a network
    some = [picture(0, clock=unset), picture(1, clock=unset), picture(2), picture(3), picture(4, clock=-7200)]
    record(writer, some)
    clips_found = found(tmp_path)
    assert [len(clip.pictures) for clip in clips_found] == [2, 1, 2]  # 1970, two hours ago, now
    taken = sorted(at for clip in clips_found for at, _ in clip.pictures)
    assert taken == pytest.approx(sorted(one.taken_us / 1e6 for one in some), abs=0.001)


def test_a_picture_of_another_size_begins_another_clip(writer: Writer, tmp_path: Path) -> None:
    record(writer, [picture(0), picture(1, other_size(JPEG)), picture(2, other_size(JPEG))])
    assert [len(clip.pictures) for clip in found(tmp_path)] == [1, 2]


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder on a disk that is quick."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_the_quota_holds_under_200_events(in_memory: Path) -> None:
    folder, quota = in_memory, 20 * len(JPEG)
    writer = Writer(Shelf(folder, quota, 0), 60, make_folder=False)
    writer.start()
    most = 0
    for number in range(200):
        for second in range(3):
            writer.put(picture(100 * number + second, comments(second, 0)), "motion")
        writer.end()
        settled(writer)
        most = max(most, sum(path.stat().st_size for path in folder.iterdir()))
    writer.close(5)
    progress = writer.progress(time.monotonic())
    assert (progress.problem, progress.lost) == ("", 0)
    assert 0.7 * quota < most <= quota + 5_000, "the quota was not kept, or not used"
    newest = sorted(folder.iterdir())[-1]
    assert clips.read(newest).began == pytest.approx(NOON_US / 1e6 + 19_900, abs=0.001)


def test_a_clip_as_large_as_the_quota_gives_way_to_what_comes_later(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    writer = Writer(Shelf(folder, 10 * len(JPEG), 0), 3600, make_folder=True)
    writer.start()
    record(writer, [picture(number, comments(number, 0)) for number in range(100)])
    writer.close(5)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10 * len(JPEG) + 5_000
    last = clips.read(sorted(folder.iterdir())[-1])
    assert last.pictures[-1][1] == comments(99, 0)


def test_no_more_than_some_megabytes_wait_for_the_disk(tmp_path: Path) -> None:
    writer = Writer(Shelf(tmp_path, EVERYTHING, 0), 60, make_folder=True)  # it does not run, as if the disk hung
    large = picture(0, comments(1, 1 << 20))
    for _ in range(100):
        writer.put(large, "motion")
    assert writer._waiting_bytes <= _MOST_WAITING_BYTES
    assert writer.progress(0.0).lost >= 100 - _MOST_WAITING_BYTES // (1 << 19)


def test_a_folder_that_vanishes_costs_its_pictures_and_no_more(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_RETRY_SECONDS", 0.1)
    record(writer, [picture(0)])
    shutil.rmtree(tmp_path / "clips")
    (tmp_path / "clips").write_text("in its place")
    record(writer, [picture(1), picture(2)])
    progress = writer.progress(time.monotonic())
    assert "clips" in progress.problem and progress.lost == 2
    (tmp_path / "clips").unlink()
    until("the time to try again", lambda: time.monotonic() > writer._retry_at)
    record(writer, [picture(3)])
    progress = writer.progress(time.monotonic())
    assert (progress.problem, progress.clips, progress.lost) == ("", 1, 2)


# -- the record of the recorder


def test_on_a_full_disk_the_record_is_still_true(tmp_path: Path) -> None:
    full = Record(os.getpid(), "failing", "Nothing is recorded: The disk is full, and not of clips")
    (tmp_path / "recordings.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*/recordings.json'"):
        recordings.PLACE.write(full, tmp_path)
    recordings.PLACE.write(
        Record(os.getpid(), "waiting", "Waiting for something to happen; 1 clip, 1 MB" * 3), tmp_path
    )
    (tmp_path / "recordings.new").symlink_to("/dev/full")
    recordings.PLACE.write(full, tmp_path)
    told = recordings.PLACE.report(tmp_path)
    assert told and told["detail"] == full.detail


def test_the_record_is_that_of_a_recorder_that_runs(tmp_path: Path) -> None:
    assert recordings.PLACE.report(tmp_path) is None
    record = Record(os.getpid(), "recording", "Recording", "a.mkv", 3, 4000, 5, "b.mkv", 6)
    recordings.PLACE.write(record, tmp_path)
    assert recordings.PLACE.report(tmp_path) == {
        "state": "recording", "detail": "Recording", "clip": "a.mkv", "clips": 3, "bytes": 4000, "lost": 5,
        "timelapse": "b.mkv", "missed": 6,
    }  # fmt: skip
    recordings.PLACE.write(Record(MOST_PID + 1, "waiting", ""), tmp_path)
    assert recordings.PLACE.report(tmp_path) is None
    (tmp_path / "recordings.json").write_text('{"pid": 1')
    assert recordings.PLACE.report(tmp_path) is None


@pytest.mark.parametrize(
    ("given", "place", "file"),
    [
        ("", "state/local.sock", "state/recordings.json"),
        ("pi-cam-daemon", "pi-cam-daemon/local.sock", "pi-cam-daemon-record/recordings.json"),
        ("pi-cam-daemon-record", "pi-cam-daemon/local.sock", "pi-cam-daemon-record/recordings.json"),
        ("pi-cam-daemon@yard", "pi-cam-daemon@yard/local.sock", "pi-cam-daemon-record@yard/recordings.json"),
        ("pi-cam-daemon-record@yard", "pi-cam-daemon@yard/local.sock", "pi-cam-daemon-record@yard/recordings.json"),
    ],
)
def test_daemon_and_recorder_meet_in_their_runtime_directories(
    given: str, place: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / given) if given else "")
    assert recordings.socket_file(tmp_path / "state") == tmp_path / place
    (tmp_path / file).parent.mkdir()
    recordings.PLACE.write(Record(os.getpid(), "waiting", ""), tmp_path / "state")
    assert (tmp_path / file).exists()
