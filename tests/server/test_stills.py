"""/still.jpg: a picture of full size beside the stream. It takes the camera's time and is therefore limited."""

from __future__ import annotations

import io
import threading
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading, read_all

DETAILS, TAKEN, OFFSET = 0x8769, 0x9003, 0x9011
FULL = (3280, 2464)
STILL_FAULT = "still-fault"  # as tests/rig/camera.py calls the file


class Asking(threading.Thread):
    """Requests a still on its own connection, in a thread."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._daemon = daemon
        self._answer: tuple[int, dict[str, str], bytes] | OSError = (0, {}, b"")
        self.start()

    def run(self) -> None:
        try:
            self._answer = self._daemon.get("/still.jpg", timeout=30)
        except OSError as error:
            self._answer = error

    def finish(self) -> tuple[int, dict[str, str], bytes]:
        self.join(patience(30))
        assert not self.is_alive()
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer


def fault(daemon: Daemon, word: str) -> None:
    """Give the next still a fault."""
    (daemon.folder / STILL_FAULT).write_text(word)


def take(daemon: Daemon) -> tuple[int, dict[str, str], bytes]:
    return daemon.get("/still.jpg", timeout=30)


def wait_out(headers: dict[str, str], daemon: Daemon) -> tuple[int, dict[str, str], bytes]:
    """Return the first answer that is not a refusal for coming too early; it must come at about the announced time."""
    seconds = float(headers["retry-after"])
    found: list[tuple[int, dict[str, str], bytes]] = []

    def not_refused() -> bool:
        found[:] = [take(daemon)]
        return found[0][0] != 503

    until("the pause is over", not_refused, seconds + 5)
    return found[0]


def test_a_still_has_full_size_and_the_time_of_its_capture(tmp_path: Path) -> None:
    with running(tmp_path, {"video.rotation": 90}) as daemon:
        daemon.wait_for_state("streaming")
        status, headers, body = take(daemon)
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        assert "no-store" in headers["cache-control"]
        picture = Image.open(io.BytesIO(body))
        picture.load()
        assert picture.size == FULL[::-1], "turned as the stream is"
        assert {TAKEN, OFFSET} <= picture.getexif().get_ifd(DETAILS).keys()


def test_the_stream_of_viewers_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, closing(daemon.watch()) as viewer:
        viewer.part()
        reading = Reading(viewer)
        assert take(daemon)[0] == 200
        until("more pictures come", lambda: len(reading.parts) > 20)
        assert {part.size for part in reading.finish()} == {(640, 480)}


def test_stills_are_taken_one_at_a_time_with_a_pause_between(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.wait_for_state("streaming")
        fault(daemon, "slow")
        first = Asking(daemon)
        until("the camera is at it", lambda: not (daemon.folder / STILL_FAULT).exists())
        status, headers, body = take(daemon)
        assert (status, headers["retry-after"]) == (503, "2")
        assert b"somebody else" in body
        status, _, body = first.finish()
        assert status == 200
        assert Image.open(io.BytesIO(body)).size == FULL
        status, headers, body = take(daemon)
        assert status == 503
        assert b"The stream comes first" in body
        assert 30 < int(headers["retry-after"]) <= 60, "nine times the five seconds that it took"


def test_the_pause_after_a_quick_still_is_short(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.wait_for_state("streaming")
        assert take(daemon)[0] == 200
        status, headers, _ = take(daemon)
        assert status == 503
        assert wait_out(headers, daemon)[0] == 200


def test_a_slow_still_is_no_stall_and_viewers_see_the_reason(tmp_path: Path) -> None:
    with (
        running(tmp_path, {"source.stall_timeout_seconds": patience(1.0)}) as daemon,
        closing(daemon.watch()) as viewer,
    ):
        viewer.next_where("a picture", lambda part: b"X-No-Picture" not in part.header)
        daemon.wait_for_rate()
        pid = daemon.camera_pid()
        fault(daemon, "slow")
        asking = Asking(daemon)
        card = viewer.next_where("a card", lambda part: b"X-No-Picture" in part.header)
        assert b"X-No-Picture: still\r\n" in card.header
        assert asking.finish()[0] == 200
        viewer.next_where("a picture again", lambda part: b"X-No-Picture" not in part.header)
        assert daemon.camera_pid() == pid


def test_a_camera_that_hangs_on_a_still_is_reported_and_restarted(tmp_path: Path) -> None:
    with (
        running(tmp_path, {"source.stall_timeout_seconds": patience(1.0)}) as daemon,
        closing(daemon.watch()) as viewer,
    ):
        viewer.next_where("a picture", lambda part: b"X-No-Picture" not in part.header)
        daemon.wait_for_rate()
        pid = daemon.camera_pid()
        fault(daemon, "hang")
        status, _, body = take(daemon)
        assert status == 504
        assert body == b"The camera gave no picture of full size within 12 s and is started again\n"
        viewer.next_where("a card", lambda part: b"X-No-Picture" in part.header)
        viewer.next_where("a picture again", lambda part: b"X-No-Picture" not in part.header, 20)
        assert daemon.camera_pid() != pid


@pytest.mark.parametrize(
    ("word", "said"), [("refused", b"There is no memory for a picture"), ("crash", b"The camera was lost")]
)
def test_the_cameras_reason_for_refusing_a_still_is_reported(tmp_path: Path, word: str, said: bytes) -> None:
    with running(tmp_path) as daemon, closing(daemon.watch()) as viewer:
        viewer.part()
        fault(daemon, word)
        status, headers, body = take(daemon)
        assert (status, headers["retry-after"]) == (503, "2")
        assert said in body
        daemon.wait_for_state("streaming")
        viewer.part()


def test_without_a_camera_a_still_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "fault").write_text("missing")
    with running(tmp_path) as daemon:
        daemon.wait_for_state("no-camera")
        status, headers, body = daemon.get("/still.jpg", timeout=3)
        assert (status, headers["retry-after"]) == (503, "2")
        assert b"No camera is connected\n\nCheck the cable" in body


def test_a_sleeping_camera_is_woken_for_a_still_and_sleeps_again(tmp_path: Path) -> None:
    with running(tmp_path, {"source.capture": "on-demand", "source.idle_seconds": 0.5}) as daemon:
        daemon.wait_for_state("idle")
        status, _, body = take(daemon)
        assert status == 200
        assert Image.open(io.BytesIO(body)).size == FULL
        daemon.wait_for_state("idle", 60)


@pytest.mark.parametrize("field", ["Sec-Fetch-Site: cross-site", "Origin: http://attacker.example"])
def test_a_page_of_another_site_takes_no_still(field: str, tmp_path: Path) -> None:
    with running(tmp_path, {"source.capture": "on-demand", "source.idle_seconds": 0}) as daemon:
        daemon.wait_for_state("idle")
        for method in ("GET", "HEAD"):
            with closing(daemon.connect(f"{method} /still.jpg HTTP/1.0\r\n{field}\r\n\r\n")) as sock:
                answer = read_all(sock)
            assert answer.startswith(b"HTTP/1.0 403 Forbidden\r\n")
            assert b"X-Refused: origin\r\n" in answer
        assert daemon.state()["camera_process"]["starts"] == 0


def test_a_head_request_takes_no_still(tmp_path: Path) -> None:
    with running(tmp_path, {"source.capture": "on-demand", "source.idle_seconds": 0}) as daemon:
        daemon.wait_for_state("idle")
        with closing(daemon.connect("HEAD /still.jpg HTTP/1.0\r\n\r\n")) as sock:
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n") and answer.endswith(b"\r\n\r\n")
        assert b"Content-Type: image/jpeg\r\n" in answer
        assert daemon.state()["state"] == "idle"
        assert daemon.state()["camera_process"]["starts"] == 0
