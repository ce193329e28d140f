"""The bytes of requests and answers over HTTP."""

from __future__ import annotations

import email.utils
import gzip
import itertools
import json
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.ipc.parts import OPENING
from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading, read_all

STREAMS = [
    "/stream", "/stream.mjpg", "/video", "/mjpeg/stream/", "/mjpeg/stream", "/?action=stream", "/?action=stream_0",
    "/?action=stream?nonce_dashboard=1679189181050", "/?action=stream&timestamp=1", "/?cacheBust=1&action=stream",
    "/stream?bypassCache=1&&=&a=b=c", "/%73tream", "http://localhost:8000/stream",
]  # fmt: skip
SNAPSHOTS = [
    "/snapshot", "/snapshot.jpg", "/mjpeg/snapshot/", "/?action=snapshot", "/?action=snapshot?x=1",
    "/?action=snapshot&bypassCache=9", "/snapshot?max_age_ms=5000",
]  # fmt: skip
PAGES = ["/", "/?mode=stream", "/?mode=snapshot", "/mjpeg/", "/mjpeg/?mode=snapshot", "/mjpeg/?mode=stream", "/?action"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests; they only read."""
    with running(tmp_path_factory.mktemp("daemon"), {"video.width": 320, "video.height": 240}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def request(daemon: Daemon, text: str) -> bytes:
    """Return everything that is answered to the raw request *text* until the server closes."""
    with daemon.connect(text) as sock:
        return read_all(sock)


def test_a_stream_begins_with_exactly_these_bytes(daemon: Daemon) -> None:
    viewer = daemon.watch()
    lines = viewer.head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    date = next(line for line in lines if line.startswith("Date: "))
    assert abs(email.utils.parsedate_to_datetime(date[6:]).timestamp() - time.time()) < patience(5)
    assert date.endswith(" GMT")
    assert set(lines[1:-2]) - {date} == {
        "Connection: close",
        "Cache-Control: no-store, no-cache, must-revalidate, max-age=0",
        "Pragma: no-cache",
        "X-Accel-Buffering: no",
        f"Content-Type: multipart/x-mixed-replace; boundary={viewer.boundary[4:-2].decode()}",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
    }
    assert viewer.boundary.strip(b"\r\n-") not in viewer.part().jpeg
    viewer.close()


def test_every_part_has_its_length_its_time_and_the_boundary_behind_it(daemon: Daemon) -> None:
    viewer = daemon.watch()
    parts = viewer.parts(20)  # the viewer itself is the strict check of each byte
    timestamps = [part.timestamp for part in parts]
    assert timestamps == sorted(set(timestamps))
    assert abs(timestamps[-1] - time.time()) < 5
    assert all(len(line) < 127 for part in parts for line in part.header.split(b"\r\n"))
    assert {part.size for part in parts} == {(320, 240)}
    viewer.close()


@pytest.mark.parametrize(
    "target", ["/stream?raw=1", "/video?fps=5&raw=1", "/mjpeg/stream/?raw=1", "/?action=stream&raw=1"]
)
def test_a_script_gets_the_same_bytes_as_another_type(daemon: Daemon, target: str) -> None:
    with daemon.connect(target) as sock, sock.makefile("rb") as file:
        head = b"".join(iter(file.readline, b"\r\n"))
        assert b"\r\nContent-Type: application/octet-stream\r\n" in head
        opening = OPENING + b"Content-Type: image/jpeg\r\nContent-Length: "
        assert file.read(len(opening)) == opening


def test_the_first_boundary_comes_before_any_frame(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "fault").write_text("never-opens")
    with running(folder) as daemon:
        daemon.watch().close()  # reads the head and the first boundary
        assert daemon.state()["frames"]["captured"] == 0


def test_an_http_1_0_client_is_answered_in_1_0(daemon: Daemon) -> None:
    with daemon.connect("GET /stream HTTP/1.0\r\n\r\n") as sock:
        assert sock.recv(4096).startswith(b"HTTP/1.0 200 OK\r\n")
    answer = request(daemon, "GET /snapshot HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("target", STREAMS)
def test_stream_paths_give_the_stream(daemon: Daemon, target: str) -> None:
    with daemon.connect(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n") as sock:
        head = sock.recv(4096)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"multipart/x-mixed-replace" in head


@pytest.mark.parametrize("target", SNAPSHOTS)
def test_snapshot_paths_give_a_snapshot(daemon: Daemon, target: str) -> None:
    status, headers, body = daemon.get(target)
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert headers["content-length"] == str(len(body))
    assert headers["cache-control"].startswith("no-store")
    assert abs(float(headers["x-timestamp"]) - time.time()) < 2
    assert body[:2] == b"\xff\xd8" and body[-2:] == b"\xff\xd9"


@pytest.mark.parametrize("target", PAGES)
def test_page_paths_give_the_page(daemon: Daemon, target: str) -> None:
    status, headers, body = daemon.get(target)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert (b'<base href="../">' in body) == target.startswith("/mjpeg")


def test_every_file_that_the_page_links_exists(daemon: Daemon) -> None:
    page = daemon.get("/")[2].decode()
    links = set(re.findall(r'(?:src|href)="([^"#?:]+)"', page))
    assert {"app.js", "style.css"} <= links
    for link in links - {"stream", "./", "."}:
        assert daemon.get("/" + link)[0] == 200, link


@pytest.mark.parametrize("target", ["/stream", "/snapshot", "/", "/app.js", "/healthz", "/livez", "/state", "/nowhere"])
def test_head_answers_like_get_without_a_body(daemon: Daemon, target: str) -> None:
    answer = request(daemon, f"HEAD {target} HTTP/1.1\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b""
    assert head.startswith(b"HTTP/1.1 404" if target == "/nowhere" else b"HTTP/1.1 200")
    assert (b"multipart/x-mixed-replace" in head) == (target == "/stream")


@pytest.mark.parametrize("target", ["/", "/mjpeg/", "/wall", "/app.js", "/style.css"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_file_that_the_client_has_is_not_sent_again(daemon: Daemon, target: str, method: str) -> None:
    tag = daemon.get(target)[1]["etag"]
    assert re.fullmatch('"[0-9a-f]{32}"', tag)
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*", f'"x"\r\nIf-None-Match: {tag}'):
        asked = f"{method} {target} HTTP/1.1\r\nConnection: close\r\nIf-None-Match: {known}\r\n\r\n"
        head, _, body = request(daemon, asked).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 304 Not Modified\r\n") and body == b""
        assert f"\r\nETag: {tag}\r\n".encode() in head and b"Content-Length" not in head
    asked = f'{method} {target} HTTP/1.1\r\nConnection: close\r\nIf-None-Match: "x", {tag[:-1]}\r\n\r\n'
    assert request(daemon, asked).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1, GZIP;q=0.5", True),
        ("br\r\nAccept-Encoding: gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("x-gzip", False),
        ("", False),
    ],
)
def test_a_page_file_is_compressed_for_clients_that_take_gzip(daemon: Daemon, accepted: str, taken: bool) -> None:
    plain = daemon.get("/style.css")
    asked = f"GET /style.css HTTP/1.1\r\nConnection: close\r\nAccept-Encoding: {accepted}\r\n\r\n"
    head, _, body = request(daemon, asked).partition(b"\r\n\r\n")
    assert (b"\r\nContent-Encoding: gzip\r\n" in head) == taken
    assert b"\r\nVary: Accept-Encoding\r\n" in head and plain[1]["vary"] == "Accept-Encoding"
    assert (gzip.decompress(body) if taken else body) == plain[2]
    assert (plain[1]["etag"].encode() in head) != taken


def test_a_picture_of_the_page_is_not_compressed_again(daemon: Daemon) -> None:
    asked = "GET /icon-192.png HTTP/1.1\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n"
    head, _, body = request(daemon, asked).partition(b"\r\n\r\n")
    assert b"Content-Encoding" not in head and body.startswith(b"\x89PNG")


def test_pages_that_differ_have_different_tags(daemon: Daemon) -> None:
    tags = [daemon.get(target)[1]["etag"] for target in ("/", "/mjpeg/", "/wall", "/app.js", "/style.css")]
    assert len(set(tags)) == len(tags)
    assert "etag" not in daemon.get("/state")[1] and "etag" not in daemon.get("/snapshot")[1]


def test_the_page_has_the_configured_name_and_language(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"page.name": "마당", "page.language": "ko"}) as daemon:
        assert daemon.state()["name"] == "마당"
        for target in ("/", "/mjpeg/", "/wall"):
            assert b'<html lang="en" data-language="ko">' in daemon.get(target)[2]
        daemon.reload({})
        until("the browser's language", lambda: b'<html lang="en">' in daemon.get("/")[2])
        assert daemon.state()["name"] == platform.node()


def test_the_page_can_be_installed_as_an_app(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"page.name": 'Hof "2" \\'}) as daemon:
        status, headers, body = daemon.get("/manifest.webmanifest")
        assert (status, headers["content-type"]) == (200, "application/manifest+json")
        manifest = json.loads(body)
        assert (manifest["name"], manifest["start_url"], manifest["display"]) == ('Hof "2" \\', ".", "standalone")
        for icon in [*(icon["src"] for icon in manifest["icons"]), "apple-touch-icon.png"]:
            status, headers, body = daemon.get(f"/{icon}")
            assert (status, headers["content-type"], body[:4]) == (200, "image/png", b"\x89PNG")


def test_a_refusal_depends_on_accept(daemon: Daemon) -> None:
    assert daemon.get("/nowhere")[1]["vary"] == "Accept, Accept-Language"


def test_a_refusal_is_in_the_language_of_the_address_the_setting_or_the_browser(tmp_path: Path) -> None:
    def first(target: str = "/nowhere", accepted: str = "de,ko;q=0.5") -> str:
        fields = f"Accept: text/html\r\nAccept-Language: {accepted}\r\nConnection: close"
        answer = request(daemon, f"GET {target} HTTP/1.1\r\n{fields}\r\n\r\n")
        return answer.decode().partition('<html lang="')[2][:2]

    limit = {"http.max_connections": 1}
    with running(tmp_path / "daemon", limit) as daemon:
        assert (first(), first(accepted="en"), first("/nowhere?lang=en")) == ("ko", "en", "en")
        daemon.reload({**limit, "page.language": "ko"})
        until("the setting is in force", lambda: first(accepted="en") == "ko")
        with daemon.connect("/stream"), daemon.connect("") as refused:  # without a word from the browser
            assert b'<html lang="ko">' in refused.recv(65536)


def test_a_refusal_leads_to_the_page_below_any_path(daemon: Daemon) -> None:
    for target, home in {"/x": "./", "/x/": "../", "/mjpeg/x?a=/b": "../", "http://localhost/a/b/c": "../../"}.items():
        answer = request(daemon, f"GET {target} HTTP/1.1\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
        assert f'<a href="{home}">'.encode() in answer, target


def test_one_connection_serves_many_snapshots(daemon: Daemon) -> None:
    with daemon.connect("/snapshot") as sock, sock.makefile("rb") as file:
        for _ in range(5):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += file.readline()
            assert head.startswith(b"HTTP/1.1 200") and b"\r\nConnection: keep-alive\r\n" in head
            match = re.search(rb"Content-Length: (\d+)", head)
            assert match
            assert file.read(int(match[1]))[:2] == b"\xff\xd8"
            sock.sendall(b"GET /snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n")


def test_fps_limits_one_viewer_and_no_other(daemon: Daemon) -> None:
    viewer = daemon.watch("/stream?fps=2")
    times = [part.timestamp for part in viewer.parts(4)]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.3, "two at once"
    viewer.close()
    capped, free = Reading(daemon.watch("/stream?fps=5")), Reading(daemon.watch())
    until("ten capped pictures", lambda: len(capped.parts) >= 11)
    for reading, least, most in ((capped, 5 / patience(1.25), 6), (free, 25 / patience(1.25), 30)):
        times = [part.timestamp for part in reading.finish()]
        assert least <= (len(times) - 1) / (times[-1] - times[0]) <= most
        reading.viewer.close()


@pytest.mark.parametrize(
    "target", ["/stream?fps=0", "/stream?fps=fast", "/stream?fps=nan", "/stream?fps=1e9", "/stream?fps"]
)
def test_an_invalid_rate_is_refused_with_the_reason(daemon: Daemon, target: str) -> None:
    status, _, body = daemon.get(target)
    assert status == 400
    assert body == b"fps has to be a number from 0.05 to 1000\n"


@pytest.mark.parametrize(
    "target", ["/nowhere", "/stream/x", "/../etc/passwd", "/%2e%2e/etc/passwd", "/web/index.html", "/%00", "//x/y"]
)
def test_an_unknown_path_is_404_with_the_reason(daemon: Daemon, target: str) -> None:
    answer = request(daemon, f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert answer.endswith(b"\n\nThe page is at /, the stream at /stream, a single picture at /snapshot\n")
    assert b"\r\nX-Refused: other\r\n" in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused(daemon: Daemon, method: str) -> None:
    answer = request(daemon, f"{method} /state HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n") and b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in answer


def test_state_healthz_and_livez_are_answered(daemon: Daemon) -> None:
    def measured() -> dict[str, object] | None:
        table = daemon.state()
        return table if table["frames"]["rate"] else None

    table = until("a measured rate", measured)
    assert table["state"] == "streaming" and table["ok"] is True and table["cause"] is None
    assert table["detail"] == "Streaming 320x240 at 25 frames/s from Test picture"
    assert table["camera"]["width"] == 320 and table["camera"]["height"] == 240
    assert (table["name"], table["role"]) == (platform.node(), "admin")
    assert abs(table["time"] - time.time()) < patience(5)
    assert 1 / 30 <= table["frames"]["period_seconds"] <= patience(1.25) / 25
    assert 25 / patience(1.25) <= table["frames"]["rate"] <= 30
    source = {"configured": "pattern", "kind": "pattern", "reason": "a test of the daemon"}
    assert table["source"] == {**source, "stand_in": False, "last": "pattern"}
    status, headers, body = daemon.get("/healthz")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["state"] == "streaming"
    assert daemon.get("/livez")[0] == 200
