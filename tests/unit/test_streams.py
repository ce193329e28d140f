"""The stream loop with real viewers over loopback TCP; the test holds the camera's end."""

import contextlib
import os
import re
import select
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pi_cam_daemon
from pi_cam_daemon.config import loading
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.latest import Demand, LatestFrame, Pictures
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.ipc import parts as wire
from pi_cam_daemon.ipc.protocol import Kind
from pi_cam_daemon.server import audience, sending, streams
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.audience import HOLD_SECONDS, Audience
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.streams import Streams
from pi_cam_daemon.server.viewer import Viewer
from tests.kit.camera_end import CameraEnd
from tests.kit.lateness import patience
from tests.kit.wait import until

OPENING = b"HTTP/1.1 200 OK\r\n" + wire.OPENING
PACKAGED = Path(pi_cam_daemon.__file__).with_name("core").joinpath("no-signal.jpg").read_bytes()
CARD, SMALL_CARD = b"the card", b"the small card"
NOW_US = 1_800_000_000_000_000


def picture(number: int, length: int = 0) -> bytes:
    """Return a JPEG with its number in a comment; zeros after its end give it the requested length."""
    comment = b"%08d" % number
    return (PACKAGED[:2] + b"\xff\xfe\x00\x0a" + comment + PACKAGED[2:]).ljust(length, b"\0")


class Watching:
    """A viewer that reads a stream strictly by its format."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(patience(10))
        self._data = bytearray()

    def take(self, count: int) -> bytes:
        while len(self._data) < count:
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError
            self._data += data
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def open(self) -> None:
        assert self.take(len(OPENING)) == OPENING

    def part(self) -> bytes:
        """Return the picture of the next part."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.take(1)
        found = re.fullmatch(
            rb"Content-Type: image/jpeg\r\nContent-Length: (\d+)\r\nX-Timestamp: \d+\.\d{6}\r\n\r\n", head
        )
        assert found, head
        body = self.take(int(found[1]))
        assert self.take(len(wire.CLOSING)) == wire.CLOSING
        return body

    def number(self) -> int:
        return int(self.part()[6:14])

    def at_end(self) -> bool:
        """Return whether the server hung up; data on its way is discarded."""
        try:
            while self.sock.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
        return True


class Rig:
    def __init__(self, started: bool = True) -> None:
        self.latest = LatestFrame()
        self.demand = Demand(lambda: None)
        self.no_signal: Frame | None = Frame(wire.part(CARD, 0), 0, 0)  # None while no picture is overdue
        self.big = Audience(Pictures(self.latest, self.demand), lambda: self.no_signal)
        pictures = Pictures(LatestFrame(), Demand(lambda: None), steady=False)
        self.small_demand, self.small_latest = pictures.demand, pictures.latest
        self.small_card: Frame | None = Frame(wire.part(SMALL_CARD, 0), 0, 0)
        self.small = Audience(pictures, lambda: self.small_card)
        self.streams = Streams(self.big, self.small)
        self.configure()
        if started:
            self.streams.start()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.camera: CameraEnd
        self.new_camera()

    def configure(self, may_stay: Callable[[Client], bool] = lambda _: True, **http: Any) -> None:
        """Set the limits of the default configuration, with the given ones changed."""
        self.limits = replace(loading.load(etc=Path("/nonexistent")).http, **http)
        self.streams.configure(self.limits, may_stay)

    def new_camera(self, framerate: float = 25.0) -> CameraLink:
        self.camera = CameraEnd()
        self._sockets += [self.camera.theirs, self.camera.sock]
        link = CameraLink(self.camera.theirs, self.camera.reader, framerate, lambda: None)
        self.streams.watch(link)
        return link

    def frame(self, jpeg: bytes, small: bool = False) -> None:
        """Send a frame and wait until it is published, so that no two frames merge."""
        captured_ns = time.monotonic_ns()
        self.camera.say(Kind.FRAME, jpeg, captured_ns, small)
        assert (self.small_latest if small else self.latest).wait(captured_ns / 1e9, patience(10))

    def frames_until(self, what: str, condition: Callable[[], bool]) -> int:
        """Send frames until *condition* holds; return the number of the last one."""
        number = 0

        def one_more() -> bool:
            nonlocal number
            number += 1
            self.frame(picture(number))
            return condition()

        until(what, one_more)
        return number

    def connect(self, receive_buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a connection, the client's first."""
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(self._listener.getsockname())
        accepted, _ = self._listener.accept()
        self._sockets += [client, accepted]
        return client, accepted

    def view(
        self,
        interval: float = 0.0,
        receive_buffer: int | None = None,
        address: str = "127.0.0.1",
        encrypted: bool = False,
        small: bool = False,
    ) -> Watching:
        looking = Client(address, address, encrypted=encrypted)
        self.streams.take_place(looking, self.limits)
        client, accepted = self.connect(receive_buffer)
        self.streams.add(accepted, looking, OPENING, interval, small)
        return Watching(client)

    def close(self) -> None:
        if self.streams._thread.ident:
            self.streams.close(patience(10))
        self._listener.close()
        for sock in self._sockets:
            sock.close()


def repeat_every(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in (streams, audience):
        monkeypatch.setattr(module, "REPEAT_SECONDS", seconds)


@contextmanager
def running() -> Iterator[Rig]:
    rig = Rig()
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def punctual() -> Iterator[Rig]:
    """A rig that repeats a picture each second and then shows the card, as a daemon does."""
    with running() as rig:
        yield rig


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A rig that repeats no picture and shows no card while a slow machine pauses between two pictures."""
    repeat_every(monkeypatch, 600.0)
    monkeypatch.setattr(audience, "HOLD_SECONDS", 600.0)
    with running() as rig:
        yield rig


def test_a_viewer_gets_the_headers_at_once_even_without_a_picture(rig: Rig) -> None:
    rig.view().open()


def test_a_new_viewer_gets_the_newest_picture_at_once(rig: Rig) -> None:
    rig.frame(picture(1))
    rig.frame(picture(2))
    begin = time.monotonic()
    client = rig.view()
    client.open()
    assert client.number() == 2
    assert time.monotonic() - begin < patience(0.5)


def test_an_old_picture_is_not_sent(rig: Rig) -> None:
    hour_ago_ns = time.monotonic_ns() - 3_600_000_000_000
    rig.camera.say(Kind.FRAME, picture(1), hour_ago_ns)
    until("a picture is published", lambda: rig.latest.frame is not None)
    client = rig.view()
    client.open()
    rig.frame(picture(2))
    assert client.number() == 2


def test_every_viewer_gets_every_picture_byte_for_byte(rig: Rig) -> None:
    clients = [rig.view() for _ in range(5)]
    for client in clients:
        client.open()
    until("pictures are wanted", lambda: rig.demand.wanted_until(0) == float("inf"))
    for number in range(20):
        rig.frame(picture(number))
        assert [client.part() for client in clients] == [picture(number)] * 5


def test_a_slow_viewer_finishes_its_picture_and_goes_on_with_the_newest(rig: Rig) -> None:
    slow, fast = rig.view(receive_buffer=4096), rig.view()
    slow.open()
    fast.open()
    seen = []
    for number in range(1, 9):
        rig.frame(picture(number, 8_000_000))
        seen.append(fast.number())
    assert seen == list(range(1, 9)), "a slow viewer is nobody else's business"
    assert slow.number() == 1
    assert slow.number() == 8
    rig.frame(picture(9))
    assert slow.number() == 9


def test_viewers_without_encryption_are_served_first(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, served = Viewer.begin, []

    def noted(viewer: Viewer, *arguments: Any) -> None:
        served.append(viewer.client.address)
        begin(viewer, *arguments)

    clients = []
    for address in ("tls 1", "plain 1", "tls 2", "plain 2"):
        clients.append(rig.view(address=address, encrypted=address.startswith("tls")))
        clients[-1].open()
    monkeypatch.setattr(Viewer, "begin", noted)
    rig.frame(picture(1))
    assert [client.number() for client in clients] == [1] * 4
    assert served == ["plain 1", "plain 2", "tls 1", "tls 2"]


def test_a_stalled_viewer_is_dropped_after_the_timeout_but_not_a_slow_one(punctual: Rig) -> None:
    timeout = patience(0.5)  # the slow one takes nothing while a slow machine pauses
    punctual.configure(viewer_timeout_seconds=timeout)
    dead, slow = punctual.view(receive_buffer=4096), punctual.view(receive_buffer=4096)
    slow.open()
    begin = time.monotonic()
    punctual.camera.say(Kind.FRAME, picture(1, 20_000_000), time.monotonic_ns())
    while punctual.streams.quota.taken == 2:
        slow.take(50_000)
        assert time.monotonic() - begin < patience(10)
        time.sleep(0.02)
    assert 0.8 * timeout < time.monotonic() - begin < patience(4)
    for _ in range(10):
        slow.take(50_000)
    assert punctual.streams.quota.taken == 1
    assert punctual.streams.answers.dropped == {"timeout": 1, "max_pending_bytes": 0}
    assert dead.at_end()


def test_a_viewer_that_drips_is_dropped(punctual: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_LEAST_BYTES_PER_SECOND", 20_000_000)
    repeat_every(monkeypatch, 0.2)
    punctual.configure(viewer_timeout_seconds=0.5)
    drips = punctual.view(receive_buffer=4096)
    drips.open()
    punctual.frame(picture(1, 20_000_000))

    def is_dropped() -> bool:
        with contextlib.suppress(EOFError, ConnectionResetError):
            drips.take(8192)
        return not punctual.streams.quota.taken

    until("it is dropped", is_dropped)


@given(st.integers(1, 30), st.lists(st.floats(0.01, 1.0), min_size=50, max_size=200))
def test_a_rate_limit_holds_on_average_for_any_frame_times(fps: int, gaps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            begun = now = 1_000_000.0
            viewer = Viewer(accepted, Client("a", "a"), OPENING, 1 / fps, now)
            for gap in gaps:
                if now >= viewer.due:
                    viewer.begin(Frame(b"the part", 0, 0), now)
                now += gap / fps  # a camera that is faster than the limit, by how much ever
    assert viewer.pictures == pytest.approx((now - begun) * fps, abs=2)


def test_pictures_that_a_pause_left_out_are_not_sent_in_a_burst(rig: Rig) -> None:
    _, accepted = rig.connect()
    viewer = Viewer(accepted, Client("a", "a"), OPENING, 0.5, 1000.0)
    for now in (1000.0, 1060.0):
        viewer.begin(Frame(b"the part", 0, 0), now)
        assert viewer.due == now + 0.5


def test_an_old_picture_is_repeated_then_the_card_follows_then_pictures(punctual: Rig) -> None:
    client = punctual.view()
    client.open()
    punctual.frame(picture(1))
    begin = time.monotonic()
    shown: list[tuple[float, bytes]] = []
    while not shown or shown[-1][1] != CARD:
        body = client.part()
        shown.append((time.monotonic() - begin, body))
    assert [body for _, body in shown[:-1]] == [picture(1)] * (len(shown) - 1)
    assert len(shown) <= 4, "the picture, its repetition each second, the card"
    assert HOLD_SECONDS - 0.4 < shown[-1][0] < patience(HOLD_SECONDS + 0.4)
    assert client.part() == CARD, "the card is repeated, too"
    assert HOLD_SECONDS + 0.4 < time.monotonic() - begin < patience(HOLD_SECONDS + 1.6)
    late = punctual.view()
    late.open()
    assert late.part() == CARD, "who comes now sees it at once"
    punctual.frame(picture(2))
    for viewer in (client, late):  # the card may be repeated once more meanwhile
        assert next(body for body in iter(viewer.part, None) if body != CARD) == picture(2)


def test_a_camera_has_time_for_a_picture_before_a_new_viewer_gets_the_card(
    punctual: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_every(monkeypatch, 0.02)
    monkeypatch.setattr(audience, "HOLD_SECONDS", 0.1)
    begin = time.monotonic()
    client = punctual.view()
    client.open()
    assert client.part() == CARD
    assert time.monotonic() - begin >= 0.1


def test_the_picture_of_a_slow_camera_is_shown_until_another_is_overdue(
    punctual: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_every(monkeypatch, 0.05)
    monkeypatch.setattr(audience, "HOLD_SECONDS", 0.1)
    card, punctual.no_signal = punctual.no_signal, None
    punctual.frame(picture(1))
    time.sleep(0.2)
    client = punctual.view()
    client.open()
    assert [client.number() for _ in range(6)] == [1] * 6, "also for who comes when it is old"
    punctual.no_signal = card
    until("the card", lambda: client.part() == CARD)


def test_a_repeated_picture_keeps_its_capture_time(punctual: Rig) -> None:
    # that is how a consumer can tell that the picture stands still
    client = punctual.view()
    client.open()
    punctual.frame(picture(1))
    length = len(wire.part(picture(1), NOW_US))
    assert client.take(length) == client.take(length)


def test_the_same_connection_goes_on_with_the_next_camera_process(rig: Rig) -> None:
    client = rig.view()
    client.open()
    rig.frame(picture(1))
    assert client.number() == 1
    rig.camera.close()
    rig.new_camera()
    rig.frame(picture(2))
    assert client.number() == 2


def test_cameras_that_end_at_once_are_released_in_turn(rig: Rig) -> None:
    for _ in range(20):
        link = rig.new_camera()
        rig.camera.close()
        until("the link is closed", lambda link=link: link.fileno() == -1)  # type: ignore[misc]
        assert link.ended
    rig.new_camera()
    rig.frame(picture(1))
    client = rig.view()
    client.open()
    assert client.number() == 1


def test_a_camera_replaces_one_whose_socket_is_still_held(rig: Rig) -> None:
    first = rig.new_camera()
    rig.frame(picture(1))
    held = rig.camera
    rig.new_camera()
    rig.frame(picture(2))
    assert first.fileno() == -1
    with pytest.raises(BrokenPipeError):
        held.say(Kind.FRAME, picture(3))


def test_an_invalid_message_drops_the_camera_but_not_its_viewers(rig: Rig) -> None:
    client = rig.view()
    client.open()
    rig.frame(picture(1))
    assert client.number() == 1
    rig.camera.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert rig.camera.sock.recv(1) == b"", "it is let go"
    rig.new_camera()
    rig.frame(picture(2))
    assert client.number() == 2


def test_a_viewer_that_hangs_up_is_removed_and_the_others_stay(rig: Rig) -> None:
    stays, goes = rig.view(), rig.view()
    stays.open()
    goes.open()
    goes.sock.close()
    last = rig.frames_until("one viewer is left", lambda: rig.streams.quota.taken == 1)
    while stays.number() != last:
        pass


def test_demand_is_told_of_the_first_and_the_last_viewer(rig: Rig) -> None:
    assert rig.demand.wanted_until(0.0) < time.monotonic()
    client = rig.view()
    until("pictures are wanted", lambda: rig.demand.wanted_until(0.0) == float("inf"))
    client.sock.close()
    rig.frames_until("no viewer is left", lambda: rig.demand.wanted_until(0.0) < float("inf"))
    assert rig.streams.quota.taken == 0


def test_viewers_are_limited_to_the_configured_number(rig: Rig) -> None:
    rig.configure(max_viewers=2)
    first, _ = rig.view(), rig.view()
    with pytest.raises(Refused, match="max_viewers"):
        rig.view()
    first.sock.close()
    rig.frame(picture(1))
    until("one viewer is left", lambda: rig.streams.quota.taken == 1)
    rig.view()


def test_the_card_waits_for_the_last_picture_and_not_for_the_first(
    punctual: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_every(monkeypatch, 0.1)
    monkeypatch.setattr(audience, "HOLD_SECONDS", 0.3)
    client = punctual.view()
    client.open()
    for number in range(8):
        last = time.monotonic()
        punctual.frame(picture(number))
        time.sleep(0.05)
    until("the card", lambda: client.part() == CARD)
    assert time.monotonic() >= last + 0.3


def test_only_viewers_that_are_no_longer_allowed_are_disconnected(rig: Rig) -> None:
    stranger, friend = rig.view(address="10.0.0.1"), rig.view(address="10.0.0.2")
    stranger.open()
    friend.open()
    rig.configure(may_stay=lambda client: str(client) != "10.0.0.1")
    assert stranger.at_end()
    rig.frame(picture(1))
    assert friend.number() == 1
    late = rig.view(address="10.0.0.1")
    assert late.at_end(), "admitted by the rules of before, and arrived behind the new ones"
    until("one viewer is left", lambda: rig.streams.quota.taken == 1)


def test_a_viewer_that_comes_and_goes_is_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for number in range(1, 6):
        viewer = rig.view(address="10.0.0.1")
        viewer.open()
        viewer.sock.close()
        rig.frame(picture(number))
        until("no viewer is left", lambda: rig.streams.quota.taken == 0)
    rig.view(address="10.0.0.2").open()
    told = [record.getMessage().split(" (")[0] for record in caplog.records]
    assert told == ["viewer 10.0.0.1 came, 1 now", "viewer 10.0.0.1 left", "viewer 10.0.0.2 came, 1 now"]


def test_closing_ends_every_stream_and_the_loop() -> None:
    with running() as rig:
        client = rig.view()
        client.open()
        begin = time.monotonic()
        rig.streams.close(patience(10))
        assert time.monotonic() - begin < patience(1)
        assert client.at_end()


def test_an_idle_loop_answers_its_probe(rig: Rig) -> None:
    rig.streams.probe.ask()
    until("the probe is answered", lambda: rig.streams.probe.answered)


def test_a_viewer_that_left_and_is_no_longer_allowed_is_dropped_once(rig: Rig) -> None:
    rig.configure(may_stay=lambda client: str(client) != "10.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        rig.streams.take_place(Client("10.0.0.1", "10.0.0.1"), rig.limits)
        rig.streams.add(accepted, Client("10.0.0.1", "10.0.0.1"), OPENING, 0.0)
    until("no viewer is left", lambda: rig.streams.quota.taken == 0)
    rig.view().open()


def test_slow_viewers_keep_no_more_pictures_than_allowed(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.configure(max_pending_bytes=25_000_000)
    steady = rig.view(address="10.0.0.1")
    steady.open()
    stuck = []
    for number in range(1, 9):  # each one is stuck in another picture
        stuck.append(rig.view(receive_buffer=4096, address="10.0.0.2"))
        stuck[-1].open()
        rig.frame(picture(number, 8_000_000))
        assert steady.number() == number
    rig.frame(picture(9))
    assert steady.number() == 9
    # the newest picture needs the room of the third one, if it is copied
    until("two viewers are stuck", lambda: rig.streams.quota.taken == 3)
    assert rig.streams.answers.dropped == {"timeout": 0, "max_pending_bytes": 6}
    for viewer in stuck[:-2]:
        assert viewer.at_end()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "10.0.0.2 is disconnected: over http.max_pending_bytes wait, and it is the slowest"
    ]


def test_unread_stills_keep_no_more_memory_than_allowed(rig: Rig) -> None:
    rig.configure(max_pending_bytes=25_000_000)
    answers, ended, threads = rig.streams.answers, [], []
    clients = [rig.connect(receive_buffer=4096) for _ in range(6)]

    def send(sock: socket.socket, number: int) -> None:
        try:
            answers.send(sock, "10.0.0.2", b"head", picture(number, 8_000_000))
        except OSError as error:
            ended.append(error)

    for number, (_, accepted) in enumerate(clients):
        accepted.settimeout(600)
        threads.append(threading.Thread(target=send, args=(accepted, number)))
        threads[-1].start()
    until("three are cut", lambda: len(ended) == 3)
    assert answers.dropped == {"timeout": 0, "max_pending_bytes": 3}
    assert len(answers.under_way()) == 3
    for client, _ in clients:
        client.close()
    for thread in threads:
        thread.join(patience(10))
    assert len(ended) == 6 and not answers.under_way()


def test_the_slowest_viewer_goes_first_and_not_the_oldest(rig: Rig) -> None:
    rig.configure(max_pending_bytes=10_000_000)
    rig.frame(picture(1, 8_000_000))
    slow = rig.view(receive_buffer=65536)
    slow.open()
    slow.take(2_000_000)
    rig.frame(picture(2, 8_000_000))
    stuck = rig.view(receive_buffer=4096)
    stuck.open()
    slow.take(4_000_000)
    first, second = rig.streams._viewers()

    def second_is_slower() -> bool:
        now = time.monotonic()
        return sending._speed(second, now) < sending._speed(first, now)

    until("the second one is the slower one", second_is_slower)
    rig.frame(picture(3, 8_000_000))
    assert stuck.at_end()
    slow.take(len(wire.part(picture(1, 8_000_000), NOW_US)) - 6_000_000)
    assert slow.number() == 3


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """The function returns the bytes that Python has allocated since."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def test_viewers_of_the_same_picture_keep_one_copy(rig: Rig, memory: Callable[[], int]) -> None:
    rig.frame(picture(1, 8_000_000))
    for _ in range(10):  # stuck at their first picture
        rig.view(receive_buffer=4096).open()
    assert memory() < 24_000_000


def test_a_viewer_that_wants_few_pictures_keeps_none(rig: Rig, memory: Callable[[], int]) -> None:
    for number in range(10):
        rig.frame(picture(number, 8_000_000))
        viewer = rig.view(interval=600)
        viewer.open()
        assert viewer.number() == number
        del viewer
    assert memory() < 32_000_000


def test_an_opening_that_does_not_fit_is_sent_in_pieces() -> None:
    ours, theirs = socket.socketpair()

    class Narrow:
        """Takes a byte at a time."""

        family = socket.AF_INET

        def sendmsg(self, buffers: tuple[bytes, bytes]) -> int:
            return ours.send(b"".join(buffers)[:1])

        def send(self, data: bytes) -> int:
            return ours.send(data[:1])

        def setblocking(self, _: bool) -> None: ...

        def setsockopt(self, *_: int) -> None: ...

    with ours, theirs:
        viewer = Viewer(Narrow(), Client("a", "a"), b"opening", 0.0, 0.0)  # type: ignore[arg-type]
        viewer.welcome(Frame(b"the part", 0, 0), 0.0)
        while viewer.part is not None:
            viewer.push(0.0)
        ours.shutdown(socket.SHUT_WR)
        assert theirs.recv(100) == b"openingthe part"


# --- single steps of the loop, without its thread


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A rig whose loop does not run, and whose clock stands at 1000 s."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    rig = Rig(started=False)
    rig.streams._handle_wake()
    yield rig
    rig.close()


def arrived(rig: Rig, address: str = "127.0.0.1") -> Viewer:
    """Return a viewer that the loop has taken over."""
    before = set(rig.big.viewers)
    rig.view(address=address)
    rig.streams._handle_wake()
    (fd,) = set(rig.big.viewers) - before
    return rig.big.viewers[fd]


def shown(captured: float = 1000.0) -> Frame:
    return Frame(b"the part", int(captured * 1e9), 0)


def test_the_loop_is_a_daemon_thread_whose_descriptors_no_child_inherits(still: Rig) -> None:
    loop = still.streams._thread
    assert (loop.name, loop.daemon) == ("streams", True)
    assert not os.get_inheritable(still.streams._wake_fd)
    assert not os.get_blocking(still.streams._wake_fd)


@pytest.mark.parametrize(
    ("shown_at", "fresh_at", "due"),
    [
        pytest.param(100.0, 100.0, 101.0, id="repeated"),
        pytest.param(101.5, 100.0, 102.0, id="replaced by the card"),
        pytest.param(102.0, 100.0, 103.0, id="the card is repeated"),
        pytest.param(103.0, 100.0, 104.0, id="again"),
    ],
)
def test_the_loop_has_to_repeat_or_to_replace_the_picture(
    still: Rig, shown_at: float, fresh_at: float, due: float
) -> None:
    still.big.shown_at, still.big.fresh_at = shown_at, fresh_at
    assert still.big.due() == due


@pytest.mark.parametrize(
    ("age", "card", "kept"), [(2.0, True, True), (2.1, True, False), (2.1, False, True), (None, True, False)]
)
def test_the_first_viewer_gets_no_old_picture_unless_the_camera_is_slow(
    still: Rig, age: float | None, card: bool, kept: bool
) -> None:
    frame = None
    if age is not None:
        frame = shown(1000.0 - age)
        still.latest.publish(frame)
    if not card:
        still.no_signal = None
    still.big.fresh_at = 900.0
    arrived(still)
    assert still.big.shown is frame if kept else still.big.shown is None
    assert (still.big.shown_at, still.big.fresh_at) == (1000.0, 900.0 if kept else 1000.0)
    still.big.shown_at = 990.0
    arrived(still)
    assert still.big.shown_at == 990.0, "a second viewer changes nothing"


@pytest.mark.parametrize(
    ("age", "card", "picture_", "what"),
    [(2.0, True, True, "card"), (1.9, True, True, "picture"), (5.0, False, True, "picture"), (1.0, True, False, "")],
)
def test_a_picture_is_repeated_until_it_is_too_old(
    still: Rig, age: float, card: bool, picture_: bool, what: str
) -> None:
    frame = shown() if picture_ else None
    viewer = arrived(still)
    still.big.shown, still.big.shown_at, still.big.fresh_at = frame, 990.0, 1000.0 - age
    if not card:
        still.no_signal = None
    still.big.repeat(1000.0)
    expected = {"card": still.no_signal, "picture": frame, "": None}[what]
    assert viewer.last is expected and still.big.shown is expected
    assert still.big.shown_at == 1000.0


def test_a_viewer_is_ready_when_it_has_its_part_and_its_time_has_come(still: Rig) -> None:
    early, late, busy = (arrived(still) for _ in range(3))
    early.due, late.due, busy.part = 1000.0, 1000.1, b"another part"
    old, new = shown(), shown()
    late.last = busy.last = old
    still.big.show(new, 1000.0)
    assert (early.last, late.last, busy.last) == (new, None, None)
    late.last = new
    still.big.show(new, 1000.0)
    assert late.last is new


def test_a_place_for_encryption_is_one_of_all_and_both_are_given_back(still: Rig) -> None:
    still.configure(max_viewers=3, max_tls_viewers=1)
    streams_, client = still.streams, Client("a", "a", encrypted=True)
    streams_.take_place(client, still.limits)
    with pytest.raises(Refused, match="max_tls_viewers"):
        streams_.take_place(client, still.limits)
    assert (streams_.quota.taken, streams_._tls_quota.taken) == (1, 1)
    streams_.give_back_place(client)
    assert (streams_.quota.taken, streams_._tls_quota.taken) == (0, 0)
    streams_.take_place(Client("b", "b"), still.limits)
    streams_.give_back_place(Client("b", "b"))
    assert (streams_.quota.taken, streams_._tls_quota.taken) == (0, 0)


def test_only_viewers_that_close_just_now_may_leave_a_place(still: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    viewers = [arrived(still) for _ in range(3)]
    still.view()
    viewers[1].closed_at, viewers[2].closed_at = 999.6, 999.5
    looked_at: list[int] = []
    monkeypatch.setattr(streams, "hung_up", lambda fds: looked_at.extend(fds) or True)
    assert still.streams._leaving()
    arrival = still.streams._arrivals[0]
    assert looked_at == [viewers[0].sock.fileno(), viewers[1].sock.fileno(), arrival.sock.fileno()]


def test_a_viewer_that_takes_nothing_or_too_little_is_dropped(still: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    still.configure(viewer_timeout_seconds=10)
    part = bytes(8 * sending._LEAST_BYTES_PER_SECOND)
    longest = sending.longest_seconds(len(part), 10)
    ready, steady, stalls, drips = (arrived(still, address) for address in "abcd")
    ready.moved_at = ready.begun_at = 0.0
    steady.part, steady.moved_at, steady.begun_at = part, 990.0, 1000.0 - longest
    stalls.part, stalls.moved_at, stalls.begun_at = part, 989.9, 989.9
    drips.part, drips.moved_at, drips.begun_at, drips.offset = part, 1000.0, 999.9 - longest, 7
    drips.since, drips.pictures = 100.0, 3
    caplog.clear()
    still.streams._drop_stalled(1000.0)
    assert list(still.big.viewers.values()) == [ready, steady]
    assert [record.getMessage() for record in caplog.records] == [
        "viewer c left (took nothing for 10 s): 0 parts in 0 s, 3 now",
        f"viewer d left (took 7 bytes in {longest + 0.1:.0f} s): 3 parts in 900 s, 2 now",
    ]
    assert still.streams.answers.dropped == {"timeout": 2, "max_pending_bytes": 0}
    assert still.streams._stalled_check_at == 1001.0
    assert (stalls.part, stalls.last, stalls.sock.fileno(), still.streams.quota.taken) == (None, None, -1, 2)


def test_a_viewer_whose_arrival_was_not_logged_leaves_without_a_word(
    still: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first, second = arrived(still), arrived(still)
    assert (first.told, second.told) == (True, False)
    caplog.clear()
    still.streams._drop(second, "hung up")
    assert not caplog.records


def test_a_viewer_that_closes_its_side_gets_one_part_more(still: Rig) -> None:
    viewer, frame = arrived(still), shown()
    still.big.shown, viewer.last, viewer.pictures = frame, frame, 0
    for _ in range(2):
        still.streams._serve(viewer, select.EPOLLOUT | select.EPOLLRDHUP)
        assert (viewer.closed_at, viewer.pictures) == (1000.0, 1)


def test_a_viewer_that_closes_its_side_before_any_picture_gets_the_card(still: Rig) -> None:
    viewer = arrived(still)
    assert viewer.last is None
    still.streams._serve(viewer, select.EPOLLRDHUP)
    assert viewer.last is still.no_signal


def test_a_viewer_that_closes_its_side_is_not_served_in_the_middle_of_a_part(still: Rig) -> None:
    viewer = arrived(still)
    viewer.part, viewer.offset, viewer.last, viewer.pictures = bytes(100_000_000), 0, None, 0
    still.streams._serve(viewer, select.EPOLLOUT | select.EPOLLRDHUP)
    assert (viewer.closed_at, viewer.pictures) == (1000.0, 0)


@pytest.mark.parametrize("event", [select.EPOLLERR, select.EPOLLHUP, select.EPOLLHUP | select.EPOLLOUT])
def test_a_viewer_that_has_hung_up_is_dropped(still: Rig, event: int) -> None:
    still.streams._serve(arrived(still), event)
    assert not still.big.viewers and not still.demand.present


@pytest.mark.parametrize(("due", "newest", "served"), [(1000.0, False, True), (1000.1, False, False), (0, True, False)])
def test_a_viewer_with_room_gets_the_newest_picture_once_in_its_time(
    still: Rig, due: float, newest: bool, served: bool
) -> None:
    viewer, frame = arrived(still), shown()
    viewer.due, viewer.last, viewer.pictures = due, frame if newest else None, 0
    still.streams._serve(viewer, select.EPOLLOUT)
    assert viewer.pictures == 0, "there is none"
    still.big.shown = frame
    still.streams._serve(viewer, select.EPOLLOUT)
    assert viewer.pictures == served


def test_a_camera_that_ends_is_let_go(still: Rig) -> None:
    link, streams_ = still.streams._camera, still.streams
    assert link and streams_._camera_fd == link.fileno()
    still.streams._handle_wake()
    assert streams_._camera is link, "without another one"
    still.streams.watch(link)
    still.streams._handle_wake()
    assert link.fileno() >= 0, "it is the same"
    still.camera.close()
    assert streams_._read_camera() is None
    assert (streams_._camera, streams_._camera_fd, link.fileno()) == (None, -1, -1)


def test_it_waits_without_end_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Epoll:
        """Notes how long the loop wants to wait."""

        def __init__(self) -> None:
            self._epoll = epoll()

        def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
            waits.append(timeout)
            return self._epoll.poll(timeout, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._epoll, name)

    epoll = select.epoll
    monkeypatch.setattr(select, "epoll", Epoll)
    repeat_every(monkeypatch, 600.0)
    monkeypatch.setattr(audience, "HOLD_SECONDS", 900.0)
    with running() as rig:
        rig.frame(picture(1))
        assert set(waits) == {-1.0}
        waits.clear()
        client = rig.view()
        client.open()
        rig.frame(picture(2))
        assert (client.number(), client.number()) == (1, 2)
        rig.streams.probe.ask()
        until("the loop waits for a picture", lambda: rig.streams.probe.answered and waits[-1] < 600)
        assert 0 < waits[-1] < 600 and 600.0 in waits
        client.sock.close()
        rig.frames_until("it waits without end", lambda: waits[-1] == -1.0)


def test_closing_hangs_up_also_on_who_just_arrived(still: Rig) -> None:
    present, late = still.view(), still.view()
    still.streams._handle_wake()
    arrival = still.view()
    still.streams._closing = True
    still.streams._run()
    assert present.at_end() and late.at_end() and arrival.at_end()
    assert still.streams._epoll.closed
    assert not still.big.viewers


# --- a small stream beside the big one


def test_viewers_of_each_size_get_their_own_pictures_only(rig: Rig) -> None:
    big, small = rig.view(), rig.view(small=True)
    big.open()
    small.open()
    until("both are counted", lambda: rig.demand.present and rig.small_demand.present)
    assert rig.streams.by_size() == {"big": 1, "small": 1}
    for number in range(1, 6):
        rig.frame(picture(number))
        rig.frame(picture(100 + number), small=True)
        assert (big.number(), small.number()) == (number, 100 + number)
    late = rig.view(small=True)
    late.open()
    assert late.number() == 105
    assert rig.streams.quota.taken == 3


def test_each_size_is_asked_for_by_its_own_viewers(rig: Rig) -> None:
    small = rig.view(small=True)
    until("small ones are wanted", lambda: rig.small_demand.present)
    assert not rig.demand.present
    small.sock.close()
    rig.frame(picture(1), small=True)
    rig.frame(picture(2), small=True)
    until("nobody is left", lambda: not rig.small_demand.present)
    rig.view()
    until("big ones are wanted", lambda: rig.demand.present)
    assert not rig.small_demand.present


def test_each_size_has_a_card_of_its_own(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    repeat_every(monkeypatch, 0.02)
    monkeypatch.setattr(audience, "HOLD_SECONDS", 0.3)
    big, small = rig.view(), rig.view(small=True)
    big.open()
    small.open()
    rig.frame(picture(1))
    assert big.number() == 1
    until("the small card", lambda: small.part() == SMALL_CARD)
    for number in range(2, 5):
        rig.frame(picture(number), small=True)
        until("the small picture", lambda number=number: small.part() == picture(number))  # type: ignore[misc]
    until("the big card, although small ones come", lambda: big.part() == CARD)


def test_a_rate_limit_of_a_small_viewer_is_its_own(rig: Rig) -> None:
    small, brisk = rig.view(interval=600, small=True), rig.view(small=True)
    small.open()
    brisk.open()
    for number in range(1, 6):
        rig.frame(picture(number), small=True)
        assert brisk.number() == number
    assert small.number() == 1
    small.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        small.part()


def test_a_slow_small_viewer_delays_nobody_and_goes_on_with_the_newest(rig: Rig) -> None:
    slow, big = rig.view(receive_buffer=4096, small=True), rig.view()
    slow.open()
    big.open()
    for number in range(1, 9):
        rig.frame(picture(number, 3_000_000), small=True)
        rig.frame(picture(number))
        assert big.number() == number
    assert (slow.number(), slow.number()) == (1, 8)


def test_what_waits_for_slow_viewers_of_both_sizes_counts_together(rig: Rig) -> None:
    rig.configure(max_pending_bytes=14_000_000)
    steady, steady_small = rig.view(address="10.0.0.1"), rig.view(address="10.0.0.1", small=True)
    steady.open()
    steady_small.open()
    stuck = []
    for number in range(1, 5):
        for small in (False, True):
            stuck.append(rig.view(receive_buffer=4096, address="10.0.0.2", small=small))
            stuck[-1].open()
            rig.frame(picture(number, 3_000_000), small)
            assert (steady_small if small else steady).number() == number
    until("some were dropped", lambda: rig.streams.quota.taken < 10)
    rig.frame(picture(9))
    assert steady.number() == 9
    rig.frame(picture(9), small=True)
    assert steady_small.number() == 9
    until("few are left", lambda: rig.streams.quota.taken <= 6)
    assert rig.streams.answers.dropped["max_pending_bytes"] == 10 - rig.streams.quota.taken >= 4


@pytest.mark.parametrize(("age", "kept"), [(2.0, True), (2.1, False)])
def test_a_small_picture_from_before_anybody_watched_is_not_shown(still: Rig, age: float, kept: bool) -> None:
    frame, still.small_card = shown(1000.0 - age), None  # the camera gives pictures, but nobody asked for small ones
    still.small_latest.publish(frame)
    still.view(small=True)
    still.streams._handle_wake()
    assert still.small.shown is (frame if kept else None)


def test_small_viewers_are_dropped_and_disconnected_by_the_same_rules(punctual: Rig) -> None:
    punctual.configure(viewer_timeout_seconds=0.5)
    dead = punctual.view(receive_buffer=4096, small=True, address="10.0.0.1")
    punctual.frame(picture(1, 3_900_000), small=True)
    until("the stalled one is dropped", lambda: not punctual.streams.quota.taken)
    assert dead.at_end()
    stranger, friend = punctual.view(address="10.0.0.1", small=True), punctual.view(address="10.0.0.2", small=True)
    stranger.open()
    friend.open()
    punctual.configure(may_stay=lambda client: str(client) != "10.0.0.1")
    assert stranger.at_end()
    punctual.frame(picture(2), small=True)
    assert friend.number() in (1, 2)


def test_small_viewers_go_on_with_the_next_camera_process(rig: Rig) -> None:
    small = rig.view(small=True)
    small.open()
    rig.frame(picture(1), small=True)
    assert small.number() == 1
    rig.camera.close()
    rig.new_camera()
    rig.frame(picture(2), small=True)
    until("the new one", lambda: small.number() == 2)


# -- masks


def test_pictures_of_before_are_forgotten_and_those_on_their_way_are_not_shown(rig: Rig) -> None:
    rig.frame(picture(1))
    rig.frame(picture(1), small=True)
    big, small = rig.view(), rig.view(small=True)
    for viewer in (big, small):
        viewer.open()
        assert viewer.number() == 1
    masks = [[0.0, 0.0, 0.5, 0.5]]
    rig.streams.show_only(masks)
    assert rig.latest.frame is None and rig.small_latest.frame is None
    assert rig.big.shown is None and rig.small.shown is None
    late = rig.view()
    late.open()
    for number in range(2, 20):  # more than there are slots: they are given back
        rig.camera.say(Kind.FRAME, picture(number), time.monotonic_ns())
        rig.camera.say(Kind.FRAME, picture(number), time.monotonic_ns(), small=True)
        until("they are read", lambda: len(select.select([rig.camera.theirs], [], [], 0)[0]) == 0)
    assert rig.latest.frame is None and rig.small_latest.frame is None
    rig.new_camera().masks = masks
    rig.frame(picture(30))
    rig.frame(picture(30), small=True)
    assert [viewer.number() for viewer in (big, small, late)] == [30, 30, 30]


def test_a_camera_may_have_had_the_new_masks_already(rig: Rig) -> None:
    rig.streams.show_only([[0.0, 0.0, 0.5, 0.5]])
    rig.streams.show_only([])
    rig.frame(picture(1))
    viewer = rig.view()
    viewer.open()
    assert viewer.number() == 1


def test_viewers_see_the_card_if_no_camera_draws_the_new_masks(punctual: Rig) -> None:
    punctual.frame(picture(1))
    viewer = punctual.view()
    viewer.open()
    assert viewer.number() == 1
    punctual.streams.show_only([[0.0, 0.0, 0.5, 0.5]])
    assert viewer.part() == CARD


def test_masks_of_the_start_do_not_wait_for_the_loop() -> None:
    rig = Rig(started=False)
    begun = time.monotonic()
    rig.streams.show_only([[0.0, 0.0, 0.5, 0.5]])
    assert time.monotonic() - begun < 1
    rig.close()
