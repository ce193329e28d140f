"""curl and wget as scripts use them: for a while, once, or only to see whether there is a camera."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.ipc import parts as wire
from tests.clients import picture
from tests.kit.daemon import Daemon, running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), {"video.width": 320, "video.height": 240}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def run(command: str, daemon: Daemon, path: str) -> subprocess.CompletedProcess[str]:
    argv = [*command.split(), f"http://127.0.0.1:{daemon.port}{path}"]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)


def test_curl_records_for_as_long_as_it_is_told(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "recording.mjpeg"
    done = run(f"curl --silent --max-time 2 --output {file}", daemon, "/stream")
    assert done.returncode == 28  # the time is over
    before, *parts, unfinished = (b"\r\n" + file.read_bytes()).split(wire.CLOSING)
    assert before == b"" and len(unfinished) < 100_000
    assert len(parts) > 30
    for part in parts:
        header, _, jpeg = part.partition(b"\r\n\r\n")
        assert header.startswith(b"Content-Type: image/jpeg\r\nContent-Length: %d\r\nX-Timestamp: " % len(jpeg))
        assert picture.is_upright(jpeg)


@pytest.mark.parametrize("command", ["curl --silent --fail --output", "wget --quiet --output-document"])
@pytest.mark.parametrize("path", ["/snapshot", "/snapshot.jpg", "/?action=snapshot"])
def test_a_snapshot_is_fetched(daemon: Daemon, command: str, path: str, tmp_path: Path) -> None:
    file = tmp_path / "snapshot.jpg"
    done = run(f"{command} {file}", daemon, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert picture.is_upright(file.read_bytes())


@pytest.mark.parametrize(("path", "content_type"), [("/stream", wire.CONTENT_TYPE), ("/snapshot", "image/jpeg")])
def test_head_reports_whether_there_is_a_camera(daemon: Daemon, path: str, content_type: str) -> None:
    done = run("curl --silent --fail --head", daemon, path)
    assert done.returncode == 0
    assert f"Content-Type: {content_type}" in done.stdout.splitlines()
    assert run("wget --spider --timeout=5 --tries=1", daemon, path).returncode == 0


def test_without_a_camera_there_is_an_error_and_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "fault").write_text("missing")
    with running(folder) as daemon:
        daemon.wait_for_state("no-camera")
        file = tmp_path / "snapshot.jpg"
        done = run(f"curl --silent --show-error --fail --output {file}", daemon, "/snapshot")
        assert done.returncode == 22 and "503" in done.stderr
        assert run(f"wget --quiet --tries=1 --directory-prefix {tmp_path}", daemon, "/snapshot.jpg").returncode == 8
        assert not file.exists()
        # a camera that comes back is waited for
        (folder / "fault").unlink()
        done = run(f"curl --silent --fail --retry 5 --output {file}", daemon, "/snapshot")
        assert done.returncode == 0
        assert picture.decode(file.read_bytes()).shape == (480, 640, 3)
