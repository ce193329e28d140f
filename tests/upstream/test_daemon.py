"""The whole daemon with an upstream server that comes and goes, wants a password, or is hostile."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.core.spawn import start_camera
from pi_cam_daemon.imaging import exif
from pi_cam_daemon.ipc.protocol import Kind
from tests.kit.daemon import RUN, Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading
from tests.upstream.servers import (
    PICTURES,
    STREAM,
    Answer,
    Request,
    header,
    hold,
    once,
    paced,
    part,
    picture,
    serving,
    status,
)


@contextlib.contextmanager
def behind(folder: Path, url: str, **settings: object) -> Iterator[Daemon]:
    """Run a daemon whose camera is at *url*."""
    named = {f"{key.replace('__', '.')}": value for key, value in settings.items()}
    every = {"source.kind": "upstream", "upstream.url": url, "upstream.read_timeout_seconds": 2.0, **named}
    with running(folder, every, argv=RUN) as daemon:
        yield daemon


# --- slow pictures


@pytest.mark.parametrize("first", [0.0, 0.4], ids=["steady", "an old picture first"])
def test_a_slow_upstream_is_neither_left_nor_covered(tmp_path: Path, first: float) -> None:
    def slow(sock: socket.socket, _: Request) -> None:
        sock.sendall(header())
        for number in itertools.count():
            sock.sendall(part(PICTURES[number % 3]))
            time.sleep(first if first and not number else 2.2)

    limits = {"upstream__read_timeout_seconds": 1.0, "source__stall_timeout_seconds": 1.0}
    with serving(slow) as server, behind(tmp_path, server.url(), **limits) as daemon:
        daemon.wait_for_state("streaming")
        viewer = Reading(daemon.watch())
        told = daemon.wait_for_rate()
        again = until("one more", lambda: (now := daemon.state())["frames"]["captured"] > 3 and now)
        assert (told["state"], again["state"], again["camera_process"]["starts"]) == ("streaming", "streaming", 1)
        # a busy machine sends late, and the first pause may be the shortest
        assert re.match(r"Streaming 64x48 at 0\.4[3-7] frames/s from 127\.0\.0\.1:", again["detail"])
        assert daemon.get("/snapshot")[2] in PICTURES
        assert {part.jpeg for part in viewer.finish()} <= set(PICTURES)
        assert "state: stalled" not in daemon.log()
        assert len(server.requests) == 1


# --- chains


def test_a_daemon_behind_a_daemon_survives_its_death(tmp_path: Path) -> None:
    """The second one's viewer stays connected while the first is killed, is away, and returns."""
    pattern = {"source.kind": "pattern", "video.width": 320, "video.height": 240, "video.framerate": 10.0}
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(tmp_path / "first", pattern, argv=RUN))
        first.wait_for_state("streaming")
        second = stack.enter_context(behind(tmp_path / "second", f"http://127.0.0.1:{first.port}/stream"))
        table = second.wait_for_state("streaming")
        assert table["source"]["kind"] == "upstream"
        assert table["camera"]["name"] == f"127.0.0.1:{first.port}/stream"

        direct, viewer = first.watch(), Reading(second.watch())
        sent = {part.jpeg for part in direct.parts(20)}
        until("the same pictures, byte for byte", lambda: len(sent & {part.jpeg for part in viewer.parts}) > 5)

        first.process.kill()
        first.process.wait()
        table = until("the loss is told", lambda: (now := second.state())["state"] == "no-camera" and now)
        assert f"127.0.0.1:{first.port}" in table["detail"]

        again = {**pattern, "http.port": first.port, "video.width": 400}
        first = stack.enter_context(running(tmp_path / "again", again, argv=RUN))
        until("pictures of the new one", lambda: any(part.size == (400, 240) for part in viewer.parts[-50:]), 40)
        viewer.finish()
        assert second.state()["state"] == "streaming"


def test_a_phone_that_is_turned_is_told_with_its_new_size(tmp_path: Path) -> None:
    wide, tall = picture(width=64, height=48), picture(width=48, height=64)
    sent = [wide]

    def answer(sock: socket.socket, _: Request) -> None:
        sock.sendall(header())
        while True:
            sock.sendall(part(sent[-1]))
            time.sleep(0.05)

    def size() -> tuple[int, int]:
        camera = daemon.state()["camera"]
        return camera["width"], camera["height"]

    with serving(answer) as server, behind(tmp_path, server.url()) as daemon:
        daemon.wait_for_state("streaming")
        until("it lies", lambda: size() == (64, 48))
        sent.append(tall)
        until("it stands", lambda: size() == (48, 64))
        assert daemon.state()["detail"].startswith("Streaming 48x64 ")
        # the same by Exif alone
        sent.append(wide[:2] + exif.segment(8) + wide[2:])
        until("pixels are turned", lambda: daemon.get("/snapshot")[2] not in (tall, wide))
        assert size() == (48, 64)
        sent.append(wide[:2] + exif.segment(1) + wide[2:])
        until("it lies again", lambda: size() == (64, 48) and daemon.get("/snapshot")[2] == wide)


def test_a_silent_upstream_is_left_and_comes_back(tmp_path: Path) -> None:
    pieces = (header() + part(PICTURES[0]), *[part(PICTURES[0])] * 4)

    def quiet(sock: socket.socket, request: Request) -> None:
        paced(b"", *pieces[:-1], last=pieces[-1])(sock, request)
        hold(sock)

    answers: list[Answer] = [quiet]
    with (
        serving(lambda sock, request: answers[-1](sock, request)) as server,
        behind(tmp_path, server.url(), source__stall_timeout_seconds=60) as daemon,
    ):
        viewer = daemon.watch()
        viewer.next_where("its picture", lambda part: part.jpeg == PICTURES[0])
        table = daemon.wait_for_state("no-camera")
        assert (table["cause"], table["detail"]) == ("lost", f"{server.place} has sent nothing for 2 s")
        answers.append(STREAM)
        viewer.next_where("pictures again", lambda part: part.jpeg == PICTURES[1], 40)


def test_the_busy_phone_is_on_the_state_page_and_a_viewer_sees_a_card(tmp_path: Path) -> None:
    busy = once(header("text/html") + b"<h1>DroidCam is Busy</h1>")
    with serving(busy) as server, behind(tmp_path, server.url("/video")) as daemon:
        table = daemon.wait_for_state("no-camera")
        assert table["cause"] == "busy"
        assert table["detail"] == "The phone's camera is in use by another viewer"
        assert daemon.watch().part().jpeg
        assert daemon.get("/snapshot")[0] == 503


def test_a_turned_picture_of_an_upstream_has_the_turned_size(tmp_path: Path) -> None:
    with serving(STREAM) as server, behind(tmp_path, server.url(), video__rotation=90) as daemon:
        daemon.wait_for_state("streaming")
        assert daemon.watch().part().size == (48, 64)
        assert daemon.state()["camera"]["width"] == 48


# --- storms


@pytest.mark.parametrize(
    "answer",
    [once(b""), status(404), once(header() + part(PICTURES[0])), once(header("text/html") + b"DroidCam is Busy")],
    ids=["hangs up", "404", "one picture each", "busy"],
)
def test_a_server_that_fails_is_asked_less_and_less_often(tmp_path: Path, answer: Answer) -> None:
    with serving(answer) as server, behind(tmp_path, server.url()):
        until("five connections", lambda: len(server.requests) >= 5, 30)
        times = [request.arrived for request in server.requests]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        # at once, then after 1, 2 and 4 s, each with a jitter of a fifth
        assert all(gap > 0.75 * wait for gap, wait in zip(gaps, (0, 1, 2, 4), strict=True)), gaps
        assert server.most_open == 1


def test_one_upstream_connection_serves_all_viewers(tmp_path: Path) -> None:
    with serving(STREAM) as server, behind(tmp_path, server.url()) as daemon:
        readers = [Reading(daemon.watch()) for _ in range(5)]
        until("pictures for all", lambda: all(len(reader.parts) > 5 for reader in readers))
        for reader in readers:
            reader.finish()
        assert len(server.requests) == 1


# --- secrets

SECRET = "s3cret"


def guarded(answer: Answer) -> Answer:
    def send(sock: socket.socket, request: Request) -> None:
        allowed = "authorization" in request.headers
        (answer if allowed else status(401, 'WWW-Authenticate: Basic realm="cam"'))(sock, request)

    return send


def everything_shown(daemon: Daemon) -> str:
    """Return the log, the HTTP answers, and the process list with its environments."""
    pages = [daemon.get(path)[2].decode() for path in ("/", "/state", "/healthz", "/livez")]
    processes = []
    for pid in (daemon.process.pid, daemon.state()["camera_process"]["pid"]):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(FileNotFoundError, TypeError):
                processes.append(Path(f"/proc/{pid}/{name}").read_text())
    return "\n".join([daemon.log(), *pages, *processes])


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (STREAM, "streaming"),
        (status(401, 'WWW-Authenticate: Basic realm="cam"'), "no-camera"),
        (status(404), "no-camera"),
        (status(302, "Location: http://x:y@127.0.0.1:1/"), "no-camera"),
        (status(302, "Location: /\r\nLocation: "), "no-camera"),
        (once(b"rubbish\r\n\r\n"), "no-camera"),
        (once(header("text/html")), "no-camera"),
    ],
    ids=["streaming", "refused", "missing", "redirected", "in circles", "rubbish", "page"],
)
def test_a_password_is_shown_nowhere(tmp_path: Path, answer: Answer, state: str) -> None:
    with serving(guarded(answer)) as server:
        url = server.url(f"/cam?pwd={SECRET}", f"me:{SECRET}")
        with behind(tmp_path, url, log__level="debug") as daemon:
            daemon.wait_for_state(state)
            until("the password was asked for", lambda: len(server.requests) > 1)
            shown = everything_shown(daemon)
            assert "127.0.0.1:" in shown
            assert SECRET not in shown
            assert "bWU6" not in shown  # what `me:` begins with in Basic's base64
            assert any(SECRET in request.path for request in server.requests)


# --- memory

# What is allowed on top of a camera process at work is four times the largest picture: as it arrives, cut out, the
# newest, the one that is repaired, and copies of it. Without a bound, seconds of each of these make gigabytes.
MOST_KIB = (32 + 4 * 8) * 1024

ENDLESS: dict[str, Answer] = {
    "a picture without end": paced(
        header() + b"--frame\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8", b"\0" * 65536, pause=0
    ),
    "a part of text": paced(header() + b"--frame\r\nContent-Type: text/plain\r\n\r\n", b"\0" * 65536, pause=0),
    "lines": paced(header() + b"--frame\r\nContent-Type: text/plain\r\n\r\n", b"\r\n--fram" * 8192, pause=0),
    "a header": paced(header() + b"--frame\r\n", b"X" * 65536, pause=0),
    "boundaries": paced(header(), b"--frame\r\n" * 8192, pause=0),
    "pictures": paced(header(), part(PICTURES[0]) * 50, pause=0),
    "broken pictures of 8 MB": paced(header(), part(PICTURES[0][:200] + b"\0" * 8_000_000), pause=0),
    "a web page": paced(header("text/html"), b"<p>" * 20000, pause=0),
    "the body of a redirect": paced(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"\0" * 65536, pause=0),
    "the body of a refusal": paced(
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="cam"\r\n\r\n', b"\0" * 65536, pause=0
    ),
    "the server's header": paced(b"HTTP/1.1 200 OK\r\n", b"X: %s\r\n" % (b"y" * 60000), pause=0),
    "one chunk": paced(header() + b"ffffffffffffffff\r\n", b"\0" * 65536, pause=0),
    "a chunk's length": paced(header()[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", b"f" * 65536, pause=0),
    "chunks of less than nothing": paced(
        header()[:-2] + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", b"\0" * 65536, pause=0
    ),
    "trailers": paced(header()[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 9999, pause=0),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_the_camera_process_stays_small_however_much_arrives(what: str) -> None:
    with serving(ENDLESS[what]) as server:
        every = loading.load(settings=[f'upstream.url="{server.url("/", "me:pw")}"'], etc=Path("/nonexistent"))
        camera = dataclasses.replace(every.camera, kind="upstream")
        process, link = start_camera(camera, "info", changed=lambda: None)
        try:
            peak = 0
            given_up = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < given_up:
                if server.requests and time.monotonic() > server.requests[0].arrived + 3:
                    break
                peak = max(peak, peak_kib(process.pid))
                with contextlib.suppress(EOFError):
                    link.read()
                time.sleep(0.002)
            link.tell(Kind.STOP)
            process.wait(patience(3))
        finally:
            process.kill()
            process.wait()
            link.close()
        print(f"{what}: {peak} KiB, {link.error}")
        assert server.requests
        assert 0 < peak < MOST_KIB


def peak_kib(pid: int) -> int:
    """Return the peak memory of the process *pid*, 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


# --- pictures that cannot be used

CUT = part(PICTURES[0][:-40])


def test_the_reason_for_refused_pictures_is_told_when_the_camera_is_restarted(tmp_path: Path) -> None:
    """The supervisor's patience is shorter than the source's own, so the source's error never arrives."""
    good_then_bad = paced(header(), *[part(PICTURES[0])] * 5, last=CUT * 3)

    def answer(sock: socket.socket, request: Request) -> None:
        good_then_bad(sock, request)
        paced(b"", CUT)(sock, request)

    limits = {"source__stall_timeout_seconds": 2.0, "upstream__read_timeout_seconds": 30.0}
    with serving(answer) as server, behind(tmp_path, server.url(), **limits) as daemon:
        table = until("the restart", lambda: (now := daemon.state())["detail"].startswith("The camera has") and now, 30)
        assert table["detail"].startswith("The camera has given no usable picture for 3 s: ")
        assert "end" in table["detail"].partition(": ")[2], "the words of the source"


def test_the_reason_for_refused_pictures_is_told_before_a_first_good_one(tmp_path: Path) -> None:
    with serving(paced(header(), CUT)) as server, behind(tmp_path, server.url()) as daemon:
        table = until(
            "the reason", lambda: (now := daemon.state())["detail"].startswith("The camera's pictures") and now
        )
        assert table["state"] == "starting"
        assert table["detail"].startswith("The camera's pictures cannot be used: ")
