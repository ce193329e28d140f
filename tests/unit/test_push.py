"""The parts of the pusher: which file is next, what was sent, how long is waited, and the command with its limit."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from pi_cam_daemon.push import outbox
from pi_cam_daemon.push.commands import Commands, NotReadyError
from pi_cam_daemon.push.memory import Memory
from pi_cam_daemon.push.outbox import Outbox
from pi_cam_daemon.push.pusher import wait_seconds
from pi_cam_daemon.push.sending import limit
from pi_cam_daemon.system import pushed
from tests.kit.films import film

URL = "https://nas.local/dav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recordings").mkdir()
    return tmp_path / "recordings"


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "pushed.json", URL)


def names(box: Outbox) -> list[str]:
    return [file.path.name for file in box.files]


# -- which file is next


def test_the_oldest_comes_first_and_one_that_failed_behind_the_others(folder: Path, memory: Memory) -> None:
    clips = [film(folder, 3, later_seconds=60 * number) for number in (2, 0, 1)]
    oldest, middle, newest = sorted(clip.name for clip in clips)
    box = Outbox(folder, memory)
    box.look(0)
    assert names(box) == [oldest, middle, newest]
    box.failed(box.files[0])
    box.look(1)
    assert names(box) == [middle, newest, oldest]
    box.succeeded(box.files[0])
    assert names(box) == [newest, oldest]
    box.look(2)
    assert names(box) == [newest, oldest]


def test_what_a_power_cut_left_is_sent_once_it_rests_and_is_not_removed(folder: Path, memory: Memory) -> None:
    half = film(folder, 3, closed=False)
    box = Outbox(folder, memory)
    box.look(0)
    box.look(outbox._LEFT_SECONDS - 1)
    assert names(box) == []
    with half.open("ab") as file:
        file.write(b"more")
    box.look(outbox._LEFT_SECONDS)
    box.look(2 * outbox._LEFT_SECONDS - 1)
    assert names(box) == []
    box.look(2 * outbox._LEFT_SECONDS)
    assert names(box) == [half.name]
    box.succeeded(box.files[0])
    box.look(3 * outbox._LEFT_SECONDS)
    box.remove_sent()
    assert names(box) == [] and half.exists()


def test_the_film_of_this_day_waits_for_the_next_one(
    folder: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = film(folder, 3)
    for day in ("27", "28"):
        os.link(clip, folder / f"2026-11-{day}_06-00-00_timelapse.mkv")
    clip.unlink()
    box = Outbox(folder, memory)
    for today, expected in (("28", ["27"]), ("29", ["27", "28"]), ("27", ["28"])):
        monkeypatch.setattr(time, "strftime", lambda _, today=today: f"2026-11-{today}")
        box.look(0)
        assert names(box) == [f"2026-11-{day}_06-00-00_timelapse.mkv" for day in expected]


def test_only_recordings_are_sent(folder: Path, memory: Memory, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "2026-11-29_18-05-31_motion.mkv").symlink_to(secret)
    (folder / "2026-11-29_18-05-32_motion.mkv").write_text("not a film")
    (folder / "2026-11-29_18-05-33_motion.mkv").mkdir()
    os.mkfifo(folder / "2026-11-29_18-05-34_motion.mkv")
    box = Outbox(folder, memory)
    box.look(0)
    assert names(box) == []


def test_a_folder_that_is_lost_takes_nothing_with_it(folder: Path, memory: Memory) -> None:
    clip, other = film(folder, 3), film(folder, 3, later_seconds=60)
    box = Outbox(folder, memory)
    box.look(0)
    box.succeeded(box.files[0])
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError):
        box.look(1)
    assert box.files == []
    folder.with_name("elsewhere").rename(folder)
    box.look(2)
    assert (names(box), [file.path for file in box.sent]) == ([other.name], [clip])


# -- what was sent


def test_what_was_sent_is_known_after_a_restart_for_the_same_address_only(tmp_path: Path) -> None:
    path = tmp_path / "pushed.json"
    memory = Memory(path, URL)
    memory.add("a.mkv", 5, ["a.mkv"])
    memory.add("b.mkv", 6, ["a.mkv", "b.mkv"])
    again = Memory(path, URL)
    assert again.has("a.mkv", 5) and again.has("b.mkv", 6)
    assert not again.has("a.mkv", 7) and not again.has("c.mkv", 5)
    assert not Memory(path, URL + "2").has("a.mkv", 5)
    assert path.stat().st_mode & 0o777 == 0o600
    again.add("c.mkv", 7, ["b.mkv", "c.mkv"])
    assert not Memory(path, URL).has("a.mkv", 5), "what is gone is forgotten"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 1}', b'{"url": "https://nas.local/dav", "sent": [1]}'])
def test_a_broken_memory_is_an_empty_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pushed.json").write_bytes(content)
    memory = Memory(tmp_path / "pushed.json", URL)
    assert not memory.has("a.mkv", 5)
    memory.add("a.mkv", 5, ["a.mkv"])
    assert Memory(tmp_path / "pushed.json", URL).has("a.mkv", 5)


def test_what_cannot_be_kept_is_known_until_the_end(folder: Path, tmp_path: Path) -> None:
    film(folder, 3)
    (tmp_path / "file").touch()
    box = Outbox(folder, Memory(tmp_path / "file/pushed.json", URL))
    box.look(0)
    with pytest.raises(OSError):
        box.succeeded(box.files[0])
    box.look(1)
    assert names(box) == []


@pytest.mark.parametrize("unit", ["pi-cam-daemon@yard", "pi-cam-daemon-push@yard"])
def test_daemon_and_pusher_meet_in_its_runtime_directory(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / unit))
    (tmp_path / "pi-cam-daemon-push@yard").mkdir()
    pushed.PLACE.write(pushed.Record(os.getpid(), "waiting", "Waiting"), tmp_path / "state")
    assert (tmp_path / "pi-cam-daemon-push@yard/push.json").exists()
    told = pushed.PLACE.report(tmp_path / "state")
    assert told == {"state": "waiting", "detail": "Waiting", "file": "", "queue": 0, "sent": 0}


# -- how long


def test_the_waits_double_up_to_an_hour() -> None:
    assert [wait_seconds(failures) for failures in (1, 2, 3, 7, 8, 10_000)] == [30, 60, 120, 1920, 3600, 3600]


def test_a_large_file_may_take_longer() -> None:
    assert limit(0) == 120
    assert limit(200_000_000) == 120 + 10_000


# -- the command


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both programs."""
    monkeypatch.setattr(shutil, "which", lambda program: program)


def test_the_command_of_rclone_has_the_file_and_no_secret(tmp_path: Path) -> None:
    made = Commands("rclone:nas:camera/yard/", "/etc/rclone.conf", tmp_path)
    command = made.send(tmp_path / "a.mkv")
    assert command[:4] == ["rclone", "copyto", str(tmp_path / "a.mkv"), "nas:camera/yard/a.mkv"]
    assert command[command.index("--config") + 1] == "/etc/rclone.conf"
    assert made.where == "nas"
    assert made.problem(0, "", "") == ""
    assert made.problem(1, "", "more\nError: \x1b[31mno room\n") == "rclone: Error:  [31mno room"


def test_the_command_of_sftp_writes_a_part_and_renames_it(tmp_path: Path) -> None:
    made = Commands("sftp://alice@nas.local:2222/my%20films", "", tmp_path)
    with pytest.raises(
        NotReadyError, match=r"known_hosts is missing, so nas.local is not known; ssh-keyscan -p 2222 nas"
    ):
        made.send(tmp_path / "a.mkv")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").touch()
    command = made.send(tmp_path / "a.mkv")
    assert command[-1] == "sftp://alice@nas.local:2222/my%20films/a.mkv.part"
    assert '-rename "/my films/a.mkv.part" "/my films/a.mkv"' in command
    assert "--key" not in command and "--insecure" not in command
    (tmp_path / ".ssh/id_ed25519").touch()
    command = made.send(tmp_path / "a.mkv")
    assert command[command.index("--key") + 1] == str(tmp_path / ".ssh/id_ed25519")
    assert "is not the one that is known" in made.problem(
        60, "000", "curl: (60) SSL peer certificate or SSH remote key"
    )
