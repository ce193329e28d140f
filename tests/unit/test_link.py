import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_cam_daemon.config import loading
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.core.spawn import start_camera
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.controls import Control
from pi_cam_daemon.ipc.controls import Kind as ControlKind
from pi_cam_daemon.ipc.messages import CameraInfo, ErrorMessage, Look, Report, SetControls, Still
from pi_cam_daemon.ipc.parts import part
from pi_cam_daemon.ipc.protocol import COUNT, HEADER, LONGEST_FRAME, LONGEST_OTHER, Kind, Reader, pack
from pi_cam_daemon.ipc.slots import ANNOUNCEMENT, LARGE_SLOTS, LONGEST_SMALL, SLOTS, SMALL_SLOTS
from tests.kit.camera_end import CameraEnd
from tests.kit.lateness import patience
from tests.kit.wait import until

LOOK: dict[str, Any] = {"number": 1, "share": 0.25, "moving": True, "suspended": "", "boxes": [[0, 0.5, 0.25, 0.125]]}
HELLO: dict[str, Any] = {
    "kind": "pattern",
    "name": "Test picture",
    "width": 640,
    "height": 480,
    "framerate": 25.0,
    "pixel_format": "BGR24",
    "encoder": "software",
    "reason": "",
}


class Rig:
    """A link and the camera's end of its socket."""

    def __init__(self) -> None:
        end = CameraEnd()
        self.say, self.camera, self.writer, self.small_writer = end.say, end.sock, end.writer, end.small_writer
        self.changes = 0
        self.link = CameraLink(end.theirs, end.reader, 15.0, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def beat(self, captured: int, counted_at: float | None = None) -> None:
        """Send a heartbeat; *counted_at* is in seconds of CLOCK_MONOTONIC, now if None."""
        moment = time.monotonic() if counted_at is None else counted_at
        self.say(Kind.BEAT, COUNT.pack(captured), round(moment * 1e9))

    def close(self) -> None:
        self.link.close()
        self.camera.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def picture(number: int) -> bytes:
    return b"\xff\xd8 picture %d \xff\xd9" % number


def test_a_frame_is_a_ready_made_part_with_the_times_of_its_capture(rig: Rig) -> None:
    captured_ns = time.monotonic_ns() - 500_000_000
    rig.say(Kind.FRAME, picture(1), captured_ns)
    frame = rig.link.read()
    assert frame is not None
    assert frame.jpeg == picture(1)
    assert frame.part == part(picture(1), frame.timestamp_us)
    assert frame.captured == pytest.approx(captured_ns / 1e9)
    assert frame.timestamp_us / 1e6 == pytest.approx(time.time() - 0.5, abs=0.4)


def test_a_capture_time_in_the_future_becomes_now(rig: Rig) -> None:
    rig.say(Kind.FRAME, picture(1), time.monotonic_ns() + 10**12)
    frame = rig.link.read()
    assert frame is not None
    assert frame.captured <= time.monotonic()
    assert frame.timestamp_us <= time.time() * 1e6


def test_only_the_newest_of_many_frames_is_taken(rig: Rig) -> None:
    for number in range(5):
        rig.say(Kind.FRAME, picture(number), number)
    frame = rig.link.read()
    assert frame is not None
    assert frame.jpeg == picture(4)
    assert rig.link.read() is None
    frame.free()
    assert [bool(rig.writer.write(picture(5), 5)) for _ in range(SLOTS + 1)] == [True] * SLOTS + [False]


def test_large_frames_do_not_fill_all_slots_while_the_server_is_late(rig: Rig) -> None:
    large = b"\xff\xd8" + bytes(8_000_000)
    assert [bool(rig.writer.write(large, 5)) for _ in range(LARGE_SLOTS + 1)] == [True] * LARGE_SLOTS + [False]
    assert rig.writer.write(picture(1), 5)


def test_a_camera_that_sends_without_pause_does_not_block_the_loop(rig: Rig) -> None:
    for number in range(60):
        rig.beat(number)
    rig.say(Kind.FRAME, picture(1), 1)
    turns = 1
    while rig.link.read() is None:
        turns += 1
    assert turns > 3


def test_a_silent_camera_gives_nothing(rig: Rig) -> None:
    assert rig.link.read() is None
    assert (rig.link.info, rig.link.pace.announced) == (None, 1 / 15.0)
    assert (rig.link.captured, rig.link.stall_grace_until, rig.link.unusable) == (0, 0.0, "")
    rig.camera.sendall(pack(Kind.BEAT, bytes(8))[:20])
    assert rig.link.read() is None
    assert rig.changes == 0


def test_the_cameras_announcement_is_passed_on_at_once(rig: Rig) -> None:
    rig.say(Kind.HELLO, json.dumps(HELLO).encode())
    assert rig.link.read() is None
    assert rig.link.info == CameraInfo(**HELLO)
    assert rig.link.pace.announced == 1 / 25.0
    assert rig.changes == 1


def test_progress_is_a_frame_or_a_count_that_grows(rig: Rig) -> None:
    rig.beat(0)
    rig.link.read()
    assert rig.link.progressed_at is None
    assert rig.changes == 0
    rig.beat(3)
    rig.link.read()
    first = rig.link.progressed_at
    assert first == pytest.approx(time.monotonic(), abs=1)
    assert rig.changes == 1
    rig.beat(3)
    rig.link.read()
    assert rig.link.progressed_at == first, "a count that stands still is no progress"
    rig.say(Kind.FRAME, picture(1))
    rig.link.read()
    assert rig.link.progressed_at is not None
    assert first is not None
    assert rig.link.progressed_at > first
    assert (rig.link.captured, rig.changes) == (3, 1)


def test_the_rate_is_that_of_the_last_seconds(rig: Rig) -> None:
    now = time.monotonic()
    assert rig.link.pace.rate(now) == 0
    for seconds, captured in ((-6, 0), (-2, 1000), (-1, 1010), (0, 1020)):
        rig.beat(captured, now + seconds)
    # they arrive at once: the server slept, or the camera's socket was full
    rig.link.read()
    assert rig.link.pace.rate(now) == pytest.approx(10)
    assert rig.link.pace.rate(now + 10) == 0


def test_a_camera_without_new_frames_has_no_rate(rig: Rig) -> None:
    now = time.monotonic()
    for seconds in (-2, -1, 0):
        rig.beat(50, now + seconds)
    rig.link.read()
    assert rig.link.pace.rate(now) == 0


@pytest.mark.parametrize(
    ("moments", "rate"),
    [
        pytest.param((0.0, 0.0, 0.0), 0.0, id="at once"),
        pytest.param((2.0, 1.0, 0.0), 0.0, id="backwards"),
        pytest.param((0.0, 1e-9, 2e-9), 1e9, id="a nanosecond apart"),
        pytest.param((-1e9, 0.0, 1.0), 2e-9, id="long before"),
    ],
)
def test_any_times_of_heartbeats_give_a_rate(moments: tuple[float, ...], rate: float, rig: Rig) -> None:
    for count, moment in enumerate(moments, 1):  # a beat without a picture counts for nothing
        rig.beat(count, moment)
    rig.link.read()
    assert rig.link.captured == 3
    assert rig.link.pace.rate(1.0) == pytest.approx(rate)


def test_heartbeats_from_the_future_count_as_of_now(rig: Rig) -> None:
    for count, moment in ((1, 0.0), (2, 8e9), (3, 9e9)):
        rig.beat(count, moment)
    rig.link.read()
    now = time.monotonic()
    assert rig.link.pace.rate(now) == pytest.approx(2 / now, rel=0.1)


def test_the_last_messages_of_a_camera_are_read(rig: Rig) -> None:
    rig.say(
        Kind.ERROR, ErrorMessage(SourceError("It is taken", Cause.BUSY, "Close it", device="/dev/video0")).to_json()
    )
    rig.camera.close()
    with pytest.raises(EOFError):
        for _ in range(2):
            assert rig.link.read() is None
    error = rig.link.error
    assert error is not None
    assert (error.cause, error.message, error.hint) == (Cause.BUSY, "It is taken", "Close it")
    assert error.values == {"device": "/dev/video0"}
    assert (rig.link.ended, rig.link.protocol_error) == (True, "")
    assert rig.changes == 2


def test_a_picture_is_not_lost_because_the_camera_ended_right_after_it(rig: Rig) -> None:
    rig.say(Kind.FRAME, picture(1))
    rig.camera.close()
    frame = rig.link.read()
    assert frame is not None
    assert frame.jpeg == picture(1)
    with pytest.raises(EOFError):
        rig.link.read()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no message"),
        pytest.param(HEADER.pack(Kind.STILL, LONGEST_FRAME + 1, 0), id="a still without end"),
        pytest.param(pack(Kind.FRAME, b""), id="a frame without a slot"),
        pytest.param(pack(Kind.FRAME, ANNOUNCEMENT.pack(0, 80, 1000, 0)), id="a slot that nothing was written to"),
        pytest.param(
            pack(Kind.FRAME, ANNOUNCEMENT.pack(SLOTS + SMALL_SLOTS, 80, 1000, 0)), id="a slot behind the last one"
        ),
        pytest.param(pack(Kind.FRAME, ANNOUNCEMENT.pack(0, 80, LONGEST_FRAME + 5000, 0)), id="a frame over its slot"),
        pytest.param(pack(Kind.FRAME, ANNOUNCEMENT.pack(SLOTS, 80, 1000, 0)), id="an empty small slot"),
        pytest.param(
            pack(Kind.FRAME, ANNOUNCEMENT.pack(SLOTS, 80, LONGEST_SMALL + 5000, 0)), id="a frame over its small slot"
        ),
        pytest.param(pack(Kind.FRAME, ANNOUNCEMENT.pack(0, 80, 2**32 - 1, 0)), id="a frame without end"),
        pytest.param(pack(Kind.BEAT, b"1"), id="a beat of one byte"),
        pytest.param(pack(Kind.STOP), id="a command"),
        pytest.param(pack(Kind.HELLO, b"\xff"), id="hello, not UTF-8"),
        pytest.param(pack(Kind.HELLO, b"[]"), id="hello, no object"),
        pytest.param(pack(Kind.HELLO, b"{"), id="hello, no JSON"),
        pytest.param(pack(Kind.HELLO, b"[" * 60_000), id="hello, JSON without end"),
        pytest.param(pack(Kind.HELLO, b"{}"), id="hello, without a word of the camera"),
        pytest.param(
            pack(Kind.HELLO, json.dumps({**HELLO, "framerate": "fast"}).encode()), id="hello, a rate that is no number"
        ),
        pytest.param(pack(Kind.ERROR, b"{}"), id="error, without a cause"),
        pytest.param(pack(Kind.STAND_IN, b"{}"), id="stand-in, without a cause"),
        *(
            pytest.param(pack(Kind.LOOKED, json.dumps({**LOOK, **wrong}).encode()), id=f"look, {wrong}")
            for wrong in (
                {"share": 1.1},
                {"share": float("nan")},
                {"share": "much"},
                {"boxes": [[0, 0, 1]]},
                {"boxes": 1},
                {"boxes": [[0, 0, 1, -0.1]]},
                {"number": None},
            )
        ),
        pytest.param(pack(Kind.LOOKED, b"{}"), id="look, without content"),
        pytest.param(pack(Kind.ERROR, b'{"cause": "gremlins", "message": "", "hint": ""}'), id="error, unknown cause"),
        pytest.param(pack(Kind.ERROR, b'{"cause": [], "message": "", "hint": ""}'), id="error, cause no word"),
        *(
            pytest.param(
                pack(Kind.ERROR, f'{{"cause": "lost", "message": "", "hint": ""{more}}}'.encode()), id=f"error{more}"
            )
            for more in ("", ', "values": null', ', "values": []', ', "values": "device"')
        ),
    ],
)
def test_an_invalid_message_ends_the_link_and_is_reported(data: bytes, rig: Rig) -> None:
    rig.camera.sendall(data)
    with pytest.raises(EOFError):
        rig.link.read()
    assert rig.link.ended
    assert rig.link.protocol_error
    assert rig.changes >= 1


SAID = st.one_of(
    st.binary(max_size=200),
    st.builds(
        pack,
        st.sampled_from(Kind),
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                ANNOUNCEMENT.pack,
                st.integers(0, SLOTS + SMALL_SLOTS),
                st.integers(0, 100),
                st.integers(0, 100) | st.just(LONGEST_FRAME),
                st.integers(-(2**63), 2**63 - 1),
            ),
            st.recursive(
                st.none() | st.integers() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["cause", "message", "hint", "framerate"]), inner, max_size=4)
                ),
                max_leaves=6,
            ).map(lambda value: json.dumps(value).encode()),
        ),
        st.integers(min_value=-(2**63), max_value=2**63 - 1),
    ),
)


@settings(max_examples=300, deadline=None)
@given(said=st.lists(SAID, max_size=5))
def test_any_bytes_give_only_frames_or_the_end(said: list[bytes]) -> None:
    rig = Rig()
    try:
        rig.camera.sendall(b"".join(said))
        rig.camera.close()
        with pytest.raises(EOFError):
            while True:
                frame = rig.link.read()
                assert frame is None or isinstance(frame, Frame)
        assert rig.link.ended
    finally:
        rig.close()


def test_a_command_reaches_the_camera(rig: Rig) -> None:
    rig.link.tell(Kind.CONFIGURE, b"{}")
    rig.link.tell(Kind.LIVE)
    reader = Reader(rig.camera)
    first, second = reader.read(), reader.read()
    assert first is not None
    assert second is not None
    assert (first.kind, first.payload, second.kind) == (Kind.CONFIGURE, b"{}", Kind.LIVE)


def test_the_longest_command_is_sent_whole_to_a_camera_that_does_not_read_yet(rig: Rig) -> None:
    rig.link.tell(Kind.CONFIGURE, bytes(LONGEST_OTHER))
    rig.link.tell(Kind.LIVE)
    rig.camera.settimeout(patience(5))
    reader = Reader(rig.camera)
    first, second = reader.read(), reader.read()
    assert first and second
    assert (first.kind, len(first.view), second.kind) == (Kind.CONFIGURE, LONGEST_OTHER, Kind.LIVE)


def test_a_configuration_that_is_too_long_for_a_message_starts_no_camera() -> None:
    controls = ", ".join(f'c{number} = "{"x" * 100}"' for number in range(3000))
    config = loading.load(etc=Path("/nonexistent"), settings=[f"usb.controls={{{controls}}}"])
    with pytest.raises(OSError, match=r"^its settings take 3\d{5} bytes; at most 262144 are accepted"):
        start_camera(config.camera, "info", changed=lambda: None, argv=["never"])


def test_a_camera_that_does_not_read_is_not_waited_for(rig: Rig) -> None:
    begin = time.monotonic()
    for _ in range(50_000):
        rig.link.tell(Kind.LIVE)
    assert time.monotonic() - begin < patience(10)


def test_a_command_to_a_camera_that_is_gone_is_harmless(rig: Rig) -> None:
    rig.camera.close()
    rig.link.tell(Kind.STOP)
    rig.link.close()
    rig.link.tell(Kind.STOP)
    assert rig.link.fileno() == -1


class Asking(threading.Thread):
    """Asks *link* for the still of *number* in a thread, or to set *values*."""

    def __init__(
        self, link: CameraLink, number: int, seconds: float = 600.0, values: dict[str, Any] | None = None
    ) -> None:
        super().__init__(daemon=True)
        self.result: Still | Report | Exception | None = None
        self._ask: Callable[[], Still | Report] = lambda: link.take_still(number, seconds)
        if values is not None:
            self._ask = lambda: link.adjust(number, values, seconds)
        self.start()

    def run(self) -> None:
        try:
            self.result = self._ask()
        except (TimeoutError, EOFError) as error:
            self.result = error

    def finish(self) -> Still | Report | Exception | None:
        self.join(patience(10))
        assert not self.is_alive()
        return self.result


def asked(rig: Rig) -> int:
    """Return the number of the still that the camera is asked for."""
    message = Reader(rig.camera).read()
    assert message and message.kind is Kind.TAKE_STILL
    (number,) = COUNT.unpack(message.payload)
    return int(number)


def test_a_still_reaches_its_requester_and_excuses_the_cameras_silence(rig: Rig) -> None:
    asking = Asking(rig.link, 5)
    assert asked(rig) == 5
    assert rig.link.stall_grace_until > time.monotonic() + 5
    rig.say(Kind.STILL, Still(4, picture(4)).payload())
    rig.link.read()
    assert asking.is_alive(), "another still"
    rig.say(Kind.STILL, Still(5, picture(5) * 1000).payload(), 77)
    while asking.is_alive():
        assert rig.link.read() is None
    assert asking.finish() == Still(5, picture(5) * 1000, 77)
    assert rig.link.stall_grace_until == 0
    assert rig.link.progressed_at is not None, "it is a sign of life"
    assert rig.link._still is None, "it is not kept"


def test_a_look_reaches_who_asked_for_it(rig: Rig) -> None:
    found: list[Look] = []
    asking = threading.Thread(target=lambda: found.append(rig.link.look(8, 600.0)), daemon=True)
    asking.start()
    message = Reader(rig.camera).read()
    assert message
    assert (message.kind, COUNT.unpack(message.payload)) == (Kind.LOOK, (8,))
    for number in (7, 8):
        rig.say(Kind.LOOKED, json.dumps({**LOOK, "number": number, "suspended": "\x1blight"}).encode())
    until("the answer", lambda: rig.link.read() or found)
    assert found == [Look(8, 0.25, True, " light", ((0.0, 0.5, 0.25, 0.125),))]
    asking.join(patience(10))


def test_a_refusal_has_the_cameras_words(rig: Rig) -> None:
    asking = Asking(rig.link, 1)
    asked(rig)
    rig.say(Kind.STILL, Still(1, refused="No memory, schön").payload())
    while asking.is_alive():
        rig.link.read()
    assert asking.finish() == Still(1, refused="No memory, schön")


def test_a_refusal_of_a_still_cannot_control_a_terminal(rig: Rig) -> None:
    asking = Asking(rig.link, 1)
    asked(rig)
    rig.say(Kind.STILL, Still(1, refused="No \x1b[2Jmemory").payload())
    while asking.is_alive():
        rig.link.read()
    assert asking.finish() == Still(1, refused="No  [2Jmemory")


def test_a_still_that_comes_too_late_is_not_kept(rig: Rig) -> None:
    asking = Asking(rig.link, 1, seconds=0.05)
    assert isinstance(asking.finish(), TimeoutError)
    assert rig.link.stall_grace_until == 0
    rig.say(Kind.STILL, Still(1, picture(1)).payload())
    rig.link.read()
    asking = Asking(rig.link, 1, seconds=0.05)
    assert isinstance(asking.finish(), TimeoutError)


def test_a_wait_for_a_still_ends_when_the_camera_is_gone(rig: Rig) -> None:
    asking = Asking(rig.link, 1)
    asked(rig)
    rig.camera.close()
    with pytest.raises(EOFError):
        rig.link.read()
    assert isinstance(asking.finish(), EOFError)


def test_a_large_still_does_not_raise_the_memory_taken_for_frames(rig: Rig) -> None:
    asking = Asking(rig.link, 1)
    asked(rig)
    sender = threading.Thread(target=rig.say, args=(Kind.STILL, Still(1, picture(1).ljust(8_000_000)).payload()))
    sender.start()
    while asking.is_alive():
        rig.link.read()
    sender.join()
    rig.say(Kind.FRAME, picture(2))
    tracemalloc.start()
    try:
        assert rig.link.read()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_reason_for_a_test_picture_in_place_of_a_camera_is_received(rig: Rig) -> None:
    rig.say(Kind.STAND_IN, ErrorMessage(SourceError("None", Cause.MISSING, "Plug one in", command="lsusb")).to_json())
    rig.say(Kind.HELLO, json.dumps(HELLO).encode())
    rig.link.read()
    error = rig.link.stands_in_for
    assert error
    assert (error.cause, error.message, error.hint) == (Cause.MISSING, "None", "Plug one in")
    assert error.values == {"command": "lsusb"}


@pytest.mark.parametrize("trick", ["\x1b]0;owned\x07", "\x1b[2J", "\n", "\r", "\u202e", "\x9b31m", "\0"])
def test_no_text_of_the_camera_process_controls_a_terminal(trick: str, rig: Rig) -> None:
    error = ErrorMessage(SourceError(f"a{trick}b", Cause.LOST, f"c{trick}d", **{f"e{trick}": trick})).to_json()
    rig.say(Kind.STAND_IN, error)
    rig.say(Kind.HELLO, json.dumps({**HELLO, "name": f"e{trick}f", "reason": trick}).encode())
    rig.say(Kind.UNUSABLE, f"g{trick}h".encode())
    rig.say(Kind.ERROR, error)
    rig.link.read()
    assert rig.link.stands_in_for and rig.link.error and rig.link.info
    texts = [rig.link.unusable, rig.link.info.name, rig.link.info.reason]
    for failure in (rig.link.stands_in_for, rig.link.error):
        texts += [failure.message, failure.hint, *failure.values, *failure.values.values()]
    assert [text for text in texts if not text.isprintable()] == []
    assert rig.link.info.name[0] + rig.link.info.name[-1] == "ef"


def test_the_report_of_an_invalid_message_cannot_control_a_terminal(rig: Rig) -> None:
    rig.say(Kind.HELLO, json.dumps({**HELLO, "\x1b[2J": 1}).encode())
    with pytest.raises(EOFError):
        rig.link.read()
    assert "unexpected keyword argument" in rig.link.protocol_error
    assert rig.link.protocol_error.isprintable()


def test_words_on_unusable_pictures_last_until_a_good_one(rig: Rig) -> None:
    rig.say(Kind.UNUSABLE, "it ends at byte 7: \u00e9".encode())
    rig.link.read()
    assert (rig.link.unusable, rig.link.progressed_at) == ("it ends at byte 7: \u00e9", None)
    rig.say(Kind.FRAME, b"\xff\xd8 a picture", time.monotonic_ns())
    rig.link.read()
    assert rig.link.unusable == ""


def test_controls_are_set_and_the_answer_to_them_is_returned(rig: Rig) -> None:
    asking = Asking(rig.link, 3, values={"gain": 2})
    message = Reader(rig.camera).read()
    assert message and message.kind is Kind.SET
    assert SetControls.from_json(message.payload) == SetControls(3, {"gain": 2})
    control = Control("gain", ControlKind.INTEGER, 0, 2)
    for number in (2, 3):
        report = Report(number, {"gain": number}, {"ev": "no"}, (control,))
        rig.say(Kind.CONTROLS, report.to_json())
        assert rig.link.read() is None
    assert asking.finish() == report
    assert rig.link.controls == (control,)


def test_a_wait_for_controls_ends_in_its_time(rig: Rig) -> None:
    assert isinstance(Asking(rig.link, 3, 0.01, values={}).finish(), TimeoutError)


def test_only_a_control_of_the_configuration_that_is_refused_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (0, 1):
        rig.say(Kind.CONTROLS, Report(number, {}, {f"c{number}": "it is fixed"}, ()).to_json())
    rig.link.read()
    assert [record.getMessage() for record in caplog.records] == [
        "the control c0 is not set as configured: it is fixed"
    ]


def test_a_message_as_long_as_that_of_a_frame_is_none(rig: Rig) -> None:
    rig.say(Kind.UNUSABLE, b"x" * ANNOUNCEMENT.size)
    assert rig.link.read() is None
    assert rig.link.unusable == "x" * ANNOUNCEMENT.size


def test_a_frame_that_comes_alone_needs_no_reader(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.link._reader, "feed", lambda _: pytest.fail("it takes an object for the message"))
    rig.say(Kind.FRAME, picture(1))
    assert rig.link.read()


def test_the_first_frame_is_announced_and_three_measure_the_pace(rig: Rig) -> None:
    for number in range(1, 6):
        before = time.monotonic()
        rig.say(Kind.FRAME, picture(number))
        frame = rig.link.read()
        assert frame
        frame.free()
        if number == 1:
            first = rig.link.first_at
        assert rig.link.first_at == first
        assert rig.link.progressed_at and rig.link.progressed_at >= before
        assert (rig.link.pace.measured is not None) == (number >= 3)
        if number == 3:
            measured = rig.link.pace.measured
    assert first and rig.changes == 1
    assert rig.link.pace.measured == measured, "afterwards the heartbeats are enough"


def test_bad_pictures_measure_the_pace_too(rig: Rig) -> None:
    for number in range(1, 6):
        rig.say(Kind.UNUSABLE, b"its end is missing")
        rig.link.read()
        assert (rig.link.pace.measured is not None) == (number >= 3)
        if number == 3:
            measured = rig.link.pace.measured
    assert rig.link.pace.measured == measured
    assert rig.link.first_at is None


def test_an_invalid_message_without_words_is_named_by_its_kind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> None:
        raise ValueError

    monkeypatch.setattr(rig.link._reader, "read", read)
    rig.camera.sendall(b"x")
    with pytest.raises(EOFError):
        rig.link.read()
    assert rig.link.protocol_error == "ValueError"


def test_a_heartbeat_takes_no_progress_back(rig: Rig) -> None:
    for number in range(1, 5):
        counted_at = time.monotonic()
        rig.say(Kind.FRAME, picture(number))
        frame = rig.link.read()
        assert frame
        frame.free()
    newest = rig.link.progressed_at
    rig.beat(100, counted_at)
    rig.link.read()
    assert (rig.link.captured, rig.link.progressed_at) == (100, newest)


def test_the_socket_is_not_asked_again_when_it_was_emptied(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads = rig.link._reader.read, []
    monkeypatch.setattr(rig.link._reader, "read", lambda: reads.append(read()) or reads[-1])
    rig.beat(1)
    rig.link.read()
    assert len(reads) == 1


def test_a_small_frame_is_kept_for_who_reads_and_is_no_sign_of_the_cameras_pace(rig: Rig) -> None:
    for number in range(4):
        rig.say(Kind.FRAME, picture(number), number, True)
        assert rig.link.read() is None
    assert rig.link.small and rig.link.small.jpeg == picture(3)
    assert (rig.link.progressed_at, rig.link.first_at, rig.link.pace.measured, rig.changes) == (None, None, None, 0)


@pytest.mark.parametrize("order", [(False, True, False, True), (True, False), (True, True, False)])
def test_frames_of_both_sizes_that_came_at_once_are_both_taken(rig: Rig, order: tuple[bool, ...]) -> None:
    for number, small in enumerate(order):
        rig.say(Kind.FRAME, picture(number), number, small)
    big = rig.link.read()
    newest = {small: number for number, small in enumerate(order)}
    assert big and big.jpeg == picture(newest[False])
    assert rig.link.small and rig.link.small.jpeg == picture(newest[True])


def test_small_frames_have_slots_of_their_own(rig: Rig) -> None:
    assert [bool(rig.small_writer.write(picture(1), 5)) for _ in range(SMALL_SLOTS + 1)] == [True] * SMALL_SLOTS + [
        False
    ]
    assert [bool(rig.writer.write(picture(1), 5)) for _ in range(SLOTS + 1)] == [True] * SLOTS + [False]


def test_the_slots_of_small_frames_that_nobody_took_are_free_again(rig: Rig) -> None:
    for number in range(3 * SMALL_SLOTS):
        rig.say(Kind.FRAME, picture(number), number, True)
        rig.link.read()
    assert rig.link.small
    rig.link.small.free()
    assert [bool(rig.small_writer.write(picture(1), 5)) for _ in range(SMALL_SLOTS + 1)] == [True] * SMALL_SLOTS + [
        False
    ]


def test_the_longest_small_frame_fits_beside_the_others(rig: Rig) -> None:
    longest = (b"\xff\xd8" + bytes(range(256)) * (LONGEST_SMALL // 256))[:LONGEST_SMALL]
    for number in range(SLOTS - 1):
        rig.say(Kind.FRAME, picture(number), number)
    for _ in range(2):
        rig.say(Kind.FRAME, longest, 7, True)
    frame = rig.link.read()
    assert frame and frame.jpeg == picture(SLOTS - 2)
    assert rig.link.small and rig.link.small.jpeg == longest
