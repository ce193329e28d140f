"""The camera process over a real socketpair; only its source is the test's own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.camera.sender import FrameSender
from pi_cam_daemon.config import loading
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.ipc import slots
from pi_cam_daemon.ipc.messages import CameraInfo, Still
from pi_cam_daemon.ipc.protocol import COUNT, HEADER, LONGEST_FRAME, Kind, Message, Reader, pack
from tests.kit.camera_end import CameraEnd
from tests.kit.lateness import patience

ENTRY = [sys.executable, "-m", "pi_cam_daemon.camera"]

PROGRAM = """
import os, queue, subprocess, sys, time
from pi_cam_daemon.camera import process
from pi_cam_daemon.camera.choose import Choice
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc import slots
from pi_cam_daemon.ipc.messages import CameraInfo, Still

INFO = CameraInfo("test", "Test camera", 16, 16, 100.0, "none", "by hand")

def create(config):
    return Choice(Source(), "because")

class Source:
    size = 100

    def run(self, sink, commands):
        sink.opened(INFO)
        number, slowest = 0, 0.0
        while True:
            try:
                if commands.get(timeout=0.01):
                    break
            except queue.Empty:
                pass
            number += 1  # also when the command is None, which only ends the wait
            jpeg = (b"\\xff\\xd8 %d " % number).ljust(self.size, b".")
            begin = time.monotonic()
            sink.frame(jpeg, time.monotonic_ns())
            slowest = max(slowest, time.monotonic() - begin)
        self.done(slowest)

    def done(self, slowest):
        pass

{source}

os._exit(process.main(sys.argv[1:], create))
"""

HANGING = """
class Source:
    def run(self, sink, commands):
        sink.opened(INFO)
        time.sleep(60)
"""


class Camera:
    """A camera process and the server's end of its socket."""

    def __init__(self, argv: list[str], stderr: Path) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(patience(15))
        self.stderr = stderr
        memory = slots.create()
        self._slots = slots.SlotReader(memory)
        with theirs, stderr.open("wb") as errors:
            fds = theirs.fileno(), memory
            self.process = subprocess.Popen([*argv, *map(str, fds), "info"], pass_fds=fds, stderr=errors)
        os.close(memory)
        self._reader = Reader(self.sock)

    def tell(self, kind: Kind, payload: bytes = b"") -> None:
        self.sock.sendall(pack(kind, payload))

    def hear(self, kind: Kind | None = None) -> Message:
        """Return the next message (of *kind*); raise EOFError when the process is gone."""
        deadline = time.monotonic() + patience(15)
        while time.monotonic() < deadline:
            message = self._reader.read()
            assert message is not None
            if message.kind is Kind.FRAME:
                message = message._replace(view=memoryview(self._picture(message)))
            if kind in (None, message.kind):
                return message
        raise TimeoutError(kind)

    def _picture(self, message: Message) -> bytes:
        slot, header_length, length, _ = slots.ANNOUNCEMENT.unpack(message.payload)
        part = bytes(self._slots.take(slot, header_length, length))
        self._slots.give_back(slot)
        return part[header_length : header_length + length]

    def hear_for(self, seconds: float) -> list[Message]:
        found = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found.append(self.hear())
        return found

    def last_words(self) -> list[Message]:
        found = []
        with pytest.raises(EOFError):
            while True:
                found.append(self.hear())
        return found

    def error(self) -> dict[str, Any]:
        last = self.last_words()[-1]
        assert last.kind is Kind.ERROR
        said: dict[str, Any] = json.loads(last.payload)
        return said

    def status(self) -> int:
        return self.process.wait(patience(15))

    def close(self) -> None:
        self.sock.close()
        self.process.kill()
        self.process.wait(patience(15))


Start = Callable[..., Camera]


@pytest.fixture
def configuration(tmp_path: Path) -> bytes:
    return loading.load(settings=['source.kind="pattern"'], etc=tmp_path).camera.to_json()


@pytest.fixture
def start(configuration: bytes, tmp_path: Path) -> Iterator[Start]:
    """start(source): run the camera process with the class Source from this text, configured."""
    cameras = []

    def start(source: str = "", configure: bool = True) -> Camera:
        camera = Camera([sys.executable, "-c", PROGRAM.format(source=source)], tmp_path / "stderr")
        cameras.append(camera)
        if configure:
            camera.tell(Kind.CONFIGURE, configuration)
        return camera

    yield start
    for camera in cameras:
        camera.close()


def number(frame: Message) -> int:
    return int(frame.payload[2:].split()[0])


def count(messages: list[Message], kind: Kind) -> int:
    return sum(message.kind is kind for message in messages)


def test_the_camera_process_streams_as_configured(configuration: bytes, tmp_path: Path) -> None:
    camera = Camera(ENTRY, tmp_path / "stderr")
    try:
        camera.tell(Kind.CONFIGURE, configuration)
        hello = json.loads(camera.hear(Kind.HELLO).payload)
        assert (hello["kind"], hello["width"], hello["height"]) == ("pattern", 640, 480)
        picture = camera.hear(Kind.FRAME).payload
        jpeg.check(picture)
        assert jpeg.size(picture) == (640, 480)
        camera.tell(Kind.STOP)
        camera.last_words()
        assert camera.status() == 0
        assert camera.stderr.read_text() == ""
    finally:
        camera.close()


def test_the_camera_is_announced_before_its_first_frame(start: Start) -> None:
    camera = start()
    heard = [camera.hear()]
    while heard[-1].kind is not Kind.FRAME:
        heard.append(camera.hear())
    assert count(heard, Kind.HELLO) == 1
    hello = next(message for message in heard if message.kind is Kind.HELLO)
    assert json.loads(hello.payload) == {
        "kind": "test",
        "name": "Test camera",
        "width": 16,
        "height": 16,
        "framerate": 100.0,
        "pixel_format": "none",
        "encoder": "by hand",
        "reason": "because",
    }
    assert abs(heard[-1].captured_ns - time.monotonic_ns()) < patience(15) * 1e9


def test_every_frame_is_sent_to_viewers_and_one_a_second_without_viewers(start: Start) -> None:
    camera = start()
    camera.hear(Kind.FRAME)
    camera.tell(Kind.LIVE)
    live = camera.hear_for(0.5)
    frames = [number(message) for message in live if message.kind is Kind.FRAME]
    assert len(frames) > 20
    assert frames == sorted(set(frames))
    camera.tell(Kind.QUIET)
    camera.hear(Kind.BEAT)
    quiet = camera.hear_for(2.2)
    assert 2 <= count(quiet, Kind.FRAME) <= 5, "one a second, and one that was on its way"
    assert 2 <= count(quiet, Kind.BEAT) <= 4
    beats = [COUNT.unpack(message.payload)[0] for message in quiet if message.kind is Kind.BEAT]
    assert beats[-1] - beats[0] > 40, "it goes on capturing"


def test_a_server_that_does_not_read_delays_no_capture(start: Start) -> None:
    camera = start(
        """
class Large(Source):
    size = 400_000
    def done(self, slowest):
        raise SourceError(f"{slowest:.3f}")
Source = Large
"""
    )
    camera.tell(Kind.LIVE)
    camera.hear(Kind.FRAME)
    time.sleep(1.0)  # the server is busy elsewhere; some 100 frames come by
    for _ in range(slots.SLOTS + 1):
        frame = camera.hear(Kind.FRAME)
        if time.monotonic_ns() - frame.captured_ns < 300_000_000:
            break
    else:
        pytest.fail("old frames have queued up")
    assert number(frame) > 30
    camera.tell(Kind.STOP)
    assert float(camera.error()["message"]) < 0.5, "the driver's callback waited for the socket"


def test_the_camera_process_stops_on_command(start: Start) -> None:
    camera = start()
    camera.hear(Kind.FRAME)
    camera.tell(Kind.STOP)
    assert count(camera.last_words(), Kind.ERROR) == 0
    assert camera.status() == 0


def test_sigterm_closes_the_camera_in_order(start: Start) -> None:
    camera = start()
    camera.hear(Kind.FRAME)
    camera.process.send_signal(signal.SIGTERM)
    assert count(camera.last_words(), Kind.ERROR) == 0
    assert camera.status() == 0


LOST = 'raise SourceError("It is taken", Cause.BUSY, "Close the other program", device="/dev/video0")'


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(f"class Source:\n def run(self, sink, commands):\n  {LOST}", id="before it was opened"),
        pytest.param(
            "class Source:\n def run(self, sink, commands):\n"
            f"  sink.opened(INFO)\n  sink.frame(b'\\xff\\xd8', 0)\n  {LOST}",
            id="right after its first frame",
        ),
        pytest.param(f"def create(config):\n  {LOST}", id="while it was chosen"),
    ],
)
def test_a_lost_camera_reports_the_reason(source: str, start: Start) -> None:
    camera = start(source)
    texts = {"message": "It is taken", "hint": "Close the other program"}
    assert camera.error() == {"cause": "busy", **texts, "values": {"device": "/dev/video0"}}
    assert camera.status() == os.EX_TEMPFAIL
    assert camera.stderr.read_text() == "", "an expected failure has no traceback"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("class Source:\n def run(self, sink, commands):\n  1 / 0", id="while it ran"),
        pytest.param("def create(config):\n  1 / 0", id="while it was chosen"),
    ],
)
def test_a_bug_is_reported_to_the_server_and_its_traceback_is_logged(source: str, start: Start) -> None:
    camera = start(source)
    said = camera.error()
    assert said["cause"] == "crashed"
    assert "ZeroDivisionError" in said["message"]
    assert camera.status() == os.EX_SOFTWARE
    text = camera.stderr.read_text()
    assert "ZeroDivisionError: division by zero" in text
    assert text.count("Traceback") == 1


def test_a_reason_of_any_length_is_reported(start: Start) -> None:
    camera = start("class Source:\n def run(self, sink, commands):\n  raise SourceError('no ' * 50_000)")
    assert camera.error()["message"].startswith("no no no")


def test_without_a_server_the_camera_is_closed_and_the_process_ends(start: Start) -> None:
    camera = start()
    camera.hear(Kind.FRAME)
    camera.sock.close()
    assert camera.status() == 0


def test_without_a_server_the_process_ends_even_if_the_camera_hangs(start: Start) -> None:
    camera = start(HANGING)
    camera.hear(Kind.HELLO)
    camera.sock.close()
    assert camera.process.wait(patience(6)) == os.EX_UNAVAILABLE


def test_an_invalid_message_from_the_server_ends_the_camera_process(start: Start) -> None:
    camera = start()
    camera.hear(Kind.FRAME)
    camera.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    camera.last_words()
    assert camera.status() == 0


def test_a_server_that_ends_before_configuring_leaves_no_process(start: Start) -> None:
    camera = start(configure=False)
    camera.sock.close()
    assert camera.status() == os.EX_UNAVAILABLE


def test_the_first_message_has_to_be_the_configuration(start: Start) -> None:
    camera = start(configure=False)
    camera.tell(Kind.LIVE)
    assert camera.last_words() == []
    assert camera.status() != 0


def test_the_process_ends_with_the_server_even_if_the_socket_is_held(configuration: bytes) -> None:
    server = (
        "import subprocess, sys, time\n"
        "from pi_cam_daemon.ipc import slots\n"
        "fd, memory = int(sys.argv[1]), slots.create()\n"
        "argv = [sys.executable, '-c', sys.argv[2], sys.argv[1], str(memory), 'info']\n"
        "subprocess.Popen(argv, pass_fds=(fd, memory))\n"
        "time.sleep(60)\n"
    )
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(patience(15))
        with theirs:
            fd = theirs.fileno()
            argv = [sys.executable, "-c", server, str(fd), PROGRAM.format(source=HANGING)]
            process = subprocess.Popen(argv, pass_fds=(fd,))
        try:
            ours.sendall(pack(Kind.CONFIGURE, configuration))
            reader = Reader(ours)
            while (message := reader.read()) is not None and message.kind is not Kind.HELLO:
                pass
        finally:
            process.kill()
            process.wait(patience(15))
        killed_at = time.monotonic()
        with pytest.raises(EOFError):
            while True:
                reader.read()
    assert time.monotonic() - killed_at < patience(2)


def test_a_program_that_the_camera_stack_starts_does_not_hold_the_socket(start: Start) -> None:
    camera = start(
        """
class Forking(Source):
    def run(self, sink, commands):
        subprocess.Popen(["sleep", "5"], close_fds=False)
        super().run(sink, commands)
Source = Forking
"""
    )
    camera.hear(Kind.FRAME)
    camera.process.kill()
    camera.status()
    killed_at = time.monotonic()
    camera.last_words()
    assert time.monotonic() - killed_at < patience(2), "a dead camera process looks alive to the server"


def test_an_announcement_waits_for_room_behind_other_messages() -> None:
    end = CameraEnd()
    sender = FrameSender(end.sock, end.writer, end.small_writer)
    sender.live(True)
    end.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            end.sock.send(pack(Kind.BEAT, COUNT.pack(0)))
    end.sock.settimeout(None)
    # its thread does not run yet: as slow to wake as a thread can be
    sender.frame(b"\xff\xd8 first", 1)
    sender.still(Still(7, b"\xff\xd8 a still"))
    sender.frame(b"\xff\xd8 second", 2)
    reader = Reader(end.theirs)
    end.theirs.settimeout(patience(15))
    sender.start()
    heard = []
    while len(heard) < 3:
        message = reader.read()
        assert message
        if message.kind is not Kind.BEAT:
            heard.append((message.kind, message.captured_ns))
    assert heard == [(Kind.FRAME, 1), (Kind.STILL, 0), (Kind.FRAME, 2)]
    sender.end(None, patience(15))
    end.close()
    end.theirs.close()


def test_frames_are_skipped_while_the_server_has_all_slots_and_count_as_captured() -> None:
    end = CameraEnd()
    sender = FrameSender(end.sock, end.writer, end.small_writer)
    sender.live(True)
    for number in range(slots.SLOTS + 3):
        sender.frame(b"\xff\xd8 %d" % number, number)
    sender.start()
    reader = Reader(end.theirs)
    end.theirs.settimeout(patience(15))
    heard = []
    while not heard or heard[-1].kind is not Kind.BEAT:
        heard.append(reader.read())
    assert [message.captured_ns for message in heard[:-1]] == list(range(slots.SLOTS))
    assert COUNT.unpack(heard[-1].payload) == (slots.SLOTS + 3,)
    end.reader.give_back(2)
    sender.frame(b"\xff\xd8 again", 99)
    while (message := reader.read()) and message.kind is not Kind.FRAME:
        pass
    assert message and message.payload[0] == 2
    sender.end(None, patience(15))
    end.close()
    end.theirs.close()


def test_memory_that_only_larger_frames_took_is_given_back() -> None:
    fd = slots.create()
    reader, writer = slots.SlotReader(fd), slots.SlotWriter(fd)

    def send(jpeg: bytes) -> int:
        announcement = writer.write(jpeg, 1)
        assert announcement
        *_, slot, header_length, length, _ = slots.FRAME.unpack(announcement)
        part = reader.take(slot, header_length, length)
        assert bytes(part[header_length : header_length + length]) == jpeg
        return int(slot)

    large, small = b"\xff\xd8".ljust(7_000_000, b"x"), b"\xff\xd8".ljust(60_000, b"y")
    first, second = send(large), send(large)
    reader.give_back(first)
    writer.trim()
    assert os.fstat(fd).st_blocks * 512 >= 14_000_000, "large ones may go on"
    assert send(small) == first
    writer.trim()
    assert os.fstat(fd).st_blocks * 512 >= 14_000_000, "both are the server's"
    reader.give_back(first)
    reader.give_back(second)
    writer.trim()
    assert os.fstat(fd).st_blocks * 512 >= 14_000_000, "no frame came: nobody knows what the next one needs"
    send(small)
    writer.trim()
    assert os.fstat(fd).st_blocks * 512 < 7_500_000
    reader.give_back(first)
    send(small)
    reader.give_back(first)
    writer.trim()
    assert os.fstat(fd).st_blocks * 512 < 100_000
    assert send(small) == first
    os.close(fd)


def test_a_frame_that_is_too_long_is_told_as_unusable() -> None:
    end = CameraEnd()
    sender = FrameSender(end.sock, end.writer, end.small_writer)
    sender.frame(memoryview(bytes(LONGEST_FRAME + 1)), 1)
    sender.start()
    reader = Reader(end.theirs)
    end.theirs.settimeout(patience(15))
    while (message := reader.read()) and message.kind is not Kind.UNUSABLE:
        pass
    assert message and message.payload == b"it has 33554433 bytes; at most 33554432 are accepted"
    sender.end(None, patience(15))
    end.close()
    end.theirs.close()


@pytest.mark.parametrize(
    ("of_auto", "of_source", "told"),
    [
        ("picamera2 finds a CSI camera", "", "picamera2 finds a CSI camera"),
        ("", "It is the first of 2", "It is the first of 2"),
        ("picamera2 finds a CSI camera", "It is the first of 2", "picamera2 finds a CSI camera. It is the first of 2"),
    ],
)
def test_the_reasons_of_auto_and_of_the_source_are_told_together(of_auto: str, of_source: str, told: str) -> None:
    end = CameraEnd()
    with end.sock, end.theirs as theirs:
        theirs.settimeout(patience(15))
        sender = FrameSender(end.sock, end.writer, end.small_writer)
        sender.reason = of_auto
        sender.opened(CameraInfo("csi", "imx708", 64, 48, 25.0, "YUV420", "none", of_source))
        sender.start()
        kind, length, _ = HEADER.unpack(theirs.recv(HEADER.size, socket.MSG_WAITALL))
        assert kind == Kind.HELLO
        assert CameraInfo.from_json(theirs.recv(length, socket.MSG_WAITALL)).reason == told
        sender.end(None, patience(15))


@pytest.fixture
def sending() -> Iterator[tuple[FrameSender, CameraEnd]]:
    """A sender whose thread does not run, so that what it has to send stays with it."""
    end = CameraEnd()
    with end.sock, end.theirs:
        yield FrameSender(end.sock, end.writer, end.small_writer, 10.0), end


def test_small_frames_are_due_only_while_wanted_and_at_their_rate(
    sending: tuple[FrameSender, CameraEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, _ = sending
    now = 10**12
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)

    def claimed(seconds: float) -> int:
        nonlocal now
        count, end = 0, now + seconds * 1e9
        while now < end:
            count += sender.claim_small()
            now += 1_000_000_000 // 25
        return count

    assert claimed(10) == 0
    sender.live_small(True)
    assert sender.claim_small(), "the first one at once"
    assert claimed(10) == pytest.approx(100, abs=1)
    now += 60_000_000_000
    assert claimed(0.1) <= 2, "no burst follows a pause"
    assert sender.claim_small()
    sender.live_small(True)
    assert not sender.claim_small(), "that was known"
    sender.live_small(False)
    assert claimed(10) == 0


def test_who_sends_small_frames_only_is_woken_for_them(sending: tuple[FrameSender, CameraEnd]) -> None:
    sender, _ = sending
    for number in range(3):
        sender.frame(b"\xff\xd8", time.monotonic_ns() + number)
    assert 0.5 < sender.quiet_seconds <= 1.0
    sender.live_small(True)
    assert sender.quiet_seconds == 0
    assert sender.claim_small()
    assert 0 < sender.quiet_seconds <= 0.1
    assert not sender.wanted


def test_a_small_frame_is_sent_only_while_wanted_and_if_a_slot_is_free(
    sending: tuple[FrameSender, CameraEnd],
) -> None:
    sender, end = sending
    sender.small(b"\xff\xd8 too late", 1)
    assert sender._messages == []
    sender.live_small(True)
    for number in range(slots.SMALL_SLOTS + 2):
        sender.small(b"\xff\xd8 %d" % number, number)
    sender.small(b"\xff\xd8" + bytes(slots.LONGEST_SMALL), 99)
    sender.start()
    reader = Reader(end.theirs)
    end.theirs.settimeout(patience(15))
    heard = []
    while not heard or heard[-1].kind is not Kind.UNUSABLE:
        message = reader.read()
        assert message
        heard.append(message)
    frames = [slots.ANNOUNCEMENT.unpack(message.payload)[0] for message in heard if message.kind is Kind.FRAME]
    assert frames == list(range(slots.SLOTS, slots.SLOTS + slots.SMALL_SLOTS))
    assert b"the small one has 4194306 bytes; at most 4194304" in heard[-1].payload
    beat = next(message for message in heard if message.kind is Kind.BEAT)
    assert COUNT.unpack(beat.payload) == (0,), "they do not count as captured"
    sender.end(None, patience(15))
