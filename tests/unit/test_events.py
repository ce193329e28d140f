"""The last events: what is kept, and for whom."""

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.core import events as module
from pi_cam_daemon.core.events import MOST_EVENTS, MOST_PICTURE_BYTES, Event, EventKind, Events
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.health import Failure, State
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.ipc.messages import Motion
from pi_cam_daemon.ipc.parts import part
from pi_cam_daemon.server import event_streams
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.event_streams import OPENING, EventStreams
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import read_all
from tests.unit.test_last_camera import STREAMING

BOX = (0.25, 0.25, 0.5, 0.5)
BEGINS, ENDS = Motion(False, 0.25, BOX), Motion(True, 0.5, (0.0, 0.0, 1.0, 1.0))
GONE = Failure(State.NO_CAMERA, Cause.LOST, "The camera was unplugged", values={"device": "/dev/video0"})
LOST = replace(STREAMING, state=State.NO_CAMERA, failure=GONE)


class Camera:
    """Gives pictures of *size* bytes; while *open* is not set, each is waited for."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.open = threading.Event()
        self.open.set()
        self.asked: list[float] = []

    def take(self, since: float, _seconds: float) -> Frame | None:
        self.asked.append(since)
        self.open.wait(patience(10))
        return Frame(part(b"\xff\xd8".ljust(self.size), 0), 0, 0) if self.size else None


def started(camera: Camera) -> Events:
    events = Events(camera.take)
    events.start()
    return events


def motion(events: Events) -> Event:
    now = time.monotonic()
    events.motion(BEGINS, now)
    events.motion(ENDS, now + 2)
    newest = events.newest()
    assert newest
    return newest


def test_a_motion_lasts_by_the_clock_of_its_pictures_and_keeps_its_largest_share() -> None:
    events = Events(Camera().take)
    ended = motion(events)
    assert ended.ended_at == pytest.approx(ended.began_at + 2)
    assert (ended.peak, ended.box, ended.text) == (0.5, ENDS.box, "Something moved for 2 s")
    events.motion(BEGINS, 5.0)
    events.motion(replace(ENDS, peak=0.0), 4.0)
    newest = events.newest()
    assert newest and (newest.peak, newest.box) == (0.25, BOX)
    assert newest.ended_at == newest.began_at, "it cannot end before it began"


def test_a_motion_that_begins_twice_or_ends_alone_is_none_of_its_own() -> None:
    events = Events(Camera().take)
    events.motion(ENDS, 1.0)
    assert events.since() == []
    events.motion(BEGINS, 2.0)
    events.motion(BEGINS, 3.0)
    assert len(events.since()) == 1


def test_listeners_hear_each_change_in_order_and_numbers_grow_over_restarts() -> None:
    camera, heard = Camera(), list[Event]()
    events = started(camera)
    events.listen(heard.append)
    camera.open.clear()
    before = int(time.time())
    first = events.snapshot()
    assert (first.kind, first.picture, first.ended_at) == (EventKind.SNAPSHOT, b"", first.began_at)
    camera.open.set()
    until("its picture", lambda: len(heard) == 2)
    assert heard[0] == first and heard[1] == replace(first, picture=heard[1].picture, changed=first.changed + 1)
    assert heard[1].picture.startswith(b"\xff\xd8")
    assert first.number == first.changed >= before
    assert events.get(first.number) == events.newest() == heard[1]
    assert events.since(first.changed) == [heard[1]] and events.since(heard[1].changed) == []
    assert events.since(heard[1].changed + 1) == [heard[1]]


def test_the_last_hundred_are_kept_and_no_kind_pushes_out_the_others() -> None:
    events = Events(Camera(0).take)
    rare = motion(events)
    for number in range(3 * MOST_EVENTS):
        events.refuse([f"problem {number}"])
    kept = events.since()
    assert len(kept) == MOST_EVENTS and kept[0].number == rare.number
    assert [event.text for event in kept[1:]] == [f"problem {n}" for n in range(2 * MOST_EVENTS + 1, 3 * MOST_EVENTS)]
    assert events.counted[EventKind.RELOAD_REFUSED] == 3 * MOST_EVENTS


@pytest.mark.parametrize("share", [10, 1.5, 0.5])
def test_the_oldest_pictures_make_room(share: float) -> None:
    events = started(Camera(int(MOST_PICTURE_BYTES / share)))
    for _ in range(12):
        number = events.snapshot().number
        until("taken", lambda n=number: events.since(n))  # type: ignore[misc]
    until("room was made", lambda: sum(len(event.picture) for event in events.since()) <= MOST_PICTURE_BYTES)
    assert [bool(event.picture) for event in events.since()] == [False] * (12 - int(share)) + [True] * int(share)


def test_forgotten_pictures_do_not_come_back() -> None:
    camera = Camera()
    events = started(camera)
    events.snapshot()
    until("a picture", lambda: events.since()[0].picture)
    camera.open.clear()
    events.snapshot()
    until("asked for", lambda: len(camera.asked) == 2)
    events.forget_pictures()
    camera.open.set()
    third = events.snapshot().number
    until("the picture of the third", lambda: (found := events.get(third)) and found.picture)
    assert [bool(event.picture) for event in events.since()] == [False, False, True]


def test_events_that_wait_at_the_same_time_share_one_fresh_picture() -> None:
    camera = Camera()
    events = started(camera)
    camera.open.clear()
    events.snapshot()
    until("asked for", lambda: camera.asked)
    for at in (7.0, 8.0):
        events.motion(BEGINS, at)
        events.motion(ENDS, at + 0.5)
    camera.open.set()
    until("all", lambda: all(event.picture for event in events.since()))
    assert camera.asked[1:] == [8.0], "it shows the later one, too"


def kinds(events: Events) -> list[EventKind]:
    return [event.kind for event in events.since()]


def test_a_camera_that_comes_and_goes_is_told_seldom_and_rightly_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = started(Camera())
    for _ in range(50):
        events.camera(LOST)
        events.camera(STREAMING)
    assert kinds(events) == [EventKind.CAMERA_LOST, EventKind.CAMERA_BACK]
    assert events.since()[0].cause is Cause.LOST and events.since()[0].values == GONE.values
    monkeypatch.setattr(module, "_LOST_SECONDS", 0.5)
    events.camera(LOST)
    until("the rest", lambda: kinds(events)[2:] == [EventKind.CAMERA_LOST])


@pytest.mark.parametrize("state", [State.STARTING, State.IDLE, State.STALLED])
def test_a_camera_that_sleeps_starts_or_pauses_is_neither_lost_nor_back(state: State) -> None:
    events = Events(Camera().take)
    events.camera(replace(STREAMING, state=state))
    assert kinds(events) == []
    events.camera(LOST)
    events.camera(replace(STREAMING, state=state))
    assert kinds(events) == [EventKind.CAMERA_LOST]


@pytest.mark.parametrize("change", [{"state": State.STALLED}, {"since": float("inf")}, {"state": State.IDLE}])
def test_a_motion_ends_with_its_camera(change: dict[str, object]) -> None:
    events = Events(Camera().take)
    events.camera(STREAMING)
    events.motion(BEGINS, time.monotonic())
    events.camera(replace(STREAMING, starts=2))  # it was told late that this camera process began
    newest = events.newest()
    assert newest and newest.ended_at is None
    events.camera(replace(STREAMING, **change))  # type: ignore[arg-type]
    newest = events.newest()
    assert newest and newest.ended_at and newest.peak == 0.25


# -- event streams

Connection = tuple[socket.socket, socket.socket]


def connection() -> Connection:
    """Return our end and the server's end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname(), patience(10))
        return ours, server.accept()[0]


def add(streams: EventStreams, theirs: socket.socket) -> None:
    streams.quota.take("1", 9, 9)
    streams.add(theirs, Client("1", "1"), b"head\r\n\r\n", 0)


@pytest.fixture
def streams() -> EventStreams:
    """Return the event streams of events in which one thing has happened."""
    events = Events(Camera().take)
    events.refuse(["a problem"])
    streams = EventStreams(events, lambda _: None)
    streams.configure(loading.load(etc=Path("/nonexistent")).http, lambda _: True)
    return streams


def test_a_listener_hears_a_heartbeat_while_nothing_happens(
    streams: EventStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert event_streams.HEARTBEAT_SECONDS == 15
    monkeypatch.setattr(event_streams, "HEARTBEAT_SECONDS", 0.05)
    begun = time.monotonic()
    ours, theirs = connection()
    add(streams, theirs)
    with ours, ours.makefile("rb") as file:
        opening = b"head\r\n\r\n" + OPENING
        assert file.read(len(opening)) == opening
        assert file.readline().startswith(b"id: ") and b"a problem" in file.readline() and file.readline() == b"\n"
        assert file.read(9) == b":\n\n" * 3
        assert time.monotonic() - begun >= 0.15
        assert streams.quota.taken == 1
        ours.shutdown(socket.SHUT_WR)
        until("gone", lambda: streams.quota.taken == 0)
        assert file.read().replace(b":\n\n", b"") == b""


def test_a_bug_ends_the_event_streams_and_the_next_listener_is_served(
    streams: EventStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: failed.append(failure.thread.name))
    with monkeypatch.context() as broken:
        broken.setattr(event_streams, "_message", lambda _: 1 / 0)
        ours, theirs = connection()
        add(streams, theirs)
        until("the bug", lambda: failed == ["event-streams"])
    with ours:
        assert b"a problem" not in read_all(ours)
    assert streams.quota.taken == 0
    ours, theirs = connection()
    add(streams, theirs)
    with ours:
        assert b"a problem" in read_all(ours, b"a problem")
