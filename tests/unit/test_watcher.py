"""The camera process's side of motion: looks are due at their rate, and what is found in them is told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pi_cam_daemon.camera.sender import FrameSender
from pi_cam_daemon.camera.watcher import Watcher
from pi_cam_daemon.config.schema import MotionConfig
from pi_cam_daemon.ipc.messages import Look, Motion
from pi_cam_daemon.ipc.protocol import Kind, Reader
from tests.kit.camera_end import CameraEnd
from tests.kit.lateness import patience
from tests.kit.scenes import Scene, Walker, steady

WATCH = MotionConfig(True, 5.0, [], 0.1, 0.005, 0.2, 3.0)


@pytest.fixture
def sending() -> Iterator[tuple[FrameSender, CameraEnd]]:
    """A sender whose thread does not run yet."""
    end = CameraEnd()
    with end.sock, end.theirs:
        yield FrameSender(end.sock, end.writer, end.small_writer), end


def told(end: CameraEnd, count: int) -> list[tuple[Kind, int, bytes]]:
    """Return the next *count* messages but the beats, as kind, time and payload."""
    end.theirs.settimeout(patience(15))
    reader, heard = Reader(end.theirs), []
    while len(heard) < count:
        message = reader.read()
        assert message
        if message.kind is not Kind.BEAT:
            heard.append((message.kind, message.captured_ns, message.payload))
    return heard


def test_looks_are_due_only_while_motion_is_watched_for(
    sending: tuple[FrameSender, CameraEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, _ = sending
    now = 10**12
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    for number in range(3):
        sender.frame(b"\xff\xd8", now + number)
    assert not sender.claim_look()
    assert 0.9 < sender.quiet_seconds < 1.1
    sender.watch(Watcher(WATCH), WATCH.rate)
    assert sender.quiet_seconds == 0
    looks = 0
    for _ in range(250):
        looks += sender.claim_look()
        assert sender.quiet_seconds <= 0.2
        now += 40_000_000
    assert looks == pytest.approx(50, abs=1)


def test_a_motion_is_sent_when_it_begins_and_when_it_is_over(sending: tuple[FrameSender, CameraEnd]) -> None:
    sender, end = sending
    sender.watch(Watcher(WATCH), WATCH.rate)
    sender.start()
    walker = Walker(6, 8)
    for at, grey in Scene(steady(), things=[walker]).pictures(20):
        sender.look(grey, int(at * 1e9) + 1, ())
    (first, began_ns, begun), (last, ended_ns, ended) = told(end, 2)
    assert (first, last) == (Kind.MOTION, Kind.MOTION)
    assert walker.enters - 0.3 < began_ns / 1e9 < walker.inside_at + 0.4
    assert 0 <= ended_ns / 1e9 - walker.enters - walker.seconds + 0.7 < 1
    assert (Motion.from_json(begun).ends, Motion.from_json(ended).ends) == (False, True)
    assert Motion.from_json(ended).peak >= Motion.from_json(begun).peak > 0.005
    sender.end(None, patience(15))


def test_a_motion_that_goes_on_ends_with_the_camera(sending: tuple[FrameSender, CameraEnd]) -> None:
    sender, end = sending
    sender.watch(Watcher(WATCH), WATCH.rate)
    sender.start()
    for at, grey in Scene(steady(), things=[Walker(6, 8)]).pictures(10):
        sender.look(grey, int(at * 1e9) + 1, ())
    assert [Motion.from_json(payload).ends for _, _, payload in told(end, 1)] == [False]
    sender.end(None, patience(15))
    assert [Motion.from_json(payload).ends for _, _, payload in told(end, 1)] == [True]


def test_the_newest_look_is_told_to_those_who_ask(sending: tuple[FrameSender, CameraEnd]) -> None:
    sender, end = sending
    sender.start()
    sender.looked(7)
    assert [Look.from_json(payload) for _, _, payload in told(end, 1)] == [Look(7, suspended="no-picture")]
    sender.watch(Watcher(WATCH), WATCH.rate)
    walker = Walker(6, 8)
    for at, grey in Scene(steady(), things=[walker]).pictures(10):
        sender.look(grey, int(at * 1e9) + 1, ())
    sender.looked(8)
    _, (kind, _, payload) = told(end, 2)
    look = Look.from_json(payload)
    assert (kind, look.number, look.moving, look.suspended) == (Kind.LOOKED, 8, True, "")
    assert look.share > 0.005
    assert look.boxes
    sender.end(None, patience(15))
