"""The thread that asks for pictures, and one request of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pi_cam_daemon.config.schema import TimelapseConfig
from pi_cam_daemon.recording import timelapse as timelapses
from pi_cam_daemon.recording.asking import RefusedError, ask
from pi_cam_daemon.recording.feed import FeedError
from pi_cam_daemon.recording.shelf import Shelf
from pi_cam_daemon.recording.timelapse import Timelapse
from pi_cam_daemon.recording.writer import Writer
from tests.kit.wait import until

CONFIG = TimelapseConfig(every_seconds=1, picture="snapshot", start="", end="", days_kept=30)


@contextmanager
def answering(path: Path, *answers: bytes) -> Iterator[None]:
    """Answer the requests at the socket *path*, one after the other."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            for one in answers:
                asked, _ = listening.accept()
                with asked:
                    asked.recv(1000)
                    asked.sendall(one)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield
        thread.join(10)


def test_an_answer_is_a_picture_and_its_time(tmp_path: Path) -> None:
    with answering(tmp_path / "socket", b"HTTP/1.1 200 OK\r\nX-Timestamp: 5.000001\r\nContent-Length: 3\r\n\r\njpg"):
        assert ask(tmp_path / "socket", "/snapshot", 5) == (b"jpg", "5.000001")


def test_a_refusal_has_the_words_of_the_daemon(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 11\r\n\r\nNo camera.\n"
    with answering(tmp_path / "socket", refusal), pytest.raises(RefusedError, match=r"^No camera\.$"):
        ask(tmp_path / "socket", "/snapshot", 5)


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\ncut short"]
)
def test_a_broken_answer_is_no_picture(answer: bytes, tmp_path: Path) -> None:
    with answering(tmp_path / "socket", answer), pytest.raises(FeedError, match="does not answer"):
        ask(tmp_path / "socket", "/snapshot", 5)


def test_a_daemon_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="The daemon does not answer: No such file"):
        ask(tmp_path / "socket", "/snapshot", 5)


@pytest.mark.parametrize(("taken", "kept"), [("99.970000", 100_000_000), ("100.200000", 100_200_000)])
def test_a_picture_is_not_older_than_its_moment(taken: str, kept: int, tmp_path: Path) -> None:
    """The newest one of midnight was taken on the day before, and belongs to the new day."""
    started = Started(tmp_path, synced=False)
    answer = f"HTTP/1.1 200 OK\r\nX-Timestamp: {taken}\r\nContent-Length: 3\r\n\r\njpg".encode()
    with answering(tmp_path / "socket", answer):
        assert started.timelapse._picture(100).taken_us == kept
    started.timelapse.close(5)


class Started:
    """A thread of time-lapse without a daemon, on a machine whose clock is *synced*."""

    def __init__(self, folder: Path, synced: bool | None) -> None:
        self.synced = synced
        writer = Writer(Shelf(folder, 1 << 30, 0), 60, make_folder=False)
        self.timelapse = Timelapse(
            folder / "socket", CONFIG, sleeps=False, writer=writer, changed=lambda: None, synced=lambda: self.synced
        )
        self.timelapse.start()


@pytest.fixture
def unset(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path, synced=False)
    yield started
    started.timelapse.close(5)


def test_a_clock_that_is_not_set_is_waited_for(unset: Started) -> None:
    until("it says so", lambda: "the clock of this machine, which is not set yet" in unset.timelapse.problem)
    assert unset.timelapse.missed == 0
    unset.synced = True
    until("it takes pictures", lambda: unset.timelapse.missed > 0)
    assert "does not answer" in unset.timelapse.problem


def test_without_a_network_the_wait_for_the_clock_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(timelapses, "_CLOCK_SECONDS", 0.0)
    started = Started(tmp_path, synced=False)
    until("it takes pictures", lambda: started.timelapse.missed > 0)
    assert "The clock of this machine is not set; the time-lapse begins" in caplog.text
    started.timelapse.close(5)


def test_where_nobody_knows_whether_the_clock_is_set_it_counts(tmp_path: Path) -> None:
    started = Started(tmp_path, synced=None)
    until("it takes pictures", lambda: started.timelapse.missed > 0)
    started.timelapse.close(5)
